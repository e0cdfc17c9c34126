"""Whose passwords a table keeps, and what shows without guessing one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from .schemes import Stored
from .unsupported import Unsupported


class Account(NamedTuple):
    """Somebody's password, and the table that keeps it. `uid` and `shell` are those of an account of the host, elsewhere -1 and
    empty; `since`: the day that the password was set, counted from 1970, 0 where that is not kept. `free`: any password does."""

    stored: Stored
    table: str
    uid: int = -1
    shell: str = ""
    since: int = 0
    free: bool = False

    @property
    def key(self) -> str:
        """Tells this password of this account from every other, and nothing else: a digest with 96 bits."""
        text = "\0".join((self.table, self.stored.user, self.stored.scheme, self.stored.text))
        return hashlib.blake2b(text.encode(), digest_size=12, person=b"mtaudit").hexdigest()

    @property
    def usable(self) -> bool:
        """Whether somebody who knows the password gets in."""
        return not self.stored.locked and not self.stored.empty and not self.free


def alike(accounts: Iterable[Account]) -> list[list[Account]]:
    """Accounts that have one password, as far as their schemes show it; the passwords themselves are not needed for that."""
    groups: dict[str, list[Account]] = {}
    for account in accounts:
        if account.usable:
            try:
                same = account.stored.same_for_all
            except Unsupported:
                continue
            if same:
                groups.setdefault(same, []).append(account)
    return [group for group in groups.values() if len(group) > 1]


def schemes(accounts: Iterable[Account]) -> Counter[str]:
    """How many accounts have each."""
    return Counter(account.stored.scheme for account in accounts if not account.stored.locked)
