"""Read the effective Sendmail configuration: sendmail.cf as the daemon has it, classes, compiled maps, and what its rules say."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from ..listeners import Server
from ..runner import ReadError, Runner
from ..text import printable
from . import network, openssl, packages, sasl
from .sendmail_ask import BOUNDED, answers, script
from .sendmail_cf import Cf, Map, given_options, parse_cf
from .sendmail_model import Sendmail, Table, network_of, parse_table
from .sendmail_questions import questions, reaching_out, service_questions

__all__ = ["NAMES", "Sendmail", "describe", "digest", "program", "read"]

# Where Debian and others keep Sendmail itself, whose usual name any other mailer may have.
NAMES = ("sendmail-mta", "sendmail.sendmail", "/usr/libexec/sendmail/sendmail")
DEFAULT_FILES = ("/etc/mail/sendmail.cf", "/etc/sendmail.cf")
PID_FILES = ("/run/sendmail.pid", "/run/sendmail*/*.pid", "/run/sendmail/*/*.pid", "/var/spool/mqueue*/*.pid")
# Options by their letters (readcf.c, OptTab): `-oL8`.
_LETTERS = {"A": "AliasFile", "H": "HelpFile", "L": "LogLevel", "O": "DaemonPortOptions", "p": "PrivacyOptions"}
# Maps whose entries makemap can list.
_LISTED = ("hash", "btree", "cdb", "dbm")
_CLASSES = ("w", "R", "m", "{TrustAuthMech}", "{VirtHost}")
_MARK = "mtaudit-class-"
# Tables that POP-before-SMTP daemons write.
POP_BEFORE_SMTP = re.compile(r"(?i)pop[-_]?(?:before|b4|relay|auth|ip)|\bdrac|relay-?ctrl|whoson|imap[-_]?before|relayhosts")
_MAPS_LIMIT = 5
_REPAIRED = (8, 18)  # the first release that ends a message only where it should (RELEASE_NOTES)


def program(runner: Runner) -> str:
    """The name by which Sendmail itself can be run; empty without it."""
    return next((name for name in NAMES if runner.which(name)), "")


def read(runner: Runner) -> list[Sendmail]:
    """The default configuration, and one more for each daemon that runs with another; empty without Sendmail.

    Three spawns each, one for each map that decides about clients, and one for the package of an old release. What cannot be
    read is returned with `problem` set.
    """
    name = program(runner)
    if not name:
        return []
    commands = [daemon.command for daemon in running(runner)]
    default = next((c for c in commands if not _own_file(c)), ())
    primary = _read_one(runner, name, _default_file(runner), default)
    others = {_own_file(c): c for c in commands if _own_file(c) and _own_file(c) != primary.file}
    return [primary, *(_read_one(runner, name, file, command, primary) for file, command in others.items())]


def describe(sendmail: Sendmail) -> Server:
    """A configuration as the estate tells of it."""
    listed = [network_of(e.key) for e in sendmail.entries("connect", "") if e.relays]
    listed += [network_of(member) for member in sendmail.classes.get("R", ())]
    return Server(
        version=sendmail.version,
        instance=sendmail.file,
        listeners=sendmail.listeners,
        local_domains=tuple(sendmail.local_domains),
        trusted=tuple(n for n in listed if n is not None),
        helo=sendmail.host_name,
        logins=tuple(listener.port for listener in sendmail.listeners if not listener.loopback_only
                     and sendmail.mechanisms and sendmail.daemon_of(listener).login_offered),
    )


def digest(instances: Iterable[Sendmail]) -> str:
    """A fingerprint of everything that decides about relaying: options, classes, rules, maps and what they hold."""
    data = [
        {
            "file": sendmail.file,
            "problem": sendmail.problem,
            "options": sorted((name, value) for name, (value, _) in sendmail.cf.options.items()),
            "daemons": [text for text, _ in sendmail.cf.daemons],
            "classes": {name: sorted(members) for name, members in sendmail.classes.items()},
            "rules": {name: [str(rule) for rule in rules] for name, rules in sendmail.cf.rules.items()},
            "mailers": sorted(f"{d.name} {sorted(d.fields.items())}" for d in sendmail.cf.mailers.values()),
            "filters": sorted(f"{d.name} {sorted(d.fields.items())}" for d in sendmail.cf.filters.values()),
            "sasl": [sendmail.sasl.problem, *(sendmail.sasl.mechanisms or ())],
            "maps": sorted(f"{m.name} {m.kind} {m.rest}" for m in sendmail.cf.maps.values()),
            "tables": {name: [table.problem, sorted(map(str, table.entries))] for name, table in sendmail.tables.items()},
        }
        for sendmail in instances
    ]
    return "sha256:" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Running:
    """A daemon, from its pid file `path`: Sendmail overwrites its own arguments; the second line of the file has them."""

    pid: int
    command: tuple[str, ...]
    path: str

    @property
    def own_file(self) -> str:
        """The file of -C; empty for the default one."""
        return _own_file(self.command)


def running(runner: Runner) -> list[Running]:
    """The daemons that run, by their pid files."""
    found: dict[tuple[str, ...], Running] = {}
    for pattern in PID_FILES:
        for path in runner.glob(pattern):
            try:
                lines = runner.read(path).splitlines()
                words = tuple(shlex.split(lines[1])) if len(lines) > 1 else ()
            except (ReadError, ValueError):
                continue
            if any(word.startswith(("-bd", "-bD")) for word in words) and _runs(runner, lines[0].strip()):
                found[words[1:]] = Running(int(lines[0]), words[1:], path)
    return list(found.values())


def _runs(runner: Runner, pid: str) -> bool:
    try:
        return pid.isdigit() and runner.stat(f"/proc/{pid}") is not None
    except ReadError:
        return False


def _own_file(command: Sequence[str]) -> str:
    """The file of -C; empty for the default one."""
    for word, following in zip(command, (*command[1:], "")):
        if word.startswith("-C"):
            return word[2:] or following
    return ""


def _given(command: Sequence[str]) -> dict[str, str]:
    """The options of -O, and those of -o that a control looks at."""
    found = {}
    for word, following in zip(command, (*command[1:], "")):
        if word.startswith("-O"):
            name, equals, value = (word[2:] or following).partition("=")
            if equals:
                found[name] = value
        elif word.startswith("-o") and word[2:3] in _LETTERS:
            found[_LETTERS[word[2:3]]] = word[3:]
    return found


def _default_file(runner: Runner) -> str:
    for path in DEFAULT_FILES:
        try:
            if runner.stat(path):
                return path
        except ReadError:
            continue
    return DEFAULT_FILES[0]


def _read_one(runner: Runner, name: str, file: str, command: Sequence[str], primary: Optional[Sendmail] = None) -> Sendmail:
    found = Sendmail(file, command=tuple(command), primary=primary)
    try:
        found.cf = parse_cf(runner.read(file))
        given_options(_given(command), found.cf)
        _read_classes(runner, [name, *(["-C", file] if primary else []), *BOUNDED, "-d0.1", "-bt"], found)
    except ReadError as exc:
        found.problem = printable(str(exc))
        return found
    _read_surroundings(runner, found)
    _read_helpers(runner, found)
    found.tables = {m.name: _table(runner, m) for m in _deciding_maps(found.cf)}
    _ask(runner, [name, *(["-C", file] if primary else []), *BOUNDED, "-bt"], found)
    return found


def _read_classes(runner: Runner, argv: list[str], found: Sendmail) -> None:
    """What the program itself has after reading its files. Raises ReadError when it does not take the configuration."""
    known = {"w", "R", "m", *found.cf.class_words, *found.cf.class_files}
    asked = [name for name in _CLASSES if name.strip("{}") in known]
    lines = [line for name in asked for line in (f".D{{mtaudit}}{_MARK}{name.strip('{}')}-", "${mtaudit}", f"$={name}")]
    lines += [f".D{{mtaudit}}{_MARK}host-", "${mtaudit}", "$j", f".D{{mtaudit}}{_MARK}end-", "${mtaudit}"]
    done = runner.run(argv, stdin="".join(f"{line}\n" for line in lines))
    parts = re.split(rf"{_MARK}(\w+)-", done.stdout)
    told = {name: _members(text) for name, text in zip(parts[1::2], parts[2::2])}
    version = re.search(r"^Version (\S+)", done.stdout, re.MULTILINE)
    if "end" not in told or version is None:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise ReadError(f"'{' '.join(argv)}' failed: {said[-1]}")
    found.version = version.group(1)
    compiled = re.search(r"Compiled with: ((?:.*\n)(?:\s+\S.*\n)*)", done.stdout)
    found.compiled = frozenset(compiled.group(1).split()) if compiled else frozenset()
    found.host_name = next(iter(told.get("host", ())), "").lower()
    found.classes = {name: told.get(name.strip("{}"), ()) for name in asked}


def _members(text: str) -> tuple[str, ...]:
    words = [line.lstrip("> ").strip() for line in text.splitlines()]
    return tuple(word for word in words if word)


def _read_surroundings(runner: Runner, found: Sendmail) -> None:
    """The host's addresses and gateways, and whether its IPv6 sockets take IPv4."""
    try:
        here = network.read(runner)
        found.addresses, found.gateways = here.addresses, here.gateways
    except ReadError:
        pass  # then its own addresses count as foreign, which is the safe side
    try:
        found.only_ipv6 = runner.read("/proc/sys/net/ipv6/bindv6only").strip() == "1"
    except ReadError:
        pass


