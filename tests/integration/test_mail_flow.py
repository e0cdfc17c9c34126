"""Mail flows or it does not: what the module says about real servers, good and broken; against swaks, sink and mailbox."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mail_flow import CANARY, FlowingHost, Lab, arrived, flowing_host

pytestmark = pytest.mark.lab

IN, LOCAL, OUT, STARTTLS, WRAPPED = "in 25", "local", "out", "submission 587", "submission 465"
LOGINS = {STARTTLS, WRAPPED}
ACTIVATE = "/usr/local/lib/lab/activate"
NO_MAILBOX = "userdel bob"
RELOAD = "postfix reload; sleep 1"
SMART_HOST = r"define(`SMART_HOST'\'', `esmtp:[127.0.0.9]'\'')dnl"
NO_RELAY = "s|^action \"outside\" relay|& host smtp://127.0.0.1:9|"

# What flows on a good host; and what is planted: the script, and what then does not flow any more.
GOOD = {
    "mx": {IN, LOCAL, OUT}, "full": {IN, LOCAL, OUT, *LOGINS}, "exim": {IN, LOCAL, OUT, *LOGINS},
    "sendmail": {IN, LOCAL, OUT, STARTTLS}, "opensmtpd": {IN, LOCAL, OUT, *LOGINS},
}  # fmt: skip
CASES: dict[str, dict[str, tuple[str, set[str]]]] = {
    "mx": {
        "null-client": ("postconf -e inet_interfaces=loopback-only; systemctl restart postfix; sleep 1", {IN}),
    },
    "full": {
        "stopped": ("systemctl stop postfix", {IN, LOCAL, OUT, *LOGINS}),
        "no-port-25": (f"postconf -MX smtp/inet; {RELOAD}", {IN}),
        "no-587": (f"postconf -MX submission/inet; {RELOAD}", {STARTTLS}),
        "no-logins": ("systemctl stop dovecot", LOGINS),
        "not-out": (f"postconf -e default_transport=smtp:[127.0.0.1]:9; {RELOAD}", {OUT, *LOGINS}),
        "no-local-users": (f"postconf -e authorized_submit_users=root; {RELOAD}", {OUT, LOCAL}),
        "no-mailbox": (NO_MAILBOX, {IN, LOCAL}),
        "filter-down": ("systemctl stop rspamd", {IN, LOCAL, OUT, *LOGINS}),
    },
    "exim": {
        "stopped": ("systemctl stop exim4", {IN, *LOGINS}),  # sendmail(1) delivers by itself
        "no-587": (f"sed -i 's/ : 587$//' /etc/exim4/conf.d/main/000_localmacros; {ACTIVATE}", {STARTTLS}),
        "not-out": ("sed -i \"s/='internet'/='smarthost'/; s/^dc_smarthost=.*/dc_smarthost='127.0.0.1::9'/\" "
                    f"/etc/exim4/update-exim4.conf.conf; {ACTIVATE}", {OUT, *LOGINS}),
        "no-mailbox": (NO_MAILBOX, {IN, LOCAL}),
    },
    "sendmail": {
        "stopped": ("systemctl stop sendmail", {IN, LOCAL, OUT, STARTTLS}),
        "no-587": (f"sed -i '/Name=MSA/d' /etc/mail/sendmail.mc; {ACTIVATE}", {STARTTLS}),
        "not-out": (f"sed -i '/^MAILER_DEFINITIONS/i {SMART_HOST}' /etc/mail/sendmail.mc; {ACTIVATE}", {OUT, STARTTLS}),
        "no-mailbox": (NO_MAILBOX, {IN, LOCAL}),
    },
    "opensmtpd": {
        "stopped": ("systemctl stop opensmtpd", {IN, LOCAL, OUT, *LOGINS}),
        "no-587": (f"sed -i '/port 587/d' /etc/smtpd.conf; {ACTIVATE}", {STARTTLS}),
        "not-out": (f"sed -i '{NO_RELAY}' /etc/smtpd.conf; {ACTIVATE}", {OUT, *LOGINS}),
        "no-mailbox": (NO_MAILBOX, {IN, LOCAL}),
    },
}  # fmt: skip
QUICK = {"null-client", "no-587", "not-out", "no-mailbox"}  # the others take a minute more for each server
SAMPLE = ("mx-d13", "full-d13")
OTHERS = ("exim-d13", "sendmail-d13", "opensmtpd-d13", "full-d12", "exim-d12", "sendmail-d12", "opensmtpd-d12")
NO_LOGINS = {"opensmtpd-d12"}  # no TLS, hence no submission


class Oracle:
    """Sends by swaks and sendmail(1), and looks itself: in the mailbox, and at the sink."""

    def __init__(self, host: FlowingHost) -> None:
        self.host = host
        self.tokens: dict[str, str] = {}

    def send(self) -> None:
        about, known = self.host.about, self.host.known
        self.swaks(IN, "--to", known, "--from", "postmaster@stranger.test")
        login = ["--from", f"alice@{about.mail_domain}", "--to", CANARY, "-au", "alice", "-ap", "Wren-Copper-Lantern-58"]
        self.swaks(STARTTLS, "-tls", "-p", "587", *login)
        self.swaks(WRAPPED, "-tlsc", "-p", "465", *login)
        for name, recipient in ((OUT, CANARY), (LOCAL, known)):
            message = f"Subject: oracle\\nX-Mtaudit-Token: {self.token(name)}\\n\\nHello\\n"
            script = f"printf '{message}' | setpriv --reuid nobody --regid nogroup --clear-groups sendmail -i {recipient}"
            self.host.lab.execute(self.host.name, "sh", "-c", script)

    def swaks(self, name: str, *words: str) -> None:
        header = f"X-Mtaudit-Token: {self.token(name)}"
        self.host.lab.execute("stranger", "swaks", "--server", self.host.about.ipv4, "--helo", "mail.stranger.test",
                              "--add-header", header, "--timeout", "8", *words)  # fmt: skip

    def token(self, name: str) -> str:
        self.tokens[name] = f"oracle-{uuid.uuid4().hex}"
        return self.tokens[name]

    def came(self, name: str) -> bool:
        token = self.tokens[name]
        if name in (IN, LOCAL):
            return bool(self.host.lab.execute(self.host.name, "grep", "-rl", token, "/home/bob/Maildir/new").stdout)
        sink = f"http://{self.host.lab.host('sink').ipv4}:8025/token/{token}"
        ask = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
        return bool(self.host.lab.execute("stranger", "python3", "-c", ask, sink).returncode == 0)

    def flowing(self, wanted: set[str]) -> set[str]:
        """What came; waits for what is wanted, at most 10 s."""
        self.send()
        for _ in range(20):
            found = {name for name in self.tokens if self.came(name)}
            if found >= wanted:
                break
            time.sleep(0.5)
        return found


@pytest.fixture(params=[*SAMPLE, *(pytest.param(base, marks=pytest.mark.full) for base in OTHERS)])
def host(lab: Lab, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlowingHost]:
    with flowing_host(lab, request.param, tmp_path) as made:
        yield made


@pytest.mark.parametrize("rest", [False, pytest.param(True, marks=pytest.mark.full)], ids=["quick", "rest"])
def test_all_directions_flow_and_break_as_they_really_do(host: FlowingHost, rest: bool) -> None:
    kind = host.base.partition("-")[0]
    good = GOOD[kind] - (LOGINS if host.base in NO_LOGINS else set())
    before = host.run()
    assert arrived(before) == good, before
    assert Oracle(host).flowing(good) == good

    again = host.run(before["answers"])
    assert again["broken"] == [] and {c["verdict"] for c in again["compared"]} <= {"kept", "was_broken"}, again
    assert [c["proven"] for c in again["compared"]] == [c["verdict"] == "kept" for c in again["compared"]]

    host.shell("mkdir /root/kept; cp -a /etc /root/kept/")
    for name, (script, broken) in CASES[kind].items():
        broken = broken & good
        if not broken or (name in QUICK) is rest:
            continue
        host.shell(script)
        try:
            after = host.run(before["answers"], canary_wait_s=3, put_off_s=3)
            said = {label(c): c for c in after["compared"]}
            told = {label: c["verdict"] for label, c in said.items() if label in good}
            assert told == {each: "broken" if each in broken else "kept" for each in good}, (name, said)
            assert len(after["broken"]) == len(broken), (name, after["broken"])
            assert Oracle(host).flowing(good - broken) == good - broken, name
        finally:
            restore(host)
    after = host.run(before["answers"])
    assert after["broken"] == [] and arrived(after) == good, after


def label(compared: dict[str, Any]) -> str:
    return f"{compared['direction']} {compared['where'].rpartition(':')[2]}".replace(" sendmail", "")


def restore(host: FlowingHost) -> None:
    """As before: /etc with its accounts, the daemons running."""
    unit = {"exim": "exim4"}.get(host.program, host.program)
    more = "rspamd" if host.program != "postfix" or not host.base.startswith("full") else "rspamd dovecot"
    host.shell("for d in exim4 postfix mail smtpd.conf passwd shadow group gshadow; do [ ! -e /root/kept/etc/$d ] || "
               f"cp -a /root/kept/etc/$d /etc/; done; systemctl reset-failed; systemctl restart {more} {unit}; "
               + ("update-exim4.conf; systemctl restart exim4; " if host.program == "exim" else "")
               + "for i in $(seq 100); do ss -Hltn 'sport = :25' | grep -q . && break; sleep 0.1; done")  # fmt: skip


def test_what_is_not_declared_is_not_sent(lab: Lab, tmp_path: Path) -> None:
    with flowing_host(lab, "mx-d13", tmp_path) as host:
        host.known = ""
        answer = host.run(login=False, canary="", canary_check={})
        told = {a["direction"]: (a["status"], a["detail"]) for a in answer["answers"]}
        assert told["in"] == told["local"] == ("not_sent", "no known recipient is declared")
        assert told["submission"] == ("not_sent", "no test login is declared")
        assert set(answer["unproven"]) >= {"in", "local", "submission"}
