"""Ask a file of SQLite, and leave nothing beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

_WAL = 2  # bytes 18 and 19 of the header: the file goes with a write-ahead log (https://sqlite.org/fileformat.html)
_STEPS = 10_000
_BUSY_S = 2.0


class NoAnswer(Exception):
    """Why there is none; nothing of the statement is in it."""


def rows(path: str, head: bytes, statements: Sequence[str], timeout_s: float) -> list[list[dict[str, Any]]]:
    """See Runner.query; `head` are the first 20 bytes. Without a log beside it, a file that would go with one is read as it is:
    SQLite would make the log, even to read. Raises NoAnswer."""
    try:
        import sqlite3
    except ImportError:
        raise NoAnswer("Python's sqlite3 is not installed") from None
    alone = head[18:20] == bytes([_WAL, _WAL]) and not os.path.exists(f"{path}-wal")
    until = time.monotonic() + timeout_s
    found: list[list[dict[str, Any]]] = []
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?{'immutable=1' if alone else 'mode=ro'}", uri=True, timeout=_BUSY_S)
        try:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            for statement in statements:
                found.append([{key: row[key] for key in row.keys()} for row in connection.execute(statement)])
        finally:
            connection.close()
    except sqlite3.OperationalError as exc:
        if time.monotonic() <= until:
            raise NoAnswer(_why(exc)) from None
    except sqlite3.Error as exc:
        raise NoAnswer(_why(exc)) from None
    return found


def _why(exc: Exception) -> str:
    """SQLite's words, but for those that may quote the statement."""
    words = str(exc)
    plain = ("no such table", "no such column", "database is", "unable to open", "file is not")
    return words if words.startswith(plain) else "SQLite refused it"
