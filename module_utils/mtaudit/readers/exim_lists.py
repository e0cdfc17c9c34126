"""Evaluate Exim's host, domain, address and local part lists for a session that is only thought of.

The rules are those of the specification, chapter "Domain, host, address, and local part lists": items in their order, the first
that fits decides, `!` turns it round, and a list that ends with a negated item matches everything else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Optional, Protocol

from ..address import Address, Network
from .exim_expand import Doubt, Expander, ForcedFailure, Session
from .exim_syntax import Config, items
from .exim_tables import KINDS, Table, lookup

_LIST_KINDS = {"hosts": "hostlist", "domains": "domainlist", "senders": "addresslist", "local_parts": "localpartlist"}
_LOOKUP = re.compile(
    r"(?:net(?P<bits>\d*)-)?(?P<kind>(?:partial\d*(?:\([^)]*\))?-)?[a-z]+(?:\*@?)?(?:,[\w=]+)?);\s*(?P<path>.*)", re.S
)
_HOST_OPTIONS = ("+ignore_unknown", "+include_unknown", "+ignore_defer", "+include_defer", "+caseful")
_NESTING = 10


class Configured(Protocol):
    """What lists need of a configuration: named lists, options, files, and the host's own addresses."""

    config: Config
    options: Mapping[str, str]
    tables: Mapping[str, Table]
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Matched:
    """What decided a list: the named list it stands in (empty: the list itself), the item; or its end alone."""

    within: str
    item: str
    by_end: bool = False


@dataclass(frozen=True)
class Without:
    """What is to be left out of sight, to find out what a decision rests on."""

    addresses: bool = False  # host lists find nobody, but for a plain `*` in the condition itself
    domains: bool = False  # no foreign domain is found in a domain list


EVERYTHING = Without()


class _NoSuchName(Exception):
    """An item that can be no host's name: with it Exim takes the client for one that the list does not hold (tried)."""


