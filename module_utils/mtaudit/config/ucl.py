"""Change settings in a text of libucl, the language of rspamd's files: a statement is put in place of another, the rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from .files import ConfigError

_BLANK = re.compile(r"(?:[\s;,]+|#[^\n]*|/\*.*?\*/)+", re.DOTALL)
_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"|([\w./-]+)')
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_PLAIN = re.compile(r"[^\s;,{}\[\]\"'<][^\n;,{}]*")
_CLOSES = {"{": "}", "[": "]"}


@dataclass(frozen=True)
class Statement:
    """`key = value;` in a text: where it begins and ends, and where its value does."""

    key: str
    begin: int
    value: int
    end: int


def statements(text: str, begin: int = 0, end: Optional[int] = None) -> Iterator[Statement]:
    """Those of one block. Raises ConfigError for what is not understood."""
    at, last = begin, len(text) if end is None else end
    while True:
        at = _skipped(text, at)
        if at >= last:
            return
        if text[at] == ".":  # a macro, as .include, is a line
            at = min(text.find("\n", at) % (last + 1), last)
            continue
        key = _KEY.match(text, at, last)
        if key is None:
            raise _odd(text, at)
        value = _skipped(text, key.end())
        if text[value:value + 1] in ("=", ":"):
            value = _skipped(text, value + 1)
        stop = _ended(text, value)
        yield Statement(key.group(1) or key.group(2), at, value, stop)
        at = stop


def changed(text: str, path: list[str], value: Optional[str]) -> str:
    """The text with a setting, named by the keys of the blocks around it and its own; None takes it out. Raises ConfigError."""
    return _changed(text, 0, len(text), path, value)


def _changed(text: str, begin: int, end: int, path: list[str], value: Optional[str]) -> str:
    found = [one for one in statements(text, begin, end) if one.key == path[0]]
    if len(found) > 1:
        raise ConfigError(f"Could not change rspamd: {path[0]} is there more than once")
    if not found and value is None:
        return text
    if not found:
        inner = value if len(path) == 1 else _changed("", 0, 0, path[1:], value)
        return _inserted(text, begin, end, f"{path[0]} = {inner};" if len(path) == 1 else f"{path[0]} {{\n{inner}}}")
    one = found[0]
    if len(path) > 1:
        if text[one.value] != "{":
            raise ConfigError(f"Could not change rspamd: {path[0]} is no block")
        return _changed(text, one.value + 1, one.end - 1, path[1:], value)
    if value is not None:
        return text[:one.value] + value + text[one.end:]
    after = re.compile(r"[ \t]*;?[ \t]*\n?").match(text, one.end)
    assert after is not None  # it may be empty
    first = text.rfind("\n", 0, one.begin) + 1
    return text[:one.begin if text[first:one.begin].strip() else first] + text[after.end():]


def _inserted(text: str, begin: int, end: int, statement: str) -> str:
    """At the end of the block."""
    before = text[:end].rstrip(" \t")
    glue = "" if not before[begin:] or before.endswith("\n") else "\n"
    if not before[begin:] and begin:
        glue = "\n"
    first = next(statements(text, begin, end), None)
    margin = text[text.rfind("\n", 0, first.begin) + 1:first.begin] if first else "  " if begin else ""
    return f"{before}{glue}{margin if margin.isspace() else ''}{statement}\n{text[end:]}"


def _skipped(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _ended(text: str, at: int) -> int:
    """Where the value that begins here ends."""
    if text[at:at + 1] in _CLOSES:
        return _closed(text, at)
    value = _TEXT.match(text, at) or _PLAIN.match(text, at)
    if value is None:
        raise _odd(text, at)
    end = at + len(value.group().rstrip())
    # `upstream "local" {` names a block by two words.
    if re.compile(r"\s*\{").match(text, end):
        raise _odd(text, at)
    return end


def _closed(text: str, at: int) -> int:
    opened = [text[at]]
    at += 1
    while opened:
        at = _skipped(text, at)
        if at >= len(text):
            raise ConfigError("Could not change rspamd: a block has no end")
        word = _TEXT.match(text, at)
        if word:
            at = word.end()
            continue
        if text[at] in _CLOSES:
            opened.append(text[at])
        elif text[at] in _CLOSES.values() and text[at] != _CLOSES[opened.pop()]:
            raise _odd(text, at)
        at += 1
    return at


def _odd(text: str, at: int) -> ConfigError:
    line = text.count("\n", 0, at) + 1
    return ConfigError(f"Could not change rspamd: line {line} of its file is written in a way that mtaudit does not understand")
