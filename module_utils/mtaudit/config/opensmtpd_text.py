"""Edit the text of smtpd.conf and of its tables: statements where they stand, options of a `listen` line, entries.

A statement is found by what smtpd reads of it, and changed in the text as it is written: comments, continued lines and the order
of everything else stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..readers.opensmtpd_lexer import Lexer, Token
from ..readers.opensmtpd_model import PORTS
from ..runner import ReadError
from ..text import printable
from .files import ConfigError

# The same pieces that `yylex` of smtpd's parse.y makes, with those that it throws away.
_PIECE = re.compile(
    r"""(?P<blank>(?:[ \t\r\f\v]|\\\n)+) | (?P<comment>\#(?:\\\n|[^\n])*) | (?P<line>\n)
      | (?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*') | (?P<sign>[(){}<>!=,]) | (?P<word>(?:\\.|[^\s(){}<>!=\#,\\])+)""",
    re.X | re.S,
)
# Options of `listen` with what stands behind them (smtpd.conf(5), LISTENERS; parse.y).
_ONE = ("port", "tag", "hostname", "pki", "ca", "ciphers", "protocols", "dhe", "user", "group")
_TABLE = ("hostnames",)
_MAYBE_TABLE = ("auth", "auth-optional")
_TLS = ("tls", "tls-require", "smtps")
_SWITCHES = ("inet4", "inet6", "proxy-v2", "mask-src", "received-auth", "no-dsn")
KNOWN_OPTIONS = (*_ONE, *_TABLE, *_MAYBE_TABLE, *_TLS, *_SWITCHES, "senders", "filter")


@dataclass(frozen=True)
class Statement:
    """One statement as smtpd reads it, and the lines of its file that it stands on."""

    path: str
    first: int
    last: int
    tokens: tuple[Token, ...]

    @property
    def meaning(self) -> tuple[tuple[bool, str], ...]:
        return meaning(self.tokens)


def meaning(tokens: Sequence[Token]) -> tuple[tuple[bool, str], ...]:
    """What counts of a statement when two are compared: quotes that change nothing do not."""
    return tuple((token.kind == "sign", token.text) for token in tokens)


def statements(path: str, texts: Mapping[str, str], macros: Mapping[str, str]) -> Iterator[Statement]:
    """Every statement of a file and those that it includes, in the order in which they count. Raises ReadError."""
    lexer = Lexer(path, texts.__getitem__, macros)
    for tokens in lexer.lines():
        file, _, line = tokens[0].where.rpartition(":")
        yield Statement(file, int(line), lexer.last_line, tuple(tokens))


def one_statement(text: str) -> tuple[Token, ...]:
    """A statement that is wanted. Raises ConfigError where it is none, or more than one."""
    try:
        found = list(Lexer("", lambda _path: text, {}).lines())
    except ReadError as exc:
        raise ConfigError(f"Could not change OpenSMTPD: {printable(text)!r} is no statement: {printable(str(exc))}") from exc
    if len(found) != 1 or "\n" in text or text.lstrip().startswith("#"):
        raise ConfigError(f"Could not change OpenSMTPD: {printable(text)!r} is not one statement on one line")
    return tuple(found[0])


def listen_name(tokens: Sequence[Token]) -> str:
    """What a `listen` line is called: `0.0.0.0 port 25`, `socket`. Empty for any other statement."""
    texts = [token.text for token in tokens]
    if texts[:2] != ["listen", "on"] or len(texts) < 3 or tokens[0].kind != "word":
        return ""
    if texts[2] == "socket" and tokens[2].kind == "word":
        return "socket"
    port = texts[texts.index("port", 3) + 1] if "port" in texts[3:-1] else "465" if "smtps" in texts[3:] else "25"
    return f"{texts[2]} port {PORTS.get(port, port)}"


class Text:
    """The text of one file, and edits of it that are made all at once: positions are those of the text as it was."""

    def __init__(self, path: str, text: str) -> None:
        self._path, self._text = path, text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._edits: list[tuple[int, int, bool, int, str]] = []

    def edited(self) -> str:
        text = self._text
        for start, end, _within, _number, new in sorted(self._edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _edit(self, start: int, end: int, new: str, within: bool = True) -> None:
        self._edits.append((start, end, within, len(self._edits), new))

    def _pieces(self, statement: Statement) -> list[re.Match[str]]:
        """What a statement is written with, comments and blanks among it. Raises ConfigError where text and reading differ."""
        start = self._starts[statement.first - 1]
        end = self._starts[statement.last] if statement.last < len(self._starts) else len(self._text)
        pieces = list(_PIECE.finditer(self._text, start, end))
        read = [p for p in pieces if p.lastgroup not in ("blank", "comment", "line")]
        known = read and (_bare(read[0]) == statement.tokens[0].text or read[0].group().startswith("$"))
        if not known or "".join(p.group() for p in pieces) != self._text[start:end]:
            raise ConfigError(f"Could not change {self._path}:{statement.first}: its text is not understood; change it by hand")
        return pieces

    def _span(self, statement: Statement) -> tuple[int, int]:
        """From the first to the last piece that smtpd reads."""
        read = [p for p in self._pieces(statement) if p.lastgroup not in ("blank", "comment", "line")]
        return read[0].start(), read[-1].end()

    def replace(self, statement: Statement, new: str) -> None:
        """A comment behind it stays."""
        start, end = self._span(statement)
        self._edit(start, end, new)

    def comment_out(self, statement: Statement) -> None:
        """Each of its lines: a backslash at the end continues a comment, too."""
        start, end = self._span(statement)
        for position in [start, *(s for s in self._starts if start < s < end)]:
            self._edit(position, position, "# ")

    def put_before(self, statement: Statement, new: str) -> None:
        start, _end = self._span(statement)
        self._edit(start, start, f"{new}\n", within=False)

    def append(self, new: str) -> None:
        missing = "\n" if self._text and not self._text.endswith("\n") else ""
        self._edit(len(self._text), len(self._text), f"{missing}{new}\n")

    def set_options(self, statement: Statement, wanted: Mapping[str, Optional[str]]) -> None:
        """Options of a `listen` line, each with what stands behind it; None takes one out. What is so already is left alone."""
        pieces = self._pieces(statement)
        there = {name: words for name, *words in _options(pieces, f"{self._path}:{statement.first}")}
        end = self._span(statement)[1]
        for name, value in wanted.items():
            words = there.get(name)
            new = None if value is None else f"{name} {value}".strip()
            if words is None:
                if new is not None:
                    self._edit(end, end, f" {new}")
            elif new is None:
                before = [p for p in pieces if p.end() == words[0].start() and p.lastgroup == "blank" and "\n" not in p.group()]
                self._edit(before[0].start() if before else words[0].start(), words[-1].end(), "")
            elif [_bare(p) for p in words] != [_bare(p) for p in _read(new)]:
                self._edit(words[0].start(), words[-1].end(), new)

    def replace_word(self, statement: Statement, old: str, new: str) -> bool:
        """Whether it was there."""
        found = [p for p in self._pieces(statement) if p.lastgroup in ("quoted", "word") and _bare(p) == old]
        for piece in found:
            self._edit(piece.start(), piece.end(), f'"{new}"')
        return bool(found)


def _read(text: str) -> list[re.Match[str]]:
    return [p for p in _PIECE.finditer(text) if p.lastgroup not in ("blank", "comment", "line")]


def _bare(piece: re.Match[str]) -> str:
    return piece.group()[1:-1] if piece.lastgroup == "quoted" else piece.group()


def _options(pieces: Sequence[re.Match[str]], where: str) -> Iterator[tuple[str, re.Match[str]]]:
    """The name of each option of a `listen` line, with its pieces."""
    left = [p for p in pieces if p.lastgroup not in ("blank", "comment", "line")][3:]
    while left:
        name = left[0].group()
        if name not in KNOWN_OPTIONS:
            what = "comes from a macro" if name.startswith("$") else "is not known"
            raise ConfigError(f"Could not change {where}: its option {printable(name)!r} {what}; change the line by hand")
        count = 1
        if name in _ONE:
            count = 2
        elif name in (*_TABLE, *_MAYBE_TABLE, "senders", "filter"):
            count += _table_pieces(left[1:], name not in _MAYBE_TABLE)
        following = left[count].group() if count < len(left) else ""
        if name in _TLS and following == "verify" or name == "senders" and following == "masquerade":
            count += 1
        yield (name, *left[:count])  # type: ignore[misc]
        left = left[count:]


def _table_pieces(left: Sequence[re.Match[str]], required: bool) -> int:
    """How many pieces a table is written with: `<name>`, `{ a, b }`, or one word."""
    signs = [p.group() for p in left]
    if signs[:1] == ["<"] and ">" in signs:
        return signs.index(">") + 1
    if signs[:1] == ["{"] and "}" in signs:
        return signs.index("}") + 1
    return 1 if required or signs[:1] and signs[0].startswith("$") else 0


def changed_table(text: str, wanted: Mapping[str, Optional[str]]) -> str:
    """The text of a table (table(5)) with these entries, key and value, and without those that are None; a key without a value
    where the table is a list of keys. Comments and the order of entries stay."""
    left = {key.lower(): (key, value) for key, value in wanted.items()}
    is_list = _is_list(text)
    kept = []
    for line in text.splitlines(keepends=True):
        key, value = _entry(line, is_list)
        if not key or key.lower() not in left:
            kept.append(line)
            continue
        name, new = left.pop(key.lower())
        if new is not None:
            same = " ".join(value.split()) == " ".join(new.split())
            kept.append(line if same else f"{name}\t{new}".rstrip() + "\n")
    added = [f"{key}\t{value}".rstrip() + "\n" for key, value in left.values() if value is not None]
    if added and kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join([*kept, *added])


_ENTRY = re.compile(r"(\[[^\]]*\]|[^ \t:]*)(?:[ \t:][ \t]*(.*))?$")


def _is_list(text: str) -> bool:
    """Whether entries are keys alone: `# @list`, or a first one without a value, as file_entries() of the reader has it."""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            if line[1:].strip() == "@list":
                return True
        elif line:
            found = _ENTRY.match(line)
            return found is not None and found.group(2) is None
    return True


def _entry(line: str, is_list: bool) -> tuple[str, str]:
    """Key and value of a line; empty for none."""
    line = line.strip()
    found = _ENTRY.match(line)
    if not line or line.startswith("#") or found is None:
        return "", ""
    return (line, "") if is_list else (found.group(1), found.group(2) or "")
