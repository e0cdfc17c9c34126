"""Read OpenSMTPD's configuration: the file of the running daemon, what it includes, and its tables.

smtpd prints no effective configuration; `smtpd -n` says whether it would take the file. The files are therefore read as smtpd
reads them. Two spawns, and one for each table in a data base.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from ..listeners import Server
from ..redact import redact
from ..runner import ReadError, Runner
from ..text import printable
from . import network
from .opensmtpd_model import OpenSmtpd
from .opensmtpd_syntax import Config, parse
from .opensmtpd_tables import Table, file_entries

__all__ = ["OpenSmtpd", "describe", "digest", "read", "told_macros"]

DEFAULT_FILE = "/etc/smtpd.conf"
_MAILNAME = "/etc/mailname"  # getmailname() in Debian's build
_TICKS_PER_SECOND = 100  # USER_HZ, in which /proc tells times
_CHANGED_LATER_S = 2.0  # a start is known to the second
_NOT_READ = "it is not read: nothing that is asked here rests on it"
_TABLES_LIMIT = 20  # data bases that are dumped


def read(runner: Runner) -> list[OpenSmtpd]:
    """The configuration of the daemon that runs, else the default one; empty without OpenSMTPD.

    One that cannot be read, or that smtpd refuses, is returned with `problem` set.
    """
    if not runner.which("smtpd") or not runner.which("smtpctl"):
        return []  # Python and others have an smtpd, too
    started, command = _daemon(runner)
    file, options, macros = _told(command)
    smtpd = OpenSmtpd(file, command=tuple(command[1:]), running=bool(command))
    try:
        smtpd.version = _version(runner)
        _accepted(runner, ["smtpd", "-n", "-f", file, *options])
        smtpd.config = _Files(runner).config(file, macros)
    except ReadError as exc:
        # What the running daemon was started with is then not what the file says.
        smtpd.config, smtpd.problem = Config(), printable(str(exc))
    _read_surroundings(runner, smtpd)
    smtpd.stale = _changed_since(runner, smtpd.config, started) if started else ""
    return [smtpd]


def describe(smtpd: OpenSmtpd) -> Server:
    """A configuration as the estate tells of it."""
    return Server(
        version=smtpd.version,
        instance=smtpd.file,
        listeners=smtpd.listeners,
        local_domains=tuple(smtpd.local_domains),
        trusted=tuple(smtpd.trusted),
        helo=smtpd.hostname,
        logins=tuple(listener.port for listener in smtpd.listeners if not listener.loopback_only
                     and any(port.listen.auth for port, _ in smtpd.ports_of(listener))),
    )


def told_macros(smtpd: OpenSmtpd) -> dict[str, str]:
    """The macros that the daemon was given on its command line."""
    return _told(["smtpd", *smtpd.command])[2]


def digest(instances: Iterable[OpenSmtpd]) -> str:
    """A fingerprint of everything that decides about relaying: rules, listeners, actions, filters, tables, addresses."""
    data = [
        {
            "file": smtpd.file,
            "problem": smtpd.problem,
            "stale": smtpd.stale,
            "hostname": smtpd.hostname,
            "rules": [str(rule) for rule in smtpd.config.rules],
            "listens": [[port.listen.text, port.addresses] for port in smtpd.ports],
            "actions": [[a.name, a.kind, a.virtual.name if a.virtual else ""] for a in smtpd.config.actions.values()],
            "filters": [[f.name, f.kind, [str(c) for c in f.criteria], f.does, f.chain] for f in smtpd.config.filters.values()],
            "tables": [_content(table) for _, table in sorted(smtpd.config.tables.items()) if not _of_mailboxes(smtpd, table)],
            "lists": [[_content(c.table) for c in rule.criteria] for rule in smtpd.config.rules],
        }
        for smtpd in instances
    ]
    return "sha256:" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _content(table: Optional[Table]) -> list[object]:
    return [table.name, table.backend, table.path, table.entries, table.problem] if table else []


def _version(runner: Runner) -> str:
    done = runner.run(["smtpd", "-h"])  # prints it above the usage, with status 1
    found = re.search(r"version: OpenSMTPD (\S+)", done.stdout + done.stderr)
    if found is None:
        raise ReadError("'smtpd -h' printed no version of OpenSMTPD")
    return re.sub(r"-portable$", "", found.group(1))


def _accepted(runner: Runner, argv: list[str]) -> None:
    """smtpd's own judgement of the file: it starts with no other."""
    done = runner.run(argv)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise ReadError(f"'{' '.join(argv)}' refuses the configuration: {redact(lines[0])}")


def _daemon(runner: Runner) -> tuple[float, list[str]]:
    """When the daemon was started, in seconds since the epoch (0: not known), and its command line; its children have none."""
    for path in runner.glob("/proc/[0-9]*/cmdline"):
        try:
            words = runner.read(path).rstrip("\0").split("\0")
            if words[0].rpartition("/")[2] == "smtpd" and words[0].startswith("/"):
                return _started(runner, path.rpartition("/")[0]), words
        except ReadError:
            continue  # it has ended
    return 0.0, []


