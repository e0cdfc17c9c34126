"""A change of this host that is confirmed or taken back: its state on the disk, from the first snapshot on.

Each phase is written before what it names begins, so that whoever comes next knows what a run that was killed may have done:

    prepared    a snapshot is taken, nothing is changed
    changing    files are being put in place
    changed     they are, and the services have them; the guard waits for a confirmation
    committed   confirmed
    taking_back the snapshot is being put back
    taken_back  it is
    abandoned   somebody left it as it was
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from ..config.files import NewFile
from ..redact import redact
from ..runner import ReadError, Runner
from ..text import printable
from . import account_lists
from .guard import arm, disarm
from .places import Place, SnapshotError, look, put_back, why
from .services import Service, again, back, seen
from .snapshot import Snapshot, differences, followed, left, load, prune, restore, take
from .store import Store, read_sealed, write_sealed

FINISHED = ("committed", "taken_back", "abandoned")
_CHECK_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Transaction:
    """`until` is when the guard takes it back, seconds since the epoch; 0 without one. `problems`: what could not be put back;
    `left`: what was not, since others had changed it."""

    name: str
    phase: str
    reason: str
    snapshot: str
    begun_at: float
    until: float = 0.0
    ended: str = ""
    problems: tuple[str, ...] = ()
    services: tuple[Service, ...] = field(default=())
    left: tuple[str, ...] = ()


class TakenBack(SnapshotError):
    """A change did not hold and was taken back; the text says why. `transaction` is how it ended."""

    def __init__(self, text: str, transaction: Transaction) -> None:
        super().__init__(text)
        self.transaction = transaction


def pending(changes: Sequence[NewFile]) -> list[tuple[Place, Place, bytes]]:
    """What is not yet as it shall be: what is there, what will be, and its content. Raises SnapshotError, also when somebody has
    changed a file since the plan was made."""
    found = []
    for change in changes:
        path = followed(change.path)[-1]
        now = look(path, unread=change.stays)
        if now.kind not in ("file", "absent"):
            raise SnapshotError(f"Could not change {change.path}: it is a {now.kind}")
        if change.stays and now.kind == "absent":
            continue
        if change.planned_on is not None and change.planned_on != (look(path) if change.stays else now).sha256:
            raise SnapshotError(f"{change.path} was changed since the plan was made; nothing is changed. Plan again")
        content = change.content or b""
        wanted = Place(path, "absent")
        if change.stays:
            wanted = replace(now, mode=_or(change.mode, now.mode), uid=_or(change.uid, now.uid), gid=_or(change.gid, now.gid))
        elif change.content is not None:
            known, digest = now.kind == "file", hashlib.sha256(content).hexdigest()
            # What has its content is not newer than what is made from it.
            mtime_ns = now.mtime_ns if known and now.sha256 == digest else time.time_ns()
            wanted = Place(path, "file", _or(change.mode, now.mode if known else 0o644), _or(change.uid, now.uid if known else 0),
                           _or(change.gid, now.gid if known else 0), mtime_ns, len(content), digest,
                           attributes=now.attributes)  # fmt: skip
        if now.differences(wanted):
            found.append((now, wanted, content))
    return found


def begin(
    store: Store,
    runner: Runner,
    changes: Sequence[NewFile],
    services: Sequence[tuple[str, ...]],
    reason: str,
    checks: Sequence[Sequence[str]] = (),
    guard_after_s: float = 0.0,
    write_program: Optional[Callable[[Path], None]] = None,
) -> Optional[Transaction]:
    """Change the files, let the checks run, tell the services, and leave it to `commit`; None when nothing is to be changed.

    A check is a command that must succeed with the new files in place, before any service hears of them. What does not hold is
    taken back at once: TakenBack. `write_program` writes the guard's, which is armed where there is one. Raises SnapshotError
    when nothing was changed.
    """
    if not all(checks):
        raise SnapshotError("Could not begin: a check has no words")
    checks = [[str(word) for word in argv] for argv in checks]
    with store.alone():
        refuse_while_open(store, runner)
        wanted = pending(changes)
        if not wanted:
            return None
        units = seen(runner, services)
        missing = _missing(now.path for now, _, _ in wanted)
        unread = {now.path for now, _, _ in wanted if now.unread}
        kept = take(store, [*missing, *(now.path for now, _, _ in wanted)], f"before: {reason}", units, unread=unread)
        lists = {followed(change.path)[-1] for change in changes if change.accounts}
        account_lists.note(kept.directory, {now.path: (now.sha256, content if new.kind == "file" else None)
                                            for now, new, content in wanted if now.path in lists})  # fmt: skip
        prune(store)
        transaction = Transaction(kept.name, "prepared", reason, kept.name, time.time(), services=tuple(units))
        _write(store, transaction)
        try:
            if guard_after_s and write_program:
                transaction = replace(transaction, until=time.time() + guard_after_s)
                _write(store, transaction)
                arm(store, runner, transaction.name, transaction.until, write_program)
            transaction = _phase(store, transaction, "changing")
            _install(store, transaction, kept, missing, wanted)
            _check(runner, checks)
            _tell(runner, units)
            return _phase(store, transaction, "changed")
        except Exception as exc:  # whatever it was: nothing of it stays
            try:
                ended = _back(store, runner, transaction, str(exc))
            except SnapshotError as worse:
                ended = replace(transaction, problems=(str(worse),))
            raise TakenBack(_said(str(exc), ended), ended) from exc


def commit(store: Store, runner: Runner, name: str) -> Transaction:
    """Confirm that what was changed may stay. Raises SnapshotError when it was taken back before."""
    with store.alone():
        transaction = read(store, name)
        if transaction.phase == "committed":
            return transaction
        if transaction.phase != "changed":
            raise SnapshotError(f"Could not confirm transaction {name}: it is {_words(transaction)}"
                                + (f" ({transaction.ended})" if transaction.ended else ""))  # fmt: skip
        transaction = _phase(store, transaction, "committed")
        problem = disarm(runner)
        return replace(transaction, problems=(problem,)) if problem else transaction


def take_back(store: Store, runner: Runner, name: str, because: str) -> Transaction:
    """Put everything back as it was before. Of one that has been taken back already, that. Raises SnapshotError."""
    with store.alone():
        transaction = read(store, name)
        if transaction.phase in FINISHED:
            return transaction
        return _back(store, runner, transaction, because)


def abandon(store: Store, runner: Runner, name: str) -> Transaction:
    """End one that cannot be taken back as a whole, and leave everything as it is. Raises SnapshotError."""
    with store.alone():
        transaction = read(store, name)
        if transaction.phase in FINISHED:
            return transaction
        transaction = _phase(store, transaction, "abandoned")
        disarm(runner)
        return transaction


def unfinished(store: Store) -> list[Transaction]:
    """Those that were neither confirmed nor taken back, the oldest first. Raises SnapshotError."""
    return [transaction for transaction in every(store) if transaction.phase not in FINISHED]


def refuse_while_open(store: Store, runner: Runner, look_only: bool = False) -> None:
    """Raises SnapshotError while a transaction is open. One that was killed before it changed anything is ended here, unless this
    shall only look."""
    for transaction in unfinished(store):
        if transaction.phase != "prepared":
            ways = "confirm it or take it back" if transaction.phase == "changed" else "take it back"
            about = f"{transaction.name} ({transaction.reason})"
            raise SnapshotError(f"Transaction {about} has not ended, it is {_words(transaction)}; {ways} first: "
                                "mta_transaction action=take_back")
        if not look_only:
            _back(store, runner, transaction, "nothing was changed yet")


def _words(transaction: Transaction) -> str:
    return transaction.phase.replace("_", " ")


def every(store: Store) -> list[Transaction]:
    """All that are known, the oldest first. Raises SnapshotError."""
    try:
        names = sorted(path.name for path in store.transactions.iterdir() if (path / "state.json").exists())
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise SnapshotError(f"Could not list {store.transactions}: {why(exc)}") from exc
    return [read(store, name) for name in names]


def read(store: Store, name: str) -> Transaction:
    """Raises SnapshotError."""
    path = store.transactions / name / "state.json"
    if not path.exists():
        raise SnapshotError(f"There is no transaction {name!r} in {store.transactions}")
    data = read_sealed(path)
    services = tuple(Service(**service) for service in data["services"])
    return Transaction(**{**data, "services": services, "problems": tuple(data["problems"]), "left": tuple(data.get("left", ()))})


def _or(value: Optional[int], other: int) -> int:
    return other if value is None else value


def _missing(paths: Iterable[str]) -> list[str]:
    """The directories that have to be made for them, the outermost first."""
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(parent for parent in parents if not os.path.lexists(parent))


def _install(
    store: Store, transaction: Transaction, kept: Snapshot, missing: Sequence[str], wanted: Sequence[tuple[Place, Place, bytes]]
) -> None:
    contents = store.transactions / transaction.name / "contents"
    _keep(contents, wanted)
    for directory in missing:
        put_back(Place(directory, "directory", 0o755), contents)
    was, lists = {place.path: place for place in kept.places}, account_lists.noted(kept.directory)
    for now, new, _ in wanted:
        with account_lists.locked(now.path) if now.path in lists else nullcontext():
            if look(now.path, now.unread).differences(was[now.path]) or was[now.path].differences(now):
                raise SnapshotError(f"{now.path} was changed by somebody else meanwhile")
            put_back(new, contents)


def _keep(contents: Path, wanted: Sequence[tuple[Place, Place, bytes]]) -> None:
    try:
        contents.mkdir(mode=0o700, exist_ok=True)
        for _, new, content in wanted:
            if new.kind == "file" and not new.unread:
                with open(os.open(contents / new.sha256, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write(content)
    except OSError as exc:
        raise SnapshotError(f"Could not write {contents}: {why(exc)}") from exc


def _check(runner: Runner, checks: Sequence[Sequence[str]]) -> None:
    for argv in checks:
        shown = printable(" ".join(argv))
        try:
            done = runner.run(argv, timeout_s=_CHECK_TIMEOUT_S)
        except ReadError as exc:
            raise SnapshotError(f"The check '{shown}' could not run: {exc}") from exc
        if done.returncode:
            said = printable(redact(done.stderr.strip() or done.stdout.strip()), 1000)
            raise SnapshotError(f"The check '{shown}' failed with exit status {done.returncode}: {said or 'it said nothing'}")


def _tell(runner: Runner, units: Sequence[Service]) -> None:
    problems = again(runner, [unit.changed for unit in units], True, stop=False)
    if problems:
        raise SnapshotError("; ".join(problems))


def _back(store: Store, runner: Runner, transaction: Transaction, because: str) -> Transaction:
    problems: list[str] = []
    if transaction.phase != "prepared":
        transaction = _phase(store, replace(transaction, ended=because), "taking_back")
        kept = load(store, transaction.snapshot)
        lost = _keep_what_others_wrote(store, transaction, kept)
        ended = f"{because}; {lost}" if lost else because
        transaction = replace(transaction, ended=ended, left=tuple(left(kept)))
        problems = back(runner, transaction.services, lambda: restore(kept))
    if problems:  # the guard tries again
        transaction = replace(transaction, problems=tuple(problems))
        _write(store, transaction)
        return transaction
    transaction = _phase(store, replace(transaction, ended=transaction.ended or because, problems=()), "taken_back")
    disarm(runner)
    return transaction


def _keep_what_others_wrote(store: Store, transaction: Transaction, kept: Snapshot) -> str:
    """What is neither as it was nor as we made it is somebody's work; in a list of accounts it stays. Without room for it the
    host goes back all the same, and the answer says what is lost."""
    contents = store.transactions / transaction.name / "contents"
    lists = account_lists.noted(kept.directory)
    changed = [d.now for d in differences(kept) if d.now.kind == "file" and not d.now.unread and d.now.path not in lists]
    theirs = [now.path for now in changed if not (contents / now.sha256).exists()]
    if theirs:
        try:
            take(store, theirs, f"edited while {transaction.name} was not confirmed", before=kept.name)
        except SnapshotError as exc:
            return f"what somebody wrote into {', '.join(theirs)} meanwhile could not be kept: {exc}"
    return ""


def _said(why_not: str, ended: Transaction) -> str:
    if ended.problems:
        return (f"{why_not}. It could NOT be taken back as a whole: {'; '.join(ended.problems)}. "
                f"Put it right, then: mta_transaction action=take_back name={ended.name}")
    return f"{why_not}. Everything was put back as it was" + "".join(f", but: {text}" for text in ended.left)


def _phase(store: Store, transaction: Transaction, phase: str) -> Transaction:
    transaction = replace(transaction, phase=phase)
    _write(store, transaction)
    return transaction


def _write(store: Store, transaction: Transaction) -> None:
    directory = store.transactions / transaction.name
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_sealed(directory / "state.json", _plain(transaction))
    except OSError as exc:
        raise SnapshotError(f"Could not write {directory}: {why(exc)}") from exc


def _plain(transaction: Transaction) -> dict[str, Any]:
    return {**asdict(transaction), "problems": list(transaction.problems), "left": list(transaction.left)}
