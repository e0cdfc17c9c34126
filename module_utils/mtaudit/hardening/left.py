"""What fails and no plan speaks of: it is left to people, with the catalogue's advice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..finding import Status
from ..joined import JoinedFinding
from ..report.advice import first_step


@dataclass(frozen=True)
class Left:
    """A control that fails on a host, where, and the first step of what to do about it, on one line."""

    control: str
    failing: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        return f"{self.control} is left to you: {'; '.join(self.failing)}. {self.advice}"


def left(
    findings: Iterable[JoinedFinding], planned: Mapping[str, Collection[str]], only: Mapping[str, Collection[str]]
) -> dict[str, list[Left]]:
    """By host, the worst first as `findings` are. `planned` are the hosts, each with the controls that its plan names; `only`
    are the controls that were asked for; all on a host that it does not name."""
    found: dict[str, dict[str, list[JoinedFinding]]] = {host: {} for host in planned}
    for finding in findings:
        wanted = finding.control in only.get(finding.host, (finding.control,))
        if finding.status is Status.FAIL and wanted and finding.control not in planned.get(finding.host, (finding.control,)):
            found[finding.host].setdefault(finding.control, []).append(finding)
    return {host: [_left(control, each) for control, each in controls.items()] for host, controls in found.items()}


def _left(control: str, findings: Sequence[JoinedFinding]) -> Left:
    advice = " ".join(" ".join(block.plain for block in first_step(findings[0].fix_hint)).split())
    return Left(control, tuple(dict.fromkeys(f"{f.subject}: {f.message}" for f in findings)), advice)
