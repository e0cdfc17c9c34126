"""Control on devices in front: does the server see the client's own address? Judged by what its log says of our own sessions."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from ..address import LOOPBACK, Address, Network, contains, parse_address
from ..finding import Evidence, Finding, Method, Status, Subject
from ..logs.outcome import LoggedClient, Trace

CONTROL = "RELAY-08"


@dataclass(frozen=True)
class Connection:
    """One session of a vantage: the token it carried, the listener it was for, and the addresses it may truly have come from."""

    token: str
    listener: str
    vantage: str
    sources: tuple[Address, ...]


@dataclass(frozen=True)
class Surroundings:
    """What stands near a host: its own addresses, its gateways, its declared proxies, and the networks its mail server trusts."""

    own: tuple[Address, ...] = ()
    gateways: tuple[Address, ...] = ()
    proxies: tuple[Network, ...] = ()
    mynetworks: tuple[Network, ...] = field(default=())


def source_truth(
    connections: Iterable[Connection], traces: Iterable[Trace], here: Surroundings, reason: str = ""
) -> Iterator[Finding]:
    """One finding for each listener that a vantage connected to; `reason` says why traces are missing from the log."""
    by_token = {trace.token: trace for trace in traces}
    by_listener: dict[str, list[Connection]] = {}
    for connection in connections:
        by_listener.setdefault(connection.listener, []).append(connection)
    for sessions in by_listener.values():
        judged = [(s.vantage, *_judge(s, by_token.get(s.token, Trace(s.token)), here, reason)) for s in sessions]
        yield _decisive(judged)


class _Weight(IntEnum):
    """How much one session says about its listener, most first."""

    HIDDEN = 1  # the server takes the client for something near the host: proof
    ANOTHER = 2  # it logged an address that is neither the client's nor known: no session that went well explains it away
    OWN = 3
    NO_TRACE = 4


def _decisive(judged: Sequence[tuple[str, _Weight, Finding]]) -> Finding:
    """The session that counts. What a neighbour saw says nothing about strangers, whose way leads through other devices."""
    heaviest = min(judged, key=lambda session: session[1])
    strangers = [session for session in judged if session[0] == "stranger"]
    if strangers and heaviest[1] >= _Weight.OWN:
        heaviest = min(strangers, key=lambda session: session[1])
    return heaviest[2]


def _judge(session: Connection, trace: Trace, here: Surroundings, reason: str) -> tuple[_Weight, Finding]:
    """One session: the true source against every client that the server logged for it."""
    if not trace.clients:
        return _Weight.NO_TRACE, _unknown(session, trace, reason or "the log has no line with this session's token")
    hidden = [client for client in trace.clients if _address(client) not in session.sources]
    if not hidden:
        message = f"The server sees clients by their own address: it logged {_shown(trace.clients)}"
        return _Weight.OWN, _finding(session, trace, Status.PASS, message)
    for client in hidden:
        if contains(LOOPBACK, _address(client)) and not client.refused and trace.before_queue_filter:
            why = "the message came back from a filter on the host, whose first session logs no token"
            return _Weight.NO_TRACE, _unknown(session, trace, why)
        seen = _seen_as(_address(client), here)
        if seen:
            truly = " or ".join(str(a) for a in session.sources)
            message = f"A client from {truly} reaches the server as {client.address}: {seen}"
            return _Weight.HIDDEN, _finding(session, trace, Status.FAIL, message)
    why = f"the server logged {_shown(hidden)}: if the vantage's own network translates addresses, declare the one it leaves with"
    return _Weight.ANOTHER, _unknown(session, trace, why)


def _seen_as(address: Address, here: Surroundings) -> str:
    """What hides behind an address that is not the client's own, and what to strip; empty when nothing near the host has it."""
    ranges = [str(network) for network in here.mynetworks if contains([network], address)]
    if ranges:
        trusted = ", ".join(ranges)
        return f"the server trusts it by {trusted}, so all who come that way may relay; take it out of its trusted networks"
    who = ""
    if address in here.own or contains(LOOPBACK, address):
        who = "a proxy on the host itself"
    elif address in here.gateways:
        who = "the gateway"
    elif contains(here.proxies, address):
        who = "a declared proxy"
    return f"{who} hides who connects, so address checks see one client; never trust {address}" if who else ""


def _address(client: LoggedClient) -> Address:
    """The logged address; IPv4 in IPv6's clothes counts as IPv4. What is no address ("unknown") is nobody's: `::`."""
    try:
        address = parse_address(client.address)
    except ValueError:
        return ipaddress.IPv6Address(0)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _shown(clients: Sequence[LoggedClient]) -> str:
    return ", ".join(dict.fromkeys(client.address for client in clients))


def _unknown(session: Connection, trace: Trace, reason: str) -> Finding:
    message = "Not known whether the server sees clients by their own address"
    return _finding(session, trace, Status.UNKNOWN, message, reason)


def _finding(session: Connection, trace: Trace, status: Status, message: str, reason: str = "") -> Finding:
    evidence = tuple(Evidence(Method.LOG, f"mail log, token {session.token}", line) for line in trace.lines[:2])
    return Finding(CONTROL, Subject("listener", session.listener), status, message, Method.LOG, evidence, (), reason)
