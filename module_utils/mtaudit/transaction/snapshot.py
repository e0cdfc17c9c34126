"""Keep what files, links and directories are, and put them back to the byte.

A snapshot is a directory of the store: `contents/` has the bytes of each file under their SHA-256, `manifest.json` says what was
where, and is written last. Going back takes a snapshot of what is there first, so that it can itself be taken back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

from ..retention import KEEP, KEEP_DAYS, outdated
from . import account_lists
from .places import TEMPORARY, Place, SnapshotError, copy_away, look, put_back, put_time_back, sweep, why
from .services import Service
from .store import Store, read_sealed, write_sealed

_VERSION = 1
_LINKS_LIMIT = 40  # as the kernel's: path_resolution(7)
_PLACES_LIMIT = 20_000
_SPARE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Snapshot:
    """What was where at `taken_at`, seconds since the epoch. `whole`: directories of which everything was kept, so that what
    came later goes when they are put back. `services` are those that use the files, as they were. `before` is the snapshot that
    was put back next, where this one was taken for that."""

    name: str
    directory: Path
    taken_at: float
    reason: str
    places: tuple[Place, ...]
    whole: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    left_out: tuple[str, ...] = ()
    before: str = ""

    @property
    def size_bytes(self) -> int:
        """Of the files' content, each content once."""
        return sum({place.sha256: place.size_bytes for place in self.places}.values())

    @property
    def contents(self) -> Path:
        return self.directory / "contents"


@dataclass(frozen=True)
class Difference:
    """A path that is not as it was: `was` in the snapshot, `now` on the disk, and in which respects. Of a list of accounts `was`
    is what it goes `back` to; `problem` says why it cannot."""

    was: Place
    now: Place
    words: tuple[str, ...] = field(default=())
    back: Optional[account_lists.Back] = None
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.was.path}: {', '.join(self.words)}"


def take(
    store: Store, paths: Sequence[str], reason: str, services: Iterable[Service] = (), before: str = "",
    unread: Collection[str] = (),
) -> Snapshot:  # fmt: skip
    """Keep what is at the paths; of a link also what it leads to, of a directory everything in it, without what links in it lead
    to. A path with nothing is kept as nothing; of a file in `unread` owner and mode alone. The store is locked by the caller.
    Raises SnapshotError.
    """
    store.ready()
    store.sweep()
    found, whole, left_out = _every(paths)
    _room(store, (path for path in found if path not in unread))
    now = time.time()
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z"
    snapshot = Snapshot(name, store.snapshots / name, now, reason, (), tuple(whole), tuple(services), tuple(left_out),
                        before)
    try:
        snapshot.contents.mkdir(mode=0o700, parents=True)
        os.chmod(snapshot.directory, 0o700)
        places = tuple(look(path, unread=True) if path in unread else copy_away(path, snapshot.contents) for path in found)
        write_sealed(snapshot.directory / "manifest.json", _plain(snapshot, places))
    except OSError as exc:
        raise SnapshotError(f"Could not write a snapshot below {store.snapshots}: {why(exc)}") from exc
    return load(store, name)


def load(store: Store, name: str) -> Snapshot:
    """Raises SnapshotError when there is none of that name, or its manifest is damaged."""
    if name not in store.names():
        known = ", ".join(store.names()[:5]) or "none"
        raise SnapshotError(f"There is no snapshot {name!r} in {store.snapshots}; there are: {known}")
    data = read_sealed(store.snapshots / name / "manifest.json")
    if data.get("version") != _VERSION:
        raise SnapshotError(f"Snapshot {name} is of another release of mtaudit (format {data.get('version')}): use that one")
    return Snapshot(
        name=name,
        directory=store.snapshots / name,
        taken_at=data["taken_at"],
        reason=data["reason"],
        places=tuple(Place(**{**p, "attributes": tuple((k, v) for k, v in p["attributes"])}) for p in data["places"]),
        whole=tuple(data["whole"]),
        services=tuple(Service(**service) for service in data["services"]),
        left_out=tuple(data["left_out"]),
        before=data["before"],
    )


def differences(snapshot: Snapshot) -> list[Difference]:
    """Everything that is not as it was then. Of a directory that was not there all came later. Raises SnapshotError."""
    known = {place.path for place in snapshot.places}
    made = [p.path for p in snapshot.places if p.kind == "absent" and os.path.isdir(p.path) and not os.path.islink(p.path)]
    later = dict.fromkeys(path for directory in (*snapshot.whole, *made) for path in _inside(directory, []) if path not in known)
    lists = account_lists.noted(snapshot.directory)
    found = (_difference(snapshot, was, lists) for was in (*snapshot.places, *(Place(path, "absent") for path in later)))
    return [difference for difference in found if difference.words]


def _difference(snapshot: Snapshot, was: Place, lists: Collection[str]) -> Difference:
    now, back = look(was.path, was.unread), None
    if was.path in lists and {was.kind, now.kind} <= {"file", "absent"}:
        try:
            back = account_lists.going_back(snapshot.directory, was, now)
        except SnapshotError as exc:
            return Difference(was, now, ("content",), problem=str(exc))
        was = back.place
    return Difference(was, now, tuple(was.differences(now)), back)


def left(snapshot: Snapshot) -> list[str]:
    """What others wrote since, and stays: of lists of accounts alone, all else goes back as a whole. Raises SnapshotError."""
    lists = account_lists.noted(snapshot.directory)
    backs = (_difference(snapshot, was, lists).back for was in snapshot.places if was.path in lists)
    return [text for back in backs if back for text in back.told()]


