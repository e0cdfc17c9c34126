"""What a path holds, how it is copied away, and how it is put back: to the byte, with owner, mode, times and attributes."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Optional, Union

from ..text import printable

# Files of this prefix are ours, left by a run that was killed. The dot keeps them out of every `conf.d/*`.
TEMPORARY = ".mtaudit-"
_LABEL = "security.selinux"  # never taken away, only changed
_CHUNK_BYTES = 1024 * 1024
_ATTEMPTS = 3
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
KEPT = (*_KINDS.values(), "absent")  # what else may stand at a path can be removed, not kept


class SnapshotError(Exception):
    """Something could not be kept or put back. The text says what was being done, with what, why it failed, and what to do."""


@dataclass(frozen=True)
class Place:
    """What a path holds. `kind`: one of KEPT, or what else stands there. `mtime_ns` is in nanoseconds since the epoch and counts
    for files alone; `target` is a link's. `attributes` are extended ones, name and base64: labels, access control lists. Of a
    file that is `unread` owner, mode and attributes are all that counts."""

    path: str
    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size_bytes: int = 0
    sha256: str = ""
    target: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def unread(self) -> bool:
        """Its content is left to those who write it meanwhile, as a log's is."""
        return self.kind == "file" and not self.sha256

    def differences(self, other: Place) -> list[str]:
        """In which respects another one at the same path is not the same, as words for people. The time alone is no difference:
        a service may write the same bytes again at each start, as exim4.service does."""
        if self.unread and other.kind != "file":
            return []
        if self.kind != other.kind:
            return ["missing" if other.kind == "absent" else "new" if self.kind == "absent" else f"a {other.kind}"]
        compared = {"content": (self.sha256, other.sha256), "target": (self.target, other.target),
                    "owner": ((self.uid, self.gid), (other.uid, other.gid)), "mode": (self.mode, other.mode),
                    "attributes": (self._counting(self), other._counting(self))}  # fmt: skip
        return [word for word, (mine, its) in compared.items() if mine != its]

    def _counting(self, was: Place) -> dict[str, str]:
        """The attributes that count beside `was`: a label does not where that had none."""
        labelled = any(name == _LABEL for name, _ in was.attributes)
        return {name: value for name, value in self.attributes if labelled or name != _LABEL}


def look(path: str, unread: bool = False) -> Place:
    """What is at the path now; of a file, when that is said, all but its content. Raises SnapshotError."""
    return _taken(path, None, unread)


def copy_away(path: str, contents: Path) -> Place:
    """What is at the path; a file's bytes are kept below `contents`, under their SHA-256. Raises SnapshotError."""
    return _taken(path, contents)


def _taken(path: str, contents: Optional[Path], unread: bool = False) -> Place:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Place(path, "absent")
    except (OSError, ValueError) as exc:
        raise SnapshotError(f"Could not look at {printable(path)}: {why(exc)}") from exc
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "socket, pipe or device")
    if kind not in _KINDS.values():
        if contents is not None:
            raise SnapshotError(f"Could not keep {path}: it is neither a file nor a directory nor a link; leave it out")
        return Place(path, kind)
    try:
        if kind == "file" and not unread:
            return _file(path, contents)
        target = os.readlink(path) if kind == "link" else ""
        mode = 0 if kind == "link" else stat.S_IMODE(found.st_mode)
        attributes = _attributes(path)
    except OSError as exc:
        raise SnapshotError(f"Could not read {path}: {why(exc)}") from exc
    return Place(path, kind, mode, found.st_uid, found.st_gid, target=target, attributes=attributes)


