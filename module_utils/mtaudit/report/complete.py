"""Turn the joined findings of a run into the whole answer: cleaned, waived, with a line for what went unanswered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Optional

from ..finding import HOST, Status
from ..joined import SEVERITIES, JoinedFinding, Waiver
from .clean import clean_finding
from .run import ControlEntry, HostRun, RunData

_STATUS_ORDER = {status: place for place, status in enumerate((
    Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.NOTCHECKED, Status.WAIVED, Status.FIXED,
    Status.INFORMATIONAL, Status.PASS, Status.NOTAPPLICABLE,
))}


def complete(run: RunData, joined: Iterable[JoinedFinding]) -> list[JoinedFinding]:
    """All findings of the run. A host that could not be reached, or whose answer is lost, is never left out."""
    given = [*joined]
    answered = {(finding.host, finding.control) for finding in given}
    given.extend(_unanswered(run, answered))
    waivers = {host.name: host.waivers for host in run.hosts}
    today = run_date(run)
    return [clean_finding(_waived(finding, waivers.get(finding.host, ()), today)) for finding in given]


def worst_first(finding: JoinedFinding) -> tuple[int, int, int, str, str, str]:
    """Sort key: by status, severity, proof, then by name."""
    return (_STATUS_ORDER[finding.status], severity_rank(finding.severity), 0 if "proven_open" in finding.methods.values() else 1,
            finding.host, finding.control, finding.subject.name)


def severity_rank(severity: str) -> int:
    """0 is the worst. A severity that nobody defined ranks with the worst: it must not slip through a gate."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0


def run_date(run: RunData) -> Optional[date]:
    """The day of the run, which decides about waivers: a report of an old run stays as it was. None when the run does not say."""
    return iso_date(run.started[:10])


def iso_date(text: str) -> Optional[date]:
    """None for what is not an ISO date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _unanswered(run: RunData, answered: set[tuple[str, str]]) -> Iterator[JoinedFinding]:
    for host in run.hosts:
        for control in run.controls.values():
            if (host.name, control.id) not in answered:
                yield _gap(host, control)


def _gap(host: HostRun, control: ControlEntry) -> JoinedFinding:
    status, message, reason = _why(host, control)
    return JoinedFinding(
        host.name, control.id, HOST, status, message, control.severity, control.title, control.area, reason=reason
    )


def _why(host: HostRun, control: ControlEntry) -> tuple[Status, str, str]:
    if host.status == "unreachable":
        return Status.NOTCHECKED, "Not checked: the host could not be reached", host.reason or "unreachable"
    if host.status in ("failed", "unreadable"):
        return Status.ERROR, "Not checked: the audit of this host failed", host.reason or "no reason was given"
    kinds = control.data.get("kinds") or ()
    if host.kind and kinds and host.kind not in kinds:
        return Status.NOTAPPLICABLE, "Does not concern this kind of host", f"the host is of kind {host.kind}"
    if host.problem:
        return Status.ERROR, "The answer to this control may have been lost", host.problem
    return Status.NOTCHECKED, "Not checked", "the audit gave no answer to this control"


def _waived(finding: JoinedFinding, waivers: Iterable[Mapping[str, Any]], today: Optional[date]) -> JoinedFinding:
    """The finding with its waiver; a failure becomes `waived` only while the waiver has not expired."""
    if finding.status not in (Status.FAIL, Status.WAIVED):
        return finding
    waiver = finding.waiver or next((_waiver(w) for w in waivers if _covers(w, finding)), None)
    if waiver is None:
        # Nobody is named who accepted it: that is a failure, whatever the joiner called it.
        return replace(finding, status=Status.FAIL)
    expires = iso_date(waiver.expires[:10])
    holds = expires is not None and today is not None and today <= expires
    return replace(finding, waiver=waiver, status=Status.WAIVED if holds else Status.FAIL)


def _covers(waiver: Mapping[str, Any], finding: JoinedFinding) -> bool:
    if waiver.get("control", waiver.get("id")) != finding.control:
        return False
    subject = waiver.get("subject")
    return not subject or subject in (finding.subject.name, str(finding.subject))


def _waiver(data: Mapping[str, Any]) -> Waiver:
    return Waiver(str(data.get("owner", "")), str(data.get("expires", "")), str(data.get("reason", "")))
