"""How Sendmail is kept from relaying for strangers: entries, features and rules that say yes to them go."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Optional

from ..address import LOOPBACK, Network, contains, routed_parts
from ..config.sendmail import Wanted
from ..control import Site
from ..controls.sendmail_paths import Finder
from ..finding import Finding
from ..fix import fix
from ..readers.sendmail import POP_BEFORE_SMTP, Sendmail
from ..readers.sendmail_model import is_domain, network_of
from .sendmail_changes import failing, out, own_accepts, together, without

# Whoever is the host itself, or has logged in, may use the site's senders; RELAY-14 holds logins to theirs.
_OWN_SENDERS = """\
R$*\t\t\t\t\t$: $1 $| < $&{auth_authen} > < $&{client_addr} > $>canonify $1
R$* $| < > < 127.0.0.1 > $*\t\t$: $1
R$* $| < > < 0 > $*\t\t\t$: $1
R$* $| < > < IPv6:0:0:0:0:0:0:0:1 > $*\t$: $1
R$* $| < > < > $*\t\t\t$: $1
R$* $| < > < $* > $* < @ $=w . >\t$#error $@ 5.7.1 $: "550 local senders must log in"
R$* $| < > < $* > $* < @ $=w >\t\t$#error $@ 5.7.1 $: "550 local senders must log in"
R$* $| $*\t\t\t\t$: $1"""
_SET = "SLocal_check_mail"
_COUNTED = {"conncontrol": "{client_connections}", "ratecontrol": "{client_rate}"}


def _features(*names: str) -> Wanted:
    gone: dict[str, Optional[str]] = dict.fromkeys(names)
    return Wanted(features=gone)


@fix("RELAY-01", "sendmail")
@fix("RELAY-08", "sendmail")
@fix("RELAY-09", "sendmail")
def trust_declared_clients(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the clients that are neither declared nor the host's own: entries of the access map, members of class R, and the
    whole parent domain. Mail for a domain that was listed with them is passed on as before (`To:`)."""
    wanted = [_without_clients(sendmail, site, {finding.control for finding in findings})]
    if any("$=m" in rule.left for rule in sendmail.cf.rules.get("Relay_ok", [])):
        wanted.append(_features("relay_entire_domain"))
    return together(wanted)


def _without_clients(sendmail: Sendmail, site: Site, ids: set[str]) -> Wanted:
    def goes(key: str) -> bool:
        network = network_of(key)
        if network is None:
            return "RELAY-01" in ids and is_domain(key) and "." in key.strip(".")
        alone = "RELAY-09" in ids and len(ids) == 1
        return not (alone and network.version == 4) and _strange(network, sendmail, site)

    listed = [entry for entry in sendmail.entries("connect", "") if entry.relays and goes(entry.key)]
    members = [member for member in sendmail.classes.get("R", ()) if goes(member)]
    domains = [key for key in (*members, *(e.key for e in listed if not e.tag)) if is_domain(key)]
    still: dict[str, Optional[str]] = {f"To:{domain}": "RELAY" for domain in domains}
    kept = Wanted(maps={sendmail.access.path: still}) if still and sendmail.access else Wanted()
    return without(sendmail, listed).then(_without_members(sendmail, members)).then(kept)


def _strange(network: Network, sendmail: Sendmail, site: Site) -> bool:
    """Whether strangers are in it, or a gateway or proxy that hides some."""
    allowed = (*site.trusted_networks, *(ipaddress.ip_network(a) for a in sendmail.addresses))
    hiding = [*(ipaddress.ip_network(g) for g in (*site.gateways, *map(str, sendmail.gateways))),
              *(p for p in site.proxies if p.prefixlen == p.max_prefixlen)]  # fmt: skip
    outer = [n for n in hiding if n.version == network.version and not contains(LOOPBACK, n.network_address)]
    return bool(routed_parts(network, allowed)) or any(n.overlaps(network) for n in outer)


def _without_members(sendmail: Sendmail, members: Sequence[str]) -> Wanted:
    """Class R without these: in its files, and in RELAY_DOMAIN of the source."""
    if not members:
        return Wanted()
    paths = [path for path in sendmail.cf.class_files.get("R", []) if path.startswith("/")]
    written = [word for word in sendmail.cf.class_words.get("R", []) if word in members]
    lines: dict[str, Optional[str]] = {f"RELAY_DOMAIN(`{word}')dnl": None for word in written}
    return Wanted(words={path: dict.fromkeys(members, False) for path in paths}, lines=lines)


