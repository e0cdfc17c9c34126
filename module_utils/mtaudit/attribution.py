"""Give every open relay its one cause.

A simulation or a probe sees that a foreign message gets through; it cannot see why. The configuration can. An open answer is
therefore moved from the control that owns its class of hole to the control whose failing configuration on the same listener
explains it. What nothing explains stays where it is, and contradicts the configuration there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .finding import HOST, Finding, Method, Status, Subject

# Controls whose failing configuration lets a stranger's foreign message through, in the order in which they explain it.
CAUSES = (
    "RELAY-06",
    "RELAY-07",
    "RELAY-01",
    "RELAY-08",
    "RELAY-02",
    "RELAY-09",
    "RELAY-04",
    "RELAY-05",
    "RELAY-13",
    "RELAY-12",
    "RELAY-11",
    "RELAY-03",
    "SENDER-03",
    "RELAY-10",
)

# The controls that own a class of hole of unauthenticated clients: docs/architecture.md, "Classes of hole".
CLASS_OWNERS = frozenset({"RELAY-03", "SENDER-03", "RELAY-10"})


def attribute(findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, each open answer of a simulation or a probe under the control that explains it."""
    listed = list(findings)
    causes: dict[Subject, list[Finding]] = {}
    for finding in listed:
        if finding.method == Method.CONFIG and finding.status == Status.FAIL and finding.control in CAUSES:
            causes.setdefault(finding.subject, []).append(finding)
    plainly_open = {
        f.subject for f in listed if _is_open_answer(f) and f.control == "RELAY-03" and not _needs_more(f, ())
    }
    moved = []
    for finding in listed:
        if not _is_open_answer(finding):
            moved.append(finding)
            continue
        candidates = [*causes.get(finding.subject, []), *causes.get(HOST, [])]
        cause = _explaining(finding, candidates)
        if cause:
            moved.append(replace(finding, control=cause))
        elif finding.control != "RELAY-03" and finding.subject in plainly_open:
            # With an open relay every variant succeeds: one hole, one finding.
            moved.append(replace(finding, control="RELAY-03"))
        else:
            moved.append(finding)
    return moved


def _is_open_answer(finding: Finding) -> bool:
    return (
        finding.method in (Method.SIMULATION, Method.PROBE)
        and finding.status == Status.FAIL
        and finding.control in CLASS_OWNERS
    )


def _needs_more(finding: Finding, given: Iterable[str]) -> bool:
    return bool(set(finding.conditions) - set(given))


def _explaining(opened: Finding, candidates: list[Finding]) -> str:
    """The first cause that needs nothing which the open answer did not have; the answer's own control comes first."""
    fitting = [c.control for c in candidates if not _needs_more(c, opened.conditions)]
    if opened.control in fitting:
        return opened.control
    return next((control for control in CAUSES if control in fitting), "")