def damage(snapshot: Snapshot) -> list[str]:
    """What of its content is not what was kept; empty when all can be put back."""
    found = []
    for place in snapshot.places:
        if place.kind == "file" and not place.unread:
            kept = look(str(snapshot.contents / place.sha256))
            if kept.sha256 != place.sha256:
                found.append(f"the content of {place.path} is {'missing' if kept.kind == 'absent' else 'another one'}")
    return found


def restore(snapshot: Snapshot, wanted: Optional[Sequence[Difference]] = None) -> list[str]:
    """Put back what differs, and return what could not be, each with its reason. Nothing is touched when the snapshot is damaged.

    Raises SnapshotError for that.
    """
    broken = damage(snapshot)
    if broken:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise SnapshotError(f"Snapshot {snapshot.name} is damaged, nothing was put back: {broken[0]}{more}")
    changed = differences(snapshot) if wanted is None else wanted
    gone = sorted((d.was for d in changed if d.was.kind == "absent"), key=lambda place: place.path, reverse=True)
    there = sorted((d.was for d in changed if d.was.kind != "absent"), key=lambda place: place.path)
    lists = account_lists.noted(snapshot.directory)
    problems = []
    # What came later goes first, the deepest first: a directory may stand where a file was.
    for place in (*gone, *there):
        try:
            if place.path in lists or place.path in account_lists.SYSTEM:
                _list_back(snapshot, place.path, lists)
            else:
                put_back(place, snapshot.contents)
        except SnapshotError as exc:
            problems.append(str(exc))
    different = {place.path for place in (*gone, *there)}
    for place in snapshot.places:
        try:
            sweep(place.path)
            if different and place.path not in different and place.path not in lists:
                put_time_back(place)
        except SnapshotError as exc:
            problems.append(str(exc))
    return problems


def _list_back(snapshot: Snapshot, path: str, lists: Collection[str]) -> None:
    """As it is by now: somebody may have written it since it was looked at. Raises SnapshotError."""
    was = next((place for place in snapshot.places if place.path == path), Place(path, "absent"))
    with account_lists.locked(path):
        found = _difference(snapshot, was, lists)
        if found.problem:
            raise SnapshotError(found.problem)
        if found.words:
            content = found.back.content if found.back else None
            put_back(found.was, snapshot.contents if content is None else content)


def prune(store: Store, keep: int = KEEP, keep_days: float = KEEP_DAYS, but: Iterable[str] = ()) -> list[str]:
    """Remove the snapshots that are neither among the `keep` newest nor younger than `keep_days`; return their names."""
    made_at = {name: os.stat(store.snapshots / name / "manifest.json").st_mtime for name in store.names()}
    removed = [name for name in outdated(made_at, keep, keep_days) if name not in set(but)]
    for name in removed:
        store.remove(name)
    return removed


def _every(paths: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """All paths to keep, the directories that are kept whole, and what in them cannot be kept."""
    found: dict[str, None] = {}
    whole: list[str] = []
    left_out: list[str] = []
    for path in paths:
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise SnapshotError(f"Could not keep {path!r}: give an absolute path, without `..` and without a slash at its end")
        for step in followed(path):
            found[step] = None
            if os.path.isdir(step) and not os.path.islink(step):
                whole.append(step)
                found.update(dict.fromkeys(_inside(step, left_out)))
        if len(found) > _PLACES_LIMIT:
            raise SnapshotError(f"Could not keep {path}: that is more than {_PLACES_LIMIT} files in all; name fewer")
    return sorted(found), list(dict.fromkeys(whole)), left_out


def followed(path: str) -> list[str]:
    """The path, and where the links lead that stand at it."""
    steps = [path]
    while os.path.islink(steps[-1]):
        if len(steps) > _LINKS_LIMIT:
            raise SnapshotError(f"Could not keep {path}: its links lead in a circle")
        leads_to = os.path.join(os.path.realpath(os.path.dirname(steps[-1])), os.readlink(steps[-1]).rstrip("/") or "/")
        steps.append(os.path.join(os.path.realpath(os.path.dirname(leads_to)), os.path.basename(leads_to)))
    return steps


def _inside(directory: str, left_out: list[str]) -> list[str]:
    """Everything below; what is neither file nor directory nor link is left out, and our own leftovers."""
    found: list[str] = []
    for base, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            if name.startswith(TEMPORARY):
                continue
            if os.path.islink(path) or os.path.isdir(path) or os.path.isfile(path):
                found.append(path)
            else:
                left_out.append(path)
    return found


def _room(store: Store, paths: Iterable[str]) -> None:
    needed = sum(os.path.getsize(path) for path in paths if os.path.isfile(path) and not os.path.islink(path))
    system = os.statvfs(store.snapshots)
    free = system.f_bavail * system.f_frsize
    if free < needed + _SPARE_BYTES:
        raise SnapshotError(f"Could not take a snapshot: {needed:,} bytes are needed below {store.snapshots} and 16 MiB beside "
                            f"them, {free:,} are free; make room there")


def _plain(snapshot: Snapshot, places: Iterable[Place]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "taken_at": snapshot.taken_at,
        "reason": snapshot.reason,
        "places": [asdict(place) for place in places],
        "whole": list(snapshot.whole),
        "services": [asdict(service) for service in snapshot.services],
        "left_out": list(snapshot.left_out),
        "before": snapshot.before,
    }
