"""Read the host around the mail programs: the files that they use, with owners and modes, and their running daemons.

Each part is read only when a control that was selected needs it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from ..certificate import Certificate, chain
from ..runner import FileStat, ReadError, Runner
from ..text import printable
from . import (
    accounts,
    fail2ban,
    last_logins,
    log_keeping,
    login_checks,
    packages,
    pam_logins,
    password_policy,
    password_tables,
    role_mail,
    sockets,
    web,
)
from .accounts import Accounts
from .fail2ban import Fail2ban
from .last_logins import LastLogins
from .log_keeping import Logs
from .log_places import place_of
from .login_checks import LoginCheck
from .packages import Packages
from .password_policy import Policy
from .password_tables import Passwords
from .role_mail import RoleMail
from .sockets import Socket
from .uses import SECRET, Around, Daemon, Process, UsedFile, Uses, failed
from .web import Web

Programs = Sequence[tuple[str, Optional[Callable[[Around, Any], Uses]], Sequence[Any]]]

# Keys and passwords of helpers of every mail program, in the places that their packages use.
_COMMON = (("/etc/sasldb2", "Cyrus SASL"), ("/etc/dkimkeys/*", "OpenDKIM"), ("/etc/opendkim/keys/*/*", "OpenDKIM"),
           ("/var/lib/rspamd/dkim/*.key", "rspamd"))  # fmt: skip
_PUBLIC = re.compile(r"\.(?:txt|pub|crt|pem)\Z|README\w*\Z")
# Copies that editors, package managers and people leave beside a file.
_COPY = re.compile(r"(?:~|\.(?:bak|old|orig|save|dpkg-\w+|ucf-\w+|db|lmdb|cdb|\d+|\d{8}))\Z")
_DELETED = " (deleted)"  # proc_pid_exe(5), proc_pid_maps(5)
_DELETED_LIBRARY = re.compile(r"(?m)^\S+ r-x\S* (?:\S+ +){3}(/\S+\.so\S*) \(deleted\)$")
# Those whose defects an update mends, looked at where the kernel does not show which ones a process has.
_LIBRARIES = tuple(f"/usr/lib/*-linux-gnu/{name}.so.*" for name in ("libc", "libssl", "libcrypto", "libgnutls", "libsasl2"))

@dataclass(frozen=True)
class Seen:
    """A file that exists: what is used, the path without symbolic links, and what was seen there and of the directories above."""

    file: UsedFile
    path: str
    stat: FileStat
    above: tuple[tuple[str, FileStat], ...] = ()

@dataclass(frozen=True)
class Image:
    """What a process was started from: the program and libraries that are no longer those on the disk. `problem` when that could
    not be seen, and then `newer`: those that changed after the process started."""

    replaced: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    problem: str = ""


@dataclass
class Host:
    """What was read of the host. `problems` says of which path or program something could not be seen, and why."""

    programs: list[Uses] = field(default_factory=list)
    accounts: Accounts = Accounts()
    files: list[Seen] = field(default_factory=list)
    stats: dict[str, Optional[FileStat]] = field(default_factory=dict)
    images: dict[int, Image] = field(default_factory=dict)
    running: list[tuple[Process, str, str]] = field(default_factory=list)  # those that talk with strangers, program, account
    packages: Packages = field(default_factory=Packages)
    roles: RoleMail = RoleMail()
    logs: Logs = field(default_factory=Logs)
    log_files: list[Seen] = field(default_factory=list)  # those that hold logs of mail programs, with the journal's
    certificates: dict[str, list[Certificate]] = field(default_factory=dict)  # by the file that holds them
    certificate_problems: dict[str, str] = field(default_factory=dict)
    guard: Fail2ban = field(default_factory=Fail2ban)
    sockets: list[Socket] = field(default_factory=list)  # on the ports of SMTP, where others can reach them
    names: frozenset[str] = frozenset()  # of every process
    web: Web = field(default_factory=Web)
    passwords: Passwords = Passwords()
    login_checks: tuple[LoginCheck, ...] = ()
    policy: Policy = Policy()
    last_logins: LastLogins = field(default_factory=LastLogins)
    now: float = 0.0
    problems: list[str] = field(default_factory=list)


def read(runner: Runner, programs: Programs, ids: Collection[str]) -> Host:
    """No spawn, but for what the packet filter stops. Raises ReadError when nothing at all can be told."""
    host, wanted = Host(), set(ids)
    around = Around(runner, "DRIFT-01" in wanted)
    for controls, part in _PARTS.items():
        if wanted.intersection(controls):
            part(around, programs, host)
    return host


def _now(around: Around, _programs: Programs, host: Host) -> None:
    host.now = around.runner.now()


def _accounts(around: Around, _programs: Programs, host: Host) -> None:
    host.accounts = accounts.read(around.runner)


def _roles(around: Around, programs: Programs, host: Host) -> None:
    host.roles = role_mail.read(around.runner, programs)


def _guard(around: Around, programs: Programs, host: Host) -> None:
    places = {title.lower(): [place_of(title, instance) for instance in instances] for title, _, instances in programs}
    host.guard = fail2ban.read(around, places)


def _sockets(around: Around, _programs: Programs, host: Host) -> None:
    host.sockets, host.names = sockets.read(around), frozenset(process.name for process in around.processes)


def _web(around: Around, programs: Programs, host: Host) -> None:
    host.web = web.read(around, programs)


def _filtered_web(around: Around, programs: Programs, host: Host) -> None:
    host.web = web.read(around, programs, filtered=True)


def _passwords(around: Around, programs: Programs, host: Host) -> None:
    host.passwords = password_tables.read(around.runner, programs)


def _empty_password(around: Around, _programs: Programs, host: Host) -> None:
    nullok, problem = pam_logins.empty_password(around.runner)
    host.passwords = replace(host.passwords, nullok=nullok, pam_problem=problem)


def _login_checks(around: Around, programs: Programs, host: Host) -> None:
    host.login_checks = login_checks.read(around.runner, programs)


def _policy(around: Around, _programs: Programs, host: Host) -> None:
    host.policy = password_policy.read(around.runner)


def _last_logins(around: Around, programs: Programs, host: Host) -> None:
    host.last_logins = last_logins.read(around.runner, programs, host.passwords)


def _packages(around: Around, _programs: Programs, host: Host) -> None:
    host.packages = packages.read(around.runner)


def _logs(around: Around, programs: Programs, host: Host) -> None:
    host.logs = log_keeping.read(around, programs)


def _certificates(around: Around, _programs: Programs, host: Host) -> None:
    for path in sorted({shown.path for uses in host.programs for shown in uses.certificates or () if shown.path}):
        try:
            host.certificates[path] = chain(around.runner.read(path))
        except (ReadError, ValueError) as exc:
            host.certificate_problems[path] = printable(str(exc))


def _drift(around: Around, _programs: Programs, host: Host) -> None:
    runner = around.runner
    for uses in host.programs:
        for path in (p for made in uses.made for p in (made.path, *made.sources)):
            _stat(runner, host, path)
        for daemon in uses.daemons:
            host.images[daemon.process.pid] = _image(runner, host, daemon)
            for path in (*daemon.files, *daemon.tables):
                _stat(runner, host, path)


def _running(around: Around, _programs: Programs, host: Host) -> None:
    programs = {name: uses for uses in host.programs for name in uses.processes}
    for process in around.processes:
        uses = programs.get(process.name)
        if uses and (not uses.options or set(uses.options) & set(around.command_line(process))):
            # Uid: real, effective, saved, of files (proc_pid_status(5))
            found = re.search(r"(?m)^Uid:\t\d+\t(\d+)", around.text(f"/proc/{process.pid}/status"))
            if found:
                host.running.append((process, uses.title, host.accounts.user(int(found.group(1)))))


def _image(runner: Runner, host: Host, daemon: Daemon) -> Image:
    """Of a process of another account the kernel shows this to those with CAP_SYS_PTRACE only (proc(5), ptrace(2)), which root
    in a container mostly has not."""
    pid = daemon.process.pid
    try:
        program = runner.resolve(f"/proc/{pid}/exe")
        mapped = runner.read(f"/proc/{pid}/maps")
    except ReadError as exc:
        paths = [daemon.program, *(path for pattern in _LIBRARIES for path in runner.glob(pattern))]
        stats = [(path, _stat(runner, host, path)) for path in paths if path]
        newer = tuple(path for path, stat in stats if stat and stat.ctime_ns / 1e9 > daemon.process.started_at)
        return Image(newer=newer, problem=printable(str(exc)))
    replaced = [program.partition(_DELETED)[0]] if program.endswith(_DELETED) else []
    replaced += [match.group(1) for match in _DELETED_LIBRARY.finditer(mapped)]
    return Image(tuple(dict.fromkeys(replaced)))

def _uses(around: Around, programs: Programs, host: Host) -> None:
    for title, uses, instances in programs:
        for instance in instances:
            try:
                known = Uses(title, problem="which files and processes it uses is not known to mtaudit")
                host.programs.append(uses(around, instance) if uses else known)
            except ReadError as exc:
                host.programs.append(failed(title, exc))


def _stat(runner: Runner, host: Host, path: str) -> Optional[FileStat]:
    if path not in host.stats:
        try:
            host.stats[path] = runner.stat(path)
        except ReadError as exc:
            host.stats[path] = None
            host.problems.append(printable(str(exc)))
    return host.stats[path]

def _files(around: Around, _programs: Programs, host: Host) -> None:
    runner = around.runner
    wanted: dict[str, UsedFile] = {}
    for file in (*(file for uses in host.programs for file in uses.files), *_common(runner)):
        # A file may be named twice: what it is to the one that is most particular counts.
        if file.path not in wanted or file.role == SECRET:
            wanted[file.path] = file
    for file in list(wanted.values()):
        for copy in _copies(runner, file) if file.role == SECRET else ():
            wanted.setdefault(copy.path, copy)
    host.files += _seen(runner, host, wanted.values(), host.problems)


def _seen(runner: Runner, host: Host, files: Iterable[UsedFile], problems: list[str]) -> Iterator[Seen]:
    for file in files:
        stat = _stat(runner, host, file.path)
        if stat is not None and stat.kind == "file":
            try:
                path = runner.resolve(file.path)
            except ReadError as exc:
                problems.append(printable(str(exc)))
                continue
            yield Seen(file, path, stat, tuple(_above(runner, host, (file.path, path))))


def _log_files(around: Around, _programs: Programs, host: Host) -> None:
    logs = host.logs
    files = [UsedFile(path, SECRET, "a mail log") for path in logs.files]
    files += [UsedFile(copy.path, SECRET, "a mail log, rotated") for file in logs.files.values() for copy in file.copies]
    files += [UsedFile(path, SECRET, "the journal") for path in logs.journal.files]
    host.log_files = list(_seen(around.runner, host, files, logs.problems))


def _common(runner: Runner) -> list[UsedFile]:
    found = [(path, where) for pattern, where in _COMMON for path in runner.glob(pattern)]
    return [UsedFile(path, SECRET, where) for path, where in found if not _PUBLIC.search(path)]

def _copies(runner: Runner, file: UsedFile) -> Iterable[UsedFile]:
    escaped = re.sub(r"([*?[])", r"[\1]", file.path)
    for path in runner.glob(f"{escaped}[.~]*"):
        if _COPY.fullmatch(path[len(file.path):]):
            yield UsedFile(path, SECRET, f"copy of {file.path}")

def _above(runner: Runner, host: Host, paths: Iterable[str]) -> Iterable[tuple[str, FileStat]]:
    """The directories on the way to a file, and on the way to what a symbolic link leads to."""
    seen: dict[str, None] = {}
    for path in paths:
        while path not in ("/", ""):
            path = posixpath.dirname(path)
            seen[path] = None
    for directory in seen:
        stat = _stat(runner, host, directory)
        if stat is not None:
            yield directory, stat


# The parts of Host: the controls that need one, and what reads it, in this order.
_PARTS: Mapping[tuple[str, ...], Callable[[Around, Programs, Host], None]] = {
    ("DRIFT-01", "PASS-05", "PATCH-01", "TLS-01"): _now,
    ("CHROOT-01", "FILE-01", "LOG-05"): _accounts,
    ("CHROOT-01", "DRIFT-01", "FILE-01", "TLS-01"): _uses,
    ("FILE-01",): _files,
    ("CHROOT-01",): _running,
    ("RCPT-02",): _roles,
    ("AUTH-06",): _guard,
    ("RELAY-06",): _sockets,
    ("WEB-02", "WEB-03"): _web,
    ("WEB-01",): _filtered_web,
    ("PASS-01", "PASS-02", "PASS-03", "PASS-04", "PASS-05"): _passwords,
    ("PASS-01",): _policy,
    ("PASS-04",): _empty_password,
    ("AUTH-04",): _login_checks,
    ("PASS-05",): _last_logins,
    ("PATCH-01",): _packages,
    ("LOG-03", "LOG-04", "LOG-05"): _logs,
    ("LOG-05",): _log_files,
    ("TLS-01",): _certificates,
    ("DRIFT-01",): _drift,
}
