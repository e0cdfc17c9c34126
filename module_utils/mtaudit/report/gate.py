"""Decide whether a run is good enough: the worst failure, and the share of controls that got an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..finding import Status
from ..joined import SEVERITIES, UNDECIDED, JoinedFinding
from .complete import severity_rank

FAIL_ON = ("none", *SEVERITIES)


@dataclass(frozen=True)
class Gate:
    """`met` means that the run shall fail, `reasons` says why in whole sentences.

    `answered` counts the controls, host by host, of which every finding is decided; `asked` counts all but those that do not
    apply.
    """

    fail_on: str
    fail_on_incomplete: float
    met: bool
    reasons: tuple[str, ...]
    worst: str
    failing: int
    answered: int
    asked: int

    @property
    def answered_share(self) -> float:
        """From 0 to 1; 0 when nothing was asked."""
        return self.answered / self.asked if self.asked else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons), "answered_share": round(self.answered_share, 4)}


def gate(findings: Sequence[JoinedFinding], hosts: int, fail_on: str, fail_on_incomplete: float, lost: int = 0) -> Gate:
    """A run that answered nothing at all is never good enough, whatever was asked for.

    `lost` are parts of the run that could not be had, a vantage's answer say. Other methods may have answered every control
    all the same; but who asks for all (1.0) asks for these as well.
    """
    failures = [f for f in findings if f.status is Status.FAIL]
    worst = SEVERITIES[min(severity_rank(f.severity) for f in failures)] if failures else ""
    counted = [f for f in failures if fail_on != "none" and severity_rank(f.severity) <= severity_rank(fail_on)]
    answered, asked = coverage(findings)
    reasons = []
    if counted:
        reasons.append(f"{len(counted)} {_plural(len(counted), 'failure')} of severity {fail_on} or worse "
                       f"on {len({f.host for f in counted})} {_plural(len({f.host for f in counted}), 'host')}")
    if not hosts:
        reasons.append("No host was audited: the inventory or the limit matched nothing")
    elif not findings or (asked and not answered):
        reasons.append("Not one control was answered on any host")
    elif asked and answered / asked < fail_on_incomplete:
        reasons.append(f"Only {answered} of {asked} controls were answered ({_percent(answered, asked)}); "
                       f"at least {fail_on_incomplete * 100:g} % are required")
    if lost and fail_on_incomplete >= 1:
        reasons.append(f"{lost} {_plural(lost, 'part')} of the run's results could not be had; at least 100 % are required")
    return Gate(fail_on, fail_on_incomplete, bool(reasons), tuple(reasons), worst, len(counted), answered, asked)


def coverage(findings: Sequence[JoinedFinding]) -> tuple[int, int]:
    """How many controls were answered, and how many were asked, host by host."""
    decided: dict[tuple[str, str], bool] = {}
    for finding in findings:
        if finding.status is Status.NOTAPPLICABLE:
            continue
        key = (finding.host, finding.control)
        decided[key] = decided.get(key, True) and finding.status not in UNDECIDED
    return sum(decided.values()), len(decided)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part // whole} %"  # rounded down: 99.9 % must not read as complete


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"
