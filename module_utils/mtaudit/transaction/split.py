"""A queue for what comes in and a queue for what leaves, and one for both again: each a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Union

from ..config import exim_split, postfix, postfix_split
from ..config.files import ConfigError
from ..config.split import Instances, Split
from ..readers.exim import NAMES, Exim
from ..readers.exim import read as read_exim
from ..readers.postfix import Postfix, read_instance
from ..runner import Runner
from .configured import SHORT_GUARD_S, changed, scratch_directory
from .journal_actions import begin, end
from .services import running
from .store import Store

Primary = Union[Postfix, Exim]


def change(
    store: Store, runner: Runner, action: str, wanted: Split, reason: str, guard_after_s: float, check: bool = False
) -> dict[str, Any]:
    """Make a host what `action` says: `split`, `join`, `inbound`, `outbound`. Raises ConfigError or SnapshotError when nothing
    was changed."""
    primary = _primary(runner)
    wanted = replace(wanted, instance=wanted.instance or f"{_title(primary).lower()}-out")
    reason = reason or f"OUT-03: {action}"
    if action in ("inbound", "outbound"):
        result = _one_side(store, runner, primary, action == "inbound", wanted, reason, guard_after_s, check)
    else:
        result = _instances(store, runner, primary, wanted, action == "split", reason, guard_after_s, check)
    return {**result, "needed": result["changed"]}


def _primary(runner: Runner) -> Primary:
    if runner.which("postconf"):
        return read_instance(runner, "")
    found = read_exim(runner)
    if not found:
        raise ConfigError("Could not part the queues: this host has neither Postfix nor Exim. Sendmail and OpenSMTPD keep one "
                          "queue: give what leaves to a host of its own that runs Postfix or Exim, by the advice of OUT-03")
    return found[0]


def _title(primary: Primary) -> str:
    return "Exim" if isinstance(primary, Exim) else "Postfix"


def _instances(
    store: Store, runner: Runner, primary: Primary, wanted: Split, apart: bool, reason: str, guard_after_s: float, check: bool
) -> dict[str, Any]:
    with scratch_directory() as scratch:
        found = _parted(runner, primary, wanted, apart, scratch)
    files = (*found.inbound.files, *found.outbound.files)
    checks = (*found.inbound.checks, *found.outbound.checks)
    units = _units(runner, primary, wanted, apart, found) if files else ()
    result = begin(store, runner, files, units, reason, checks, guard_after_s or SHORT_GUARD_S, check)
    if found.warnings:
        result["warnings"] = list(found.warnings)
    if result.get("transaction") and not result.get("failed") and not guard_after_s:
        result["transaction"] = end(store, runner, "commit", result["transaction"]["name"], "")["transaction"]
    return result


def _parted(runner: Runner, primary: Primary, wanted: Split, apart: bool, scratch: Path) -> Instances:
    if isinstance(primary, Exim):
        if apart:
            return exim_split.split(runner, primary, wanted, scratch)
        return exim_split.join(runner, primary, wanted.instance, scratch)
    if apart:
        return postfix_split.split(runner, primary, wanted, scratch)
    return postfix_split.join(runner, primary, wanted.instance, scratch)


def _units(runner: Runner, primary: Primary, wanted: Split, apart: bool, found: Instances) -> Sequence[tuple[str, ...]]:
    """Of both instances. Whoever needs the ports that the other has comes second."""
    unit = running(runner, NAMES if isinstance(primary, Exim) else ("postfix@-", "postfix"))
    if not unit:
        raise ConfigError(f"Could not part {_title(primary)}: no unit of systemd for it is up; start it first")
    if isinstance(primary, Exim):
        name, spool, activate = wanted.instance, primary.options["spool_directory"], "restart"  # a reload frees ports too late
    else:
        # Debian 12 names the unit by the instance, Debian 13 by what its directory is called after `postfix-`.
        name = f"postfix@{wanted.instance if unit == 'postfix@-' else wanted.instance.partition('-')[2]}"
        spool, activate = primary.main.value("queue_directory"), found.inbound.activate
    first = (unit, "restart" if activate == "restart" else "reload")
    second = (name, "start" if apart else "stop", found.queue, spool)
    return (first, second) if apart else (second, first)


def _one_side(
    store: Store, runner: Runner, primary: Primary, inbound: bool, wanted: Split, reason: str, guard_after_s: float, check: bool
) -> dict[str, Any]:
    with scratch_directory() as scratch:
        if isinstance(primary, Exim):
            candidate = replace(exim_split.one_side(runner, primary, inbound, wanted, scratch), activate="restart")
        else:
            candidate = postfix.candidate(runner, primary, postfix_split.one_side(primary, inbound, wanted), scratch)
    return changed(store, runner, candidate, _title(primary), reason, guard_after_s, check)
