"""Whom a simulation pretends to be, and which envelopes it tries."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..address import NOBODYS, Address, Network, contains, routed_parts
from ..smtp.battery import Hole

LOCALHOST = ipaddress.ip_address("127.0.0.1")
MAX_CLIENTS = 20
MAX_RANGES = 4

# For a site that declares no canary: names that cannot exist (RFC 6761 6.4), in case anything is ever looked up.
FOREIGN_RECIPIENT = "canary@mtaudit.invalid"
FOREIGN_SENDER = "probe@mtaudit.invalid"


@dataclass(frozen=True)
class Declared:
    """What a site declares for its simulations.

    `recipient` is the canary and `sender` the probe's; where it declares neither, names are used that cannot exist.
    `known_recipient` is a mailbox of the host. Policy services are asked only where that is allowed.
    """

    recipient: str = FOREIGN_RECIPIENT
    sender: str = FOREIGN_SENDER
    known_recipient: str = ""
    contact_policy_services: bool = False


@dataclass(frozen=True)
class Client:
    """A client that is not there: `vantage` is stranger, neighbour, gateway or local.

    `network` is set when the address stands for a range of the configuration (`0.0.0.0/1`) instead of for everybody.
    """

    vantage: str
    address: Address
    network: str = ""

    @property
    def conditions(self) -> tuple[str, ...]:
        """What it takes to be this client; nothing for a stranger over IPv4."""
        return tuple(
            word
            for word, holds in (
                (self.vantage, self.vantage != "stranger"),
                (f"network:{self.network}", bool(self.network)),
                ("ipv6", self.address.version == 6),
            )
            if holds
        )

    def __str__(self) -> str:
        return f"{self.vantage} {self.address}"


@dataclass(frozen=True)
class Envelope:
    """HELO name, sender and recipient; `condition` names the trick, and is empty for the plain foreign envelope.

    `at_local_domain`: the recipient's domain is delivered on the host itself, which may take the trick for a mailbox's name.
    """

    hole: Hole
    condition: str
    helo: str
    sender: str
    recipient: str
    at_local_domain: bool = False

    def __str__(self) -> str:
        return f"EHLO {self.helo}, MAIL FROM:<{self.sender}>, RCPT TO:<{self.recipient}>"


def clients(
    own: Iterable[Address],
    links: Iterable[Network],
    gateways: Iterable[Address],
    trusted: Iterable[Network] = (),
    mynetworks: Iterable[Network] = (),
) -> list[Client]:
    """A stranger of each family, a neighbour on each link, each gateway, localhost.

    `own`, `links` and `gateways` are the host's; whom the site declares as `trusted` is left out, because relaying for them is
    no hole. Each range of `mynetworks` that strangers can have and that holds none of these strangers adds a client of its own: a
    range of half the Internet must not be missed because the one stranger asked is in the other half.
    """
    own, links, gateways, trusted = tuple(own), tuple(links), tuple(gateways), tuple(trusted)
    found = list(_strangers((*links, *trusted)))
    for link in links:
        address = _neighbour(link, (*own, *gateways), trusted)
        if address is not None:
            found.append(Client("neighbour", address))
    found += [Client("gateway", g) for g in gateways if not contains(trusted, g)]
    found += list(_in_ranges(mynetworks, found, (*links, *trusted)))
    return [*found[: MAX_CLIENTS - 1], Client("local", LOCALHOST)]


def _in_ranges(mynetworks: Iterable[Network], known: Sequence[Client], near: Sequence[Network]) -> Iterator[Client]:
    """A client in each of the widest ranges that no stranger of `known` is in."""
    strangers = [client.address for client in known if client.vantage == "stranger"]
    missed = [network for network in mynetworks if not any(contains([network], address) for address in strangers)]
    for network in sorted(missed, key=lambda n: n.prefixlen)[:MAX_RANGES]:
        yield from (Client("stranger", _member(part), str(network)) for part in routed_parts(network, near)[:1])


def _strangers(not_in: Sequence[Network]) -> Iterator[Client]:
    for version in (4, 6):
        free = [a for a in NOBODYS if a.version == version and not contains(not_in, a)]
        yield from (Client("stranger", address) for address in free[:1])


def _neighbour(link: Network, taken: Sequence[Address], trusted: Sequence[Network]) -> Optional[Address]:
    """The highest host address of the link that is not taken; None on a point-to-point link or when all are trusted."""
    first, last = int(link.network_address) + 1, int(link.broadcast_address) - 1
    for number in range(last, max(first, last - 16) - 1, -1):
        address = ipaddress.ip_address(_packed(number, link.version))
        if address not in taken and not contains(trusted, address):
            return address
    return None


def _member(network: Network) -> Address:
    """An address within the network that is not its first."""
    return ipaddress.ip_address(_packed(int(network.network_address) + min(66, network.num_addresses - 1), network.version))


def _packed(number: int, version: int) -> bytes:
    return number.to_bytes(4 if version == 4 else 16, "big")


def envelopes(
    declared: Declared, local_domains: Sequence[str], relay_domains: Sequence[str] = (), to_local: bool = False
) -> list[Envelope]:
    """The forms to try with the declared recipient and sender, both foreign.

    Routing tricks are tried at the first local domain and at the first domain that is relayed for. A spoofed sender is the known
    recipient where the site declares one, else postmaster, whom RFC 5321 4.5.1 requires; with `to_local` it is also tried towards
    the known recipient.
    """
    recipient, sender, known_recipient = declared.recipient, declared.sender, declared.known_recipient
    helo = sender.rpartition("@")[2]
    found = [Envelope(Hole.PLAIN, "", helo, sender, recipient), Envelope(Hole.PLAIN, "null_sender", helo, "", recipient)]
    for domain in local_domains[:1]:
        spoofed = known_recipient or f"postmaster@{domain}"
        found.append(Envelope(Hole.PLAIN, "helo_local", domain, sender, recipient))
        found.append(Envelope(Hole.LOCAL_SENDER, "local_sender", helo, spoofed, recipient))
        if to_local and known_recipient:
            found.append(Envelope(Hole.LOCAL_SENDER, "local_recipient", helo, spoofed, known_recipient))
    for domain in dict.fromkeys([*local_domains[:1], *relay_domains[:1]]):
        local = domain in local_domains
        found += [Envelope(Hole.ROUTING, trick, helo, sender, to, local) for trick, to in _tricks(recipient, domain)]
    return found


def _tricks(recipient: str, domain: str) -> Iterator[tuple[str, str]]:
    """Ways to write `recipient` as an address at `domain` (RFC 5321 appendix F.2, RFC 1123 5.2.16)."""
    mailbox, _, foreign = recipient.rpartition("@")
    yield "percent", f"{mailbox}%{foreign}@{domain}"
    yield "bang", f"{foreign}!{mailbox}@{domain}"
    yield "quoted", f'"{recipient}"@{domain}'
    yield "source_route", f"@{domain}:{recipient}"


def for_client(client: Client, all_envelopes: Iterable[Envelope]) -> list[Envelope]:
    """A stranger tries everything; for the others the question is only whether their address opens the plain envelope."""
    if client.vantage == "stranger":
        return list(all_envelopes)
    return [e for e in all_envelopes if e.hole is Hole.PLAIN and e.condition in ("", "null_sender")]
