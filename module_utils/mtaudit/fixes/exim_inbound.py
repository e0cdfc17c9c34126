"""Exim looks strangers up in blocklists before it takes their mail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from ..config.exim import Wanted
from ..control import Site
from ..controls.blocklists import exim_zone
from ..controls.exim_paths import Finder
from ..controls.inbound import NAMES, address_names, domain_names
from ..controls.inbound_exim import KEYS, strangers_message
from ..finding import Finding
from ..fix import fix
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_syntax import Condition, Statement, items
from .exim_changes import before, failing, together, with_conditions, without
from .listings import answers_of, first_known, kind_of


@fix("INB-01", "exim")
def look_addresses_up(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    asked = _asked(first_known(address_names(site)))
    return _right(exim) or _asking(exim, site, findings, asked, "$sender_host_address is listed at $dnslist_domain")


@fix("INB-02", "exim")
def look_names_up(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Those of the three that are looked up nowhere."""
    asked = _asked(first_known(domain_names(site)))
    said = " ".join(finding.message for finding in findings)
    every = " : ".join(f"{asked}/${KEYS[what]}" for what, name in NAMES.items() if name in said)
    return _right(exim) or _asking(exim, site, findings, every, "$dnslist_matched is listed at $dnslist_domain")


def _asked(name: str) -> str:
    return f"{name}={','.join(answers_of(name))}"


def _asking(exim: Exim, site: Site, findings: Sequence[Finding], asked: str, message: str) -> Optional[Wanted]:
    """Before the statement that takes a stranger's message; own clients and people who log in are not asked about."""
    own = "\n  !hosts = +relay_from_hosts" if ("hostlist", "relay_from_hosts") in exim.config.lists else ""
    text = f"deny\n  !authenticated = *{own}\n  dnslists = {asked}\n  message = {message}"
    return together(before(exim, _taking(exim, port, site), text) for port in failing(exim, findings))


def _taking(exim: Exim, port: Listener, site: Site) -> Optional[Statement]:
    session = strangers_message(exim, port, site)
    return Finder(exim, port, site).outcome(session).statement if session else None


def _right(exim: Exim) -> Optional[Wanted]:
    """Without lists that are no more; with the answers that are listings where errors would count as such."""
    statements = [s for acl in exim.config.acls.values() for s in acl if any(c.name == "dnslists" for c in s.conditions)]
    return together(without(exim, s) if _never(s) else with_conditions(exim, s, _left(s)) for s in statements if s.verb != "warn")


def _left(statement: Statement) -> list[Condition]:
    return [new for condition in statement.conditions for new in _righted(condition)]


def _never(statement: Statement) -> bool:
    """Whether a condition asks closed lists alone, and so is never met; `!` makes of it one that always is."""
    return any(not condition.negated and not list(_righted(condition)) for condition in statement.conditions)


def _righted(condition: Condition) -> Iterator[Condition]:
    """Nothing for one of which no list is left."""
    if condition.name != "dnslists":
        yield condition
        return
    old = items(condition.value)
    new = [text for item in old for text in _righted_item(item)]
    if new == old:
        yield condition
    elif new:
        yield Condition(condition.name, " : ".join(new), condition.negated)


def _righted_item(item: str) -> Iterator[str]:
    zone, _ = exim_zone(item)
    kind = kind_of(zone.name)
    if zone.errors and kind:
        _, slash, key = item.partition("/")
        yield f"{_asked(zone.name)}{slash}{key}"
    elif not zone.closed:
        yield item
