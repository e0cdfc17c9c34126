"""What a Postfix is configured to do: instances, services, listeners, and the value and origin of each parameter."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..address import LOOPBACK, Address, Network
from .postfix_match import MatchList, parse_list
from .postfix_syntax import MasterEntry, expand, words
from .postfix_tables import Table
from .sasl import Sasl
from .submitted import Written

RESTRICTION_LISTS = ("smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
                     "smtpd_relay_restrictions", "smtpd_recipient_restrictions")
MATCH_LISTS = ("mynetworks", "mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains",
               "permit_mx_backup_networks", "smtpd_authorized_xclient_hosts", "smtpd_authorized_xforward_hosts",
               "smtpd_forbid_bare_newline_exclusions", "smtpd_client_event_limit_exceptions")
# What sends mail for domains of others on, by recipient or by sender.
ROUTES = ("transport_maps", "sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps")
MAPS = ("relay_clientcerts", "smtpd_sender_login_maps", *ROUTES)
# What decides which recipients exist, in the order in which check_rcpt_maps() of smtpd_check.c asks; and what local(8) knows.
REWRITING_MAPS = ("recipient_canonical_maps", "canonical_maps", "virtual_alias_maps")
RECIPIENT_MAPS = (*REWRITING_MAPS, "local_recipient_maps", "virtual_mailbox_maps", "relay_recipient_maps", "alias_maps")
# Names of services(5) that mail uses; any other is looked up in /etc/services.
PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "urd": 465, "submission": 587, "qmqp": 628}

_WILDCARDS = ("0.0.0.0", "::")  # all addresses of one family: inet_listen() keeps IPv4 out of an IPv6 socket


@dataclass(eq=False)
class Service:
    """A process of master.cf and the parameters it sees: main.cf with service's own `-o` on top. Without an entry: main.cf."""

    postfix: Postfix
    entry: Optional[MasterEntry] = None
    _values: dict[str, str] = field(default_factory=dict, repr=False)
    _lists: dict[str, MatchList] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        return f"{self.entry.name}/{self.entry.type}" if self.entry else "main.cf"

    @property
    def overrides(self) -> Mapping[str, str]:
        return dict(self.entry.overrides) if self.entry else {}

    def raw(self, name: str) -> Optional[str]:
        """The value before expansion, None for a parameter that nothing defines."""
        return self.overrides.get(name, self.postfix.parameters.get(name))

    def value(self, name: str) -> str:
        """The effective value, expanded; empty when undefined."""
        if name == "mynetworks" and self.style_override:
            return " ".join(_bracketed(n) for n in self.postfix.style_networks(self.style_override))
        if name not in self._values:
            raw = self.raw(name) or ""
            try:
                self._values[name] = expand(raw, self.raw)
            except ValueError:
                self._values[name] = raw  # Postfix itself refuses to start with it
        return self._values[name]

    def on(self, name: str) -> bool:
        """Whether a yes/no parameter is yes."""
        return self.value(name).lower() == "yes"

    @property
    def style_override(self) -> str:
        """mynetworks_style where an override sets it and mynetworks is left to it: postconf computes only main.cf's."""
        return self.value("mynetworks_style") if "mynetworks_style" in self.overrides and not self.explicit("mynetworks") else ""

    @property
    def tls_level(self) -> str:
        """smtpd_tls_security_level, or what the two older parameters make of it."""
        level = self.value("smtpd_tls_security_level").lower()
        if level:
            return level
        if self.on("smtpd_enforce_tls"):
            return "encrypt"
        return "may" if self.on("smtpd_use_tls") else "none"

    def knows(self, name: str) -> bool:
        """Whether this version of Postfix has the parameter: without it, a line in main.cf or master.cf has no effect."""
        return name in self.postfix.known

    def explicit(self, name: str) -> bool:
        """Whether somebody set it, rather than Postfix's default being in force."""
        return name in self.overrides or name in self.postfix.lines

    def origin(self, name: str) -> str:
        """Where the value was set: `/etc/postfix/main.cf:12 mynetworks`, `/etc/postfix/master.cf:20 2525/inet -o mynetworks`."""
        directory = self.postfix.config_directory
        if self.entry and name in self.overrides:
            line = self.postfix.override_lines.get((self.entry.name, self.entry.type, name), 0)
            return f"{directory}/master.cf{f':{line}' if line else ''} {self.label} -o {name}"
        if name in self.postfix.lines:
            return f"{directory}/main.cf:{self.postfix.lines[name]} {name}"
        return f"{name} (default)"

    def match_list(self, name: str) -> MatchList:
        """A parameter that holds a match list."""
        if name not in self._lists:
            # The list of those for which a domain also stands for its subdomains (match_parent_style()).
            parents = name in words(self.value("parent_domain_matches_subdomains"))
            known = self.postfix
            self._lists[name] = parse_list(self.value(name), known.tables, known.files, known.file_problems, parents)
        return self._lists[name]

    def table(self, spec: str) -> Table:
        """A lookup table by its name in the configuration."""
        return self.postfix.tables.get(spec) or Table(spec, spec.partition(":")[0], problem=f"{spec} was not read")

    def restriction_classes(self) -> dict[str, list[str]]:
        """smtpd_restriction_classes with their definitions."""
        return {name: words(self.value(name)) for name in words(self.value("smtpd_restriction_classes"))}