class Lists:
    """Evaluates lists for one session. `decided` keeps what the last list was decided by."""

    def __init__(self, exim: Configured, session: Session, expander: Expander, without: Without = EVERYTHING) -> None:
        self._exim = exim
        self._session = session
        self._expander = expander
        self._without = without
        self.decided: Optional[Matched] = None

    def hosts(self, text: str) -> bool:
        """Whether the client is in a host list."""
        try:
            found = self._list("hosts", text, self._host)
        except _NoSuchName:
            return False
        plain = items(self._expanded(text)) == ["*"]
        return found and not (self._without.addresses and not plain)

    def domains(self, text: str, domain: str) -> bool:
        """Whether a domain is in a domain list."""
        found = self._list("domains", text, lambda item: self._domain(item, domain))
        named = found and self.decided is not None and not self.decided.by_end
        return found and not (named and self._without.domains)

    def addresses(self, text: str, address: str) -> bool:
        """Whether a mail address is in an address list."""
        return self._list("senders", text, lambda item: self._address(item, address))

    def local_parts(self, text: str, local_part: str) -> bool:
        """Whether a local part is in a list of them."""
        return self._list("local_parts", text, lambda item: self._local_part(item, local_part))

    def by_name(self, condition: str, text: str, key: str) -> bool:
        """The `match_...` conditions of expansions."""
        if condition == "match_ip":
            other = Lists(self._exim, Session(key, port=self._session.port), self._expander, self._without)
            found = other.hosts(text)
            self.decided = other.decided
            return found
        check = {"match_domain": self.domains, "match_address": self.addresses, "match_local_part": self.local_parts}[condition]
        return check(text, key)

    def _expanded(self, text: str) -> str:
        try:
            return self._expander.expand(text)
        except ForcedFailure:
            return ""

    def _list(self, kind: str, text: str, check: Callable[[str], bool], within: str = "", depth: int = 0) -> bool:
        if depth > _NESTING:
            raise Doubt(f"the lists within {within} are nested too deeply")
        negated = False
        for negated, item, source in self._flat(text):
            if self._item(kind, item, check, within, depth):
                if not item.startswith("+"):
                    self.decided = Matched(within, f"{item}{f' in {source}' if source else ''}")
                return not negated
        if negated:
            self.decided = Matched(within, "the end: its last item is negated", by_end=True)
        return negated

    def _flat(self, text: str) -> Iterator[tuple[bool, str, str]]:
        """The items with their negation, those of a file in its place (tried: its last line may be the last item)."""
        for item in items(self._expanded(text)):
            if item in _HOST_OPTIONS:
                continue
            negated, item = item.startswith("!"), item.lstrip("! \t")
            if not item.startswith("/"):
                yield negated, item, ""
                continue
            table = self._exim.tables.get(item)
            if table is None or table.problem:
                raise Doubt(table.problem if table else f"{item} was not read")
            for line in file_items(table.text):
                yield line.startswith("!") is not negated, line.lstrip("! \t"), item

    def _item(self, kind: str, item: str, check: Callable[[str], bool], within: str, depth: int) -> bool:
        """Whether one item, without its `!`, fits."""
        if not item.startswith("+"):
            return check(item)
        named = self._exim.config.lists.get((_LIST_KINDS[kind], item[1:]))
        if named is None:
            raise Doubt(f"there is no {_LIST_KINDS[kind]} {item[1:]}")
        return self._list(kind, named, check, item[1:], depth + 1)

    # one item of each kind

    def _host(self, item: str) -> bool:
        address = ipaddress.ip_address(self._session.address) if self._session.address else None
        if item in ("", "*"):
            return (address is None) is (item == "")
        if item == "@[]":
            return address in self._exim.addresses or bool(address and address.is_loopback)
        network = network_of(item)
        if network is not None:
            return address is not None and address.version == network.version and address in network
        match = _LOOKUP.fullmatch(item)
        if match:
            key = self._session.name if not item.startswith("net") else _masked(self._session.address, match.group("bits"))
            return lookup(self._exim.tables, match.group("kind"), match.group("path").strip(), key) is not None
        return self._host_name(self._exim.options.get("primary_hostname", "") if item == "@" else item)

    def _host_name(self, item: str) -> bool:
        if (":" in item or "/" in item) and not item.startswith(("^", "*")):
            raise _NoSuchName
        if item in KINDS or re.fullmatch(r"net\d*-\w+|[\d.:]+", item):
            raise Doubt(f"'{item}' is taken for a host name: Exim refuses every recipient for the moment, or ignores the list")
        return _pattern(item, self._session.name)

    def _domain(self, item: str, domain: str) -> bool:
        match = _LOOKUP.fullmatch(item)
        if match:
            return lookup(self._exim.tables, match.group("kind"), match.group("path").strip(), domain) is not None
        if item.startswith("@mx_"):
            return self._session.mx_backup
        if item == "@[]":
            return domain.startswith("[")
        return _pattern(self._exim.options.get("primary_hostname", "") if item == "@" else item, domain)

    def _address(self, item: str, address: str) -> bool:
        local_part, _, domain = address.rpartition("@")
        if item == "" or not address:
            return item == "" and not address  # tried: `*` does not match the null sender
        if item.startswith("^"):
            return _pattern(item, address)
        if item.startswith("@@"):
            raise Doubt(f"'{item}' is not evaluated")
        match = _LOOKUP.fullmatch(item)
        if match:
            return lookup(self._exim.tables, match.group("kind"), match.group("path").strip(), address) is not None
        wanted, at, rest = item.rpartition("@")
        if at and wanted and not _pattern(wanted, local_part):
            return False
        pattern = rest if at else item
        if pattern.startswith("+"):
            return self._list("domains", pattern, lambda inner: self._domain(inner, domain), depth=1)
        return self._domain(pattern, domain)

    def _local_part(self, item: str, local_part: str) -> bool:
        match = _LOOKUP.fullmatch(item)
        if match:
            return lookup(self._exim.tables, match.group("kind"), match.group("path").strip(), local_part) is not None
        return _pattern(item, local_part)


def network_of(item: str) -> Optional[Network]:
    """The network that an item of a host list stands for; None for anything else."""
    try:
        return ipaddress.ip_network(item, strict=False)
    except ValueError:
        return None


def file_items(text: str) -> Iterator[str]:
    """The items of a file in a list: one a line, `#` begins a comment."""
    for line in text.splitlines():
        item = line.partition("#")[0].strip()
        if item:
            yield item


def _pattern(item: str, text: str) -> bool:
    """A plain word, `*` with an ending, or a regular expression; case does not matter."""
    if item.startswith("^"):
        try:
            return re.search(item, text, re.IGNORECASE) is not None
        except re.error as exc:
            raise Doubt(f"the pattern '{item}' is not understood: {exc}") from None
    if item.startswith("*"):
        return text.lower().endswith(item[1:].lower())
    return item.lower() == text.lower()


def _masked(address: str, bits: str) -> str:
    if not bits or not address:
        return address
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
