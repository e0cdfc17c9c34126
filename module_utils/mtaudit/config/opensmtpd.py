"""Change an OpenSMTPD configuration: wanted statements in; candidate files with which smtpd runs, out.

smtpd has no editor of its own. Statements are changed in the text where they stand; a copy is tried with `smtpd -n`, and
read with the reader that reads the host.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..readers.opensmtpd import read, told_macros
from ..readers.opensmtpd_lexer import Token
from ..readers.opensmtpd_model import OpenSmtpd
from ..redact import redact
from ..runner import ReadError, Runner
from ..text import printable
from .files import Candidate, ConfigError, NewFile
from .opensmtpd_text import KNOWN_OPTIONS, Statement, Text, changed_table, listen_name, meaning, one_statement, statements
from .overlay import Overlay

_ENTRY = re.compile(r"[^\n\r#][^\n\r]*")


@dataclass(frozen=True)
class Wanted:
    """`statements`: each by its text, with what takes its place; None comments it out. `additions`: statements that are to be
    there, each with the one that it stands before; empty: at the end of the first file. `options` of listen lines, which are
    called `0.0.0.0 port 25` or `socket`: each option with what stands behind it, None takes it out. `tables`: text files of
    tables by path: each key with its value, None takes the entry out.

    A text counts by what smtpd reads of it, macros written out: quotes and blanks that change nothing do not count.
    """

    statements: Mapping[str, Optional[str]] = field(default_factory=dict)
    additions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards. What is wanted later of a statement that is put there now is wanted of what stood there."""
        left = dict(later.statements)
        changed = {old: new if new is None else _taken(left, new) for old, new in self.statements.items()}
        added = {_taken(left, text): before for text, before in self.additions.items()}
        kept = {text: before for text, before in added.items() if text is not None}
        options, tables = dict(self.options), dict(self.tables)
        for name, wanted in later.options.items():
            options[name] = {**options.get(name, {}), **wanted}
        for path, entries in later.tables.items():
            tables[path] = {**tables.get(path, {}), **entries}
        return Wanted({**changed, **left}, {**kept, **later.additions}, options, tables)


def _taken(later: dict[str, Optional[str]], text: str) -> Optional[str]:
    """What becomes of a statement that an earlier wish puts there; the later wish is then fulfilled."""
    key = next((key for key in later if _same(key, text)), None)
    return text if key is None else later.pop(key)


def candidate(runner: Runner, live: OpenSmtpd, wanted: Wanted, scratch: Path) -> Candidate:
    """What changes in a configuration. `scratch` is an empty directory that only root may enter; the copy that is tried stands
    there afterwards. Raises ConfigError when it cannot be done, or smtpd would not run with it."""
    if live.problem:
        raise ConfigError(f"Could not change OpenSMTPD: {live.problem}")
    _refuse(wanted)
    before = _texts(runner, live, wanted)
    after = {**before, **_edited(live, before, wanted)}
    files = tuple(
        NewFile(path, after[path].encode(), planned_on=hashlib.sha256(before[path].encode()).hexdigest())
        for path in after if after[path] != before[path]
    )  # fmt: skip
    if not files:
        return Candidate()
    new = _tried(runner, live, {file.path: after[file.path] for file in files}, after, scratch)
    return Candidate(files, "restart", ("opensmtpd",), (("smtpd", "-n", "-f", live.file),), new)


def _refuse(wanted: Wanted) -> None:
    for name, options in wanted.options.items():
        for option, value in options.items():
            if option not in KNOWN_OPTIONS:
                raise ConfigError(f"Could not change 'listen on {printable(name)}': there is no option {printable(option)!r}")
            if value is not None and ("\n" in value or "\r" in value or "#" in re.sub(r'"[^"]*"', "", value)):
                raise ConfigError(f"Could not change 'listen on {printable(name)}': {printable(value)!r} is not one value")
    for path, entries in wanted.tables.items():
        for text in (*entries, *(value for value in entries.values() if value)):
            if not isinstance(text, str) or not _ENTRY.fullmatch(text):
                raise ConfigError(f"Could not change {path}: {printable(str(text))!r} is no entry of a table")


def _texts(runner: Runner, live: OpenSmtpd, wanted: Wanted) -> dict[str, str]:
    """The files that may change. Raises ConfigError for one that smtpd reads no table from."""
    texts = dict(live.config.files)
    paths = {table.path for table in live.config.tables.values() if table.read_at_start}
    for path in wanted.tables:
        if path not in paths:
            raise ConfigError(f"Could not change {printable(path)}: no `table` of {live.file} is read from that file")
        try:
            texts[path] = runner.read(path)
        except ReadError as exc:
            raise ConfigError(str(exc)) from exc
    for path, text in texts.items():
        if "\ufffd" in text or "\r\n" in text:
            raise ConfigError(f"Could not change {path}: it is no text of UTF-8 with plain line ends; change it by hand")
    return texts


