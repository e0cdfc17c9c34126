"""What controls on Exim have in common: going through its ports, options and statements as evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..control import Evaluate, Site
from ..finding import HOST, Evidence, Finding, Method, Subject, error, notapplicable, passed
from ..listeners import Listener
from ..readers.exim import Exim
from ..redact import redact
from ..text import printable
from .exim_walk import Outcome

PerListener = Callable[[Exim, Listener, Site], Iterator[Finding]]


def each_listener(function: PerListener) -> Evaluate:
    """Evaluate a control for every port that others can reach."""

    def evaluate(exim: Exim, site: Site) -> Iterator[Finding]:
        if exim.problem:
            yield error(HOST, f"the configuration of Exim ({exim.file}) could not be read", exim.problem)
            return
        if not exim.listeners:
            yield notapplicable(HOST, "Exim listens for no SMTP", f"no port in daemon_smtp_ports of {exim.file}")
        for port in exim.listeners:
            if port.loopback_only:
                yield passed(subject(port), "only the host itself reaches this port")
            else:
                yield from function(exim, port, site)

    return evaluate


def subject(port: Listener) -> Subject:
    """What a finding about a port is about."""
    return Subject("listener", port.name)


def seen(where: str, text: str) -> Evidence:
    """Configuration as evidence."""
    return Evidence(Method.CONFIG, printable(where), printable(redact(text)))


def option(exim: Exim, name: str) -> Evidence:
    """An option with its value and where it was set."""
    return seen(exim.origin(name), f"{name} = {exim.options.get(name, '')}")


def decided(exim: Exim, outcome: Outcome) -> list[Evidence]:
    """The statement that decided, and the lists that it rests on."""
    found = [seen(f"{exim.file} {outcome.statement.where}", str(outcome.statement))] if outcome.statement else []
    for condition, matched in outcome.matched:
        kind = {"hosts": "hostlist", "domains": "domainlist", "sender_domains": "domainlist"}.get(condition.name, "")
        text = exim.config.lists.get((kind, matched.within))
        if text is not None:
            found.append(seen(exim.origin(matched.within), f"{kind} {matched.within} = {text}"))
    return found
