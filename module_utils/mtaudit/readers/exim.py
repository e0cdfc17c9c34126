"""Read the effective Exim configuration: what the installed binary makes of its files, and what running daemons were told."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

from ..listeners import Server
from ..redact import redact
from ..runner import ReadError, Runner
from ..text import printable
from . import local_users, network, packages
from .exim_lists import network_of
from .exim_model import Exim, other_options
from .exim_syntax import parse_config, parse_options
from .exim_tables import Table

__all__ = ["Exim", "describe", "digest", "parse", "read", "read_candidate"]

NAMES = ("exim4", "exim")
DEBIAN = "/etc/exim4/update-exim4.conf.conf"
# Which of Debian's settings a named list comes from (update-exim4.conf(8)).
_DEBIAN_NAMES = {"relay_from_hosts": "dc_relay_nets", "relay_to_domains": "dc_relay_domains",
                 "local_domains": "dc_other_hostnames", "local_interfaces": "dc_local_interfaces"}  # fmt: skip
_FILES_LIMIT = 100
# What of a router's options decides which addresses it takes.
_ROUTING = ("condition", "data", "domains", "local_parts", "require_files", "route_data", "senders")
# Releases of which distributions still have packages that they correct by themselves.
_OLDER = ("4.94", "4.95", "4.96")
_VOLATILE = re.compile(r"^(?:message_id_header_\w+|.*_pid)$")
_PATH = r"(/[\w./+@-]+)"
# Text tables and lists in files; data bases, of which only size and time are looked at; and what is asked for its existence.
_DATA_BASE = re.compile(rf"\b(?:dbm|dbmjz|dbmnz|cdb|lmdb|sqlite)(?:,[\w=/.]+)?\s*(?:;+|\{{)\s*{_PATH}")
_FILE = re.compile(
    rf"(?:[a-z]*lsearch(?:\*@?)?(?:,[\w=]+)?\s*(?:;+|\{{)\s*"
    rf"|(?:^|(?<!run)(?<!dbm)(?<!dbmjz)(?<!dbmnz)(?<!cdb)(?<!lmdb)(?<!sqlite)[:;,!{{]|<.)\s*!?\s*){_PATH}"
)
_LSEARCH = re.compile(rf"[a-z]*lsearch(?:\*@?)?(?:,[\w=]+)?\s*(?:;+|\{{)\s*{_PATH}")
_EXISTS = re.compile(rf"exists\s*\{{\s*{_PATH}\s*\}}")


def read(runner: Runner) -> list[Exim]:
    """The default configuration, and one more for each daemon that runs with another; empty without Exim.

    A configuration that cannot be read is returned with `problem` set. Two spawns each.
    """
    program = next((name for name in NAMES if runner.which(name)), "")
    if not program:
        return []
    commands = _daemons(runner)
    default = next((c for c in commands if not other_options(c)), ())
    primary = _read_one(runner, program, default)
    found = [primary]
    for command in commands:
        if command != default:
            found.append(_read_one(runner, program, command, primary))
    return found


def read_candidate(runner: Runner, live: Exim, path: str) -> Exim:
    """A file that is to take the place of a configuration, as if it did so already. Two spawns."""
    program = next((name for name in NAMES if runner.which(name)), NAMES[0])
    defined = (word for word in live.command if word.startswith("-D"))
    found = _read_one(runner, program, ("-C", path, *defined), live.primary)
    found.file, found.command = live.file, live.command
    found.problem = found.problem.replace(path, live.file)
    return found


def parse(config: str, options: str, file: str = "") -> Exim:
    """The output of `exim -bP config` and `exim -bP`; without the files that they name."""
    parsed = parse_config(config)
    return Exim(parsed.file or file, parsed, parse_options(options))


def describe(exim: Exim) -> Server:
    """A configuration as the estate tells of it."""
    return Server(
        version=exim.version,
        instance=exim.file,
        listeners=exim.listeners,
        local_domains=tuple(exim.local_domains),
        trusted=tuple(n for item in exim.relaying_hosts for n in [network_of(item)] if n is not None),
        helo=exim.helo_name,
        logins=tuple(port.port for port in exim.listeners if not port.loopback_only and exim.takes_logins),
    )


def digest(instances: Iterable[Exim]) -> str:
    """A fingerprint of everything that decides about relaying: options, lists, ACLs, drivers, tables, daemons."""
    data = [
        {
            "file": exim.file,
            "problem": exim.problem,
            "command": list(exim.command),
            "options": {name: value for name, value in sorted(exim.options.items()) if not _VOLATILE.match(name)},
            "lists": sorted([*key, value] for key, value in exim.config.lists.items()),
            "acls": {name: [[s.verb, [str(c) for c in s.conditions]] for s in acl] for name, acl in exim.config.acls.items()},
            "drivers": [exim.config.authenticators, exim.config.routers],
            "tables": {path: table.text or table.problem for path, table in sorted(exim.tables.items())},
            "exists": dict(sorted(exim.exists.items())),
        }
        for exim in instances
    ]
    return "sha256:" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _read_one(runner: Runner, program: str, command: Sequence[str], primary: Optional[Exim] = None) -> Exim:
    options = other_options(command)
    named = options[1] if options[:1] == ["-C"] else "the default configuration"
    try:
        config = _printed(runner, [program, *options, "-bP", "config"])
        exim = parse(config, _printed(runner, [program, *options, "-bP"]), named)
    except ReadError as exc:
        return Exim(named, command=tuple(command), primary=primary, problem=printable(str(exc)))
    if not exim.version:
        return Exim(named, command=tuple(command), primary=primary, problem=f"{program} -bP config printed no configuration")
    if "<value not displayable>" in config:
        exim.problem = "only root and Exim's administrators may see all of the configuration"
    exim.command, exim.primary = tuple(command), primary
    _read_surroundings(runner, exim)
    return exim


def _printed(runner: Runner, argv: list[str]) -> str:
    done = runner.run(argv)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise ReadError(f"'{' '.join(argv)}' failed: {redact(lines[-1])}")
    return done.stdout


def _daemons(runner: Runner) -> list[tuple[str, ...]]:
    """The options of each daemon that runs: what Exim was started with after `-bd`, without the queue runner's."""
    found: dict[tuple[str, ...], None] = {}
    for path in runner.glob("/proc/[0-9]*/cmdline"):
        try:
            words = runner.read(path).split("\0")
        except ReadError:
            continue  # it has ended
        if words and words[0].rpartition("/")[2] in NAMES and ("-bd" in words or "-bdf" in words):
            found[other_daemon_options(words[1:])] = None
    return list(found)


