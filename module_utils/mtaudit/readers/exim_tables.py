"""Text tables of Exim's single-key lookups: lsearch and its relatives, and iplsearch; anything else is a doubt."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from .exim_expand import Doubt

TEXT_KINDS = ("lsearch", "wildlsearch", "nwildlsearch", "iplsearch")
# Lookup types of the specification whose tables another program may write while the server runs.
WRITTEN_KINDS = ("dbm", "dbmjz", "dbmnz", "cdb", "lmdb", "sqlite", "mysql", "pgsql", "redis", "ibase", "oracle", "memcached")
KINDS = (*TEXT_KINDS, *WRITTEN_KINDS, "dsearch", "json", "nis", "nisplus", "passwd", "ldap", "ldapm", "ldapdn", "dnsdb", "testdb")

_KIND = re.compile(r"(?:partial(?P<dots>\d*)(?:\([^)]*\))?-)?(?P<kind>[a-z]+)(?P<default>\*@?)?(?:,.*)?")
_ENTRY = re.compile(r'\s*(?:"((?:\\.|[^"\\])*)"|([^\s:"][^\s:]*))\s*:?\s*(.*)')


@dataclass(frozen=True)
class Table:
    """A file of keys and values in their order; `problem` says why it could not be read."""

    path: str
    text: str = ""
    problem: str = ""
    _entries: dict[str, list[tuple[str, str]]] = field(default_factory=dict, compare=False, repr=False)

    def entries(self, kind: str) -> list[tuple[str, str]]:
        """Keys and values. In iplsearch files a key may hold colons only within quotes."""
        if self.problem:
            raise Doubt(self.problem)
        if kind not in self._entries:
            self._entries[kind] = list(_entries(self.text))
        return self._entries[kind]


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in re.sub(r"\n[ \t]+", " ", text).splitlines():
        match = _ENTRY.match(line)
        if match and not line.lstrip().startswith("#"):
            key = match.group(1) if match.group(1) is not None else match.group(2)
            yield key.replace('\\"', '"'), match.group(3).strip()


def lookup(tables: Mapping[str, Table], kind: str, path: str, key: str) -> Optional[str]:
    """What a single-key lookup finds; None for nothing. Raises Doubt for tables that are not read."""
    match = _KIND.fullmatch(kind)
    if not match or match.group("kind") not in TEXT_KINDS:
        raise Doubt(f"{kind};{path} is not read: what it answers is not known")
    if path not in tables:
        raise Doubt(f"{path} was not read")
    entries = tables[path].entries(match.group("kind"))
    for tried in _keys(key, match):
        for name, value in entries:
            if _fits(match.group("kind"), name, tried):
                return value
    return None


def _keys(key: str, match: re.Match[str]) -> Iterator[str]:
    """The key, its parents for a partial lookup, and the defaults of `*` and `*@` (specification, "Partial matching")."""
    yield key
    if "partial-" in match.group(0) or match.group("dots"):
        least = int(match.group("dots") or 2)
        yield f"*.{key}"
        labels = key.split(".")
        for start in range(1, len(labels) - least + 1):
            yield "*." + ".".join(labels[start:])
    if match.group("default") == "*@" and "@" in key:
        yield f"*@{key.rpartition('@')[2]}"
    if match.group("default"):
        yield "*"


def _fits(kind: str, name: str, key: str) -> bool:
    if kind == "iplsearch":
        return _in_network(name, key)
    if kind == "lsearch" or not name.startswith(("*", "^")):
        return name.lower() == key.lower()
    if name.startswith("*"):
        return key.lower().endswith(name[1:].lower())
    try:
        return re.search(name, key, re.IGNORECASE) is not None
    except re.error as exc:
        raise Doubt(f"the pattern '{name}' is not understood: {exc}") from None


def _in_network(name: str, key: str) -> bool:
    try:
        address = ipaddress.ip_address(key)
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return name == "*"
    return address.version == network.version and address in network
