"""Give the mail that waits in one queue to another of the same program: none is lost, and none goes twice (but for the message
that is being copied to another file system when this is killed).

Postfix's as postsuper(1) -r does it: a queue file in the directory `maildrop` becomes a new message, whatever queue it came from.
Mail on hold stays on hold. What a client was still sending when its server was stopped was never accepted, and is left.

Exim's message stays what it is, with its id, its age and the log of its tries: its header file (-H) comes last, since a message
is there when that is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from .places import SnapshotError, why

_WAITING = {"maildrop": "maildrop", "incoming": "maildrop", "active": "maildrop", "deferred": "maildrop", "hold": "hold"}
_DATA, _HEADER = "-D", "-H"  # of Exim's names: both there, it was accepted
_DELIVERY_S = 60.0
_READY = 0o700  # of a queue file that is whole: MAIL_QUEUE_STAT_READY of mail_queue.h


def hand_over(spool: str, spool_to: str) -> None:
    """Move what waits in the queue directory `spool`, which nothing may be using. Raises SnapshotError; what was moved by then
    is in the other queue, what was not is where it was."""
    for header in sorted(Path(spool, "input").rglob(f"*{_HEADER}")):
        try:
            _move_message(header, Path(spool), Path(spool_to))
        except OSError as exc:
            raise SnapshotError(f"Could not give {header} to the queue {spool_to}: {why(exc)}") from exc
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


def _move_message(header: Path, spool: Path, spool_to: Path) -> None:
    """A message of Exim's: text, deliveries that were done meanwhile (-J), log of its tries, and then the header."""
    name = header.name[: -len(_HEADER)]
    data = header.with_name(f"{name}{_DATA}")
    logs = spool / "msglog" / header.parent.relative_to(spool / "input") / name
    with ExitStack() as held:
        if data.exists():
            _lock(held.enter_context(open(data, "r+b")))
        if not header.exists():
            return  # it was delivered meanwhile
        texts = [file for file in (data, header.with_name(f"{name}-J")) if file.exists()]
        for file in (*texts, *([logs] if logs.exists() else []), header):
            _move_whole(file, spool_to / file.relative_to(spool))


def _lock(text: BinaryIO) -> None:
    """As Exim does it: a delivery, which outlives the daemon, has its message's text locked."""
    given_up_at = time.monotonic() + _DELIVERY_S
    while True:
        try:
            fcntl.lockf(text, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            return
        except BlockingIOError:
            if time.monotonic() > given_up_at:
                raise
            time.sleep(0.2)


def _move_whole(file: Path, to: Path) -> None:
    for parent in reversed([parent for parent in to.parents if not parent.exists()]):  # with split_spool_directory
        parent.mkdir(mode=0o750)
        shutil.chown(parent, file.stat().st_uid, file.stat().st_gid)
    try:
        os.rename(file, to)
    except OSError:
        part = to.with_name(f".{to.name}")
        part.unlink(missing_ok=True)
        _copy(file, part)
        os.rename(part, to)
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
