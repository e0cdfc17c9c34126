"""playbooks/harden.yml, and what may happen to it: the controller dies, ssh to the host or to the vantage is cut, a map does not
compile any more, a certificate is missing, the package is installed anew in the middle.

Afterwards mail flows as before or as planned, what waited in the queue waits, nothing is half done, and the run says what was.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from audited_copy import Copy, throw_away_copy
from mtalab.inventory import host_variables
from test_drills import queue, takes_mail
from test_harden import command, harden, refused
from test_transaction import FILES

pytestmark = pytest.mark.lab

GUARD_S = 160
QUICK = {"mta_harden_only": ["INFO-01", "RCPT-02"], "mta_audit_probe_timeout_s": 40}
# A package of what is installed, as it was installed.
PACKAGE = """
mkdir -p /root/package/DEBIAN; cd /root/package
dpkg -L postfix | while read -r path; do [ -d "$path" ] || ls "$path" || true; done | tar -cPf - -T - | tar -xf - -C .
sed -n '/^Package: postfix$/,/^$/p' /var/lib/dpkg/status | grep -vE '^(Status|Conffiles| /etc)' > DEBIAN/control
cd /var/lib/dpkg/info; for part in conffiles config postinst postrm preinst prerm templates triggers; do
  cp postfix.$part /root/package/DEBIAN/$part
done
dpkg-deb --build --root-owner-group /root/package /root/postfix.deb"""
# The first ProxyCommand is the one that ssh takes.
CUT = ("-C -o ControlMaster=no -o \"ProxyCommand=sh -c 'test ! -e {file} && CONTAINERS_CONF={{{{ lab_state }}}}/containers.conf "
       "exec podman exec -i %h /usr/sbin/sshd -i'\"")
IT_CHANGED = """grep -qs '"phase": "changed"' /var/lib/mtaudit/transactions/*/state.json"""
STATE = "$(ls -d /var/lib/mtaudit/transactions/*/ | tail -1)state.json"
UNTIL = r's/.*"until": \([0-9]*\).*/\1/p'
HANDED_IN = "journalctl -o cat -t postfix/pickup | wc -l"
NO_GUARD = "test ! -e /etc/systemd/system/mtaudit-guard.timer"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """With a message in the queue that nobody takes."""
    directory = tmp_path_factory.mktemp("drill")
    with throw_away_copy("mx-d13", "t-hdrill", directory) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger"])
        # The stranger under another name, whose connections end where there is a file.
        stranger = host_variables(copy.lab.config, copy.lab.host("stranger"))
        cut = {**stranger, "ansible_ssh_args": CUT.format(file=directory / "cut")}
        (directory / "inventory/cut.yml").write_text(yaml.safe_dump({"all": {"hosts": {"far-away": cut}}}), encoding="utf-8")
        copy.shell("""
            echo 'waits.test retry:4.4.1 it waits' > /etc/postfix/transport; postmap /etc/postfix/transport
            postconf -e 'disable_vrfy_command = no' 'transport_maps = hash:/etc/postfix/transport'; postfix reload
            echo kept | sendmail -f alice somebody@waits.test
            for i in $(seq 50); do postqueue -j | grep -q deferred && exit 0; sleep 0.2; done; exit 1""")
        yield copy


@pytest.fixture
def as_it_was(copy: Copy) -> Iterator[tuple[str, str]]:
    """The files and the queue; the hole is there again after each drill."""
    wait(copy, NO_GUARD)
    copy.shell("postconf -e 'disable_vrfy_command = no'; postfix reload")
    yield copy.shell(FILES), queue(copy)


def says_who_is_here(copy: Copy) -> bool:
    """Whether VRFY is answered, by the daemon itself."""
    program = (f"import smtplib; server = smtplib.SMTP('{copy.lab.host(copy.name).ipv4}', 25, timeout=20); "
               "server.ehlo('mail.stranger.test'); print(server.verify('alice')[0])")  # fmt: skip
    said = copy.lab.execute("stranger", "python3", "-c", program).stdout
    assert said in ("252\n", "502\n"), said
    return bool(said == "252\n")


def last_phase(copy: Copy) -> str:
    state = copy.shell(f"cat {STATE}")
    return str(re.findall(r'"phase": "(\w+)"', state)[0])


def told(copy: Copy) -> tuple[str, str]:
    """Of the newest report: what it says first, and whether the host could be reached."""
    report = json.loads(max(Path(f"/tmp/{copy.name}/runs").glob("*/findings.json")).read_text(encoding="utf-8"))
    (host,) = report["hosts"]
    assert any(re.match(r"INFO-01 \(postfix.*\) is mended", line) for line in host["plan"]), host
    return report["details"][0], host["status"]


def wait(copy: Copy, until: str, run: subprocess.Popen[str] | None = None) -> None:
    """Until a command succeeds in the copy."""
    ends = time.monotonic() + 500
    while copy.lab.execute(copy.name, "sh", "-c", until).returncode:
        assert time.monotonic() < ends and (run is None or run.poll() is None), run and run.communicate()[0][-6000:]
        time.sleep(0.2)


