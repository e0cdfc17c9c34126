"""Files as they are to be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Optional

# The number by which Berkeley DB tells files apart (db_page.h, DBMETA): inode, device, time. Its other pages hold traces of it.
_DB_NUMBER = slice(52, 72)


class ConfigError(Exception):
    """A change that cannot be made. The text says what was wanted, why it cannot be, and what to do."""


@dataclass(frozen=True)
class NewFile:
    """What a path is to hold: `content`, or nothing where that is None. Owner and mode stay as they are where they are None;
    a new file belongs to root with mode 0644. `planned_on` is the SHA-256 of what the change was made from, empty for nothing;
    None: whatever is there. `stays`: the content is left to those who write it; only owner and mode change, and a file that is
    gone by then stays away. `accounts`: a list of accounts, one on each line, that other programs write, too."""

    path: str
    content: Optional[bytes]
    mode: Optional[int] = None
    uid: Optional[int] = None
    gid: Optional[int] = None
    planned_on: Optional[str] = None
    stays: bool = False
    accounts: bool = False


@dataclass(frozen=True)
class Candidate:
    """The files that change, and how they come into force.

    `activate` is what the daemon has to do: none, reload or restart; start: restart, and one that is down comes up, now and at
    each boot. `units` are the systemd units that may carry it; the first that is up is told, for a start the first if none is.
    `checks` are commands that must succeed with the files in place. `reading` is the instance as the program's reader reads it
    from these files, so that controls can be asked about it before anything is changed; None where nothing changes. `also` are
    more units and what they have to do, of a change that several services read.
    """

    files: tuple[NewFile, ...] = ()
    activate: str = "none"
    units: tuple[str, ...] = ()
    checks: tuple[tuple[str, ...], ...] = ()
    reading: Any = None
    also: tuple[tuple[tuple[str, ...], str], ...] = ()


def same_each_time(data: bytes, text: str) -> bytes:
    """A Berkeley DB that was made of a text, as it would be whenever it is made: a plan tells files apart by what they hold."""
    return data.replace(data[_DB_NUMBER], hashlib.sha256(text.encode()).digest()[:20])
