"""Find and read the part of a host's mail log that was written since a point in time: files, else the journal."""

from __future__ import annotations

import glob
import gzip
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..runner import ReadError, Runner, ToolMissing
from ..text import printable

# Where syslog daemons put the mail facility: Debian, Red Hat, SUSE, and Postfix's own maillog_file of postlogd(8).
FILES = ("/var/log/mail.log", "/var/log/maillog", "/var/log/mail", "/var/log/postfix.log")
DEFAULT_MAX_BYTES = 32 * 1024 * 1024
DEFAULT_TIMEOUT_S = 30.0

CLOCK_SLACK_S = 300.0  # clocks of vantage and host may differ
_JOURNAL_LINE_BYTES = 200  # about what a line of Postfix takes


@dataclass(frozen=True)
class Reading:
    """Log in the order of time. `source` names the files or the journal; `reason` says why lines are or may be missing."""

    log: bytes = b""
    source: str = ""
    reason: str = ""


def read_files(files: Sequence[str], since: float, max_bytes: int) -> Reading:
    """The newest `max_bytes` of the log files and of their rotated copies that were written after `since` (epoch, seconds)."""
    left = max_bytes
    problems, parts = [], []
    for path in _written_since(files, since - CLOCK_SLACK_S):
        if left <= 0:
            problems.append(f"{path} was left out: more than {max_bytes} bytes of log")
            continue
        try:
            data, cut = _tail(path, left)
        except (OSError, EOFError, zlib.error) as exc:  # the last two: a compressed file that is cut off or damaged
            problems.append(f"Could not read {path}: {getattr(exc, 'strerror', None) or exc}")
            continue
        if cut:
            problems.append(f"only the last {len(data)} bytes of {path} were read")
        left -= len(data)
        parts.append((path, data))
    parts.reverse()
    if not parts and not problems:
        problems.append("no mail log file was written to since then")
    return Reading(b"".join(data for _, data in parts), ", ".join(path for path, _ in parts), "; ".join(problems))


def read_journal(runner: Runner, since: float, max_bytes: int, timeout_s: float) -> Reading:
    """The mail facility (2) of the journal, the newest lines up to about `max_bytes`. One spawn."""
    most = max(max_bytes // _JOURNAL_LINE_BYTES, 1)
    start = f"--since=@{max(int(since - CLOCK_SLACK_S), 0)}"
    argv = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--lines={most}", start, "SYSLOG_FACILITY=2"]
    try:
        done = runner.run(argv, timeout_s=timeout_s)
    except ToolMissing:
        return Reading(reason="there is no journal (journalctl is not installed)")
    except ReadError as exc:
        return Reading(reason=str(exc))
    if not done.stdout:
        failed = f"journalctl failed: {printable(done.stderr.strip(), 200)}"
        return Reading(source="journal", reason=failed if done.returncode else "the journal holds no mail log since then")
    log = done.stdout.encode()
    cut = log.count(b"\n") >= most
    return Reading(log, "journal", f"only the newest {most} lines of the journal were read" if cut else "")


def _written_since(files: Sequence[str], since: float) -> list[str]:
    """The files and their rotated copies (`.1`, `-20261121`, `.gz`) that were changed since then, the newest first."""
    found: dict[tuple[int, int], tuple[float, str]] = {}
    for path in files:
        for candidate in [path, *glob.glob(f"{glob.escape(path)}[.-][0-9]*")]:
            try:
                seen = os.stat(candidate)
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode) and seen.st_mtime >= since:
                found[(seen.st_dev, seen.st_ino)] = (seen.st_mtime, candidate)
    return [path for _, path in sorted(found.values(), reverse=True)]


def _tail(path: str, limit: int) -> tuple[bytes, bool]:
    """The last whole lines within `limit` bytes, and whether something before them was left out."""
    if path.endswith(".gz"):
        data, cut = _unpacked_tail(path, limit)
    else:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - limit, 0))
            data, cut = file.read(limit), size > limit
    return (data.partition(b"\n")[2], True) if cut else (data, False)


def _unpacked_tail(path: str, limit: int) -> tuple[bytes, bool]:
    """What a compressed file ends with: only reading through it leads there."""
    data, cut = b"", False
    with gzip.open(path, "rb") as packed:
        for block in iter(lambda: packed.read(max(limit, 65536)), b""):
            data += block
            cut = cut or len(data) > limit
            data = data[-limit:]
    return data, cut
