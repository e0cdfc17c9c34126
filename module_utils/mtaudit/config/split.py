"""What is wanted of two queues, whatever the program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from ..address import is_address
from .files import Candidate, ConfigError


@dataclass(frozen=True)
class Split:
    """How to part one. `instance` is the name of the outbound one. `outbound_port` and `inbound_port` are where the sides take
    each other's mail, on the loopback, or from the addresses `other` of the hosts of the other side. `listen` is where clients
    may send without a login, as `address:port`; `networks` who, None for those that may now. `inbound_addresses` are those that
    strangers' mail comes to; empty: as now. `acknowledged`: whoever comes to a host for the side that it loses has somewhere
    else to go."""

    instance: str = ""
    outbound_port: int = 10587
    inbound_port: int = 10588
    listen: tuple[str, ...] = ()
    networks: Optional[tuple[str, ...]] = None
    inbound_addresses: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    acknowledged: bool = False


@dataclass(frozen=True)
class Instances:
    """Both candidates; the directories of the configuration and of the queue of the outbound one."""

    inbound: Candidate
    outbound: Candidate
    directory: str
    queue: str
    warnings: tuple[str, ...] = ()


def refuse_clients(title: str, clients: Sequence[str], ports: Iterable[tuple[str, str, int]], wanted: Split) -> None:
    """Raises ConfigError for clients that would be cut off, and for a place to listen that the inbound side has; `ports` of that
    are each a listener's name, address and number."""
    if clients and not wanted.listen:
        raise ConfigError(f"Could not part {title}: {', '.join(clients[:3])} may send without a login, and port 25 will not take "
                          "that; say in `listen` where the outbound instance shall, or in `networks` that nobody may")
    inbound = [address.strip("[]") for address in wanted.inbound_addresses]
    for where in wanted.listen:
        bind, number = address_and_port(title, where)
        taken = [name for name, other, port in ports if port == number and other in (bind, "*")]
        if taken and (not inbound or bind in inbound):
            raise ConfigError(f"Could not part {title}: the inbound instance listens on {taken[0]}, so the outbound one cannot "
                              f"on {where}; give each addresses of its own (`inbound_addresses`)")


def address_and_port(title: str, where: str) -> tuple[str, int]:
    """Of `198.51.100.42:25` or `[2001:db8::42]:25`. Raises ConfigError."""
    bind, _, number = where.rpartition(":")
    if not number.isdigit() or not bind:
        raise ConfigError(f"Could not part {title}: {where!r} is no address:port")
    return bind.strip("[]"), int(number)


def refuse_loss(lost: Sequence[str], wanted: Split) -> None:
    """Raises ConfigError where a host would be left with one side alone that nobody is ready for: `lost` is what it would take no
    more."""
    wrong = [address for address in wanted.other if not is_address(address)]
    if wrong or not wanted.other:
        raise ConfigError(f"Could not leave one side alone: give the addresses of the hosts of the other, not {wrong or 'none'}")
    if lost and not wanted.acknowledged:
        raise ConfigError(f"Could not leave one side alone: this host would take no more of {', '.join(lost)}. See that it goes "
                          "to the other hosts, then set mta_relay_split_acknowledged")
