"""Change a Sendmail configuration: wanted settings in; candidate files with which Sendmail runs, out.

sendmail.mc is changed in its text and m4 makes sendmail.cf of it, as `make -C /etc/mail` does; maps are made by makemap. All of
it stands in a copy, and Sendmail is asked there what its rules say before anything is changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..readers.role_mail import alias_maps
from ..readers.sendmail import program, read
from ..readers.sendmail_cf import Map
from ..readers.sendmail_model import Sendmail
from ..redact import redact
from ..runner import ReadError, Runner
from ..simulate.session import Session, SessionEnded
from ..text import printable
from .entries import changed, entries, refuse
from .files import Candidate, ConfigError, NewFile, same_each_time
from .overlay import Overlay
from .sendmail_mc import Source, changed_lines, changed_map, entry

_SUFFIX = {"hash": ".db", "btree": ".db", "cdb": ".cdb"}
_BANNER_TIMEOUT_S = 15.0
# What is new in each sendmail.cf that is made: when, where and by whom. One plan makes one file, whenever it is made.
_BUILT = re.compile(r"^##### built by .*$", re.M)
_BY_US = "##### built by mtaudit"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of the m4 source: `defines` and `features` by name, a feature with its other arguments as they are written;
    `daemons` by their name, with all of their options; `filters` with their equates; `lines` by their text, with what takes their
    place; None comments one out. `rules` are lines that are to stand under LOCAL_CONFIG or LOCAL_RULESETS.

    And of the files beside it: `maps` and `aliases` by the path that sendmail.cf gives them, each key with its value, None takes
    an entry out; `words` by path, a line of a class or of the help file and whether it is to be there.
    """

    defines: Mapping[str, Optional[str]] = field(default_factory=dict)
    features: Mapping[str, Optional[str]] = field(default_factory=dict)
    daemons: Mapping[str, Optional[str]] = field(default_factory=dict)
    filters: Mapping[str, Optional[str]] = field(default_factory=dict)
    lines: Mapping[str, Optional[str]] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)

    @property
    def of_source(self) -> bool:
        """Whether anything is wanted of the m4 source."""
        return bool(self.defines or self.features or self.daemons or self.filters or self.lines or self.rules)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        maps, words, aliases = dict(self.maps), dict(self.words), dict(self.aliases)
        for path, values in later.maps.items():
            maps[path] = {**maps.get(path, {}), **values}
        for path, values in later.aliases.items():
            aliases[path] = {**aliases.get(path, {}), **values}
        for path, lines in later.words.items():
            words[path] = {**words.get(path, {}), **lines}
        return Wanted(
            {**self.defines, **later.defines}, {**self.features, **later.features}, {**self.daemons, **later.daemons},
            {**self.filters, **later.filters}, {**self.lines, **later.lines}, {**self.rules, **later.rules}, maps, words,
            aliases,
        )  # fmt: skip


def candidate(runner: Runner, live: Sendmail, wanted: Wanted, scratch: Path) -> Candidate:
    """What changes in a configuration. `scratch` is an empty directory that only root may enter; the copy that is tried stands
    there afterwards. Raises ConfigError when it cannot be done, or Sendmail would not run with it."""
    if live.problem:
        raise ConfigError(f"Could not change Sendmail: {live.problem}")
    if live.primary is not None:
        text = f"Could not change Sendmail: what started its daemon with {live.file} is not known; stop that daemon"
        raise ConfigError(f"{text}, or change its file by hand and start it anew")
    work = _Work(runner, live, scratch)
    work.source(wanted)
    for path, values in wanted.maps.items():
        work.map(path, values)
    for path, values in wanted.aliases.items():
        work.aliases(path, values)
    for path, words in wanted.words.items():
        work.words(path, words)
    if not work.files:
        return Candidate()
    new = work.tried()
    # A session opens its maps anew; everything else is read at the start.
    activate = "none" if all(each.path in work.of_maps for each in work.files) else "restart"
    return Candidate(tuple(work.files), activate, ("sendmail",), ((program(runner), "-C", live.file, "-bt"),), new)