@contextmanager
def changing(copy: Copy, **variables: object) -> Iterator[subprocess.Popen[str]]:
    """A run that has changed the host, and proves it now."""
    with copy.begun(*command(copy, **QUICK, **variables)) as run:
        wait(copy, IT_CHANGED, run)
        yield run


@pytest.mark.full
def test_a_controller_that_is_killed(copy: Copy, as_it_was: tuple[str, str]) -> None:
    with changing(copy, mta_harden_guard_s=GUARD_S) as run:
        os.killpg(run.pid, signal.SIGKILL)
    assert not says_who_is_here(copy), "it is in force, and nobody has proven it"
    said = refused(copy, **QUICK)
    assert "(INFO-01) has not ended, it is changed" in said and "Take it back" in said, said[-3000:]
    wait(copy, NO_GUARD)
    assert (copy.shell(FILES), queue(copy)) == as_it_was and last_phase(copy) == "taken_back"
    assert says_who_is_here(copy) and takes_mail(copy)


@pytest.mark.full
def test_ssh_that_is_cut(copy: Copy, as_it_was: tuple[str, str]) -> None:
    with changing(copy, mta_harden_guard_s=GUARD_S) as run:
        handed_in = copy.shell(HANDED_IN).strip()
        until = copy.shell(f"date -u +%H:%M -d @$(cat {STATE} | sed -n '{UNTIL}')")
        wait(copy, f"test $({HANDED_IN}) -gt {handed_in}", run)  # the proof has begun
        copy.shell("mv /usr/sbin/sshd /usr/sbin/sshd.cut; pkill -9 '^sshd'; true")
        try:
            printed, _ = run.communicate(timeout=600)
            wait(copy, NO_GUARD)
        finally:
            copy.shell("mv /usr/sbin/sshd.cut /usr/sbin/sshd; systemctl restart ssh")
    said, status = told(copy)
    assert run.returncode == 2 and status == "unreachable", printed[-3000:]
    assert said.startswith(f"{copy.name} could not be mended. {copy.name} is unreachable since the step 'See what arrived'"), said
    assert f"puts everything back at {until.strip()} (UTC)" in said and "run playbooks/harden.yml again after that" in said, said
    assert (copy.shell(FILES), queue(copy)) == as_it_was and last_phase(copy) == "taken_back"
    assert says_who_is_here(copy) and takes_mail(copy)


@pytest.mark.full
def test_a_vantage_that_is_cut_off(copy: Copy, as_it_was: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    cut = next(tmp_path_factory.getbasetemp().glob("drill*")) / "cut"
    with changing(copy, mta_audit_vantages=["far-away"]) as run:
        cut.touch()
        try:
            printed, _ = run.communicate(timeout=600)
        finally:
            cut.unlink()
    said, status = told(copy)
    assert run.returncode == 2 and status == "ok", printed[-3000:]
    assert "everything was put back: far-away is unreachable since the step 'Send mail from outside'" in said, said
    assert (copy.shell(FILES), queue(copy)) == as_it_was and last_phase(copy) == "taken_back" and takes_mail(copy)


def test_a_map_that_does_not_compile_any_more(copy: Copy, as_it_was: tuple[str, str]) -> None:
    """The rest is mended as planned."""
    copy.shell("cp -a /etc/aliases /root/aliases; sed -i '/^abuse:/d' /etc/aliases; newaliases; echo 'no alias' >> /etc/aliases")
    broken = copy.shell("sha256sum /etc/aliases /etc/aliases.db")
    said = " ".join(harden(copy, **QUICK).split())
    assert "RCPT-02 (os) stays" in said and "/etc/aliases" in said, said[-6000:]
    assert copy.shell("sha256sum /etc/aliases /etc/aliases.db") == broken
    copy.shell("cp -a /root/aliases /etc/aliases; newaliases")
    assert not says_who_is_here(copy) and takes_mail(copy) and queue(copy) == as_it_was[1] and last_phase(copy) == "committed"


@pytest.mark.full
def test_a_certificate_that_is_missing(copy: Copy, as_it_was: tuple[str, str]) -> None:
    copy.shell("mv /etc/ssl/certs/mail.pem /root/mail.pem; postfix reload")
    harden(copy, **QUICK)
    copy.shell("mv /root/mail.pem /etc/ssl/certs/mail.pem; postfix reload")
    report = max(Path(f"/tmp/{copy.name}/runs").glob("*/findings.json"))
    assert "Could not read /etc/ssl/certs/mail.pem" in report.read_text(encoding="utf-8")
    assert not says_who_is_here(copy) and takes_mail(copy) and queue(copy) == as_it_was[1] and last_phase(copy) == "committed"


@pytest.mark.full
def test_the_package_is_installed_anew(copy: Copy, as_it_was: tuple[str, str]) -> None:
    copy.shell(PACKAGE)
    with changing(copy) as run:
        copy.shell("DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall /root/postfix.deb")
        printed, said = run.communicate(timeout=900)
    assert run.returncode == 0, printed[-6000:] + said
    assert last_phase(copy) == "committed" and copy.shell("dpkg --audit; systemctl is-active postfix") == "active\n"
    assert not says_who_is_here(copy) and takes_mail(copy) and queue(copy) == as_it_was[1]
