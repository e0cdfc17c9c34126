"""Files as they are to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


class ConfigError(Exception):
    """A change that cannot be made. The text says what was wanted, why it cannot be, and what to do."""


@dataclass(frozen=True)
class NewFile:
    """What a path is to hold: `content`, or nothing where that is None. Owner and mode stay as they are where they are None;
    a new file belongs to root with mode 0644. `planned_on` is the SHA-256 of what the change was made from, empty for nothing;
    None: whatever is there."""

    path: str
    content: Optional[bytes]
    mode: Optional[int] = None
    uid: Optional[int] = None
    gid: Optional[int] = None
    planned_on: Optional[str] = None


@dataclass(frozen=True)
class Candidate:
    """The files that change, and what has to be done with the daemon: `activate` is none, reload or restart."""

    files: tuple[NewFile, ...] = ()
    activate: str = "none"
