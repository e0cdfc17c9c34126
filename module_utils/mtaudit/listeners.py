"""Listeners: what a mail program listens on, and the name under which a host lists what a probe connected to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .address import Network, is_address

SMTP_PORTS = (25, 465, 587, 2525)
SUBMISSION_PORTS = (465, 587)  # RFC 8314, 3.3; RFC 6409, 3.1


def for_people(protocol: str, port: int) -> bool:
    """Whether people log in at a port, rather than other servers, which come to the other ports of SMTP."""
    return protocol not in ("smtp", "lmtp") or port in SUBMISSION_PORTS


@dataclass(frozen=True)
class Listener:
    """A port that a mail program listens on. `bind` is an address, or `*` for all; `service` is the program's own name for it;
    `protocol` is smtp, imap, pop3, sieve or lmtp."""

    port: int
    bind: str = "*"
    families: tuple[str, ...] = ("ipv4", "ipv6")
    service: str = ""
    tls_wrapper: bool = False
    loopback_only: bool = False
    protocol: str = "smtp"

    @property
    def name(self) -> str:
        """`*:25`, `127.0.0.1:10025`, `[::1]:25`: the name of a finding's subject."""
        bind = self.bind.strip("[]")
        return f"[{bind}]:{self.port}" if ":" in bind else f"{bind}:{self.port}"


def tells_of(told: Listener, seen: Listener) -> bool:
    """Whether a listener that a program told of is one that the kernel lists, bound to an address or to all; what is told with a
    name may be any address."""
    by_address = is_address(told.bind) and told.bind not in ("0.0.0.0", "::")
    return told.port == seen.port and not told.loopback_only and (not by_address or told.bind == seen.bind)


@dataclass(frozen=True)
class Server:
    """What the estate tells of one instance of a mail program.

    `instance` is the path of its configuration, `trusted` the networks whose clients may relay (`trusted_at`: at a port, where
    the program has them for each), `helo` the name that it greets other servers with, `mechanisms` those of SASL that it offers
    to programs that leave logins to it, `logins` the ports where others may try passwords.
    """

    version: str
    instance: str
    listeners: tuple[Listener, ...] = ()
    local_domains: tuple[str, ...] = ()
    trusted: tuple[Network, ...] = ()
    trusted_at: Mapping[int, tuple[Network, ...]] = field(default_factory=dict, hash=False)
    helo: str = ""
    mechanisms: tuple[str, ...] = ()
    logins: tuple[int, ...] = ()

    @property
    def smtp(self) -> tuple[Listener, ...]:
        """The listeners that take mail for others; the rest let people at their mailboxes."""
        return tuple(listener for listener in self.listeners if listener.protocol == "smtp")


def listener_name(estate: Mapping[str, Any], address: str, port: str) -> str:
    """The name under which the host lists the listener at this address and port; empty when it lists none."""
    for listener in (*(estate.get("listeners") or ()), *(estate.get("mailbox_listeners") or ())):
        bind = str(listener.get("bind", "")).strip("[]")
        if str(listener.get("port")) == port and bind in ("*", address):
            return str(listener.get("name", ""))
    return ""
