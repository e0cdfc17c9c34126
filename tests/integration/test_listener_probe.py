"""The listener probe against real Postfix and Dovecot, from the lab's stranger; swaks and openssl say what is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = pytest.mark.lab

SERVICES = [
    {"port": 25}, {"port": 587}, {"port": 465, "tls": True}, {"port": 143, "protocol": "imap"},
    {"port": 993, "protocol": "imap", "tls": True},
]  # fmt: skip
ASKED = ("AUTH-01", "AUTH-02", "AUTH-05", "INFO-01", "INFO-02", "RCPT-01", "RCPT-02", "PATCH-02")
SHOWN_IN_CLEAR = [
    "postconf -P submission/inet/smtpd_tls_auth_only=no submission/inet/smtpd_tls_security_level=may",
    "postconf -e smtpd_forbid_bare_newline=no 'smtpd_banner=$myhostname ESMTP $mail_name ($mail_version)'",
    "postconf -e local_recipient_maps= smtpd_sasl_auth_enable=yes",
]


@pytest.fixture(scope="module", params=["full-d12", "full-d13"])
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"t-listener-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone(request.param, name)
        yield name
    finally:
        lab.remove(name)


def look(lab: Lab, host: str, directory: Path, services: Sequence[dict[str, Any]] = SERVICES, **more: Any) -> dict[str, Any]:
    """Run the module on the stranger, over ssh."""
    about = lab.host(host)
    fqdn = lab.execute(host, "postconf", "-h", "myhostname").stdout.strip()
    declared = {
        "name": host, "host": about.ipv4, "services": [*services], "known_recipient": f"alice@{about.mail_domain}",
        "local_domains": [about.mail_domain], "helo_name": fqdn, "untrusted_certificate_fails": False,
    }  # fmt: skip
    arguments = {
        "targets": [declared], "sender": "probe@stranger.test", "helo": "mail.stranger.test", "canary": "canary@canary.test",
        **more,
    }  # fmt: skip
    environment = {**os.environ, "ANSIBLE_LIBRARY": str(ROOT / "library"), "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils")}
    command = [sys.executable, "-m", "ansible", "adhoc", "-i", str(ROOT / "inventories/lab"), "stranger"]
    command += ["-m", "mta_listener_probe", "-a", json.dumps(arguments)]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    _, arrow, said = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(said)
    assert "listeners" in answer, answer
    return answer


def login(lab: Lab, host: str, **more: Any) -> list[dict[str, Any]]:
    given = lab.config.logins["alice"]
    return [{"target": host, "username": "alice", "password": given, **more}]


def statuses(answer: dict[str, Any], port: int) -> dict[str, str]:
    return {f["control"]: f["status"] for f in answer["findings"] if f["subject"]["name"].endswith(f":{port}")}


def on(answer: dict[str, Any], port: int) -> dict[str, Any]:
    return next(listener for listener in answer["listeners"] if listener["port"] == port)


def openssl_takes_old_tls(lab: Lab, address: str, port: int, start: str) -> bool:
    command = f"openssl s_client -tls1_1 -cipher DEFAULT:@SECLEVEL=0 {start} -connect {address}:{port} </dev/null 2>&1"
    said = lab.execute("stranger", "sh", "-c", command).stdout
    return bool(re.search(r"Cipher\s*(?:is|:) (?!0000|\(NONE\))\S+", said))


def test_a_good_host_and_what_it_costs(lab: Lab, host: str, tmp_path: Path) -> None:
    answer = look(lab, host, tmp_path)
    for port in (25, 587, 465, 143, 993):
        found = {control: status for control, status in statuses(answer, port).items() if control in ASKED}
        assert set(found.values()) <= {"pass", "notapplicable", "unknown"}, (port, answer["findings"])
        assert [control for control, status in found.items() if status == "unknown"] in ([], ["PATCH-02"])
        costs = on(answer, port)["costs"]
        assert costs["started"] <= 3 + (port in (465, 993)) and costs["worst_connection_errors"] <= 6 and costs["logins"] == 0
        assert costs["bytes_sent"] < 1000
    assert answer["worst_connections_at_a_time"] <= 2
    said = lab.mail_log(host)
    for port, start in ((25, "-starttls smtp"), (587, "-starttls smtp"), (143, "-starttls imap"), (993, "")):
        assert on(answer, port)["tls"]["old"] in ("taken", "refused")
        assert (on(answer, port)["tls"]["old"] == "taken") == openssl_takes_old_tls(lab, lab.host(host).ipv4, port, start), port
    assert "sasl_username" not in said and "status=sent" not in said


def test_what_is_planted_is_seen(lab: Lab, host: str, tmp_path: Path) -> None:
    script = "\n".join(["set -e", *SHOWN_IN_CLEAR, "postfix reload", "sleep 1"])
    done = lab.execute(host, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    address, domain = lab.host(host).ipv4, lab.host(host).mail_domain
    secret = lab.config.logins["alice"]
    oracle = lab.execute(
        "stranger", "swaks", "--server", address, "--port", "587", "--auth", "PLAIN", "--auth-user", "alice",
        "--auth-password", secret, "--quit-after", "AUTH",
    ).stdout  # fmt: skip
    assert re.search(r"^<-  235 ", oracle, re.M), oracle
    nobody = f"nobody-at-all@{domain}"
    taken = lab.execute("stranger", "swaks", "--server", address, "--to", nobody, "--quit-after", "RCPT").stdout
    assert re.search(r"-> RCPT TO:.*\n<-  250 ", taken), taken
    asked = look(lab, host, tmp_path)
    assert on(asked, 587)["login_in_clear"]["outcome"] == "asked" and on(asked, 587)["costs"]["logins"] == 0
    assert statuses(asked, 587)["AUTH-01"] == "fail"
    proven = look(lab, host, tmp_path, auth=login(lab, host, cleartext=True))
    assert on(proven, 587)["login_in_clear"]["outcome"] == "taken"
    assert secret not in json.dumps(proven)
    at_25 = statuses(proven, 25)
    assert [at_25[control] for control in ("AUTH-02", "INFO-02", "RCPT-01")] == ["fail"] * 3
    assert statuses(proven, 465)["PATCH-02"] == "fail" and on(proven, 465)["line_ends"]["ending"] == "LF . LF"
    mended = "postconf -e smtpd_forbid_bare_newline=yes smtpd_forbid_bare_newline_exclusions= && postfix reload && sleep 1"
    assert lab.execute(host, "sh", "-c", mended).returncode == 0
    closed = look(lab, host, tmp_path, auth=login(lab, host))
    assert statuses(closed, 465)["PATCH-02"] == "pass" and on(closed, 465)["line_ends"]["outcome"] in ("ignored", "refused")


MAILBOX = [{"port": 110, "protocol": "pop3"}, {"port": 995, "protocol": "pop3", "tls": True}, {"port": 4190, "protocol": "sieve"}]
# Arguments: server, password. Logs in without TLS, as alice: to POP3, and to ManageSieve (RFC 5804, 2.1). Prints the answers.
IN_CLEAR = """
import base64, poplib, socket, sys
server, password = sys.argv[1:]
try:
    pop3 = poplib.POP3(server, timeout=20)
    pop3.user("alice")
    print(pop3.pass_(password).decode())
