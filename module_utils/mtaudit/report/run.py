"""Read a run directory: what was asked, what every host answered, what the probes and the traces said.

A file that is missing or garbled becomes a `Problem`, and the host that it belongs to says so; it never ends the report. Only
run.json and catalogue.json are needed: without them nobody can say what should have been answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import unquote

from ..finding import Finding
from ..joined import SEVERITIES
from ..run_directory import file_name
from .shapes import (
    check_clients,
    is_sound_estate,
    sound_control,
    sound_credentials,
    sound_declaration,
    sound_hardening,
    sound_probe,
    sound_services,
    sound_traces,
)

FILE_LIMIT_BYTES = 64 * 1024 * 1024
DEFAULT_SEVERITY = "high"  # of a control that the catalogue of the run does not list
_NOTHING: dict[str, Any] = {}


class RunError(Exception):
    """The run as a whole cannot be reported on. The text says which file, and why."""


@dataclass(frozen=True)
class Problem:
    """Something that should have been read and could not be. `host` is empty when no single host is concerned."""

    host: str
    file: str
    reason: str


@dataclass(frozen=True)
class ControlEntry:
    """What the report needs to know of a control; `data` is its whole catalogue entry."""

    id: str
    title: str
    severity: str
    area: str
    rationale: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostRun:
    """One host of the run. `status` is `ok`, `unreachable`, `failed` or `unreadable` (no file, or none that can be read).

    `problem` says which part of the answer was lost; it may be set while `findings` holds the rest.
    """

    name: str
    status: str
    reason: str = ""
    kind: str = ""
    findings: tuple[Finding, ...] = ()
    estate: Mapping[str, Any] = field(default_factory=dict)
    waivers: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""
    declared: Mapping[str, Any] = field(default_factory=dict)  # the host's part of run.json


@dataclass(frozen=True)
class RunData:
    """A whole run. `probes` maps a vantage, `traces` a host, to what the module returned there, `hardening` to its plan."""

    id: str
    started: str
    version: str
    catalogue_digest: str
    profile: str
    controls: Mapping[str, ControlEntry]
    hosts: tuple[HostRun, ...]
    vantages: tuple[str, ...] = ()
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    traces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hardening: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def entry(self, control_id: str) -> ControlEntry:
        """The control's entry; one made up from its id when the catalogue of this run does not list it."""
        known = self.controls.get(control_id)
        return known or ControlEntry(control_id, control_id, DEFAULT_SEVERITY, _area(control_id))


