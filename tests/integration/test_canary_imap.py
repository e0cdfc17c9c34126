"""A canary that is a mailbox at a real IMAP server: Dovecot of Debian 12 and 13, asked from the lab's stranger."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from test_relay_probe import ROOT, Lab, plant, probe

pytestmark = pytest.mark.lab

PASSWORD = 'Tern "Ivory" Fjörd\\ 77'
CERTIFICATE = "/etc/ssl/certs/canary.pem"
# Beyond what the recipe sets. Debian 12 has Dovecot 2.3, Debian 13 has 2.4.
SETTINGS = {
    "full-d12": f"ssl_cert = <{CERTIFICATE}\nssl_key = </etc/ssl/private/canary.key\n",
    "full-d13": f"ssl_server_cert_file = {CERTIFICATE}\nssl_server_key_file = /etc/ssl/private/canary.key\n",
}
ASK = """
import json as _json, sys as _sys
from concurrent.futures import ThreadPoolExecutor as _Pool

def _said(ask, token):
    try:
        return ask(token)
    except CanaryError as exc:
        return str(exc)

_check, _tokens, _threads = _json.loads(_sys.argv[1])
_ask = canary_from(_check)
print(_json.dumps(list(_Pool(_threads).map(lambda token: _said(_ask, token), _tokens))))
"""


@dataclass
class Mailbox:
    """The canary's mailbox on a copy of a good host, and an open relay whose mail it can get."""

    lab: Lab
    host: str
    relay: str
    name: str
    address: str

    def sh(self, script: str, stdin: str | None = None) -> str:
        done = self.lab.execute(self.host, "sh", "-c", script, stdin=stdin)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def check(self, **other: Any) -> dict[str, Any]:
        return {"imap": {"host": self.name, "user": "canary", "password": PASSWORD, **other}}

    def ask(self, *tokens: str, trusts: str = "", threads: int = 1, **other: Any) -> list[bool | str]:
        """What the stranger is answered about the tokens; for a CanaryError its text. `trusts`: the certificate it trusts."""
        source = (ROOT / "module_utils/mtaudit/smtp/canary.py").read_text(encoding="utf-8") + ASK
        file = f"/tmp/{self.host}.pem"
        environment = [f"SSL_CERT_FILE={file}"] if trusts else []
        if trusts:
            assert self.lab.execute("stranger", "sh", "-c", f"cat > {file}", stdin=trusts).returncode == 0
        words = ["env", *environment, "python3", "-", json.dumps([self.check(**other), tokens, threads])]
        done = self.lab.execute("stranger", *words, stdin=source)
        self.lab.execute("stranger", "rm", "-f", file)
        assert done.returncode == 0, done.stderr
        said: list[bool | str] = json.loads(done.stdout)
        assert PASSWORD not in done.stdout and "Ivory" not in done.stdout
        return said

    def probe(self, tmp_path: Any, wait_s: float = 10, **other: Any) -> dict[str, Any]:
        answer = probe(self.lab, self.relay, tmp_path, canary=self.address, canary_wait_s=wait_s,
                       canary_check=self.check(verify=False, **other))
        assert "Ivory" not in json.dumps(answer)
        return answer

    def restart(self, settings: str = "") -> None:
        """Dovecot with these settings besides, listening."""
        self.sh("cat > /etc/dovecot/conf.d/99-zz-test.conf && doveconf -n > /dev/null && systemctl restart dovecot",
                stdin=SETTINGS[self.lab.host(self.host).clone_of] + settings)
        self.sh("for i in $(seq 100); do ss -Hltn 'sport = :143' | grep -q . && exit 0; sleep 0.1; done; exit 1")