@dataclass(frozen=True)
class SmtpService:
    """One address and port where Postfix speaks SMTP: the service that listens (`front`, smtpd or postscreen), and the smtpd
    that decides. `bind` is an address or `*`; `families` are among ipv4 and ipv6."""

    front: Service
    smtpd: Service
    bind: str
    port: int
    families: tuple[str, ...]

    @property
    def listener(self) -> str:
        """`*:25`, `127.0.0.1:25`, `[::1]:25`."""
        return f"[{self.bind}]:{self.port}" if ":" in self.bind else f"{self.bind}:{self.port}"

    @property
    def name(self) -> str:
        return self.front.entry.name if self.front.entry else ""

    @property
    def loopback_only(self) -> bool:
        return self.bind.startswith("127.") or self.bind == "::1"

    @property
    def postscreen(self) -> bool:
        return self.front is not self.smtpd

    @property
    def tls_wrapper(self) -> bool:
        return self.front.on("smtpd_tls_wrappermode")

    @property
    def proxy_protocol(self) -> str:
        """The parameter that makes clients introduce themselves with a PROXY header; empty when they need not. A postscreen hands
        the address on to smtpd by itself."""
        name = "postscreen_upstream_proxy_protocol" if self.postscreen else "smtpd_upstream_proxy_protocol"
        return name if self.front.value(name) else ""


