"""What controls on Postfix have in common: going through its ports, and parameters as evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..control import Evaluate, Site
from ..finding import HOST, Evidence, Finding, Method, Subject, error, notapplicable, passed
from ..readers.postfix import Postfix, Service, SmtpService
from ..redact import redact
from ..text import printable
from .relay_down import why_down

PerService = Callable[[SmtpService, Site], Iterator[Finding]]


def each_listener(function: PerService) -> Evaluate:
    """Evaluate a control for every SMTP port that others can reach and that works."""

    def evaluate(postfix: Postfix, site: Site) -> Iterator[Finding]:
        if postfix.problem:
            yield error(HOST, f"the configuration in {postfix.config_directory} could not be read", postfix.problem)
            return
        services = postfix.smtp_services()
        if not services:
            reason = f"no smtpd or postscreen service in {postfix.config_directory}"
            yield notapplicable(HOST, "Postfix listens for no SMTP", reason)
        for smtp in services:
            if smtp.loopback_only:
                yield passed(listener(smtp), "only the host itself reaches this port")
            elif why_down(smtp.smtpd):
                yield notapplicable(listener(smtp), "smtpd does not start", f"service down, not open: {why_down(smtp.smtpd)}")
            else:
                yield from function(smtp, site)

    return evaluate


def listener(smtp: SmtpService) -> Subject:
    """What a finding about a port is about."""
    return Subject("listener", smtp.listener)


def seen(where: str, text: str) -> Evidence:
    """Configuration as evidence."""
    return Evidence(Method.CONFIG, printable(where), printable(redact(text)))


def setting(service: Service, name: str) -> Evidence:
    """A parameter with its value and where it was set."""
    return seen(service.origin(name), service.value(name))
