"""How OpenSMTPD is kept from relaying for strangers: the rule that does so is narrowed, or asks for a login."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Optional

from ..address import LOOPBACK, Network, contains, routed_parts
from ..config.opensmtpd import Wanted
from ..config.opensmtpd_text import one_statement
from ..control import Site
from ..controls.opensmtpd_paths import Finder, paths
from ..controls.opensmtpd_walk import Answer
from ..controls.way import routes
from ..finding import Finding
from ..fix import fix
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_lexer import Token, written
from ..readers.opensmtpd_syntax import Criterion, Rule
from ..readers.opensmtpd_tables import Doubt

Narrow = Callable[[OpenSmtpd, Rule, Site], Optional[str]]
_ROUTES = 'match from any for rcpt-to regex "[%!].*@" reject'


def failing(smtpd: OpenSmtpd, findings: Sequence[Finding]) -> list[Listener]:
    """The ports that the findings are about."""
    names = {finding.subject.name for finding in findings if finding.subject.kind == "listener"}
    return [listener for listener in smtpd.listeners if listener.name in names]


def together(wanted: Iterable[Wanted]) -> Optional[Wanted]:
    """All of them, one after the other; None for nothing."""
    found = reduce(lambda a, b: a.then(b), wanted, Wanted())
    return None if found == Wanted() else found


def _closing(control_id: str, narrow: Optional[Narrow] = None) -> None:
    """A fix of the rules that open a way which the control owns: narrowed to what is declared, else for those who log in."""

    @fix(control_id, "opensmtpd")
    def close_the_rule(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
        return together(_changes(smtpd, site, findings, control_id, narrow))


def _changes(
    smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding], control_id: str, narrow: Optional[Narrow]
) -> Iterator[Wanted]:
    done = set()
    for listener in failing(smtpd, findings):
        for path in paths(smtpd, listener, site):
            rule = path.rule.outcome.rule
            if path.control != control_id or path.doubt or rule is None or rule.text in done:
                continue
            done.add(rule.text)
            kept = narrow(smtpd, rule, site) if narrow else None
            new = kept or for_logins(rule)
            if new:
                yield Wanted({rule.text: new}, {} if kept else _for_the_host(smtpd, rule))


def for_logins(rule: Rule) -> Optional[str]:
    """The rule for those who have logged in; None where it asks for that already."""
    tokens = one_statement(rule.text)
    places = [n for n, token in enumerate(tokens) if token.kind == "word" and token.text == "auth"]
    if not places:
        return written([tokens[0], Token("word", "auth", ""), *tokens[1:]])
    negated = [n for n in places if tokens[n - 1].kind == "sign" and tokens[n - 1].text == "!"]
    return written([t for n, t in enumerate(tokens) if n + 1 not in negated]) if negated else None


def _for_the_host(smtpd: OpenSmtpd, rule: Rule) -> dict[str, str]:
    """The rule for the host's own mail, in front, where it was the only one for that."""
    source = rule.criterion("from")
    if source is None or source.scope != "any" or source.negated or any(_own(smtpd, each) for each in smtpd.config.rules):
        return {}
    tokens = list(one_statement(rule.text))
    at = next((n for n, token in enumerate(tokens[:-1]) if token.text == "from" and tokens[n + 1].text == "any"), 0)
    if not at:
        return {}
    kept = [t for n, t in enumerate(tokens) if not (t.text == "auth" or t.text == "!" and tokens[n + 1].text == "auth")]
    at = next(n for n, token in enumerate(kept) if token.text == "from")
    return {written([*kept[: at + 1], Token("word", "local", ""), *kept[at + 2 :]]): rule.text}


def _own(smtpd: OpenSmtpd, rule: Rule) -> bool:
    """Whether it sends all that the host itself hands in."""
    action = smtpd.config.actions.get(rule.action)
    plain = {criterion.name for criterion in rule.criteria} <= {"from", "for"}
    source, destination = rule.criterion("from"), rule.criterion("for")
    return bool(
        action and action.relays and plain and source and source.scope == "local" and not source.negated
        and destination and destination.scope == "any" and not destination.negated
    )  # fmt: skip


