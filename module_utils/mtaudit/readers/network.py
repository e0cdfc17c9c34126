"""Read the host's addresses, networks and default gateways from /proc: no spawn.

The formats are those of proc_net(5) and of the kernel's net/ipv4/fib_trie.c and net/ipv6/route.c.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from ..address import LOOPBACK, Address, Network, contains
from ..runner import ReadError, Runner

_GATEWAY_FLAG = 0x2  # RTF_GATEWAY
_UP_FLAG = 0x1  # RTF_UP
_LISTEN = "0A"  # TCP_LISTEN


@dataclass(frozen=True)
class HostNetwork:
    """Where the host stands: its own addresses, the networks on its links, the next hops of its default routes."""

    addresses: tuple[Address, ...]
    links: tuple[Network, ...]
    gateways: tuple[Address, ...]


def read(runner: Runner) -> HostNetwork:
    """Raises ReadError when IPv4 routing cannot be read; a host without IPv6 has none of those files."""
    route4 = runner.read("/proc/net/route")
    trie = runner.read("/proc/net/fib_trie")
    return parse(route4, trie, _optional(runner, "/proc/net/ipv6_route"), _optional(runner, "/proc/net/if_inet6"))


def listening(runner: Runner) -> dict[tuple[Address, int], tuple[str, str]]:
    """The addresses and TCP ports that something listens on, whatever it is, with the socket's uid and inode (proc_net_tcp)."""
    found: dict[tuple[Address, int], tuple[str, str]] = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _optional(runner, path).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                found[(_socket_address(address), int(port, 16))] = (fields[7], fields[9]) if len(fields) > 9 else ("", "")
    return found


def interfaces(runner: Runner) -> dict[str, tuple[Address, ...]]:
    """The addresses of each interface, by its name: those of a route's own network, and what if_inet6 lists but for link-local
    ones; `lo` is loopback."""
    own = _addresses4(_optional(runner, "/proc/net/fib_trie"))
    found: dict[str, list[Address]] = {}
    for line in _optional(runner, "/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 8 and not int(fields[3], 16) & _GATEWAY_FLAG and int(fields[7], 16):
            link = ipaddress.ip_network(f"{_ipv4(fields[1])}/{_ipv4(fields[7])}", strict=False)
            found.setdefault(fields[0], []).extend(address for address in own if contains([link], address))
    for line in _optional(runner, "/proc/net/if_inet6").splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5] != "lo" and not _ipv6(fields[0]).is_link_local:
            found.setdefault(fields[5], []).append(_ipv6(fields[0]))
    found["lo"] = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    return {name: tuple(dict.fromkeys(addresses)) for name, addresses in found.items()}


def _socket_address(hexadecimal: str) -> Address:
    """Four bytes at a time in host byte order, for both families (proc_net_tcp)."""
    words = [hexadecimal[i : i + 8] for i in range(0, len(hexadecimal), 8)]
    return ipaddress.ip_address(b"".join(struct.pack("=I", int(word, 16)) for word in words))


def _optional(runner: Runner, path: str) -> str:
    try:
        return runner.read(path)
    except ReadError:
        return ""


def parse(route4: str, fib_trie: str, route6: str, if_inet6: str) -> HostNetwork:
    """The four files' texts in; loopback and link-local addresses are left out."""
    links4, gateways4 = _routes4(route4)
    links6, gateways6 = _routes6(route6)
    addresses = [*_addresses4(fib_trie), *_addresses6(if_inet6)]
    return HostNetwork(
        addresses=tuple(a for a in addresses if not contains(LOOPBACK, a) and not a.is_link_local),
        links=tuple(links4 + links6),
        gateways=tuple(gateways4 + gateways6),
    )


def _routes4(text: str) -> tuple[list[Network], list[Address]]:
    links: list[Network] = []
    gateways: list[Address] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or not int(fields[3], 16) & _UP_FLAG:
            continue
        destination, gateway, mask = (_ipv4(fields[i]) for i in (1, 2, 7))
        if int(fields[3], 16) & _GATEWAY_FLAG:
            if int(mask) == 0:
                gateways.append(gateway)
        elif int(mask):
            links.append(ipaddress.ip_network(f"{destination}/{mask}"))
    return links, gateways


def _ipv4(hexadecimal: str) -> ipaddress.IPv4Address:
    # The kernel prints the number in host byte order.
    return ipaddress.IPv4Address(struct.pack("=I", int(hexadecimal, 16)))


def _routes6(text: str) -> tuple[list[Network], list[Address]]:
    links: list[Network] = []
    gateways: list[Address] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[9] == "lo":
            continue
        flags = int(fields[8], 16)
        prefix = int(fields[1], 16)
        if flags & _GATEWAY_FLAG:
            if prefix == 0:
                gateways.append(_ipv6(fields[4]))
        elif 0 < prefix < 128:
            network = ipaddress.IPv6Network((int(fields[0], 16), prefix))
            if not network.is_link_local and not network.is_multicast:
                links.append(network)
    return links, gateways


def _ipv6(hexadecimal: str) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(bytes.fromhex(hexadecimal))


def _addresses4(fib_trie: str) -> list[Address]:
    # "|-- 198.51.100.41" followed by "/32 host LOCAL"; the same address stands in the table Main and Local.
    found: dict[Address, None] = {}
    for match in re.finditer(r"\|-- (\S+)\n\s+/32 host LOCAL", fib_trie):
        found[ipaddress.IPv4Address(match.group(1))] = None
    return list(found)


def _addresses6(if_inet6: str) -> list[Address]:
    return [_ipv6(line.split()[0]) for line in if_inet6.splitlines() if line.strip()]


