"""Stored passwords: Dovecot's own hashes are the oracle, recorded from 2.3.19 and 2.4.1."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.passwords import cost, guesses, guessing, schemes
from ansible.module_utils.mtaudit.passwords.accounts import Account, alike
from ansible.module_utils.mtaudit.passwords.common import COMMON
from ansible.module_utils.mtaudit.passwords.guesses import EMPTY, INITIAL, NAME, SITE, USUAL, Words
from ansible.module_utils.mtaudit.passwords.unsupported import Unsupported

# Each scheme of doveadm-pw(1) with three passwords of alice@example.org: what `doveadm pw -l` lists, made by `doveadm pw -s`.
RECORDED = json.loads((Path(__file__).parent / "dovecot_passwords.json").read_text())
NOT_COMPUTED = ("PLAIN-MD4", "OTP")  # MD4 is in no library that is always there
USER = "alice@example.org"


@pytest.mark.parametrize("made", RECORDED, ids=lambda made: f"{made['release']}-{made['scheme']}-{len(made['password'])}")
def test_a_password_of_dovecot_is_recognised_and_no_other(made: dict[str, str]) -> None:
    matches = schemes.check(schemes.of_dovecot(USER, made["stored"], ""))
    assert matches(made["password"].encode())
    assert not matches(b"another") and not matches(b"")


def test_every_scheme_of_dovecot_is_known() -> None:
    recorded = {schemes.of_dovecot(USER, made["stored"], "").scheme for made in RECORDED}
    assert recorded and all(schemes.Stored(USER, scheme, "x").worth for scheme in recorded)


@pytest.mark.parametrize(("field", "scheme", "locked", "empty"), [
    ("", "", False, True),
    ("*", "", True, False),
    ("!", "", True, False),
    ("!*", "", True, False),
    ("!$6$salt$abc", "SHA512-CRYPT", True, False),
    ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "YESCRYPT", False, False),
    ("$gy$j9T$x$y", "GOST-YESCRYPT", False, False),
    ("$2b$05$abc", "BLF-CRYPT", False, False),
    ("$5$rounds=1000$salt$abc", "SHA256-CRYPT", False, False),
    ("$1$salt$abc", "MD5-CRYPT", False, False),
    ("_J9..SDizh.vll5VED9g", "BSDI-CRYPT", False, False),
    ("abJnggxhB/yWI", "DES-CRYPT", False, False),
    ("plainly-no-hash", "", False, False),
])  # fmt: skip
def test_a_field_of_shadow_is_read_as_login_reads_it(field: str, scheme: str, locked: bool, empty: bool) -> None:
    stored = schemes.of_shadow("alice", field)
    assert (stored.scheme, stored.locked, stored.empty) == (scheme, locked, empty)


@pytest.mark.parametrize("text", [
    "{SSHA}", "{SSHA}not base64!", "{SHA}QUJD", "{SHA512}" + "a" * 87, "{CRAM-MD5}abc", "{DIGEST-MD5}zz", "{PBKDF2}$1$salt$0$00",
    "{SCRAM-SHA-256}4096,=,=", "{SHA512-CRYPT}$6$", "{SHA512-CRYPT}$6$salt$cut", "{BLF-CRYPT}$2y$99$x", "{ARGON2ID}$argon2id$",
    "{WHATEVER}x", "{PLAIN-TRUNC}secret", "nothing-tells-the-scheme", "{DES-CRYPT}%zq%",
])  # fmt: skip
def test_what_is_malformed_is_told_and_hits_nothing(text: str) -> None:
    tries = guessing.guess([Account(schemes.of_dovecot(USER, text, ""), "users")], Words(), 5).tries[0]
    assert tries.problem and not tries.weakness
    assert text.partition("}")[2] not in tries.problem or not text.partition("}")[2]


def sha1(word: str) -> str:
    return "{SHA.hex}" + hashlib.sha1(word.encode()).hexdigest()


@pytest.mark.parametrize(("user", "word", "weakness"), [
    (USER, "", EMPTY), (USER, "alice", NAME), (USER, "Alice2026!", NAME), (USER, "ecila", NAME), (USER, USER, NAME),
    ("jane.doe@example.org", "jdoe", NAME), ("jane.doe@example.org", "doe123", NAME), (USER, "Example2025", SITE),
    (USER, "acme123", SITE), (USER, "Welcome-to-Acme", INITIAL), (USER, "letmein", USUAL), (USER, COMMON[99], USUAL),
    ("letmein@example.org", "letmein", NAME), (USER, COMMON[100], ""), (USER, "Wren-Copper-Lantern-58", ""),
])  # fmt: skip
def test_what_is_guessed(user: str, word: str, weakness: str) -> None:
    words = Words(site=("acme",), initial=("Welcome-to-Acme",), common=100, year=2026)
    for text in (sha1(word), "{CLEAR}" + word):
        found = guessing.guess([Account(schemes.of_dovecot(user, text, ""), "users")], words, 5).tries[0]
        assert found.weakness == weakness


def slow(user: str) -> Account:
    """About a millisecond a guess."""
    stored = next(made["stored"] for made in RECORDED if made["scheme"] == "SHA512-CRYPT")
    return Account(schemes.of_dovecot(user, stored, ""), "users")


def test_a_budget_is_spent_on_all_accounts_and_the_rest_is_for_the_next_run() -> None:
    accounts = [slow(f"user{n}@example.org") for n in range(40)]
    words = Words(common=100, year=2026)
    first = guessing.guess(accounts, words, 0.4)
    tried = [each.tried for each in first.tries]
    assert 0.4 <= first.spent_s and not all(each.over for each in first.tries)
    assert max(tried) - min(tried) <= 2 * 8, "each has its turn"
    before = {each.account.key: each.tried for each in first.tries}
    second = guessing.guess(accounts, words, 0.4, before=before)
    assert all(now.tried >= each.tried for now, each in zip(second.tries, first.tries))
    assert sum(each.tried for each in second.tries) > sum(tried)


def test_what_is_fast_to_guess_is_guessed_though_slow_ones_stand_before_it() -> None:
    fast = Account(schemes.of_dovecot("bob@example.org", sha1("bob"), ""), "users")
    found = guessing.guess([*(slow(f"user{n}") for n in range(20)), fast], Words(), 0.05)
    assert found.tries[-1].weakness == NAME


def test_what_is_locked_is_not_tried() -> None:
    assert not guessing.guess([Account(schemes.of_shadow("alice", "!" + "$6$salt$x"), "shadow")], Words(), 5).tries


def test_equal_passwords_show_where_the_scheme_shows_them() -> None:
    names = ("a", "b", "c")
    unsalted = [Account(schemes.of_dovecot(name, sha1("same"), ""), "users") for name in names[:2]]
    base64 = Account(schemes.of_dovecot("c", "{SHA}" + "jrFt3J9yQb2O8PtDfCvNLhDnHkc=", ""), "users")
    groups = alike([*unsalted, base64, slow("d"), slow("e")])
    assert [[account.stored.user for account in group] for group in groups] == [["a", "b"]]


def test_no_text_of_a_password_is_in_what_is_shown() -> None:
    account = Account(schemes.of_dovecot(USER, "{PLAIN}hunter2-secret", ""), "users")
    assert "hunter2" not in repr(account) and "hunter2" not in str(account) and "hunter2" not in account.key


def test_an_unknown_scheme_is_not_computed() -> None:
    for scheme in NOT_COMPUTED:
        with pytest.raises(Unsupported):
            schemes.check(schemes.Stored(USER, scheme, "x"))


def test_accounts_without_number_cost_no_more_than_the_budget() -> None:
    """What is guessed for an account is thought of when its turn comes."""
    accounts = [Account(schemes.of_shadow(f"user{n}", "$6$rounds=5000$abcdefgh$" + "x" * 86), "t") for n in range(20_000)]
    done = guessing.guess(accounts, Words(common=100, year=2026), 0.05, threads=1)
    begun = sum(1 for each in done.tries if each.planned)
    assert 0 < begun < 1000 and not any(each.over for each in done.tries if not each.planned)
    planned, whole = done.planned
    assert not whole and planned > 100 * len(accounts)


# crypt(3) takes most of these: by their N and r, yescrypt and scrypt ask for gigabytes.
@pytest.mark.parametrize(("text", "problem"), [
    ("$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$" + "A" * 43, "4096 MiB a guess"),
    ("$argon2id$v=19$m=65536,t=9999,p=1$c29tZXNhbHQ$" + "A" * 43, "one guess takes about 655 s"),
    ("$y$jJT$F5Jx5fExrKuPp53xLKQ..1$" + "x" * 43, "16384 MiB a guess"),
    ("$gy$jJT$F5Jx5fExrKuPp53xLKQ..1$" + "x" * 43, "16384 MiB a guess"),
    ("$y$j9T/zzzzz$F5Jx5fExrKuPp53xLKQ..1$" + "x" * 43, "one guess takes about"),
    ("$y$jzzzzzzzz9T$F5Jx5fExrKuPp53xLKQ..1$" + "x" * 43, "is not to be read"),
    ("$7$K6..../....salt$" + "x" * 43, "4096 MiB a guess"),
    ("$7$66....zzz..salt$" + "x" * 43, "one guess takes about"),
    ("$6$rounds=999999999$salt$" + "x" * 86, "one guess takes about 420 s"),
    ("$5$rounds=999999999$salt$" + "x" * 43, "one guess takes about 550 s"),
    ("$2b$20$" + "x" * 53, "one guess takes about 63 s"), ("$2y$31$" + "x" * 53, "one guess takes about"),
    ("$2y$99$" + "x" * 53, "is not to be read"),
    ("$sha1$4294967295$salt$" + "x" * 32, "one guess takes about"),
    ("$md5,rounds=4294963199$salt$" + "x" * 22, "one guess takes"),
    ("{PBKDF2}$1$salt$99999999$" + "a" * 40, "one guess takes about 36 s"),
    ("{SCRAM-SHA-256}99999999,c2FsdA==,AAAA,AAAA", "one guess takes about 40 s"),
    ("{SCRAM-SHA-1}99999999,c2FsdA==,AAAA,AAAA", "one guess takes about 36 s"),
])  # fmt: skip
def test_what_would_take_the_hosts_time_or_memory_is_not_begun(text: str, problem: str) -> None:
    began = time.thread_time()
    stored = schemes.of_dovecot(USER, text if text.startswith("{") else "{CRYPT}" + text, "")
    (tries,) = guessing.guess([Account(stored, "users")], Words(), 20).tries
    assert problem in tries.problem and not tries.tried and time.thread_time() - began < 1, tries.problem


@pytest.mark.parametrize(("setting", "seconds"), [
    ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$", 0.03), ("$7$C6..../....abcdefghijklmnop$", 0.04), ("$2b$08$abcdefghijklmnopqrstuu", 0.015),
    ("$6$rounds=50000$abcdefgh$", 0.02), ("$6$abcdefgh$", 0.002), ("$md5,rounds=5000$abcdefgh$", 0.013),
    ("$sha1$20000$abcdefgh$", 0.02), ("_zzz.abcd" + "x" * 11, 0.04),
])  # fmt: skip
def test_the_estimate_is_near_what_a_guess_takes(setting: str, seconds: float) -> None:
    """`seconds` were measured with libxcrypt 4.4; a machine may be as slow as it likes, the estimate stays."""
    assert seconds / 3 < cost.of(schemes.of_shadow("bob", setting)).seconds < 3 * seconds


def test_a_guess_that_lasts_does_not_keep_the_others_waiting() -> None:
    """It gets its turn when each other has had as much time; and none that cannot end within the budget."""
    lasting = Account(schemes.of_shadow("bob", "$2b$14$" + "x" * 53), "t")
    first = guessing.guess([lasting, *(slow(f"user{n}") for n in range(40))], Words(common=100), 1.5, threads=1)
    assert not first.tries[0].tried and not first.tries[0].problem, "not in this run"
    assert all(each.tried for each in first.tries[1:]) and first.spent_s < 2


def test_a_guess_that_never_ends_does_not_hold_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guessing, "_PATIENCE", 2)
    monkeypatch.setattr(guessing, "check", lambda stored: lambda guess: bool(time.sleep(60)))
    began = time.monotonic()
    guessing.guess([slow("bob")], Words(), 0.2)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("name", "value"), [
    ("_TAILS", ("", "2")), ("COMMON", ("other", *COMMON[1:])), ("_EXAMPLES", ()),
])  # fmt: skip
def test_another_release_that_makes_other_guesses_begins_anew(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Or it would skip as many of its own as the one before it had tried."""
    before = Words(common=10, year=2026).digest("salt")
    assert Words(common=10, year=2026).digest("salt") == before != Words(common=10, year=2026).digest("other")
    monkeypatch.setattr(guesses, name, value)
    assert Words(common=10, year=2026).digest("salt") != before


def test_what_is_made_of_a_login_tells_its_guesses_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    words, own = Words(common=10, year=2026), Words.own
    before = words.digest("salt")
    monkeypatch.setattr(Words, "own", lambda self, user: [guess for guess in own(self, user) if guess.word != "ACruz9"])
    assert words.digest("salt") != before
