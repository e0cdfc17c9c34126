"""Walk rsyslog's rules with a line of a mail program: which files it comes to, and which rule throws it away."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional, Union

from ..runner import ReadError, Runner
from ..text import printable
from .rsyslog_syntax import DEFAULT, Action, Config, Parser, Rule

FILE = "/etc/rsyslog.conf"
_FACILITIES = ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
               *("unused",) * 4, *(f"local{n}" for n in range(8)))  # fmt: skip
_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_ALIASES = {"panic": "emerg", "error": "err", "warn": "warning", "security": "auth"}
_TOKEN = re.compile(r"""\s*(?:(?P<text>'[^']*'|"[^"]*")|(?P<name>\$[\w!.$-]+)|(?P<number>\d+)"""
                    r"""|(?P<sign>==|!=|<>|<=|>=|[<>()&,])|(?P<word>[A-Za-z_]\w*))""")  # fmt: skip
_STEPS = 20_000

Value = Union[str, int]


@dataclass(frozen=True)
class Message:
    """A line as syslog gets it."""

    facility: str
    severity: str
    program: str
    text: str

    def value(self, name: str) -> Optional[Value]:
        """Of a property of rsyslog; None for one that is not known here."""
        known: dict[str, Value] = {
            "msg": f" {self.text}", "programname": self.program.partition("/")[0], "syslogtag": f"{self.program}[123]:",
            "app-name": self.program, "syslogfacility-text": self.facility, "syslogfacility": _FACILITIES.index(self.facility),
            "syslogseverity-text": self.severity, "syslogpriority-text": self.severity,
            "syslogseverity": _SEVERITIES.index(self.severity), "syslogpriority": _SEVERITIES.index(self.severity),
            "fromhost-ip": "127.0.0.1", "inputname": "imuxsock",
        }  # fmt: skip
        return known.get(name.lower().lstrip("$"))


@dataclass
class Way:
    """Where a line comes to. `dropped` is the rule that ends its way; `perhaps`, that this hangs on what cannot be told here, so
    that everything behind it is uncertain, too."""

    actions: list[Action] = field(default_factory=list)
    uncertain: list[Action] = field(default_factory=list)
    dropped: str = ""
    perhaps: str = ""


def read(runner: Runner) -> Optional[Config]:
    """None when there is no rsyslog.conf. Raises ReadError."""
    if runner.stat(FILE) is None:
        return None
    config = Config()

    def included(pattern: str, optional: bool) -> list[tuple[str, str]]:
        paths = runner.glob(f"{pattern}*" if pattern.endswith("/") else pattern)
        if not paths and not optional:
            config.problems.append(f"{pattern}: an included file that is not there")
        return [(path, runner.read(path)) for path in paths]

    Parser(config, included).parse(FILE, runner.read(FILE))
    return config


def way(config: Config, message: Message) -> Way:
    """What the rules do with a line that comes from this host."""
    found, walker = Way(), _Walker(config, message)
    start = config.settings.get("defaultruleset", DEFAULT)
    walker.walk(config.rulesets.get(start, []), found, True)
    return found


class _Walker:
    def __init__(self, config: Config, message: Message) -> None:
        self.config, self.message, self.steps = config, message, 0

    def walk(self, rules: Iterable[Rule], found: Way, sure: bool, depth: int = 0) -> bool:
        """Follow the rules; whether the line certainly ends here."""
        for rule in rules:
            self.steps += 1
            if self.steps > _STEPS or depth > 40:
                raise ReadError("Could not follow rsyslog's rules: they do not end")
            sure = sure and not found.perhaps
            if isinstance(rule, Action):
                if rule.kind == "stop":
                    if sure:
                        found.dropped = rule.where
                        return True
                    found.perhaps = found.perhaps or rule.where
                    return False
                if rule.kind == "call":
                    if self.walk(self.config.rulesets.get(rule.target, []), found, sure, depth + 1):
                        return True
                elif rule.kind != "continue":
                    (found.actions if sure else found.uncertain).append(rule)
                continue
            holds = self._holds(rule.kind, rule.text)
            if holds is None:
                self.walk(rule.body, found, False, depth + 1)
                self.walk(rule.otherwise, found, False, depth + 1)
            elif self.walk(rule.body if holds else rule.otherwise, found, sure, depth + 1):
                return True
        return False

    def _holds(self, kind: str, text: str) -> Optional[bool]:
        if kind == "always":
            return True
        if kind == "selector":
            return selects(text, self.message)
        return self._property(text) if kind == "property" else _Expression(text, self.message).holds()

    def _property(self, text: str) -> Optional[bool]:
        found = re.match(r""":\s*([\w$!.-]+)\s*,\s*(!?)\s*(\w+)\s*(?:,\s*"((?:[^"\\]|\\.)*)")?""", text)
        value = self.message.value(found.group(1)) if found else None
        if found is None or value is None:
            return None
        wanted = re.sub(r'\\(["\\])', r"\1", found.group(4) or "")
        holds = compare(found.group(3).lower(), str(value), wanted)
        return holds if holds is None else holds != bool(found.group(2))


