"""Read how a host keeps the logs of its mail programs: who writes them where, which files are there, what removes them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..kernel import Clock
from ..runner import FileStat, ReadError, Runner, Space
from ..text import printable
from . import journald, logrotate, rsyslog
from .journald import Journal
from .log_places import Place, place_of
from .logrotate import Rotation
from .rsyslog import Message, Way
from .rsyslog_syntax import Config
from .uses import Around

RSYSLOG = "rsyslogd"
# Others that take what is written to syslog; their rules are not read.
_OTHER_DAEMONS = ("syslog-ng", "syslogd", "metalog", "sysklogd")
_CRON = ("cron", "crond", "anacron", "cronie", "bcron-sched")
TIME_DAEMONS = ("chronyd", "systemd-timesyn", "ntpd", "openntpd", "ntpd-rs", "ptp4l", "phc2sys")  # names are cut at 15 letters
_IN_CONTAINER = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")
_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Copy:
    """A file that was rotated away."""

    path: str
    stat: FileStat


@dataclass(frozen=True)
class LogFile:
    """A file that lines of a mail program go to: `own` when the program writes it, else by rsyslog. `stat` is None when there is
    none. `memory` is the type of a file system that is lost at the next start, else empty."""

    path: str
    own: bool
    stat: Optional[FileStat]
    memory: str = ""
    copies: tuple[Copy, ...] = ()
    space: Optional[Space] = None


@dataclass
class Logs:
    """`units` are the services of each program's processes by its title; `ways` what rsyslog does with its samples. `daemons` are
    the running ones that take syslog, without journald; `rsyslog_at` is rsyslogd's start. `dev_log` is where /dev/log leads."""

    places: list[Place] = field(default_factory=list)
    units: dict[str, tuple[str, ...]] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    journal_memory: str = ""
    journal_space: Optional[Space] = None
    rsyslog: Optional[Config] = None
    rsyslog_problem: str = ""
    ways: dict[str, list[tuple[Message, Way]]] = field(default_factory=dict)
    daemons: tuple[str, ...] = ()
    dev_log: str = ""
    files: dict[str, LogFile] = field(default_factory=dict)
    rotation: Rotation = field(default_factory=Rotation)
    container: str = ""
    clock: Optional[Clock] = None
    clock_problem: str = ""
    time_daemons: tuple[str, ...] = ()
    now: float = 0.0
    started_at: float = 0.0
    rsyslog_at: float = 0.0
    problems: list[str] = field(default_factory=list)

    def files_of(self, place: Place) -> list[LogFile]:
        """The files that its lines go to, its own first."""
        paths = [*place.files, *(a.target for _, way in self.ways.get(place.title, ()) for a in (*way.actions, *way.uncertain)
                                 if a.kind == "file")]  # fmt: skip
        return [self.files[path] for path in dict.fromkeys(paths) if path in self.files]


def read(around: Around, programs: Sequence[tuple[str, Optional[Callable[..., Any]], Sequence[Any]]]) -> Logs:
    """What cannot be read is said in the problems."""
    runner, found = around.runner, Logs(now=around.runner.now())
    for title, _, instances in programs:
        for instance in instances:
            place = place_of(title, instance)
            if place not in found.places:
                found.places.append(place)
    names = {process.name for process in around.processes}
    found.started_at = next((p.started_at for p in around.processes if p.pid == 1), 0.0)
    found.rsyslog_at = max((p.started_at for p in around.processes if p.name == RSYSLOG), default=0.0)
    found.daemons = tuple(name for name in (RSYSLOG, *_OTHER_DAEMONS) if name in names)
    found.time_daemons = tuple(name for name in TIME_DAEMONS if name in names)
    found.units = {place.title: _units(around, place) for place in found.places}
    mounts = _mounts(around.text("/proc/self/mountinfo"))
    units = sorted({unit for units in found.units.values() for unit in units})
    found.journal = journald.read(runner, units, "systemd-journal" in names)
    if found.journal.directory:
        found.journal_memory, found.journal_space = _below(runner, found, mounts, found.journal.directory)
    _syslog(runner, found)
    for place in found.places:
        for path in place.files:
            found.files[path] = _file(runner, found, mounts, path, True)
        for _, way in found.ways.get(place.title, ()):
            for action in (*way.actions, *way.uncertain):
                if action.kind == "file" and action.target not in (*found.files, "/dev/null"):
                    found.files[action.target] = _file(runner, found, mounts, action.target, False)
    found.rotation = logrotate.read(runner, systemd="systemd" in names, cron=bool(names & set(_CRON)))
    found.container = next((path for path in _IN_CONTAINER if _there(runner, path)), "")
    try:
        found.clock = runner.clock()
    except ReadError as exc:
        found.clock_problem = printable(str(exc))
    return found


def _units(around: Around, place: Place) -> tuple[str, ...]:
    found = []
    for process in around.processes:
        if process.name in place.processes:
            found += re.findall(r"(?m)/([^/\n]+\.service)$", around.text(f"/proc/{process.pid}/cgroup"))
    return tuple(dict.fromkeys(found))


def _syslog(runner: Runner, found: Logs) -> None:
    try:
        found.dev_log = runner.resolve("/dev/log")
        found.rsyslog = rsyslog.read(runner)
        if found.rsyslog:
            for place in found.places:
                if place.facility:
                    found.ways[place.title] = [(m, rsyslog.way(found.rsyslog, m)) for m in place.samples]
    except ReadError as exc:
        found.rsyslog_problem = printable(str(exc))
    except ValueError:
        found.rsyslog_problem = "a program logs to a facility that syslog does not have"


def _file(runner: Runner, found: Logs, mounts: Sequence[tuple[str, str]], path: str, own: bool) -> LogFile:
    stat, copies = None, []
    try:
        stat = runner.stat(path)
        literal = re.sub(r"([*?[])", r"[\1]", path)
        for other in (*runner.glob(f"{literal}.[0-9]*"), *runner.glob(f"{literal}-[0-9]*")):
            seen = runner.stat(other)
            if seen and seen.kind == "file":
                copies.append(Copy(other, seen))
    except ReadError as exc:
        found.problems.append(printable(str(exc)))
    memory, space = _below(runner, found, mounts, path)
    return LogFile(path, own, stat, memory, tuple(copies), space)


def _below(runner: Runner, found: Logs, mounts: Sequence[tuple[str, str]], path: str) -> tuple[str, Optional[Space]]:
    """The type of the file system that holds a path, where it is memory, and its space."""
    try:
        real = runner.resolve(path)
        holds = [(point, kind) for point, kind in mounts if real == point or real.startswith(f"{point.rstrip('/')}/")]
        kind = max(holds, key=lambda mount: len(mount[0]), default=("", ""))[1]
        directory = real if runner.stat(real) else posixpath.dirname(real)
        return kind if kind in _MEMORY else "", runner.space(directory)
    except ReadError as exc:
        found.problems.append(printable(str(exc)))
        return "", None


def _mounts(text: str) -> list[tuple[str, str]]:
    """proc_pid_mountinfo(5): mount point and type; the last one at a point is the one to be seen."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        before, _, behind = line.partition(" - ")
        words, kind = before.split(), behind.split()
        if len(words) > 4 and kind:
            found[re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), words[4])] = kind[0]
    return list(found.items())


def _there(runner: Runner, path: str) -> bool:
    try:
        return runner.stat(path) is not None
    except ReadError:
        return False
