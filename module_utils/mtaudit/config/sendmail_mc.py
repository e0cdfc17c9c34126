"""Edit the m4 source of a sendmail.cf, and the text files beside it.

Only what stands outside of every other macro is changed: a `define` within an `ifdef` is left to people. Comments and the order
of everything else stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from ..text import printable
from .files import ConfigError

# What m4 does not look into: `dnl` eats the line, a comment is copied as it is (GNU m4, 2.3 and 7.3).
_SKIPPED = re.compile(r"(?<!\w)dnl(?!\w)[^\n]*|#[^\n]*")
_CALL = re.compile(r"(?<!\w)([A-Za-z_]\w*)\(")
_WORD = re.compile(r"\w+")
# FEATURE and define belong above these (cf/README, "A BRIEF INTRODUCTION TO M4").
_BELOW = re.compile(r"^[ \t]*(?:MAILER_DEFINITIONS\b|MAILER\(|LOCAL_(?:CONFIG|RULESETS|RULE_\d|NET_CONFIG)\b)", re.M)


@dataclass(frozen=True)
class Call:
    """A macro call outside of all others: its arguments without their outer quotes, and where it stands in the text."""

    macro: str
    arguments: tuple[str, ...]
    start: int
    end: int


def calls(text: str) -> Iterator[Call]:
    """Every call of the first level. Raises ConfigError where quotes or parentheses do not close."""
    position = 0
    while position < len(text):
        skipped, called, word = _SKIPPED.match(text, position), _CALL.match(text, position), _WORD.match(text, position)
        if skipped:
            position = skipped.end()
        elif called:
            arguments, end = _arguments(text, called.end())
            yield Call(called.group(1), tuple(arguments), position, end)
            position = end
        elif text[position] == "`":
            position = _after_quote(text, position)
        else:
            position = word.end() if word else position + 1


def _after_quote(text: str, start: int) -> int:
    """Behind the quote that closes the one at `start`: m4's quotes nest."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "`") - (text[position] == "'")
        if not depth:
            return position + 1
    raise ConfigError(f"Could not read the m4 source: a quote of line {_line(text, start)} does not end")


def _arguments(text: str, start: int) -> tuple[list[str], int]:
    found, begun, depth, position = [], start, 0, start
    while position < len(text):
        character = text[position]
        skipped = _SKIPPED.match(text, position)
        if character == "`":
            position = _after_quote(text, position)
            continue
        if skipped:
            position = skipped.end()
            continue
        if not depth and character in ",)":
            found.append(_unquoted(text[begun:position]))
            begun = position + 1
            if character == ")":
                return found, begun
        depth += (character == "(") - (character == ")")
        position += 1
    raise ConfigError(f"Could not read the m4 source: a parenthesis of line {_line(text, start)} does not close")


def _unquoted(text: str) -> str:
    text = text.lstrip()
    whole = text.startswith("`") and _after_quote(text, 0) == len(text.rstrip())
    return text.rstrip()[1:-1] if whole else text


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def quoted(value: str) -> str:
    """An argument. Raises ConfigError for quotes that do not nest."""
    depth = 0
    for character in value:
        depth += (character == "`") - (character == "'")
        if depth < 0:
            break
    if depth:
        raise ConfigError(f"Could not change the m4 source: the quotes of {printable(value)!r} do not nest")
    return f"`{value}'"


