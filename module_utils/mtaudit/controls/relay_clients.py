"""Whom a path is open to, in few words: what a finding lists as its `clients`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

CLIENTS_LIMIT = 50


def listed_clients(networks: Iterable[str], limit: int = CLIENTS_LIMIT) -> tuple[str, ...]:
    """The same addresses in as few networks as possible; nothing for nothing, which means anybody.

    When more than `limit` remain, the narrow ones are widened until they fit: the result then holds every client that the path
    is open to, and others too. It is made to explain what was seen, never to prove that somebody may relay.
    """
    parsed = [ipaddress.ip_network(network) for network in networks]
    families = [own for own in ([n for n in parsed if n.version == version] for version in (4, 6)) if own]
    return tuple(str(n) for own in families for n in _at_most(own, max(1, limit // len(families))))


def _at_most(networks: Sequence[Any], limit: int) -> list[Any]:
    """One family's networks, none left out, with the longest prefixes that fit the limit."""
    fits, too_long = 0, networks[0].max_prefixlen + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if len(_widened(networks, middle)) <= limit:
            fits = middle
        else:
            too_long = middle
    return _widened(networks, fits)


def _widened(networks: Sequence[Any], longest: int) -> list[Any]:
    wider = {n if n.prefixlen <= longest else n.supernet(new_prefix=longest) for n in networks}
    return list(ipaddress.collapse_addresses(wider))
