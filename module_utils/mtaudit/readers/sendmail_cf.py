"""Parse sendmail.cf as the daemon reads it: options, macros, classes, maps, rule sets, filters, each with its line.

The grammar is that of the Installation and Operation Guide, chapter 5 ("The whole scoop on the configuration file").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

_NAME = r"(?:\{(?P<long>[^}]*)\}|(?P<short>.))"
_OPTION = re.compile(r"O\s+(?P<name>[\w.]+)\s*(?:=\s*(?P<value>.*))?")
_MACRO = re.compile(rf"D{_NAME}(?P<value>.*)")
_CLASS = re.compile(rf"C{_NAME}(?P<value>.*)")
_FILE = re.compile(rf"F{_NAME}\s*(?P<optional>-o\s+)?(?P<value>\S+)")
_MAP = re.compile(r"K\s*(?P<name>\S+)\s+(?P<kind>\S+)\s*(?P<rest>.*)")
_DEFINITION = re.compile(r"[MX](?P<name>[^\s,]+)\s*,\s*(?P<rest>.*)")
_HEADER = re.compile(r"H(?P<text>[\w-]+\s*:(?!\s*\$>).*)")  # without ?flags?, and without a rule set that looks at it
_LOOKED_AT = re.compile(r"H(?:\?[^?]*\?)?(?P<name>[\w*-]+)\s*:\s*\$>\+?\s*(?P<set>[\w-]+)")
_SET = re.compile(r"S\s*(?P<name>[^\s=]+)")
_CALL = re.compile(r"\$>\s*(?:\"(?P<quoted>[^\"]+)\"|(?P<bare>[\w-]+))")
_LOOKUP = re.compile(r"\$\(\s*(?P<name>[\w-]+)")
_PATH = re.compile(r"(?:^|\s|:)(/[^\s%]+)")
# What a rule's left side makes of an SMTP session starts in these.
CHECKS = ("check_relay", "check_mail", "check_rcpt")
# And these say what a session is offered, and whether VRFY and EXPN are answered.
OFFERS = ("srv_features", "check_vrfy", "check_expn")


@dataclass(frozen=True)
class Rule:
    """One rewriting rule: what it matches, what becomes of it, and its line."""

    line: int
    left: str
    right: str

    def __str__(self) -> str:
        return f"R{self.left}\t{self.right}"


@dataclass(frozen=True)
class Map:
    """A `K` line; `path` is the file that it names, without the ending of a compiled map."""

    name: str
    kind: str
    rest: str
    line: int = 0

    @property
    def path(self) -> str:
        found = _PATH.search(self.rest)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class Definition:
    """An `M` line, a mailer, or an `X` line, a mail filter: what it is told, by the first letter of each word."""

    name: str
    fields: Mapping[str, str]
    line: int = 0

    @property
    def flags(self) -> str:
        return self.fields.get("F", "")


@dataclass
class Cf:
    """A configuration file. An option's last line counts; of DaemonPortOptions all do, which are in `daemons`."""

    options: dict[str, tuple[str, int]] = field(default_factory=dict)
    daemons: list[tuple[str, int]] = field(default_factory=list)
    macros: dict[str, tuple[str, int]] = field(default_factory=dict)
    class_lines: dict[str, list[int]] = field(default_factory=dict)
    class_words: dict[str, list[str]] = field(default_factory=dict)
    class_files: dict[str, list[str]] = field(default_factory=dict)
    maps: dict[str, Map] = field(default_factory=dict)
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    mailers: dict[str, Definition] = field(default_factory=dict)
    filters: dict[str, Definition] = field(default_factory=dict)
    headers: list[tuple[str, int]] = field(default_factory=list)  # those that every message gets
    looked_at: dict[str, tuple[str, int]] = field(default_factory=dict)  # the rule set for a header of this name; `*`: of others

    def option(self, name: str, default: str = "") -> str:
        return self.options.get(name.lower(), (default, 0))[0]

    def line_of(self, name: str) -> int:
        """The line of an option; 0 when it has its default."""
        return self.options.get(name.lower(), ("", 0))[1]

    def looking(self, header: str) -> Optional[tuple[str, int]]:
        """The rule set that may refuse a message by this header, and its line."""
        return self.looked_at.get(header.lower(), self.looked_at.get("*"))

    def reached(self, *starts: str) -> dict[str, list[Rule]]:
        """The rule sets that these lead to, with those themselves."""
        found: dict[str, list[Rule]] = {}
        waiting = list(starts)
        while waiting:
            name = waiting.pop(0)
            rules = self.rules.get(name)
            if rules is None or name in found:
                continue
            found[name] = rules
            waiting += [m["quoted"] or m["bare"] for rule in rules for m in _CALL.finditer(rule.right)]
        return found

    def checks(self) -> list[Rule]:
        """Every rule that may decide about a client, its sender or its recipient."""
        return [rule for rules in self.reached(*CHECKS).values() for rule in rules]

    def maps_of(self, rules: list[Rule]) -> list[Map]:
        """The maps that these rules look into, each once."""
        names = dict.fromkeys(m["name"] for rule in rules for m in _LOOKUP.finditer(rule.right))
        return [self.maps[name] for name in names if name in self.maps]


