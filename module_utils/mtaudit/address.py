"""Address ranges and what they mean: sets of networks, and which addresses strangers can have.

The ranges are written out here. `ipaddress.is_private` and `is_global` change with the Python version and call the
documentation ranges private, which a test internet uses as if they were public.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# Addresses that no stranger on the Internet can have as the source of a TCP connection.
LOOPBACK = tuple(ipaddress.ip_network(n) for n in ("127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104"))
NOT_ROUTED = LOOPBACK + tuple(
    ipaddress.ip_network(n)
    for n in (
        "0.0.0.0/8",  # "this network", RFC 1122 3.2.1.3
        "10.0.0.0/8",  # RFC 1918
        "100.64.0.0/10",  # shared address space of carriers, RFC 6598
        "169.254.0.0/16",  # link-local, RFC 3927
        "172.16.0.0/12",  # RFC 1918
        "192.168.0.0/16",  # RFC 1918
        "224.0.0.0/3",  # multicast RFC 5771, reserved RFC 1112
        "::/128",
        "::ffff:0:0/96",  # IPv4 in IPv6's clothes, RFC 4291 2.5.5.2: a connection from there has an IPv4 address
        "fc00::/7",  # unique local, RFC 4193
        "fe80::/10",  # link-local, RFC 4291
        "ff00::/8",  # multicast, RFC 4291
    )
)

# Documentation addresses (RFC 5737, 3849, 9637): nobody has them, so no mail can go there and no site means them in particular.
NOBODYS = tuple(
    ipaddress.ip_address(a)
    for a in ("192.0.2.66", "203.0.113.66", "198.51.100.66", "2001:db8:ffff::66", "3fff:fff::66")
)


def parse_network(text: str) -> Network:
    """`198.51.100.0/24`, `2001:db8::/32`, Postfix's `[2001:db8::]/32` or a single address. Raises ValueError."""
    cleaned = text.strip()
    if cleaned.startswith("["):
        inside, closing, rest = cleaned[1:].partition("]")
        if not closing:
            raise ValueError(f"'{text}' has no closing bracket")
        cleaned = inside + rest
    return ipaddress.ip_network(cleaned, strict=True)


def parse_address(text: str) -> Address:
    """An address with or without Postfix's brackets or the `IPv6:` tag of RFC 5321 4.1.3. Raises ValueError."""
    cleaned = text.strip().strip("[]")
    if cleaned.lower().startswith("ipv6:"):
        cleaned = cleaned[5:]
    return ipaddress.ip_address(cleaned)


def is_address(text: str) -> bool:
    """Whether the text is an address, as `parse_address` reads them."""
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def subtract(network: Network, holes: Iterable[Network]) -> list[Network]:
    """The parts of `network` that lie in none of `holes`, smallest list of prefixes, in order."""
    parts: list[Network] = [network]
    for hole in holes:
        remaining: list[Network] = []
        for part in parts:
            if part.version != hole.version or not part.overlaps(hole):
                remaining.append(part)
            elif part.prefixlen < hole.prefixlen:
                remaining.extend(part.address_exclude(hole))  # type: ignore[arg-type]
        parts = remaining
    return sorted(parts, key=lambda n: (n.version, int(n.network_address)))


def contains(networks: Iterable[Network], address: Address) -> bool:
    """Whether one of the networks holds the address."""
    return any(address.version == n.version and address in n for n in networks)


def routed_parts(network: Network, allowed: Iterable[Network] = ()) -> list[Network]:
    """The parts of `network` that strangers can have as their address and that are not in `allowed`."""
    return subtract(network, [*NOT_ROUTED, *allowed])
