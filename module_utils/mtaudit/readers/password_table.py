"""One table of passwords: what is kept of it, and how it is made of lines.

Neither a table nor an account shows a password when it is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Callable

from ..passwords.accounts import Account
from ..runner import ReadError, Runner
from ..text import decode, printable

SHADOW, DOVECOT, CYRUS, OPENSMTPD, EXIM, EXPORTED = "shadow", "dovecot", "cyrus", "opensmtpd", "exim", "exported"
_LIMIT = 1_000_000  # accounts of one table
_MALFORMED_LIMIT = 5
_PIECE_BYTES = 4 * 1024 * 1024
_LINE_BYTES = 64 * 1024


class Malformed(Exception):
    """A line that is none of its table; nothing of the line is in it."""


@dataclass(frozen=True)
class Table:
    """`name` is its file, or what is configured about it. `malformed`: the first lines that are none, as file:line, of `skipped`.
    `problem`: why it, or a part of it, is not known. `everybody`: any name gets in with any password."""

    name: str
    kind: str
    accounts: tuple[Account, ...] = field(default=(), repr=False)
    malformed: tuple[str, ...] = ()
    skipped: int = 0
    problem: str = ""
    everybody: bool = False


def made_of(name: str, kind: str, rows: Iterable[tuple[int, str]], account: Callable[[str], Iterable[Account]]) -> Table:
    """A table of lines; `account` makes none of a comment, and raises Malformed."""
    found: list[Account] = []
    malformed: list[str] = []
    skipped, problem = 0, ""
    try:
        for number, line in rows:
            try:
                found.extend(account(line))
            except Malformed:
                skipped += 1
                if skipped <= _MALFORMED_LIMIT:
                    malformed.append(f"{name}:{number}")
            if len(found) >= _LIMIT:
                problem = f"{name} has more than {_LIMIT} accounts: those after them were not looked at"
                break
    except ReadError as exc:
        problem = printable(str(exc))
    return Table(name, kind, tuple(found), tuple(malformed), skipped, problem)


def lines(runner: Runner, path: str) -> Iterator[tuple[int, str]]:
    """Number and text of each; of one that is longer than any of its kind, the beginning. Raises ReadError."""
    number, offset, rest = 0, 0, b""
    while True:
        piece = runner.piece(path, offset, _PIECE_BYTES)
        offset += len(piece)
        *whole, rest = (rest[:_LINE_BYTES] + piece).split(b"\n")
        for line in whole:
            number += 1
            yield number, decode(line[:_LINE_BYTES])
        if len(piece) < _PIECE_BYTES:
            break
    if rest:
        yield number + 1, decode(rest[:_LINE_BYTES])


def whole(runner: Runner, path: str, limit_bytes: int) -> bytes:
    """The file, at most `limit_bytes` of it. Raises ReadError."""
    found, offset = [], 0
    while offset < limit_bytes:
        piece = runner.piece(path, offset, _PIECE_BYTES)
        found.append(piece)
        offset += len(piece)
        if len(piece) < _PIECE_BYTES:
            break
    return b"".join(found)