except poplib.error_proto as exc:
    print(exc)
sieve = socket.create_connection((server, 4190), timeout=20)
lines = sieve.makefile("rb")
while not lines.readline().startswith(b"OK"):
    pass
token = base64.b64encode(b"\\0alice\\0" + password.encode()).decode()
sieve.sendall(f'AUTHENTICATE "PLAIN" "{token}"\\r\\n'.encode())
print(lines.readline().decode())
"""


def test_pop3_and_managesieve(lab: Lab, host: str, tmp_path: Path) -> None:
    """Dovecot's, installed from the lab's own repository: first as the good host has its IMAP, then with logins in clear."""
    install = "apt-get update && apt-get install -y --no-install-recommends dovecot-pop3d dovecot-managesieved"
    done = lab.execute(host, "sh", "-c", f"export DEBIAN_FRONTEND=noninteractive; {install}", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    address, secret = lab.host(host).ipv4, lab.config.logins["alice"]
    good = look(lab, host, tmp_path, MAILBOX)
    for port, start in ((110, "-starttls pop3"), (995, ""), (4190, "-starttls sieve")):
        found = statuses(good, port)
        assert found["AUTH-01"] == "pass" and "fail" not in found.values(), (port, good["findings"])
        assert (on(good, port)["tls"]["old"] == "taken") == openssl_takes_old_tls(lab, address, port, start), port
        assert on(good, port)["costs"]["logins"] == 0 and on(good, port)["costs"]["worst_connection_errors"] <= 6
    assert "+OK" not in lab.execute("stranger", "python3", "-c", IN_CLEAR, address, secret).stdout

    clear = "auth_allow_cleartext = yes" if "d13" in lab.host(host).image else "disable_plaintext_auth = no"
    change = f"printf '%s\\n' '{clear}' 'ssl = yes' >> /etc/dovecot/conf.d/99-mail.conf; doveadm reload; sleep 2"
    assert lab.execute(host, "sh", "-c", change).returncode == 0
    answers = lab.execute("stranger", "python3", "-c", IN_CLEAR, address, secret).stdout
    assert re.search(r"(?s)^\+OK.*\nOK", answers), answers
    asked = look(lab, host, tmp_path, MAILBOX)
    assert [statuses(asked, port)["AUTH-01"] for port in (110, 4190, 995)] == ["fail", "fail", "pass"], asked["findings"]
    proven = look(lab, host, tmp_path, MAILBOX, auth=login(lab, host, cleartext=True))
    assert [on(proven, port)["login_in_clear"]["outcome"] for port in (110, 4190)] == ["taken", "taken"], proven["listeners"]
    assert secret not in json.dumps(proven)