def other_daemon_options(words: Sequence[str]) -> tuple[str, ...]:
    """The options of a daemon that change what it does with mail."""
    return tuple(_deciding(words))


def _deciding(words: Sequence[str]) -> Iterator[str]:
    """The options that change what a daemon does with mail: -C, -D and -oX; their values may stand in the same word."""
    waiting = False
    for word in words:
        if waiting:
            yield word
            waiting = False
        elif word in ("-C", "-oX"):
            yield word
            waiting = True
        elif word.startswith("-C"):
            yield from ("-C", word[2:])
        elif word.startswith("-D"):
            yield word


def _read_surroundings(runner: Runner, exim: Exim) -> None:
    """The host's addresses, the files that lists and ACLs name, and Debian's settings behind the generated file."""
    try:
        exim.addresses = network.read(runner).addresses
    except ReadError:
        pass  # then its own addresses count as foreign, which is the safe side
    texts = [*exim.config.lists.values(), *(v for k, v in exim.options.items() if k.startswith(("acl_", "host", "auth_")))]
    texts += [c.value for acl in exim.config.acls.values() for s in acl for c in s.conditions]
    named = dict.fromkeys(path for text in texts for path in _EXISTS.findall(text))
    exim.exists = {path: _exists(runner, path) for path in list(named)[:_FILES_LIMIT]}
    paths = dict.fromkeys(path for text in texts for path in _FILE.findall(text) if exim.exists.get(path) is not False)
    tables = {path: _table(runner, path) for path in list(paths)[:_FILES_LIMIT]}
    unread = dict.fromkeys(path for text in texts for path in _DATA_BASE.findall(text))
    exim.tables = {**tables, **{path: _unread(runner, path) for path in list(unread)[:_FILES_LIMIT]}}
    exim.sources = _sources(runner, exim.file)
    _read_routing(runner, exim)
    if exim.primary is not None:
        exim.package, exim.package_problem = exim.primary.package, exim.primary.package_problem
    elif exim.version.startswith(_OLDER):
        exim.package, exim.package_problem = packages.version(runner, "exim4-base")


def _read_routing(runner: Runner, exim: Exim) -> None:
    """The tables that routers look into, what they ask the existence of, and who has an account."""
    texts = [value for router in exim.config.routers.values() for name, value in router.items() if name in _ROUTING]
    named = [path for text in texts for path in _EXISTS.findall(text) if path not in exim.exists]
    exim.exists = {**exim.exists, **{path: _exists(runner, path) for path in list(dict.fromkeys(named))[:_FILES_LIMIT]}}
    paths = [p for text in texts for p in _LSEARCH.findall(text) if exim.exists.get(p) is not False and p not in exim.tables]
    exim.routing = {path: _table(runner, path) for path in list(dict.fromkeys(paths))[:_FILES_LIMIT]}
    if any("check_local_user" in router for router in exim.config.routers.values()):
        exim.local_users = local_users.read(runner)


def _exists(runner: Runner, path: str) -> Optional[bool]:
    try:
        return runner.stat(path) is not None
    except ReadError:
        return None


def _table(runner: Runner, path: str) -> Table:
    try:
        return Table(path, runner.read(path))
    except ReadError as exc:
        return Table(path, problem=printable(str(exc)))


def _unread(runner: Runner, path: str) -> Table:
    """A data base: it is not read, but a change of it is a change."""
    try:
        found = runner.stat(path)
    except ReadError as exc:
        return Table(path, problem=printable(str(exc)))
    seen = f"{found.size_bytes} bytes, changed at {found.mtime_ns}" if found else "it does not exist"
    return Table(path, problem=f"{path} is not read: {seen}")


def _sources(runner: Runner, file: str) -> dict[str, str]:
    """On Debian, the line of update-exim4.conf.conf that each named list is made from."""
    if not file.endswith("config.autogenerated"):
        return {}
    try:
        lines = runner.read(DEBIAN).splitlines()
    except ReadError:
        return {}
    numbers = {line.partition("=")[0].strip(): number for number, line in enumerate(lines, 1)}
    return {name: f"{DEBIAN}:{numbers[setting]} {setting}" for name, setting in _DEBIAN_NAMES.items() if setting in numbers}
