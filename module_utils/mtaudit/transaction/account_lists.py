"""Lists of accounts, which other programs write, too: going back takes our lines out of them, and leaves what others wrote.

A snapshot that is taken before such a list is changed notes what it was and what was written, as two of its contents. A line is
an account's, named by what stands before its first colon: passwd(5), shadow(5), and the passwd-files of Dovecot.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..text import printable
from .places import Place, SnapshotError, why
from .store import read_sealed, write_sealed

LOCK = "/etc/.pwd.lock"  # of lckpwdf(3)
SYSTEM = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
_NOTED = "lists.json"
_WAIT_S = 15.0  # as long as lckpwdf(3) waits
_STEP_S = 0.1
_NAMED = 20


@dataclass(frozen=True)
class Back:
    """A list as it is to be again. `restored` are the accounts whose lines go back, `kept` those that others have changed since
    as well, whose lines stay; `merged` where others wrote anything at all since."""

    place: Place
    content: Optional[bytes]
    restored: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    merged: bool = False

    def told(self) -> list[str]:
        path = self.place.path
        found = [f"{path} was written by others since: what they wrote stays, and of ours goes back: {_names(self.restored)}"]
        left = [f"{path}: not put back, for others have changed it since: {_names(self.kept)}"]
        return found * bool(self.merged and self.restored) + left * bool(self.kept)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep out passwd(1), useradd(8), vipw(8) and their like, which hold the same lock while they write. Raises SnapshotError
    when it is not free in time."""
    try:
        handle = os.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise SnapshotError(f"Could not change {path}: {LOCK} cannot be opened: {why(exc)}") from exc
    try:
        end = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):  # either may be said: fcntl(2)
                if time.monotonic() > end:
                    raise SnapshotError(f"Could not change {path}: for {_WAIT_S:.0f} s another program has held {LOCK}, as vipw "
                                        "and passwd do to write (lslocks names it); try again when it has ended") from None
                time.sleep(_STEP_S)
        yield
    finally:
        os.close(handle)


def note(directory: Path, written: Mapping[str, tuple[str, Optional[bytes]]]) -> None:
    """Of each list, in the directory of a snapshot: the digest of what it was, empty for no file, and what is written now. Raises
    SnapshotError."""
    if not written:
        return
    noted = {}
    try:
        for path, (was, content) in written.items():
            digest = "" if content is None else hashlib.sha256(content).hexdigest()
            if content is not None:
                with open(os.open(directory / "contents" / digest, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write(content)
            noted[path] = [was, digest]
        write_sealed(directory / _NOTED, noted)
    except OSError as exc:
        raise SnapshotError(f"Could not write {directory}: {why(exc)}") from exc


def noted(directory: Path) -> dict[str, tuple[str, str]]:
    """Of each list the digests of what it was and of what was written. Raises SnapshotError."""
    if not (directory / _NOTED).exists():
        return {}
    return {path: (was, written) for path, (was, written) in read_sealed(directory / _NOTED).items()}


def going_back(directory: Path, was: Place, now: Place) -> Back:
    """How a list goes back to what it `was` in this snapshot: what we wrote since is taken back, the newest first. Raises
    SnapshotError where that cannot be told."""
    path = was.path
    before = _content(directory, noted(directory)[path][0])
    if now.kind == "absent":
        return Back(was, before)
    try:
        there = Path(path).read_bytes()
    except OSError as exc:
        raise SnapshotError(f"Could not read {path}: {why(exc)}") from exc
    content: Optional[bytes] = there
    kept: dict[str, None] = {}
    merged = False
    since = (each for each in directory.parent.iterdir() if each.name >= directory.name)
    for each in sorted(since, reverse=True):
        if path in noted(each):
            old, written = (_content(each, digest) for digest in noted(each)[path])
            if content == written:
                content = old
            elif content != old:
                merged = True
                content, left = _without(old, written, content or b"")
                kept.update(dict.fromkeys(left))
    restored = tuple(name for key in _changed(_lines(there), _lines(content)) for name in [_name(key)] if name not in kept)
    return Back(_place(was, now, content), content, restored, tuple(kept), merged)


def _place(was: Place, now: Place, content: Optional[bytes]) -> Place:
    if content is None:
        return Place(was.path, "absent")
    digest = hashlib.sha256(content).hexdigest()
    mtime_ns = now.mtime_ns if digest == now.sha256 else time.time_ns()
    return was if digest == was.sha256 else replace(was if was.kind == "file" else now, sha256=digest, size_bytes=len(content),
                                                    mtime_ns=mtime_ns)  # fmt: skip


def _content(directory: Path, digest: str) -> Optional[bytes]:
    if not digest:
        return None
    try:
        content = (directory / "contents" / digest).read_bytes()
    except OSError as exc:
        raise SnapshotError(f"Could not read a list of accounts in {directory}: {why(exc)}") from exc
    if hashlib.sha256(content).hexdigest() != digest:
        raise SnapshotError(f"Could not use {directory}: a list of accounts in it is damaged")
    return content


def _without(old: Optional[bytes], written: Optional[bytes], there: bytes) -> tuple[Optional[bytes], list[str]]:
    """What is there, with the lines that we changed as they were where they are still as we wrote them; and the other names."""
    was, ours, now = _lines(old), _lines(written), _lines(there)
    text, kept = there.split(b"\n"), []
    for key in _changed(was, ours):
        if now.get(key) == was.get(key):
            continue
        if now.get(key) != ours.get(key):
            kept.append(_name(key))
            continue
        place = text.index(now[key][0]) if key in now else len(text) - (text[-1] == b"")
        for line in now.get(key, ()):
            text.remove(line)
        text[place:place] = was.get(key, [])
    return (None if old is None and not any(text) else b"\n".join(text)), kept


def _lines(content: Optional[bytes]) -> dict[bytes, list[bytes]]:
    """By the account that they are of; what is no account's by itself."""
    found: dict[bytes, list[bytes]] = {}
    for line in (content or b"").split(b"\n"):
        name, colon, _ = line.partition(b":")
        found.setdefault(name + colon if not line.startswith(b"#") else line, []).append(line)
    return found


def _changed(was: Mapping[bytes, Sequence[bytes]], then: Mapping[bytes, Sequence[bytes]]) -> list[bytes]:
    return [key for key in {**was, **then} if was.get(key) != then.get(key) and key]


def _name(key: bytes) -> str:
    """Nothing but a name: a line that has none may be anything."""
    is_name = key.endswith(b":") and not key.startswith(b"#") and len(key) > 1
    return printable(key[:-1].decode("utf-8", "replace"), 64) if is_name else "a line without a name"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
