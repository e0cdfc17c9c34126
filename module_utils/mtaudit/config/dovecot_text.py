"""Edit the text of Dovecot's configuration: settings and blocks where they stand, in the file that holds them.

A line holds one setting, the beginning of a block, its end, or an `!include`; a backslash continues it (tried on 2.3.19 and
2.4.1). Comments, blanks and the order of everything else stay.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..runner import ReadError, Runner
from ..text import printable
from .files import ConfigError

# The blocks around a line, outermost first, each by its kind and name: ("service imap-login", "inet_listener imaps").
Blocks = tuple[str, ...]

_SETTING = re.compile(r"([^\s=#{}!]+)(\s*=[ \t]*)")
_BLOCK = re.compile(r"""([^\s=#{}!]+)(?:\s+("(?:\\.|[^"\\])*"|[^\s"{}#]+))?\s+\{\s*(?:#.*)?\Z""")
_INCLUDE = re.compile(r"!include(_try)?\s+(\S+)\s*\Z")
# Up to a comment: `#` inside quotes is none.
_VALUE = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^#"'])*""", re.S)
_DEPTH_LIMIT = 20


@dataclass(frozen=True)
class Line:
    """A line, continued ones as one. `kind` is setting, block, end or include; `name` that of a setting, or the pattern of an
    include; `begins` the line on which the block of an end begins. The block itself is the last of `blocks` of both."""

    path: str
    first: int
    last: int
    blocks: Blocks
    kind: str
    name: str = ""
    begins: int = 0


class Source:
    """Every file of a configuration, by path, and its lines in the order in which they count. Raises ConfigError."""

    def __init__(self, runner: Runner, path: str) -> None:
        self._runner = runner
        self.main = path
        self.texts: dict[str, str] = {}
        self.lines: list[Line] = []
        self._read(path, (), (), must=True)

    def _read(self, path: str, around: Blocks, above: Sequence[str], must: bool) -> None:
        if path in above or len(above) > _DEPTH_LIMIT:
            raise ConfigError(f"Could not change Dovecot: {path} includes itself")
        try:
            text = self._runner.read(path)
        except ReadError as exc:
            if must:
                raise ConfigError(f"Could not change Dovecot: {exc}") from exc
            return
        if "\ufffd" in text or "\r\n" in text:
            raise ConfigError(f"Could not change Dovecot: {path} is no text of UTF-8 with plain line ends; change it by hand")
        self.texts[path] = text
        for line in _lines(path, text, around):
            self.lines.append(line)
            if line.kind == "include":
                for each in self._runner.glob(posixpath.join(posixpath.dirname(path), line.name)):
                    self._read(each, line.blocks, (*above, path), must=False)

    def settings(self, blocks: Blocks, name: str) -> list[Line]:
        return [line for line in self.lines if line.kind == "setting" and line.blocks == blocks and line.name == name]

    def ends(self, blocks: Blocks) -> list[Line]:
        """The ends of all blocks of this name."""
        return [line for line in self.lines if line.kind == "end" and line.blocks == blocks]


def _lines(path: str, text: str, around: Blocks) -> Iterator[Line]:
    """Raises ConfigError for what Dovecot would not read, or is not known to us."""
    opened: list[tuple[str, int]] = []
    for first, last, line in _joined(text):
        blocks = (*around, *(name for name, _ in opened))
        setting, block, include = _SETTING.match(line), _BLOCK.match(line), _INCLUDE.match(line)
        if setting:
            yield Line(path, first, last, blocks, "setting", setting.group(1))
        elif block:
            opened.append((_label(block.group(1), block.group(2)), first))
            yield Line(path, first, last, (*blocks, opened[-1][0]), "block")
        elif re.match(r"\}\s*(?:#|\Z)", line) and opened:
            yield Line(path, first, last, blocks, "end", begins=opened.pop()[1])
        elif include:
            yield Line(path, first, last, blocks, "include", include.group(2))
        else:
            raise ConfigError(f"Could not change Dovecot: {path}:{first} is not understood; change it by hand")


def _joined(text: str) -> Iterator[tuple[int, int, str]]:
    """First and last number, and text, of each line that is neither empty nor a comment; a comment is not continued."""
    whole, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not whole and (not line.strip() or line.lstrip().startswith("#")):
            continue
        first = first if whole else number
        whole += line
        if line.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        yield first, number, whole.strip()
        whole = ""


def _label(kind: str, name: Optional[str]) -> str:
    plain = re.sub(r"\\(.)", r"\1", name[1:-1]) if name and name.startswith('"') else name or ""
    return f"{kind} {plain}".strip()


class Edits:
    """Changes of lines that are made all at once: numbers are those of the files as they were."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)
        self._lines = {path: text.splitlines(keepends=True) for path, text in texts.items()}
        self._new: dict[tuple[str, int], str] = {}
        self._before: dict[tuple[str, int], str] = {}
        self._at_end: dict[str, str] = {}

    def set(self, line: Line, value: str) -> None:
        """The value of a setting; a comment behind it stays."""
        text = "".join(self._lines[line.path][line.first - 1 : line.last])
        start = len(text) - len(text.partition("=")[2].lstrip(" \t"))
        old = _VALUE.findall(text[start:])[0].rstrip()
        gap = "" if text[start - 1].isspace() or not value else " "
        rest = text[start + len(old) :]
        new = f"{text[:start]}{gap}{written(value)}{' ' * (not old and rest.startswith('#'))}{rest}"
        for number in range(line.first, line.last + 1):
            self._new[line.path, number] = new if number == line.first else ""

    def comment_out(self, path: str, first: int, last: int) -> None:
        """Every line that says something."""
        for number in range(first, last + 1):
            self._new[path, number] = re.sub(r"^([ \t]*)(?=[^\s#])", r"\1# ", self._lines[path][number - 1])

    def put_into(self, end: Line, new: Sequence[str]) -> None:
        """Lines before the end of a block, as far to the right as what stands there."""
        lines = self._lines[end.path]
        edge = _blanks(lines[end.first - 1])
        inner = next((_blanks(line) for line in lines[end.begins : end.first - 1] if line.strip()), f"{edge}  ")
        key = end.path, end.first
        self._before[key] = self._before.get(key, "") + "".join(f"{inner if len(inner) > len(edge) else edge}{s}\n" for s in new)

    def append(self, path: str, new: Sequence[str]) -> None:
        """Lines at the end of a file, which may be a new one."""
        self._at_end[path] = self._at_end.get(path, "") + "".join(f"{line}\n" for line in new)

    def texts(self) -> dict[str, str]:
        """Every file as it is then."""
        return {path: self._edited(path) for path in dict.fromkeys((*self._texts, *self._at_end))}

    def _edited(self, path: str) -> str:
        numbered = enumerate(self._lines.get(path, ()), 1)
        text = "".join(self._before.get((path, n), "") + self._new.get((path, n), line) for n, line in numbered)
        added = self._at_end.get(path, "")
        return text + ("\n" if added and text and not text.endswith("\n") else "") + added


def _blanks(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def rendered(blocks: Blocks, settings: Mapping[str, str]) -> list[str]:
    """Settings in their blocks, as Dovecot's own files are written."""
    inner = [f"{name} = {written(value)}".rstrip() for name, value in settings.items()]
    for label in reversed(blocks):
        kind, _, name = label.partition(" ")
        head = f'{kind} "{_escaped(name)}" {{' if re.search(r"""[\s"'#{}\\]""", name) else f"{label} {{"
        inner = [head, *(f"  {line}" for line in inner), "}"]
    return inner


def written(value: str) -> str:
    """A value as it is written: in quotes where a comment would begin, or blanks would be lost."""
    return f'"{_escaped(value)}"' if "#" in value or value != value.strip() or value[:1] in ("'", '"') else value


def _escaped(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)


def leading(text: str, path: str, scratch: str) -> str:
    """The text of a file's copy: what it includes is below `scratch`, too, and what it reads stays where it is."""
    text = re.sub(r"(?m)^(\s*!include(?:_try)?\s+)(?=/)", rf"\g<1>{scratch}", text)
    return re.sub(r"(?m)^([ \t]*[^\s=#{}!]+[ \t]*=[ \t]*<)[ \t]*(?=[^/\s])", rf"\g<1>{posixpath.dirname(path)}/", text)


def blocks_of(name: str) -> Blocks:
    """`service imap-login / inet_listener imaps`; empty for what stands in no block. Raises ConfigError."""
    found = tuple(" ".join(label.split()) for label in name.split(" / ")) if name else ()
    if any(not re.fullmatch(r"[A-Za-z0-9_@]+(?: [^\n\r]+)?", label) for label in found):
        raise ConfigError(f"Could not change Dovecot: {printable(name)!r} is no name of a block")
    return found


__all__ = ["Blocks", "Edits", "Line", "Source", "blocks_of", "leading", "rendered", "written"]
