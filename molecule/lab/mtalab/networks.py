"""Make the lab's networks, after a look at whether this machine reaches anything through the same addresses.

podman takes a network that overlaps the way to a package source without a word, and from then on apt and pip fail for
the whole machine; hence the check.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mtalab.config import Network
from mtalab.engine import LabError, Podman

LABEL = "mtaudit.lab"
RESOLVE_TIMEOUT_S = 8
APT_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")


@dataclass(frozen=True)
class Machine:
    """What this machine uses: (name of the thing, address or prefix) for each."""

    interfaces: tuple[tuple[str, str], ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    resolvers: tuple[str, ...] = ()
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)   # host of a package source: its addresses


def conflicts(networks: Iterable[Network], machine: Machine) -> list[str]:
    """One sentence for each thing of the machine that lies inside a network of the lab."""
    used = [(f"interface {name} has {prefix}", prefix) for name, prefix in machine.interfaces]
    used += [(f"the route to {prefix} ({name})", prefix) for name, prefix in machine.routes]
    used += [(f"the resolver {address}", address) for address in machine.resolvers]
    used += [
        (f"the package source {host} is at {address}", address)
        for host, addresses in machine.sources.items()
        for address in addresses
    ]
    found = []
    for network in networks:
        for prefix in (network.ipv4, network.ipv6):
            found += [f"{network.name} ({prefix}): {what}" for what, where in used if _overlaps(prefix, where)]
    return found


def _overlaps(prefix: ipaddress.IPv4Network | ipaddress.IPv6Network, where: str) -> bool:
    try:
        other = ipaddress.ip_network(where.split("%")[0], strict=False)
    except ValueError:
        return False
    return other.prefixlen > 0 and other.version == prefix.version and prefix.overlaps(other)


def look_at_machine(own_interfaces: frozenset[str] = frozenset()) -> Machine:
    """Ask this machine; `own_interfaces` are the bridges of the lab's networks that exist already."""
    interfaces = [
        (link["ifname"], f"{entry['local']}/{entry['prefixlen']}")
        for link in _ip_json("addr")
        for entry in link.get("addr_info", [])
        if link["ifname"] not in own_interfaces
    ]
    routes = [
        (f"dev {route.get('dev', '?')}", route["dst"])
        for family in ("-4", "-6")
        for route in _ip_json(family, "route", "show", "table", "all")
        if route.get("dev") not in own_interfaces and route.get("dst") != "default"
        and route.get("type", "unicast") == "unicast"
    ]
    return Machine(tuple(interfaces), tuple(routes), tuple(_resolvers()), _resolve(_source_hosts()))


def _ip_json(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def _resolvers() -> list[str]:
    files = [Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")]
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.exists())
    return sorted(set(re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)))


def _source_hosts() -> set[str]:
    """Hosts of apt's sources, of the indexes that pip is configured with, and of proxies."""
    texts = [
        re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8", errors="replace"))
        for pattern in APT_SOURCES
        for path in Path("/").glob(pattern.lstrip("/"))
    ]
    texts += [value for name, value in os.environ.items() if re.fullmatch(r"(?i)(pip_.*_url|https?_proxy)", name)]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    texts.append(pip.stdout)
    urls = re.findall(r"https?://[^\s'\"]+", "\n".join(texts))
    return {host for url in urls if (host := urlsplit(url).hostname)}


def _resolve(hosts: set[str]) -> dict[str, tuple[str, ...]]:
    """Addresses of each host; a name that does not resolve in time has none."""
    if not hosts:
        return {}
    pool = ThreadPoolExecutor(max_workers=len(hosts))
    pending = {host: pool.submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM) for host in sorted(hosts)}
    found = {}
    for host, answer in pending.items():
        try:
            found[host] = tuple(sorted({str(entry[4][0]) for entry in answer.result(RESOLVE_TIMEOUT_S)}))
        except (OSError, FutureTimeout):
            found[host] = ()
    pool.shutdown(wait=False, cancel_futures=True)
    return found


class Networks:
    """The lab's networks in podman."""

    def __init__(self, podman: Podman, prefix: str, networks: Mapping[str, Network]) -> None:
        self.podman = podman
        self.prefix = prefix
        self.networks = networks

    def podman_name(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def existing(self) -> dict[str, str]:
        """podman's name to bridge interface, of the networks that carry the lab's label."""
        listed = self.podman.run("network", "ls", "--filter", f"label={LABEL}={self.prefix}", "--format", "{{.Name}}")
        names = listed.stdout.split()
        if not names:
            return {}
        inspected = json.loads(self.podman.run("network", "inspect", *names).stdout)
        return {network["name"]: network["network_interface"] for network in inspected}

    def up(self) -> bool:
        """Create what is missing; true when something was. Raises LabError naming each conflict."""
        existing = self.existing()
        missing = [net for net in self.networks.values() if self.podman_name(net.name) not in existing]
        if not missing:
            return False
        if found := conflicts(missing, look_at_machine(frozenset(existing.values()))):
            raise LabError(
                "this machine already uses addresses of the lab (change `networks` in lab.yml):\n  " + "\n  ".join(found)
            )
        for net in missing:
            self.podman.run(
                "network", "create", "--internal", "--disable-dns", "--ipv6",
                "--label", f"{LABEL}={self.prefix}",
                "--subnet", str(net.ipv4), "--subnet", str(net.ipv6), self.podman_name(net.name),
            )
        return True

    def down(self) -> None:
        for name in self.existing():
            self.podman.run("network", "rm", name)  # --force would remove containers that others have put on it