@dataclass(eq=False)
class Postfix:
    """One instance. `parameters` are unexpanded; `lines` says where main.cf sets one; `problem` why nothing could be read.

    `recipients` are the tables behind the maps of recipients, by their names there. `submitted` is what leaves of those who log
    in, by the label of the smtpd, and `sasl` what Cyrus SASL is told, where that checks the passwords. `known` are the parameters
    that postconf prints: those that this version has, and what others refer to. `primary` is the default instance, None for that
    one itself. `warnings` are postconf's own.
    """

    config_directory: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    entries: tuple[MasterEntry, ...] = ()
    override_lines: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    recipients: Mapping[str, Table] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    file_problems: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    links: tuple[Network, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    primary: Optional[Postfix] = None
    sasl: Mapping[str, Sasl] = field(default_factory=dict)
    submitted: Mapping[str, tuple[Written, ...]] = field(default_factory=dict)
    problem: str = ""
    warnings: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.main = Service(self)

    @property
    def version(self) -> str:
        return self.main.value("mail_version")

    @property
    def name(self) -> str:
        return self.main.value("multi_instance_name") or self.config_directory

    @property
    def helo_name(self) -> str:
        return self.main.value("smtp_helo_name")

    @property
    def local_domains(self) -> tuple[str, ...]:
        """Domains whose mail ends here, as far as they are written out, without the names of the loopback."""
        found = literal_domains(self.main, ("mydestination", "virtual_mailbox_domains", "virtual_alias_domains"))
        return tuple(d for d in found if d not in ("localhost", "localdomain", "localhost.localdomain"))

    @property
    def relayed_domains(self) -> tuple[str, ...]:
        """Domains whose mail is passed on, as far as they are written out."""
        return tuple(literal_domains(self.main, ("relay_domains",)))

    def style_networks(self, style: str) -> tuple[Network, ...]:
        """What mynetworks_style makes of the host's own addresses (own_inet_addr.c, mynetworks.c)."""
        hosts = [ipaddress.ip_network(address) for address in self.addresses]
        found = list(self.links) if style == "subnet" else hosts
        if style == "class":
            sizes = [(128, 8), (192, 16), (224, 24)]  # first octet below -> prefix length, RFC 791 3.2
            found = [n.supernet(new_prefix=next(bits for first, bits in sizes if int(n.network_address) >> 24 < first))
                     for n in hosts if n.version == 4 and int(n.network_address) >> 24 < 224]
            found += [n for n in self.links if n.version == 6]
        return (*LOOPBACK[:2], *found)

    def services(self) -> list[Service]:
        """Every enabled service of master.cf."""
        disabled = words(self.main.value("master_service_disable"))
        return [Service(self, entry) for entry in self.entries if not _disabled(entry, disabled)]

    def smtp_services(self) -> list[SmtpService]:
        """Every enabled port that speaks SMTP."""
        if "smtp_services" not in self.memo:
            self.memo["smtp_services"] = list(self._smtp_services())
        found: list[SmtpService] = self.memo["smtp_services"]
        return found

    def _smtp_services(self) -> Iterator[SmtpService]:
        services = self.services()
        for service in services:
            entry = service.entry
            if entry is None or entry.type != "inet":
                continue
            smtpd: Optional[Service] = service
            if entry.command == "postscreen":
                behind = service.value("smtpd_service_name") or "smtpd"
                smtpd = next((s for s in services if s.entry and s.entry.type == "pass" and s.entry.name == behind), None)
            elif entry.command != "smtpd":
                continue
            if smtpd:
                for bind, port, families in self._addresses(entry.name):
                    yield SmtpService(service, smtpd, bind, port, families)

    def resolver(self, smtpd: Service) -> Service:
        """The trivial-rewrite service that tells smtpd which domains are local: it does not see smtpd's overrides."""
        name = smtpd.value("rewrite_service_name") or "rewrite"
        return next((s for s in self.services() if s.entry and s.entry.name == name and s.entry.command == "trivial-rewrite"),
                    self.main)

    def _addresses(self, name: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """What `smtp`, `2525`, `localhost:10025` or `[::1]:25` in master.cf listens on: address, port, families."""
        host, _, port_name = name.rpartition(":")
        port = int(port_name) if port_name.isdigit() else PORTS.get(port_name) or self.ports.get(port_name, 0)
        protocols = words(self.main.value("inet_protocols")) or ["all"]
        families = tuple(f for f in ("ipv4", "ipv6") if "all" in protocols or f in protocols)
        for bind in self._binds(host.strip("[]")) if host else self._interfaces():
            own = families if bind == "*" else ("ipv6",) if ":" in bind else ("ipv4",)
            if set(own) <= set(families):
                yield "*" if bind in _WILDCARDS else bind, port, own

    def _interfaces(self) -> list[str]:
        found: dict[str, None] = {}
        for word in words(self.main.value("inet_interfaces")):
            if word == "all":
                return ["*"]
            if word == "loopback-only":
                found.update(dict.fromkeys(["127.0.0.1", "::1"]))
            else:
                found.update(dict.fromkeys(self._binds(word.strip("[]"))))
        return list(found)

    def _binds(self, host: str) -> list[str]:
        if host == "localhost":
            return ["127.0.0.1", "::1"]
        return list(self.hosts.get(host, (host,)))


def _bracketed(network: Network) -> str:
    return f"[{network.network_address}]/{network.prefixlen}" if network.version == 6 else str(network)


def _disabled(entry: MasterEntry, disabled: list[str]) -> bool:
    """master_service_disable is a list of `type`, `name/type` (or `name.type`), first match, `!` negates (postconf(5))."""
    for word in disabled:
        if word.lstrip("!") in (entry.type, f"{entry.name}/{entry.type}", f"{entry.name}.{entry.type}"):
            return not word.startswith("!")
    return False


def literal_domains(service: Service, names: tuple[str, ...]) -> list[str]:
    """The domains that lists of domains name, also as keys of tables that can be listed."""
    found: dict[str, None] = {}
    for name in names:
        for item in service.match_list(name).items:
            if item.table and not item.table.sampled and not item.negated:
                found.update((key, None) for key in list(item.table.entries)[:200] if "@" not in key and "." in key.strip("."))
            elif not item.table and not item.problem and not item.negated and not item.text.startswith("/"):
                found[item.text] = None
    return list(found)
