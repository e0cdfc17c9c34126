"""How Postfix is kept from relaying for strangers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from ..address import LOOPBACK, Network, routed_parts, subtract
from ..config.postfix import Wanted
from ..control import Site
from ..controls.relay_paths import hiding, own_networks, paths
from ..finding import Finding
from ..fix import fix
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_model import RESTRICTION_LISTS, literal_domains
from ..readers.postfix_restrictions import statements
from ..readers.postfix_syntax import words
from .postfix_changes import (
    NOTHING,
    as_written,
    everywhere,
    failing,
    for_service,
    listed,
    put_right,
    services,
    set_here,
    together,
)

_LOOPBACK = "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"
_RELAY = "smtpd_relay_restrictions"
_SENDERS = "smtpd_sender_restrictions"
# Permits that ask for something that a stranger does not have, each with the control that looks at what it asks for.
_SAFE = ("permit_mynetworks", "permit_sasl_authenticated", "permit_tls_clientcerts")
_REJECTS = ("reject_unauth_destination", "defer_unauth_destination")


@fix("RELAY-01", "postfix")
@fix("RELAY-08", "postfix")
def trust_declared_networks(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Of mynetworks stays what is written as a network and lies within loopback, the host's own and the declared addresses."""
    return together(_narrowed(service, site) for service in services(failing(postfix, findings)))


def _narrowed(service: Service, site: Site) -> Wanted:
    if "mynetworks" in service.overrides:
        return for_service(service, "mynetworks", None)
    return Wanted(parameters={"mynetworks": _kept(service, site)})


def _kept(service: Service, site: Site) -> str:
    items = service.match_list("mynetworks").items
    allowed = (*site.trusted_networks, *own_networks(service.postfix))
    kept = [i.text for i in items if not i.negated and i.network and not i.where and _declared(i.network, allowed, site)]
    return " ".join(dict.fromkeys([*(kept or _LOOPBACK.split()), *map(_written, site.trusted_networks)]))


def _declared(network: Network, allowed: Sequence[Network], site: Site) -> bool:
    """Whether no stranger is in it, and no gateway or proxy that hides strangers."""
    hidden = [gateway for gateway in hiding(site) if gateway.version == network.version and network.overlaps(gateway)]
    return not routed_parts(network, allowed) and not hidden


def _written(network: Network) -> str:
    return f"[{network.network_address}]/{network.prefixlen}" if network.version == 6 else str(network)


