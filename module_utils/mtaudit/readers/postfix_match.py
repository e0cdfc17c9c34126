"""Evaluate Postfix match lists (mynetworks, relay_domains ...): first match decides, `!` negates, tables and files take part.

The rules are those of src/util/match_list.c and match_ops.c, which are the same in Postfix 3.7 and 3.10.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from ..address import Address, Network, subtract
from .postfix_samples import STRANGERS
from .postfix_syntax import physical_lines, postfix_network, words
from .postfix_tables import EVERYTHING, Table, TableProblem

_LOOKS_LIKE_NETWORK = re.compile(r"[0-9.]+/[0-9./]*|\[[0-9a-f:./]+\][0-9/]*")
_INCLUDE_DEPTH = 50


@dataclass(frozen=True)
class Item:
    """One pattern of a list. `where` is the file and line of an included file, else empty: the parameter itself."""

    text: str
    negated: bool = False
    table: Optional[Table] = None
    problem: str = ""
    where: str = ""

    @property
    def network(self) -> Optional[Network]:
        """The addresses of a literal pattern. None for names, tables and what Postfix would not understand."""
        try:
            return None if self.table or self.problem else postfix_network(self.text)
        except ValueError:
            return None

    @property
    def refused(self) -> str:
        """Why Postfix ends the evaluation here for clients of the pattern's family, else empty (`non-null host address bits`)."""
        if self.table or self.problem or self.network or not _LOOKS_LIKE_NETWORK.fullmatch(self.text):
            return ""
        return f"Postfix refuses '{self.text}': not a network address with its mask"

    @property
    def version(self) -> int:
        """The address family of a pattern that looks like a network."""
        return 6 if ":" in self.text else 4


@dataclass(frozen=True)
class Trusted:
    """The addresses that a list matches. `networks` are (network, item) in order, without what was excluded before; `names` are
    patterns for client host names; `doubts` say what could not be evaluated."""

    networks: tuple[tuple[Network, Item], ...] = ()
    names: tuple[Item, ...] = ()
    doubts: tuple[tuple[str, Item], ...] = ()


@dataclass(frozen=True)
class MatchList:
    """A match list with its included files and tables. `parents`: a domain also stands for its subdomains."""

    items: tuple[Item, ...] = ()
    parents: bool = False
    _cache: dict[str, Trusted] = field(default_factory=dict, compare=False, repr=False)

    def match_domain(self, domain: str) -> Optional[Item]:
        """The item that decides that the domain is in the list, None when it is not. Raises TableProblem."""
        for item in self.items:
            if _matches_name(item, domain.lower(), self.parents):
                return None if item.negated else item
        return None

    def match_string(self, text: str) -> Optional[Item]:
        """Like match_domain, but exact strings only: what mydestination and virtual_*_domains do."""
        for item in self.items:
            if _matches_string(item, text.lower()):
                return None if item.negated else item
        return None

    def match_client(self, name: str, address: str) -> Optional[Item]:
        """The item that decides that a client is in the list. Raises TableProblem."""
        for item in self.items:
            if item.refused and (item.version == 6) == (":" in address):
                raise TableProblem(item.refused)
            if _matches_name(item, name.lower(), self.parents) or _matches_address(item, address):
                return None if item.negated else item
        return None

    def trusted(self) -> Trusted:
        """The set of addresses that the list matches."""
        if "" not in self._cache:
            self._cache[""] = _trusted(self.items)
        return self._cache[""]


def parse_list(value: str, tables: Mapping[str, Table], files: Mapping[str, str], problems: Mapping[str, str],
               parents: bool = False) -> MatchList:
    """The list that an expanded parameter value means. `files` and `problems`: included files."""
    return MatchList(tuple(_items(value, tables, files, problems, False, "")), parents)


