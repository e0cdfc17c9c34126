"""What a mail program uses of its host: files and what they are to it, what is made from what, daemons, accounts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Optional

from ..listeners import Listener
from ..runner import ReadError, Runner
from ..text import printable

# What a file is to the program that uses it.
SECRET = "secret"  # passwords or private keys: no ordinary account reads it
CONFIG = "configuration"  # read by root: only root writes it
DATA = "data"  # maps and lists: no ordinary account writes it

# The process of each mail program that has its listening sockets.
DAEMONS = {"postfix": ("master",), "exim": ("exim4", "exim"), "sendmail": ("sendmail-mta", "sendmail"), "opensmtpd": ("smtpd",),
           "dovecot": ("dovecot",)}  # fmt: skip

_TICKS_PER_SECOND = 100  # USER_HZ, the unit of starttime in proc_pid_stat(5) on every architecture that Debian runs on
# A password in a configuration file, whatever the program.
_PASSWORD = re.compile(r"(?im)^[^#\n]*\b(?:\w*passw(?:or)?d|bind_pw|dnpass|auth_token|secret)\s*[=:]\s*(?!#)\S")


@dataclass(frozen=True)
class UsedFile:
    """A file, what it is to the program, and what names it (a parameter, another file)."""

    path: str
    role: str
    where: str


@dataclass(frozen=True)
class Made:
    """A file that a command makes from others: a compiled map, a generated configuration."""

    path: str
    sources: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Process:
    """A process; `started_at` in seconds since the epoch, as the clock is now."""

    pid: int
    parent: int
    name: str
    started_at: float


@dataclass(frozen=True)
class Daemon:
    """A running daemon, made from `program`. What it has of `files` is as they were at `loaded_at`, which `tells` explains; not
    `certain`: perhaps it read them again later. `tables`: what it reads then, too, and again at a command that leaves no trace;
    the command for each."""

    title: str
    process: Process
    program: str
    loaded_at: float
    tells: str
    files: tuple[str, ...]
    again: str
    certain: bool = True
    tables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Worker:
    """A kind of process that talks with strangers: what it may do by configuration. `user` is empty where that was not seen."""

    title: str
    where: str
    user: str
    chroot: bool


@dataclass(frozen=True)
class Shown:
    """The file of a certificate that a listener shows, and what names it. Without a path the program makes one by itself; `doubt`
    says why it is not known which one is shown. `greeting` is the name that the server gives itself there, where that is another
    than everywhere."""

    listener: Listener
    path: str
    where: str
    doubt: str = ""
    greeting: str = ""


@dataclass
class Uses:
    """What one instance of a program uses. `problem` says why it could not be found out. `processes` are names of those that talk
    with strangers, with one of `options` where there are any. `certificates` is None where they are not known."""

    title: str
    files: list[UsedFile] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    daemons: list[Daemon] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    processes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    certificates: Optional[list[Shown]] = None
    problem: str = ""


class Around:
    """The host around the programs, for those who look for what a program uses; what is asked twice is read once."""

    def __init__(self, runner: Runner, daemons: bool = True) -> None:
        self.runner = runner
        self.daemons = daemons  # whether anybody asks for them

    @cached_property
    def processes(self) -> list[Process]:
        """Every process. The clock minus the uptime is when the boot was; the kernel's own `btime` is up to seconds wrong."""
        booted = self.runner.now() - float(self.runner.read("/proc/uptime").split()[0])
        found = []
        for path in self.runner.glob("/proc/[0-9]*/stat"):
            try:
                pid, _, rest = self.runner.read(path).partition(" (")
            except ReadError:
                continue  # it has ended
            name, _, more = rest.rpartition(") ")  # a name may hold anything, parentheses too
            fields = more.split()
            if pid.isdigit() and len(fields) > 19:
                found.append(Process(int(pid), int(fields[1]), name, booted + int(fields[19]) / _TICKS_PER_SECOND))
        return found

    def process(self, pid: str, *names: str) -> Optional[Process]:
        """The process of a pid file, if it still is one of these programs."""
        number = pid.strip()
        return next((p for p in self.processes if str(p.pid) == number and p.name in names), None)

    def text(self, path: str) -> str:
        """The text of a file; empty when it cannot be read."""
        try:
            return self.runner.read(path)
        except ReadError:
            return ""

    def role_of(self, path: str) -> str:
        """A configuration file that holds a password is a secret."""
        return SECRET if _PASSWORD.search(self.text(path)) else CONFIG

    def command_line(self, process: Process) -> list[str]:
        """The words of a process's command line."""
        return self.text(f"/proc/{process.pid}/cmdline").split("\0")


def modified_at(runner: Runner, path: str) -> Optional[float]:
    """When the content of a file changed, in seconds since the epoch; None when there is none or it cannot be seen."""
    try:
        found = runner.stat(path)
    except ReadError:
        return None
    return found.mtime_ns / 1e9 if found else None


def failed(title: str, exc: Exception) -> Uses:
    """What is known of a program that could not be looked at."""
    return Uses(title, problem=printable(str(exc)))
