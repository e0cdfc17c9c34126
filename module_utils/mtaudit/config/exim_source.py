"""Read the files of an Exim configuration as Exim does: which lines are in force, and what they say once macros are expanded.

The rules are those of the specification, chapter "The Exim run time configuration file". What comes out is compared with what
Exim itself prints (`exim -bP config`), so that nothing is edited that was not understood.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from .files import ConfigError

MACROS_HERE = "UPEX4CmacrosUPEX4C"  # update-exim4.conf(8) puts its own behind the line that begins so
GENERATED = ""  # the file of such lines

_DIRECTIVE = re.compile(r"\s*\.(ifdef|ifndef|elifdef|elifndef|else|endif|include_if_exists|include)\b\s*(.*)", re.S)
_MACRO = re.compile(r"\s*(_?[A-Z]\w*)\s*(==?)\s*(.*)", re.S)
_LABEL = re.compile(r"\s*([A-Za-z][\w.-]*)\s*:\s*")
_LIST = re.compile(r"(?:hide\s+)?((?:domain|host|address|localpart)list)(?:_cache)?\s+(\w+)\s*=\s*(.*)", re.S)
_OPTION = re.compile(r"(?:hide\s+)?([a-z][a-z0-9_]*)\s*(?:=\s*(.*))?", re.S)
_NESTING = 10


@dataclass
class Line:
    """A line with its continuations: `bare` as it is written, `text` with macros expanded. `kind` is blank (with comments),
    directive, macro, begin, label or other; `name` the macro's, the section's or the label's; `within` the name of the macro
    that the innermost `.ifdef` or `.ifndef` around it asks for, with that word before."""

    file: str
    start: int
    count: int
    bare: str
    text: str
    kind: str
    active: bool
    section: str
    name: str = ""
    within: str = ""

    @property
    def value(self) -> str:
        """Of a macro or an option, as it is written."""
        return self.bare.partition("=")[2].lstrip("=").strip()


@dataclass
class Files:
    """What Exim reads: the text of each path, and the paths in the order in which they make one configuration. `given` are
    macros of the command line, `built_in` those that Exim comes with, `generated` the lines that update-exim4.conf puts in."""

    order: Sequence[str]
    texts: dict[str, str]
    directory: str = "/"
    given: Mapping[str, str] = field(default_factory=dict)
    built_in: frozenset[str] = frozenset()
    generated: str = ""
    _as_they_are: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._as_they_are = dict(self.texts)

    def changed(self) -> dict[str, tuple[str, str]]:
        """The paths that were edited, with their text as it is and as it is to be."""
        both = ((path, self._as_they_are[path], text) for path, text in sorted(self.texts.items()))
        return {path: (was, text) for path, was, text in both if was != text}

    def lines(self) -> list[Line]:
        """All lines, in the order in which Exim meets them. Raises ConfigError."""
        return _Reader(self).all()

    def edit(self, path: str, start: int, count: int, new: Sequence[str]) -> None:
        """Put these lines, without their ends, in the place of others."""
        if path == GENERATED:
            raise ConfigError("Could not change Exim: the line is made by update-exim4.conf")
        lines = self.texts.get(path, "").split("\n")
        lines[start : start + count] = new
        self.texts[path] = "\n".join(lines)

    def read(self, path: str) -> Optional[str]:
        """A file that is included, kept for editing; None where it does not exist. Raises ConfigError."""
        if path not in self.texts:
            try:
                with open(path, "rb") as file:
                    self.texts[path] = self._as_they_are[path] = file.read().decode("utf-8", "surrogateescape")
            except FileNotFoundError:
                return None
            except OSError as exc:
                raise ConfigError(f"Could not read {path}: {exc.strerror}") from exc
        return self.texts[path]


class _Reader:
    def __init__(self, files: Files) -> None:
        self._files = files
        self._macros = dict(files.given)
        self._section = ""
        self._blocks: list[list[bool]] = []  # of each open .ifdef: whether this branch is in force, and whether one was
        self._asked: list[str] = []

    def all(self) -> list[Line]:
        found: list[Line] = []
        for path in self._files.order:
            found += self._file(path, self._files.texts.get(path, ""), 0)
        if self._blocks:
            raise ConfigError(f"Could not follow the configuration of Exim: {self._asked[-1]} has no .endif")
        return found

    def _file(self, path: str, text: str, depth: int) -> Iterator[Line]:
        if depth > _NESTING:
            raise ConfigError(f"Could not follow the configuration of Exim: {path} is included too deeply")
        for start, raw in _logical(text):
            line = self._line(path, start, raw)
            yield line
            if line.kind == "directive" and line.active and line.name.startswith("include"):
                yield from self._included(line, depth)
            elif line.active and line.bare.startswith(MACROS_HERE) and self._files.generated:
                yield from self._file(GENERATED, self._files.generated, depth + 1)

    def _included(self, line: Line, depth: int) -> Iterator[Line]:
        path = os.path.join(self._files.directory, line.text.strip('"'))
        text = self._files.read(path)
        if text is None:
            if line.name == "include":
                raise ConfigError(f"Could not follow the configuration of Exim: {path} does not exist")
            return
        yield from self._file(path, text, depth + 1)

    @property
    def _active(self) -> bool:
        return all(block[0] for block in self._blocks)

    def _line(self, path: str, start: int, raw: Sequence[str]) -> Line:
        bare = _joined(raw)
        within = self._asked[-1] if self._asked else ""
        line = Line(path, start, len(raw), bare, "", "blank", self._active, self._section, within=within)
        directive = _DIRECTIVE.fullmatch(bare)
        if directive:
            line.kind, line.name = "directive", directive.group(1)
            line.text = self._expanded(directive.group(2).strip())[0]
            self._directive(line, directive.group(2).strip())
        elif bare.strip():
            self._statement(line)
        return line

    def _directive(self, line: Line, rest: str) -> None:
        word = line.name
        if word in ("ifdef", "ifndef"):
            holds = self._expanded(rest)[1] is (word == "ifdef")
            self._blocks.append([holds, holds])
            self._asked.append(f"{word} {rest}")
        elif word.startswith("include"):
            return
        elif not self._blocks:
            raise ConfigError(f"Could not follow the configuration of Exim: .{word} without .ifdef in {line.file}")
        elif word == "endif":
            self._blocks.pop()
            self._asked.pop()
        else:
            block = self._blocks[-1]
            holds = word == "else" or self._expanded(rest)[1] is (word == "elifdef")
            block[0] = holds and not block[1]
            block[1] = block[1] or holds
            self._asked[-1] = f"{word} {rest}".strip()

    def _statement(self, line: Line) -> None:
        macro = _MACRO.fullmatch(line.bare)
        if macro:
            name, value = macro.group(1), self._expanded(macro.group(3).strip())[0]
            line.kind, line.name, line.text = "macro", name, f"{name} = {value}"
            if line.active and name not in self._files.given:
                self._macros[name] = value
            return
        line.text = self._expanded(line.bare.strip())[0]
        label = _LABEL.fullmatch(line.text)
        if line.text.startswith("begin "):
            line.kind, line.name = "begin", line.text.split()[1]
            line.section = line.name
            if line.active:
                self._section = line.name
        elif label and self._section:
            line.kind, line.name = "label", label.group(1)
        else:
            line.kind = "other"

    def _expanded(self, text: str) -> tuple[str, bool]:
        """With macros replaced in the order of their definition, wherever the names occur; and whether there was one."""
        found = text.startswith("_") and any(name in text for name in self._files.built_in)
        for name, value in self._macros.items():
            if name in text:
                text, found = text.replace(name, value), True
        return text, found


def _logical(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines with those that continue them, and the number of the first. Comments between them count for nothing."""
    held: list[str] = []
    start = 0
    for number, raw in enumerate(text.split("\n")):
        if not held:
            start = number
            if raw.lstrip().startswith("#"):
                yield number, [raw]
                continue
        held.append(raw)
        if not (raw.rstrip().endswith("\\") or len(held) > 1 and raw.lstrip().startswith("#")):
            yield start, held
            held = []
    if held:
        yield start, held


def _joined(raw: Sequence[str]) -> str:
    if raw[0].lstrip().startswith("#"):
        return ""
    parts = [raw[0], *(line.lstrip() for line in raw[1:] if not line.lstrip().startswith("#"))]
    return "".join(part.rstrip()[:-1] if part.rstrip().endswith("\\") else part.rstrip() for part in parts)


def option_of(text: str) -> tuple[str, str]:
    """An option, or a named list as `hostlist relay_from_hosts`, with its value: `true` and `false` for what is on or off."""
    named = _LIST.fullmatch(text.strip())
    if named:
        return f"{named.group(1)} {named.group(2)}", named.group(3).strip()
    match = _OPTION.fullmatch(text.strip())
    if not match:
        return "", ""
    name, value = match.group(1), match.group(2)
    if value is not None:
        return name, value.strip()
    negated = re.match(r"(?:no|not)_", name)
    return (name[negated.end() :], "false") if negated else (name, "true")
