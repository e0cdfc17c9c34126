"""Cut smtpd.conf into lines of tokens as smtpd does: quotes, comments, continued lines, macros, included files.

The rules are those of `yylex` in smtpd's parse.y, 6.8 and 7.6: a macro's text is read in its place, and macros within it are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from ..runner import ReadError

_NOT_IN_WORDS = frozenset("(){}<>!=#,")
_END_OF_NUMBER = frozenset(" \t\n\r\f\v),/}=")
_ESCAPED = re.compile(r'"|(?<=\\)[ \t]')
_FILES_LIMIT = 100
_FILE_LIMIT = 1024 * 1024  # characters


class SyntaxProblem(ReadError):
    """The text cannot be read as smtpd reads it."""


@dataclass(frozen=True)
class Token:
    """`kind` is word, quoted, number or sign; a quoted word is never a keyword. `where` is file:line."""

    kind: str
    text: str
    where: str

    @property
    def is_string(self) -> bool:
        return self.kind in ("word", "quoted", "number")


def written(tokens: Iterable[Token]) -> str:
    """The tokens as a line of smtpd.conf that is read as the same again."""
    return " ".join(f'"{_ESCAPED.sub(_escape, t.text)}"' if t.kind == "quoted" else t.text for t in tokens)


def _escape(found: re.Match[str]) -> str:
    return f"\\{found.group()}"


class _Source:
    """One file that is being read."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text, self.position, self.line = path, text, 0, 1
        self.expanded_until = 0  # up to here a macro's text stands, in which a `$` is only a `$`

    def next(self) -> str:
        """The next character, continued lines joined outside of quotes; empty at the end."""
        while self.text.startswith("\\\n", self.position):
            self.position += 2
            self.line += 1
        if self.text.startswith("\\", self.position):
            self.position += 1
        return self.raw()

    def raw(self) -> str:
        character = self.text[self.position : self.position + 1]
        self.position += 1
        return character

    def back(self) -> None:
        self.position -= 1

    def expand(self, value: str) -> None:
        rest = self.text[self.position :]
        self.text, self.position = value + rest, 0
        self.expanded_until = len(value)


class Lexer:
    """Gives the lines of a configuration, macros and included files in their places."""

    def __init__(self, path: str, load: Callable[[str], str], macros: Mapping[str, str]) -> None:
        """`load` reads a file and may raise ReadError; `macros` are those of the command line, which no file overrides."""
        self._load, self._given, self._macros = load, macros, dict(macros)
        self._sources: list[_Source] = []
        self.last_line = 0  # on which the statement ends that was given last
        self.files: dict[str, str] = {}
        self._opened = 0
        self._open(path)

    def _open(self, path: str) -> None:
        self._opened += 1  # a last line without its end that includes its own file would go on for ever
        if self._opened > _FILES_LIMIT:
            raise SyntaxProblem(f"more than {_FILES_LIMIT} files are included")
        text = self._load(path)
        if len(text) > _FILE_LIMIT:
            raise SyntaxProblem(f"{path} is longer than {_FILE_LIMIT} characters")
        self.files[path] = text
        self._sources.append(_Source(path, text))

    def lines(self) -> Iterator[list[Token]]:
        """Each statement's tokens; a statement ends with its line, unless braces are open."""
        while self._sources:
            line, depth = [], 0
            while True:
                token = self._token()
                if token is None or token.text == "\n" and token.kind == "sign" and not depth:
                    break
                if token.kind == "sign":
                    depth += (token.text == "{") - (token.text == "}")
                if token.text != "\n" or token.kind != "sign":
                    line.append(token)
            self.last_line = self._sources[-1].line - (token is not None)
            if token is None:
                self._sources.pop()
            if line and not self._took(line):
                yield line

    def _took(self, line: list[Token]) -> bool:
        """A macro or an `include`: what changes how the rest is read."""
        kinds = [token.kind for token in line]
        if len(line) == 3 and kinds[1] == "sign" and line[1].text == "=" and line[0].is_string and line[2].is_string:
            if line[0].text not in self._given:
                self._macros[line[0].text] = line[2].text
            return True
        if len(line) == 2 and kinds[0] == "word" and line[0].text == "include":
            if any(source.path == line[1].text for source in self._sources):
                raise SyntaxProblem(f"{line[0].where}: {line[1].text} includes itself")
            self._open(line[1].text)
            return True
        return False

    def _token(self) -> Optional[Token]:
        source = self._sources[-1]
        while True:
            character = source.next()
            while character in (" ", "\t"):
                character = source.next()
            where = f"{source.path}:{source.line}"
            if character == "#":
                while character not in ("\n", ""):
                    character = source.next()
            if character == "$" and source.position > source.expanded_until:
                self._expand(source, where)
                continue
            break
        if not character:
            return None
        if character in "'\"":
            return Token("quoted", self._quoted(source, character, where), where)
        if character == "\n":
            source.line += 1
        if character == "-" or character.isdigit():
            number = self._number(source, character)
            if number:
                return Token("number", number, where)
        if character.isalnum() or character in ":_":
            return Token("word", self._word(source, character), where)
        if character == "=" and source.next() != ">":
            source.back()
        return Token("sign", character, where)

    def _expand(self, source: _Source, where: str) -> None:
        name = ""
        character = source.next()
        while character.isalnum() or character == "_":
            name += character
            character = source.next()
        if character:
            source.back()
        if name not in self._macros:
            raise SyntaxProblem(f"{where}: macro '{name}' not defined")
        source.expand(self._macros[name])

    @staticmethod
    def _quoted(source: _Source, quote: str, where: str) -> str:
        found = ""
        while True:
            character = source.raw()
            if not character:
                raise SyntaxProblem(f"{where}: a quote is not closed")
            if character == quote:
                return found
            if character == "\n":
                source.line += 1
            elif character == "\\":
                following = source.raw()
                if following == "\n":
                    source.line += 1
                elif following in (quote, " ", "\t"):
                    found += following
                else:
                    found += character
                    source.back()
            else:
                found += character

    @staticmethod
    def _number(source: _Source, first: str) -> str:
        """A number, or nothing where the digits begin a word."""
        start, found = source.position, first
        character = source.next()
        while character.isdigit():
            found += character
            character = source.next()
        if (not character or character in _END_OF_NUMBER) and found != "-":
            if character:
                source.back()
            return found
        source.position = start
        return ""

    @staticmethod
    def _word(source: _Source, first: str) -> str:
        found = first
        character = source.next()
        while character and character > " " and character != "\x7f" and character not in _NOT_IN_WORDS:
            found += character
            character = source.next()
        if character:
            source.back()
        return found
