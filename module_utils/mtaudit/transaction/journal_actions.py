"""What people and playbooks do with a change: begin, confirm, take back, ask. Plain data in and out."""

from __future__ import annotations

import grp
import os
import pwd
import re
import time
from collections.abc import Sequence
from typing import Any, Optional, Union

from ..config.files import NewFile
from ..runner import Runner
from .account_lists import SYSTEM
from .diff import diff
from .journal import FINISHED, TakenBack, Transaction, abandon, commit, pending, read, take_back, unfinished
from .journal import begin as begin_transaction
from .packed import write_program
from .places import SnapshotError
from .services import seen
from .store import Store


def new_file(
    path: str,
    content: Optional[str] = None,
    state: str = "file",
    mode: Union[str, int, None] = None,
    owner: Optional[str] = None,
    group: Optional[str] = None,
    planned_on: Optional[str] = None,
    accounts: Optional[bool] = None,
) -> NewFile:
    """From the arguments of the module. Raises SnapshotError for what cannot be meant."""
    if not os.path.isabs(path):
        raise SnapshotError(f"Could not change {path!r}: give an absolute path")
    # YAML makes a number of 0640, and means it octal; a text is octal digits.
    if isinstance(mode, str) and not re.fullmatch(r"0?[0-7]{3,4}", mode) or isinstance(mode, int) and not 0 <= mode <= 0o7777:
        raise SnapshotError(f"Could not change {path}: {mode!r} is no mode in octal digits, such as '0640'")
    bits = int(mode, 8) if isinstance(mode, str) else mode
    stays = state == "file" and content is None
    if stays and not os.path.exists(path):
        raise SnapshotError(f"Could not change {path}: no content is given, and there is no file")
    data = content.encode() if content is not None and state == "file" else None
    return NewFile(path, data, bits, _number(path, "owner", owner), _number(path, "group", group), planned_on, stays,
                   path in SYSTEM if accounts is None else accounts)  # fmt: skip


def _number(path: str, what: str, name: Optional[str]) -> Optional[int]:
    if name is None or name.isdigit():
        return None if name is None else int(name)
    try:
        return pwd.getpwnam(name).pw_uid if what == "owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        kind = "user" if what == "owner" else "group"
        raise SnapshotError(f"Could not change {path}: this host has no {kind} {name!r}") from None


def begin(
    store: Store,
    runner: Runner,
    files: Sequence[NewFile],
    services: Sequence[tuple[str, ...]],
    reason: str,
    checks: Sequence[Sequence[str]],
    guard_after_s: float,
    check: bool = False,
) -> dict[str, Any]:
    """Change them, or say what would be changed. `failed` where the change did not hold. Raises SnapshotError."""
    wanted = pending(files)
    shown = [diff(now, now.path, new, content) for now, new, content in wanted]
    if check or not wanted:
        seen(runner, services)
        return {"changed": bool(wanted), "transaction": {}, "diff": shown}
    try:
        transaction = begin_transaction(store, runner, files, services, reason, checks, guard_after_s, write_program)
    except TakenBack as exc:
        ended = exc.transaction
        return {"failed": True, "changed": bool(ended.problems), "msg": str(exc), "transaction": _about(ended)}
    return {"changed": transaction is not None, "transaction": _about(transaction) if transaction else {}, "diff": shown}


def end(store: Store, runner: Runner, action: str, name: str, reason: str, check: bool = False) -> dict[str, Any]:
    """Confirm, take back or abandon. Raises SnapshotError."""
    if not name:
        open_ones = unfinished(store)
        if not open_ones:
            return {"changed": False, "transaction": {}, "msg": "No transaction is open"}
        name = open_ones[0].name
    before = read(store, name)
    if check:
        return {"changed": before.phase not in FINISHED, "transaction": _about(before)}
    if action == "commit":
        after = commit(store, runner, name)
    elif action == "abandon":
        after = abandon(store, runner, name)
    elif before.phase == "committed":
        advice = f"mta_snapshot action=restore name={name}"
        raise SnapshotError(f"Could not take back {name}: it was confirmed. Go back to its snapshot: {advice}")
    else:
        after = take_back(store, runner, name, reason or "asked for")
    answer = {"changed": after.phase != before.phase, "transaction": _about(after)}
    if after.phase in FINISHED and (after.problems or after.left):
        return {**answer, "warnings": [*after.problems, *after.left]}
    if after.problems:
        return {**answer, "failed": True, "msg": f"Could not take back {name} as a whole: {'; '.join(after.problems)}"}
    return answer


def status(store: Store) -> dict[str, Any]:
    """Which have not ended. Raises SnapshotError."""
    return {"changed": False, "transactions": [_about(transaction) for transaction in unfinished(store)]}


def _about(transaction: Transaction) -> dict[str, Any]:
    return {
        "name": transaction.name,
        "phase": transaction.phase,
        "reason": transaction.reason,
        "begun_at": _clock(transaction.begun_at),
        "until": _clock(transaction.until) if transaction.until else "",
        "ended": transaction.ended,
        "problems": list(transaction.problems),
        "left": list(transaction.left),
    }


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