@fix("RELAY-03", "sendmail")
def refuse_before_accepting(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the features that say yes to everybody or to a sender, and without rules of the site's own that do."""
    return _features("promiscuous_relay", "relay_mail_from").then(out(own_accepts(sendmail)))


@fix("RELAY-04", "sendmail")
def relay_for_named_domains(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the domains of one label."""
    labels = [e for e in sendmail.entries("to", "") if e.relays and is_domain(e.key) and "." not in e.key.strip(".")]
    members = [m for m in sendmail.classes.get("R", ()) if is_domain(m) and "." not in m.strip(".")]
    return together([without(sendmail, labels), _without_members(sendmail, members)])


@fix("RELAY-06", "sendmail")
def one_policy_for_all_ports(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return together([out(own_accepts(sendmail))])


@fix("RELAY-10", "sendmail")
def refuse_routes(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return _features("loose_relay_check")


@fix("RELAY-11", "sendmail")
def ask_no_mx_records(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return _features("relay_based_on_MX")


@fix("RELAY-12", "sendmail")
def let_no_certificate_relay(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """An authority's word for all whom it certifies goes; certificates that are named one by one (SUBJECT) stay."""
    issuers = [entry for entry in sendmail.entries("certissuer") if entry.relays]
    asking = [rules for name, rules in sendmail.cf.rules.items() if name.startswith("Local_")
              and any(re.search(r"\{(?:verify|tls_version|cert_\w+)\}", f"{r.left} {r.right}") for r in rules)]  # fmt: skip
    accepts = [rule for rule in own_accepts(sendmail) if any(rule in rules for rules in asking)]
    return together([without(sendmail, issuers), out(accepts)])


@fix("RELAY-13", "sendmail")
def ask_no_pop_before_smtp(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the feature, and without rules of the site's own behind such a map."""
    named = [m for m in sendmail.cf.maps.values() if POP_BEFORE_SMTP.search(f"{m.name} {m.path}")]
    sets = [rules for name, rules in sendmail.cf.rules.items() if name.startswith("Local_")
            and any(m in named for m in sendmail.cf.maps_of(rules))]  # fmt: skip
    accepts = [rule for rule in own_accepts(sendmail) if any(rule in rules for rules in sets)]
    return _features("drac").then(out(accepts)) if named else None


@fix("SENDER-01", "sendmail")
@fix("RELAY-14", "sendmail")
def ask_the_rules_of_senders(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """With FEATURE(delay_checks) the site's rules about logins are never asked. Without such rules nothing is proposed: whose
    sender is whose is known to the site alone."""
    asks = any("{auth_authen}" in r.right for r in sendmail.cf.rules.get("Local_check_mail", []))
    if not asks or not sendmail.delays_checks:
        return None
    # Their `nodelay` is for delay_checks alone: m4 calls it an error without (cf/feature/conncontrol.m4).
    every = " ".join(f"{rule.left} {rule.right}" for rules in sendmail.cf.rules.values() for rule in rules)
    counted = [name for name, macro in _COUNTED.items() if macro in every]
    return _features("delay_checks").then(Wanted(features=dict.fromkeys(counted, "`', `terminate'")))


@fix("SENDER-03", "sendmail")
def refuse_own_senders_of_strangers(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the feature that lets them relay; and above the site's own rules about senders, one that asks strangers who claim
    to be local for a login."""
    relays = _features("relay_local_from")
    if not any("local_recipient" in finding.conditions for finding in findings):
        return relays
    if sendmail.cf.rules.get("Local_check_mail"):
        return relays.then(Wanted(lines={_SET: f"{_SET}\n{_OWN_SENDERS}"}))
    return relays.then(Wanted(rules={f"{_SET}\n{_OWN_SENDERS}": "LOCAL_RULESETS"}))


@fix("RCPT-01", "sendmail")
def refuse_unknown_mailboxes(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the mailbox for all that have no account, and without the virtual users that stand for a whole domain."""
    found = [Wanted(defines={"LUSER_RELAY": None})] if sendmail.cf.macros.get("L", ("", 0))[0] else []
    virtual = sendmail.cf.maps.get("virtuser")
    domains = {domain for listener in failing(sendmail, findings)
               for domain in Finder(sendmail, listener, site).questions.local_domains()}  # fmt: skip
    if virtual is not None and virtual.path:
        found.append(Wanted(maps={virtual.path: {f"@{domain}": None for domain in sorted(domains)}}))
    return together(found)

