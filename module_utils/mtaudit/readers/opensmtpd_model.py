"""What an OpenSMTPD is configured to do: its rules and listeners, and what these are called from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..address import LOOPBACK, Address, Network, contains, parse_address
from ..listeners import Listener
from .opensmtpd_syntax import Config, Criterion, Listen, Rule
from .opensmtpd_tables import Doubt, network_of

# Names of services(5) that mail uses.
PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "urd": 465, "submission": 587}
_ANY = {"0.0.0.0": "ipv4", "::": "ipv6"}


@dataclass(frozen=True)
class Port:
    """A `listen on` line and where it takes connections: addresses, of which 0.0.0.0 and :: stand for all."""

    listen: Listen
    number: int
    addresses: tuple[str, ...]

    @property
    def tls_wrapper(self) -> bool:
        return self.listen.tls == "smtps"


@dataclass(eq=False)
class OpenSmtpd:
    """One configuration in use. `hostname` is what the host calls itself in mail; `running`: a daemon was started with `file`.

    `command` holds the options of that daemon; `stale` names a file that was changed after it, which reads files only once, had
    been started.
    """

    file: str
    config: Config = field(default_factory=Config)
    version: str = ""
    hostname: str = ""
    addresses: tuple[Address, ...] = ()
    interfaces: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    listening: tuple[tuple[Address, int], ...] = ()
    command: tuple[str, ...] = ()
    running: bool = False
    stale: str = ""
    problem: str = ""
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def ports(self) -> tuple[Port, ...]:
        """Where mail is taken from the network."""
        if "ports" not in self.memo:
            self.memo["ports"] = tuple(_ports(self))
        found: tuple[Port, ...] = self.memo["ports"]
        return found

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The same as others know them: one for all addresses of a port, one for each single address."""
        return tuple(_listeners(self.ports))

    def ports_of(self, listener: Listener) -> list[tuple[Port, int]]:
        """The lines behind a listener, each with the IP version that it serves there."""
        found = []
        for port in self.ports:
            for address in port.addresses if port.number == listener.port else ():
                family = _ANY.get(address)
                if listener.bind == ("*" if family else address):
                    found.append((port, 6 if ":" in address else 4))
        return found

    @property
    def local_names(self) -> list[str]:
        """What `for local` means: localhost, the host's own name and its addresses (config.c, set_local)."""
        return ["localhost", self.hostname, *(str(a) for a in self.addresses), *(f"[{a}]" for a in self.addresses)]

    @property
    def own_addresses(self) -> list[Network]:
        """What `from local` means on the network: every address of the host."""
        return [*(network_of(str(a)) for a in self.addresses), *LOOPBACK]  # type: ignore[list-item]

    @property
    def local_domains(self) -> list[str]:
        """The domains whose mail is delivered here, by the rules for clients elsewhere."""
        names = [name for rule in self._for_strangers(relays=False) for name in domains_of(rule.criterion("for"))]
        names += [self.hostname] if any(r.criterion("for").scope == "local" for r in self._for_strangers(False)) else []  # type: ignore[union-attr]
        return [name for name in dict.fromkeys(names) if name and not re.search(r"[*^$\[]", name)]

    @property
    def relayed_domains(self) -> list[str]:
        """The domains whose mail is passed on for everybody."""
        names = [name for rule in self._for_strangers(relays=True) for name in domains_of(rule.criterion("for"))]
        return [name for name in dict.fromkeys(names) if name and not re.search(r"[*^$\[]", name)]

    def _for_strangers(self, relays: bool) -> Iterator[Rule]:
        for rule in self.config.rules:
            source, login = rule.criterion("from"), rule.criterion("auth")
            if source is None or source.scope in ("local", "socket") or login is not None and not login.negated:
                continue
            action = self.config.actions.get(rule.action)
            if action is not None and action.relays is relays:
                yield rule

    @property
    def trusted(self) -> list[Network]:
        """The networks that `from src` names in rules that relay for any domain without a login."""
        found = []
        for rule in self._for_strangers(relays=True):
            source, destination = rule.criterion("from"), rule.criterion("for")
            if source is None or source.negated or source.table is None or source.regex or source.scope != "src":
                continue
            if destination is not None and destination.scope == "any":
                found += networks_of(source)
        return list(dict.fromkeys(found))


def domains_of(criterion: Optional[Criterion]) -> list[str]:
    """The domains that `for domain` lists; none where a table is not known or negated, or holds patterns."""
    if criterion is None or criterion.scope != "domain" or criterion.negated or criterion.regex or criterion.table is None:
        return []
    return _keys(criterion)


def networks_of(criterion: Criterion) -> list[Network]:
    """The networks of a criterion's table that can be read."""
    return [network for network in map(network_of, _keys(criterion)) if network is not None]


def _keys(criterion: Criterion) -> list[str]:
    try:
        return criterion.table.keys if criterion.table is not None else []
    except Doubt:
        return []


def _ports(smtpd: OpenSmtpd) -> Iterator[Port]:
    listens = [listen for listen in smtpd.config.listens if listen.on != "socket"]
    numbers = [_number(listen) for listen in listens]
    literal = {(address, number) for listen, number in zip(listens, numbers) for address in _literal(smtpd, listen)}
    for listen, number in zip(listens, numbers):
        # A host name: what the kernel says about this port, and no other line explains.
        addresses = _literal(smtpd, listen) or [
            str(address) for address, bound in smtpd.listening if bound == number and (str(address), number) not in literal
        ]
        usable = [a for a in addresses if not listen.family or (":" in a) is (listen.family == "ipv6")]
        if usable:
            yield Port(listen, number, tuple(dict.fromkeys(usable)))


def _number(listen: Listen) -> int:
    if listen.port:
        return int(listen.port) if re.fullmatch(r"[0-9]{1,5}", listen.port) else PORTS.get(listen.port, 0)
    return 465 if listen.tls == "smtps" else 25


def _literal(smtpd: OpenSmtpd, listen: Listen) -> list[str]:
    """The addresses that the line names: one of its own, those of an interface, or those of localhost."""
    if listen.on in smtpd.interfaces:
        return [str(address) for address in smtpd.interfaces[listen.on]]
    if listen.on == "localhost":
        return ["127.0.0.1", "::1"]
    try:
        return [str(parse_address(listen.on))]
    except ValueError:
        return []


def _listeners(ports: Iterable[Port]) -> Iterator[Listener]:
    by_number: dict[int, list[tuple[str, Port]]] = {}
    for port in ports:
        by_number.setdefault(port.number, []).extend((address, port) for address in port.addresses)
    for number, bound in sorted(by_number.items()):
        everywhere = [(address, port) for address, port in bound if address in _ANY]
        if everywhere:
            families = tuple(family for any_, family in _ANY.items() if any_ in [address for address, _ in everywhere])
            yield Listener(number, "*", families, "smtpd", any(port.tls_wrapper for _, port in everywhere))
        for address, port in {address: (address, port) for address, port in bound if address not in _ANY}.values():
            family = ("ipv6",) if ":" in address else ("ipv4",)
            loopback = contains(LOOPBACK, parse_address(address))
            yield Listener(number, address, family, "smtpd", port.tls_wrapper, loopback)
