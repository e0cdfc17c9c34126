"""mta_transaction on a real Postfix: a change that holds, one that does not, and a controller that never comes back.

What is on the disk is told by sha256sum, what the server does by swaks: not by our own code.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audited_copy import ROOT, Copy, throw_away_copy

pytestmark = pytest.mark.lab

BANNER = "echo QUIT | sendmail -bs 2>&1 | grep -q ^220"
POSTFIX = {"name": "postfix@-", "on_change": "reload"}
# Python that Ansible starts: none of those that ran before.
KILL = """
known=" $(pgrep -x python3 | tr '\\n' ' ')"
while :; do
  for pid in $(pgrep -x python3); do
    case "$known" in *" $pid "*) ;; *) sleep {after_s}; exec kill -9 "$pid";; esac
  done
  sleep 0.02
done"""
FILES = "find /etc/postfix /etc/systemd/system -type f -exec sha256sum {} + -o -type l -printf '%p %l\\n' | sort"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A mail server that relays for everybody."""
    with throw_away_copy("mx-d12", "t-change", tmp_path_factory.mktemp("change")) as copy:
        copy.lab.up(["stranger", "sink", "dns"])
        copy.shell("postconf -e mynetworks=0.0.0.0/0; systemctl restart postfix@-")
        yield copy


@pytest.fixture
def state(copy: Copy) -> Iterator[str]:
    """What stands on the disk, the same after each test."""
    was = copy.shell(FILES)
    yield was
    copy.ansible("ansible", copy.name, "-m", "mta_transaction", "-a", "action=take_back")
    assert copy.shell(FILES) == was and opens(copy), "nothing is left of it"


def opens(copy: Copy) -> bool:
    """Whether it relays for a stranger. It takes mail for its own in any case."""
    about = copy.lab.host(copy.name)
    copy.shell("for i in $(seq 100); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1")

    def takes(recipient: str) -> bool:
        done = copy.lab.execute(
            "stranger", "swaks", "--server", str(about.ipv4), "--from", "probe@stranger.test", "--to", recipient, "--helo",
            "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "20",
        )  # fmt: skip
        return bool(done.returncode == 0)

    assert takes(f"alice@{about.mail_domain}"), "mail flows"
    return takes("canary@canary.test")


def closing(copy: Copy, **more: Any) -> dict[str, Any]:
    """The change: main.cf with own networks alone."""
    text = copy.shell("cat /etc/postfix/main.cf").replace("mynetworks = 0.0.0.0/0", "mynetworks = 127.0.0.0/8 [::1]/128")
    return {"action": "begin", "files": [{"path": "/etc/postfix/main.cf", "content": text}], "reason": "RELAY-01",
            "services": [POSTFIX], "checks": [["postfix", "check"], ["sh", "-c", BANNER]], **more}  # fmt: skip


def module(copy: Copy, arguments: dict[str, Any], *words: str) -> dict[str, Any]:
    printed = copy.ansible("ansible", copy.name, "-m", "mta_transaction", "-a", json.dumps(arguments), *words)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return answer


def test_a_change_holds_and_is_confirmed(copy: Copy, state: str) -> None:
    assert opens(copy)
    change = closing(copy)
    told = module(copy, change, "--check")
    assert told["changed"] and copy.shell(FILES) == state
    begun = module(copy, change)
    assert begun["transaction"]["phase"] == "changed" and not opens(copy)
    assert "mtaudit-guard.timer" in copy.shell("systemctl list-timers --no-pager")
    assert module(copy, {"action": "status"})["transactions"] == [begun["transaction"]]
    assert not module(copy, change)["changed"], "the second time there is nothing to do"
    assert module(copy, {"action": "commit"})["transaction"]["phase"] == "committed"
    assert "mtaudit-guard" not in copy.shell("systemctl list-timers --all --no-pager; ls /etc/systemd/system")
    # For the next test: the way back of a change that was confirmed is its snapshot.
    copy.ansible("ansible-playbook", ROOT / "playbooks/rollback.yml")
    assert opens(copy)


