"""Write report.md: the answer, the hosts and what is not in order, for a ticket or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..finding import Status
from ..joined import UNDECIDED, JoinedFinding
from . import advice
from .verdict import HostAnswer, Report, proof

# CommonMark 2.4. An underscore within a word and a sign within a line mean nothing: left alone, so that the text stays readable.
_SPECIAL = re.compile(r"([\\`*{}\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[-+#>=]|(?<=^\d)[.)])")
_COLUMNS = (Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.NOTCHECKED, Status.WAIVED, Status.FIXED, Status.PASS)
_SHOWN = (Status.FAIL, Status.WAIVED, *sorted(UNDECIDED))
UNDECIDED_LIMIT = 200


def chunks(report: Report) -> Iterator[str]:
    """The file in pieces."""
    run = report.run
    yield f"# {text(report.title)}\n\n**Can our servers be used to send spam? {text(report.headline)}**\n\n"
    yield "".join(f"- {text(detail)}\n" for detail in report.details)
    yield f"\nRun {text(run.id)}, started {text(run.started)}, profile {text(run.profile)}, mtaudit {text(run.version)}.\n\n"
    yield "## Hosts\n\n| Host | Can send spam | " + " | ".join(status.value for status in _COLUMNS) + " |\n"
    yield "|---|---|" + "---:|" * len(_COLUMNS) + "\n"
    yield from map(_host, report.hosts)
    planned = [host for host in report.servers if host.plan]
    if planned:
        yield "\n## What was planned\n"
        yield from map(_plan, planned)
    failures = [f for f in report.findings if f.status in (Status.FAIL, Status.WAIVED)]
    if failures:
        yield "\n## Failures\n"
        yield from map(_failure, failures)
    undecided = [f for f in report.findings if f.status in UNDECIDED]
    if undecided:
        yield "\n## Not answered\n\n"
        yield from map(_undecided, undecided[:UNDECIDED_LIMIT])
        if len(undecided) > UNDECIDED_LIMIT:
            yield f"- {len(undecided) - UNDECIDED_LIMIT} more; findings.json has them all\n"
    if report.problems:
        yield "\n## What is missing\n\n"
        yield from (f"- {text(p.file)}: {text(p.reason)}\n" for p in report.problems)


def text(value: str) -> str:
    """The value as plain text: no markup, no HTML, no links, one line."""
    flat = " ".join(value.split())
    escaped = _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;").replace("<", "&lt;"))
    # A bare address would become a link by itself (GitHub's autolinks).
    return escaped.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")


def _host(host: HostAnswer) -> str:
    answer = "" if host.is_site else f"{host.answer}, proven" if host.proven else host.answer
    return f"| {text(host.name)} | {answer} | " + " | ".join(str(host.counts.get(s.value, 0)) for s in _COLUMNS) + " |\n"


def _plan(host: HostAnswer) -> str:
    return f"\n{text(host.name)}:\n\n" + "".join(f"- {text(each)}\n" for each in host.plan)


def _failure(finding: JoinedFinding) -> str:
    subject = f", {text(str(finding.subject))}" if finding.subject.name else ""
    waived = "waived " if finding.status is Status.WAIVED else ""
    lines = [f"\n### {waived}{text(finding.severity)}: {text(finding.control)} on {text(finding.host)}{subject}\n",
             f"{text(finding.message)}\n", f"- {text(proof(finding))}"]
    if finding.conditions:
        lines.append(f"- What it takes: {text(', '.join(finding.conditions))}")
    if finding.since:
        lines.append(f"- First seen: {text(finding.since)}{' (new)' if finding.change == 'new' else ''}")
    if finding.waiver:
        lines.append(f"- Waiver: {text(str(finding.waiver))}")
    if finding.evidence:
        lines.append("\n" + _fenced("\n".join(f"[{e.method.value}] {e.where}\n{e.text}" for e in finding.evidence)))
    if finding.fix_hint:
        lines.append("\nWhat to do:\n")
        lines.extend(f"{_fenced(b.text) if b.is_command else text(b.text)}\n" for b in advice.blocks(finding.fix_hint))
    return "\n".join(lines) + "\n"


def _fenced(content: str) -> str:
    """A code block whose fence is longer than any in the content (CommonMark 4.5)."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{content}\n{fence}"


def _undecided(finding: JoinedFinding) -> str:
    subject = f" ({text(str(finding.subject))})" if finding.subject.name else ""
    return (f"- {text(finding.host)}: {text(finding.control)}{subject} {finding.status.value}: {text(finding.message)}; "
            f"{text(finding.reason)}\n")