def _file(path: str, contents: Optional[Path]) -> Place:
    for _ in range(_ATTEMPTS):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(handle)
            if contents is None:
                digest, size = _digest(file)
            else:
                digest, size = _copied(file, contents)
            after, attributes = os.fstat(handle), _attributes(path)
        marks = [(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in (before, after, os.lstat(path))]
        if len(set(marks)) == 1 and size == after.st_size:
            return Place(path, "file", stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid, after.st_mtime_ns, size, digest,
                         attributes=attributes)  # fmt: skip
    raise SnapshotError(f"Could not keep {path}: it was being written each of {_ATTEMPTS} times; try again when it is at rest")


def _digest(file: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _copied(file: BinaryIO, contents: Path) -> tuple[str, int]:
    temporary = contents / f"{TEMPORARY}{os.getpid()}"
    digest, size = hashlib.sha256(), 0
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as kept:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
            size += len(chunk)
            kept.write(chunk)
        kept.flush()
        os.fsync(kept.fileno())
    os.replace(temporary, contents / digest.hexdigest())
    return digest.hexdigest(), size


def _attributes(at: Union[str, int]) -> tuple[tuple[str, str], ...]:
    try:
        names = sorted(os.listxattr(at, **_itself(at)))
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:
            return ()
        raise
    found = []
    for name in names:
        try:
            found.append((name, base64.b64encode(os.getxattr(at, name, **_itself(at))).decode()))
        except OSError as exc:
            if exc.errno != errno.ENODATA:  # gone since the list
                raise
    return tuple(found)


def put_back(place: Place, contents: Union[Path, bytes]) -> None:
    """Make the path hold that again; a file that has the bytes keeps them. At every moment it holds the one or the other.
    `contents` is where they are kept, or the bytes.

    Raises SnapshotError."""
    now = look(place.path, unread=True)
    try:
        if place.kind == "absent":
            _remove(now)
        elif place.kind == "directory":
            _directory(place, now)
        elif place.kind == "link":
            _link(place, now)
        elif place.unread:
            _worn(place)
        else:
            _whole_file(place, now, contents)
    except OSError as exc:
        raise SnapshotError(f"Could not put back {place.path}: {why(exc)}{_advice(exc)}") from exc


def put_time_back(place: Place) -> None:
    """Of a file that has the bytes: a map must not seem older than what it is made from. Raises SnapshotError."""
    try:
        if place.kind == "file" and not place.unread and os.lstat(place.path).st_mtime_ns != place.mtime_ns:
            os.utime(place.path, ns=(place.mtime_ns, place.mtime_ns), follow_symlinks=False)
    except OSError as exc:
        raise SnapshotError(f"Could not put back the time of {place.path}: {why(exc)}") from exc


def _remove(now: Place) -> None:
    if now.kind == "directory":
        os.rmdir(now.path)
    else:
        os.unlink(now.path)
    _sync_directory(now.path)


def _directory(place: Place, now: Place) -> None:
    if now.kind != "directory":
        if now.kind != "absent":
            _remove(now)
        os.mkdir(place.path, 0o700)
    _dress(place, place.path)
    _sync_directory(place.path)


def _link(place: Place, now: Place) -> None:
    if now.kind == "directory":
        _remove(now)
    temporary = _beside(place.path)
    os.symlink(place.target, temporary)
    _dress(place, temporary)
    _into_place(temporary, place.path)


def _whole_file(place: Place, now: Place, contents: Union[Path, bytes]) -> None:
    if now.kind == "directory":
        _remove(now)
    temporary = _beside(place.path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file, _opened(place, contents) as kept:
            for chunk in iter(lambda: kept.read(_CHUNK_BYTES), b""):
                file.write(chunk)
            file.flush()
            _dress(place, temporary)
            os.fsync(file.fileno())
        _into_place(temporary, place.path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def _opened(place: Place, contents: Union[Path, bytes]) -> BinaryIO:
    return io.BytesIO(contents) if isinstance(contents, bytes) else open(contents / place.sha256, "rb")


def _worn(place: Place) -> None:
    """Whoever has the file open writes on. What stands there by now may be another thing, by the owner of the directory."""
    handle = os.open(place.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            _dress(place, handle)
    finally:
        os.close(handle)


def sweep(path: str) -> None:
    """Remove what a run that was killed left beside it. Raises SnapshotError."""
    try:
        if os.path.lexists(_temporary(path)):
            os.unlink(_temporary(path))
    except OSError as exc:
        raise SnapshotError(f"Could not remove {_temporary(path)}: {why(exc)}{_advice(exc)}") from exc


def _beside(path: str) -> str:
    """In the same directory, so that a rename puts it in place at once."""
    sweep(path)
    return _temporary(path)


def _temporary(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f"{TEMPORARY}{name[:200]}")


def _into_place(temporary: str, path: str) -> None:
    os.replace(temporary, path)
    _sync_directory(path)


def _dress(place: Place, at: Union[str, int]) -> None:
    """`at` is a path, or a file that is open. Owner first: it takes set-user-id bits and capabilities away (chown(2)); the mode
    after the access control list, which would bring its own (acl(5))."""
    itself = _itself(at)
    os.chown(at, place.uid, place.gid, **itself)
    wanted, there = dict(place.attributes), dict(_attributes(at))
    for name in there:
        if name not in wanted and name != _LABEL:
            os.removexattr(at, name, **itself)
    for name, value in wanted.items():
        if there.get(name) != value:
            os.setxattr(at, name, base64.b64decode(value), **itself)
    if place.kind != "link":
        os.chmod(at, place.mode)
    if place.kind == "file" and not place.unread:
        os.utime(at, None, ns=(place.mtime_ns, place.mtime_ns), **itself)


def _itself(at: Union[str, int]) -> dict[str, bool]:
    """Of a link the link; what is open is no link."""
    return {} if isinstance(at, int) else {"follow_symlinks": False}


def _sync_directory(path: str) -> None:
    handle = os.open(os.path.dirname(path) or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def why(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc)


def _advice(exc: OSError) -> str:
    advice = {
        errno.ENOSPC: "make room on that file system",
        errno.EROFS: "the file system is mounted read-only",
        errno.EPERM: "perhaps it has the attribute `immutable`: look with lsattr, take it away with chattr -i",
        errno.EBUSY: "it is a mount point of its own: write it by hand",
        errno.ENOTEMPTY: "it has files that the snapshot does not know",
    }  # fmt: skip
    return f" ({advice[exc.errno]})" if exc.errno in advice else ""
