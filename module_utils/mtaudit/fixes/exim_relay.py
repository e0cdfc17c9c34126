"""How Exim is kept from relaying for strangers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Optional

from ..address import LOOPBACK, Network, contains, routed_parts
from ..config.exim import Wanted
from ..control import Site
from ..controls.exim_paths import Finder, Path, paths
from ..controls.exim_walk import Answer
from ..controls.way import routes
from ..finding import Finding
from ..fix import fix
from ..readers.exim import Exim
from ..readers.exim_lists import Matched, file_items, network_of
from ..readers.exim_syntax import Condition, Statement, items
from .exim_changes import before, failing, first_in, together, with_conditions, without, written_list

_KINDS = {"hosts": "hostlist", "domains": "domainlist"}
_LOOKUP = re.compile(r"(?:net\d*-)?(?:partial\d*(?:\([^)]*\))?-)?[a-z]+(?:\*@?)?(?:,[\w=]+)?;\s*(/\S+)")
_OURS = "domains = +local_domains : +relay_to_domains"
_Mend = Callable[[Exim, Site, Path], Optional[Wanted]]


def _by_path(control_id: str, mend: _Mend) -> None:
    """Register a fix that closes each way that a control owns. What another daemon is told, its owner has to change."""

    def propose(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
        if exim.primary is not None:
            return None
        found = [path for port in failing(exim, findings) for path in paths(exim, port, site)]
        return together(mend(exim, site, path) for path in found if path.control == control_id and not path.doubt)

    fix(control_id, "exim")(propose)


def _narrow(exim: Exim, site: Site, path: Path) -> Optional[Wanted]:
    """The list that let it through loses what it may not hold; a statement that rests on nothing else goes."""
    rule = path.rule
    for condition, matched in reversed(rule.matched):
        for kind in (("hostlist", "domainlist") if condition.name == "acl" else (_KINDS.get(condition.name, ""),)):
            text = exim.config.lists.get((kind, matched.within))
            if text is not None:
                kept = _hosts(exim, site, text) if kind == "hostlist" else _domains(text, matched)
                return Wanted(lists={f"{kind} {matched.within}": written_list(kept)}) if kept != items(text) else None
        if condition.name in _KINDS and not matched.within and rule.statement and not condition.negated:
            kept = _hosts(exim, site, condition.value) if condition.name == "hosts" else _domains(condition.value, matched)
            if any(kept):
                return _with_list(exim, rule.statement, condition, written_list(kept))
    return without(exim, rule.statement)


def _with_list(exim: Exim, statement: Statement, condition: Condition, value: str) -> Optional[Wanted]:
    changed = [replace(c, value=value) if c == condition else c for c in statement.conditions]
    return with_conditions(exim, statement, changed)


def _hosts(exim: Exim, site: Site, text: str) -> list[str]:
    """What of a host list is the host itself, a network that no stranger is in, or declared. What was declared and only within
    something wider gets an item of its own."""
    allowed = (*LOOPBACK, *site.trusted_networks, *map(_network, map(str, exim.addresses)))
    hidden = [*map(_network, site.gateways), *(p for p in site.proxies if p.prefixlen == p.max_prefixlen)]
    kept: list[str] = []
    gone: list[str] = []
    for item in items(text):
        (kept if _may_stay(exim, item, allowed, hidden) else gone).append(item)
    while kept and kept[-1].startswith("!"):  # a list that ends so matches everybody else
        kept.pop()
    networks = [n for n in map(network_of, kept) if n is not None]
    kept = [item for item in kept if not item.startswith("!") or _excludes(item, networks)]
    if gone:
        kept += [str(n) for n in site.trusted_networks if not contains([*networks, *LOOPBACK], n.network_address)]
    return kept


def _may_stay(exim: Exim, item: str, allowed: Sequence[Network], hidden: Sequence[Network]) -> bool:
    bare = item.lstrip("! \t")
    if item.startswith("!") or bare in ("", "@", "@[]") or bare.startswith("+"):
        return True
    network = network_of(bare)
    if network is not None:
        return not routed_parts(network, allowed) and (network not in hidden or contains(LOOPBACK, network[0]))
    lookup = _LOOKUP.fullmatch(bare)
    table = exim.tables.get(lookup.group(1) if lookup else bare)
    if table is None:
        return False  # a name, which the client's own reverse zone gives
    if table.problem:
        return True  # what it holds is not known: RELAY-13 looks at that
    keys = [key for key, _ in table.entries("lsearch")] if lookup else list(file_items(table.text))
    return all(network_of(key) is not None and _may_stay(exim, key, allowed, hidden) for key in keys)


def _excludes(item: str, networks: Sequence[Network]) -> bool:
    """Whether an item that begins with ! takes anything out of what is left."""
    out = network_of(item.lstrip("! \t"))
    return out is None or any(n.version == out.version and n.overlaps(out) for n in networks)


def _network(text: str) -> Network:
    return ipaddress.ip_network(text)


def _domains(text: str, matched: Matched) -> list[str]:
    """Without the item that matched; a list that ends with a negated item matches everything else."""
    item, _, file = matched.item.partition(" in /")
    dropped = f"/{file}" if file else item
    # What matched is told as it is once Exim has expanded the list.
    kept = [i for i in items(text) if matched.by_end or i.replace("\\$", "$").replace("\\\\", "\\") != dropped]
    while matched.by_end and kept and kept[-1].startswith("!"):
        kept.pop()
    return kept


def _closed(exim: Exim, site: Site, path: Path) -> Optional[Wanted]:
    """The statement goes; where everybody's mail ends in it, it is held to the domains of the site instead."""
    statement = path.rule.statement
    if statement is None:
        return None
    acl = exim.config.acls.get(statement.where.rpartition(", statement ")[0], ())
    named = {name for kind, name in exim.config.lists if kind == "domainlist"}
    if acl[-1:] == (statement,) and {"local_domains", "relay_to_domains"} <= named:
        return before(exim, statement, f"require\n  message = relay not permitted\n  {_OURS}")
    return without(exim, statement)


