"""What controls on Sendmail have in common: going through its ports, and the lines of its configuration as evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..control import Evaluate, Site
from ..finding import HOST, Evidence, Finding, Method, Subject, error, notapplicable, passed
from ..listeners import Listener
from ..readers.sendmail import Sendmail
from ..readers.sendmail_ask import Told
from ..redact import redact
from ..text import printable

PerListener = Callable[[Sendmail, Listener, Site], Iterator[Finding]]


@dataclass(frozen=True)
class Because:
    """What lets a session through: where it is written, what stands there, and what Sendmail answered."""

    where: str
    text: str
    said: str = ""

    def __str__(self) -> str:
        return self.text


def each_listener(function: PerListener) -> Evaluate:
    """Evaluate a control for every port that others can reach."""

    def evaluate(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
        if sendmail.problem:
            yield error(HOST, f"the configuration of Sendmail ({sendmail.file}) could not be read", sendmail.problem)
            return
        if not sendmail.listeners:
            yield notapplicable(HOST, "Sendmail listens for no SMTP", f"no port in DaemonPortOptions of {sendmail.file}")
        for port in sendmail.listeners:
            if port.loopback_only:
                yield passed(subject(port), "only the host itself reaches this port")
            else:
                yield from function(sendmail, port, site)

    return evaluate


def subject(port: Listener) -> Subject:
    """What a finding about a port is about."""
    return Subject("listener", port.name)


def seen(where: str, text: str) -> Evidence:
    """Configuration as evidence."""
    return Evidence(Method.CONFIG, printable(where), printable(redact(text)))


def decided(because: Because) -> list[Evidence]:
    """What is written, and what Sendmail makes of it."""
    found = [seen(because.where, because.text)]
    return [*found, seen("sendmail -bt", because.said)] if because.said else found


def answer(told: Told) -> str:
    """What Sendmail answered, in a line."""
    by = f" ({told.ruleset}{' looked up ' + told.key if told.key else ''})" if told.ruleset else ""
    return f"check_rcpt returns {told.said}{by}" if told.said else told.reason
