"""The journal's own files and journald's settings, read without journalctl."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers import journald
from ansible.module_utils.mtaudit.readers.journal_file import _siphash, header, last_lines
from ansible.module_utils.mtaudit.runner import FileStat, ReadError, Replay

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ETC, LIB = "/etc/systemd/journald.conf", "/usr/lib/systemd/journald.conf.d"


def test_the_hash_is_siphash() -> None:
    """The first vectors of the reference implementation: key 00..0f, messages of 0, 1 and 8 bytes."""
    key = bytes(range(16))
    found = [_siphash(bytes(range(length)), key).to_bytes(8, "little").hex() for length in (0, 1, 8)]
    assert found == ["310e0edd47db6f72", "fd67dc93c539f874", "6224939a79f5f593"]


def recordings() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in sorted(FIXTURES.glob("LOG-03/*/recording.json")):
        data = json.loads(path.read_text())
        found += [(journal, data) for journal, pieces in data.get("piece", {}).items() if "error" not in pieces]
    return found


def test_lines_of_recorded_journals() -> None:
    """Files of systemd 252 and 257: a line of the mail facility lies between the first and the last line of all."""
    assert len(recordings()) >= 5
    seen = 0
    for path, data in recordings():
        replay = Replay(data)
        file = header(replay, path)
        assert file.entries > 0
        assert file.first_at <= file.last_at
        bucket = _siphash(b"SYSLOG_FACILITY=2", file.file_id) % (file.table_bytes // 16)
        if f"{file.table_offset + bucket * 16}+8" not in data["piece"][path]:
            continue  # an older file: the newest line of mail was in another
        for line in last_lines(replay, file, "SYSLOG_FACILITY=2"):
            seen += 1
            assert file.first_at <= line.at <= data["now"]
    assert seen >= 3


def test_what_journald_dropped_is_found_with_its_words() -> None:
    path = FIXTURES / "LOG-03/fail-os-log-lines-were-dropped/recording.json"
    data = json.loads(path.read_text())
    journal = journald.read(Replay(data), ["postfix.service"], running=True)
    assert not journal.content_problem
    assert any(line.message.startswith("Suppressed ") and "postfix.service" in line.message for line in journal.lost)


class Pieces:
    """A journal that is these bytes."""

    spawns = 0

    def __init__(self, data: bytes) -> None:
        self.data = data

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        return self.data[offset : offset + size_bytes]


@pytest.mark.parametrize("data", [b"", b"LPKSHHRH", b"\0" * 300, b"LPKSHHRH" + b"\xff" * 300])
def test_what_is_no_journal_is_an_error(data: bytes) -> None:
    with pytest.raises(ReadError):
        header(Pieces(data), "/x")  # type: ignore[arg-type]


@pytest.mark.parametrize("fill", [b"\0", b"\x01", b"\xff"])
def test_a_journal_whose_insides_are_broken_is_an_error_or_empty(fill: bytes) -> None:
    flags = (0b100).to_bytes(4, "little")
    head = b"LPKSHHRH" + b"\0" * 4 + flags + b"\0" * 88 + (208).to_bytes(8, "little") + (64).to_bytes(8, "little") + b"\0" * 88
    runner = Pieces(head + fill * 4000)
    file = header(runner, "/x")  # type: ignore[arg-type]
    if fill == b"\0":
        assert last_lines(runner, file, "SYSLOG_FACILITY=2") == []  # type: ignore[arg-type]
    else:
        with pytest.raises(ReadError):
            last_lines(runner, file, "SYSLOG_FACILITY=2")  # type: ignore[arg-type]


class Files:
    """Settings in files, by path; links by path."""

    spawns = 0

    def __init__(self, files: dict[str, str], links: dict[str, str] | None = None) -> None:
        self.files, self.links = files, links or {}

    def read(self, path: str) -> str:
        if path not in self.files:
            raise ReadError(f"Could not read {path}: No such file or directory")
        return self.files[path]

    def stat(self, path: str) -> FileStat | None:
        return FileStat(0, 0, 0o644, 1, 0, "file") if path in self.files else None

    def glob(self, pattern: str) -> list[str]:
        return sorted(p for p in (*self.files, *self.links) if fnmatch.fnmatchcase(p, pattern.replace("[*]", "*")))

    def resolve(self, path: str) -> str:
        return self.links.get(path, path)


def settings(files: dict[str, str], links: dict[str, str] | None = None, unit: str = "postfix.service") -> journald.Journal:
    return journald.read(Files(files, links), [unit], running=True)  # type: ignore[arg-type]


def test_drop_ins_in_their_order_and_by_their_name() -> None:
    found = settings({
        ETC: "[Journal]\n#ForwardToSyslog=yes\nRateLimitBurst=5\nStorage=persistent\n",
        f"{LIB}/syslog.conf": "[Journal]\nForwardToSyslog=no\n",
        "/etc/systemd/journald.conf.d/10-a.conf": "[Journal]\nRateLimitBurst=7\n[Other]\nRateLimitBurst=9\n",
        "/etc/systemd/journald.conf.d/20-b.conf": "[Journal]\nStorage=\n",
    })  # fmt: skip
    assert (found.value("RateLimitBurst", ""), found.value("Storage", "auto"), found.forwards) == ("7", "auto", False)
    same = settings({f"{LIB}/x.conf": "[Journal]\nRateLimitBurst=1\n", "/etc/systemd/journald.conf.d/x.conf": "[Journal]\n"})
    assert same.value("RateLimitBurst", "default") == "default"


def test_what_was_built_in_stands_in_the_file_as_a_comment() -> None:
    assert settings({ETC: "[Journal]\n#ForwardToSyslog=yes\n"}).forwards
    assert not settings({ETC: "[Journal]\n"}).forwards


@pytest.mark.parametrize(("text", "links", "limit"), [
    ("", {}, (10000, 30.0)),
    ("RateLimitIntervalSec=0", {}, None),
    ("RateLimitBurst=0", {}, None),
    ("RateLimitIntervalSec=1min 30s", {}, (10000, 90.0)),
    # LogRateLimitIntervalSec=0 of a unit is not told to journald.
    ("", {"log-rate-limit-burst": "100000"}, (100000, 30.0)),
    ("", {"log-rate-limit-burst": "100000", "log-rate-limit-interval": "1000000"}, (100000, 1.0)),
    ("RateLimitIntervalSec=0", {"log-rate-limit-burst": "10", "log-rate-limit-interval": "1000000"}, (10, 1.0)),
])
def test_the_limit_of_a_service(text: str, links: dict[str, str], limit: tuple[int, float] | None) -> None:
    paths = {f"/run/systemd/units/{name}:postfix@-.service": value for name, value in links.items()}
    found = settings({ETC: f"[Journal]\n{text}\n"}, paths, "postfix@-.service").limit("postfix@-.service")
    assert (None if found.none else (found.lines, found.seconds)) == limit


def test_a_level_keeps_lines_out() -> None:
    links = {"/run/systemd/units/log-level-max:postfix.service": "4"}
    assert settings({ETC: ""}, links).drops_info("postfix.service", "MaxLevelStore") == "LogLevelMax=warning of postfix.service"
    assert settings({ETC: "[Journal]\nMaxLevelStore=notice\n"}).drops_info("", "MaxLevelStore").endswith("MaxLevelStore=notice")
    assert not settings({ETC: "[Journal]\nMaxLevelStore=6\n"}).drops_info("", "MaxLevelStore")


@pytest.mark.parametrize("text", ["", "soon", "1 fortnight", "-"])
def test_a_span_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ReadError):
        journald.span(text)
