"""A change of a program's configuration: candidate, proof that the program runs with it, transaction."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, Union

from ..config import dovecot, exim, opensmtpd, postfix, sendmail
from ..config.files import Candidate, ConfigError
from ..readers.dovecot import read as read_dovecot
from ..readers.exim import read as read_exim
from ..readers.opensmtpd import read as read_opensmtpd
from ..readers.postfix import read_instance
from ..readers.sendmail import read as read_sendmail
from ..runner import ReadError, Runner
from .journal_actions import begin, end
from .services import running
from .store import Store

SHORT_GUARD_S = 300.0  # of a change that is confirmed at once
Value = Union[str, int, float, bool, None]


def change_postfix(
    store: Store,
    runner: Runner,
    parameters: Mapping[str, Value],
    services: Mapping[str, Optional[str]],
    options: Mapping[str, Mapping[str, Value]],
    tables: Mapping[str, Mapping[str, Value]],
    config_directory: str,
    reason: str,
    guard_after_s: float,
    check: bool = False,
) -> dict[str, Any]:
    """One instance. Raises ConfigError or SnapshotError when nothing was changed."""
    every = {name: _table("Postfix", name, values) for name, values in options.items()}
    entries = {spec: _texts(spec, values) for spec, values in tables.items()}
    wanted = postfix.Wanted(_table("Postfix", "parameters", parameters), services, every, tables=entries)
    with scratch_directory() as scratch:
        candidate = postfix.candidate(runner, read_instance(runner, config_directory), wanted, scratch)
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
    with scratch_directory() as scratch:
        candidate = exim.candidate(runner, live, exim.Wanted(**tables, drivers=drivers, statements=statements), scratch)
    return changed(store, runner, candidate, "Exim", reason, guard_after_s, check)


def change_opensmtpd(
    store: Store,
    runner: Runner,
    statements: Mapping[str, Optional[str]],
    additions: Mapping[str, Optional[str]],
    options: Mapping[str, Mapping[str, Value]],
    tables: Mapping[str, Mapping[str, Value]],
    config_file: str,
    reason: str,
    guard_after_s: float,
    check: bool = False,
) -> dict[str, Any]:
    """Raises ConfigError or SnapshotError when nothing was changed."""
    wanted = opensmtpd.Wanted(
        _texts("statements", statements),
        {text: before or "" for text, before in _texts("additions", additions).items()},
        {name: _texts(name, values) for name, values in options.items()},
        {path: _texts(path, values) for path, values in tables.items()},
    )
    live = next((one for one in read_opensmtpd(runner) if one.file == config_file), None)
    if live is None:
        raise ConfigError(f"Could not change OpenSMTPD: it does not run with {config_file}; name the file that it runs with")
    with scratch_directory() as scratch:
        candidate = opensmtpd.candidate(runner, live, wanted, scratch)
    return changed(store, runner, candidate, "OpenSMTPD", reason, guard_after_s, check)


def change_sendmail(
    store: Store,
    runner: Runner,
    defines: Mapping[str, Value],
    features: Mapping[str, Optional[str]],
    daemons: Mapping[str, Optional[str]],
    filters: Mapping[str, Optional[str]],
    lines: Mapping[str, Optional[str]],
    rules: Mapping[str, str],
    maps: Mapping[str, Mapping[str, Value]],
    words: Mapping[str, Mapping[str, bool]],
    config_file: str,
    reason: str,
    guard_after_s: float,
    check: bool = False,
) -> dict[str, Any]:
    """Raises ConfigError or SnapshotError when nothing was changed."""
    for path, states in words.items():
        if not isinstance(states, Mapping) or not all(isinstance(state, bool) for state in states.values()):
            raise ConfigError(f"Could not change {path}: each line must be true, for it is to be there, or false")
    for text, section in rules.items():
        if section not in ("LOCAL_CONFIG", "LOCAL_RULESETS"):
            raise ConfigError(f"Could not add the rules {text!r}: LOCAL_CONFIG and LOCAL_RULESETS take them, not {section!r}")
    wanted = sendmail.Wanted(
        _texts("defines", defines), _texts("features", features), _texts("daemons", daemons), _texts("filters", filters),
        _texts("lines", lines), rules, {path: _texts(path, values) for path, values in maps.items()}, words,
    )  # fmt: skip
    live = next((one for one in read_sendmail(runner) if one.file == config_file), None)
    if live is None:
        raise ConfigError(f"Could not change Sendmail: no daemon of it runs with {config_file}")
    with scratch_directory() as scratch:
        candidate = sendmail.candidate(runner, live, wanted, scratch)
    return changed(store, runner, candidate, "Sendmail", reason, guard_after_s, check)


def change_dovecot(
    store: Store,
    runner: Runner,
    settings: Mapping[str, Value],
    sections: Mapping[str, Optional[Mapping[str, Value]]],
    reason: str,
    guard_after_s: float,
    check: bool = False,
) -> dict[str, Any]:
    """The one Dovecot of the host. Raises ConfigError or SnapshotError when nothing was changed."""
    named = {name: None if values is None else _table("Dovecot", name, values) for name, values in sections.items()}
    wanted = dovecot.Wanted({"": _table("Dovecot", "settings", settings), **named})
    try:
        found = read_dovecot(runner)
    except ReadError as exc:
        raise ConfigError(f"Could not change Dovecot: {exc}") from exc
    if not found:
        raise ConfigError("Could not change Dovecot: it is not installed")
    with scratch_directory() as scratch:
        candidate = dovecot.candidate(runner, found[0], wanted, scratch)
    return changed(store, runner, candidate, "Dovecot", reason, guard_after_s, check)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that only root may enter, and that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="mtaudit-"))  # mode 0700
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _texts(name: str, values: Mapping[str, Value]) -> dict[str, Optional[str]]:
    """Texts and numbers as they are: YAML's truth values have no meaning here. Raises ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"Could not change the configuration: {name} must be a dictionary")
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
            raise ConfigError(f"Could not change the configuration: {key} in {name} must be text, a number or null")
    return {key: None if value is None else str(value) for key, value in values.items()}


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
    told = bool(candidate.files) and candidate.activate != "none"
    unit = running(runner, candidate.units) if told else ""
    units = [(unit, candidate.activate)] if unit else []
    # One that is confirmed at once has a guard, too: a kill in the middle must not leave it in force.
    guard_s = guard_after_s or (SHORT_GUARD_S if unit else 0)
    result = begin(store, runner, candidate.files, units, reason or "configuration", candidate.checks, guard_s, check)
    result["activate"] = candidate.activate
    if told and not unit:
        advice = f"if it runs all the same, {candidate.activate} it"
        result["warnings"] = [f"No unit of systemd for {title} is up: nobody was told; {advice}"]
    if result.get("transaction") and not result.get("failed") and not guard_after_s:
        result["transaction"] = end(store, runner, "commit", result["transaction"]["name"], "")["transaction"]
    return result
