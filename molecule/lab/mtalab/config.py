"""Read lab.yml into data classes: networks, hosts with their addresses and routes, images."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LAB_DIRECTORY = Path(__file__).resolve().parent.parent
RECIPES = LAB_DIRECTORY / "recipes"


@dataclass(frozen=True)
class Network:
    """One internal network, with a prefix for each family."""

    name: str
    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network

    def address(self, number: int) -> Address:
        """The address pair of a host number: 11 is 198.51.100.11 and 2001:db8:51::11 (same digits, read as hex)."""
        return Address(
            network=self.name,
            ipv4=str(self.ipv4.network_address + number),
            ipv6=str(self.ipv6.network_address + int(str(number), 16)),
        )


@dataclass(frozen=True)
class Address:
    """Where a host is on one network."""

    network: str
    ipv4: str
    ipv6: str

    @property
    def mac(self) -> str:
        """A hardware address made from the IPv4 address, so that a new copy at an old address is found at once."""
        octets = bytes(int(part) for part in self.ipv4.split("."))
        return ":".join(f"{octet:02x}" for octet in b"\x02\x4d" + octets)


@dataclass(frozen=True)
class Host:
    """One container: an image at one or two addresses, with its routes."""

    name: str
    image: str
    fqdn: str
    addresses: tuple[Address, ...]
    routes: tuple[str, ...]
    forwards: bool = False
    masquerades: str | None = None
    mail_domain: str | None = None
    submission: bool = False
    on_demand: bool = False            # not part of `up` without names: started when a test or a person asks for it
    listens: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()   # beyond those of every host, e.g. to look into other users' processes
    groups: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    clone_of: str | None = None

    @property
    def ipv4(self) -> str:
        return self.addresses[0].ipv4

    @property
    def ipv6(self) -> str:
        return self.addresses[0].ipv6


@dataclass(frozen=True)
class Image:
    """A recipe on top of another image, or on a Debian release when `release` is set."""

    name: str
    recipe: Path
    release: str | None
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """Everything that lab.yml says."""

    prefix: str
    networks: Mapping[str, Network]
    hosts: Mapping[str, Host]
    images: Mapping[str, Image]
    suites: Mapping[str, str]
    zones: Mapping[str, tuple[str, ...]]
    default_routers: Mapping[str, int]
    dns_server: str
    clone_numbers: range
    logins: Mapping[str, str]
    canary: Mapping[str, Any]
    probe_sender: str

    def standing(self) -> list[Host]:
        """The hosts that `up` without names starts."""
        return [host for host in self.hosts.values() if not host.on_demand]

    def default_routes(self, network: str) -> tuple[str, ...]:
        """`ip route` words for the default routes of a network, IPv4 and IPv6."""
        router = self.networks[network].address(self.default_routers[network])
        return (f"default via {router.ipv4}", f"default via {router.ipv6}")


def load(path: Path = LAB_DIRECTORY / "lab.yml") -> Config:
    """Read `path`; raises KeyError or ValueError naming what is wrong."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    networks = {
        name: Network(name, ipaddress.IPv4Network(net["ipv4"]), ipaddress.IPv6Network(net["ipv6"]))
        for name, net in raw["networks"].items()
    }
    clones = raw["clone_numbers"]
    config = Config(
        prefix=raw["prefix"],
        networks=networks,
        hosts={},
        images={name: _image(name, image) for name, image in raw["images"].items()},
        suites={name: release["suite"] for name, release in raw["releases"].items()},
        zones={name: tuple(records) for name, records in raw["zones"].items()},
        default_routers=raw["routes"],
        dns_server=raw["dns_server"],
        clone_numbers=range(clones["first"], clones["last"] + 1),
        logins=raw["logins"],
        canary=raw["canary"],
        probe_sender=raw["probe_sender"],
    )
    hosts = {name: _host(config, name, host, raw["hosts"]) for name, host in raw["hosts"].items()}
    return Config(**{**vars(config), "hosts": hosts})


def _image(name: str, raw: Mapping[str, Any]) -> Image:
    first = [raw["from"]] if "from" in raw else []
    return Image(name, RECIPES / raw["recipe"], raw.get("release"), (*first, *raw.get("also_from", [])))


def _host(config: Config, name: str, raw: Mapping[str, Any], hosts: Mapping[str, Any]) -> Host:
    addresses = tuple(config.networks[net].address(number) for net, number in raw["networks"].items())
    return Host(
        name=name,
        image=raw["image"],
        fqdn=raw["fqdn"],
        addresses=addresses,
        routes=_routes(config, raw, hosts),
        forwards=raw.get("forwards", False),
        masquerades=raw.get("masquerades"),
        mail_domain=raw.get("mail_domain"),
        submission=raw.get("submission", False),
        on_demand=raw.get("on_demand", False),
        listens=tuple(raw.get("listens", ())),
        capabilities=tuple(raw.get("capabilities", ())),
        groups=tuple(raw.get("groups", ["mta_infrastructure"])),
        variables=raw.get("vars", {}),
    )


def _routes(config: Config, raw: Mapping[str, Any], hosts: Mapping[str, Any]) -> tuple[str, ...]:
    """Default routes through the first network's router (unless the host is that router), and the routes it names."""
    first, number = next(iter(raw["networks"].items()))
    routes = [] if number == config.default_routers[first] else list(config.default_routes(first))
    for route in raw.get("routes", []):
        shared = next(net for net in raw["networks"] if net in hosts[route["via"]]["networks"])
        gateway = config.networks[shared].address(hosts[route["via"]]["networks"][shared])
        target = config.networks[route["to"]]
        families = [route["family"]] if "family" in route else ["ipv4", "ipv6"]
        routes += [f"{getattr(target, family)} via {getattr(gateway, family)}" for family in families]
    return tuple(routes)
