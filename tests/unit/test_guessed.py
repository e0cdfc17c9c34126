"""PASS-02: what is said of stored passwords after they were guessed, and what the next run goes on with."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.passwords.accounts import Account
from ansible.module_utils.mtaudit.passwords.schemes import of_dovecot
from ansible.module_utils.mtaudit.readers.password_table import Table
from ansible.module_utils.mtaudit.readers.password_tables import Passwords
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.simulate.passwords import guessed

SLOW = "{SHA512-CRYPT}$6$rounds=5000$abcdefgh$"
TUNABLES = {"guess_seconds": 20, "common": 10, "organisation": ["acme"], "initial_passwords": ""}


def said(tmp_path: Path, *kept: str, problem: str = "", **tunables: Any) -> Finding:
    accounts = tuple(Account(of_dovecot(f"user{n}@corp.test", text, ""), "/etc/dovecot/users") for n, text in enumerate(kept))
    passwords = Passwords((Table("/etc/dovecot/users", "dovecot", accounts, problem=problem),))
    state = tmp_path / "state" / "guessed.json"
    (finding,) = guessed(LocalRunner(), passwords, {**TUNABLES, **tunables}, ["corp.test"], state)
    assert (finding.control, finding.method.value) == ("PASS-02", "simulation")
    return finding


def test_who_fell_and_to_what(tmp_path: Path) -> None:
    kept = ("user0", "Acme123", "Corp2", "dragon", "user4", "Wren-Copper-58")
    finding = said(tmp_path, *(f"{{PLAIN}}{word}" for word in kept))
    assert finding.status.value == "fail"
    assert finding.message == "4 of 6 passwords were guessed: that of user0@corp.test is made from its own name, and 3 more"
    assert [(e.where, e.text) for e in finding.evidence] == [
        ("/etc/dovecot/users", "made from its own name: user0@corp.test, user4@corp.test"),
        ("/etc/dovecot/users", "made from the domain or the organisation: user1@corp.test"),
        ("/etc/dovecot/users", "among the commonest passwords: user3@corp.test"),
    ]
    for secret in ("Acme123", "dragon", "Wren"):
        assert secret not in str(finding.to_dict()) + (tmp_path / "state/guessed.json").read_text()


@pytest.mark.parametrize(("kept", "tunables", "status", "reason"), [
    (["{PLAIN}Wren-Copper-58"], {}, "pass", ""),
    (["{PLAIN}Wren-Copper-58"], {"guess_seconds": 0}, "unknown", "guess_seconds of PASS-02 is 0"),
    (["{PLAIN}Wren-Copper-58", "{OTP}x"], {}, "unknown", "scheme OTP"),
    ([], {}, "notapplicable", "no table"),
    (["*"], {}, "notapplicable", "no table"),
    (["{PLAIN}x"], {"initial_passwords": "/nonexistent"}, "error", "no such file"),
])  # fmt: skip
def test_what_is_not_known_is_said(tmp_path: Path, kept: list[str], tunables: dict[str, Any], status: str, reason: str) -> None:
    finding = said(tmp_path, *kept, **tunables)
    assert finding.status.value == status and reason in finding.reason, finding


def test_a_table_that_was_not_read_is_no_pass(tmp_path: Path) -> None:
    assert said(tmp_path, "{PLAIN}Wren-Copper-58", problem="SQL is not asked").reason == "SQL is not asked"


def test_what_the_site_hands_out_stays_in_its_file(tmp_path: Path) -> None:
    handed_out = tmp_path / "initial"
    handed_out.write_text("\ufeffWelcome-to-us-7\r\n\r\n")
    handed_out.chmod(0o600)
    finding = said(tmp_path, "{PLAIN}Welcome-to-us-7", initial_passwords=str(handed_out))
    assert finding.evidence[0].text == "an initial password of the site: user0@corp.test"
    assert "Welcome" not in (tmp_path / "state/guessed.json").read_text() + str(finding.to_dict())


@pytest.mark.parametrize(("make", "reason"), [
    (lambda path: os.mkfifo(path, 0o600), "not a regular file, but a fifo"),
    (lambda path: path.mkdir(0o700), "not a regular file, but a directory"),
    (lambda path: (path.write_text("Welcome-7"), path.chmod(0o644)), "others than root may read these passwords (mode 0644"),
    (lambda path: (path.write_text("Welcome-7"), path.chmod(0o640)), "chmod 600"),
    (lambda path: (path.write_bytes(b"Welcome-\xfc"), path.chmod(0o600)), "byte 8 is not UTF-8"),
    (lambda path: (path.write_text("x" * 100_000), path.chmod(0o600)), "larger than 1000 lines or 64 KiB"),
    (lambda path: (path.write_text("".join(f"W{n}\n" for n in range(1001))), path.chmod(0o600)), "larger than 1000 lines"),
], ids=["fifo", "directory", "readable by all", "readable by the group", "not text", "huge", "many"])  # fmt: skip
def test_initial_passwords_that_cannot_be_used_are_told(tmp_path: Path, make: Callable[[Path], Any], reason: str) -> None:
    make(tmp_path / "initial")
    finding = said(tmp_path, "{PLAIN}Welcome-7", initial_passwords=str(tmp_path / "initial"))
    assert finding.status.value == "error" and reason in finding.reason and "Welcome" not in str(finding.to_dict())
    assert str(tmp_path / "initial") in finding.reason and "initial_passwords of PASS-02" in finding.reason


def test_a_password_that_takes_hours_to_compare_is_named_and_the_others_are_guessed(tmp_path: Path) -> None:
    """sha512crypt allows 999,999,999 rounds, minutes of one core for one guess; the call cannot be stopped."""
    costly = "{SHA512-CRYPT}$6$rounds=999999999$abcdefgh$" + "x" * 86
    began = time.monotonic()
    finding = said(tmp_path, costly, "{PLAIN}Wren-Copper-58", costly, "{PLAIN}dragon")
    assert time.monotonic() - began < 10
    assert finding.status.value == "fail" and "1 of 4 passwords" in finding.message
    assert finding.evidence[1].text.startswith("not tried: one guess takes about 420 s of processor time, and there are 20 s")
    assert finding.evidence[1].text.endswith("user0@corp.test, user2@corp.test")
    finding = said(tmp_path, costly, "{PLAIN}Wren-Copper-58", costly)
    assert finding.status.value == "unknown" and "1 of 3" not in finding.message
    assert finding.reason.startswith("that of user0@corp.test and 1 more was not tried: one guess takes")


def test_what_was_not_tried_has_withstood_nothing(tmp_path: Path) -> None:
    costly = "{BLF-CRYPT}$2y$31$" + "x" * 53
    finding = said(tmp_path, costly, "{PLAIN}Wren-Copper-58", *[f"{SLOW}{'x' * 86}"] * 30, guess_seconds=0.3)
    assert finding.message.startswith("1 of 32 passwords have withstood all guesses"), finding
    assert "not tried" in finding.evidence[0].text and "was not tried" in finding.reason


def test_the_next_run_goes_on_where_this_one_stopped(tmp_path: Path) -> None:
    kept, state = [f"{SLOW}{'x' * 86}"] * 30, tmp_path / "state" / "guessed.json"
    first = said(tmp_path, *kept, guess_seconds=0.3)
    assert first.status.value == "unknown" and "the next audit goes on" in first.reason
    assert stat.S_IMODE(state.stat().st_mode) == 0o600 and stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    tried = sum(json.loads(state.read_text())["tried"].values())
    said(tmp_path, *kept, guess_seconds=0.3)
    assert sum(json.loads(state.read_text())["tried"].values()) > tried
    said(tmp_path, *kept, guess_seconds=0.01, common=11)
    assert sum(json.loads(state.read_text())["tried"].values()) < tried, "other guesses begin anew"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"words": 1}', '{"tried": {"a": "b"}, "words": "x", "salt": "y"}'])
def test_a_garbled_memory_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/guessed.json").write_text(text)
    assert said(tmp_path, "{PLAIN}Wren-Copper-58").status.value == "pass"


def test_a_memory_that_cannot_be_kept_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    assert said(tmp_path, "{PLAIN}Wren-Copper-58").status.value == "pass"
