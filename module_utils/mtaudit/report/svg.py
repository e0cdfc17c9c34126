"""Work out the geometry of the charts; the template draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..finding import Status
from ..joined import NEW, SEVERITIES, UNDECIDED, JoinedFinding
from .complete import worst_first
from .history import Point
from .run import ControlEntry
from .verdict import HostAnswer

CELL = 20  # pixels, one cell with its gap
LABEL_LIMIT = 20


@dataclass(frozen=True)
class Mark:
    """A cell that leads somewhere: a failure."""

    x: int
    y: int
    host: HostAnswer
    finding: JoinedFinding


@dataclass(frozen=True)
class Matrix:
    """Hosts by controls. `paths` maps a status to one path, a rectangle per run of equal cells: 40,000 passes stay small."""

    width: int
    height: int
    paths: Mapping[str, str]
    marks: tuple[Mark, ...]
    controls: tuple[ControlEntry, ...]
    hosts: tuple[HostAnswer, ...]


def matrix(hosts: Sequence[HostAnswer], controls: Sequence[ControlEntry]) -> Matrix:
    """A cell shows the worst status of the control on the host; no finding leaves it empty."""
    column = {control.id: place for place, control in enumerate(controls)}
    paths: dict[str, list[str]] = {}
    marks: list[Mark] = []
    for row, host in enumerate(hosts):
        worst: dict[int, JoinedFinding] = {}
        for finding in host.findings:  # worst first
            worst.setdefault(column[finding.control], finding)
        cells = {place: finding.status.value for place, finding in worst.items()}
        for status, start, length in _runs(cells, len(controls)):
            paths.setdefault(status, []).append(f"M{start * CELL} {row * CELL}h{length * CELL}v{CELL}h-{length * CELL}z")
        marks.extend(Mark(place * CELL, row * CELL, host, f) for place, f in worst.items() if f.status is Status.FAIL)
    return Matrix(len(controls) * CELL, len(hosts) * CELL, {status: "".join(parts) for status, parts in paths.items()},
                  tuple(marks), tuple(controls), tuple(hosts))


def _runs(cells: Mapping[int, str], columns: int) -> list[tuple[str, int, int]]:
    runs: list[tuple[str, int, int]] = []
    for place in range(columns):
        status = cells.get(place)
        if status is None:
            continue
        if runs and runs[-1][0] == status and runs[-1][1] + runs[-1][2] == place:
            runs[-1] = (status, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((status, place, 1))
    return runs


@dataclass(frozen=True)
class Segment:
    """A part of a bar, in percent of its length."""

    name: str
    number: int
    start: float
    length: float


@dataclass(frozen=True)
class Bar:
    """A bar with its parts."""

    name: str
    number: int
    segments: tuple[Segment, ...]


def severity_bars(findings: Sequence[JoinedFinding]) -> tuple[Bar, ...]:
    """Per severity: failures that are new, those that were there before, those that are waived. All bars share one scale."""
    rows = []
    for severity in SEVERITIES:
        own = [f for f in findings if f.severity == severity]
        failures = [f for f in own if f.status is Status.FAIL]
        new = sum(f.change == NEW for f in failures)
        waived = sum(f.status is Status.WAIVED for f in own)
        rows.append((severity, [("new", new), ("open", len(failures) - new), ("waived", waived)]))
    scale = max([1, *(sum(number for _name, number in parts) for _severity, parts in rows)])
    return tuple(_bar(severity, parts, scale) for severity, parts in rows)


def status_bar(counts: Mapping[str, int]) -> Bar:
    """All findings by status, what needs attention first."""
    order = (Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.NOTCHECKED, Status.WAIVED, Status.INFORMATIONAL, Status.FIXED,
             Status.PASS)
    parts = [(status.value, counts.get(status.value, 0)) for status in order]
    return _bar("all", parts, max(1, sum(number for _name, number in parts)))


def _bar(name: str, parts: Sequence[tuple[str, int]], scale: int) -> Bar:
    segments = []
    start = 0.0
    for part, number in parts:
        length = 100 * number / scale
        if number:
            segments.append(Segment(part, number, round(start, 3), round(length, 3)))
        start += length
    # The number of a severity's bar leaves out what is waived: nobody has to act on it.
    return Bar(name, sum(number for part, number in parts if part != Status.WAIVED.value), tuple(segments))


@dataclass(frozen=True)
class Column:
    """One run of the trend, in percent of the chart's size: failures by severity, and apart from them what was not found out."""

    point: Point
    x: float
    width: float
    segments: tuple[Segment, ...]
    failing: int
    undecided: int
    undecided_height: float


@dataclass(frozen=True)
class Trend:
    """The runs, oldest first, and what the top of each chart's scale stands for."""

    columns: tuple[Column, ...]
    top: int
    undecided_top: int


def trend(points: Sequence[Point]) -> Trend:
    """Failures and what was not found out have scales of their own: one host that is down must not flatten the failures."""
    failing = [sum(point.failing.values()) for point in points]
    undecided = [sum(point.statuses.get(status.value, 0) for status in UNDECIDED) for point in points]
    top, undecided_top = max([1, *failing]), max([1, *undecided])
    step = 100 / max(6, len(points))
    columns = tuple(
        Column(point, round(place * step, 3), round(step * 0.72, 3), _segments(point, top), failing[place], undecided[place],
               round(100 * undecided[place] / undecided_top, 3))
        for place, point in enumerate(points)
    )
    return Trend(columns, top, undecided_top)


def _segments(point: Point, top: int) -> tuple[Segment, ...]:
    return _bar(point.id, [(severity, point.failing.get(severity, 0)) for severity in SEVERITIES], top).segments


def short(name: str) -> str:
    """A host's name, cut in the middle to fit beside the matrix: the end tells hosts of one farm apart as much as the start."""
    if len(name) <= LABEL_LIMIT:
        return name
    half = (LABEL_LIMIT - 1) // 2
    return f"{name[:half]}\u2026{name[-half:]}"


def most_severe(findings: Sequence[JoinedFinding]) -> JoinedFinding:
    """The finding that stands for a group."""
    return min(findings, key=worst_first)
