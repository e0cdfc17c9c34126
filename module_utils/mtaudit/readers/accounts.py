"""Read the host's accounts from /etc/passwd and /etc/group: no spawn. Accounts of a directory service are not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..runner import Runner

_FIRST_PERSON = 1000  # UID_MIN of Debian's login.defs
_NO_SHELLS = ("nologin", "false", "sync")
# They run what strangers send, so they count as people: a secret that they read is a stranger's.
_STRANGERS_TOOLS = ("www-data", "nobody", "apache", "nginx", "http", "games", "ftp", "guest")


@dataclass(frozen=True)
class Accounts:
    """Names by number, members by group (those whose primary group it is included), and who is an ordinary account."""

    users: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    members: Mapping[int, frozenset[int]] = field(default_factory=dict)
    ordinary: frozenset[int] = frozenset()

    def user(self, uid: int) -> str:
        return self.users.get(uid, str(uid))

    def group(self, gid: int) -> str:
        return self.groups.get(gid, str(gid))

    def is_ordinary(self, uid: int) -> bool:
        """People with a login, accounts that nobody here knows, and those that run what strangers send."""
        return uid in self.ordinary or uid not in self.users

    def ordinary_members(self, gid: int) -> list[str]:
        """The ordinary accounts of a group, by name."""
        return sorted(self.user(uid) for uid in self.members.get(gid, ()) if self.is_ordinary(uid))


def read(runner: Runner) -> Accounts:
    """Raises ReadError."""
    return parse(runner.read("/etc/passwd"), runner.read("/etc/group"))


def parse(passwd: str, group: str) -> Accounts:
    """The texts of passwd(5) and group(5)."""
    users: dict[int, str] = {}
    numbers: dict[str, int] = {}
    members: dict[int, set[int]] = {}
    ordinary: set[int] = set()
    for name, _, uid, gid, _, _, shell in _rows(passwd, 7):
        if uid.isdigit() and gid.isdigit():
            users.setdefault(int(uid), name)
            numbers[name] = int(uid)
            members.setdefault(int(gid), set()).add(int(uid))
            person = int(uid) >= _FIRST_PERSON and shell.rpartition("/")[2] not in _NO_SHELLS
            if int(uid) and (person or name in _STRANGERS_TOOLS):
                ordinary.add(int(uid))
    groups: dict[int, str] = {}
    for name, _, gid, listed in _rows(group, 4):
        if gid.isdigit():
            groups.setdefault(int(gid), name)
            members.setdefault(int(gid), set()).update(numbers[n] for n in listed.split(",") if n in numbers)
    return Accounts(users, groups, {gid: frozenset(uids) for gid, uids in members.items()}, frozenset(ordinary))


def _rows(text: str, columns: int) -> list[list[str]]:
    return [row for line in text.splitlines() for row in [line.split(":")] if len(row) == columns]
