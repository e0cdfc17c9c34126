"""Write junit.xml: a suite a host, a case a finding.

What could not be found out is `skipped` (or `error`, where our own work failed), never a pass and never a failure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from ..finding import Status
from ..joined import JoinedFinding
from .verdict import HostAnswer, Report, proof

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENT = {
    Status.FAIL: "failure",
    Status.ERROR: "error",
    Status.UNKNOWN: "skipped",
    Status.NOTCHECKED: "skipped",
    Status.NOTAPPLICABLE: "skipped",
    Status.WAIVED: "skipped",
}


def chunks(report: Report) -> Iterator[str]:
    """The file in pieces."""
    totals = _totals(Counter(finding.status for finding in report.findings))
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name={_attribute(report.title)} {totals}>\n'
    for host in report.hosts:
        yield from _suite(report, host)
    yield "</testsuites>\n"


def _totals(counts: Counter[Status]) -> str:
    elements: Counter[str] = Counter()
    for status, number in counts.items():
        elements[_ELEMENT.get(status, "")] += number
    return (f'tests="{sum(counts.values())}" failures="{elements["failure"]}" errors="{elements["error"]}" '
            f'skipped="{elements["skipped"]}"')


def _suite(report: Report, host: HostAnswer) -> Iterator[str]:
    totals = _totals(Counter(finding.status for finding in host.findings))
    stamp = f" timestamp={_attribute(report.run.started[:19])}" if report.run.started else ""
    yield f"<testsuite name={_attribute(host.name)} {totals}{stamp}>\n"
    for finding in host.findings:
        yield _case(finding)
    yield "</testsuite>\n"


def _case(finding: JoinedFinding) -> str:
    subject = f" {finding.subject.name}" if finding.subject.name else ""
    start = f"<testcase classname={_attribute(finding.host)} name={_attribute(f'{finding.control}{subject}: {finding.title}')}"
    element = _ELEMENT.get(finding.status)
    if finding.status is Status.INFORMATIONAL:
        # Not a failure, and not nothing: JUnit has no word between the two.
        return f"{start}>\n<system-out>{_escaped(_body(finding))}</system-out>\n</testcase>\n"
    if element is None:
        return f"{start}/>\n"
    message = f"{finding.status.value}: {finding.reason or finding.message}"
    if finding.status is Status.FAIL:
        message = f"{finding.message} (waiver {finding.waiver})" if finding.waiver else finding.message
    elif finding.waiver:
        message = f"waived: {finding.waiver}"
    kind = "" if element == "skipped" else f" type={_attribute(finding.severity)}"
    return f"{start}>\n<{element} message={_attribute(message)}{kind}>{_escaped(_body(finding))}</{element}>\n</testcase>\n"


def _body(finding: JoinedFinding) -> str:
    lines = [finding.message]
    if finding.status is Status.FAIL:
        lines.append(proof(finding))
    if finding.conditions:
        lines.append(f"Conditions: {', '.join(finding.conditions)}")
    if finding.waiver:
        lines.append(f"Waiver: {finding.waiver}")
    lines.extend(f"[{e.method.value}] {e.where}: {e.text}" for e in finding.evidence)
    if finding.fix_hint:
        lines.append(f"Fix: {finding.fix_hint}")
    return "\n".join(lines)


def _legal(text: str) -> str:
    """Only what XML 1.0 allows (section 2.2, Char)."""
    return _ILLEGAL.sub("\ufffd", text)


def _escaped(text: str) -> str:
    return escape(_legal(text))


def _attribute(text: str) -> str:
    return quoteattr(_legal(text))
