"""What people and playbooks do with snapshots: take, list, compare, put back, remove. Plain data in and out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Optional, Union

from ..runner import Runner
from . import account_lists
from .diff import diff
from .journal import refuse_while_open, unfinished
from .places import KEPT, SnapshotError
from .services import back, compared, seen
from .snapshot import Difference, Snapshot, differences, left, load, prune, restore
from .snapshot import take as take_snapshot
from .store import Store

LATEST = "latest"


def take(
    store: Store,
    runner: Runner,
    paths: Sequence[str],
    services: Sequence[tuple[str, str]],
    reason: str,
    keep: int,
    keep_days: float,
    check: bool = False,
) -> dict[str, Any]:
    """Take one, and remove those that are old: `keep` is how many stay at least. Raises SnapshotError."""
    if not paths:
        raise SnapshotError("Could not take a snapshot: no paths are given")
    units = seen(runner, services)
    if check:
        return {"changed": True, "snapshot": {}, "removed": [], "left_out": []}
    with store.alone():
        taken = take_snapshot(store, paths, reason, units)
        removed = prune(store, keep, keep_days, but=[transaction.snapshot for transaction in unfinished(store)])
    return {"changed": True, "snapshot": _about(taken), "removed": removed, "left_out": list(taken.left_out)}


def compare(store: Store, name: str) -> dict[str, Any]:
    """What is not as it was. Raises SnapshotError."""
    snapshot = load(store, _named(store, name))
    return {"changed": False, "snapshot": _about(snapshot), "differences": [_told(d) for d in differences(snapshot)]}


def put_back(store: Store, runner: Runner, name: str, check: bool = False) -> dict[str, Any]:
    """Go back, and make the services what they were. `problems` says what could not be done. A host that never took a snapshot
    has nothing to go back to: of a whole fleet that stops nobody. Raises SnapshotError.
    """
    if name == LATEST and not store.names():
        return {"changed": False, "snapshot": {}, "differences": [], "msg": f"There is no snapshot in {store.snapshots}"}
    if check:
        return _as_it_was(store, load(store, _named(store, name)), runner)
    with store.alone():
        refuse_while_open(store, runner)
        snapshot = load(store, _named(store, name))
        result = _as_it_was(store, snapshot, runner)
        if not result["changed"]:
            return result
        changed = differences(snapshot)
        if changed:
            paths = list(dict.fromkeys([*(d.was.path for d in changed if d.now.kind in KEPT), *snapshot.whole]))
            units = [now for _, now in compared(runner, snapshot.services)]
            unread = {d.now.path for d in changed if d.now.unread}
            reason = f"before going back to {snapshot.name}"
            before = take_snapshot(store, paths, reason, units, snapshot.name, unread)
            account_lists.note(before.directory, _lists(snapshot, changed))
            result["before"] = before.name
        result["problems"] = back(runner, snapshot.services, lambda: restore(snapshot, changed), bool(changed))
    return result


def _as_it_was(store: Store, snapshot: Snapshot, runner: Runner) -> dict[str, Any]:
    """What going back will change."""
    changed = differences(snapshot)
    units = [(was, now) for was, now in compared(runner, snapshot.services) if was.differs(now)]
    shown = [diff(d.now, d.now.path, d.was, _content(snapshot, d)) for d in changed]
    shown += [{"before_header": was.name, "after_header": was.name, "before": f"{_state(now)}\n", "after": f"{_state(was)}\n"}
              for was, now in units]  # fmt: skip
    differ = [_told(difference) for difference in changed]
    answer = {"changed": bool(changed or units), "snapshot": _about(snapshot), "differences": differ, "diff": shown}
    told = [d.problem for d in changed if d.problem] + left(snapshot) + _lost(store, snapshot, changed)
    return {**answer, "warnings": told} if told else answer


def _content(snapshot: Snapshot, difference: Difference) -> Union[str, bytes]:
    back = difference.back
    return str(snapshot.contents / difference.was.sha256) if back is None or back.content is None else back.content


def _lists(snapshot: Snapshot, changed: Sequence[Difference]) -> dict[str, tuple[str, Optional[bytes]]]:
    """The lists of accounts among what goes back, and what is written then: that, too, can be taken out of them again."""
    found: dict[str, tuple[str, Optional[bytes]]] = {}
    for d in changed:
        if {d.was.kind, d.now.kind} <= {"file", "absent"} and (d.back or d.was.path in account_lists.SYSTEM):
            content = d.back.content if d.back else None
            if not d.back and d.was.kind == "file":
                content = (snapshot.contents / d.was.sha256).read_bytes()
            found[d.was.path] = d.now.sha256, content
    return found


def _lost(store: Store, snapshot: Snapshot, changed: Sequence[Difference]) -> list[str]:
    """What goes back as a whole, though others have written it since: their work stands in the snapshot that is taken before. Of
    one that somebody took by hand they are not told apart, but for the system's lists of accounts."""
    taken_by_us = bool(snapshot.before) or (store.transactions / snapshot.name).exists()
    later = [one for name in store.names() if name > snapshot.name for one in _loaded(store, name)]
    before = {each.before for each in (snapshot, *later)} - {""}
    ours = [*store.transactions.glob("*/contents"), *(store.snapshots / name / "contents" for name in before)]
    found = []
    for d in changed:
        of_files = d.now.kind == "file" and not d.now.unread and "content" in d.words and not d.back and not d.problem
        if of_files and (taken_by_us or d.was.path in account_lists.SYSTEM):
            path = d.now.path
            was = [place.sha256 for each in later for place in each.places if place.path == path and place.kind == "file"]
            known = (digest == d.was.sha256 or any((each / digest).exists() for each in ours) for digest in (d.now.sha256, *was))
            if not all(known):
                found.append(f"{path} was written by others since, and goes back as a whole: what they wrote is in a snapshot")
    return found


