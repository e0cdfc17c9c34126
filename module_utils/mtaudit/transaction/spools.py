"""Give the mail that waits in one Postfix queue to another: none is lost, and none goes twice (but for the message that is being
copied to another file system when this is killed).

As postsuper(1) -r does it: a queue file in the directory `maildrop` becomes a new message, whatever queue it came from. Mail on
hold stays on hold. What a client was still sending when its server was stopped was never accepted, and is left.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .places import SnapshotError, why

_WAITING = {"maildrop": "maildrop", "incoming": "maildrop", "active": "maildrop", "deferred": "maildrop", "hold": "hold"}
_READY = 0o700  # of a queue file that is whole: MAIL_QUEUE_STAT_READY of mail_queue.h


def hand_over(spool: str, spool_to: str) -> None:
    """Move what waits in the queue directory `spool`, which nothing may be using. Raises SnapshotError; what was moved by then
    is in the other queue, what was not is where it was."""
    for queue, queue_to in _WAITING.items():
        for file in _whole(Path(spool, queue)):
            try:
                _move(file, Path(spool_to, queue_to))
            except OSError as exc:
                raise SnapshotError(f"Could not give {file} to the queue {spool_to}: {why(exc)}") from exc


def _whole(queue: Path) -> Iterator[Path]:
    """Queue files below it: some queues have directories of their own for the first letters of the names."""
    for base, _, names in os.walk(queue):
        for name in sorted(names):
            found = os.lstat(os.path.join(base, name))
            if stat.S_ISREG(found.st_mode) and found.st_mode & _READY == _READY:
                yield Path(base, name)


def _move(file: Path, queue: Path) -> None:
    to = queue / file.name
    while to.exists():
        to = to.with_name(f"{to.name}0")
    try:
        os.rename(file, to)
    except OSError:
        _copy(file, to)  # it is on another file system
        file.unlink()


def _copy(file: Path, to: Path) -> None:
    """Not to be read before it is whole."""
    found = file.stat()
    with open(file, "rb") as source, open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fchown(target.fileno(), found.st_uid, found.st_gid)
        os.fsync(target.fileno())
        os.fchmod(target.fileno(), stat.S_IMODE(found.st_mode))