class Source:
    """The text of a .mc file, and edits of it that are made one after the other."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text

    def define(self, name: str, value: Optional[str]) -> None:
        """`define(`confNAME', `value')dnl`, the last of which counts; None comments every one out."""
        self._set("define", name, None if value is None else f"define({quoted(name)}, {quoted(value)})", (value,), last=True)

    def feature(self, name: str, arguments: Optional[str]) -> None:
        """`FEATURE(`name', ...)dnl`, with its other arguments as they are written; empty for none. None comments it out."""
        new = None if arguments is None else f"FEATURE({quoted(name)}{', ' if arguments else ''}{arguments})"
        wanted = next(calls(new)).arguments[1:] if new else (None,)
        self._set("FEATURE", name, new, wanted)

    def mail_filter(self, name: str, equates: Optional[str]) -> None:
        """`INPUT_MAIL_FILTER(`name', `S=..., F=T')dnl`; None comments it out."""
        known = [c.macro for c in calls(self.text) if c.macro == "MAIL_FILTER" and c.arguments[0] == name]
        macro = known[0] if known else "INPUT_MAIL_FILTER"
        new = None if equates is None else f"{macro}({quoted(name)}, {quoted(equates)})"
        self._set(macro, name, new, (equates,))

    def daemon(self, name: str, options: Optional[str]) -> None:
        """`DAEMON_OPTIONS(`..., Name=NAME, ...')dnl`: the whole of its options; None comments it out."""
        there = [c for c in calls(self.text) if c.macro == "DAEMON_OPTIONS" and daemon_name(c.arguments[0]) == name]
        new = None if options is None else f"DAEMON_OPTIONS({quoted(options)})"
        self._settle(there, new, bool(there) and there[-1].arguments == (options,))

    def _set(self, macro: str, name: str, new: Optional[str], wanted: tuple[Optional[str], ...], last: bool = False) -> None:
        there = [c for c in calls(self.text) if c.macro in (macro, "undefine") and c.arguments[0] == name]
        if last and there and there[-1].macro == "undefine":
            there = []  # the last word: a value is added below it
        there = [c for c in there if c.macro == macro]
        self._refuse_within(macro, name)
        self._settle(there, new, bool(there) and there[-1].arguments[1:] == wanted)

    def _refuse_within(self, macro: str, name: str) -> None:
        pattern = re.compile(rf"\b{macro}\(\s*`?{re.escape(name)}\b")
        for call in calls(self.text):
            if call.macro not in (macro, "undefine") and pattern.search(self.text, call.start, call.end):
                raise ConfigError(f"Could not change {name}: line {_line(self.text, call.start)} of {self.path} sets it within "
                                  f"{call.macro}(); change it by hand")

    def _settle(self, there: list[Call], new: Optional[str], so_already: bool) -> None:
        if new is None:
            for call in reversed(there):
                self._comment_out(call.start, call.end)
        elif there and not so_already:
            self.text = self.text[: there[-1].start] + new + self.text[there[-1].end :]
        elif not there:
            self._insert(f"{new}dnl\n")

    def _insert(self, line: str) -> None:
        found = _BELOW.search(self.text)
        if found is None:
            raise ConfigError(f"Could not change {self.path}: it has no MAILER line above which settings belong")
        self.text = self.text[: found.start()] + line + self.text[found.start() :]

    def _comment_out(self, start: int, end: int) -> None:
        """The lines of a call, with `dnl`. Raises ConfigError where something else stands there, too."""
        first = self.text.rfind("\n", 0, start) + 1
        last = self.text.find("\n", end)
        last = len(self.text) if last < 0 else last
        rest = self.text[end:last].strip()
        if self.text[first:start].strip() or rest and not _SKIPPED.fullmatch(rest):
            raise ConfigError(f"Could not change line {_line(self.text, start)} of {self.path}: it holds more than one call")
        lines = self.text[first:last].split("\n")
        self.text = self.text[:first] + "\n".join(f"dnl {line}" for line in lines) + self.text[last:]

    def line(self, old: str, new: Optional[str]) -> None:
        """A line of rules or of anything else, as it is written but for its blanks, with what takes its place; None comments it
        out. A replacement may have more lines than one."""
        lines = self.text.split("\n")
        bare = [" ".join(line.split()) for line in lines]
        wanted = [" ".join(part.split()) for part in new.split("\n")] if new is not None else []
        if new is not None and any(bare[n : n + len(wanted)] == wanted for n in range(len(bare))):
            return
        there = [number for number, line in enumerate(bare) if line == " ".join(old.split())]
        if new is not None and not there:
            raise ConfigError(f"Could not change the line {printable(old)!r} of {self.path}: it is not there")
        if len(there) > 1:
            raise ConfigError(f"Could not change the line {printable(old)!r} of {self.path}: it is there {len(there)} times")
        for number in there:
            lines[number] = f"dnl {lines[number]}" if new is None else new
        self.text = "\n".join(lines)

    def section(self, name: str, text: str) -> None:
        """Lines that belong under LOCAL_CONFIG or LOCAL_RULESETS, at the end of the file; nothing when they are there."""
        if text.strip("\n") not in self.text:
            missing = "" if self.text.endswith("\n") else "\n"
            self.text += f"{missing}\n{name}\n{text.strip(chr(10))}\n"


def daemon_name(options: str) -> str:
    """The name in `Family=inet6, Name=MTA, Port=smtp`: of a name only its first letter counts."""
    for part in options.split(","):
        key, equals, value = part.strip().partition("=")
        if equals and key.strip()[:1].upper() == "N":
            return value.strip()
    return ""


def changed_map(text: str, wanted: Mapping[str, Optional[str]], fold: bool = True) -> str:
    """The text of a map with these entries and without those that are None. Comments and order stay. `fold`: as makemap does
    without -f, keys are compared in lower case."""
    def same(key: str) -> str:
        return key.lower() if fold else key

    left = {same(key): (key, value) for key, value in wanted.items()}
    kept = []
    for line in text.splitlines(keepends=True):
        key, value = entry(line)
        if not key or same(key) not in left:
            kept.append(line)
            continue
        name, new = left.pop(same(key))
        if new is not None:
            kept.append(line if value == new.strip() else f"{name}\t{new.strip()}\n")
    added = [f"{key}\t{value.strip()}\n" for key, value in left.values() if value is not None]
    if added and kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join([*kept, *added])


def entry(line: str) -> tuple[str, str]:
    """Key and value of a line of a map's text, as makemap takes them; empty for none."""
    bare = line.strip()
    if not bare or line.startswith("#"):
        return "", ""
    key, _, value = bare.replace("\t", " ").partition(" ")
    return key, bare[len(key) :].strip() if value else ""


def changed_lines(text: str, wanted: Mapping[str, bool]) -> str:
    """The text of a file of words, one on a line (a class, the help file): with a line, or without it. Comments stay."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if wanted.get(line.strip(), True)]
    there = {line.strip() for line in kept}
    added = [f"{word}\n" for word, stays in wanted.items() if stays and word not in there]
    if added and kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join([*kept, *added])
