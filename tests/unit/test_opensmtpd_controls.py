"""OpenSMTPD's controls where no recording tells the cases apart: who owns a sender, who catches mail, what filters mail."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.readers.opensmtpd_model import OpenSmtpd
from test_opensmtpd_reader import read_config

RULES = """
table logins { alice = "x", bob = "x" }
table owned { %s }
listen on 0.0.0.0 port 587 tls-require auth <logins> senders <owned>
action "in" maildir
action "out" relay
match auth from any for any action "out"
match from any for domain "good.test" action "in"
"""


def answer(control: str, text: str, version: str = "7.6.0") -> Finding:
    smtpd = OpenSmtpd("/c", read_config(text), version=version, hostname="mail.good.test", running=True)
    (finding,) = REGISTRY[(control, "opensmtpd")].evaluate(smtpd, Site(kind="submission"))
    return finding


@pytest.mark.parametrize(
    ("owned", "status"),
    [
        ('alice = "alice@good.test", bob = "bob@good.test"', "pass"),
        ('alice = "@"', "fail"),
        ('alice = "alice@good.test", bob = "@good.test"', "fail"),
        ('alice = "@good.test", bob = "@good.test"', "fail"),
        ('alice = "@alice.test", bob = "bob@good.test"', "pass"),  # one person's own domain
        ('alice = "alice@good.test, info@good.test", bob = "bob@good.test, info@good.test"', "pass"),  # a shared mailbox
        ('alice = "alice@good.test, bob@good.test", bob = "alice@good.test, bob@good.test"', "fail"),
        ('alice = "alice@good.test"', "pass"),
    ],
)
def test_who_owns_a_sender(owned: str, status: str) -> None:
    assert answer("SENDER-01", RULES % owned).status.value == status


def test_where_tls_does_not_work_nobody_logs_in() -> None:
    assert answer("SENDER-01", RULES % 'alice = "alice@good.test"', "6.8.0p2").status.value == "informational"
    assert answer("AUTH-03", RULES % 'alice = "alice@good.test"', "6.8.0p2").status.value == "informational"


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("maildir", "pass"),  # accounts of the host
        ('lmtp "/run/lmtp" user vmail', "pass"),  # the same: who delivers knows nobody else
        ("maildir virtual { a@good.test = a }", "pass"),
        ("maildir virtual { a@good.test = a, \"@good.test\" = a }", "fail"),
        ("maildir virtual { \"@\" = a }", "fail"),
        ("maildir virtual { \"@other.test\" = a }", "pass"),
        ('maildir virtual { "@good.test" = "error:550 nobody" }', "pass"),
        ("relay", "fail"),
        ("maildir userbase <users>", "unknown"),
    ],
)
def test_who_catches_mail_for_nobody(action: str, status: str) -> None:
    text = f"""
    table users ldap:/etc/ldap.conf
    listen on 0.0.0.0
    action "in" {action}
    match from any for domain "good.test" action "in"
    """
    assert answer("RCPT-01", text).status.value == status


@pytest.mark.parametrize(
    ("filters", "status"),
    [
        ("", "pass"),
        ('filter "f" phase connect match !rdns disconnect "550 no"', "pass"),
        ('filter "f" proc-exec "filter-rspamd -url http://127.0.0.1:11333"', "pass"),
        ('filter "f" proc-exec "/usr/libexec/opensmtpd/filter-dkimsign -d good.test"', "pass"),
        ('filter "f" proc-exec "/usr/local/bin/own"', "unknown"),
        ('proc "p" "/usr/local/bin/own"\nfilter "f" proc "p"', "unknown"),
        ('proc "p" "filter-rspamd"\nfilter "f" proc "p"', "pass"),
        ('filter "g" proc-exec "/usr/local/bin/own"\nfilter "f" chain { "g" }', "unknown"),
        ('filter "g" proc-exec "/usr/local/bin/own"\nfilter "f" phase connect match !rdns disconnect "5"', "pass"),  # not used
    ],
)
def test_what_filters_mail(filters: str, status: str) -> None:
    used = ' filter "f"' if filters else ""
    assert answer("MILTER-01", f"{filters}\nlisten on 0.0.0.0{used}\n").status.value == status


@pytest.mark.parametrize(("version", "status"), [("6.8.0p2", "pass"), ("7.6.0", "pass"), ("7.0.0", "pass"), ("7.60", "unknown"),
                                                 ("8.0.0", "unknown"), ("", "unknown")])  # fmt: skip
def test_what_holds_by_version(version: str, status: str) -> None:
    assert answer("PATCH-02", "listen on 0.0.0.0\n", version).status.value == status


DOUBTFUL = 'helo regex "\\\\<mail"'


@pytest.mark.parametrize(
    ("control", "rule", "filters", "status"),
    [
        ("RELAY-01", 'match from src "198.19.0.0/16" for any action "out"', "", "fail"),
        ("RELAY-01", f'match from src "198.19.0.0/16" {DOUBTFUL} for any action "out"', "", "unknown"),
        ("RELAY-01", f'match from src "127.0.0.1" {DOUBTFUL} for any action "out"', "", "pass"),
        ("RELAY-03", 'match from any mail-from "boss@partner.test" for any action "out"', "", "fail"),
        ("RELAY-03", f'match from any mail-from "boss@partner.test" {DOUBTFUL} for any action "out"', "", "unknown"),
        ("RELAY-03", 'match from any mail-from "boss@partner.test" for any action "out"', 'filter "program"', "unknown"),
        ("RELAY-03", "", 'filter "program"', "pass"),
        ("RELAY-01", "", 'filter "program"', "pass"),
    ],
)
def test_what_may_open_for_some_is_no_pass(control: str, rule: str, filters: str, status: str) -> None:
    listens = f'filter "program" proc-exec "/bin/judge"\nlisten on 0.0.0.0 port 25 {filters}\n'
    text = f'{listens}action "in" maildir\naction "out" relay\n{rule}\n'
    assert answer(control, f'{text}match from any for domain "good.test" action "in"\n').status.value == status