def _loaded(store: Store, name: str) -> list[Snapshot]:
    """None where it is damaged: that keeps nobody from going back to another one."""
    try:
        return [load(store, name)]
    except SnapshotError:
        return []


def remove(store: Store, name: str, check: bool = False) -> dict[str, Any]:
    """Raises SnapshotError."""
    if name == LATEST:
        raise SnapshotError("Could not remove a snapshot: give its name")
    about = next((about for about in every(store)["snapshots"] if about["name"] == name), None)
    if about is None:
        load(store, name)
    if not check:
        with store.alone():
            if name in [transaction.snapshot for transaction in unfinished(store)]:
                raise SnapshotError(f"Could not remove {name}: its transaction has not ended")
            store.remove(name)
    return {"changed": True, "snapshot": about, "removed": [name]}


def every(store: Store) -> dict[str, Any]:
    """All of them, the newest first. Raises SnapshotError."""
    found = []
    for name in store.names():
        try:
            found.append(_about(load(store, name)))
        except SnapshotError as exc:
            found.append({"name": name, "problem": str(exc)})
    return {"changed": False, "snapshots": found}


def _named(store: Store, name: str) -> str:
    """The latest is the newest that was not taken by going back: to do that twice changes nothing."""
    if name != LATEST:
        return name
    for known in store.names():
        if not load(store, known).before:
            return known
    raise SnapshotError(f"There is no snapshot in {store.snapshots}")


def _about(snapshot: Snapshot) -> dict[str, Any]:
    taken_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(snapshot.taken_at))
    return {"name": snapshot.name, "taken_at": taken_at, "reason": snapshot.reason, "files": len(snapshot.places),
            "size_bytes": snapshot.size_bytes}  # fmt: skip


def _told(difference: Difference) -> dict[str, Any]:
    return {"path": difference.was.path, "differs": list(difference.words)}


def _state(service: Any) -> str:
    return f"{'up' if service.active else 'down'}, {service.enabled or 'no unit file'}"