@pytest.fixture(scope="module", params=["full-d12", "full-d13"])
def mailbox(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Mailbox]:
    mark = uuid.uuid4().hex[:6]
    host, relay = f"t-canary-{mark}", f"t-canary-relay-{mark}"
    try:
        canary = lab.clone(request.param, host)
        lab.clone("mx-d12", relay)
        plant(lab, relay, ["mynetworks=0.0.0.0/0 [::]/0"])
        name = lab.hosts.address_name(canary)
        lab.set_record("canary.test", mark, "MX", f"0 {name}.")
        box = Mailbox(lab, host, relay, name, f"canary@{mark}.canary.test")
        box.sh("useradd --create-home canary && chpasswd", stdin=f"canary:{PASSWORD}\n")
        box.sh(f"postconf -e 'mydestination = {mark}.canary.test' && systemctl restart postfix")
        box.sh(f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=canary -addext subjectAltName=DNS:{name}"
               f" -keyout /etc/ssl/private/canary.key -out {CERTIFICATE}")
        box.restart()
        yield box
        lab.unset_record("canary.test", mark, "MX")
    finally:
        lab.remove(host, relay)


@pytest.fixture
def changed(mailbox: Mailbox) -> Iterator[Mailbox]:
    """The mailbox; its server is as it was afterwards."""
    yield mailbox
    mailbox.restart()


def assert_accepts_without_a_message(answer: dict[str, Any], why: str) -> None:
    """Open as far as can be told without the canary: a failure, marked unconfirmed, and never `closed`."""
    assert [item["verdict"] for item in answer["listeners"]] == ["accepts", "accepts"], answer
    assert all(not item["deliveries"] for item in answer["listeners"])
    (note,) = answer["notes"]
    assert note.startswith("No message is sent: the canary could not be asked: ") and why in note
    statuses = {finding["status"] for finding in answer["findings"] if finding["control"] == "RELAY-03"}
    assert statuses == {"fail"}


def test_a_message_that_arrived_is_found(mailbox: Mailbox, tmp_path: Any) -> None:
    answer = mailbox.probe(tmp_path)
    assert [item["verdict"] for item in answer["listeners"]] == ["proven_open", "proven_open"], answer
    assert answer["notes"] == []
    tokens = [token for item in answer["listeners"] for token in item["tokens"]]
    came = mailbox.ask(*tokens, "mtaudit-never-sent", verify=False)
    assert came == [bool(re.search(f"(?m)^X-Mtaudit-Token: {token}$", mailbox.sh("cat ~canary/Maildir/*/* 2>/dev/null || :")))
                    for token in tokens] + [False]
    proven = [delivery for item in answer["listeners"] for delivery in item["deliveries"]]
    assert {delivery["outcome"] for delivery in proven} == {"arrived"}
    assert came.count(True) == len(proven) >= 2
    unread = mailbox.sh("ls ~canary/Maildir/new ~canary/Maildir/cur")
    assert ",S" not in unread, "asking leaves the mailbox as it is"


def test_with_a_wrong_password_nothing_is_sent(mailbox: Mailbox, tmp_path: Any) -> None:
    before = mailbox.lab.mail_log(mailbox.host).count("auth failed")
    answer = mailbox.probe(tmp_path, password="Ivory-wrong")
    assert_accepts_without_a_message(answer, f"IMAP mailbox of canary at {mailbox.name} port 993 could not be asked: "
                                             "[AUTHENTICATIONFAILED] Authentication failed.")
    assert mailbox.lab.mail_log(mailbox.host).count("auth failed") - before <= 1, "one attempt: nobody is locked out"


def test_a_stopped_server_makes_nothing_closed(changed: Mailbox, tmp_path: Any) -> None:
    changed.sh("systemctl stop dovecot.socket dovecot 2>/dev/null || systemctl stop dovecot")
    assert_accepts_without_a_message(changed.probe(tmp_path), "Connection refused")


