"""What a run asks of its hosts: the catalogue, a profile and the inventory in, the selection out.

Also checks what the inventory declares about hosts, before anything runs: waivers, answers, tunables, kind of host, networks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from .catalogue import Catalogue, Entry, Settings, merged, settings_problems, unknown_id
from .credentials.arguments import CONSENT, LOCKOUT, is_consent, service_problem
from .credentials.client import PORTS
from .joined import SEVERITIES
from .json_schema import check
from .tunable import Tunable

PREFIX = "mta_audit_"  # of the role whose variables these are

LOGIN_KEYS = ("username", "password", "sender", "other_sender", "cleartext")

# Inventory variables that have the form of a tunable.
_TYPED = tuple(Tunable(name, kind, [], "") for name, kind in (
    ("trusted_networks", "networks"), ("proxies", "networks"), ("local_domains", "domains"),
))


class InventoryError(Exception):
    """The run as a whole cannot start. `problems` holds one line each: variable, what to do."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def check_run(catalogue: Catalogue, profile: str, tunables: Any) -> None:
    """Raises InventoryError with everything in the run's own inputs that does not fit the catalogue."""
    problems = [PREFIX + text for text in _problems(catalogue, {"profile": profile, "tunables": tunables})]
    if problems:
        raise InventoryError(problems)


def refused_hosts(catalogue: Catalogue, hosts: Mapping[str, Any], known_variables: Collection[str] = ()) -> dict[str, list[str]]:
    """The hosts whose inventory variables cannot be used, each with a line for everything that is wrong.

    `hosts` maps a host's name to what the inventory declares about it (`host` in schema.json); what is empty counts as not
    declared. `known_variables` are the names that a host's `variables` may list; without them those are not looked at.
    """
    found = {name: list(_host_problems(catalogue, declared, known_variables)) for name, declared in hosts.items()}
    return {name: problems for name, problems in found.items() if problems}


def _host_problems(catalogue: Catalogue, declared: Any, known_variables: Collection[str]) -> Iterator[str]:
    if not isinstance(declared, dict):
        yield "must map variables to values"
        return
    yield from (PREFIX + text for text in _problems(catalogue, given(declared)))
    yield from _unknown_variables(declared.get("variables"), known_variables)


def given(declared: Mapping[str, Any]) -> dict[str, Any]:
    """What is declared, without what is empty."""
    return {key: value for key, value in declared.items() if value is not None and value not in ("", [], {})}


def _problems(catalogue: Catalogue, declared: Mapping[str, Any]) -> Iterator[str]:
    violations = check(declared, catalogue.schema, "host")
    yield from (_at(v.path, v.message) for v in violations)
    bad = {v.path for v in violations}
    for path, message in _contents(catalogue, {k: v for k, v in declared.items() if (k,) not in bad}):
        # What has the wrong form has been told.
        if path not in bad:
            yield _at(path, message)


