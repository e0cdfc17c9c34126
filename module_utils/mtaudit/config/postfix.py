"""Change a Postfix configuration: wanted settings in; candidate files with which Postfix runs, out.

The editor is Postfix's own (postconf -e and its like): it keeps comments and the order of lines. It works on a copy, and smtpd
itself must show its banner with that: `postfix check` is content with a configuration that no smtpd starts with.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..readers.postfix import read_instance
from ..readers.postfix_model import Postfix, SmtpService
from ..readers.postfix_syntax import logical_lines
from ..redact import redact
from ..runner import ReadError, Runner
from ..simulate.session import Session, SessionEnded
from ..text import printable
from .files import Candidate, ConfigError, NewFile
from .overlay import Overlay
from .postfix_tables import change, place_of, whole

_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_SERVICE = re.compile(r"[^\s/]+/(?:inet|unix|fifo|pass|unix-dgram)")
# Changes that a running master does not take up: postconf(5) says "stop and start Postfix".
_RESTART = ("inet_interfaces", "inet_protocols", "queue_directory", "mail_owner", "setgid_group")
_COLUMNS = 8  # name, type, private, unpriv, chroot, wakeup, maxproc, command: master(5)
# What takes `-o` options: Postfix's own daemons. Behind others stand words of their own.
_WITH_OPTIONS = ("anvil", "bounce", "cleanup", "discard", "dnsblog", "error", "flush", "lmtp", "local", "oqmgr", "pickup", "pipe",
                 "postlogd", "postscreen", "proxymap", "qmgr", "qmqpd", "scache", "showq", "smtp", "smtpd", "spawn", "tlsmgr",
                 "tlsproxy", "trivial-rewrite", "verify", "virtual")  # fmt: skip
_LINE = re.compile(r",? line \d+")
_SMTPD_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Wanted:
    """Parameters of main.cf by name, services of master.cf as `name/type`, and `-o` options of services. None takes a parameter
    or an option out, and comments a service out. A service is its entry without options, `submission inet n - y - - smtpd`; those
    that it has stay. `quiet` are services that shall run without `-v`. `tables` are entries of lookup tables, as
    `hash:/etc/aliases` each key with its value; None takes one out. `texts` are tables of patterns, as `regexp:/x`, from
    beginning to end."""

    parameters: Mapping[str, Optional[str]] = field(default_factory=dict)
    services: Mapping[str, Optional[str]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)
    quiet: tuple[str, ...] = ()
    tables: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        options, tables = dict(self.options), dict(self.tables)
        for service, wanted in later.options.items():
            options[service] = {**options.get(service, {}), **wanted}
        for spec, entries in later.tables.items():
            tables[spec] = {**tables.get(spec, {}), **entries}
        return Wanted({**self.parameters, **later.parameters}, {**self.services, **later.services}, options,
                      (*self.quiet, *later.quiet), tables, {**self.texts, **later.texts})  # fmt: skip


def candidate(runner: Runner, live: Postfix, wanted: Wanted, scratch: Path) -> Candidate:
    """What changes in an instance. `scratch` is an empty directory that only root may enter; the copy that is tried stands there
    afterwards. Raises ConfigError when it cannot be done, or Postfix would not run with it."""
    directory = live.config_directory
    if live.problem:
        raise ConfigError(f"Could not change Postfix in {directory}: {live.problem}")
    _refuse(live, wanted)
    edits = list(_edits(live, wanted, runner))
    if not edits and not wanted.tables and not wanted.texts:
        return Candidate()
    copied = _copy(directory, scratch)
    tables = {spec: change(runner, live, spec, entries, place_of(live, spec.partition(":")[2], number, scratch))
              for number, (spec, entries) in enumerate(wanted.tables.items())}
    tables.update({spec: whole(runner, spec, text, place_of(live, spec.partition(":")[2], number, scratch))
                   for number, (spec, text) in enumerate(wanted.texts.items(), len(tables))})  # fmt: skip
    for words in edits:
        postconf(runner, scratch, words)
    left_over = [name for name in _unused(read_instance(runner, str(scratch))) if name not in _unused(live)]
    if left_over:  # a variable of the site's own, which nothing refers to any more
        postconf(runner, scratch, ["-X", *left_over])
    changed = tuple(_changed(directory, scratch, copied))
    files = (*changed, *(file for table in tables.values() for file in table.files))
    if not files:
        return Candidate()
    copies = {spec: table.copy for spec, table in tables.items()}
    texts = {spec.partition(":")[2]: table.text for spec, table in tables.items()}
    new = _tried(Overlay(runner, texts, lambda argv: [copies.get(word, word) for word in argv]), live, scratch)
    restart = any(new.main.value(name) != live.main.value(name) for name in _RESTART)
    # Debian 12 has a unit for each instance, and its postfix.service does nothing; Debian 13 has one for all.
    name = os.path.basename(directory.rstrip("/"))
    units = (f"postfix@{'-' if name == 'postfix' else name}", "postfix")
    # A changed table is opened anew without being told (DATABASE_README).
    activate = "restart" if restart else "reload" if changed else "none"
    return Candidate(files, activate, units, (("postfix", "-c", directory, "check"),), new)


def _refuse(live: Postfix, wanted: Wanted) -> None:
    given = [*wanted.parameters.values(), *wanted.services.values(), *(v for o in wanted.options.values() for v in o.values())]
    texts = [text for text in given if isinstance(text, str)]
    for text in texts:
        if "\n" in text or "\r" in text:
            raise ConfigError(f"Could not change Postfix: a value has more than one line: {printable(text)}")
    named = "\n".join(texts)
    classes = _classes(live, wanted)
    every = [*wanted.parameters, *(name for options in wanted.options.values() for name in options)]
    for name in every:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"Could not change Postfix: {printable(name)!r} is no name of a parameter")
        own = re.search(rf"\$[({{]?{name}\b", named) or name in live.lines or name in classes
        if name not in live.known and not own:
            raise ConfigError(f"Could not change Postfix: version {live.version} has no parameter {name}")
    entries = {f"{entry.name}/{entry.type}" for entry in live.entries}
    for service in [*wanted.services, *wanted.options]:
        if not _SERVICE.fullmatch(service):
            raise ConfigError(f"Could not change Postfix: {printable(service)!r} is no service; write name/type, as smtp/inet")
    for service in (*wanted.options, *wanted.quiet):
        if service not in entries and not wanted.services.get(service):
            raise ConfigError(f"Could not change Postfix: master.cf has no service {service}")
    for service, entry in wanted.services.items():
        if entry is None:
            continue
        if not isinstance(entry, str) or len(entry.split()) < _COLUMNS or "/".join(entry.split()[:2]) != service:
            text = printable(str(entry))
            raise ConfigError(f"Could not change Postfix: {text!r} is no entry of master.cf for {service}; it has eight columns "
                              "or more, see master(5)")
        if Entry.parse(entry).options:
            raise ConfigError(f"Could not change Postfix: the entry of {service} holds options; give them apart, by name")


def _classes(live: Postfix, wanted: Wanted) -> list[str]:
    name = "smtpd_restriction_classes"
    return re.split(r"[\s,]+", wanted.parameters.get(name) or live.main.value(name))


def _plain(value: Optional[str]) -> Optional[str]:
    """Without blanks around it: those within may count, in a table that is written there."""
    return None if value is None else " ".join(line.strip() for line in value.splitlines()).strip()


def _edits(live: Postfix, wanted: Wanted, runner: Runner) -> Iterator[list[str]]:
    """The arguments of postconf for what is not so already, one list for each way of editing."""
    ways: dict[str, list[str]] = {"-X": [], "-e": [], "-M#": [], "-M": []}
    for name, value in wanted.parameters.items():
        if value is None and name in live.lines:
            ways["-X"].append(name)
        elif value is not None and _plain(live.parameters.get(name)) != _plain(value):
            ways["-e"].append(f"{name} = {_plain(value)}")
    written = entries(runner, live.config_directory)
    for service in {**wanted.services, **wanted.options, **dict.fromkeys(wanted.quiet)}:
        there = written.get(service)
        if service in wanted.services and wanted.services[service] is None:
            ways["-M#"] += [service] if there else []
            continue
        entry = _wished(service, there, wanted)
        if entry != there:
            ways["-M"].append(f"{service} = {entry}")
    for way, arguments in ways.items():
        if arguments:
            yield [way, *arguments]


def _wished(service: str, there: Optional[Entry], wanted: Wanted) -> Entry:
    """The entry with its columns and options as they are wanted; what is not spoken of stays."""
    text = wanted.services.get(service)
    entry = Entry.parse(text) if text else there
    assert entry is not None  # `_refuse` has seen to that
    options = dict(there.options) if there else {}
    for name, value in wanted.options.get(service, {}).items():
        options.pop(name, None) if value is None else options.update({name: _plain(value) or ""})
    if service in wanted.quiet:
        entry = replace(entry, flags=tuple(flag for flag in entry.flags if not re.fullmatch("-v+", flag)))
    return replace(entry, options=tuple(options.items()))


@dataclass(frozen=True)
class Entry:
    """An entry of master.cf: eight columns, the last of which is the command; its flags such as `-v`; its `-o` options; and the
    words behind them, of a pipe. Raises ConfigError for flags that hide an option, as `-vo name=value` does."""

    columns: tuple[str, ...]
    flags: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Entry:
        left = text.split()
        columns, left = left[:_COLUMNS], left[_COLUMNS:]
        flags: list[str] = []
        options: dict[str, str] = {}
        while left and left[0].startswith("-") and columns[-1] in _WITH_OPTIONS:
            word = left.pop(0)
            if not word.startswith("-o"):
                if "o" in word:
                    raise ConfigError(f"Could not change Postfix: master.cf hides an option: {printable(text)!r}; write it apart")
                flags.append(word)
                continue
            option = word[2:] or (left.pop(0) if left else "")
            if option.startswith("{"):
                while left and option.count("{") > option.count("}"):
                    option += f" {left.pop(0)}"
                option = option[1:].rstrip("}").strip() if option.count("{") == 1 else option[1:-1].strip()
            name, equals, value = option.partition("=")
            if not equals:
                raise ConfigError(f"Could not change Postfix: master.cf has an option without a value in {printable(text)!r}")
            options[name.strip()] = value.strip()
        return cls(tuple(columns), tuple(flags), tuple(options.items()), tuple(left))

    def __str__(self) -> str:
        # Blanks in a value need the longer form, which Postfix knows since 3.0 (master(5)).
        written = [f"-o {{ {n} = {v} }}" if re.search(r"\s", v) or not v else f"-o {n}={v}" for n, v in self.options]
        return " ".join([*self.columns, *self.flags, *written, *self.words])


def entries(runner: Runner, directory: str) -> dict[str, Entry]:
    """What master.cf has, by `name/type`. Raises ConfigError."""
    try:
        lines = [line.text.split() for line in logical_lines(runner.read(f"{directory}/master.cf"))]
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    return {"/".join(words[:2]): Entry.parse(" ".join(words)) for words in lines}


def _copy(directory: str, scratch: Path) -> dict[str, bytes]:
    """The two files that are edited, and what they hold; everything else by a link, so that relative names lead somewhere."""
    copied = {}
    try:
        for name in os.listdir(directory):
            if name in ("main.cf", "master.cf"):
                copied[name] = (Path(directory) / name).read_bytes()
                (scratch / name).write_bytes(copied[name])
            else:
                (scratch / name).symlink_to(Path(directory) / name)
    except OSError as exc:
        raise ConfigError(f"Could not copy {directory} to {scratch}: {exc.strerror}") from exc
    return copied


def postconf(runner: Runner, scratch: Path, words: Sequence[str]) -> None:
    """Edit the copy. Raises ConfigError."""
    try:
        done = runner.run(["postconf", "-c", str(scratch), *words])
    except ReadError as exc:
        raise ConfigError(f"Could not change Postfix: {exc}") from exc
    said = [line for line in done.stderr.splitlines() if "multiple entries for" not in line]
    if done.returncode or said:
        answer = printable(redact(" ".join(said)) or "nothing")
        raise ConfigError(f"Could not change Postfix: 'postconf {words[0]}' said: {answer}")


def _changed(directory: str, scratch: Path, copied: Mapping[str, bytes]) -> Iterator[NewFile]:
    for name, before in sorted(copied.items()):
        after = (scratch / name).read_bytes()
        if before != after:
            yield NewFile(os.path.join(directory, name), after, planned_on=hashlib.sha256(before).hexdigest())


def _unused(postfix: Postfix) -> list[str]:
    """The parameters that postconf says nothing uses: main.cf's alone, which it can take out."""
    found = (re.search(r"main\.cf: unused parameter: (\w+)=", text) for text in postfix.warnings)
    return [match.group(1) for match in found if match]


