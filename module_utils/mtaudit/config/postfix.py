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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..readers.postfix import read_instance
from ..readers.postfix_model import Postfix, SmtpService
from ..readers.postfix_syntax import logical_lines
from ..runner import ReadError, Runner
from ..simulate.session import Session, SessionEnded
from ..text import printable
from .files import Candidate, ConfigError, NewFile

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SERVICE = re.compile(r"[^\s/]+/(?:inet|unix|fifo|pass|unix-dgram)")
# Changes that a running master does not take up: postconf(5) says "stop and start Postfix".
_RESTART = {"inet_interfaces", "inet_protocols", "queue_directory", "mail_owner", "setgid_group"}
_SMTPD_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Wanted:
    """Parameters of main.cf by name, services of master.cf as `name/type`, and `-o` options of services. None takes a parameter
    or an option out, and comments a service out. A service is its entry without options, `submission inet n - y - - smtpd`; those
    that it has stay."""

    parameters: Mapping[str, Optional[str]] = field(default_factory=dict)
    services: Mapping[str, Optional[str]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Optional[str]]] = field(default_factory=dict)


def candidate(runner: Runner, directory: str, wanted: Wanted, scratch: Path) -> Candidate:
    """What changes in the instance of this configuration directory. `scratch` is an empty directory that only root may enter; the
    copy that is tried stands there afterwards. Raises ConfigError when it cannot be done, or Postfix would not run with it."""
    live = read_instance(runner, directory)
    if live.problem:
        raise ConfigError(f"Could not change Postfix in {directory}: {live.problem}")
    _refuse(live, wanted)
    edits = list(_edits(live, _missing(live, wanted), runner))
    if not edits:
        return Candidate()
    _copy(directory, scratch)
    for words in edits:
        _postconf(runner, scratch, words)
    files = tuple(_changed(directory, scratch))
    if not files:
        return Candidate()
    _try(runner, live, scratch)
    restart = any(words[0] in ("-e", "-X") and _names(words) & _RESTART for words in edits)
    return Candidate(files, "restart" if restart else "reload")


def _refuse(live: Postfix, wanted: Wanted) -> None:
    texts = [*wanted.parameters.values(), *wanted.services.values(), *(v for o in wanted.options.values() for v in o.values())]
    for text in filter(None, texts):
        if "\n" in text or "\r" in text:
            raise ConfigError(f"Could not change Postfix: a value has more than one line: {printable(text)}")
    named = "\n".join(filter(None, texts))
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
    for service in wanted.options:
        if service not in entries and not wanted.services.get(service):
            raise ConfigError(f"Could not change Postfix: master.cf has no service {service} to give options to")
    for service, entry in wanted.services.items():
        if entry is not None and (len(_split(entry.split())[0]) < 8 or "/".join(entry.split()[:2]) != service):
            raise ConfigError(f"Could not change Postfix: {printable(entry)!r} is no entry of master.cf for {service}; it has "
                              "eight columns or more, see master(5)")
        if entry is not None and _split(entry.split())[1]:
            raise ConfigError(f"Could not change Postfix: the entry of {service} holds options; give them apart, by name")


def _classes(live: Postfix, wanted: Wanted) -> list[str]:
    name = "smtpd_restriction_classes"
    return re.split(r"[\s,]+", wanted.parameters.get(name) or live.main.value(name))


def _missing(live: Postfix, wanted: Wanted) -> Wanted:
    """What of it is not so already."""
    written = {name: live.parameters.get(name) for name in live.lines}
    parameters = {
        name: value for name, value in wanted.parameters.items()
        if _plain(value) != _plain(written.get(name) if value is None else live.parameters.get(name))
    }  # fmt: skip
    overrides = {f"{entry.name}/{entry.type}": dict(entry.overrides) for entry in live.entries}
    options = {
        service: {name: value for name, value in values.items() if _plain(value) != _plain(overrides.get(service, {}).get(name))}
        for service, values in wanted.options.items()
    }
    return Wanted(parameters, wanted.services, options)