class _Work:
    """The copy: what changes of the host, and what it is called in scratch meanwhile."""

    def __init__(self, runner: Runner, live: Sendmail, scratch: Path) -> None:
        self._runner, self._live, self._scratch = runner, live, scratch
        self._cf = _text(runner, live.file)
        self._moved: dict[str, str] = {}  # live path of a map, class or help file: the one of its copy
        self._texts: dict[str, str] = {}
        self.files: list[NewFile] = []
        self.of_maps: set[str] = set()

    def _place(self, path: str) -> Path:
        return self._scratch / f"{len(self._moved)}-{os.path.basename(path)}"

    def _write(self, place: Path, text: str) -> None:
        try:
            place.touch(mode=0o600)
            place.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"Could not write {place}: {exc.strerror}") from exc

    # sendmail.mc and sendmail.cf

    def source(self, wanted: Wanted) -> None:
        if not wanted.of_source:
            return
        path = re.sub(r"\.cf\Z", ".mc", self._live.file)
        before = _text(self._runner, path)
        source = Source(path, before)
        _edit(source, wanted)
        self._refuse_another_maker(path, before)  # first: what is wanted may stand in the source, and not in what is in force
        if source.text == before:
            return
        made, complaints = self._made(path, source.text)
        known = self._made(path, before)[1]
        new = [line for line in complaints if line not in known]
        if new:
            raise ConfigError(f"m4 complains of the new {path}: {printable(new[0])}")
        self.files.append(_new_file(path, before, source.text))
        self.files.append(_new_file(self._live.file, self._cf, made))
        self._cf = made

    def _made(self, path: str, text: str) -> tuple[str, list[str]]:
        """What m4 makes of a source, with what Debian's Makefile puts behind it, and what it complains of. Raises ConfigError."""
        place = self._scratch / "source.mc"
        self._write(place, text)
        try:
            done = self._runner.run(["env", "-C", os.path.dirname(path), "m4", str(place)])
        except ReadError as exc:
            raise ConfigError(f"Could not make {self._live.file}: {exc}") from exc
        # Features complain without ending the line.
        said = re.split(r"\n|(?=\*\*\* )", done.stderr.replace(str(place), path))
        complaints = [line for line in said if line.strip()]
        if done.returncode:
            raise ConfigError(f"Could not make {self._live.file}: m4 said {printable(' '.join(complaints)) or 'nothing'}")
        made, mark = _BUILT.sub(_BY_US, done.stdout, count=1), f"### {path} ###\n"
        if mark not in _text(self._runner, self._live.file):
            return made, complaints
        return made + mark + "".join(f"# {line}" for line in text.splitlines(keepends=True)), complaints

    def _refuse_another_maker(self, path: str, text: str) -> None:
        """A sendmail.cf that its source does not make was changed by hand, and would lose that."""
        mark = f"### {path} ###\n"
        made = self._made(path, text)[0].partition(mark)[0].splitlines()
        there = _BUILT.sub(_BY_US, self._cf.partition(mark)[0], count=1).splitlines()
        if made != there:
            number = next((n for n, (a, b) in enumerate(zip(made, there)) if a != b), min(len(made), len(there)))
            line = printable(redact(there[number])) if number < len(there) else "its end"
            raise ConfigError(
                f"Could not change {self._live.file}: it is not what m4 makes of {path}; they differ from line {number + 1} on "
                f"({line}). Take what was changed by hand into {path}, or make the file anew: make -C {os.path.dirname(path)}"
            )

    # maps

    def map(self, path: str, wanted: Mapping[str, Optional[str]]) -> None:
        """The text of a map and what is compiled of it. Raises ConfigError where the two differ in what was not asked for."""
        known = next((m for m in self._live.cf.maps.values() if m.path == path and m.kind in _SUFFIX), None)
        if known is None:
            raise ConfigError(f"Could not change {printable(path)}: {self._live.file} has no map of that file that makemap makes")
        _refuse_entries(path, wanted)
        folds = "-f" not in known.rest.split()
        before = _text(self._runner, path, "")
        after = changed_map(before, wanted, folds)
        was, _ = self._compiled(known, before, "before")
        now, compiled = self._compiled(known, after, "after")
        there = self._dumped(known, path)
        asked = {key.lower() if folds else key for key in wanted}
        stray = sorted(key for key in was.keys() | there.keys() if was.get(key) != there.get(key) and key not in asked)
        if stray:
            raise ConfigError(f"Could not change {path}: what is compiled differs from its text in {printable(stray[0])!r}; "
                              f"mend the text, then: makemap {known.kind} {path} < {path}")
        if after != before:
            self.files.append(_new_file(path, before, after, existed=self._exists(path), mode=0o640))
        if now != there:
            self._compile(known, path, compiled)
        self.of_maps |= {path, path + _SUFFIX[known.kind]}

    def aliases(self, path: str, wanted: Mapping[str, Optional[str]]) -> None:
        """The same for an alias file. newaliases would give up root's rights, and not find the copy: makemap makes what it makes,
        with `@`, by which Sendmail knows that it is complete (Operation Guide, AliasWait)."""
        kind = next((kind for kind, known in alias_maps(self._live) if known == path), "")
        if kind not in ("implicit", *_SUFFIX):
            raise ConfigError(f"Could not change {printable(path)}: {self._live.file} has no alias file of it that makemap makes")
        refuse(path, wanted, colon=True)
        known = Map("aliases", "hash" if kind == "implicit" else kind, f"-N {path}")
        before = _text(self._runner, path)
        after = changed(before, wanted, colon=True)
        was, _ = self._compiled(known, _for_makemap(before), "before")
        now, compiled = self._compiled(known, _for_makemap(after), "after")
        there = self._dumped(known, path)
        asked = {key.lower() for key in wanted}
        stray = sorted(key for key in was.keys() | there.keys()
                       if _plain(was.get(key)) != _plain(there.get(key)) and (key not in asked or was.get(key) != now.get(key)))
        if stray:
            raise ConfigError(f"Could not change {path}: what is compiled differs from its text in {printable(stray[0])!r}; "
                              "mend the text, then: newaliases")
        if after != before:
            self.files.append(_new_file(self._real(path), before, after))
        if {key: _plain(value) for key, value in now.items()} != {key: _plain(value) for key, value in there.items()}:
            self._compile(known, path, compiled)
        self.of_maps |= {self._real(path), path + _SUFFIX[known.kind]}

    def _real(self, path: str) -> str:
        try:
            return self._runner.resolve(path)
        except ReadError as exc:
            raise ConfigError(str(exc)) from exc

    def _exists(self, path: str) -> bool:
        try:
            return self._runner.stat(path) is not None
        except ReadError as exc:
            raise ConfigError(str(exc)) from exc

    def _compile(self, known: Map, path: str, compiled: Path) -> None:
        target = path + _SUFFIX[known.kind]
        self._moved[path] = str(compiled)
        made = Path(f"{compiled}{_SUFFIX[known.kind]}")
        about = made.stat()
        before = Path(target).read_bytes() if self._exists(target) else None
        # makemap gives a new file to TrustedUser; one that is there keeps its own.
        mode, uid, gid = (None, None, None) if before is not None else (about.st_mode & 0o7777, about.st_uid, about.st_gid)
        planned_on = hashlib.sha256(before).hexdigest() if before is not None else ""
        self.files.append(NewFile(target, made.read_bytes(), mode, uid, gid, planned_on))

    def _compiled(self, known: Map, text: str, name: str) -> tuple[dict[str, str], Path]:
        """What makemap makes of a text, and where it stands. Raises ConfigError."""
        place = self._place(f"{name}-{os.path.basename(known.path)}")
        words = ["makemap", *(word for word in known.rest.split() if word in ("-f", "-N")), known.kind, str(place)]
        try:
            done = self._runner.run(words, stdin=text)
        except ReadError as exc:
            raise ConfigError(f"Could not make {known.path}: {exc}") from exc
        if done.returncode:
            said = printable((done.stderr.strip() or "nothing").splitlines()[-1]).replace(str(place), known.path)
            raise ConfigError(f"Could not make {known.path}: makemap said {said}")
        made = Path(f"{place}{_SUFFIX[known.kind]}")
        if known.kind != "cdb":
            made.write_bytes(same_each_time(made.read_bytes(), text))
        return self._dumped(known, str(place)), place

    def _dumped(self, known: Map, path: str) -> dict[str, str]:
        if not self._exists(path + _SUFFIX[known.kind]):
            return {}
        try:
            done = self._runner.run(["makemap", "-u", known.kind, path])
        except ReadError as exc:
            raise ConfigError(f"Could not read {path}: {exc}") from exc
        if done.returncode:
            raise ConfigError(f"Could not read {path}: makemap said {printable(done.stderr.strip() or 'nothing')}")
        return {key: value for key, _, value in (line.partition("\t") for line in done.stdout.splitlines())}

    # classes and the help file

    def words(self, path: str, wanted: Mapping[str, bool]) -> None:
        classes = [each for paths in self._live.cf.class_files.values() for each in paths]
        if path not in (*classes, self._live.cf.option("HelpFile")) or not path.startswith("/"):
            raise ConfigError(f"Could not change {printable(path)}: {self._live.file} reads neither a class nor its help from it")
        for word in wanted:
            if not isinstance(word, str) or not word.strip() or "\n" in word or "\r" in word:
                raise ConfigError(f"Could not change {path}: {printable(str(word))!r} is not one line")
        existed = self._exists(path)
        before = _text(self._runner, path) if existed else ""
        after = changed_lines(before, wanted)
        if after == before:
            return
        place = self._place(path)
        self._write(place, after)
        self._moved[path] = str(place)
        self._texts[path] = after
        self.files.append(_new_file(path, before, after, existed))

    # the copy

    def tried(self) -> Sendmail:
        """Let Sendmail read the copy, show its banner with it, and answer the reader's questions. Raises ConfigError."""
        name, plain, led = program(self._runner), self._scratch / "sendmail.cf", self._scratch / "tried.cf"
        self._write(plain, self._cf)
        self._write(led, self._led())
        try:
            done = self._runner.run([name, "-C", str(led), "-bt"])
        except ReadError as exc:
            raise ConfigError(f"Could not try the new configuration: {exc}") from exc
        if done.returncode:
            said = next((line for line in (done.stderr + done.stdout).splitlines() if line.strip()), "nothing")
            raise ConfigError(f"Sendmail would not run with the new configuration: {printable(self._named(redact(said)))}")
        self._shows_a_banner(name, plain)
        moved = {**self._moved, self._live.file: str(led)}

        def command(argv: Sequence[str]) -> Sequence[str]:
            words = [moved.get(word, word) for word in argv]
            return [name, "-C", str(led), *words[1:]] if words[0] == name and "-C" not in words and "-bt" in words else words

        overlay = Overlay(self._runner, {**self._texts, self._live.file: self._cf}, command)
        found = next((each for each in read(overlay) if each.file == self._live.file), None)
        if found is None or found.problem:
            problem = found.problem if found else "it reads another file"
            raise ConfigError(f"Sendmail would not run with the new configuration: {printable(self._named(redact(problem)))}")
        return found

    def _led(self) -> str:
        """sendmail.cf with what was copied in the place of what it was copied from."""
        text = self._cf
        for path, place in self._moved.items():
            text = re.sub(rf"(?<![\w/.-]){re.escape(path)}(?![\w/.-])", place.replace("\\", r"\\"), text)
        return text

    def _named(self, text: str) -> str:
        for path, place in (*self._moved.items(), (self._live.file, str(self._scratch / "tried.cf"))):
            text = text.replace(place, path)
        return text

    def _shows_a_banner(self, name: str, plain: Path) -> None:
        """As `sendmail -bs` starts it. Where the one that is in force shows none either, this says nothing."""
        said = _banner(self._runner, name, str(plain))
        if said.startswith("220") or not _banner(self._runner, name, self._live.file).startswith("220"):
            return
        raise ConfigError(f"Sendmail would not serve with the new configuration: {printable(self._named(redact(said)))}")