def _declared_clients(smtpd: OpenSmtpd, rule: Rule, site: Site) -> Optional[str]:
    """The rule with those networks of `from src` alone that are declared, or the host's own."""
    source = rule.criterion("from")
    if source is None or source.scope != "src" or source.negated or source.regex or source.table is None:
        return None
    allowed = (*site.trusted_networks, *smtpd.own_addresses)
    try:
        kept = [key for key, net in source.table.networks if net and not routed_parts(net, allowed) and not _hides(net, site)]
    except Doubt:
        return None
    return _with_list(rule, source, kept) if kept else None


def _hides(network: Network, site: Site) -> bool:
    """Whether a gateway or proxy is in it, which hides strangers."""
    single = [*(ipaddress.ip_network(g) for g in site.gateways), *(p for p in site.proxies if p.prefixlen == p.max_prefixlen)]
    return any(n.version == network.version and n.overlaps(network) and not contains(LOOPBACK, n.network_address) for n in single)


def _named_domains(smtpd: OpenSmtpd, rule: Rule, site: Site) -> Optional[str]:
    """The rule with those domains alone that are written out, of two labels or more."""
    destination = rule.criterion("for")
    if destination is None or destination.scope != "domain" or destination.negated or destination.regex:
        return None
    try:
        keys = destination.table.keys if destination.table else []
    except Doubt:
        return None
    kept = [key for key in keys if "*" not in key and "." in key.strip(".")]
    return _with_list(rule, destination, kept) if kept else None


def _with_list(rule: Rule, criterion: Criterion, kept: Sequence[str]) -> Optional[str]:
    """The rule with these keys in place of the criterion's table."""
    tokens = list(one_statement(rule.text))
    at = next((n for n, t in enumerate(tokens[:-1]) if t.text == criterion.name and tokens[n + 1].text == criterion.scope), -1)
    if at < 0:
        return None
    start = end = at + 2
    closing = {"<": ">", "{": "}"}.get(tokens[start].text if tokens[start].kind == "sign" else "", "")
    while closing and tokens[end].text != closing:
        end += 1
    items = [Token("quoted", key, "") for key in kept]
    separated = [token for item in items for token in (Token("sign", ",", ""), item)][1:]
    new = [Token("sign", "{", ""), *separated, Token("sign", "}", "")]
    return written([*tokens[:start], *new, *tokens[end + 1 :]])


_closing("RELAY-01", _declared_clients)
_closing("RELAY-03")
_closing("RELAY-04", _named_domains)
_closing("RELAY-06")
_closing("RELAY-08", _declared_clients)
_closing("RELAY-09", _declared_clients)
_closing("RELAY-12")


@fix("RELAY-10", "opensmtpd")
def refuse_routes(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Above the rule that passes such recipients on."""
    found = []
    for listener in failing(smtpd, findings):
        finder = Finder(smtpd, listener, site)
        for port, version in finder.ports:
            foreign = finder.session(version).recipient.rpartition("@")[2]
            for _trick, local_part, _shape in routes(foreign)[:2]:
                for domain in smtpd.relayed_domains[:1]:
                    outcome = finder.outcome(port, finder.session(version, recipient=f"{local_part}@{domain}"))
                    if outcome.answer is Answer.RELAY and outcome.rule is not None:
                        found.append(Wanted(additions={_ROUTES: outcome.rule.text}))
    return found[0] if found else None


@fix("SENDER-03", "opensmtpd")
def refuse_own_senders_of_strangers(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """A rule that relays for them is for those who log in; else they are refused above the rule that takes their mail."""
    relaying = list(_changes(smtpd, site, findings, "SENDER-03", None))
    if relaying:
        return together(relaying)
    for listener in failing(smtpd, findings):
        finder = Finder(smtpd, listener, site)
        if not finder.local_domains:
            continue
        quoted = ", ".join(f'"@{domain}"' for domain in finder.local_domains)
        new = f"match !auth !from local mail-from {{ {quoted} }} for any reject"
        for port, version in finder.ports:
            for domain in finder.local_domains:
                session = finder.session(version, sender=f"postmaster@{domain}", recipient=f"postmaster@{domain}")
                outcome = finder.outcome(port, session)
                if outcome.answer in (Answer.LOCAL, Answer.RELAY) and outcome.rule is not None:
                    return Wanted(additions={new: outcome.rule.text})
    return None