def _started(runner: Runner, process: str) -> float:
    """proc_pid_stat(5), field 22, counts from the boot; proc_stat(5) knows when that was."""
    try:
        fields = runner.read(f"{process}/stat").rpartition(")")[2].split()
        booted = re.search(r"^btime (\d+)", runner.read("/proc/stat"), re.M)
        return float(booted.group(1)) + int(fields[19]) / _TICKS_PER_SECOND if booted else 0.0
    except (ReadError, ValueError, IndexError):
        return 0.0


def _told(command: Sequence[str]) -> tuple[str, list[str], dict[str, str]]:
    """The file, the options that `smtpd -n` needs as well, and the macros of a command line (smtpd(8))."""
    file, options, macros = DEFAULT_FILE, [], {}
    words = list(command[1:])
    while words:
        word = words.pop(0)
        letter, value = word[1:2], word[2:]
        if not word.startswith("-") or letter not in tuple("fDPTBx"):
            continue
        value = value or (words.pop(0) if words else "")
        if letter == "f":
            file = value
        elif letter == "D":
            options += ["-D", value]
            name, _, text = value.rpartition("=")
            macros[name] = text
    return file, options, macros


class _Files:
    """Reads what a configuration is made of: each file once, and only the tables that a decision rests on."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._texts: dict[str, str] = {}
        self._values: set[str] = set()  # tables of which the values count, too
        self._keys: set[str] = set()
        self._dumped = 0

    def config(self, file: str, macros: Mapping[str, str]) -> Config:
        """Tables of passwords stay unread: which ones are used for what shows when the whole configuration was seen once."""
        first = parse(file, self._text, macros, lambda table: table)
        self._keys = _deciding(first)
        self._values = {listen.senders.name for listen in first.listens if listen.senders is not None}
        self._values |= {action.virtual.name for action in first.actions.values() if action.virtual is not None}
        return parse(file, self._text, macros, self._table)

    def _text(self, path: str) -> str:
        if path not in self._texts:
            self._texts[path] = self._runner.read(path)
        return self._texts[path]

    def _table(self, table: Table) -> Table:
        """A table whose content is kept elsewhere, with that content or with why it is not known."""
        if table.name not in self._keys | self._values:
            return replace(table, problem=_NOT_READ)
        try:
            if table.read_at_start:
                entries = list(file_entries(self._text(table.path)))
            elif table.backend == "db":
                entries = self._dump(table.path)
            else:
                return replace(table, problem=f"it is answered by another program (table-{printable(table.backend)})")
        except ReadError as exc:
            return replace(table, problem=printable(str(exc)))
        kept = table.name in self._values
        return replace(table, entries=tuple((key, value if kept else "") for key, value in entries))

    def _dump(self, path: str) -> list[tuple[str, str]]:
        """A data base by makemap, which is smtpctl: what is in it, whatever the text it was once made from says."""
        self._dumped += 1
        if self._dumped > _TABLES_LIMIT:
            raise ReadError(f"more than {_TABLES_LIMIT} data bases: this one is not read")
        done = self._runner.run(["makemap", "-U", path])
        if done.returncode != 0:
            raise ReadError(f"'makemap -U {path}' failed: {(done.stderr.strip() or 'no message').splitlines()[0]}")
        found = [line.partition("\t") for line in done.stdout.splitlines() if line]
        return [(key, "" if value == "<set>" else value) for key, _, value in found]


def _deciding(config: Config) -> set[str]:
    """The tables that rules, filters and listeners ask."""
    criteria = [c for rule in config.rules for c in rule.criteria] + [c for f in config.filters.values() for c in f.criteria]
    tables = [c.table for c in criteria] + [listen.senders for listen in config.listens]
    return {table.name for table in tables if table is not None}


def _of_mailboxes(smtpd: OpenSmtpd, table: Table) -> bool:
    """Whether it only says which mailboxes there are: such a table changes every day, and smtpctl(8) has it read again."""
    maps = {action.virtual.name for action in smtpd.config.actions.values() if action.virtual}
    return table.name in maps - _deciding(smtpd.config)


def _read_surroundings(runner: Runner, smtpd: OpenSmtpd) -> None:
    try:
        smtpd.addresses = network.read(runner).addresses
    except ReadError:
        pass  # then its own addresses count as foreign, which is the safe side
    smtpd.interfaces = network.interfaces(runner)
    smtpd.listening = tuple(network.listening(runner))
    try:
        smtpd.hostname = runner.read(_MAILNAME).strip()
    except ReadError:
        try:
            smtpd.hostname = runner.read("/proc/sys/kernel/hostname").strip()
        except ReadError:
            pass


def _changed_since(runner: Runner, config: Config, started: float) -> str:
    """A file that the daemon read at its start and that was changed later; data bases it reads again by itself.

    Tables that nothing but mailboxes rests on do not count.
    """
    deciding = _deciding(config)
    tables = [table.path for table in config.tables.values() if table.read_at_start and table.name in deciding]
    for path in (*config.files, *tables):
        try:
            found = runner.stat(path)
        except ReadError:
            continue
        if found is not None and found.mtime_ns / 1e9 > started + _CHANGED_LATER_S:
            return path
    return ""


