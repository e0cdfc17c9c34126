"""A change of a program's configuration: candidate, proof that the program runs with it, transaction."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from ..config import exim, postfix
from ..config.files import Candidate, ConfigError
from ..readers.exim import read as read_exim
from ..readers.postfix import read_instance
from ..runner import Runner
from .journal_actions import begin, end
from .services import running
from .store import Store

_SHORT_GUARD_S = 300.0
Value = Union[str, int, float, bool, None]


def change_postfix(
    store: Store,
    runner: Runner,
    parameters: Mapping[str, Value],
    services: Mapping[str, Optional[str]],
    options: Mapping[str, Mapping[str, Value]],
    config_directory: str,
    reason: str,
    guard_after_s: float,
    check: bool = False,
) -> dict[str, Any]:
    """One instance. Raises ConfigError or SnapshotError when nothing was changed."""
    every = {name: _table("Postfix", name, values) for name, values in options.items()}
    wanted = postfix.Wanted(_table("Postfix", "parameters", parameters), services, every)
    scratch = Path(tempfile.mkdtemp(prefix="mtaudit-"))  # mode 0700
    try:
        candidate = postfix.candidate(runner, read_instance(runner, config_directory), wanted, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return changed(store, runner, candidate, "Postfix", reason, guard_after_s, check)


def change_exim(
    store: Store, runner: Runner, wanted: Mapping[str, Any], file: str, reason: str, guard_after_s: float, check: bool = False
) -> dict[str, Any]:
    """One configuration: `file`, or the package's where that is empty. Raises ConfigError or SnapshotError when nothing was
    changed."""
    live = next((one for one in read_exim(runner) if not file or one.file == file), None)
    if live is None:
        raise ConfigError(f"Could not change Exim: {f'no daemon runs with {file}' if file else 'it is not installed'}")
    names = ("options", "lists", "macros", "settings", "acls")
    tables = {name: _table("Exim", name, wanted.get(name, {})) for name in names}
    drivers = {
        name: None if options is None else _table("Exim", name, options) for name, options in wanted.get("drivers", {}).items()
    }
    for name in ("lists", "settings", "acls"):
        for key, value in tables[name].items():
            if value is None:
                raise ConfigError(f"Could not change Exim: {key} in {name} has no value")
    statements = tuple(exim.AclChange(**change) for change in wanted.get("statements", ()))
    scratch = Path(tempfile.mkdtemp(prefix="mtaudit-"))  # mode 0700
    try:
        candidate = exim.candidate(runner, live, exim.Wanted(**tables, drivers=drivers, statements=statements), scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return changed(store, runner, candidate, "Exim", reason, guard_after_s, check)


def _table(title: str, name: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """A program's words for what YAML makes of yes and 5. Raises ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"Could not change {title}: {name} must be a dictionary")
    found: dict[str, Optional[str]] = {}
    for parameter, value in values.items():
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise ConfigError(f"Could not change {title}: {parameter} must be text, a number, a truth value or null")
        found[parameter] = {True: "yes", False: "no"}[value] if isinstance(value, bool) else None if value is None else str(value)
    return found


def changed(
    store: Store, runner: Runner, candidate: Candidate, title: str, reason: str, guard_after_s: float, check: bool = False
) -> dict[str, Any]:
    """Put a candidate of one program in place, and confirm it at once unless a guard is asked for. Raises SnapshotError."""
    unit = running(runner, candidate.units) if candidate.files else ""
    units = [(unit, candidate.activate)] if unit else []
    # One that is confirmed at once has a guard, too: a kill in the middle must not leave it in force.
    guard_s = guard_after_s or (_SHORT_GUARD_S if unit else 0)
    result = begin(store, runner, candidate.files, units, reason or "configuration", candidate.checks, guard_s, check)
    result["activate"] = candidate.activate
    if not unit and candidate.files:
        advice = f"if it runs all the same, {candidate.activate} it"
        result["warnings"] = [f"No unit of systemd for {title} is up: nobody was told; {advice}"]
    if result.get("transaction") and not result.get("failed") and not guard_after_s:
        result["transaction"] = end(store, runner, "commit", result["transaction"]["name"], "")["transaction"]
    return result
