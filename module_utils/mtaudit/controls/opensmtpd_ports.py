"""What the controls on OpenSMTPD's listeners have in common: one answer for each, and the lines that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..control import Evaluate, Site
from ..finding import HOST, Evidence, Finding, Method, Subject, error, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_model import Port
from ..redact import redact
from ..text import printable
from .opensmtpd_walk import Outcome

PerListener = Callable[[OpenSmtpd, Listener, Site], Iterator[Finding]]


def each_listener(function: PerListener) -> Evaluate:
    """Evaluate a control for every port that others can reach."""

    def evaluate(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
        if smtpd.problem:
            yield error(HOST, f"the configuration of OpenSMTPD ({smtpd.file}) could not be read", smtpd.problem)
            return
        if not smtpd.listeners:
            yield notapplicable(HOST, "OpenSMTPD listens for no SMTP", f"no address behind the listen lines of {smtpd.file}")
        for listener in smtpd.listeners:
            if listener.loopback_only:
                yield passed(subject(listener), "only the host itself reaches this port")
            else:
                yield from (_as_running(smtpd, finding) for finding in function(smtpd, listener, site))

    return evaluate


def _as_running(smtpd: OpenSmtpd, finding: Finding) -> Finding:
    """The daemon reads its files once: what a changed file no longer holds may still be in force."""
    if not smtpd.stale or finding.status.value != "pass":
        return finding
    reason = f"{smtpd.stale} was changed after smtpd had been started, which reads it only then: what is in force cannot be seen"
    return unknown(finding.subject, f"{finding.message} in the file", f"{reason}; restart OpenSMTPD", *finding.evidence)


def subject(listener: Listener) -> Subject:
    return Subject("listener", listener.name)


def seen(where: str, text: str) -> Evidence:
    return Evidence(Method.CONFIG, printable(where), printable(redact(text)))


def line(port: Port) -> Evidence:
    return seen(port.listen.where, port.listen.text)


def decided(outcome: Outcome) -> list[Evidence]:
    """The rule that decided, and the entries of tables that it rests on. It was walked by us: smtpd cannot be asked."""
    found = [seen(outcome.rule.where, f"{outcome.rule} (rules walked by mtaudit)")] if outcome.rule else []
    for criterion, entry in outcome.matched:
        table = criterion.table
        if table is not None and table.name:
            found.append(seen(table.path or table.where, f"{table}: {entry}"))
    return found
