"""Parse rsyslog's configuration, old lines and RainerScript alike, into rules in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

_OBJECTS = ("module", "input", "action", "ruleset", "global", "main_queue", "template", "include", "parser", "property",
            "lookup_table", "timezone", "dyn_stats", "ratelimit", "percentile_stats")  # fmt: skip
_OBJECT = re.compile(rf"({'|'.join(_OBJECTS)})\s*\(", re.IGNORECASE)
_PARAMETER = re.compile(r"""([\w.]+)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]|[^\s)]+)""")
_SELECTOR = re.compile(r"[A-Za-z*][\w,*]*\.[!=]*[\w*]+(?:\s*;\s*[A-Za-z*][\w,*]*\.[!=]*[\w*]+)*")
_PROPERTY = re.compile(r""":\s*([\w$!.-]+)\s*,\s*(!?)\s*(\w+)\s*(?:,\s*"((?:[^"\\]|\\.)*)")?""")
_IF = re.compile(r"if\b(.*?)\bthen\b", re.DOTALL)
_SPACE = re.compile(r"(?:\s+|#[^\n]*|/\*.*?\*/)+", re.DOTALL)
_DEPTH_LIMIT = 30

DEFAULT = "RSYSLOG_DefaultRuleset"


@dataclass(frozen=True)
class Action:
    """`kind` is file, dynamic, forward, stop, call, continue or other; `target` the path, the host or the name of the ruleset;
    `options` in small letters, those of `$Action...` lines that stand before an action included."""

    kind: str
    target: str
    where: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Filter:
    """A condition (`kind` is selector, property or script) over rules."""

    kind: str
    text: str
    body: tuple[Union[Action, Filter], ...]
    otherwise: tuple[Union[Action, Filter], ...]
    where: str


Rule = Union[Action, Filter]
Read = Callable[[str, bool], "list[tuple[str, str]]"]


