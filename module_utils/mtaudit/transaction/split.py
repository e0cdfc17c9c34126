"""A queue for what comes in and a queue for what leaves, and one for both again: each a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..config import postfix, postfix_split
from ..config.files import ConfigError
from ..config.postfix_split import Split
from ..readers.postfix import Postfix, read_instance
from ..runner import Runner
from .configured import SHORT_GUARD_S, changed, scratch_directory
from .journal_actions import begin, end
from .services import running
from .store import Store


def change(
    store: Store, runner: Runner, action: str, wanted: Split, reason: str, guard_after_s: float, check: bool = False
) -> dict[str, Any]:
    """Make a host what `action` says: `split`, `join`, `inbound`, `outbound`. Raises ConfigError or SnapshotError when nothing
    was changed."""
    if runner.which("postconf") is None:
        raise ConfigError("Could not part the queues: this host has no Postfix. Exim, Sendmail and OpenSMTPD keep one queue: "
                          "give what leaves to a host of its own that runs Postfix, by the advice of OUT-03")
    primary = read_instance(runner, "")
    reason = reason or f"OUT-03: {action}"
    if action in ("inbound", "outbound"):
        return _one_side(store, runner, primary, action == "inbound", wanted, reason, guard_after_s, check)
    return _instances(store, runner, primary, wanted, action == "split", reason, guard_after_s, check)


def _instances(
    store: Store, runner: Runner, primary: Postfix, wanted: Split, apart: bool, reason: str, guard_after_s: float, check: bool
) -> dict[str, Any]:
    with scratch_directory() as scratch:
        if apart:
            found = postfix_split.split(runner, primary, wanted, scratch)
        else:
            found = postfix_split.join(runner, primary, wanted.instance, scratch)
    files = (*found.inbound.files, *found.outbound.files)
    checks = (*found.inbound.checks, *found.outbound.checks)
    units = _units(runner, primary, wanted, apart, found) if files else ()
    result = begin(store, runner, files, units, reason, checks, guard_after_s or SHORT_GUARD_S, check)
    if found.warnings:
        result["warnings"] = list(found.warnings)
    if result.get("transaction") and not result.get("failed") and not guard_after_s:
        result["transaction"] = end(store, runner, "commit", result["transaction"]["name"], "")["transaction"]
    return result


def _units(
    runner: Runner, primary: Postfix, wanted: Split, apart: bool, found: postfix_split.Instances
) -> Sequence[tuple[str, ...]]:
    """Of both instances. Whoever needs the ports that the other has comes second."""
    unit = running(runner, ("postfix@-", "postfix"))
    if not unit:
        raise ConfigError("Could not part Postfix: no unit of systemd for it is up; start it first")
    # Debian 12 names the unit by the instance, Debian 13 by what its directory is called after `postfix-`.
    name = wanted.instance if unit == "postfix@-" else wanted.instance.partition("-")[2]
    first = (unit, "restart" if found.inbound.activate == "restart" else "reload")
    second = (f"postfix@{name}", "start" if apart else "stop", found.queue, primary.main.value("queue_directory"))
    return (first, second) if apart else (second, first)


def _one_side(
    store: Store, runner: Runner, primary: Postfix, inbound: bool, wanted: Split, reason: str, guard_after_s: float, check: bool
) -> dict[str, Any]:
    with scratch_directory() as scratch:
        candidate = postfix.candidate(runner, primary, postfix_split.one_side(primary, inbound, wanted), scratch)
    return changed(store, runner, candidate, "Postfix", reason, guard_after_s, check)