def test_a_server_that_stops_after_the_message_makes_nothing_closed(changed: Mailbox, tmp_path: Any) -> None:
    """The check before the probe succeeds; Postfix takes the message and keeps it elsewhere; then Dovecot goes away."""
    changed.sh("echo 'canary: /var/tmp/taken' >> /etc/aliases && newaliases "
               "&& touch /var/tmp/taken && chown nobody /var/tmp/taken")
    changed.sh("systemd-run --quiet --unit taken sh -c 'until [ -s /var/tmp/taken ]; do sleep 0.1; done; systemctl stop dovecot'")
    try:
        answer = changed.probe(tmp_path, wait_s=8)
    finally:
        changed.sh("systemctl stop taken; sed -i /taken/d /etc/aliases; newaliases; rm -f /var/tmp/taken")
    assert answer["notes"] == [], "the canary answered before"
    assert [item["verdict"] for item in answer["listeners"]] == ["accepts", "accepts"], answer
    sent = [delivery for item in answer["listeners"] for delivery in item["deliveries"]]
    assert sent and {delivery["outcome"] for delivery in sent} == {"unasked"}
    said = json.dumps(answer["findings"])
    assert "the canary could not be asked: IMAP mailbox of canary" in said and "Connection refused" in said


def test_certificates(mailbox: Mailbox) -> None:
    own = mailbox.sh(f"cat {CERTIFICATE}")
    assert mailbox.ask("x", trusts=own) == [False]
    assert mailbox.ask("x", tls=False, trusts=own) == [False]
    for tls in (True, False):
        (said,) = mailbox.ask("x", tls=tls)
        assert said == (f"IMAP mailbox of canary at {mailbox.name} port {993 if tls else 143} could not be asked: "
                        "its certificate is not trusted: self-signed certificate (verify: false takes any)")
    (said,) = mailbox.ask("x", host=mailbox.lab.host(mailbox.host).ipv4, trusts=own)
    assert "its certificate is not trusted: IP address mismatch" in str(said)


def test_starttls_is_used_where_it_is_offered(mailbox: Mailbox) -> None:
    assert mailbox.ask("x", tls=False, verify=False) == [False]
    log = mailbox.lab.mail_log(mailbox.host)
    last = [line for line in log.splitlines() if re.search(r"imap-login: (Login|Logged in)", line)][-1]
    assert "TLS" in last


def test_no_password_in_clear_to_a_server_that_takes_none(changed: Mailbox) -> None:
    changed.restart("ssl = no\n")  # the recipe allows no login in clear
    (said,) = changed.ask("x", tls=False)
    assert str(said).endswith("it takes no login without TLS, and offers no STARTTLS")
    log = changed.lab.mail_log(changed.host)
    last = [line for line in log.splitlines() if "imap-login:" in line][-1]
    assert "no auth attempts" in last.lower(), last


@pytest.mark.parametrize(("other", "said"), [
    ({"port": 143}, "TLS failed: WRONG_VERSION_NUMBER (tls: false is for ports that begin without TLS)"),
    ({"folder": "No \"such\" folder"}, "folder No \"such\" folder cannot be opened"),
    ({"user": "no body"}, "[AUTHENTICATIONFAILED] Authentication failed."),
    ({"host": "nobody.corp.test"}, "could not be asked: Name or service not known"),
    ({"port": 144}, "port 144 could not be asked: Connection refused"),
])
def test_what_does_not_fit_is_told(mailbox: Mailbox, other: dict[str, Any], said: str) -> None:
    (told,) = mailbox.ask("x", **{"verify": False, **other})
    assert said in str(told)


def test_another_folder(mailbox: Mailbox) -> None:
    mailbox.sh("doveadm mailbox create -u canary 'Proof of relaying' 2>/dev/null || :")
    assert mailbox.ask("x", verify=False, folder="Proof of relaying") == [False]


def test_a_server_that_hangs_is_left_in_time(changed: Mailbox) -> None:
    changed.sh("systemctl kill --signal=STOP dovecot")
    try:
        (said,) = changed.ask("x", verify=False)
    finally:
        changed.sh("systemctl kill --signal=KILL dovecot")  # stopping what was halted takes 90 s
    assert str(said).endswith("could not be asked: no answer within 10 s")


def test_many_listeners_ask_at_once(changed: Mailbox) -> None:
    """Dovecot refuses the connections of one user beyond a limit; ours stay below its default of 10, and of 5."""
    changed.restart("protocol imap {\n  mail_max_userip_connections = 5\n}\n")
    assert changed.ask(*[f"x{number}" for number in range(40)], threads=20, verify=False) == [False] * 40