def _contents(catalogue: Catalogue, declared: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """What the right form does not exclude: names that do not exist, days, networks, ports."""
    profile = declared.get("profile")
    if profile and profile not in catalogue.profiles:
        yield ("profile",), f"there is no profile '{profile}'; there are {', '.join(sorted(catalogue.profiles))}"
    tunables = {i: values for i, values in declared.get("tunables", {}).items() if isinstance(values, dict)}
    for path, message in settings_problems(tunables, catalogue.controls):
        yield ("tunables", *path), message
    for tunable in _TYPED:
        texts = [item for item in declared.get(tunable.name, []) if isinstance(item, str)]
        if tunable.problem(texts):
            yield (tunable.name,), tunable.problem(texts)
    recipient = declared.get("known_recipient", "")
    if isinstance(recipient, str) and not re.fullmatch(r"(?a)[!-;=?-~]+@[\w-]+(\.[\w-]+)+|", recipient):
        yield ("known_recipient",), f"'{recipient}' is not a mail address such as postmaster@example.org"
    if declared.get("test_login"):
        yield from ((("test_login",), message) for message in _login_problems(declared["test_login"]))
    for number, port in enumerate(declared.get("ports", [])):
        if isinstance(port, int) and not 0 < port < 65536:
            yield ("ports", number), f"{port} is not a TCP port: 1 to 65535"
    yield from _credential_problems(declared)
    for key in ("waivers", "answers"):
        for number, item in enumerate(declared.get(key, [])):
            for name, message in _decision_problems(catalogue, item if isinstance(item, dict) else {}):
                yield (key, number, name), message


def _login_problems(keys: Collection[str]) -> Iterator[str]:
    """A test login with a misspelt key would leave out the probes that it was given for, without a word."""
    missing = [name for name in LOGIN_KEYS[:2] if name not in keys]
    if missing:
        yield f"a mapping with {' and '.join(LOGIN_KEYS[:2])}: {' and '.join(missing)} missing"
    for key in sorted(set(keys) - set(LOGIN_KEYS)):
        yield f"unknown key '{key}': remove it, or use one of {', '.join(LOGIN_KEYS)}"


def _credential_problems(declared: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Where logins are to be tried: protocols, ports and vendors that exist, and a consent that can be asked about."""
    for number, service in enumerate(declared.get("credentials", [])):
        wrong = service_problem(service, PORTS) if isinstance(service, dict) else ""
        if wrong:
            yield ("credentials", number), wrong
    lockout = declared.get("credentials_lockout", 0)
    if isinstance(lockout, int) and lockout < 0:
        yield ("credentials_lockout",), LOCKOUT
    consent = declared.get("credentials_consent", "")
    if isinstance(consent, str) and not is_consent(consent):
        yield ("credentials_consent",), CONSENT


def _decision_problems(catalogue: Catalogue, item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a waiver or an answer of the right form still gets wrong."""
    control_id, day = item.get("id"), item.get("expires")
    if isinstance(control_id, str) and control_id not in catalogue.controls:
        yield "id", unknown_id(control_id)
    try:
        date.fromisoformat(day if isinstance(day, str) else "2000-01-01")
    except ValueError:
        yield "expires", f"'{day}' is not a day of the calendar: write it as 2027-03-31"


def _unknown_variables(names: Any, known: Collection[str]) -> Iterator[str]:
    for name in sorted(set(names if isinstance(names, list) and known else ()) - set(known)):
        near = difflib.get_close_matches(str(name), known, 1)
        yield f"{name} is not a variable of mtaudit: " + (f"did you mean {near[0]}?" if near else "remove it")


def _at(path: Iterable[Any], message: str) -> str:
    place = ""
    for step in path:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    return f"{place}: {message}" if place else message


def settings(catalogue: Catalogue, profile: str, tunables: Settings) -> Settings:
    """The value of every tunable of the profile's controls: the default, the profile's, the inventory's; the last one wins."""
    chosen = catalogue.profiles[profile]
    defaults = {i: {t.name: t.default for t in catalogue.controls[i].tunables.values()} for i in chosen.controls}
    values = merged(merged(defaults, chosen.tunables), tunables)
    return {i: values.get(i, {}) for i in chosen.controls}


def selection(catalogue: Catalogue, profile: str, tunables: Settings) -> list[dict[str, Any]]:
    """What the hosts need of the profile's controls: docs/architecture.md, "Selection"."""
    values = settings(catalogue, profile, tunables)
    return [_slim(catalogue.controls[i], values[i]) for i in catalogue.profiles[profile].controls]


def _slim(entry: Entry, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": entry.id,
        "severity": entry.data["severity"],
        "components": list(entry.components),
        "kinds": list(entry.kinds),
        "tunables": {name: entry.tunables[name].shipped(value) for name, value in values.items()},
    }


def fixes(catalogue: Catalogue, profile: str) -> list[dict[str, Any]]:
    """The profile's controls whose fix can be applied, the most severe first: id, severity, class, disruption, and its role, if
    it has one."""
    entries = [catalogue.controls[i].data for i in catalogue.profiles[profile].controls]
    automated = [entry for entry in entries if entry["fix"]["class"] != "manual"]
    automated.sort(key=lambda entry: SEVERITIES.index(entry["severity"]))
    return [{"id": entry["id"], "severity": entry["severity"], **entry["fix"]} for entry in automated]


def role_variables(catalogue: Catalogue) -> dict[str, tuple[str, str]]:
    """The variables of the roles that are named by an outcome, each with the control and the tunable that it sets.

    Raises ValueError for two of one name.
    """
    found: dict[str, tuple[str, str]] = {}
    for entry in catalogue.controls.values():
        role = entry.data["fix"].get("role")
        for name in entry.tunables if role else ():
            variable = f"{role}_{name}"
            if variable in found:
                raise ValueError(f"{entry.id} and {found[variable][0]} both have a tunable {name}, and both belong to {role}")
            found[variable] = (entry.id, name)
    return found


def for_report(catalogue: Catalogue, profile: str, tunables: Settings, version: str) -> dict[str, Any]:
    """The content of a run's catalogue.json: every control of the profile in full, its tunables as the hosts get them."""
    slim = selection(catalogue, profile, tunables)
    return {
        "version": version,
        "digest": catalogue.digest,
        "profile": profile,
        "controls": [{**catalogue.controls[s["id"]].data, "tunables": s["tunables"]} for s in slim],
    }
