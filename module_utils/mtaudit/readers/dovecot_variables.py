"""Variables of Dovecot's settings: `%u` and `%{user | lower}`, for somebody whose name is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Callable, Optional

# `%d`, `%Lu`, `%2.1n`, `%{user}`, `%{user | domain | lower}`; `%%` is a percent sign.
VARIABLE = re.compile(r"%(?:\{([^}]*)\}|(-?\d*\.?\d*[A-Z]*)([a-z%]))")
_SHORT = {"u": "user", "n": "username", "d": "domain", "s": "service"}
_FILTERS: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower, "upper": str.upper, "username": lambda user: user.partition("@")[0],
    "domain": lambda user: user.partition("@")[2],
}  # fmt: skip


class Unfilled(Exception):
    """A variable whose value is not known here."""


def filled(text: str, user: str, escape: Optional[Callable[[str], str]] = None) -> str:
    """A text with variables of Dovecot, of somebody who logs in by IMAP. Raises Unfilled for others than the name's."""

    def value(found: re.Match[str]) -> str:
        if found[3] == "%":
            return "%"
        words = [word.strip() for word in found[1].split("|")] if found[1] is not None else [_SHORT.get(found[3], found[0])]
        told = {"user": user, "username": user.partition("@")[0], "domain": user.partition("@")[2], "service": "imap",
                "protocol": "imap"}  # fmt: skip
        changes = ["lower" if each == "L" else "upper" if each == "U" else found[0] for each in found[2] or ""]
        if words[0] not in told or any(word not in _FILTERS for word in (*words[1:], *changes)):
            raise Unfilled(found[0])
        text = told[words[0]]
        for word in (*words[1:], *changes):
            text = _FILTERS[word](text)
        return escape(text) if escape else text

    return VARIABLE.sub(value, text)
