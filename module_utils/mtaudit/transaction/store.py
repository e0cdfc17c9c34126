"""Where a host keeps its snapshots: one directory that only root may enter, one run at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .places import SnapshotError, why

DIRECTORY = "/var/lib/mtaudit"
_MANIFEST, _STATE = "manifest.json", "state.json"
_LOCK_WAIT_S = 10.0
_LOCK_STEP_S = 0.2


class Store:
    """The directory `path`, made when missing."""

    def __init__(self, path: str = DIRECTORY) -> None:
        self.path = Path(path)
        self.snapshots = self.path / "snapshots"
        self.transactions = self.path / "transactions"

    def ready(self) -> None:
        """Make it, or find that it is safe to use. Raises SnapshotError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.snapshots.mkdir(mode=0o700, exist_ok=True)
            self.transactions.mkdir(mode=0o700, exist_ok=True)
            for directory in (self.path, self.snapshots, self.transactions):
                found = os.lstat(directory)
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
                    raise SnapshotError(f"Could not keep snapshots in {directory}: it must be a directory that belongs to {who}, "
                                        "with mode 0700, for they hold keys and passwords")
        except OSError as exc:
            raise SnapshotError(f"Could not make {self.path}: {why(exc)}") from exc

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other run that changes this host out. Raises SnapshotError when one does not end."""
        self.ready()
        try:
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise SnapshotError(f"Could not lock {self.path}: {why(exc)}") from exc
        try:
            end = time.monotonic() + _LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise SnapshotError(f"Another run of mtaudit is changing this host (it holds {self.path}/lock); "
                                            "try again when it has ended") from None
                    time.sleep(_LOCK_STEP_S)
            yield
        finally:
            os.close(handle)

    def names(self) -> list[str]:
        """Of the snapshots that were taken to their end, the newest first."""
        try:
            found = [path.name for path in self.snapshots.iterdir() if (path / _MANIFEST).exists()]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise SnapshotError(f"Could not list {self.snapshots}: {why(exc)}") from exc
        return sorted(found, reverse=True)

    def remove(self, name: str) -> None:
        """A snapshot, and before it the transaction that it was taken for. Raises SnapshotError. State and manifest go first:
        what is half removed is neither."""
        for directory, told in ((self.transactions / name, _STATE), (self.snapshots / name, _MANIFEST)):
            try:
                if directory.exists():
                    (directory / told).unlink(missing_ok=True)
                    shutil.rmtree(directory)
            except OSError as exc:
                raise SnapshotError(f"Could not remove {directory}: {why(exc)}") from exc

    def sweep(self) -> None:
        """Remove what runs that were killed left half made, or half removed."""
        for directory, told in ((self.transactions, _STATE), (self.snapshots, _MANIFEST)):
            for path in directory.iterdir():
                if not (path / told).exists():
                    shutil.rmtree(path, ignore_errors=True)


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, also after a power cut. Raises OSError."""
    temporary = path.with_name(f".{path.name}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(temporary, path)
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_sealed(path: Path, data: dict[str, Any]) -> None:
    """JSON with its own digest, whole or not at all. Raises OSError."""
    body = json.dumps(data, sort_keys=True, separators=(",", ":"))
    sealed = {"sha256": hashlib.sha256(body.encode()).hexdigest(), "data": data}
    write_whole(path, f"{json.dumps(sealed, indent=1, sort_keys=True)}\n".encode(), 0o600)


def read_sealed(path: Path) -> dict[str, Any]:
    """Raises SnapshotError when it is not what was written."""
    try:
        sealed = json.loads(path.read_bytes())
        data, digest = sealed["data"], sealed["sha256"]
    except OSError as exc:
        raise SnapshotError(f"Could not read {path}: {why(exc)}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise SnapshotError(f"Could not use {path}: it is damaged ({exc})") from exc
    body = json.dumps(data, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(body.encode()).hexdigest() != digest or not isinstance(data, dict):
        raise SnapshotError(f"Could not use {path}: it is damaged (its digest is another one)")
    return data
