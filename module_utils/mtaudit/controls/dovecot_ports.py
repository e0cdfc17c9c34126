"""What controls on Dovecot have in common: going through its ports, settings as evidence, and networks of trusted clients."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from ..address import LOOPBACK, subtract
from ..control import Evaluate, Site
from ..finding import HOST, Evidence, Finding, Method, Subject, notapplicable, passed
from ..readers.dovecot_model import Dovecot, Port, Scope
from ..redact import redact
from ..text import printable

PerPort = Callable[[Dovecot, Port, Site], Iterator[Finding]]


def each_port(function: PerPort) -> Evaluate:
    """Evaluate a control for every port of Dovecot that others can reach."""

    def evaluate(dovecot: Dovecot, site: Site) -> Iterator[Finding]:
        ports = dovecot.ports()
        if not ports:
            yield notapplicable(HOST, "Dovecot listens for nobody", f"no protocol has a port in {dovecot.config_file}")
        for port in ports:
            if port.listener.loopback_only:
                yield passed(subject(port), "only the host itself reaches this port")
            else:
                yield from function(dovecot, port, site)

    return evaluate


def subject(port: Port) -> Subject:
    """What a finding about a port is about."""
    return Subject("listener", port.listener.name)


def setting(scope: Scope, name: str) -> Evidence:
    """A setting with its value, and the filter that it stands in."""
    return Evidence(Method.CONFIG, printable(f"{scope.where} {name}"), printable(redact(scope.value(name))))


def outsiders(networks: str, site: Site) -> tuple[list[str], list[str]]:
    """The networks of a list that reach beyond the host itself and the declared proxies, and the words that are no networks."""
    wide, doubtful = [], []
    for word in networks.replace(",", " ").split():
        try:
            # Host bits that are set are masked, not refused (net_parse_range in lib/net.c).
            network = ipaddress.ip_network(word.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            doubtful.append(word)
            continue
        if subtract(network, (*LOOPBACK, *site.proxies)):
            wide.append(word)
    return wide, doubtful
