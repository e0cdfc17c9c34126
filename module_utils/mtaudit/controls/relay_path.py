"""The ways into Postfix: those of one rule together, and the words that tell them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..address import Address
from ..control import Site
from ..readers.postfix_match import Item
from .relay_walk import Rule
from .way import Path as AnyPath

Path = AnyPath[Rule]


def by_family(found: Iterable[Path]) -> Iterator[Path]:
    """The same restriction for several networks is one path; one that only IPv6 clients can use belongs to RELAY-09."""
    groups: dict[tuple[str, str, str], list[Path]] = {}
    for path in found:
        name = path.rule.text if path.networks else path.rule.text + path.rule.entry
        groups.setdefault((path.control, name, path.doubt), []).append(path)
    for members in groups.values():
        networks = tuple(dict.fromkeys(n for path in members for n in path.networks))
        first = replace(members[0], networks=networks)
        if networks and all(":" in n for n in networks) and first.control == "RELAY-03":
            first = replace(first, control="RELAY-09", conditions=(*first.conditions, "ipv6"))
        yield first


def what_it_is(address: Address, site: Site) -> str:
    return "the default gateway" if str(address) in site.gateways else "a declared proxy"


def through(item: Item) -> str:
    if item.table and item.table.sampled:
        return f" through {item.text}, of which only samples are known"
    return f" through {item.text}" if item.table else f" through {item.where}" if item.where else ""


def explain(rule: Rule) -> str:
    return {
        "RELAY-04": f"{rule.text} makes foreign domains relay destinations: anybody may send to them",
        "RELAY-05": f"{rule.text} answers for every domain: foreign recipients count as ours",
    }.get(rule.control, f"{rule.text} in {rule.parameter} permits before anything rejects")
