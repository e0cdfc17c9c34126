"""Finish the joined findings of a run: waivers and people's answers applied, lost answers named, every text cleaned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, TypeVar

from ..finding import Status
from ..joined import SEVERITIES, JoinedFinding
from ..questions import site_of
from ..waivers import Answer, Waiver, apply_answers, apply_waivers
from .clean import clean_finding
from .run import HostRun, Problem, RunData

_STATUS_ORDER = {status: place for place, status in enumerate((
    Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.NOTCHECKED, Status.WAIVED, Status.FIXED,
    Status.INFORMATIONAL, Status.PASS, Status.NOTAPPLICABLE,
))}

Decision = TypeVar("Decision")


def complete(run: RunData, joined: Iterable[JoinedFinding]) -> tuple[list[JoinedFinding], tuple[Problem, ...]]:
    """The findings to be shown, and the waivers and answers that could not be read."""
    by_host: dict[str, list[JoinedFinding]] = {}
    for finding in joined:
        by_host.setdefault(finding.host, []).append(finding)
    hosts = {host.name: host for host in (*run.hosts, site_of(run))}
    today = run_date(run)
    problems: list[Problem] = []
    found: list[JoinedFinding] = []
    for name, findings in by_host.items():
        host = hosts.get(name)
        decided = _decided(host, findings, today, problems) if host else findings
        found.extend(map(clean_finding, decided))
    return found, tuple(problems)


def _decided(host: HostRun, findings: list[JoinedFinding], today: date, problems: list[Problem]) -> list[JoinedFinding]:
    waivers = _parsed(host, "waivers", host.waivers, Waiver.from_dict, problems)
    answers = _parsed(host, "answers", host.declared.get("answers") or (), Answer.from_dict, problems)
    findings = [_lost(finding, host) for finding in findings]
    return apply_waivers(apply_answers(findings, answers, today), waivers, today)


def _parsed(
    host: HostRun, name: str, listed: Any, parse: Callable[[Mapping[str, Any]], Decision], problems: list[Problem]
) -> list[Decision]:
    found = []
    for data in listed:
        try:
            found.append(parse(data))
        except ValueError as exc:
            problems.append(Problem(host.name, "run.json", f"{name} of {host.name}: {exc}"))
    return found


def _lost(finding: JoinedFinding, host: HostRun) -> JoinedFinding:
    """Where part of a host's answer could not be read, silence about a control is an error: the answer may have been among it."""
    if host.status != "ok" or not host.problem or finding.status is not Status.NOTCHECKED or finding.methods:
        return finding
    return replace(finding, status=Status.ERROR, message="the answer to this control may have been lost", reason=host.problem)


def worst_first(finding: JoinedFinding) -> tuple[int, int, int, str, str, str]:
    """Sort key: by status, then what is proven, then by severity and name."""
    return (_STATUS_ORDER[finding.status], 0 if "proven_open" in finding.methods.values() else 1, severity_rank(finding.severity),
            finding.host, finding.control, finding.subject.name)


def severity_rank(severity: str) -> int:
    """0 is the worst. A severity that nobody defined ranks with the worst: it must not slip through a gate."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0


def run_date(run: RunData) -> date:
    """The day of the run decides about waivers: a report of an old run stays as it was. An unreadable day ends them all."""
    try:
        return date.fromisoformat(run.started[:10])
    except ValueError:
        return date.max