def compare(how: str, value: str, wanted: str) -> Optional[bool]:
    """The comparisons of property filters; None for one that is not known, or a pattern that Python does not read."""
    if how in ("regex", "ereregex", "re_match"):
        try:
            return re.search(wanted, value) is not None
        except re.error:
            return None
    simple = {"contains": wanted in value, "contains_i": wanted.lower() in value.lower(), "isequal": wanted == value,
              "startswith": value.startswith(wanted), "startswith_i": value.lower().startswith(wanted.lower()),
              "endswith": value.endswith(wanted), "isempty": not value}  # fmt: skip
    # `msg` begins with the space behind the tag, which startswith and isequal do not skip (rsyslog.conf, property `msg`).
    return simple.get(how)


def selects(text: str, message: Message) -> bool:
    """Whether a selector (`*.info;mail.none`) takes a line: its parts in their order, each for the facilities that it names."""
    taken, level = False, _SEVERITIES.index(message.severity)
    for part in text.split(";"):
        facilities, _, priority = part.strip().rpartition(".")
        names = [_ALIASES.get(name.strip().lower(), name.strip().lower()) for name in facilities.split(",")]
        if "*" not in names and message.facility not in names:
            continue
        bare = priority.lstrip("!=").lower()
        bare = _ALIASES.get(bare, bare)
        if bare == "none":
            taken = False
        elif bare == "*" or bare in _SEVERITIES:
            limit = len(_SEVERITIES) if bare == "*" else _SEVERITIES.index(bare)
            meant = level == limit if "=" in priority and bare != "*" else level <= limit
            if meant:
                taken = not priority.startswith("!")
    return taken


class _Expression:
    """A condition of RainerScript, as far as it is made of comparisons with properties; the rest is not told."""

    def __init__(self, text: str, message: Message) -> None:
        self.message = message
        self.tokens: list[tuple[str, str]] = []
        self.at, position = 0, 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            if not found:
                self.tokens = [("bad", printable(text))]
                return
            self.tokens.append((str(found.lastgroup), found.group(found.lastgroup or 0)))
            position = found.end()

    def holds(self) -> Optional[bool]:
        try:
            result = self._or()
        except (IndexError, ValueError):
            return None
        return result if self.at == len(self.tokens) else None

    def _word(self) -> str:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return text.lower() if kind in ("word", "sign") else ""

    def _or(self) -> Optional[bool]:
        found = [self._and()]
        while self._word() == "or":
            self.at += 1
            found.append(self._and())
        return True if True in found else None if None in found else False

    def _and(self) -> Optional[bool]:
        found = [self._not()]
        while self._word() == "and":
            self.at += 1
            found.append(self._not())
        return False if False in found else None if None in found else True

    def _not(self) -> Optional[bool]:
        if self._word() == "not":
            self.at += 1
            inner = self._not()
            return inner if inner is None else not inner
        if self._word() == "(":
            self.at += 1
            inner = self._or()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Optional[bool]:
        if self._word() in ("prifilt", "re_match"):
            return self._function(self._word())
        left = self._value()
        how = self._word()
        self.at += 1
        return _compared(how, left, self._value())

    def _function(self, name: str) -> Optional[bool]:
        self.at += 1
        self._expect("(")
        first = self._value()
        if name == "prifilt":
            self._expect(")")
            return selects(str(first), self.message)
        self._expect(",")
        pattern = self._value()
        self._expect(")")
        return None if first is None or pattern is None else compare("re_match", str(first), str(pattern))

    def _value(self) -> Optional[Value]:
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "text":
            return text[1:-1]
        if kind == "number":
            return int(text)
        if kind == "name":
            return self.message.value(text)
        raise ValueError(text)

    def _expect(self, sign: str) -> None:
        if self._word() != sign:
            raise ValueError(sign)
        self.at += 1


def _compared(how: str, left: Optional[Value], right: Optional[Value]) -> Optional[bool]:
    if left is None or right is None:
        return None
    if how in ("==", "!=", "<>"):
        return (str(left) == str(right)) == (how == "==")
    if how in ("<", "<=", ">", ">=") and isinstance(left, int) and isinstance(right, int):
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[how]
    return compare(how, str(left), str(right))