@dataclass
class Config:
    """Rules by ruleset; parameters of every module and input by their names, in small letters; `problems` say which part was not
    understood."""

    rulesets: dict[str, list[Rule]] = field(default_factory=lambda: {DEFAULT: []})
    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Parser:
    """One pass over a file and what it includes. `read` gives for the pattern of an include the paths and texts that it stands
    for, and is told whether it may stand for nothing."""

    def __init__(self, config: Config, read: Read) -> None:
        self.config = config
        self._read = read
        self._ruleset = DEFAULT
        self._last = ("always", "")  # the filter that `&` continues
        self._options: dict[str, str] = {}
        self._blocks = 0  # how deep in blocks
        self._text, self._at, self._path = "", 0, ""

    def parse(self, path: str, text: str, depth: int = 0, inside: bool = False) -> tuple[Rule, ...]:
        """The rules go to the ruleset that is being written; `inside` a block they are returned."""
        saved = self._text, self._at, self._path
        self._text, self._at, self._path = re.sub(r"\\\n\s*", " ", text), 0, path
        rules: list[Rule] = []
        while self._more():
            rule = self._rule(depth)
            if rule is not None:
                (rules if inside else self.config.rulesets.setdefault(self._ruleset, [])).append(rule)
        self._text, self._at, self._path = saved
        return tuple(rules)

    def _more(self) -> bool:
        """Whether the text, or the block, goes on."""
        self._skip()
        return self._at < len(self._text) and self._text[self._at] != "}"

    @property
    def _where(self) -> str:
        return f"{self._path}:{self._text.count(chr(10), 0, self._at) + 1}"

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        if found:
            self._at = found.end()

    def _line(self) -> str:
        """The rest of the line, without a comment behind it."""
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        line, self._at = self._text[self._at : end], end
        return re.sub(r"\s#.*", "", line).strip()

    def _rule(self, depth: int) -> Optional[Rule]:
        """The next rule; None for what is none."""
        text, at = self._text, self._at
        if depth > _DEPTH_LIMIT:
            self.config.problems.append(f"{self._where}: nested too deep")
            self._at = len(text)
            return None
        if text[at] == "$":
            return self._directive(depth)
        if text[at] == "&":
            self._at += 1
            kind, shown = self._last
            where = self._where
            return Filter(kind, shown, self._body(depth), (), where)
        if text[at] == "{":
            where = self._where
            return Filter("always", "", self._block(depth), (), where)
        found = _OBJECT.match(text, at)
        if found:
            return self._object(found.group(1).lower(), depth)
        for kind, pattern in (("script", _IF), ("property", _PROPERTY), ("selector", _SELECTOR)):
            found = pattern.match(text, at)
            if found:
                return self._filter(kind, found, depth)
        return self._other()

    def _filter(self, kind: str, found: re.Match[str], depth: int) -> Rule:
        where, self._at = self._where, found.end()
        shown = found.group(1).strip() if kind == "script" else found.group(0)
        if kind != "script":
            self._last = (kind, shown)
        body = self._body(depth)
        otherwise: tuple[Rule, ...] = ()
        self._skip()
        other = re.compile(r"else\b").match(self._text, self._at) if kind == "script" else None
        if other:
            self._at = other.end()
            otherwise = self._body(depth)
        return Filter(kind, shown, body, otherwise, where)

    def _body(self, depth: int) -> tuple[Rule, ...]:
        """What a filter guards: a block, an object, a statement, or an action of the old form to the end of the line."""
        self._skip()
        text, at = self._text, self._at
        if at >= len(text):
            return ()
        if text.startswith("{", at):
            return self._block(depth)
        if _OBJECT.match(text, at) or re.compile(r"(?:if|set|unset|reset|call|stop|continue)\b").match(text, at):
            rule = self._rule(depth + 1)
            return (rule,) if rule is not None else ()
        where = self._where
        return (self._old_action(self._line(), where),)

    def _block(self, depth: int) -> tuple[Rule, ...]:
        self._at += 1
        self._blocks += 1
        rules = []
        while self._more():
            rule = self._rule(depth + 1)
            if rule is not None:
                rules.append(rule)
        self._blocks -= 1
        if self._at < len(self._text):
            self._at += 1
        return tuple(rules)

    def _parameters(self) -> dict[str, str]:
        """The parameters of an object, up to its closing parenthesis."""
        self._at = self._text.index("(", self._at) + 1
        found: dict[str, str] = {}
        while True:
            self._skip()
            match = _PARAMETER.match(self._text, self._at)
            if not match:
                break
            found[match.group(1).lower()] = match.group(2).strip("\"'")
            self._at = match.end()
        if self._text.startswith(")", self._at):
            self._at += 1
        else:
            self.config.problems.append(f"{self._where}: a parameter that was not understood")
            end = self._text.find(")", self._at)
            self._at = len(self._text) if end < 0 else end + 1
        return found

    def _object(self, name: str, depth: int) -> Optional[Rule]:
        where, given = self._where, self._parameters()
        if name in ("module", "input"):
            kind = given.pop("load", given.pop("type", ""))
            kind = kind.rpartition("/")[2].lower().replace(".so", "")
            self.config.modules.setdefault(kind, {}).update(given)
        elif name == "action":
            return self._new_action(given, where)
        elif name == "include" and given.get("file"):
            return self._include(given["file"], given.get("mode", "required") == "optional", depth, where)
        elif name == "global":
            self.config.settings.update(given)
        elif name in ("ruleset", "template", "parser"):
            self._skip()
            if self._text.startswith("{", self._at):
                if name == "ruleset":
                    # A ruleset's own rules do not go into the one that is being read.
                    self.config.rulesets.setdefault(given.get("name", ""), []).extend(self._block(depth))
                else:
                    self._pass_block()
        return None

    def _pass_block(self) -> None:
        level = 0
        for position in range(self._at, len(self._text)):
            level += {"{": 1, "}": -1}.get(self._text[position], 0)
            if level == 0:
                self._at = position + 1
                return
        self._at = len(self._text)

    def _new_action(self, given: dict[str, str], where: str) -> Action:
        kind = given.get("type", "").lower()
        if kind == "omfile":
            target = given.get("file", "")
            return Action("file" if target else "dynamic", target or given.get("dynafile", ""), where, given)
        if kind == "omfwd":
            return Action("forward", given.get("target", ""), where, given)
        return Action("other", kind, where, given)

    def _old_action(self, text: str, where: str) -> Action:
        options, self._options = self._options, {}
        word = text.split(";")[0].strip()
        if text in ("~", "stop"):
            return Action("stop", "", where)
        if text.startswith(("-/", "/")):
            return Action("file", word.lstrip("-"), where)
        if text.startswith(("?", "-?")):
            return Action("dynamic", word.lstrip("-?"), where)
        if text.startswith("@"):
            return Action("forward", word.lstrip("@"), where, options)
        return Action("other", text, where)

    def _directive(self, depth: int) -> Optional[Rule]:
        where = self._where
        name, _, value = self._line()[1:].partition(" ")
        name, value = name.lower(), value.strip()
        if name == "includeconfig":
            return self._include(value, True, depth, where)
        if name == "modload":
            self.config.modules.setdefault(value.rpartition("/")[2].lower().replace(".so", ""), {})
        elif name == "ruleset":
            self._ruleset = value
        elif name.startswith("action"):
            self._options[name] = value
        else:
            self.config.settings[name] = value
        return None

    def _include(self, pattern: str, optional: bool, depth: int, where: str) -> Optional[Rule]:
        rules: list[Rule] = []
        for path, text in self._read(pattern, optional):
            rules += self.parse(path, text, depth + 1, inside=self._blocks > 0)
        return Filter("always", "", tuple(rules), (), where) if rules else None

    def _other(self) -> Optional[Rule]:
        where = self._where
        found = re.compile(r"(stop|continue|call)\b[ \t]*([\w.-]*)").match(self._text, self._at)
        if found:
            self._at = found.end()
            kind = found.group(1)
            return Action(kind, found.group(2) if kind == "call" else "", where)
        if re.compile(r"(?:set|unset|reset)\b").match(self._text, self._at):
            end = self._text.find(";", self._at)
            self._at = len(self._text) if end < 0 else end + 1
            return None
        if self._text[self._at] == "~":
            self._at += 1
            return Action("stop", "", where)
        self.config.problems.append(f"{where}: not understood: {self._line()}")
        return None
