"""Whether a change holds, as the runs before and after it tell of a host: all methods joined, the vantages' included."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ..finding import Method, Status
from ..join import join_host
from ..joined import UNDECIDED, JoinedFinding
from ..report.run import RunData
from ..text import printable

Key = tuple[str, str]  # control, name of the subject


def against(before: RunData, after: RunData, host: str, mended: Collection[Key], shows: Collection[Key]) -> Iterator[str]:
    """What speaks against the change; nothing when it holds.

    `mended` is what must not fail any more, `shows` what the plan said would fail behind it.
    """
    was, now = _joined(before, host), _joined(after, host)
    if not now:
        yield f"{host} gave no answer after the change"
        return
    for problem in after.problems:
        if problem.host in ("", host):
            yield f"the proof is not complete: {problem.file}: {problem.reason}"
    for control, name in mended:
        others = [finding for (other, _), finding in now.items() if other == control]
        if (control, name) not in now and (not others or any(finding.status in UNDECIDED for finding in others)):
            yield f"it could not be told whether it still fails: {control} ({name})"
    for key, finding in now.items():
        earlier = was.get(key)
        text = printable(f"{finding.control} ({finding.subject}): {finding.message}")
        if finding.status is Status.FAIL and key in mended:
            yield f"it still fails: {text}"
        elif finding.status is Status.FAIL and key not in shows and (earlier is None or earlier.status is not Status.FAIL):
            yield f"it fails now, and did not before: {text}"
        elif finding.status in UNDECIDED and key in mended:
            yield f"it could not be told whether it still fails: {text}{f' ({finding.reason})' if finding.reason else ''}"


def _joined(run: RunData, host: str) -> dict[Key, JoinedFinding]:
    found: dict[Key, JoinedFinding] = {}
    for about in (one for one in run.hosts if one.name == host and one.status == "ok"):
        # What the log tells of the past is true after the change as it was before.
        present = replace(about, findings=tuple(f for f in about.findings if f.method is not Method.LOG))
        for finding in join_host(run, present):
            key = (finding.control, finding.subject.name)
            if key not in found or finding.status is Status.FAIL:
                found[key] = finding
    return found