def _banner(runner: Runner, name: str, file: str) -> str:
    """The first reply; why there is none, where there is none."""
    deadline = time.monotonic() + _BANNER_TIMEOUT_S
    try:
        with Session([runner.which(name) or name, "-C", file, "-bs"], deadline, {}) as session:
            reply = session.reply()
            return str(reply)
    except (SessionEnded, OSError) as exc:
        return str(exc)


def _for_makemap(text: str) -> str:
    return "".join(f"{key}\t{value}\n" for key, value in {"@": "@", **entries(text, colon=True)}.items() if value)


def _plain(value: Optional[str]) -> Optional[str]:
    return None if value is None else re.sub(r"\s+", "", value)


def _edit(source: Source, wanted: Wanted) -> None:
    for name, value in wanted.defines.items():
        source.define(name, value)
    for name, value in wanted.features.items():
        source.feature(name, value)
    for name, value in wanted.daemons.items():
        source.daemon(name, value)
    for name, value in wanted.filters.items():
        source.mail_filter(name, value)
    for old, new in wanted.lines.items():
        source.line(old, new)
    for text, section in wanted.rules.items():
        source.section(section, text)


def _refuse_entries(path: str, wanted: Mapping[str, Optional[str]]) -> None:
    for key, value in wanted.items():
        if entry(f"{key}\tx")[0] != key or value is not None and (not value.strip() or "\n" in value or "\r" in value):
            raise ConfigError(f"Could not change {path}: {printable(f'{key} {value}')!r} is no entry of a map")


def _text(runner: Runner, path: str, default: Optional[str] = None) -> str:
    """Raises ConfigError, also for a file that is no text of UTF-8: it could not be written as it is."""
    try:
        if default is not None and runner.stat(path) is None:
            return default
        text = runner.read(path)
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    if "\ufffd" in text:
        raise ConfigError(f"Could not change {path}: it is no text of UTF-8; change it by hand")
    return text


def _new_file(path: str, before: str, after: str, existed: bool = True, mode: Optional[int] = None) -> NewFile:
    planned_on = hashlib.sha256(before.encode()).hexdigest() if existed else ""
    return NewFile(path, after.encode(), None if existed else mode, planned_on=planned_on)


__all__ = ["Wanted", "candidate"]
