"""How clients may log in to Exim: which authenticators a session is offered, and whether the ACL for AUTH lets them be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Union

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
from .exim_walk import Answer, Outcome, Walk, all_of
from .senders import NOBODY

PerLoginPort = Callable[[Exim, Listener, Site, Sequence[str]], Iterator[Finding]]

# The ACLs after RCPT; what the stages before decide, Walk.outcome() tells.
_LATER = ("acl_smtp_predata", "acl_smtp_data")
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+")
_TRIED_LIMIT = 10
_CLIENTS_LIMIT = 20


def each_port_with_logins(function: PerLoginPort) -> Evaluate:
    """Evaluate a control for every port where strangers may log in, with the authenticators that they may use there."""

    @each_listener
    def evaluate(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
        found = methods(exim, port, site)
        if isinstance(found, Finding):
            yield found
        else:
            yield from function(exim, port, site, found)

    return evaluate


def methods(exim: Exim, port: Listener, site: Site) -> Union[list[str], Finding]:
    """The authenticators that strangers may use on a port, at least one; else what to say of it."""
    about = subject(port)
    if not exim.takes_logins:
        return notapplicable(about, "no login here", "no authenticator has a server side")
    try:
        found = [offer.name for offer in offers(exim, port, site, tls=True) if usable(exim, offer)]
    except Doubt as exc:
        shown = option(exim, "auth_advertise_hosts")
        return unknown(about, "whether this port takes logins could not be told", str(exc), shown)
    return found or notapplicable(about, "no login here", "no authenticator is offered to strangers on this port")


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


def sending(exim: Exim, port: Listener, site: Site, method: str) -> Iterator[Session]:
    """Sessions of logins whose mail to strangers is taken as long as they send little; else those of which that is not known."""
    finder = Finder(exim, port, site)
    doubtful: list[Session] = []
    pairs = list(_owners(exim))[:_TRIED_LIMIT]
    pairs += [(login, f"{NOBODY}@{d}") for d in finder.local_domains[:_TRIED_LIMIT] for login in (NOBODY, f"{NOBODY}@{d}")]
    for login, sender in pairs:
        session = finder.session(tls=True, login=login, method=method, sender=sender)
        answer = finder.outcome(session).answer
        if answer is Answer.OK:
            yield session
        elif answer is Answer.UNKNOWN:
            doubtful.append(session)
    yield from doubtful


def _owners(exim: Exim) -> Iterator[tuple[str, str]]:
    """Logins with addresses of their own, by the tables that ACLs look senders up in."""
    for table in exim.tables.values():
        if not table.problem:
            for key, value in table.entries("lsearch"):
                names = re.findall(r"[^\s:,]+", value)
                if _ADDRESS.fullmatch(key) and names:
                    yield names[0], key


def taken(walk: Walk) -> Outcome:
    """What becomes of the message."""
    return all_of([walk.outcome(), *(walk.stage(name) for name in _LATER)])


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
