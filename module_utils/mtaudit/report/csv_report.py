"""Write findings.csv: one finding a row, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from ..joined import JoinedFinding
from .verdict import Report

COLUMNS = ("host", "control", "subject_kind", "subject", "status", "severity", "area", "title", "message", "methods",
           "conditions", "reason", "since", "change", "waiver_owner", "waiver_expires", "waiver_expired", "waiver_reason",
           "fix_hint")
# A cell that starts with one of these is a formula to a spreadsheet (OWASP, CSV Injection); the full-width forms too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def chunks(report: Report) -> Iterator[str]:
    """The file in pieces (RFC 4180: CRLF, quotes doubled)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for finding in report.findings:
        writer.writerow([cell(value) for value in _row(finding)])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def cell(value: str) -> str:
    """The value, with an apostrophe before what a spreadsheet would calculate."""
    return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value


def _row(finding: JoinedFinding) -> tuple[str, ...]:
    waiver = finding.waiver
    return (
        finding.host, finding.control, finding.subject.kind, finding.subject.name, finding.status.value, finding.severity,
        finding.area, finding.title, finding.message, " ".join(f"{m}={word}" for m, word in finding.methods.items()),
        " ".join(finding.conditions), finding.reason, finding.since, finding.change,
        *((waiver.owner, waiver.expires, "yes" if waiver.expired else "no", waiver.reason) if waiver else ("", "", "", "")),
        finding.fix_hint,
    )
