"""PASS-02: what is said of stored passwords after they were guessed, and what the next run goes on with."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.passwords.accounts import Account
from ansible.module_utils.mtaudit.passwords.schemes import of_dovecot
from ansible.module_utils.mtaudit.readers.password_table import Table
from ansible.module_utils.mtaudit.readers.password_tables import Passwords
from ansible.module_utils.mtaudit.simulate.passwords import guessed

SLOW = "{SHA512-CRYPT}$6$rounds=5000$abcdefgh$"
TUNABLES = {"guess_seconds": 20, "common": 10, "organisation": ["acme"], "initial_passwords": ""}


def said(tmp_path: Path, *kept: str, problem: str = "", **tunables: Any) -> Finding:
    accounts = tuple(Account(of_dovecot(f"user{n}@corp.test", text, ""), "/etc/dovecot/users") for n, text in enumerate(kept))
    passwords = Passwords((Table("/etc/dovecot/users", "dovecot", accounts, problem=problem),))
    (finding,) = guessed(passwords, {**TUNABLES, **tunables}, ["corp.test"], tmp_path / "state" / "guessed.json")
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
    (["{PLAIN}x"], {"initial_passwords": "/nonexistent"}, "error", "No such file"),
])  # fmt: skip
def test_what_is_not_known_is_said(tmp_path: Path, kept: list[str], tunables: dict[str, Any], status: str, reason: str) -> None:
    finding = said(tmp_path, *kept, **tunables)
    assert finding.status.value == status and reason in finding.reason, finding


def test_a_table_that_was_not_read_is_no_pass(tmp_path: Path) -> None:
    assert said(tmp_path, "{PLAIN}Wren-Copper-58", problem="SQL is not asked").reason == "SQL is not asked"


def test_what_the_site_hands_out_stays_in_its_file(tmp_path: Path) -> None:
    handed_out = tmp_path / "initial"
    handed_out.write_text("Welcome-to-us-7\n\n")
    finding = said(tmp_path, "{PLAIN}Welcome-to-us-7", initial_passwords=str(handed_out))
    assert finding.evidence[0].text == "an initial password of the site: user0@corp.test"
    assert "Welcome" not in (tmp_path / "state/guessed.json").read_text() + str(finding.to_dict())


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