def load_run(path: str) -> RunData:
    """The run in this directory. Raises RunError when run.json or catalogue.json cannot be used."""
    directory = Path(path)
    run = _required(directory / "run.json")
    controls = _controls(_required(directory / "catalogue.json"))
    if not controls:
        raise RunError(f"{directory / 'catalogue.json'} names no controls: nobody can say what should have been answered")
    declared = run.get("hosts")
    if not isinstance(declared, dict):
        raise RunError(f"{directory / 'run.json'} names no hosts: 'hosts' must map a host's name to what is declared about it")
    problems: list[Problem] = []
    hosts = tuple(_hosts(directory, declared, problems))
    named = run.get("vantages")
    vantages = tuple(_text(v) for v in named) if isinstance(named, list) else ()
    probes = dict(_answers(directory, "probes", problems))
    problems.extend(
        Problem("", f"probes/{v}.json", f"the answer of vantage {v} is missing")
        for v in vantages if v not in probes and not (directory / "probes" / f"{file_name(v)}.json").is_file()
    )
    return RunData(
        id=_text(run.get("id")) or directory.name,
        started=_text(run.get("started")),
        version=_text(run.get("version")),
        catalogue_digest=_text(run.get("catalogue_digest")),
        profile=_text(run.get("profile")),
        controls=controls,
        hosts=hosts,
        vantages=vantages,
        probes=probes,
        traces=dict(_answers(directory, "traces", problems)),
        services=dict(_answers(directory, "services", problems)),
        credentials=dict(_answers(directory, "credentials", problems)),
        hardening=dict(_answers(directory, "hardening", problems)),
        problems=tuple(problems),
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _required(path: Path) -> dict[str, Any]:
    data, reason = _read(path)
    if reason:
        raise RunError(f"Could not read {path}: {reason}")
    return data


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The JSON object in a file, or an empty one and the reason why there is none."""
    try:
        with open(path, "rb") as file:
            raw = file.read(FILE_LIMIT_BYTES + 1)
        if len(raw) > FILE_LIMIT_BYTES:
            return {}, f"larger than {FILE_LIMIT_BYTES // 1024 // 1024} MiB"
        data = json.loads(raw.decode("utf-8", "replace"))
    except OSError as exc:
        return {}, exc.strerror or str(exc)
    except (ValueError, RecursionError) as exc:
        return {}, f"not valid JSON: {exc}"
    if isinstance(data, list) and path.name == "catalogue.json":
        return {"controls": data}, ""
    return (data, "") if isinstance(data, dict) else ({}, "not a JSON object")


def _area(control_id: str) -> str:
    return control_id.rsplit("-", 1)[0].lower()


def _controls(catalogue: Mapping[str, Any]) -> dict[str, ControlEntry]:
    """Controls by id, in the catalogue's order. `controls` may be a list of entries or a mapping from id to entry."""
    listed = catalogue.get("controls", [])
    entries = listed if isinstance(listed, list) else []
    pairs = listed.items() if isinstance(listed, dict) else ((e.get("id"), e) for e in entries if isinstance(e, dict))
    found = {}
    for control_id, entry in pairs:
        if not control_id or not isinstance(entry, dict):
            continue
        severity = entry.get("severity")
        found[str(control_id)] = ControlEntry(
            id=str(control_id),
            title=_text(entry.get("title")) or str(control_id),
            severity=severity if isinstance(severity, str) and severity in SEVERITIES else DEFAULT_SEVERITY,
            area=_text(entry.get("area")) or _area(str(control_id)),
            rationale=_text(entry.get("rationale")),
            data=sound_control(entry),
        )
    return found


def _files(directory: Path, name: str) -> list[Path]:
    return sorted((directory / name).glob("*.json"))


def _answers(directory: Path, name: str, problems: list[Problem]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The files of probes, of looks at services, of logins, of traces, or of plans, by the vantage's or the host's name."""
    sound = {"probes": sound_probe, "services": sound_services, "credentials": sound_credentials, "traces": sound_traces,
             "hardening": sound_hardening}[name]  # fmt: skip
    for path in _files(directory, name):
        data, reason = _read(path)
        answer, lost = sound(data)
        for text in (reason or _text(data.get("error")), lost):  # `error`: the module itself failed, mta_collect keeps why
            if text:
                problems.append(Problem("", f"{name}/{path.name}", text))
        if data:
            yield unquote(path.stem), answer


def _hosts(directory: Path, declared: Mapping[str, Any], problems: list[Problem]) -> Iterator[HostRun]:
    answers: dict[str, tuple[dict[str, Any], str]] = {}
    for path in _files(directory, "hosts"):
        data, reason = _read(path)
        named = data.get("host")
        answers[named if isinstance(named, str) and named else unquote(path.stem)] = (data, reason)
    for name in sorted(set(declared) | set(answers)):
        about = declared.get(name)
        sound, wrong = sound_declaration(about if isinstance(about, dict) else {})
        problems.extend(Problem(name, "run.json", f"{key} of {name}: not in the form that it must have") for key in wrong)
        host = _host(name, sound, answers.get(name))
        if host.problem:
            problems.append(Problem(name, f"hosts/{file_name(name)}.json", host.problem))
        yield host


def _host(name: str, about: Mapping[str, Any], answer: Optional[tuple[dict[str, Any], str]]) -> HostRun:
    kind = _text(about.get("kind"))
    waivers = tuple(about.get("waivers") or ())
    if about.get("reachable") is False:
        reason = _text(about.get("reason")) or "could not be reached"
        return HostRun(name, "unreachable", reason, kind, waivers=waivers, declared=about)
    data, problem = answer or (_NOTHING, "no answer of this host in the run directory")
    if problem:
        return HostRun(name, "unreadable", problem, kind, waivers=waivers, problem=problem, declared=about)
    findings, lost = _findings(data.get("findings"))
    estate, status = data.get("estate"), data.get("status")
    if estate and not is_sound_estate(estate):
        lost = "; ".join(filter(None, (lost, "its description of itself (estate) has not the form that it must have")))
        estate = {}
    known = status in ("ok", "unreachable", "failed") if isinstance(status, str) else False
    return HostRun(
        name=name,
        status=str(status) if known else "failed",
        reason=_text(data.get("reason")) or ("" if known else f"unknown status {status!r}"),
        kind=kind or _estate_kind(estate),
        findings=findings,
        estate=estate if isinstance(estate, dict) else {},
        waivers=waivers,
        problem=lost,
        declared=about,
    )


def _estate_kind(estate: Any) -> str:
    kind = estate.get("kind") if isinstance(estate, dict) else None
    return _text(kind.get("value")) if isinstance(kind, dict) else _text(kind)


def _findings(listed: Any) -> tuple[tuple[Finding, ...], str]:
    """The findings that can be read, and a sentence about those that cannot."""
    if not isinstance(listed, list):
        return (), "its answer holds no list of findings"
    found = []
    lost = []
    for data in listed:
        try:
            found.append(checked_finding(data))
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            lost.append(f"{type(exc).__name__}: {exc}")
    return tuple(found), f"{len(lost)} of {len(listed)} findings could not be read; the first: {lost[0]}" if lost else ""


def checked_finding(data: Any) -> Finding:
    """A finding from data that a host or a vantage sent. Raises KeyError, TypeError, ValueError or AttributeError."""
    finding = Finding.from_dict(data)
    texts = [finding.control, finding.message, finding.reason, finding.verdict, finding.subject.kind, finding.subject.name]
    texts.extend(finding.conditions)
    for evidence in finding.evidence:
        texts.extend((evidence.where, evidence.text))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is not a string")
    check_clients(finding.clients)
    return finding
