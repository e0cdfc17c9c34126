"""Change a Dovecot configuration: wanted settings in; candidate files with which Dovecot runs, out.

Dovecot has no editor of its own. A setting is changed in the line that counts; one that is nowhere comes into its block, or into
the file that the package keeps for the site (local.conf). doveconf reads a copy, and what it prints decides: exactly what is
wanted is otherwise, and nothing else.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..readers.dovecot import Dovecot, Section, parse, read
from ..redact import redact
from ..runner import ReadError, Runner
from ..text import printable
from .dovecot_text import Blocks, Edits, Source, blocks_of, leading, rendered
from .files import Candidate, ConfigError, NewFile
from .overlay import Overlay

Settings = Mapping[str, Optional[str]]
# Each of them is one of its own, so that two are told apart by nothing but their order.
_NAMELESS = ("passdb", "userdb", "namespace")
# What packages bring, and bring again.
_PACKAGES = "/usr/"
# -x: also what settings are read from, as keys; without that 2.3 does not take a configuration, and 2.4 serves nobody (tried).
_CHECK = ("doveconf", "-nx", "-c")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./%@-]*")
# What doveconf prints: each setting by its blocks and its name; a block itself has none.
_Shown = dict[tuple[Blocks, str], str]


@dataclass(frozen=True)
class Wanted:
    """Settings by the block that they stand in, as `protocol imap` or `service imap-login / inet_listener imaps`; the empty name
    is for those in no block. Each with its value; None takes a setting out, so that the default counts, or a whole block."""

    sections: Mapping[str, Optional[Settings]] = field(default_factory=dict)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        sections = dict(self.sections)
        for name, settings in later.sections.items():
            before = sections.get(name)
            sections[name] = {**(before or {}), **settings} if settings is not None else None
        return Wanted(sections)


def candidate(runner: Runner, live: Dovecot, wanted: Wanted, scratch: Path) -> Candidate:
    """What changes in a configuration. `scratch` is an empty directory that only root may enter; the copies that are tried stand
    there afterwards. Raises ConfigError when it cannot be done, or Dovecot would not run with it."""
    named = {blocks_of(name): settings for name, settings in wanted.sections.items()}
    _refuse(named)
    source = Source(runner, live.config_file)
    trial = _Trial(runner, source.main, scratch)
    now = trial.shown(source.texts)
    if now != trial.shown_live():
        raise ConfigError(f"Could not change Dovecot: {source.main} cannot be copied so that doveconf reads the same of it")
    gone = _without(source, named).texts()
    without = now if gone == source.texts else trial.shown(gone)
    _refuse_more(now, without, named)
    values = {blocks: {name: value for name, value in (settings or {}).items() if value is not None}
              for blocks, settings in named.items()}  # fmt: skip
    # What doveconf prints when all of it is said at the very end.
    said = [line for blocks, settings in values.items() if settings for line in rendered(blocks, settings)]
    at_end = Edits(gone)
    at_end.append(source.main, said)
    wished = trial.shown(at_end.texts()) if said else without
    least = {blocks: {name: value for name, value in settings.items() if now.get((blocks, name)) != wished.get((blocks, name))}
             for blocks, settings in values.items()}  # fmt: skip
    after, shown = _tried(source, named, least, trial)
    if shown != wished:
        # 2.4 prints some settings by another name alone, as ssl_server_key_file.
        after, shown = _tried(source, named, values, trial)
    _refuse_other(shown, wished)
    if after == source.texts:
        return Candidate()
    files = tuple(
        NewFile(_real(runner, path), text.encode(), planned_on=_digest(source.texts.get(path)))
        for path, text in after.items() if text != source.texts.get(path)
    )  # fmt: skip
    return Candidate(files, "reload", ("dovecot",), ((*_CHECK, source.main),), trial.reading(live))


def _refuse(named: Mapping[Blocks, Optional[Settings]]) -> None:
    for blocks, settings in named.items():
        if any(label in _NAMELESS for label in blocks):
            raise ConfigError(f"Could not change {blocks[-1]!r} of Dovecot: it has no name to find it by; change it by hand")
        if settings is None and not blocks:
            raise ConfigError("Could not change Dovecot: what stands in no block is no block to be taken out")
        for name, value in (settings or {}).items():
            if not _NAME.fullmatch(name):
                raise ConfigError(f"Could not change Dovecot: {printable(name)!r} is no name of a setting")
            if value is not None and re.search(r"[\n\r\0]|\\\Z", value):
                raise ConfigError(f"Could not change {name} of Dovecot: its value is not one line")


def _without(source: Source, named: Mapping[Blocks, Optional[Settings]]) -> Edits:
    """The files without the settings and blocks that are to go."""
    edits = Edits(source.texts)
    for blocks, settings in named.items():
        lines = [(end.path, end.begins, end.last) for end in source.ends(blocks)] if settings is None else [
            (line.path, line.first, line.last) for name, value in settings.items() if value is None
            for line in source.settings(blocks, name)]  # fmt: skip
        for path, first, last in lines:
            if path.startswith(_PACKAGES):
                raise ConfigError(f"Could not change {path}:{first}: it belongs to a package; set another value instead")
            edits.comment_out(path, first, last)
    return edits


def _tried(
    source: Source, named: Mapping[Blocks, Optional[Settings]], values: Mapping[Blocks, Mapping[str, str]], trial: _Trial
) -> tuple[dict[str, str], _Shown]:
    """The files with these values, and what doveconf prints of them."""
    edits = _without(source, named)
    for blocks, settings in values.items():
        _set(source, edits, blocks, settings)
    after = edits.texts()
    return after, trial.shown(after)


def _set(source: Source, edits: Edits, blocks: Blocks, settings: Mapping[str, str]) -> None:
    """Each in the line that counts, if there is one; the others together where they belong."""
    new = {}
    for name, value in settings.items():
        line = next(iter(source.settings(blocks, name)[::-1]), None)
        if line and not line.path.startswith(_PACKAGES):
            edits.set(line, value)
        else:
            new[name] = value
    if not new:
        return
    for depth in range(len(blocks), 0, -1):
        ends = [end for end in source.ends(blocks[:depth]) if not end.path.startswith(_PACKAGES)]
        if ends:
            edits.put_into(ends[-1], rendered(blocks[depth:], new))
            return
    edits.append(_sites_own(source), rendered(blocks, new))


def _sites_own(source: Source) -> str:
    """The last file that the first one includes by its name: `!include_try local.conf` on Debian; else the first one itself."""
    named = [line.name for line in source.lines if line.path == source.main and line.kind == "include" and not line.blocks]
    own = [name for name in named if not re.search(r"[*?\[{]", name) and not name.startswith(_PACKAGES)]
    return posixpath.join(posixpath.dirname(source.main), own[-1]) if own and own[-1] == named[-1] else source.main


def _refuse_more(now: _Shown, then: _Shown, named: Mapping[Blocks, Optional[Settings]]) -> None:
    """When more goes than what is to go."""
    for blocks, name in _other(now, then):
        whole = any(settings is None and blocks[: len(gone)] == gone for gone, settings in named.items())
        alone = name in (named.get(blocks) or {}) or not name and any(each[: len(blocks)] == blocks for each in named)
        if not whole and not alone:
            raise ConfigError(f"Could not change Dovecot: {_called(blocks, name)} would change as well; change it by hand")


def _refuse_other(after: _Shown, wished: _Shown) -> None:
    for blocks, name in _other(after, wished):
        text = "it is said elsewhere, or in another way, and that counts more; change it by hand"
        raise ConfigError(f"Could not change Dovecot: {_called(blocks, name)} would not be as wanted: {text}")


def _other(one: _Shown, other: _Shown) -> list[tuple[Blocks, str]]:
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def _called(blocks: Blocks, name: str) -> str:
    return printable(" / ".join([*blocks, name] if name else blocks))


def _digest(text: Optional[str]) -> str:
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()


def _real(runner: Runner, path: str) -> str:
    """Where a file is, whatever links lead to it."""
    try:
        return runner.resolve(path)
    except ReadError as exc:
        raise ConfigError(f"Could not change Dovecot: {exc}") from exc


class _Trial:
    """Copies of a configuration that doveconf reads in place of it. Raises ConfigError."""

    def __init__(self, runner: Runner, main: str, scratch: Path) -> None:
        self._runner, self._main, self._scratch = runner, main, scratch
        self._number = 0

    @property
    def _root(self) -> str:
        return f"{self._scratch}/{self._number}"

    def shown_live(self) -> _Shown:
        return self._shown(self._main)

    def shown(self, texts: Mapping[str, str]) -> _Shown:
        """What doveconf prints of these files, passwords, too: they stay in here."""
        self._number += 1
        try:
            for path, text in texts.items():
                place = Path(self._root + path)
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                place.touch(mode=0o600)
                place.write_text(leading(text, path, self._root), encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"Could not copy {self._main} to {self._scratch}: {exc.strerror}") from exc
        return self._shown(self._root + self._main)

    def _shown(self, file: str) -> _Shown:
        try:
            return dict(_settings(parse(self._run("doveconf", "-aP", "-c", file)).root))
        except ReadError as exc:
            raise ConfigError(f"Could not change Dovecot: {exc}") from exc

    def _run(self, *words: str) -> str:
        done = self._runner.run(words)
        if done.returncode == 0:
            return done.stdout
        lines = done.stderr.strip().splitlines() or ["no message"]
        fatal = next((line for line in lines if "Fatal:" in line), lines[-1]).replace(self._root, "")
        # The line that it names is one of the copy.
        why = re.sub(r"^doveconf: Fatal: (?:Error in configuration file \S+ line \d+: )?", "", fatal)
        raise ConfigError(f"Dovecot would not run with the new configuration: {printable(redact(why))}")

    def reading(self, live: Dovecot) -> Dovecot:
        """The last copy, which Dovecot must take, read as the host is read."""
        copy = self._root + self._main
        overlay = Overlay(self._runner, {}, lambda argv: [*argv, "-c", copy] if list(argv) == ["doveconf", "-a"] else argv)
        try:
            self._run(*_CHECK, copy)
            (new,) = read(overlay)
        except ReadError as exc:
            raise ConfigError(f"Could not change Dovecot: {exc}") from exc
        return replace(new, config_file=live.config_file)


def _settings(section: Section, blocks: Blocks = ()) -> Iterator[tuple[tuple[Blocks, str], str]]:
    """Those of the same name one after the other are told apart by a number."""
    for name, value in section.settings.items():
        yield (blocks, name), value
    count: dict[str, int] = {}
    for inner in section.sections:
        label = f"{inner.kind} {inner.name}".strip()
        count[label] = count.get(label, 0) + 1
        below = (*blocks, label if count[label] == 1 else f"{label} #{count[label]}")
        yield (below, ""), ""
        yield from _settings(inner, below)


__all__ = ["Wanted", "candidate"]
