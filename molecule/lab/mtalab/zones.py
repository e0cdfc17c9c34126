"""Make the lab's DNS zones, forward and reverse, from its configuration: text of zone files out."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator

from mtalab.config import Address, Config

CLONE_NETWORKS = ("inet", "lan")


def clone_name(network: str, number: int) -> str:
    """The name in DNS of a clone's address."""
    return f"copy-{number}.{network}.corp.test"


def named_addresses(config: Config) -> Iterator[tuple[str, Address]]:
    """Every (name, address) of the lab: hosts, then the addresses kept for clones. A router has its name on each side."""
    for host in config.hosts.values():
        for address in host.addresses:
            yield host.fqdn, address
    for network in CLONE_NETWORKS:
        for number in config.clone_numbers:
            yield clone_name(network, number), config.networks[network].address(number)


def reverse_zone(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Name of the reverse zone of a /24 or of an IPv6 prefix that ends on a nibble."""
    labels = network.network_address.reverse_pointer.split(".")
    per_label = 8 if network.version == 4 else 4
    return ".".join(labels[(network.max_prefixlen - network.prefixlen) // per_label :])


def zones(config: Config) -> dict[str, str]:
    """Zone name to zone file text, for all zones; the root zone is `.`."""
    records: dict[str, list[str]] = {".": []}
    records |= {zone: [_fill(record, config) for record in lines] for zone, lines in config.zones.items()}
    for host in config.hosts.values():
        if host.mail_domain:
            records[host.mail_domain] = [
                f"@ MX 10 {host.fqdn}.",
                '@ TXT "v=spf1 mx -all"',
                '_dmarc TXT "v=DMARC1; p=reject"',
            ]
    for network in config.networks.values():
        records.setdefault(reverse_zone(network.ipv4), [])
        records.setdefault(reverse_zone(network.ipv6), [])
    for zone, lines in _address_records(config, tuple(records)).items():
        records[zone] += lines
    server = config.hosts[config.dns_server].fqdn
    return {zone: _zone_text(zone, server, lines) for zone, lines in sorted(records.items())}


def _address_records(config: Config, zone_names: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, address in named_addresses(config):
        found[_zone_of(name, zone_names)] += [f"{name}. A {address.ipv4}", f"{name}. AAAA {address.ipv6}"]
        for text in (address.ipv4, address.ipv6):
            pointer = ipaddress.ip_address(text).reverse_pointer
            found[_zone_of(pointer, zone_names)].append(f"{pointer}. PTR {name}.")
    return found


def _zone_of(name: str, zone_names: tuple[str, ...]) -> str:
    matching = [zone for zone in zone_names if zone != "." and (name == zone or name.endswith("." + zone))]
    if not matching:
        raise ValueError(f"no zone of the lab holds {name}: add it to `zones` in lab.yml")
    return max(matching, key=len)


def _fill(record: str, config: Config) -> str:
    """Replace {HOST.ipv4} and {HOST.ipv6} by that host's addresses."""
    return record.format(**config.hosts) if "{" in record else record


def _zone_text(zone: str, server: str, lines: list[str]) -> str:
    origin = zone if zone == "." else zone + "."
    head = [
        f"$ORIGIN {origin}",
        "$TTL 60",
        f"@ SOA {server}. hostmaster.corp.test. 1 3600 600 86400 5",
        f"@ NS {server}.",
    ]
    return "\n".join([*head, *lines]) + "\n"
