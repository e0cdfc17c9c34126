"""Write the summary for the terminal: the answer, a table of the hosts, the worst findings, what to do first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from ..finding import Status
from ..joined import JoinedFinding
from . import advice
from .complete import severity_rank
from .verdict import NO, UNKNOWN, YES, HostAnswer, Report, proof, proof_rank

WIDTH = 100
HOSTS_SHOWN = 40
FINDINGS_SHOWN = 12
MESSAGE = 240
_COLUMNS = (
    (Status.FAIL, "fail"), (Status.ERROR, "error"), (Status.UNKNOWN, "unkn"), (Status.NOTCHECKED, "notch"),
    (Status.WAIVED, "waive"), (Status.FIXED, "fixed"), (Status.PASS, "pass"), (Status.NOTAPPLICABLE, "n/a"),
)
_COLOURS = {YES: "31;1", UNKNOWN: "33;1", NO: "32;1"}


def summary(report: Report, colour: bool = False) -> str:
    """The whole text, ASCII only; at most WIDTH columns wide."""
    return "\n".join(_lines(report, colour)) + "\n"


def _lines(report: Report, colour: bool) -> Iterator[str]:
    for line, answer in _painted_lines(report):
        ascii_line = line.encode("ascii", "backslashreplace").decode("ascii")  # the same in every terminal, log and in AWX
        yield f"\x1b[{_COLOURS[answer]}m{ascii_line}\x1b[0m" if colour and answer else ascii_line


def _painted_lines(report: Report) -> Iterator[tuple[str, str]]:
    """Lines, and the answer whose colour they may take."""
    yield "CAN OUR SERVERS BE USED TO SEND SPAM?", ""
    for line in _wrapped(report.headline):
        yield line, report.answer
    for line in _rest(report):
        yield line, ""
    yield from _hosts(report)
    for part in (_findings(report), _steps(report), _end(report)):
        for line in part:
            yield line, ""


def _rest(report: Report) -> Iterator[str]:
    for detail in report.details:
        yield from _wrapped(detail, "  ")
    yield ""


def _end(report: Report) -> Iterator[str]:
    for problem in report.problems[:FINDINGS_SHOWN]:
        yield from _wrapped(f"Missing: {problem.file}: {problem.reason}", "! ")
    gate = report.gate
    yield f"Answered: {gate.answered} of {gate.asked} controls. Run {report.run.id}, started {report.run.started}."


def _hosts(report: Report) -> Iterator[tuple[str, str]]:
    names = max([4, *(len(host.name) for host in report.hosts[:HOSTS_SHOWN])])
    width = min(names, WIDTH - 9 - 7 * len(_COLUMNS))
    yield f"{'host':<{width}}  {'open':<7}" + "".join(f"{name:>7}" for _status, name in _COLUMNS), ""
    for host in report.hosts[:HOSTS_SHOWN]:
        yield f"{_cut(host.name, width):<{width}}  {_word(host):<7}{_numbers(host.counts)}", host.answer
    left = report.hosts[HOSTS_SHOWN:]
    if left:
        counts = ", ".join(f"{sum(h.answer == answer for h in left)} {answer}" for answer in (YES, UNKNOWN, NO))
        yield f"... and {len(left)} more hosts ({counts})", ""
    yield f"{'all':<{width}}  {'':<7}{_numbers(report.counts)}", ""
    yield "", ""


def _numbers(counts: Mapping[str, int]) -> str:
    return "".join(f"{counts.get(status.value, 0) or '.':>7}" for status, _name in _COLUMNS)


def _word(host: HostAnswer) -> str:
    return "" if host.is_site else "PROVEN" if host.proven else {YES: "YES", UNKNOWN: "?", NO: "no"}[host.answer]


def _findings(report: Report) -> Iterator[str]:
    failures = sorted((f for f in report.findings if f.status is Status.FAIL), key=_importance)
    if not failures:
        return
    yield "WORST FIRST"
    for finding in failures[:FINDINGS_SHOWN]:
        new = " NEW" if finding.change == "new" else ""
        subject = f" {_cut(finding.subject.name, 60)}" if finding.subject.name else ""
        where = f"{finding.control} {finding.host}{subject}{new}"
        yield from _wrapped(f"{finding.severity.upper():<8} {where}: {_cut(finding.message, MESSAGE)}")
        yield from _wrapped(f"{proof(finding)}; since {finding.since[:10]}", "         ")
        if finding.waiver:
            yield from _wrapped(f"Waiver {_cut(str(finding.waiver), MESSAGE)}", "         ")
    if len(failures) > FINDINGS_SHOWN:
        yield f"... and {len(failures) - FINDINGS_SHOWN} more failures in the report"
    yield ""


def _importance(finding: JoinedFinding) -> tuple[int, int]:
    return min(proof_rank(finding), 1), severity_rank(finding.severity)


def _steps(report: Report) -> Iterator[str]:
    first = next((step for step in report.steps if step.fix_hint), None)
    if first is not None:
        where = f"{len(first.hosts)} {'host' if len(first.hosts) == 1 else 'hosts'}"
        paragraph, *commands = advice.first_step(first.fix_hint)
        yield from _wrapped(f"DO FIRST: {first.control} ({where}): {paragraph.plain}")
        yield from (f"    {line}" for block in commands for line in block.text.splitlines())
        yield ""


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent or "  ") or [""]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[:width - 1]}~"
