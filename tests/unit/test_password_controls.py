"""What the controls on stored passwords say of tables, and that they say it without a password."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.passwords.accounts import Account
from ansible.module_utils.mtaudit.passwords.schemes import of_dovecot, of_shadow
from ansible.module_utils.mtaudit.readers.last_logins import LastLogins
from ansible.module_utils.mtaudit.readers.password_policy import Asked, Policy
from ansible.module_utils.mtaudit.readers.password_table import DOVECOT, SHADOW, Table
from ansible.module_utils.mtaudit.readers.password_tables import Passwords
from ansible.module_utils.mtaudit.readers.system import Host

DAY = 86_400.0
NOW = 20_000 * DAY
STRONG = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
NAMES = ["test", "scan"]


def shadow(*accounts: Account) -> Table:
    return Table("/etc/shadow", SHADOW, accounts)


def dovecot(*lines: tuple[str, str]) -> Table:
    return Table("/u", DOVECOT, tuple(Account(of_dovecot(user, text, "PLAIN"), "/u") for user, text in lines))


def person(user: str, field: str = STRONG, uid: int = 1000, shell: str = "/bin/sh", since: int = 0) -> Account:
    return Account(of_shadow(user, field), "/etc/shadow", uid, shell, since)


def said(
    control: str, *tables: Table, logins: LastLogins | None = None, policy: Policy = Policy(), **more: Any  # noqa: B008
) -> Finding:
    host = Host(passwords=Passwords(tables, **more), policy=policy, last_logins=logins or LastLogins(), now=NOW)
    found = list(REGISTRY[control, "os"].evaluate(host, Site(tunables={"default_names": NAMES, "dormant_days": 180})))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("text", "status"), [
    ("{PLAIN}secret-word", "fail"), ("{SSHA}c2VjcmV0", "fail"), ("{CRAM-MD5}" + "a" * 64, "fail"),
    ("{SHA512-CRYPT}$6$a$b", "pass"), ("{ARGON2ID}$argon2id$", "pass"), ("{WHATEVER}secret-word", "unknown"),
])  # fmt: skip
def test_what_a_scheme_is_worth(text: str, status: str) -> None:
    finding = said("PASS-03", dovecot(("alice", text)))
    assert finding.status.value == status
    assert "secret" not in json.dumps(finding.to_dict()) and "c2VjcmV0" not in json.dumps(finding.to_dict())


def test_the_first_few_are_named_and_the_others_counted() -> None:
    finding = said("PASS-03", dovecot(*((f"user{n}", "{PLAIN}x") for n in range(9))))
    assert finding.evidence[0].text == (
        "9 passwords readable (PLAIN): user0, user1, user2, user3, user4 and 4 more")  # fmt: skip
    assert finding.evidence[1].text.startswith("9 accounts have the same password: user0, ")


def test_an_account_that_is_locked_here_and_open_in_dovecot() -> None:
    finding = said("PASS-04", shadow(person("scan", f"!{STRONG}")), dovecot(("scan@a.test", "{SHA512-CRYPT}$6$a$b")))
    assert [(seen.where, seen.text) for seen in finding.evidence] == [
        ("/u", "1 account with a default name and a password: scan@a.test")]  # fmt: skip


@pytest.mark.parametrize(("account", "nullok", "status"), [
    (person("alice", ""), "/etc/pam.d/common-auth:17", "fail"),
    (person("alice", ""), "", "pass"),
    (person("Test"), "", "fail"),
    (person("test", "*"), "", "pass"),
    (person("toor", "*", uid=0), "", "fail"),
    (person("root", uid=0), "", "pass"),
    (person("mysql", uid=110), "", "fail"),
    (person("nobody", uid=65534), "", "fail"),
    (person("alice"), "", "pass"),
])  # fmt: skip
def test_who_gets_in_without_asking(account: Account, nullok: str, status: str) -> None:
    assert said("PASS-04", shadow(account), nullok=nullok).status.value == status


def test_a_table_for_everybody() -> None:
    assert said("PASS-04", Table("passdb static", DOVECOT, everybody=True)).status.value == "fail"


@pytest.mark.parametrize("control", ["PASS-03", "PASS-04", "PASS-05"])
def test_what_is_not_read_is_unknown(control: str) -> None:
    host = LastLogins({"alice": NOW}, {"alice": NOW})
    for table in (Table("/u", DOVECOT, problem="Could not read /u"), Table("/u", DOVECOT, malformed=("/u:3",), skipped=2)):
        finding = said(control, shadow(person("alice")), table, logins=host)
        assert finding.status.value == "unknown" and "/u" in finding.reason


@pytest.mark.parametrize(("since", "shell", "mail", "system", "status"), [
    (19_900, {}, {}, (), "pass"),  # the password is young
    (100, {"alice": 0.0}, {}, (), "fail"),  # never, and nothing but a shell to log in to
    (100, {"alice": NOW - DAY}, {}, (), "pass"),
    (100, {"alice": NOW - 200 * DAY}, {}, ("Dovecot",), "unknown"),  # perhaps for mail
    (100, {"alice": 0.0}, {"alice": NOW - 200 * DAY}, ("Dovecot",), "fail"),
    (100, {"alice": 0.0}, {"alice": NOW - DAY}, ("Dovecot",), "pass"),
])  # fmt: skip
def test_who_lies_idle(since: int, shell: dict[str, float], mail: dict[str, float], system: tuple[str, ...], status: str) -> None:
    finding = said("PASS-05", shadow(person("alice", since=since)), logins=LastLogins(shell, mail), system=system)
    assert finding.status.value == status, finding.message


def test_a_million_accounts_are_judged_in_seconds() -> None:
    table = dovecot(*((f"user{n}", "{SSHA}c2VjcmV0" + str(n)) for n in range(300_000)))
    began = time.process_time()
    for control in ("PASS-03", "PASS-04", "PASS-05"):
        said(control, table, logins=LastLogins(mail={"nobody": 0.0}))
    assert time.process_time() - began < 15


@pytest.mark.parametrize(("account", "policy", "status"), [
    (person("dora", shell="/bin/bash"), Policy((Asked("pam_unix", "/x:1", 6),)), "fail"),
    (person("dora", shell="/bin/bash"), Policy((Asked("pam_pwquality", "/x:1", 12, 1, True, True),)), "pass"),
    (person("dora", shell="/bin/bash"), Policy((Asked("pam_pwquality", "/x:1", 12, 1, True, True, unheeded="why"),)), "fail"),
    (person("dora", shell="/bin/bash"), Policy((Asked("pam_pwquality", "/x:1", 12, 1, False, True),)), "fail"),
    (person("dora", shell="/bin/bash"), Policy((), ("/x:1 is no line of PAM's",)), "unknown"),
    (person("dora", shell="/usr/sbin/nologin"), Policy((Asked("pam_unix", "/x:1", 6),)), "notapplicable"),
    (person("dora", "!", shell="/bin/bash"), Policy((Asked("pam_unix", "/x:1", 6),)), "notapplicable"),
    (person("root", uid=0, shell="/bin/bash"), Policy((Asked("pam_unix", "/x:1", 6),)), "notapplicable"),
])  # fmt: skip
def test_what_is_asked_of_a_new_password(account: Account, policy: Policy, status: str) -> None:
    assert said("PASS-01", shadow(account), policy=policy).status.value == status


QUALITY = Asked("pam_pwquality", "/x:1", 12, 1, True, True)


@pytest.mark.parametrize(("policy", "tunables", "text"), [
    (Policy((QUALITY,), hashed="YESCRYPT", hashed_by="/x:2"), {}, "a new password has 12 characters"),
    (Policy((QUALITY,), hashed="MD5-CRYPT", hashed_by="/x:2"), {}, "it is stored by MD5-CRYPT, which is fast to guess (/x:2)"),
    (Policy((QUALITY,)), {"remember": 5}, "none of the last 5 passwords of an account is refused"),
    (Policy((QUALITY, Asked("pam_pwhistory", "/x:2", remembered=1))), {"remember": 5}, "1 of the last 5 passwords"),
    (Policy((QUALITY, Asked("pam_pwhistory", "/x:2", remembered=9, unheeded="why"))), {"remember": 5}, "none of the last 5"),
    (Policy((QUALITY, Asked("pam_pwhistory", "/x:2", remembered=5))), {"remember": 5}, "a new password has 12 characters"),
    (Policy((QUALITY,)), {"renewed_since": "1970-01-21"}, "2 passwords are older than 1970-01-21: dora, eve"),
    (Policy((QUALITY,)), {"renewed_since": "1970-01-21", "renewed_by": ["eve"]}, "1 password is older than 1970-01-21: eve"),
    (Policy((QUALITY,)), {"renewed_since": "1970-01-11"}, "a new password has 12 characters"),
])  # fmt: skip
def test_what_else_is_wanted_of_passwords(policy: Policy, tunables: dict[str, Any], text: str) -> None:
    """Whoever has no shell cannot set a password; who has to set one already is asked for no more."""
    bash = "/bin/bash"
    people = (person("dora", shell=bash, since=10), person("eve", shell=bash, since=11), person("zoe", shell=bash, since=0),
              person("mail", shell="/usr/sbin/nologin", since=10))  # fmt: skip
    host = Host(passwords=Passwords((shadow(*people),)), policy=policy)
    (finding,) = REGISTRY["PASS-01", "os"].evaluate(host, Site(tunables=tunables))
    assert text in finding.message and finding.status.value == ("pass" if "has 12" in text else "fail")


def test_a_day_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="renewed_since is no day, as 2026-11-24 is one: yesterday"):
        list(REGISTRY["PASS-01", "os"].evaluate(Host(), Site(tunables={"renewed_since": "yesterday"})))


def test_tables_whose_passwords_pam_never_sees() -> None:
    good = Policy((Asked("pam_pwquality", "/x:1", 12, 1, True, True),))
    assert said("PASS-01", dovecot(("alice", "{CRYPT}$y$a$b")), policy=good).status.value == "unknown"
    assert said("PASS-01", dovecot(("alice", "{CRYPT}$y$a$b"))).status.value == "unknown"
    somebody = shadow(person("dora", shell="/bin/bash"))
    assert said("PASS-01", somebody, dovecot(("alice", "{CRYPT}$y$a$b"))).status.value == "fail"
