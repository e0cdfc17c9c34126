"""Where the programs of a host log what their clients did, and how those lines are read."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..readers.exim import NAMES
from ..readers.exim_syntax import items
from ..readers.sendmail import program as sendmail_program
from ..runner import ReadError, Runner
from . import exim, opensmtpd, postfix, sendmail
from .outcome import Trace

# What `%s` of log_file_path stands for, and the stamps of logs that begin a new file by themselves (chapter "Log files").
_STANDS_FOR = {"%s": "main", "%D": "[0-9]" * 8 + "*", "%M": "[0-9]" * 6 + "*"}
_EXIM_FILES = ("/var/log/exim4/mainlog", "/var/log/exim/main.log", "/var/log/exim/mainlog", "/var/spool/exim/log/mainlog")


@dataclass(frozen=True)
class Program:
    """A mail server of the host, as its estate names it: `instance` is Exim's configuration file, empty for the default."""

    name: str
    instance: str = ""


@dataclass(frozen=True)
class Log:
    """The files of a program's log, in the order to look; `syslog`: the journal may hold it, too. `reason`: what is uncertain."""

    files: tuple[str, ...]
    syslog: bool
    trace: Callable[[bytes, Sequence[str]], list[Trace]]
    reason: str = ""


def installed(runner: Runner) -> list[Program]:
    """The programs whose log we read, where nobody has said which ones run: Postfix, and those of the others that are there."""
    found = {"postfix": True, "exim": any(map(runner.which, NAMES)), "sendmail": bool(sendmail_program(runner)),
             "opensmtpd": bool(runner.which("smtpctl"))}  # fmt: skip
    return [Program(name) for name, there in found.items() if there]


def logs(runner: Runner, programs: Iterable[Program], syslog_files: Sequence[str]) -> Iterator[Log]:
    """The logs of those programs that we can read; one spawn for each Exim."""
    for program in dict.fromkeys(programs):
        if program.name == "exim":
            yield _exim(runner, program.instance, syslog_files)
    for name, trace in (("postfix", postfix.trace), ("sendmail", sendmail.trace), ("opensmtpd", opensmtpd.trace)):
        if any(program.name == name for program in programs):
            yield Log(tuple(syslog_files), True, trace)


def _exim(runner: Runner, instance: str, syslog_files: Sequence[str]) -> Log:
    name = next((name for name in NAMES if runner.which(name)), NAMES[0])
    command = [name, *(["-C", instance] if instance else [])]
    try:
        value, spool = _log_file_path(runner, command)
    except ReadError as exc:
        return Log((*_EXIM_FILES, *syslog_files), True, exim.trace, f"Could not ask Exim where it logs: {exc}")
    files, syslog = exim_files(runner, value, spool)
    return Log((*files, *(syslog_files if syslog else ())), syslog, exim.trace)


def exim_files(runner: Runner, log_file_path: str, spool_directory: str) -> tuple[list[str], bool]:
    """The files that Exim's main log is in, and whether syslog gets it, too. An empty item of log_file_path stands for the place
    that Exim was built with, below the spool directory; where the value is to be expanded, for the usual places."""
    if "$" in log_file_path:
        return list(_EXIM_FILES), "syslog" in log_file_path
    built_in = f"{spool_directory}/log/%slog"
    paths = [item.strip() or built_in for item in items(log_file_path)] or [built_in]
    return [file for path in paths if path != "syslog" for file in _existing(runner, path)], "syslog" in paths


def _log_file_path(runner: Runner, command: Sequence[str]) -> tuple[str, str]:
    """log_file_path, expanded, and spool_directory."""
    done = runner.run([*command, "-bP", "log_file_path", "spool_directory"])
    if done.returncode:
        raise ReadError((done.stderr.strip() or "no message").splitlines()[-1])
    options = dict(line.partition(" = ")[::2] for line in done.stdout.splitlines())
    value = options.get("log_file_path", "").strip()
    if "$" in value:
        value = runner.run([*command, "-be", value]).stdout.strip()
    return value, options.get("spool_directory", "").strip()


def _existing(runner: Runner, path: str) -> list[str]:
    """The file that a path with `%s` means; of files by date those that are there."""
    if "%D" in path or "%M" in path:
        return runner.glob(re.sub("%[sDM]", lambda found: _STANDS_FOR[found[0]], glob.escape(path)))
    return [path.replace("%s", "main")]