def _items(value: str, tables: Mapping[str, Table], files: Mapping[str, str], problems: Mapping[str, str], negated: bool,
           where: str, depth: int = 0) -> Iterator[Item]:
    for word in words(value):
        bare = word.lstrip("!")
        inverted = negated != ((len(word) - len(bare)) % 2 == 1)
        if bare.startswith("#"):
            return  # comment at end of line is not supported: Postfix ignores the rest
        if bare.startswith("/") and (bare not in files or depth > _INCLUDE_DEPTH):
            problem = problems.get(bare) or (f"{bare} includes itself" if bare in files else f"{bare} was not read")
            yield Item(bare, inverted, problem=problem, where=where)
        elif bare.startswith("/"):
            for number, line in enumerate(physical_lines(files[bare]), 1):
                if not line.startswith("#"):
                    yield from _items(line, tables, files, problems, inverted, f"{bare}:{number}", depth + 1)
        elif is_table(bare):
            table = tables.get(bare) or Table(bare, bare.partition(":")[0], problem=f"{bare} was not read")
            yield Item(bare, inverted, table=table, where=where)
        else:
            yield Item(bare.lower(), inverted, where=where)


def is_table(word: str) -> bool:
    """Whether a pattern is `type:name`: any colon outside of `[address]` makes it one (MATCH_DICTIONARY)."""
    return not word.startswith("[") and ":" in word


def included(value: str) -> list[str]:
    """The files that a list names directly."""
    return [word.lstrip("!") for word in words(value) if word.lstrip("!").startswith("/")]


def _ask(item: Item, key: str) -> bool:
    if item.problem:
        raise TableProblem(item.problem)
    return item.table is not None and item.table.get(key) is not None


def _matches_string(item: Item, text: str) -> bool:
    return _ask(item, text) if item.table or item.problem else text == item.text


def _matches_name(item: Item, name: str, parents: bool) -> bool:
    if item.problem:
        raise TableProblem(item.problem)
    if item.table is None:
        if name == item.text:
            return True
        suffix = f".{item.text}" if parents else item.text
        return suffix.startswith(".") and name.endswith(suffix) and len(name) > len(suffix)
    key = name
    while key:
        if (key == name or item.table.partial_keys) and item.table.get(key) is not None:
            return True
        dot = key.find(".", 1)
        if dot < 0:
            return False
        key = key[dot + 1:] if parents else key[dot:]
    return False


def _matches_address(item: Item, address: str) -> bool:
    if item.table or item.problem:
        return _ask(item, address)  # the full address only: a key `192.0.2` matches nothing
    network = item.network
    try:
        return network is not None and ipaddress.ip_address(address) in network
    except ValueError:
        return False


def _trusted(items: tuple[Item, ...]) -> Trusted:
    excluded: list[Network] = []
    networks: list[tuple[Network, Item]] = []
    names: list[Item] = []
    doubts: list[tuple[str, Item]] = []
    stopped: set[int] = set()  # the address families whose evaluation ended at a pattern that Postfix refuses
    for item in items:
        if item.refused:
            doubts.append((item.refused, item))
            stopped.add(item.version)
            continue
        try:
            own = [network for network in _addresses(item) if network.version not in stopped]
        except TableProblem as exc:
            doubts.append((str(exc), item))
            continue
        if item.negated:
            # Only an exclusion that came earlier takes something away; overlaps do no harm.
            excluded.extend(own)
            continue
        networks.extend((part, item) for n in own for part in subtract(n, excluded))
        if not item.table and item.network is None:
            names.append(item)
    return Trusted(tuple(networks), tuple(names), tuple(doubts))


def _addresses(item: Item) -> Iterator[Network]:
    if item.problem:
        raise TableProblem(item.problem)
    table = item.table
    if table is None:
        if item.network is not None:
            yield item.network
        return
    if table.problem:
        raise TableProblem(table.problem)
    if table.value is not None:
        yield from EVERYTHING
    for rule in table.rules:
        yield from rule.networks()
    hits = [address for key in table.entries for address in _as_address(key)]
    for everything in EVERYTHING if table.sampled else ():
        # A table that answers every stranger it was asked about answers everybody.
        if all(stranger in hits for stranger in STRANGERS if stranger.version == everything.version):
            hits = [address for address in hits if address.version != everything.version]
            yield everything
    yield from (ipaddress.ip_network(address) for address in hits)


def _as_address(key: str) -> list[Address]:
    try:
        return [ipaddress.ip_address(key)]
    except ValueError:
        return []
