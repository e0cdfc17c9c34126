"""How clients may log in to Exim: which authenticators a session is offered, and whether the ACL for AUTH lets them be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..address import LOOPBACK, contains
from ..control import Evaluate, Site
from ..finding import Finding, notapplicable, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session
from ..readers.exim_lists import Lists, network_of
from ..readers.exim_model import server_side
from .exim_paths import Finder
from .exim_ports import each_listener, option, subject
from .exim_walk import Answer, Walk

PerLoginPort = Callable[[Exim, Listener, Site, Sequence[str]], Iterator[Finding]]

_CLIENTS_LIMIT = 20


def each_port_with_logins(function: PerLoginPort) -> Evaluate:
    """Evaluate a control for every port where strangers may log in, with the authenticators that they may use there."""

    @each_listener
    def evaluate(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
        about = subject(port)
        if not exim.takes_logins:
            yield notapplicable(about, "no login here", "no authenticator has a server side")
            return
        try:
            methods = [offer.name for offer in offers(exim, port, site, tls=True) if usable(exim, offer)]
        except Doubt as exc:
            shown = option(exim, "auth_advertise_hosts")
            yield unknown(about, "whether this port takes logins could not be told", str(exc), shown)
            return
        if methods:
            yield from function(exim, port, site, methods)
        else:
            yield notapplicable(about, "no login here", "no authenticator is offered to strangers on this port")

    return evaluate


@dataclass(frozen=True)
class Offer:
    """An authenticator that a session may use: its name, the mechanism, and the clients (empty: anybody)."""

    name: str
    mechanism: str
    session: Session
    clients: tuple[str, ...] = ()


def offers(exim: Exim, listener: Listener, site: Site, tls: bool) -> list[Offer]:
    """What strangers are offered, and what those are who are named in auth_advertise_hosts. Raises Doubt."""
    found: dict[tuple[str, bool], Offer] = {}
    for session, clients in _sessions(exim, listener, site, tls):
        for name, mechanism in _offered(exim, session):
            if not any(key[0] == name for key in found):
                found[(name, bool(clients))] = Offer(name, mechanism, session, clients)
    return list(found.values())


def usable(exim: Exim, offer: Offer) -> bool:
    """Whether acl_smtp_auth lets the client go on. Raises Doubt."""
    outcome = Walk(exim, offer.session).stage("acl_smtp_auth")
    if outcome.answer is Answer.UNKNOWN:
        raise Doubt(f"acl_smtp_auth: {outcome.doubt}")
    return outcome.answer is Answer.OK


def _sessions(exim: Exim, listener: Listener, site: Site, tls: bool) -> Iterator[tuple[Session, tuple[str, ...]]]:
    finder = Finder(exim, listener, site)
    versions = [{"ipv4": 4, "ipv6": 6}[family] for family in listener.families]
    for version in versions:
        yield finder.session(version, tls=tls), ()
    named = [n for n in map(network_of, exim.flat("hostlist", exim.options.get("auth_advertise_hosts", "*"))) if n is not None]
    for network in named[:_CLIENTS_LIMIT]:
        address = network[min(66, network.num_addresses - 1)]
        if network.version in versions and not contains(LOOPBACK, address):
            yield replace(finder.session(network.version, tls=tls), address=str(address)), (str(network),)


def _offered(exim: Exim, session: Session) -> Iterator[tuple[str, str]]:
    """What is not in the EHLO reply is refused, too: "AUTH command used when not advertised" (tried on 4.96 and 4.98)."""
    known = exim.known()
    expander = Expander(known, session)
    lists = Lists(exim, session, expander)
    expander = Expander(Known(known.variables, known.exists, known.lookup, lists.by_name), session)
    if not Lists(exim, session, expander).hosts(exim.options.get("auth_advertise_hosts", "*")):
        return
    for name, options in exim.config.authenticators.items():
        if server_side(options) and _true(expander, options.get("server_advertise_condition", "yes")):
            yield name, options.get("public_name", name).strip('"').upper()


def _true(expander: Expander, condition: str) -> bool:
    """expand_check_condition(): anything but these words and a failure is true."""
    try:
        return expander.expand(condition).strip().lower() not in ("", "0", "no", "false")
    except ForcedFailure:
        return False