def _tried(runner: Runner, live: Postfix, scratch: Path) -> Postfix:
    """Let Postfix read the copy, and every smtpd of it show its banner. What it read. Raises ConfigError."""
    new = read_instance(runner, str(scratch), live.primary)
    if new.problem:
        raise ConfigError(f"Postfix cannot read the new configuration: {new.problem}")
    known = {_LINE.sub("", text) for text in live.warnings}
    complaints = [t for t in new.warnings if _LINE.sub("", t.replace(str(scratch), live.config_directory)) not in known]
    if complaints:
        raise ConfigError(f"Postfix complains of the new configuration: {complaints[0]}")
    tried: set[tuple[str, ...]] = set()
    for port in new.smtp_services():
        options = tuple(word for name, value in port.smtpd.overrides.items() for word in ("-o", f"{name}={value}"))
        if options not in tried:
            tried.add(options)
            _shows_a_banner(new, port, options)
    return new


def _shows_a_banner(new: Postfix, port: SmtpService, options: Sequence[str]) -> None:
    """As `sendmail -bs` starts it, with the options of the service. Its restrictions are not asked there, but read."""
    program = os.path.join(new.main.value("daemon_directory"), "smtpd")
    deadline = time.monotonic() + _SMTPD_TIMEOUT_S
    try:
        with Session([program, "-S", "-V", *options], deadline, {"MAIL_CONFIG": new.config_directory}) as session:
            banner = session.reply()
    except (SessionEnded, OSError) as exc:
        raise ConfigError(f"smtpd for {port.listener} would not start with the new configuration: {exc}") from exc
    if banner.code != 220:
        raise ConfigError(f"smtpd for {port.listener} would refuse everybody with the new configuration: {banner}")