for _control in ("RELAY-01", "RELAY-04", "RELAY-08", "RELAY-09", "RELAY-11"):
    _by_path(_control, _narrow)
for _control in ("RELAY-03", "RELAY-06", "RELAY-12"):
    _by_path(_control, _closed)


@fix("RELAY-13", "exim")
def trust_no_table_of_clients(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Look-ups go from the lists of those who may relay."""
    if exim.primary is not None:
        return None
    found: dict[str, str] = {}
    for (kind, name), text in exim.config.lists.items():
        kept = [item for item in items(text) if not (_LOOKUP.fullmatch(item.lstrip("! \t")))]
        if kind == "hostlist" and kept != items(text):
            found[f"hostlist {name}"] = written_list(kept)
    return Wanted(lists=found) if found else None


@fix("RELAY-07", "exim")
def let_proxies_alone_tell_addresses(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What is declared, and nobody else; without a proxy, the option goes."""
    found = {name: written_list([str(n) for n in site.proxies]) or None
             for name in ("hosts_proxy", "hosts_xclient") if exim.options.get(name)}  # fmt: skip
    return Wanted(options=found) if found else None


@fix("RELAY-10", "exim")
def refuse_routes_in_local_parts(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Refused before the statement that takes such recipients for a domain behind this host."""
    return together(_route_refused(exim, site, port) for port in failing(exim, findings))


def _route_refused(exim: Exim, site: Site, port: object) -> Optional[Wanted]:
    finder = Finder(exim, port, site)  # type: ignore[arg-type]
    for domain in exim.relayed_domains[:1]:
        for _, local_part, _ in routes(finder.session().recipient.rpartition("@")[2]):
            outcome = finder.outcome(finder.session(recipient=f"{local_part}@{domain}"))
            if outcome.answer is Answer.OK:
                text = "deny\n  domains = !+local_domains\n  local_parts = ^.*[@%!]\n  message = restricted characters in address"
                return before(exim, outcome.statement, text)
    return None


@fix("SENDER-03", "exim")
def ask_local_senders_for_a_login(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What accepts because of the sender goes; then whoever writes as somebody here has to log in, or be a trusted host."""
    own = list(_sender_paths(exim, site, findings))
    if own:
        return together(without(exim, path.rule.statement) for path in own)
    trusted = "  !hosts = +relay_from_hosts\n" if ("hostlist", "relay_from_hosts") in exim.config.lists else ""
    if ("domainlist", "local_domains") not in exim.config.lists:
        return None
    text = f"deny\n  !authenticated = *\n{trusted}  sender_domains = +local_domains\n  message = local senders must log in"
    return first_in(exim, "acl_smtp_mail", "acl_mtaudit_mail", text)


def _sender_paths(exim: Exim, site: Site, findings: Sequence[Finding]) -> Iterator[Path]:
    for port in failing(exim, findings):
        yield from (path for path in paths(exim, port, site) if path.control == "SENDER-03" and not path.doubt)
