"""Read what mail for the mailboxes that every domain must have may pass on its way: alias files, lists, accounts of the host.

No spawn. The tables that a program's own reader has read are not read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..runner import ReadError, Runner
from ..text import printable
from . import local_users
from .local_users import LocalUsers

INCLUDE = re.compile(r":include:\s*\"?(/[^\s,\"]+)")
_FILES_LIMIT = 50
_CHANGED_LATER_NS = 1_000_000_000
# Kinds of Sendmail's alias files and maps that are made from a text beside them (Operation Guide, AliasFile).
_COMPILED = {"hash": ".db", "btree": ".db", "implicit": ".db", "cdb": ".cdb", "dbm": ".pag"}


@dataclass(frozen=True)
class Text:
    """A file's text, or why it is not known. `stale`: what was compiled from it is older than it."""

    text: str = ""
    problem: str = ""
    stale: str = ""


@dataclass(frozen=True)
class RoleMail:
    """What was read: the programs with their instances, by title; the files, by path; who has an account. `forward` is what root
    has its mail sent on to."""

    instances: tuple[tuple[str, Any], ...] = ()
    texts: Mapping[str, Text] = field(default_factory=dict)
    users: LocalUsers = LocalUsers()
    forward: str = ""


def read(runner: Runner, programs: Sequence[tuple[str, Any, Sequence[Any]]]) -> RoleMail:
    """What every program of the host needs. Raises nothing: a file that cannot be read is kept with its problem."""
    instances = [(title, instance) for title, _, found in programs for instance in found]
    texts: dict[str, Text] = {}
    named: list[str] = []
    for title, instance in instances:
        for path, compiled in _files(title, instance):
            texts.setdefault(path, _read(runner, path, compiled))
        named += INCLUDE.findall("\n".join(_values(title, instance)))
    waiting = named + [path for text in list(texts.values()) for path in INCLUDE.findall(text.text)]
    while waiting and len(texts) < _FILES_LIMIT:
        path = waiting.pop(0)
        if path not in texts:
            texts[path] = _read(runner, path, "")
            waiting += INCLUDE.findall(texts[path].text)
    users = local_users.read(runner)
    return RoleMail(tuple(instances), texts, users, _forward(runner, users))


def _forward(runner: Runner, users: LocalUsers) -> str:
    path = f"{users.homes.get('root', '/root')}/.forward"
    try:
        return runner.read(path) if runner.stat(path) else ""
    except ReadError:
        return ""


def _read(runner: Runner, path: str, compiled: str) -> Text:
    try:
        text = runner.read(path)
        made, source = (runner.stat(compiled), runner.stat(path)) if compiled else (None, None)
    except ReadError as exc:
        return Text(problem=printable(str(exc)))
    if not compiled:
        return Text(text)
    if made is None:
        return Text(text, stale=f"{compiled} does not exist")
    late = source is not None and source.mtime_ns > made.mtime_ns + _CHANGED_LATER_NS
    return Text(text, stale=f"{compiled} is older than {path}" if late else "")


def _files(title: str, instance: Any) -> Iterator[tuple[str, str]]:
    """The files that the program's own reader leaves alone, with what is compiled from each."""
    if title == "Sendmail":
        yield from sendmail_files(instance)
    elif title == "OpenSMTPD":
        for action in instance.config.actions.values():
            for table in (action.aliases, action.virtual, action.userbase):
                if table is not None and table.backend == "file" and table.path:
                    yield table.path, ""


def sendmail_files(sendmail: Any) -> list[tuple[str, str]]:
    """AliasFile and virtusertable: the texts, and the maps that count. Kinds that are read elsewhere are left out."""
    return [(path, path + _COMPILED[kind]) for kind, path in alias_maps(sendmail) if kind in _COMPILED]


def alias_maps(sendmail: Any) -> list[tuple[str, str]]:
    """Kind and path of each alias map, and of the map of virtual users."""
    found = []
    for word in sendmail.cf.option("AliasFile", "/etc/mail/aliases").split(","):
        kind, colon, path = word.strip().rpartition(":")
        bare = path.split()[-1] if path.split() else ""
        found.append(((kind.split() or ["implicit"])[0] if colon else "implicit", bare))
    virtual = sendmail.cf.maps.get("virtuser")
    if virtual is not None:
        found.append((virtual.kind, virtual.path))
    return found


def _values(title: str, instance: Any) -> Iterable[str]:
    """What the tables that were read already name."""
    if title == "Postfix":
        return [value for table in instance.recipients.values() for value in table.entries.values()]
    if title == "Exim":
        return [table.text for table in instance.routing.values()]
    return []