def _plain(value: Optional[str]) -> Optional[str]:
    return None if value is None else " ".join(value.split())


def _edits(live: Postfix, wanted: Wanted, runner: Runner) -> Iterator[list[str]]:
    """The arguments of postconf, one list for each way of editing."""
    written = {"/".join(words[:2]): words for words in _master_lines(runner, live.config_directory)}
    ways: dict[str, list[str]] = {"-X": [], "-e": [], "-M#": [], "-M": [], "-PX": [], "-P": []}
    for name, value in wanted.parameters.items():
        ways["-X" if value is None else "-e"].append(name if value is None else f"{name} = {_plain(value)}")
    for service, entry in wanted.services.items():
        if entry is None and service in written:
            ways["-M#"].append(service)
        elif entry is not None:
            columns, kept = _split(written.get(service, []))
            if columns != entry.split():
                ways["-M"].append(f"{service} = {' '.join([*entry.split(), *kept])}")
    for service, options in wanted.options.items():
        for name, value in options.items():
            if value is not None:
                ways["-P"].append(f"{service}/{name} = {_plain(value)}")
            elif service not in wanted.services:
                ways["-PX"].append(f"{service}/{name}")
    for way, arguments in ways.items():
        if arguments:
            yield [way, *arguments]


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns of an entry, and its options. A joined one, `-oname=value`, is one as well."""
    first = next((number for number, word in enumerate(words) if word.startswith("-o")), len(words))
    return list(words[:first]), list(words[first:])


def _master_lines(runner: Runner, directory: str) -> Iterator[list[str]]:
    try:
        text = runner.read(f"{directory}/master.cf")
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    for line in logical_lines(text):
        yield line.text.split()


def _names(words: Sequence[str]) -> set[str]:
    return {word.partition(" = ")[0] for word in words[1:]}


def _copy(directory: str, scratch: Path) -> None:
    """The two files that are edited; everything else by a link, so that relative names still lead somewhere."""
    try:
        for name in os.listdir(directory):
            if name in ("main.cf", "master.cf"):
                (scratch / name).write_bytes((Path(directory) / name).read_bytes())
            else:
                (scratch / name).symlink_to(Path(directory) / name)
    except OSError as exc:
        raise ConfigError(f"Could not copy {directory} to {scratch}: {exc.strerror}") from exc


def _postconf(runner: Runner, scratch: Path, words: Sequence[str]) -> None:
    try:
        done = runner.run(["postconf", "-c", str(scratch), *words])
    except ReadError as exc:
        raise ConfigError(f"Could not change Postfix: {exc}") from exc
    said = [line for line in done.stderr.splitlines() if "multiple entries for" not in line]
    if done.returncode or said:
        answer = printable(" ".join(said) or "nothing")
        raise ConfigError(f"Could not change Postfix: 'postconf {' '.join(words)}' said: {answer}")


def _changed(directory: str, scratch: Path) -> Iterator[NewFile]:
    for name in ("main.cf", "master.cf"):
        before, after = (Path(directory) / name).read_bytes(), (scratch / name).read_bytes()
        if before != after:
            yield NewFile(os.path.join(directory, name), after, planned_on=hashlib.sha256(before).hexdigest())


def _try(runner: Runner, live: Postfix, scratch: Path) -> None:
    """Let Postfix read the copy, and every smtpd of it show its banner. Raises ConfigError."""
    new = read_instance(runner, str(scratch))
    if new.problem:
        raise ConfigError(f"Postfix cannot read the new configuration: {new.problem}")
    complaints = [text for text in new.warnings if text.replace(str(scratch), live.config_directory) not in live.warnings]
    if complaints:
        raise ConfigError(f"Postfix complains of the new configuration: {complaints[0]}")
    tried: set[tuple[str, ...]] = set()
    for port in new.smtp_services():
        options = tuple(word for name, value in port.smtpd.overrides.items() for word in ("-o", f"{name}={value}"))
        if options not in tried:
            tried.add(options)
            _shows_a_banner(new, port, options)


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