def _read_helpers(runner: Runner, found: Sendmail) -> None:
    """What SASL and OpenSSL are told, what HELP answers, and which package this is where Debian has repaired its release."""
    found.sasl = sasl.read(runner, "Sendmail")
    found.openssl, found.openssl_problem = openssl.read(runner)
    try:
        # Without the file HELP names the release itself (help() in srvrsmtp.c).
        found.help = runner.read(found.cf.option("HelpFile")) if found.cf.option("HelpFile") else ""
    except ReadError as exc:
        found.help_problem = printable(str(exc))
    if found.primary is not None:
        found.package, found.package_problem = found.primary.package, found.primary.package_problem
    elif tuple(int(n) for n in re.findall(r"\d+", found.version)[:2]) < _REPAIRED:
        found.package, found.package_problem = packages.version(runner, "sendmail-bin")


def _deciding_maps(cf: Cf) -> list[Map]:
    """The access map, and those that rules on relaying look the client's address up in, or that are named for it."""
    rules = cf.checks()
    by_client = [r for r in rules if "{client_addr}" in r.right] + cf.rules.get("Relay_ok", [])
    used = cf.maps_of(rules)
    wanted = [m for m in used if m.name == "access"] + cf.maps_of(by_client)
    wanted += [m for m in used if POP_BEFORE_SMTP.search(f"{m.name} {m.rest}")]
    inner = ("host", "arith", "macro", "dequote", "bestmx", "dns", "regex", "null", "implicit", "sequence", "switch", "user")
    return [m for m in dict.fromkeys(wanted) if m.kind not in inner][:_MAPS_LIMIT]


def _table(runner: Runner, source: Map) -> Table:
    """What is compiled counts, not the text that it was made from."""
    if source.kind not in _LISTED:
        return Table(source.name, source.path, problem=f"a {source.kind} map cannot be listed")
    try:
        done = runner.run(["makemap", "-u", source.kind, source.path])
    except ReadError as exc:
        return Table(source.name, source.path, problem=printable(str(exc)))
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        return Table(source.name, source.path, problem=printable(f"'makemap -u {source.kind} {source.path}' failed: {said}"))
    return Table(source.name, source.path, parse_table(done.stdout))


def _ask(runner: Runner, argv: list[str], found: Sendmail) -> None:
    outside = reaching_out(found.cf.maps_of(found.cf.checks()))
    if outside:
        found.silent = f"the rules ask something outside of Sendmail, the map {outside}, which was not contacted"
        return
    for asked in (questions(found), service_questions(found)):
        try:
            found.answers = {**found.answers, **answers(runner.run(argv, stdin=script(asked)).stdout, asked)}
        except ReadError as exc:
            found.silent = found.silent or printable(str(exc))
