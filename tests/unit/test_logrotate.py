"""logrotate's configuration: the expectations were tried with `logrotate -d` 3.21."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.readers import logrotate
from ansible.module_utils.mtaudit.readers.logrotate import Stanza
from ansible.module_utils.mtaudit.runner import LocalRunner


def stanza(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, included: str = "") -> Stanza | None:
    directory = tmp_path / "logrotate.d"
    directory.mkdir()
    (directory / "mail").write_text(included)
    (directory / "mail.dpkg-old").write_text("/var/log/mail.log { rotate 99 }\n")
    main = tmp_path / "logrotate.conf"
    main.write_text(text.replace("DIRECTORY", str(directory)))
    monkeypatch.setattr(logrotate, "FILE", str(main))
    found = logrotate.read(LocalRunner(), systemd=True, cron=False)
    assert not found.problem
    return found.of("/var/log/mail.log")


@pytest.mark.parametrize(("body", "days"), [
    ("weekly\nrotate 4", 28),
    ("rotate 60\ndaily", 60),
    ("daily\nrotate 60\nmaxage 14", 14),
    ("daily\nrotate 10\nmaxage 14", 10),
    ("monthly\nrotate 2", 60),
    ("daily", 0),
    ("daily\nrotate -1", -1),
    ("daily\nrotate -1\nmaxage 90", 90),
    ("daily\nrotate 60\nmaxsize 10M", None),
    ("daily\nrotate 60\nmaxsize=10M", None),
    ("daily\nrotate 60\nsize 10M", None),
    ("size 10M\ndaily\nrotate 60", 60),
    ("daily\nminsize 10M\nrotate 60", 60),
    ("rotate 40\ndaily\npostrotate\n  rotate 1\n  size 1k\nendscript", 40),
    ("daily # often\nrotate 31 # a month", 31),
])
def test_days_of_a_stanza(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, days: float | None) -> None:
    found = stanza(tmp_path, monkeypatch, f"/var/log/mail.log {{\n{body}\n}}\n")
    assert found is not None
    assert found.days == days


def test_options_before_a_stanza_hold_in_it_and_in_included_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    included = "/var/log/mail.log\n/var/log/x\n{\n}\n"
    found = stanza(tmp_path, monkeypatch, "weekly\nrotate 9\ninclude DIRECTORY\nrotate 1\n", included)
    assert found is not None
    assert (found.days, found.patterns) == (63, ("/var/log/mail.log", "/var/log/x"))


@pytest.mark.parametrize(("pattern", "matches"), [
    ("/var/log/*.log", True), ("/var/log/mail.*", True), ('"/var/log/mail.log"', True), ("/var/*/mail.log", True),
    ("/var/*", False), ("/var/log/*/mail.log", False), ("/var/log/mail.log.1", False),
])  # fmt: skip
def test_which_files_a_stanza_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, matches: bool) -> None:
    assert (stanza(tmp_path, monkeypatch, f"{pattern} {{ daily\nrotate 5 }}\n") is not None) == matches


def test_the_first_stanza_of_a_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "/var/log/mail.log {\nrotate 5\ndaily\n}\n/var/log/*.log {\nrotate 50\ndaily\n}\n"
    found = stanza(tmp_path, monkeypatch, text)
    assert found is not None
    assert found.days == 5
