"""Change the text of a lookup table: lines of `key value` as postmap(1) takes them, or of `key: value` as aliases(5) has them.

A line that begins with white space continues the entry above it, in both. Keys are compared in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from ..text import printable
from .files import ConfigError

_WITH_COLON = re.compile(r'("[^"]*"|[^\s:"]+)[ \t]*:[ \t]*(.*)')
_WITH_BLANK = re.compile(r"(\S+)[ \t]+(.*)")


def refuse(path: str, wanted: Mapping[str, Optional[str]], colon: bool) -> None:
    """Raises ConfigError for what would not be one entry."""
    for key, value in wanted.items():
        text = f"{key}{':' if colon else ''} {'x' if value is None else value}"
        found = dict(entries(text, colon))
        empty = value is not None and not value.strip()
        if empty or "\n" in text or "\r" in text or found != {key.lower(): "x" if value is None else value.strip()}:
            raise ConfigError(f"Could not change {path}: {printable(text)!r} is no entry of it")


def entries(text: str, colon: bool) -> dict[str, str]:
    """Keys, in lower case, and their values on one line. Of a key that stands twice the first counts, as for postalias(1)."""
    found: dict[str, list[str]] = {}
    last: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t":
            last.append(line.strip())
            continue
        key, value = _split(line, colon)
        last = [value]
        if key:
            last = found.setdefault(key, last) if key not in found else [value]
    return {key: " ".join(parts).strip() for key, parts in found.items()}


def changed(text: str, wanted: Mapping[str, Optional[str]], colon: bool) -> str:
    """With these entries, and without those that are None. Comments, order and what is so already stay as they are."""
    there = entries(text, colon)
    left = {key.lower(): (key, value) for key, value in wanted.items()}
    left = {key: each for key, each in left.items() if " ".join((each[1] or "").split()) != " ".join(there.get(key, "").split())}
    kept, gone, written = [], False, set()
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if not bare or bare.startswith("#") or line[0] in " \t" and not gone:
            kept.append(line)
            continue
        if line[0] in " \t":
            continue
        key = _split(line, colon)[0]
        gone = key in left
        name, value = left.get(key, ("", None))
        if not gone:
            kept.append(line)
        elif value is not None and key not in written:
            kept.append(_line(name, value, colon))
            written.add(key)
    added = [_line(name, value, colon) for key, (name, value) in left.items() if value is not None and key not in written]
    if added and kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join([*kept, *added])


def _line(key: str, value: str, colon: bool) -> str:
    return f"{key}{': ' if colon else chr(9)}{value.strip()}\n"


def _split(line: str, colon: bool) -> tuple[str, str]:
    found = (_WITH_COLON if colon else _WITH_BLANK).fullmatch(line.rstrip())
    return (found[1].lower(), found[2].strip()) if found else ("", "")
