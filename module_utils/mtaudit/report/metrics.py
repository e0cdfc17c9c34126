"""Write metrics.prom: the counts of a run as OpenMetrics text.

Only gauges, so that a Prometheus textfile collector, which knows no other OpenMetrics type, reads it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Optional

from ..finding import Status
from ..joined import SEVERITIES
from .verdict import NO, UNKNOWN, YES, Report

_ANSWERS = (YES, UNKNOWN, NO)


def chunks(report: Report) -> Iterator[str]:
    """The file in pieces."""
    run = report.run
    yield _family("mtaudit_run", "The last run; always 1.", [({"id": run.id, "version": run.version, "profile": run.profile}, 1)])
    started = _seconds(run.started)
    if started is not None:
        yield _family("mtaudit_run_started_timestamp_seconds", "When the run started.", [({}, started)], unit="seconds")
    yield _family("mtaudit_hosts", "Hosts by whether they can be used to send spam.",
                  [({"answer": a}, sum(h.answer == a for h in report.servers)) for a in _ANSWERS])
    yield _family("mtaudit_findings", "Findings by status.",
                  [({"status": s.value}, report.counts.get(s.value, 0)) for s in Status])
    yield _family("mtaudit_failing", "Failures by severity.", [({"severity": s}, report.failing.get(s, 0)) for s in SEVERITIES])
    yield _family("mtaudit_expired_waivers", "Failures whose waiver has expired: they count again.",
                  [({}, report.expired_waivers)])
    yield _family("mtaudit_problems", "Parts of the run whose results are missing.", [({}, len(report.problems))])
    yield _family("mtaudit_controls_asked", "Controls that apply, counted host by host.", [({}, report.gate.asked)])
    yield _family("mtaudit_controls_answered", "Controls that got an answer, counted host by host.", [({}, report.gate.answered)])
    yield _family("mtaudit_gate_failed", "1 when the run failed its gate.", [({}, int(report.gate.met))])
    yield _family("mtaudit_host_answer", "1 for the host's answer: can it be used to send spam?",
                  [({"host": h.name, "answer": a}, int(h.answer == a)) for h in report.servers for a in _ANSWERS])
    yield _family("mtaudit_host_findings", "A host's findings by status.",
                  [({"host": h.name, "status": s.value}, h.counts.get(s.value, 0)) for h in report.hosts for s in Status])
    yield "# EOF\n"


def _family(name: str, help_text: str, samples: list[tuple[dict[str, str], int]], unit: str = "") -> str:
    lines = [f"# TYPE {name} gauge"]
    if unit:
        lines.append(f"# UNIT {name} {unit}")
    lines.append(f"# HELP {name} {_escaped(help_text)}")
    for labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _seconds(started: str) -> Optional[int]:
    try:
        when = datetime.fromisoformat(started.replace("Z", "+00:00"))  # Python 3.9 and 3.10 do not read the Z
    except ValueError:
        return None
    return int((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp())
