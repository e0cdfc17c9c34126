"""Make findings fit to be shown: they hold text that hostile servers and users chose.

Done once, before any format is written, so that no format can forget it. Markup is left alone here: each format escapes its own.
"""

from __future__ import annotations

from dataclasses import replace

from ..finding import Evidence, Subject
from ..joined import JoinedFinding, Waiver
from .run import HostRun, Problem, RunData

LINE_LIMIT = 2_000
TEXT_LIMIT = 8_000
NAME_LIMIT = 255
EVIDENCE_LIMIT = 60


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """The text without control, direction and other invisible characters, cut to `limit` characters with a note.

    Line ends and tabs stay. Everything that Python calls not printable (among it NUL, ESC, U+202E and what XML 1.0 forbids) is
    written as its code point.
    """
    shown = text if len(text) <= limit else text[:limit]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() or c in "\n\t" else _code_point(c) for c in shown.replace("\r\n", "\n"))
    return shown if len(text) <= limit else f"{shown} [cut: {limit:,} of {len(text):,} characters]"


def line(text: str, limit: int = LINE_LIMIT) -> str:
    """As `clean`, on one line."""
    cleaned = clean(text, limit)
    return cleaned if cleaned.isprintable() else " ".join(cleaned.split())


def _code_point(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def clean_finding(finding: JoinedFinding) -> JoinedFinding:
    """The finding with every text cleaned and its evidence cut to the first `EVIDENCE_LIMIT` entries."""
    waiver = finding.waiver
    return replace(
        finding,
        host=line(finding.host, NAME_LIMIT),
        control=line(finding.control, NAME_LIMIT),
        subject=Subject(line(finding.subject.kind, NAME_LIMIT), line(finding.subject.name, NAME_LIMIT)),
        message=line(finding.message),
        title=line(finding.title),
        area=line(finding.area, NAME_LIMIT),
        methods={line(method): line(word) for method, word in finding.methods.items()},
        conditions=tuple(line(c, NAME_LIMIT) for c in finding.conditions[:EVIDENCE_LIMIT]),
        reason=line(finding.reason),
        evidence=_evidence(finding.evidence),
        waiver=Waiver(line(waiver.owner), line(waiver.expires), line(waiver.reason), waiver.expired) if waiver else None,
        fix_hint=clean(finding.fix_hint),
    )


def _evidence(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    shown = [Evidence(e.method, line(e.where), clean(e.text, TEXT_LIMIT)) for e in evidence[:EVIDENCE_LIMIT]]
    left = len(evidence) - len(shown)
    if left > 0:
        shown.append(Evidence(evidence[-1].method, f"{left} more", f"{left} more observations are left out of the report"))
    return tuple(shown)


def clean_host(host: HostRun) -> tuple[str, str, str, str]:
    """Name, kind, status and reason of a host, fit to be shown."""
    return line(host.name, NAME_LIMIT), line(host.kind, NAME_LIMIT), host.status, line(host.reason)


def clean_plan(run: RunData, host: str) -> tuple[str, ...]:
    """What harden.yml planned for a host, fit to be shown."""
    return tuple(line(text) for text in run.hardening.get(host, {}).get("plan") or ())


def clean_problem(problem: Problem) -> Problem:
    """The problem, fit to be shown."""
    return Problem(line(problem.host, NAME_LIMIT), line(problem.file, NAME_LIMIT), line(problem.reason))