def _edited(live: OpenSmtpd, texts: Mapping[str, str], wanted: Wanted) -> dict[str, str]:
    """The files of smtpd.conf and the tables with everything that is wanted."""
    found = list(statements(live.file, texts, told_macros(live)))
    edits = {path: Text(path, texts[path]) for path in live.config.files}
    _change_statements(found, edits, wanted)
    _add(live.file, found, edits, wanted)
    for name, options in wanted.options.items():
        lines = [each for each in found if listen_name(each.tokens) == name]
        if not lines:
            known = sorted({listen_name(each.tokens) for each in found} - {""})
            raise ConfigError(f"Could not change 'listen on {printable(name)}': there is none; there are: {', '.join(known)}")
        for line in lines:
            edits[line.path].set_options(line, options)
    tables = {path: changed_table(texts[path], entries) for path, entries in wanted.tables.items()}
    return {**{path: text.edited() for path, text in edits.items()}, **tables}


def _with(found: Sequence[Statement], text: str) -> list[Statement]:
    wanted = meaning(one_statement(text))
    return [each for each in found if each.meaning == wanted]


def _change_statements(found: Sequence[Statement], edits: Mapping[str, Text], wanted: Wanted) -> None:
    for old, new in wanted.statements.items():
        there = _with(found, old)
        if new is not None and not there and not _with(found, new):
            raise ConfigError(f"Could not change the statement {printable(old)!r}: it is not there, nor is what shall replace it")
        for each in there:
            if new is None:
                edits[each.path].comment_out(each)
            elif meaning(one_statement(new)) != each.meaning:
                edits[each.path].replace(each, new)


def _add(file: str, found: Sequence[Statement], edits: Mapping[str, Text], wanted: Wanted) -> None:
    """A statement that is there already, and early enough, is not added again."""
    for text, before in _in_order(wanted.additions):
        there = _with(found, text)
        if not before:
            if not there:
                edits[file].append(text)
            continue
        old = [key for key, new in wanted.statements.items() if new is not None and _same(new, before)]
        anchors = _with(found, before) or [each for key in old for each in _with(found, key)]
        if not anchors and not there:
            raise ConfigError(f"Could not put {printable(text)!r} before {printable(before)!r}: that is not there")
        if anchors and not any(found.index(each) < found.index(anchors[0]) for each in there):
            edits[anchors[0].path].put_before(anchors[0], text)


def _in_order(additions: Mapping[str, str]) -> list[tuple[str, str]]:
    """One that stands before another addition comes first, and stands where that one does."""
    ordered: list[tuple[str, str]] = []
    for text, before in additions.items():
        places = [place for place, (other, _) in enumerate(ordered) if before and _same(other, before)]
        if places:
            ordered.insert(places[0], (text, ordered[places[0]][1]))
        else:
            ordered.append((text, before))
    return ordered


def _same(one: str, other: str) -> bool:
    return meaning(one_statement(one)) == meaning(one_statement(other))


def _tried(runner: Runner, live: OpenSmtpd, changed: Mapping[str, str], every: Mapping[str, str], scratch: Path) -> OpenSmtpd:
    """Let smtpd judge the copy, and read it as the host is read. Raises ConfigError."""
    copied_paths = dict.fromkeys((*live.config.files, *changed))
    places = {path: str(scratch / f"{number}-{os.path.basename(path)}") for number, path in enumerate(copied_paths)}
    copied = dict(_leading_elsewhere(live, every, places))
    try:
        for path, text in copied.items():
            place = Path(places[path])
            place.touch(mode=0o600)
            place.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"Could not copy {live.file} to {scratch}: {exc.strerror}") from exc
    overlay = Overlay(runner, every, lambda argv: [places.get(word, word) for word in argv])
    new = next((each for each in read(overlay) if each.file == live.file), None)
    problem = "it reads another file" if new is None else new.problem
    if new is None or problem:
        for path, copy in places.items():
            problem = problem.replace(copy, path)
        raise ConfigError(f"OpenSMTPD would not run with the new configuration: {redact(problem)}")
    return replace(new, stale="", memo={})


def _leading_elsewhere(live: OpenSmtpd, texts: Mapping[str, str], places: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The texts of the copy: `include` and `table` lead to what was copied. Raises ConfigError where they cannot be led."""
    led = {live.file}
    moved = {path: Text(path, texts[path]) for path in live.config.files}
    for each in [*_includes(moved, texts), *statements(live.file, texts, told_macros(live))]:
        named = each.tokens[-1].text
        if each.tokens[0].text not in ("include", "table"):
            continue
        path = next((path for path in places if named == path or named.endswith(f":{path}")), "")
        if path and moved[each.path].replace_word(each, named, named.replace(path, places[path])):
            led.add(path)
    lost = sorted(set(places) - led)
    if lost:
        raise ConfigError(f"Could not try a change of {lost[0]}: a macro leads to it; change it by hand")
    for path in places:
        yield path, moved[path].edited() if path in moved else texts[path]


def _includes(paths: Iterable[str], texts: Mapping[str, str]) -> Iterator[Statement]:
    """The `include` lines, which the lexer follows and does not give."""
    for path in paths:
        for number, line in enumerate(texts[path].splitlines(), 1):
            found = re.match(r"""\s*include\s+(?:"([^"]+)"|'([^']+)')""", line)
            if found:
                where = f"{path}:{number}"
                named = Token("quoted", found.group(1) or found.group(2), where)
                yield Statement(path, number, number, (Token("word", "include", where), named))


__all__ = ["Wanted", "candidate"]