def parse_cf(text: str) -> Cf:
    """The text of a sendmail.cf. What it does not understand it leaves out, as comments."""
    cf = Cf()
    current: list[Rule] = []
    for number, line in _lines(text):
        kind = line[:1]
        if kind == "O":
            _option(cf, line, number)
        elif kind == "R":
            left, _, rest = line[1:].partition("\t")
            current.append(Rule(number, left.strip(), rest.lstrip("\t").partition("\t")[0].strip()))
        elif kind == "S":
            match = _SET.match(line)
            current = cf.rules.setdefault(match["name"] if match else line, [])
        elif kind == "D" and (match := _MACRO.match(line)):
            cf.macros[match["long"] or match["short"]] = (match["value"].strip(), number)
        elif kind == "C" and (match := _CLASS.match(line)):
            name = match["long"] or match["short"]
            cf.class_words.setdefault(name, []).extend(match["value"].split())
            cf.class_lines.setdefault(name, []).append(number)
        elif kind == "F" and (match := _FILE.match(line)):
            name = match["long"] or match["short"]
            cf.class_files.setdefault(name, []).append(match["value"])
            cf.class_lines.setdefault(name, []).append(number)
        elif kind == "K" and (match := _MAP.match(line)):
            cf.maps[match["name"]] = Map(match["name"], match["kind"], match["rest"].strip(), number)
        elif kind == "H" and (match := _HEADER.match(line)):
            cf.headers.append((match["text"], number))
        elif kind == "H" and (match := _LOOKED_AT.match(line)):
            cf.looked_at[match["name"].lower()] = match["set"], number
        elif kind in ("M", "X") and (match := _DEFINITION.match(line)):
            known = cf.mailers if kind == "M" else cf.filters
            known[match["name"]] = Definition(match["name"], _fields(match["rest"]), number)
    return cf


def _fields(text: str) -> dict[str, str]:
    """`P=/bin/sh, F=lsD, A=sh -c $u`: only the first letter of a name counts."""
    parts = (part.strip().partition("=") for part in text.split(","))
    return {name.strip()[:1].upper(): value.strip() for name, equals, value in parts if equals and name.strip()}


def _option(cf: Cf, line: str, number: int) -> None:
    match = _OPTION.match(line)
    if match is None:
        return
    name, value = match["name"].lower(), (match["value"] or "").strip()
    if name == "daemonportoptions":
        cf.daemons.append((value, number))
    else:
        cf.options[name] = (value, number)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines: one that begins with white space continues the one before."""
    whole, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1] in (" ", "\t") and whole:
            whole += line
            continue
        if whole and not whole.startswith("#"):
            yield start, whole
        whole, start = line, number
    if whole and not whole.startswith("#"):
        yield start, whole


def given_options(command: Mapping[str, str], cf: Cf) -> None:
    """What the daemon was told with -O: it takes the place of what the file says; the first port replaces all of the file's."""
    for name, value in command.items():
        if name.lower() == "daemonportoptions":
            cf.daemons = [(value, 0)]
        else:
            cf.options[name.lower()] = (value, 0)
