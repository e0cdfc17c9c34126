"""Compare a run with the ones before it: what is new, fixed or still open, since when, and the trend.

Every run leaves a small history.json in its directory, so that a year of runs is compared without reading a year of findings.
Hosts are compared one by one, each with the last run that knew it: a run limited to one host does not make the others new.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from ..attribution import CAUSES, PLAIN
from ..finding import Method, Status, Subject
from ..joined import FIXED, NEW, STILL_OPEN, UNDECIDED, JoinedFinding
from .clean import NAME_LIMIT, line
from .run import RunData

FILE = "history.json"
SCHEMA = 1
TREND_RUNS = 30
_LIMIT_BYTES = 64 * 1024 * 1024
_OPEN = (Status.FAIL, Status.WAIVED)

SubjectKey = tuple[str, str, str]  # control, kind and name of the subject


@dataclass(frozen=True)
class Point:
    """One run in the trend."""

    id: str
    started: str
    hosts: int
    statuses: Mapping[str, int]
    failing: Mapping[str, int]  # by severity

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "started": self.started, "hosts": self.hosts,
                "statuses": dict(self.statuses), "failing": dict(self.failing)}


@dataclass(frozen=True)
class Record:
    """What a run leaves for the next: its point in the trend, and per host every open failure with the date it was first seen."""

    point: Point
    profile: str
    open: Mapping[str, Mapping[SubjectKey, str]] = field(default_factory=dict)
    proofs: Mapping[str, Any] = field(default_factory=dict)  # what proof.py hands on, by host

    def to_json(self) -> str:
        """One line of JSON a host."""
        hosts = ",\n".join(
            f"{json.dumps(host)}: {json.dumps([[*key, since] for key, since in sorted(known.items())])}"
            for host, known in sorted(self.open.items())
        )
        head = json.dumps({"schema": SCHEMA, "profile": self.profile, "point": self.point.to_dict(), "proofs": dict(self.proofs)})
        return f'{head[:-1]}, "open": {{\n{hosts}\n}}}}\n'


def earlier_records(directory: str, run: RunData) -> list[Record]:
    """The runs before this one, oldest first. Those of the same profile are comparable. What cannot be read is left out."""
    found = [record for record in map(_record, _run_directories(directory)) if record is not None]
    before = [record for record in found if record.point.id != run.id and _when(record) < (run.started, run.id)]
    return sorted(before, key=_when)


def unreadable(directory: str, run_id: str) -> list[Path]:
    """Earlier runs that left a history which cannot be read: nothing is compared with them, and their proofs are lost."""
    return [path / FILE for path in _run_directories(directory)
            if path.name != run_id and (path / FILE).is_file() and _record(path) is None]


def _when(record: Record) -> tuple[str, str]:
    return record.point.started, record.point.id


def _run_directories(directory: str) -> list[Path]:
    """Directories that hold a run. Links are not followed."""
    root = Path(directory)
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if not p.is_symlink() and p.is_dir() and (p / "run.json").is_file())


def _record(directory: Path) -> Optional[Record]:
    try:
        with open(directory / FILE, "rb") as file:
            data = json.loads(file.read(_LIMIT_BYTES).decode("utf-8", "replace"))
        point = data["point"]
        known = {
            str(host): {(str(c), str(k), str(n)): str(since) for c, k, n, since in entries}
            for host, entries in data["open"].items()
        }
        if data["schema"] != SCHEMA:
            return None
        return Record(Point(str(point["id"]), str(point["started"]), int(point["hosts"]), _numbers(point["statuses"]),
                            _numbers(point["failing"])), str(data["profile"]), known, dict(data["proofs"]))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None  # a run that was never reported, or by a version with another schema


def _numbers(data: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in data.items()}


def last_proofs(earlier: Sequence[Record]) -> dict[str, Any]:
    """Per host, the last proof that any run handed on, whatever its profile."""
    found: dict[str, Any] = {}
    for record in earlier:
        found.update(record.proofs)
    return found


def compare(findings: Sequence[JoinedFinding], earlier: Sequence[Record]) -> list[JoinedFinding]:
    """The findings with `since` and `change`, failures that now pass as `fixed`.

    A failure whose subject is gone counts as fixed when its control now passes on that host, and the passing findings have no
    word of doubt beside them. A finding that is undecided now and failed before keeps its `since`, and claims nothing.
    """
    if not earlier:
        return [*findings]
    before = _last_known(earlier)
    present = {finding.key for finding in findings}
    tests = {(f.host, f.subject): f.methods for f in findings if f.control == PLAIN}
    result = [
        _with_relay_test(_compared(finding, before.get(finding.host, {})), tests.get((finding.host, finding.subject), {}))
        for finding in findings
    ]
    result.extend(_vanished(findings, before, present))
    return result


def _last_known(earlier: Sequence[Record]) -> dict[str, Mapping[SubjectKey, str]]:
    known: dict[str, Mapping[SubjectKey, str]] = {}
    for record in earlier:  # oldest first: the last one that knows a host wins
        known.update(record.open)
    return known


def _compared(finding: JoinedFinding, before: Mapping[SubjectKey, str]) -> JoinedFinding:
    since = before.get(finding.key[1:], "")
    if finding.status in _OPEN:
        return replace(finding, since=since, change=STILL_OPEN if since else NEW)
    if since and finding.status is Status.PASS:
        return replace(finding, status=Status.FIXED, since=since, change=FIXED)
    return replace(finding, since=since) if since and finding.status in UNDECIDED else finding


def _with_relay_test(finding: JoinedFinding, test: Mapping[str, str]) -> JoinedFinding:
    """A relay test that got through is its cause's; that none does any more stands under PLAIN, and is shown with the cause."""
    if finding.change != FIXED or finding.control not in CAUSES:
        return finding
    seen = {method.value: test[method.value] for method in (Method.SIMULATION, Method.PROBE) if method.value in test}
    return replace(finding, methods={**seen, **finding.methods})


