"""Tables that permit: whom their keys stand for (access(5)), and which of them a daemon writes."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ..address import Network
from ..readers.postfix import Service
from ..readers.postfix_restrictions import access_tables
from ..readers.postfix_samples import FOREIGN_DOMAINS
from ..readers.postfix_tables import Table

_Key = TypeVar("_Key")
# Tables that daemons of this kind write; poprelayd, DRAC, relay-ctrl, whoson, pop-before-smtp and what panels call them.
_POP_BEFORE_SMTP = re.compile(r"(?i)pop[-_]?(?:before|b4|relay|auth|ip)|\bdrac\b|relay-?ctrl|whoson|imap[-_]?before|tcp\.smtp")
TRIED_LIMIT = 1000  # of the entries of one table that may open it; each is walked through all lists
_HARMLESS = re.compile(
    r"(?i)(REJECT|DEFER|DEFER_IF_\w+|DUNNO|DISCARD|HANGUP|INFO|WARN|FILTER|HOLD|REDIRECT|BCC|PREPEND)\b|[45]\d\d\s"
)


def _permissive(value: str) -> bool:
    return not _HARMLESS.match(value.strip())


def permitted_networks(table: Table) -> Iterator[tuple[Network, str]]:
    """Client addresses that an access table says something other than no or nothing about, with what it says."""
    for rule in table.rules:
        if _permissive(rule.value):
            yield from ((network, rule.value) for network in rule.networks())
    for key, value in permitted_entries(table):
        yield from ((network, value) for network in _network_of(key, table.partial_keys))


def mentioned_networks(table: Table) -> Iterator[Network]:
    for rule in table.rules:
        yield from rule.networks()
    for key in table.entries:
        yield from _network_of(key, table.partial_keys)


def _network_of(key: str, partial: bool) -> Iterator[Network]:
    """`192.0.2.66`, and in tables with partial keys `192.0.2` or `2001:db8:19` (access(5))."""
    try:
        if ":" in key and partial and key.count(":") < 7 and "::" not in key:
            yield ipaddress.ip_network((int(ipaddress.IPv6Address(key + "::")), 16 * (key.count(":") + 1)))
        elif partial and re.fullmatch(r"\d+(?:\.\d+){0,2}", key):
            octets = key.split(".")
            yield ipaddress.ip_network(f"{'.'.join([*octets, '0', '0', '0'][:4])}/{8 * len(octets)}")
        else:
            yield ipaddress.ip_network(key)
    except ValueError:
        return


def permitted_names(table: Table) -> Iterator[tuple[str, str]]:
    """The same for the host names of clients."""
    for key, value in permitted_entries(table):
        if "@" not in key and re.search(r"[a-z]", key) and ":" not in key and key != "unknown":
            yield host_in(key), value


def permitted_entries(table: Table) -> Iterator[tuple[str, str]]:
    """Keys that a table says something other than no or nothing about, with what it says."""
    return ((key, value) for key, value in table.entries.items() if _permissive(value))


def by_turns(entries: Iterable[tuple[_Key, str]]) -> list[tuple[_Key, str]]:
    """The entries in their order, but each value's first one before any value's second: a cut leaves no value out."""
    seen: Counter[str] = Counter()
    turns = []
    for entry in entries:
        seen[entry[1]] += 1
        turns.append((seen[entry[1]], entry))
    return [entry for _, entry in sorted(turns, key=lambda turn: turn[0])]


def host_in(key: str) -> str:
    return f"host{key}" if key.startswith(".") else key


def address_at(key: str) -> str:
    """An envelope address that finds the key."""
    if key == "<>":
        return ""
    if key.endswith("@"):
        return f"{key}{FOREIGN_DOMAINS[0]}"
    return key if "@" in key and not key.startswith("@") else f"probe@{host_in(key.lstrip('@'))}"


def written_by_a_daemon(table: Table) -> bool:
    """Whether the table has a name of what a POP-before-SMTP daemon writes."""
    return bool(_POP_BEFORE_SMTP.search(table.spec))


def pop_before_smtp_tables(service: Service) -> Iterator[tuple[str, Table]]:
    """Tables of client addresses with the name of what a POP-before-SMTP daemon writes, and the parameter that uses them."""
    for item in service.match_list("mynetworks").items:
        if item.table and written_by_a_daemon(item.table):
            yield "mynetworks", item.table
    for word, table in access_tables(service):
        if word == "check_client_access" and written_by_a_daemon(table):
            yield "smtpd_relay_restrictions", table
