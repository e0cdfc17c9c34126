"""Change a lookup table of Postfix: entries in; the text and what postmap or postalias makes of it, out."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..readers.postfix_model import Postfix
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import SUFFIX
from ..runner import ReadError, Runner
from ..text import printable
from .entries import changed, refuse
from .files import ConfigError, NewFile, same_each_time

_BERKELEY = ("hash", "btree")
_TWO_FILES = ("dbm", "sdbm")
# What postalias puts in beside the aliases (postalias(1), master_alias.c): who made it and when.
_MARKS = re.compile(r"@|yp_\w+")
_MADE_AT = re.compile(rb"()\d{10}(.{0,8}YP_LAST_MODIFIED)|(YP_LAST_MODIFIED.{0,8})\d{10}()", re.S)


@dataclass(frozen=True)
class Table:
    """What changes of a table, its text as it shall be, and where the copy of it stands, as `hash:/place`."""

    files: tuple[NewFile, ...]
    text: str
    copy: str


def change(runner: Runner, live: Postfix, spec: str, wanted: Mapping[str, Optional[str]], place: Path) -> Table:
    """No files when it is so already. The copy is made at `place`. Raises ConfigError where the table cannot be changed so, or
    what is compiled of it differs from its text in what was not asked for."""
    kind, _, path = spec.partition(":")
    if kind in _TWO_FILES or kind not in SUFFIX and kind != "texthash":
        raise ConfigError(f"Could not change {printable(spec)}: mtaudit changes texts of the types hash, btree, cdb, lmdb and "
                          "texthash; change it where its entries are kept")  # fmt: skip
    if not _is_named(live, spec):
        raise ConfigError(f"Could not change {printable(spec)}: no parameter of Postfix in {live.config_directory} names it")
    # Of a table that is used as both, entries are those of aliases.
    colon = any(spec in words(live.main.value(name)) for name in ("alias_maps", "alias_database"))
    refuse(path, wanted, colon)
    real, before, there = _text(runner, path)
    after = changed(before, wanted, colon)
    files = [_new(real, before, after, there)] if after != before else []
    if kind == "texthash":
        _write(place, after)
        return Table(tuple(files), after, f"{kind}:{place}")
    maker = _Maker(runner, live.config_directory, "postalias" if colon else "postmap", kind, path)
    was, _ = maker.made(before, place.with_name(f"{place.name}-before"))
    now, data = maker.made(after, place)
    compiled = maker.listed(f"{kind}:{path}") if _exists(runner, path + SUFFIX[kind]) else {}
    asked = {key.lower() for key in wanted}
    stray = sorted(key for key in was.keys() | compiled.keys()
                   if was.get(key) != compiled.get(key) and (key not in asked or was.get(key) != now.get(key)))
    if stray and (compiled or there):
        raise ConfigError(f"Could not change {path}: what is compiled differs from its text in {printable(stray[0])!r}; mend the "
                          f"text, then: {maker.program} {spec}")
    if now != compiled:
        files.append(_data(runner, path + SUFFIX[kind], data))
    return Table(tuple(files), after, f"{kind}:{place}")


def whole(runner: Runner, spec: str, text: str, place: Path) -> Table:
    """A table of patterns that is ours alone, and nothing is compiled of. The copy is made at `place`. Raises ConfigError."""
    kind, _, path = spec.partition(":")
    real, before, there = _text(runner, path)
    _write(place, text)
    return Table((_new(real, before, text, there),) if text != before else (), text, f"{kind}:{place}")


def _is_named(live: Postfix, spec: str) -> bool:
    values = [live.main.value(name) for name in live.parameters]
    values += [service.value(name) for service in live.services() for name in service.overrides]
    return any({spec, f"proxy:{spec}"} & set(words(value)) for value in values)


class _Maker:
    """postmap or postalias, for one table."""

    def __init__(self, runner: Runner, directory: str, program: str, kind: str, path: str) -> None:
        self._runner, self._directory, self.program, self._kind, self._path = runner, directory, program, kind, path

    def made(self, text: str, place: Path) -> tuple[dict[str, str], bytes]:
        """What the program makes of a text: its entries, and the file. Raises ConfigError."""
        _write(place, text)
        said = self._run([self.program, "-c", self._directory, f"{self._kind}:{place}"]).replace(str(place), self._path)
        if said.strip() and text:
            known = [line for line in said.splitlines() if "duplicate entry" not in line]
            if known:
                raise ConfigError(f"Could not make {self._path}: {printable(known[0])}")
        file = Path(f"{place}{SUFFIX[self._kind]}")
        data = _timeless(file.read_bytes())
        file.write_bytes(same_each_time(data, text) if self._kind in _BERKELEY else data)
        return self.listed(f"{self._kind}:{place}"), file.read_bytes()

    def listed(self, spec: str) -> dict[str, str]:
        """The entries that Postfix finds there, but for the marks of postalias."""
        try:
            done = self._runner.run(["postmap", "-c", self._directory, "-s", spec])
        except ReadError as exc:
            raise ConfigError(f"Could not read {self._path}: {exc}") from exc
        if done.returncode:
            raise ConfigError(f"Could not read {self._path}: postmap said {printable(done.stderr.strip() or 'nothing')}")
        pairs = (line.partition("\t") for line in done.stdout.splitlines())
        return {key.lower(): " ".join(value.split()) for key, tab, value in pairs if tab and not _MARKS.fullmatch(key.lower())}

    def _run(self, argv: Sequence[str]) -> str:
        try:
            done = self._runner.run(argv)
        except ReadError as exc:
            raise ConfigError(f"Could not make {self._path}: {exc}") from exc
        if done.returncode:
            raise ConfigError(f"Could not make {self._path}: {self.program} said {printable(done.stderr.strip() or 'nothing')}")
        return done.stderr


def _timeless(data: bytes) -> bytes:
    """postalias keeps when it was run, which nobody asks: one plan makes one file, whenever it is made."""
    return _MADE_AT.sub(lambda found: (found[1] or found[3] or b"") + b"0" * 10 + (found[2] or b""), data)


def _text(runner: Runner, path: str) -> tuple[str, str, bool]:
    """The file that the path leads to, its text, and whether it exists. Raises ConfigError."""
    try:
        if runner.stat(path) is None:
            return path, "", False
        real, text = runner.resolve(path), runner.read(path)
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    if "\ufffd" in text:
        raise ConfigError(f"Could not change {path}: it is no text of UTF-8; change it by hand")
    return real, text, True


def _exists(runner: Runner, path: str) -> bool:
    try:
        return runner.stat(path) is not None
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc


def _write(place: Path, text: str) -> None:
    try:
        # In the copy of a configuration stand links to what is in force: that must not be written to.
        for link in (place, *(Path(f"{place}{suffix}") for suffix in SUFFIX.values())):
            link.unlink(missing_ok=True)
        place.touch(mode=0o600)
        place.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"Could not write {place}: {exc.strerror}") from exc


def _new(path: str, before: str, after: str, existed: bool) -> NewFile:
    return NewFile(path, after.encode(), planned_on=hashlib.sha256(before.encode()).hexdigest() if existed else "")


def _data(runner: Runner, path: str, data: bytes) -> NewFile:
    if not _exists(runner, path):
        return NewFile(path, data, planned_on="")
    try:
        real = runner.resolve(path)
        before = Path(real).read_bytes()
    except (ReadError, OSError) as exc:
        raise ConfigError(f"Could not read {path}: {exc}") from exc
    return NewFile(real, data, planned_on=hashlib.sha256(before).hexdigest())


def place_of(live: Postfix, path: str, number: int, scratch: Path) -> Path:
    """Where the copy of a table stands in the copy of the configuration: under its own name where main.cf names it by its
    directory."""
    inside = os.path.dirname(path) == live.config_directory.rstrip("/")
    return scratch / os.path.basename(path) if inside else scratch / f"table-{number}-{os.path.basename(path)}"
