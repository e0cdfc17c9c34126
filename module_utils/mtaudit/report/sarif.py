"""Write report.sarif: SARIF 2.1.0 (OASIS standard, 2020).

Failures are results, waived ones carry a suppression. What could not be found out is a notification of the invocation: consumers
such as code scanning show every result as an alert, and an unknown is neither an alert nor a pass.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from ..finding import Evidence, Status
from ..joined import UNDECIDED, JoinedFinding
from .run import ControlEntry
from .verdict import Report, proof

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVEL = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
# GitHub's scale of security-severity: over 9.0 critical, 7.0 high, 4.0 medium.
_SCORE = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0"}
_FILE = re.compile(r"(/[^\s:]+)(?::(\d{1,9}))?")


def chunks(report: Report) -> Iterator[str]:
    """The file in pieces: a result a line."""
    index = {control.id: place for place, control in enumerate(report.controls)}
    yield f'{{"$schema": {json.dumps(SCHEMA)}, "version": "2.1.0", "runs": [{{\n"tool": {_json(_tool(report))},\n'
    yield '"columnKind": "unicodeCodePoints",\n'
    yield f'"automationDetails": {_json({"id": f"mtaudit/{report.run.profile}/{report.run.id}"})},\n'
    yield f'"invocations": [{_json(_invocation(report, index))}],\n"results": ['
    separator = "\n"
    for finding in report.findings:
        if finding.status in (Status.FAIL, Status.WAIVED):
            yield separator + _json(_result(finding, index[finding.control]))
            separator = ",\n"
    yield "]}]}\n"


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def _tool(report: Report) -> dict[str, Any]:
    driver: dict[str, Any] = {"name": "mtaudit", "rules": [_rule(control) for control in report.controls]}
    if report.run.version:
        driver["version"] = report.run.version
    return {"driver": driver}


def _rule(control: ControlEntry) -> dict[str, Any]:
    return {
        "id": control.id,
        "shortDescription": {"text": control.title},
        "fullDescription": {"text": control.rationale or control.title},
        "defaultConfiguration": {"level": _LEVEL.get(control.severity, "error")},
        "properties": {"tags": ["security", control.area], "security-severity": _SCORE.get(control.severity, "9.5")},
    }


def _invocation(report: Report, index: dict[str, int]) -> dict[str, Any]:
    notes = [_notification(f, index[f.control]) for f in report.findings if f.status in UNDECIDED]
    notes.extend({"level": "error", "message": {"text": f"{p.file}: {p.reason}"}} for p in report.problems)
    invocation: dict[str, Any] = {"executionSuccessful": bool(report.servers) and not report.problems,
                                  "toolExecutionNotifications": notes}
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", report.run.started):
        invocation["startTimeUtc"] = report.run.started
    return invocation


def _notification(finding: JoinedFinding, rule_index: int) -> dict[str, Any]:
    return {
        "level": "error" if finding.status is Status.ERROR else "warning",
        "message": {"text": f"{finding.control} on {finding.host}: {finding.status.value}, {finding.message} ({finding.reason})"},
        "associatedRule": {"id": finding.control, "index": rule_index},
        "locations": [{"logicalLocations": [_logical(finding)]}],
    }


def _result(finding: JoinedFinding, rule_index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.control,
        "ruleIndex": rule_index,
        "kind": "fail",
        "level": _LEVEL.get(finding.severity, "error"),
        "message": {"text": f"{finding.message}. {proof(finding)}.{_expired(finding)}"},
        "locations": [{"physicalLocation": _physical(finding), "logicalLocations": [_logical(finding)]}],
        "partialFingerprints": {"mtaudit/v1": hashlib.sha256("\0".join(finding.key).encode()).hexdigest()},
        "properties": {"methods": dict(finding.methods), "conditions": list(finding.conditions), "since": finding.since,
                       "change": finding.change},
    }
    if finding.status is Status.WAIVED and finding.waiver:
        waiver = finding.waiver
        reason = f"{waiver.reason} (accepted by {waiver.owner}, expires {waiver.expires})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    return result


def _expired(finding: JoinedFinding) -> str:
    """An expired waiver suppresses nothing: it is said in words, since a consumer may take any suppression for a valid one."""
    return f" Waiver {finding.waiver}." if finding.waiver and finding.waiver.expired else ""


def _logical(finding: JoinedFinding) -> dict[str, Any]:
    name = f"{finding.host}/{finding.subject}" if finding.subject.name else finding.host
    return {"name": finding.subject.name or finding.host, "fullyQualifiedName": name, "kind": finding.subject.kind}


def _physical(finding: JoinedFinding) -> dict[str, Any]:
    """The first file that the evidence names, under the host's name; else the host."""
    for path, number in map(_place, finding.evidence):
        if path:
            location: dict[str, Any] = {"artifactLocation": {"uri": quote(f"{finding.host}{path}")}}
            if number:
                location["region"] = {"startLine": number}
            return location
    return {"artifactLocation": {"uri": quote(finding.host, safe="")}}


def _place(evidence: Evidence) -> tuple[str, int]:
    match = _FILE.match(evidence.where)
    return (match.group(1), int(match.group(2) or 0)) if match else ("", 0)
