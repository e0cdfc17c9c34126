"""Take Postfix configuration text apart: main.cf and master.cf lines, lists with braces, $expansion.

The rules are those of postconf(5), master(5) and of Postfix's mystrtokq() and mac_expand().
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Optional

from ..address import Network, parse_network

SEPARATORS = ", \t\r\n"
_DEPTH_LIMIT = 100
# `-o`, also behind flags without a value (`-vo name=value`): getopt(3) with the options of Postfix's servers (single_server.c).
_WITH_OPTION = re.compile(r"-[cdDlSuvVz]*o")
_LETTERS = re.compile(r"-[A-Za-z]+")

Lookup = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Line:
    """A logical line: the number where it starts in its file, and its text with continuation lines joined."""

    number: int
    text: str


@dataclass(frozen=True)
class MasterEntry:
    """A service as master.cf has it. `overrides` holds its `-o` options, the last of each name; `lines` where each stands;
    `unprivileged` and `chroot` are the columns, where `-` stands for the default; `verbose` how many -v it is run with."""

    name: str
    type: str
    command: str
    number: int
    overrides: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, int], ...]
    unprivileged: str = "-"
    chroot: str = "-"
    verbose: int = 0


def physical_lines(text: str) -> list[str]:
    """Lines as Postfix reads them: only a line feed ends one, where str.splitlines() also takes form feeds and others."""
    return text.split("\n")


def logical_lines(text: str) -> Iterator[Line]:
    """Lines that start with whitespace continue the one before; empty lines and comments do not end it (postconf(5))."""
    number = 0
    parts: list[str] = []
    for index, raw in enumerate(physical_lines(text), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        if raw[0] in " \t" and parts:
            parts.append(raw.strip())
            continue
        if parts:
            yield Line(number, " ".join(parts))
        number, parts = index, [raw.strip()]
    if parts:
        yield Line(number, " ".join(parts))


def main_cf(text: str) -> dict[str, tuple[str, int]]:
    """What main.cf sets: name -> (raw value, line number). The last of several lines wins, as in Postfix."""
    found: dict[str, tuple[str, int]] = {}
    for line in logical_lines(text):
        name, equals, value = line.text.partition("=")
        if equals:
            found[name.strip()] = (value.strip(), line.number)
    return found


def words(text: str, separators: str = SEPARATORS) -> list[str]:
    """Split as Postfix does: at whitespace and commas, but not inside `{}`."""
    found, current, depth = [], "", 0
    for char in text:
        if char == "{":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        if depth == 0 and char in separators:
            if current:
                found.append(current)
            current = ""
        else:
            current += char
    return [*found, current] if current else found


def postfix_network(text: str) -> Network:
    """An address or `address/length`, IPv6 also in brackets. Raises ValueError, also on a netmask (cidr_match.c)."""
    if text.rpartition("/")[2].count(".") and "/" in text:
        raise ValueError(f"bad net/mask pattern: '{text}'")
    return parse_network(text)


def unbraced(text: str) -> str:
    """The inside of `{ text }` without outer whitespace; other text as it is."""
    return text[1:-1].strip() if text.startswith("{") and text.endswith("}") else text


def next_hops(text: str) -> list[tuple[str, str]]:
    """Host and port (empty when left out) of each destination: `[host]:port`, `host:port`, several by commas (relayhost). What is
    no host, as `unix:/path` for lmtp(8), stays as it is written."""
    found = [(word, re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\w+))?", word)) for word in words(text)]
    return [((m[1] or m[2]).lower(), m[3] or "") if m else (word, "") for word, m in found]


def master_cf(text: str) -> list[MasterEntry]:
    """The services of master.cf, with file lines for each override."""
    return [entry for line in _numbered(text) for entry in [_master_entry(line)] if entry]


def _numbered(text: str) -> Iterator[list[Line]]:
    """Physical lines of one logical line each, so that an override can be pointed at."""
    group: list[Line] = []
    for number, raw in enumerate(physical_lines(text), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        if raw[0] not in " \t" and group:
            yield group
            group = []
        group.append(Line(number, raw.strip()))
    if group:
        yield group


def _master_entry(group: list[Line]) -> Optional[MasterEntry]:
    tokens = words(" ".join(line.text for line in group), " \t")
    if len(tokens) < 8:
        return None
    overrides: dict[str, str] = {}
    verbose = 0
    rest = tokens[8:]
    while rest:
        option = rest.pop(0)
        verbose += option.partition("o")[0].count("v") if _LETTERS.match(option) else 0
        if _WITH_OPTION.fullmatch(option) and rest:
            option = rest.pop(0)
        else:
            joined = _WITH_OPTION.match(option)
            if joined is None:
                continue
            option = option[joined.end():]
        name, equals, value = unbraced(option).partition("=")
        if equals:
            overrides.pop(name.strip(), None)
            overrides[name.strip()] = value.strip()
    lines = {name: _line_of(name, group) for name in overrides}
    named = (tokens[0], tokens[1], tokens[7], group[0].number)
    return MasterEntry(*named, tuple(overrides.items()), tuple(lines.items()), tokens[3], tokens[4], verbose)


def _line_of(name: str, group: list[Line]) -> int:
    pattern = re.compile(rf"(?:^|[\s{{]|-o){re.escape(name)}\s*=")
    return next((line.number for line in reversed(group) if pattern.search(line.text)), group[0].number)


def expand(text: str, lookup: Lookup, depth: int = 0) -> str:
    """The text with `$name`, `${name}`, `${name?yes}`, `${name:no}` and `${{a} op {b} ? {yes} : {no}}` replaced, recursively.

    An undefined name becomes empty. Raises ValueError on a loop or on an expression Postfix would refuse.
    """
    if depth > _DEPTH_LIMIT:
        raise ValueError("unreasonable macro call nesting")
    result, position = [], 0
    while position < len(text):
        if text[position] != "$":
            result.append(text[position])
            position += 1
            continue
        following = text[position + 1 : position + 2]
        if following == "$":
            result.append("$")
            position += 2
        elif following in ("{", "("):
            end = _closing(text, position + 1)
            result.append(_braced(text[position + 2 : end], lookup, depth))
            position = end + 1
        else:
            name = re.match(r"[A-Za-z0-9_]*", text[position + 1 :])
            length = name.end() if name else 0
            if not length:
                raise ValueError(f"macro name missing after $ in '{text}'")
            result.append(expand(lookup(text[position + 1 : position + 1 + length]) or "", lookup, depth + 1))
            position += 1 + length
    return "".join(result)


def _closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    opening = text[start]
    closing = "}" if opening == "{" else ")"
    depth = 0
    for index in range(start, len(text)):
        if text[index] == opening:
            depth += 1
        elif text[index] == closing:
            depth -= 1
            if depth == 0:
                return index
    raise ValueError(f"unbalanced brackets in '{text}'")


def _braced(inside: str, lookup: Lookup, depth: int) -> str:
    inside = inside.strip()
    if inside.startswith("{"):
        return _relational(inside, lookup, depth)
    name = re.match(r"[A-Za-z0-9_]*", inside)
    end = name.end() if name else 0
    value = expand(lookup(inside[:end]) or "", lookup, depth + 1)
    rest = inside[end:].lstrip()
    if not rest:
        return value
    # ${name?text} when not empty, ${name:text} when empty, ${name?{yes}:{no}}
    return _choice(value != "", rest, lookup, depth)


def _choice(condition: bool, rest: str, lookup: Lookup, depth: int) -> str:
    if rest[0] == ":":
        return "" if condition else expand(unbraced(rest[1:].strip()), lookup, depth + 1)
    if rest[0] != "?":
        raise ValueError(f"expected '?' or ':' before '{rest}'")
    after = rest[1:].strip()
    if not after.startswith("{"):
        return expand(after, lookup, depth + 1) if condition else ""
    end = _closing(after, 0)
    yes, remainder = after[1:end].strip(), after[end + 1 :].strip()
    no = unbraced(remainder[1:].strip()) if remainder.startswith(":") else ""
    return expand(yes if condition else no, lookup, depth + 1)


def _relational(inside: str, lookup: Lookup, depth: int) -> str:
    end = _closing(inside, 0)
    left = expand(inside[1:end].strip(), lookup, depth + 1)
    match = re.match(r"\s*(<=level|>=level|<level|>level|==|!=|<=|>=|<|>)\s*", inside[end + 1 :])
    if not match:
        raise ValueError(f"no comparison in '{inside}'")
    start = end + 1 + match.end()
    if inside[start : start + 1] != "{":
        raise ValueError(f"nothing to compare with in '{inside}'")
    closing = _closing(inside, start)
    right = expand(inside[start + 1 : closing].strip(), lookup, depth + 1)
    holds = _compare(left, match.group(1), right)
    rest = inside[closing + 1 :].strip()
    if not rest:
        return "bool:true" if holds else ""
    return _choice(holds, rest, lookup, depth)


def _compare(left: str, operator: str, right: str) -> bool:
    if operator.endswith("level"):
        a, b = _level(left), _level(right)
        order = (a > b) - (a < b)
    elif left.isdigit() and right.isdigit():
        order = (int(left) > int(right)) - (int(left) < int(right))
    else:
        order = (left > right) - (left < right)
    return {"==": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0}[
        operator.replace("level", "")
    ]


def _level(text: str) -> tuple[int, ...]:
    """compatibility_level as numbers: 3.6 comes after 3.5.9 and before 3.10."""
    parts = [int(part) if part.isdigit() else 0 for part in text.split(".")]
    return tuple([*parts, 0, 0][:3])
