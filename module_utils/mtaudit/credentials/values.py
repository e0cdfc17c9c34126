"""What is tried where, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Outcome(str, Enum):
    """What one attempt came to. Only the first two are answers about the credential."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    PUT_OFF = "put_off"  # not now: too many attempts, locked, this address is not wanted
    SHUT = "shut"  # no connection, or it ended without an answer
    UNASKED = "unasked"  # no password is asked for here, or in a way that is not spoken; `said` tells which


@dataclass(frozen=True)
class Service:
    """Where a login is tried. `options` are of the protocol: `path`, `host` and `protected` of HTTP, `database` of PostgreSQL."""

    protocol: str
    address: str
    port: int
    tls: bool = False  # from the first byte
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Credential:
    """A login as some vendor ships it, or a random one. `username` is empty where none is asked for (SNMP, Redis, rspamd)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Attempt:
    """`said` is what the service answered: bounded, printable, and without the credential."""

    outcome: Outcome
    said: str = ""
