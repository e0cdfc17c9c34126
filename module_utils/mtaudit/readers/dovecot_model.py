"""What a Dovecot is configured to do: its settings, whom they hold for, and the ports it listens on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from ..address import LOOPBACK, Network, parse_address, parse_network
from ..listeners import Listener

# Services that listen for others, with the protocol that `protocols` switches on. 2.4 no longer prints which (service_protocol).
_PROTOCOLS = {"imap-login": "imap", "pop3-login": "pop3", "submission-login": "submission", "managesieve-login": "sieve",
              "lmtp": "lmtp"}
# Ports of the listeners that come with Dovecot, and whether TLS comes first: 2.4 does not print what was left alone.
_BUILT_IN = {"imap": (143, "no"), "imaps": (993, "yes"), "pop3": (110, "no"), "pop3s": (995, "yes"),
             "submission": (587, "no"), "submissions": (465, "yes"), "sieve": (4190, "no")}
_FILTERS = ("local", "local_name", "remote")


@dataclass(frozen=True)
class Section:
    """`kind name { ... }` of doveconf's output; the whole of it has neither kind nor name."""

    kind: str = ""
    name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()

    def of_kind(self, kind: str) -> list[Section]:
        return [section for section in self.sections if section.kind == kind]


@dataclass(frozen=True)
class Scope:
    """The settings that hold for some connections. `filters` are (kind, name), outermost first; none means all connections."""

    filters: tuple[tuple[str, str], ...]
    settings: Mapping[str, str]

    def value(self, name: str) -> str:
        return self.settings.get(name, "")

    def on(self, name: str) -> bool:
        return self.value(name).lower() == "yes"

    @property
    def where(self) -> str:
        """`doveconf`, `doveconf remote 198.51.100.0/24`: where a reader of the output finds it."""
        return " ".join(["doveconf", *(f"{kind} {name}" for kind, name in self.filters)])

    @property
    def whom(self) -> str:
        """The filters by themselves: `remote 198.51.100.0/24`; empty for all connections."""
        return " ".join(f"{kind} {name}" for kind, name in self.filters)

    @property
    def clients(self) -> Optional[Network]:
        """The clients that a `remote` filter names; None when it names none, or not as a network."""
        name = next((name for kind, name in reversed(self.filters) if kind == "remote"), "")
        try:
            return parse_network(name)
        except ValueError:
            return None


@dataclass(frozen=True)
class Port:
    """One port: the listener, Dovecot's name of what is spoken there, and whether clients begin with a PROXY header."""

    listener: Listener
    protocol: str
    haproxy: bool = False


@dataclass(eq=False)
class Dovecot:
    """The effective configuration. `scripts` are those that run after each login, by path; `script_problems` why one was not
    read."""

    version: str
    config_file: str
    root: Section
    scripts: dict[str, str] = field(default_factory=dict)
    script_problems: dict[str, str] = field(default_factory=dict)

    @property
    def release(self) -> tuple[int, ...]:
        """(2, 3) or (2, 4)."""
        return tuple(int(part) for part in self.version.split(".")[:2] if part.isdigit())

    def value(self, name: str) -> str:
        return self.root.settings.get(name, "")

    @property
    def protocols(self) -> frozenset[str]:
        """What is switched on: `protocols = imap lmtp`."""
        return frozenset(self.value("protocols").split())

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What clients may log in with; the same for every protocol."""
        return tuple(self.value("auth_mechanisms").split())

    def scopes(self, protocol: str) -> list[Scope]:
        """The settings of all connections of a protocol first, then of those that a filter names.

        Filters that stand side by side and hold for one connection together are not combined.
        """
        everybody = dict(self.root.settings)
        for section in self.root.of_kind("protocol"):
            if concerns(section.name, protocol):
                everybody.update(section.settings)
        return [Scope((), everybody), *_filtered(self.root, Scope((), everybody), protocol)]

    def ports(self) -> list[Port]:
        """Every port that Dovecot listens on for clients and other mail servers."""
        return [port for service in self.root.of_kind("service") for port in self._ports_of(service)]

    def _ports_of(self, service: Section) -> Iterator[Port]:
        protocol = service.settings.get("protocol") or _PROTOCOLS.get(service.name, "")
        if service.name not in _PROTOCOLS or protocol not in self.protocols:
            return
        for section in service.of_kind("inet_listener"):
            usual_port, usual_tls = _BUILT_IN.get(section.name, (0, "no"))
            port = int(section.settings.get("port") or usual_port)
            wrapped = section.settings.get("ssl", usual_tls) == "yes"
            # With ssl = no Dovecot opens no port that begins with TLS (tried on 2.3.19 and 2.4.1).
            if port == 0 or wrapped and self.value("ssl") == "no":
                continue
            haproxy = section.settings.get("haproxy") == "yes"
            plain = Listener(port, service=section.name, tls_wrapper=wrapped, protocol=_SPEAKS.get(protocol, protocol))
            yield from (Port(listener, protocol, haproxy) for listener in self._bound(plain, section))

    def _bound(self, listener: Listener, section: Section) -> Iterator[Listener]:
        """A listener for each address of `listen` (`address` in a listener of 2.3); `*` is all of IPv4, `::` all of IPv6."""
        own = section.settings.get("address") or section.settings.get("listen")
        binds = (own or self.value("listen") or "* ::").replace(",", " ").split()
        families = tuple(f for f, any_address in (("ipv4", ("*", "0.0.0.0")), ("ipv6", ("::", "[::]")))
                         if any(b in any_address for b in binds))
        if families:
            yield replace(listener, families=families)
        for bind in (b.strip("[]") for b in binds if b not in ("*", "0.0.0.0", "::", "[::]")):
            family = "ipv6" if ":" in bind else "ipv4"
            yield replace(listener, bind=bind, families=(family,), loopback_only=_is_loopback(bind))


_SPEAKS = {"submission": "smtp"}


def concerns(name: str, protocol: str) -> bool:
    """Whether `protocol imap { }` or `protocol !pop3 { }` holds for a protocol."""
    words = name.replace(",", " ").split()
    return protocol in words or any(w.startswith("!") and w[1:] != protocol for w in words)


def _filtered(section: Section, outer: Scope, protocol: str) -> Iterator[Scope]:
    for inner in section.sections:
        if inner.kind in _FILTERS:
            settings = {**outer.settings, **inner.settings}
            for own in inner.of_kind("protocol"):
                settings.update(own.settings if concerns(own.name, protocol) else {})
            scope = Scope((*outer.filters, (inner.kind, inner.name)), settings)
            yield scope
            yield from _filtered(inner, scope, protocol)


def _is_loopback(bind: str) -> bool:
    if bind == "localhost":
        return True
    try:
        address = parse_address(bind)
    except ValueError:
        return False
    return any(address.version == n.version and address in n for n in LOOPBACK)