def test_the_host_takes_it_back_when_nobody_confirms(copy: Copy, state: str) -> None:
    module(copy, closing(copy, guard_after_s=12))
    assert not opens(copy) and copy.shell(FILES) != state
    end = time.monotonic() + 90
    while copy.shell(FILES) != state and time.monotonic() < end:
        time.sleep(1)
    assert opens(copy)
    assert "took back" in copy.shell("journalctl --no-pager -t mtaudit")
    said = module(copy, {"action": "status"})
    assert said["transactions"] == []
    assert "mtaudit-guard" not in copy.shell("sleep 2; systemctl list-timers --all --no-pager; ls /etc/systemd/system")


def test_a_host_that_is_started_anew_takes_it_back(copy: Copy, state: str) -> None:
    about = copy.lab.host(copy.name)
    module(copy, closing(copy, guard_after_s=15))
    copy.lab.podman.run("stop", "-t", "5", copy.lab.hosts.container_name(copy.name))
    time.sleep(15)  # its time passes while the host is down
    copy.lab.hosts.start(about)
    tells = "journalctl --no-pager -b -t mtaudit | grep -q 'took back'"
    copy.shell(f"for i in $(seq 60); do {tells} && exit 0; sleep 1; done; exit 1")
    copy.shell("for i in $(seq 60); do ls /etc/systemd/system/mtaudit* 2>&- || exit 0; sleep 1; done; exit 1")
    assert copy.shell(FILES) == state and opens(copy)
    assert copy.shell("ls /var/lib/systemd/timers | grep -c mtaudit || true") == "0\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [("smtpd_relay_restrictions = permit_mynetworks", "The check 'sh -c"),
     ("command_directory = /nowhere", "failed with exit status")],
    ids=["smtpd-does-not-start", "postfix-check-fails"],
)
def test_a_configuration_that_does_not_work_is_never_in_force(copy: Copy, state: str, line: str, says: str) -> None:
    change = closing(copy)
    change["files"][0]["content"] += f"\n{line}\n"
    with pytest.raises(AssertionError) as failed:
        module(copy, change)
    assert says in str(failed.value) and "Everything was put back as it was" in str(failed.value)
    assert copy.shell(FILES) == state


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.5, 1.0])
def test_a_module_that_is_killed_leaves_a_way_back(copy: Copy, state: str, after_s: float) -> None:
    change = closing(copy)
    change["checks"].append(["sleep", "1"])  # so that the later kills meet it as well
    killer = subprocess.Popen(
        ["podman", "exec", copy.lab.hosts.container_name(copy.name), "sh", "-c", KILL.format(after_s=after_s)]
    )
    with pytest.raises(AssertionError):
        module(copy, change)
    assert killer.wait(timeout=60) == 0
    taken = module(copy, {"action": "take_back", "reason": "the run was killed"})
    assert taken.get("msg") == "No transaction is open" or taken["transaction"]["phase"] == "taken_back"
    assert copy.shell(FILES) == state and opens(copy)


def test_someone_who_edits_meanwhile_loses_nothing(copy: Copy, state: str, tmp_path: Path) -> None:
    change = closing(copy)
    change["files"][0]["planned_on"] = copy.shell("sha256sum /etc/postfix/main.cf").split()[0]
    module(copy, change)
    copy.shell("postconf -e 'smtpd_recipient_limit = 77'")
    module(copy, {"action": "take_back"})
    assert copy.shell(FILES) == state
    printed = copy.ansible("ansible", copy.name, "-m", "mta_snapshot", "-a", "action=list")
    newest = json.loads(printed.partition(" => ")[2])["snapshots"][0]
    assert newest["reason"].startswith("edited while")
    assert copy.shell(f"grep -rl 'smtpd_recipient_limit = 77' /var/lib/mtaudit/snapshots/{newest['name']}")
    with pytest.raises(AssertionError, match="was changed since the plan was made"):
        module(copy, {**change, "files": [{**change["files"][0], "planned_on": "0" * 64}]})