@fix("RELAY-02", "postfix")
def trust_the_host_alone(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """And what is declared, which then has to be written out."""
    found = [put_right(service, "mynetworks_style", "host") for service in services(failing(postfix, findings))]
    if site.trusted_networks:
        found.append(Wanted(parameters={"mynetworks": " ".join([_LOOPBACK, *map(_written, site.trusted_networks)])}))
    return together(found)


@fix("RELAY-03", "postfix")
def reject_before_permits(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The list of relaying gets its reject behind the permits that strangers cannot use; whatever else it holds comes after."""
    return together(_guarded(service) for service in services(failing(postfix, findings)))


@fix("SENDER-03", "postfix")
def keep_local_senders(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Nobody relays because of a sender of this site; and who does not log in does not send as one, where the policy says so."""
    ports = failing(postfix, findings)
    opened = [smtp for smtp in ports if any(path.control == "SENDER-03" for path in paths(smtp, site))]
    if opened:
        return together(_guarded(service) for service in services(opened))
    domains = dict.fromkeys((*site.local_domains, *postfix.local_domains))
    table = "inline:{" + ", ".join(f"{domain}=REJECT" for domain in domains) + "}"
    check = ["permit_mynetworks", "permit_sasl_authenticated", f"check_sender_access {table}"]
    found = []
    for service in services(ports) if domains else ():
        items = [f"{word} {argument}".strip() for word, argument in statements(words(as_written(service, _SENDERS)), _SENDERS)]
        if check[-1] not in items:
            found.append(set_here(service, _SENDERS, " ".join([*(i for i in items if i not in check), *check])))
    return together(found)


def _guarded(service: Service) -> Wanted:
    if _RELAY in service.overrides:
        inherited, own = _ordered(service.postfix.main), _ordered(service)
        return for_service(service, _RELAY, None if own == inherited or not words(service.value(_RELAY)) else own)
    return Wanted(parameters={_RELAY: _ordered(service)})


def _ordered(service: Service) -> str:
    """The list of relaying, the reject behind the safe permits. `permit` and what permits without an argument goes."""
    found = list(statements(words(as_written(service, _RELAY)), _RELAY))
    safe = [word for word, _ in found if word.lower() in _SAFE]
    reject = next((word for word, _ in found if word.lower() in _REJECTS), _REJECTS[0])
    rest = [f"{word} {argument}".strip() for word, argument in found
            if word.lower() not in (*_SAFE, *_REJECTS) and (argument or not word.lower().startswith("permit"))]
    return listed(service, _RELAY, [*(safe or _SAFE[:2]), reject, *rest])


@fix("RELAY-04", "postfix")
def relay_for_named_domains(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Of relay_domains stay the domains that are written there, of two labels or more."""
    found = []
    for smtp in failing(postfix, findings):
        resolver = postfix.resolver(smtp.smtpd)
        named = [d for d in literal_domains(resolver, ("relay_domains",)) if "." in d.strip(".")]
        found.append(put_right(resolver, "relay_domains", " ".join(named)))
    return together(found)


@fix("RELAY-05", "postfix")
def name_the_virtual_domains(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The list whose pattern answers for everybody becomes a list of the domains that are written out, or declared."""
    found = []
    for smtp in failing(postfix, findings):
        for path in paths(smtp, site):
            name = path.rule.text.partition(" ")[0]
            if path.control == "RELAY-05" and name in ("virtual_alias_domains", "virtual_mailbox_domains"):
                resolver = postfix.resolver(smtp.smtpd)
                found.append(put_right(resolver, name, " ".join(_virtual(resolver, name, site))))
    return together(found)


def _virtual(resolver: Service, name: str, site: Site) -> list[str]:
    written = [d for d in literal_domains(resolver, (name,)) if "." in d.strip(".")]
    here = resolver.match_list("mydestination")
    declared = [d for d in site.local_domains if not here.match_string(d)]
    return list(dict.fromkeys([*written, *declared]))


@fix("RELAY-06", "postfix")
def one_policy_for_all(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What makes a service weaker than main.cf goes; what makes an instance weaker becomes as in the default one."""
    return together(w for smtp in failing(postfix, findings) for w in _as_the_default(smtp, site))


def _as_the_default(smtp: SmtpService, site: Site) -> Iterator[Wanted]:
    service = smtp.smtpd
    for path in paths(smtp, site):
        if path.control != "RELAY-06":
            continue
        if path.rule.text == "permit_mynetworks":
            names = ["mynetworks", "mynetworks_style"]
        else:
            names = [path.rule.parameter, *RESTRICTION_LISTS, "relay_domains"]
        overridden = [name for name in names if name in service.overrides]
        if overridden:
            chosen = overridden if overridden[0] in names[:2] and path.rule.text == "permit_mynetworks" else overridden[:1]
            yield from (for_service(service, name, None) for name in chosen)
        elif service.postfix.primary:
            default = service.postfix.primary
            yield from (Wanted(parameters={name: default.parameters.get(name) if name in default.lines else None})
                        for name in names[:2] if service.explicit(name) or name in default.lines)


@fix("RELAY-07", "postfix")
def let_proxies_alone_speak_for_others(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Of smtpd_authorized_xclient_hosts stay loopback and the declared proxies. What a PROXY header says is left as it is:
    without it the proxy's clients are cut off."""
    name, found = "smtpd_authorized_xclient_hosts", []
    for service in services(s for s in failing(postfix, findings) if s.smtpd.value(name)):
        items = service.match_list(name).items
        kept = [i.text for i in items if i.network and not i.negated and not subtract(i.network, (*LOOPBACK, *site.proxies))]
        found.append(put_right(service, name, " ".join(kept)))
    return together(found)


@fix("RELAY-09", "postfix")
def treat_ipv6_alike(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return _by_rule(postfix, site, findings, "RELAY-09")


@fix("RELAY-13", "postfix")
def forget_who_read_mail(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return _by_rule(postfix, site, findings, "RELAY-13")


def _by_rule(postfix: Postfix, site: Site, findings: Sequence[Finding], control: str) -> Optional[Wanted]:
    """By what opens the path: the networks, or a table in a list."""
    found = []
    for smtp in failing(postfix, findings):
        rules = {path.rule.text for path in paths(smtp, site) if path.control == control and not path.doubt}
        if "permit_mynetworks" in rules:
            found.append(_narrowed(smtp.smtpd, site))
        if rules - {"permit_mynetworks"}:
            found.append(_guarded(smtp.smtpd))
    return together(found)


fix("RELAY-10", "postfix")(everywhere("allow_untrusted_routing", "no"))


@fix("RELAY-11", "postfix")
def relay_for_nobody_by_mx(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return together(_without(s, "permit_mx_backup") for s in services(failing(postfix, findings)))


@fix("RELAY-12", "postfix")
def relay_by_fingerprint(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Any certificate becomes those of relay_clientcerts; where these are a pattern for all, nobody's."""
    found = []
    for service in services(failing(postfix, findings)):
        by_name = _without(service, "permit_tls_all_clientcerts", "permit_tls_clientcerts")
        if by_name == NOTHING:
            patterns = service.explicit("relay_clientcerts")
            by_name = put_right(service, "relay_clientcerts", None) if patterns else _guarded(service)
        found.append(by_name)
    return together(found)


def _without(service: Service, unwanted: str, instead: str = "") -> Wanted:
    """Each list of the service without a restriction, or with another one in its place."""
    wanted = NOTHING
    for name in RESTRICTION_LISTS:
        value = words(as_written(service, name))
        if unwanted in [word.lower() for word in value]:
            new = [instead if word.lower() == unwanted else word for word in value]
            wanted = wanted.then(set_here(service, name, listed(service, name, [word for word in dict.fromkeys(new) if word])))
    return wanted
