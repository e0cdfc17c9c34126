"""When accounts were last logged in to: by lastlog(8) or lastlog2(8) at a shell, by Dovecot's last_login plug-in for mail.

No spawn. Logins for mail are in neither of the first two: programs of mail do not use pam_lastlog.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..runner import ReadError, Runner
from ..text import printable
from .dovecot_model import Dovecot, Section
from .dovecot_variables import Unfilled, filled
from .local_users import parse
from .password_tables import Passwords

LASTLOG, LASTLOG2 = "/var/log/lastlog", "/var/lib/lastlog/lastlog2.db"
_ENTRY_BYTES = 292  # struct lastlog: int32 ll_time, char ll_line[32], char ll_host[256]
_UID_LIMIT = 1_000_000
_SECONDS = re.compile(r"[0-9]{1,20}")
_OWN_BYTES = 64 * 1024
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class LastLogins:
    """Seconds since the epoch, by account: `shell` of those of the host, 0 for never; `mail` of those whose last login Dovecot
    kept. A problem says why the one or the other is not known."""

    shell: Mapping[str, float] = field(default_factory=dict)
    mail: Mapping[str, float] = field(default_factory=dict)
    shell_problem: str = ""
    mail_problem: str = ""


def read(runner: Runner, programs: Sequence[tuple[str, Any, Sequence[Any]]], passwords: Passwords) -> LastLogins:
    """Raises nothing."""
    shell: Mapping[str, float] = {}
    mail: Mapping[str, float] = {}
    shell_problem = mail_problem = ""
    try:
        shell = _of_the_shell(runner, passwords)
    except ReadError as exc:
        shell_problem = printable(str(exc))
    dovecot = next((instance for title, _, found in programs for instance in found if title == "Dovecot"), None)
    try:
        mail = _of_mail(runner, dovecot, passwords) if dovecot else {}
        mail_problem = "" if dovecot else "only Dovecot can keep the time of a login for mail (last_login plug-in)"
    except ReadError as exc:
        mail_problem = printable(str(exc))
    return LastLogins(shell, mail, shell_problem, mail_problem)


def _of_the_shell(runner: Runner, passwords: Passwords) -> dict[str, float]:
    people = [account for account in passwords.accounts if account.uid >= 0]
    if runner.stat(LASTLOG2):
        rows = runner.query(LASTLOG2, ["SELECT Name, Time FROM Lastlog2"])
        times = {row["Name"]: float(row["Time"] or 0) for row in rows[0]} if rows else {}
        return {account.stored.user: times.get(account.stored.user, 0.0) for account in people}
    found = runner.stat(LASTLOG)
    if not found or not found.size_bytes:
        raise ReadError("no lastlog is kept here (pam_lastlog, or pam_lastlog2 since Debian 13)")
    return {a.stored.user: _entry(runner.piece(LASTLOG, a.uid * _ENTRY_BYTES, 4)) for a in people if a.uid < _UID_LIMIT}


def _entry(data: bytes) -> float:
    """Of those after the end of the file nobody ever logged in."""
    return float(struct.unpack("=I", data)[0]) if len(data) == 4 else 0.0


# Dovecot's plug-in

def _of_mail(runner: Runner, dovecot: Dovecot, passwords: Passwords) -> dict[str, float]:
    place = _place(dovecot)
    homes = parse(runner.read("/etc/passwd")) if place.startswith("~") else {}
    unit = _UNITS.get(dovecot.value("last_login_precision") or _plugin(dovecot, "last_login_precision"), 1)
    found: dict[str, float] = {}
    kept: dict[str, dict[str, int]] = {}
    for account in passwords.accounts:
        user = account.stored.user
        path = _filled(place, user, homes)
        if path and path not in kept:
            kept[path] = _times(runner, path, own=bool(homes))
        time = kept.get(path, {}).get(user)
        if time is not None and (account.uid < 0 or account.table == "/etc/shadow"):
            found[user] = time / unit
    return found


def _place(dovecot: Dovecot) -> str:
    """The file of a dict of driver `file`. Raises ReadError for every other, and where there is none."""
    uri = _plugin(dovecot, "last_login_dict")
    if uri:
        if not uri.startswith("file:"):
            raise ReadError(f"the last_login plug-in keeps its times in a dict that is not read: {uri.partition(':')[0]}")
        return uri[len("file:") :]
    for section in dovecot.root.of_kind("last_login"):
        for inner in section.of_kind("dict"):
            path = inner.settings.get("path") or inner.settings.get("dict_file_path", "")
            if not path:
                raise ReadError(f"the last_login plug-in keeps its times in a dict that is not read: {inner.name}")
            return path
    raise ReadError("Dovecot keeps no time of a login: its last_login plug-in is not set up (dict of driver file)")


def _plugin(dovecot: Dovecot, name: str) -> str:
    return next((value for value in _values(dovecot.root.of_kind("plugin"), name)), "")


def _values(sections: Iterable[Section], name: str) -> Iterable[str]:
    return (section.settings[name] for section in sections if section.settings.get(name))


def _filled(place: str, user: str, homes: Mapping[str, str]) -> str:
    if place.startswith("~"):
        home = homes.get(user, "")
        place = posixpath.join(home, place.lstrip("~/")) if home else ""
    try:
        return filled(place, user)
    except Unfilled as exc:
        raise ReadError(f"the last_login plug-in's file goes by {exc}, which is not known here") from exc


def _times(runner: Runner, path: str, own: bool) -> dict[str, int]:
    """A key on one line, its value on the next (dict-file.c); the plug-in's own key is last-login/USER. What somebody put into a
    file of his `own` is nobody else's trouble."""
    found: dict[str, int] = {}
    try:
        at = runner.stat(path)
        if own and at and at.size_bytes > _OWN_BYTES:
            return found
        lines = runner.read(path).splitlines() if at else []
    except ReadError:
        if own:
            return found
        raise
    for key, value in zip(lines, lines[1:]):
        _, named, user = key.rpartition("last-login/")
        if named and _SECONDS.fullmatch(value):
            found.setdefault(user, int(value))
    return found