def _vanished(
    findings: Sequence[JoinedFinding], before: Mapping[str, Mapping[SubjectKey, str]], present: set[tuple[str, str, str, str]]
) -> Iterable[JoinedFinding]:
    now: dict[tuple[str, str], list[JoinedFinding]] = {}
    for finding in findings:
        now.setdefault((finding.host, finding.control), []).append(finding)
    for host, known in before.items():
        for (control, kind, name), since in known.items():
            answers = now.get((host, control), [])
            if (host, control, kind, name) in present or not _all_good(answers):
                continue
            message = "Failed in the last run; the control passes now and this subject is gone"
            yield replace(answers[0], subject=Subject(kind, name), status=Status.FIXED, message=message, since=since,
                          change=FIXED, evidence=(), conditions=(), reason="", methods={})


def _all_good(answers: Sequence[JoinedFinding]) -> bool:
    statuses = {answer.status for answer in answers}
    return Status.PASS in statuses and not statuses & {Status.FAIL, Status.WAIVED, *UNDECIDED}


def dated(findings: Sequence[JoinedFinding], started: str) -> list[JoinedFinding]:
    """The findings with `since` of every open failure filled in: one that no earlier run knew was first seen now."""
    return [replace(f, since=started) if f.status in _OPEN and not f.since else f for f in findings]


def record_of(
    run: RunData, findings: Sequence[JoinedFinding], earlier: Sequence[Record], proofs: Mapping[str, Any]
) -> Record:
    """What this run leaves behind. A failure that could not be checked this time stays known, with its date."""
    before = _last_known(earlier)
    answers: dict[tuple[str, str], list[JoinedFinding]] = {}
    known: dict[str, dict[SubjectKey, str]] = {line(host.name, NAME_LIMIT): {} for host in run.hosts}
    for finding in findings:
        answers.setdefault((finding.host, finding.control), []).append(finding)
        if finding.status in _OPEN:
            known.setdefault(finding.host, {})[finding.key[1:]] = finding.since
    for host, old in before.items():
        if host not in known:
            continue
        for key, since in old.items():
            if any(answer.status in UNDECIDED for answer in answers.get((host, key[0]), ())):
                known[host].setdefault(key, since)
    statuses = Counter(f.status.value for f in findings)
    failing = Counter(f.severity for f in findings if f.status is Status.FAIL)
    return Record(Point(run.id, run.started, len(run.hosts), statuses, failing), run.profile, known, proofs)


def trend(earlier: Sequence[Record], current: Record) -> tuple[Point, ...]:
    """The last runs, oldest first, this one last."""
    return tuple(record.point for record in [*earlier[-(TREND_RUNS - 1):], current])


def outdated(directory: str, keep_runs: int, current: Path) -> list[Path]:
    """Run directories beyond the newest `keep_runs`, oldest first. The current one is never among them."""
    others = [p for p in _run_directories(directory) if p.resolve() != current.resolve() and (p / FILE).is_file()]
    others.sort(key=lambda p: ((_record(p) or _EMPTY).point.started, p.name))
    return others[: max(0, len(others) + 1 - max(1, keep_runs))]


_EMPTY = Record(Point("", "", 0, {}, {}), "")


def remove_runs(directories: Iterable[Path]) -> None:
    """Delete run directories. Raises OSError."""
    for directory in directories:
        shutil.rmtree(directory)
