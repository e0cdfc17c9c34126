"""Read what `exim -bP` prints: options, named lists, access control lists, authenticators; and split Exim's lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

VERBS = ("accept", "defer", "deny", "discard", "drop", "require", "warn")
LIST_KINDS = ("domainlist", "hostlist", "addresslist", "localpartlist")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SETTING = re.compile(r"(!?\s*[a-z][a-z0-9_]*(?:\s+\S+)??)\s*=\s*(.*)", re.S)
_LABEL = re.compile(r"\s*([A-Za-z][\w.-]*)\s*:\s*")
_NAMED_LIST = re.compile(rf"(?:hide\s+)?({'|'.join(LIST_KINDS)})(?:_cache)?\s+(\w+)\s*=\s*(.*)", re.S)
_HEAD = re.compile(r"# Exim Configuration \(([^)]*)\)")
_FILE = re.compile(r'^# \d+ "([^"]+)"', re.M)


@dataclass(frozen=True)
class Condition:
    """One line below a verb: a condition (`hosts`, `domains` ...) or a modifier (`control`, `set acl_m0` ...)."""

    name: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{'!' * self.negated}{self.name} = {self.value}"


@dataclass(frozen=True)
class Statement:
    """A verb with its conditions, and where it stands: `acl_check_rcpt, statement 3`."""

    verb: str
    conditions: tuple[Condition, ...]
    where: str

    def __str__(self) -> str:
        shown = [str(c) for c in self.conditions if c.name not in ("message", "log_message", "control", "logwrite")]
        return f"{self.verb} {'; '.join(shown)}".strip()


@dataclass
class Config:
    """The output of `exim -bP config`, by its parts. The first word of each statement in an ACL is its verb."""

    version: str = ""
    file: str = ""
    lists: dict[tuple[str, str], str] = field(default_factory=dict)  # (kind, name) -> text
    acls: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    authenticators: dict[str, dict[str, str]] = field(default_factory=dict)
    routers: dict[str, dict[str, str]] = field(default_factory=dict)
    transports: dict[str, dict[str, str]] = field(default_factory=dict)


def parse_config(text: str) -> Config:
    """The parts of a configuration whose macros, conditions and includes Exim has already dealt with."""
    head, file = _HEAD.search(text), _FILE.search(text)
    config = Config(head.group(1) if head else "", file.group(1) if file else "")
    section = ""
    lines: list[str] = []
    for line in [*text.splitlines(), "begin end"]:
        if not line.startswith("begin "):
            lines.append(line)
            continue
        _section(config, section, lines)
        section = line.split()[1]
        lines = []
    return config


def _section(config: Config, name: str, lines: list[str]) -> None:
    if not name:
        for line in lines:
            match = _NAMED_LIST.fullmatch(line.strip())
            if match:
                config.lists[(match.group(1), match.group(2))] = match.group(3).strip()
    elif name == "acl":
        config.acls = parse_acls("\n".join(lines))
    elif name == "authenticators":
        config.authenticators = dict(_drivers(lines))
    elif name == "routers":
        config.routers = dict(_drivers(lines))
    elif name == "transports":
        config.transports = dict(_drivers(lines))


def parse_acls(text: str) -> dict[str, tuple[Statement, ...]]:
    """Labels with their statements; what has no label (an ACL in a file, or inline) is named by an empty string."""
    found: dict[str, list[tuple[str, list[Condition]]]] = {"": []}
    current = found[""]
    for line in _whole_lines(text):
        label = _LABEL.fullmatch(line)
        if label:
            current = found[label.group(1)] = []
            continue
        word, _, rest = line.partition(" ")
        if word in VERBS:
            current.append((word, []))
            line = rest.strip()
        condition = _condition(line)
        if condition and current:
            current[-1][1].append(condition)
    return {
        name: tuple(Statement(verb, tuple(c), f"{name or 'inline'}, statement {n}") for n, (verb, c) in enumerate(statements, 1))
        for name, statements in found.items()
        if name or statements
    }


def _whole_lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n[ \t]*", "", text).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _condition(line: str) -> Optional[Condition]:
    """None for what is no condition: an empty rest, a macro's definition (which begins with a capital)."""
    match = _SETTING.fullmatch(line)
    if not match:
        words = line.split()
        return Condition(words[0], "") if words and words[0] == "endpass" else None
    name = " ".join(match.group(1).split())
    negated = name.startswith("!")
    return Condition(name.lstrip("! "), match.group(2).strip(), negated)


def _drivers(lines: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    options: dict[str, str] = {}
    for line in _whole_lines("\n".join(lines)):
        label = _LABEL.fullmatch(line)
        if label:
            options = {}
            yield label.group(1), options
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if _NAME.fullmatch(name):
            options[name] = value.strip() if equals else ("false" if name.startswith("no_") else "true")


def parse_options(text: str) -> dict[str, str]:
    """The output of `exim -bP`: `name = value`, and `name` or `no_name` for what is on or off."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition(" =")
        if not _NAME.fullmatch(name.strip()):
            continue
        if equals:
            found[name.strip()] = value.strip()
        elif name.startswith("no_"):
            found[name[3:]] = "false"
        else:
            found[name.strip()] = "true"
    return found


def items(text: str) -> list[str]:
    """The items of a list, as Exim's string_nextinlist() cuts it: `<;` changes the separator, a doubled one is data.

    A separator alone is a list of one empty item.
    """
    separator, text = _separator(text)
    found: list[str] = []
    while True:
        text = text.lstrip() if not separator.isspace() else text
        if not text:
            return found
        if text[0] == separator:
            text = text[1:]
            if text[:1] != separator or not _doubled(separator):
                found.append("")
                continue
        item, text = _item(text, separator)
        found.append(item.rstrip())


def _separator(text: str) -> tuple[str, str]:
    text = text.lstrip()
    if len(text) > 1 and text[0] == "<" and (not text[1].isalnum() and not text[1].isspace()):
        return text[1], text[2:]
    return ":", text


def _doubled(separator: str) -> bool:
    return separator.isprintable()


def _item(text: str, separator: str) -> tuple[str, str]:
    """One item and what follows its separator. The first character belongs to it, whatever it is."""
    taken = ""
    while True:
        end = text.find(separator, 1)
        if end < 0:
            return taken + text, ""
        taken += text[:end]
        text = text[end + 1 :]
        if text[:1] != separator or not _doubled(separator):
            return taken, text
