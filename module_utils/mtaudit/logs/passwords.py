"""Find passwords that stand in a log: what a client sent with its login, written out by verbose programs."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..redact import MASK, redact
from ..text import decode, printable

_BASE64 = rb"(?P<code>[A-Za-z0-9+/]{8,1000}={0,2})"
# A client's response to PLAIN: in a command, and as Dovecot (auth_debug_passwords) and Postfix (-v) write it.
_PLAIN = re.compile(rb"(?i:\bAUTH PLAIN |(?:\b|#011)resp=|\binit_response )" + _BASE64)
# Dovecot, auth_verbose_passwords; a few digits of a hash give nothing away.
_GIVEN = re.compile(rb"(?<!SHA1 of )\bgiven password: (?P<code>[^\s)]+)|SHA1 of given password: (?P<hash>[0-9a-f]{9,40})")
_ASKED = re.compile(rb"\[(?P<pid>\d+)\]: [^\n]*\b334 UGFzc3dvcmQ6")  # "Password:", the second question of LOGIN
_LINE_LIMIT = 400


@dataclass(frozen=True)
class Leak:
    """A password in the log: the account where the line names it, and the line without the password, fit for a report."""

    account: str
    line: str


def leaks(log: bytes) -> Iterator[Leak]:
    """Every password that is found, in no order. What only looks like one (a response that is none of PLAIN's) is left out."""
    for match in _PLAIN.finditer(log):
        account = _account(match["code"])
        if account:
            yield Leak(account, _without(log, *match.span("code")))
    for match in _GIVEN.finditer(log):
        name = "code" if match["code"] else "hash"
        yield Leak("", _without(log, *match.span(name)))
    for asked in _ASKED.finditer(log):
        answer = re.compile(rb"\[" + asked["pid"] + rb"\]: [^\n]*?<(?:--)? (?:[^\n]*?: )?(?P<code>[A-Za-z0-9+/]+={0,2})(?=\n|\Z)")
        found = answer.search(log, asked.end(), asked.end() + 4096)
        if found:
            yield Leak("", _without(log, *found.span("code")))


def _account(code: bytes) -> str:
    """Whose password a response to PLAIN holds: authorization name, login and password, with NUL between (RFC 4616, 2)."""
    try:
        parts = base64.b64decode(code, validate=True).split(b"\0")
    except (binascii.Error, ValueError):
        return ""
    return decode(parts[1]) if len(parts) == 3 and parts[1] and parts[2] else ""


def _without(log: bytes, start: int, end: int) -> str:
    """The line around a password, which is masked before anything else is done."""
    first, last = log.rfind(b"\n", 0, start) + 1, log.find(b"\n", end)
    line = decode(log[first:start]) + MASK + decode(log[end : last if last >= 0 else len(log)])
    # A line may hold the same response twice.
    return printable(redact(line), _LINE_LIMIT)
