"""Find the paths by which an SMTP port lets strangers' mail through: who, by which rule, and which control owns it.

Candidates are taken from the configuration itself (trusted networks, keys of access tables that permit, sample strangers), and
each is walked through all lists as Postfix would: a rule that is never reached, or is overruled, makes no path.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..address import LOOPBACK, Address, Network, contains, routed_parts, subtract
from ..control import Site
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_match import Item
from ..readers.postfix_samples import FOREIGN_DOMAINS, LABEL, STRANGERS
from ..readers.postfix_tables import Table, TableProblem
from .relay_keys import (
    CANDIDATES_LIMIT,
    address_at,
    host_in,
    mentioned_networks,
    permitted_keys,
    permitted_names,
    permitted_networks,
)
from .relay_walk import Answer, Envelope, Rule, Walk

# Tables that daemons of this kind write; poprelayd, DRAC, relay-ctrl, whoson, pop-before-smtp and what panels call them.
_POP_BEFORE_SMTP = re.compile(r"(?i)pop[-_]?(?:before|b4|relay|auth|ip)|\bdrac\b|relay-?ctrl|whoson|imap[-_]?before|tcp\.smtp")
# Names that the public DNS does not have: a domain of one label among these opens nothing.
_PRIVATE_LABELS = ("localhost", "localdomain", "local", "internal", "lan", "home", "intranet")
_LINK_LOCAL = (ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("169.254.0.0/16"))


@dataclass(frozen=True)
class Path:
    """One way in. `control` owns it; `conditions` say what it takes, empty for anybody; with `doubt` it may or may not exist."""

    control: str
    message: str
    rule: Rule
    conditions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two paths of different services the same."""
        return self.control, self.rule.text, self.networks, self.conditions, bool(self.doubt)


def paths(smtp: SmtpService, site: Site) -> list[Path]:
    """The paths of one port, with RELAY-06 as the owner of plain ones that main.cf of the default instance does not have."""
    postfix = smtp.smtpd.postfix
    key = ("paths", id(smtp.smtpd), smtp.families, smtp.loopback_only, site.trusted_networks, site.proxies, site.gateways,
           site.local_domains)
    if key not in postfix.memo:
        own = [] if smtp.loopback_only else find(smtp.smtpd, postfix.resolver(smtp.smtpd), smtp.families, site)
        default = (postfix.primary or postfix).main
        shared = {p.key for p in find(default, default.postfix.resolver(default), smtp.families, site)} if own else set()
        postfix.memo[key] = [p if p.key in shared or not _plain(p) else _relaxed(p, smtp.smtpd) for p in own]
    found: list[Path] = postfix.memo[key]
    return found


def _plain(path: Path) -> bool:
    """A spoofed local sender keeps its own control on every port: the probe tells it apart as well."""
    return path.control != "SENDER-03"


def _relaxed(path: Path, service: Service) -> Path:
    source = f"instance {service.postfix.name}" if service.postfix.primary else f"master.cf service {service.label}"
    return replace(path, control="RELAY-06", message=f"{source} relaxes the policy: {path.message}",
                   rule=replace(path.rule, control=path.control))


def find(service: Service, resolver: Service, families: tuple[str, ...], site: Site) -> list[Path]:
    """The paths of one smtpd, each with the control that owns its rule."""
    finder = _Finder(service, resolver, families, site)
    found: dict[tuple[Any, ...], Path] = {}
    for path in finder.all():
        found.setdefault(path.key, path)
    return list(found.values())


def stranger(smtp: SmtpService, site: Site, **fields: Any) -> Envelope:
    """The envelope of a client that no network list and no table mentions, with what else is to be true of it."""
    finder = _Finder(smtp.smtpd, smtp.smtpd.postfix.resolver(smtp.smtpd), smtp.families, site)
    return Envelope(finder.stranger(finder.versions[0]), **fields)


def trusts(smtp: SmtpService, envelope: Envelope) -> bool:
    """Whether mynetworks trusts the client. Raises nothing: a table that cannot be read trusts nobody here."""
    try:
        return smtp.smtpd.match_list("mynetworks").match_client(envelope.name, str(envelope.address)) is not None
    except TableProblem:
        return False


def pop_before_smtp_tables(service: Service) -> Iterator[tuple[str, Table]]:
    """Tables of client addresses with the name of what a POP-before-SMTP daemon writes, and the parameter that uses them."""
    for item in service.match_list("mynetworks").items:
        if item.table and _POP_BEFORE_SMTP.search(item.table.spec):
            yield "mynetworks", item.table
    for word, table in Walk(service, service).tables():
        if word == "check_client_access" and _POP_BEFORE_SMTP.search(table.spec):
            yield "smtpd_relay_restrictions", table


def own_networks(postfix: Postfix) -> tuple[Network, ...]:
    """The host's own addresses as networks: it may trust itself."""
    return tuple(ipaddress.ip_network(address) for address in postfix.addresses)


class _Finder:
    def __init__(self, service: Service, resolver: Service, families: tuple[str, ...], site: Site) -> None:
        self.service = service
        self.walk = Walk(service, resolver)
        self.site = site
        self.versions = tuple({"ipv4": 4, "ipv6": 6}[f] for f in families)
        self.allowed = (*site.trusted_networks, *own_networks(service.postfix))
        self.hidden = _hidden(site)
        self.local_domains = tuple(dict.fromkeys((*service.postfix.local_domains, *site.local_domains)))

    def all(self) -> Iterator[Path]:
        trusting = list(self._mynetworks())
        yield from trusting
        yield from self._gateways(trusting)
        plain = list(self._anybody())
        yield from plain
        yield from self._destinations()
        if not any(not p.conditions and not p.doubt for p in plain):
            yield from _by_family(self._clients())
            yield from self._envelopes()

    # mynetworks

    def _mynetworks(self) -> Iterator[Path]:
        trusted = self.service.match_list("mynetworks").trusted()
        if self.service.explicit("mynetworks"):
            wide = [(n, item) for n, item in trusted.networks if n.version in self.versions and self._foreign(n, item)]
            for indexed in (False, True):
                part = [(n, i) for n, i in wide if bool(i.table and i.table.indexed) is indexed]
                if part:
                    yield from self._trusting(part, "RELAY-13" if indexed else "RELAY-01")
        else:
            allowed = (*LOOPBACK, *_LINK_LOCAL, *self.allowed)
            wide = [(n, i) for n, i in trusted.networks if n.version in self.versions and subtract(n, allowed)]
            if wide:
                yield from self._trusting(wide, "RELAY-02")
        for item in trusted.names:
            if re.search(r"[a-z]", item.text) and not item.text.startswith("/"):
                yield from self._walked(Envelope(self.stranger(4), name=host_in(item.text)), ("client_name",),
                                        f"mynetworks trusts clients by name: {item.text}")
        for reason, item in trusted.doubts:
            yield from self._doubtful_networks(reason, item)

    def _doubtful_networks(self, reason: str, item: Item) -> Iterator[Path]:
        place = item.where or self.service.origin("mynetworks")
        used = any(word == "permit_mynetworks" for word, _ in self.walk.statements())
        owners = ["RELAY-01", "RELAY-09"] + (["RELAY-13"] if item.table and item.table.indexed else [])
        for control in owners if used else ():
            rule = Rule("permit_mynetworks", "mynetworks", place, item.text, control, reason)
            yield Path(control, f"mynetworks could not be evaluated: {item.text}", rule, doubt=reason)

    def _foreign(self, network: Network, item: Item) -> bool:
        if item.network is not None and item.network in self.hidden:
            return False  # a gateway by itself: RELAY-08
        return bool(routed_parts(network, self.allowed))

    def _trusting(self, wide: list[tuple[Network, Item]], control: str) -> Iterator[Path]:
        """The path that too wide a mynetworks opens, if the lists use it for relaying."""
        used = []
        rule = None
        for network, item in sorted(wide, key=lambda pair: (pair[0].prefixlen - (96 if pair[0].version == 6 else 0))):
            if rule is None or len(used) < CANDIDATES_LIMIT:
                outcome = self.walk.outcome(Envelope(self._inside(network)))
                if outcome.answer is Answer.OK and outcome.rule and outcome.rule.control == "RELAY-01":
                    used.append((network, item))
                    rule = rule or outcome.rule
        if rule is None:
            return
        only_ipv6 = all(network.version == 6 for network, _ in used) and control == "RELAY-01"
        names = tuple(dict.fromkeys(str(network) for network, _ in used))
        text = f"mynetworks trusts {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}{_through(used[0][1])}"
        if control == "RELAY-02":
            text = f"mynetworks_style = {self.service.value('mynetworks_style')} trusts every neighbour in {', '.join(names[:3])}"
            rule = replace(rule, where=self.service.origin("mynetworks_style"))
        yield Path("RELAY-09" if only_ipv6 else control, f"{text}: its clients may relay", rule,
                   ("ipv6",) if all(n.version == 6 for n, _ in used) else (), names)

    def _gateways(self, trusting: list[Path]) -> Iterator[Path]:
        """A gateway or proxy that mynetworks trusts makes everybody behind it trusted."""
        mynetworks = self.service.match_list("mynetworks")
        covered = [ipaddress.ip_network(n) for p in trusting if not p.doubt for n in p.networks]
        for network in self.hidden:
            address = network.network_address
            if address.version not in self.versions or contains(covered, address) or address in self.service.postfix.addresses:
                continue
            outcome = self.walk.outcome(Envelope(address))
            if outcome.answer is not Answer.OK or not outcome.rule or outcome.rule.control != "RELAY-01":
                continue
            item = mynetworks.match_client("unknown", str(address))
            text = f"mynetworks trusts {address}, {_what_it_is(address, self.site)}"
            if item and (item.network in (None, network)):
                yield Path("RELAY-08", f"{text}: whoever it hides may relay", outcome.rule, ("through_gateway",), (str(network),))
            else:
                doubt = f"whether {address} hides the addresses of clients cannot be seen in the configuration: probe through it"
                yield Path("RELAY-08", text, outcome.rule, ("through_gateway",), (str(network),), doubt)

    # everything else

    def _anybody(self) -> Iterator[Path]:
        """Strangers whom no network list and no table mentions."""
        for version in self.versions:
            yield from self._walked(Envelope(self.stranger(version)), (), "")

    def _destinations(self) -> Iterator[Path]:
        """Foreign domains that the domain lists take for ours."""
        items = [i for i in self.walk.resolver.match_list("relay_domains").items if not i.negated]
        literal = [i.text.lstrip(".") for i in items if not i.table]
        keys = [key.lstrip(".") for i in items if i.table and not i.table.sampled for key in i.table.entries]
        labels = [k for k in (*literal, *keys) if k and "." not in k and k not in (*_PRIVATE_LABELS, *self.local_domains)]
        for domain in (*FOREIGN_DOMAINS, *(f"{LABEL}.{label}" for label in labels)):
            accepted = self.walk.accepts(f"probe@{domain}")
            if accepted and accepted.control and not accepted.doubt:
                yield from self._walked(Envelope(self.stranger(self.versions[0]), recipient=f"probe@{domain}"), (), "")

    def _clients(self) -> Iterator[Path]:
        for word, table in self.walk.tables():
            if word != "check_client_access":
                continue
            for network in list(permitted_networks(table))[:CANDIDATES_LIMIT]:
                if network.version not in self.versions or not routed_parts(network, self.allowed):
                    continue
                address = self._inside(network)
                for path in self._walked(Envelope(address), ("client_network",), ""):
                    yield self._client_path(path, table, network)
            for name in permitted_names(table):
                yield from self._walked(Envelope(self.stranger(self.versions[0]), name=name), ("client_name",), "")

    def _client_path(self, path: Path, table: Table, network: Network) -> Path:
        if path.rule.control != "RELAY-03":
            return path
        control = "RELAY-08" if network in self.hidden else path.control
        if _POP_BEFORE_SMTP.search(table.spec) or table.indexed and path.rule.entry.rpartition(" ")[2].isdigit():
            control = "RELAY-13"
        return replace(path, control=control, networks=(str(network),), message=f"{path.message} (clients in {network})")

    def _envelopes(self) -> Iterator[Path]:
        """What else a client may say: senders, HELO names, recipients that a table permits, an allowlist that it is on."""
        stranger = self.stranger(self.versions[0])
        yield from self._walked(Envelope(stranger, sender=""), ("null_sender",), "")
        yield from self._walked(Envelope(stranger, helo=str(stranger)), ("helo",), "")
        yield from self._walked(Envelope(stranger, listed=True), ("dns_allowlist",), "")
        for domain in self.local_domains:
            for sender in (f"postmaster@{domain}", f"root@{domain}"):
                yield from self._walked(Envelope(stranger, sender=sender), ("local_sender",), "")
            yield from self._walked(Envelope(stranger, helo=domain), ("helo",), "")
        for word, table in self.walk.tables():
            for key in list(permitted_keys(table))[:CANDIDATES_LIMIT]:
                yield from self._by_key(word, key, stranger)

    def _by_key(self, word: str, key: str, stranger: Address) -> Iterator[Path]:
        # A client table may hand some networks over to a table on senders: combine with a client that it lets in.
        for address in (stranger, *self._delegated()):
            if word == "check_helo_access":
                yield from self._walked(Envelope(address, helo=host_in(key)), ("helo",), "")
            elif word == "check_sender_access":
                sender = address_at(key)
                local = sender.rpartition("@")[2] in self.local_domains or bool(self.walk.accepts(sender)) and bool(sender)
                yield from self._walked(Envelope(address, sender=sender), ("local_sender" if local else "sender",), "")
            elif word == "check_recipient_access" and not self.walk.accepts(address_at(key)):
                yield from self._walked(Envelope(address, recipient=address_at(key)), ("recipient",), "")

    def _delegated(self) -> list[Address]:
        return [self._inside(network) for word, table in self.walk.tables() if word == "check_client_access"
                for network in list(permitted_networks(table))[:3] if routed_parts(network, self.allowed)]

    # helpers

    def _walked(self, envelope: Envelope, conditions: tuple[str, ...], message: str) -> Iterator[Path]:
        outcome = self.walk.outcome(envelope)
        rule = outcome.rule
        if rule is None or not rule.control:
            return
        local_sender = "local_sender" in conditions
        if rule.text == "permit_mynetworks" and "client_name" not in conditions:
            return  # told exactly by _mynetworks()
        if outcome.answer is Answer.OK:
            control = "SENDER-03" if local_sender and rule.control == "RELAY-03" else rule.control
            needed = conditions if rule.control in ("RELAY-03", "RELAY-01") else ()
            yield Path(control, message or _explain(rule), rule, needed)
        elif outcome.answer is Answer.UNKNOWN:
            control = "SENDER-03" if local_sender and rule.control == "RELAY-03" and "sender" in rule.text else rule.control
            yield Path(control, f"{rule.text} could not be evaluated", rule, (), doubt=rule.doubt)

    def stranger(self, version: int) -> Address:
        """A client that nothing mentions; any, when everything is mentioned."""
        mentioned = [n for n, _ in self.service.match_list("mynetworks").trusted().networks]
        for word, table in self.walk.tables():
            mentioned += [] if word != "check_client_access" or table.sampled else list(mentioned_networks(table))
        mentioned = [n for n in mentioned if n.prefixlen] + [*self.allowed, *self.service.postfix.links]
        fitting = [a for a in STRANGERS if a.version == version] or list(STRANGERS)
        return next((a for a in fitting if not contains(mentioned, a)), fitting[0])

    def _inside(self, network: Network) -> Address:
        """An address of a stranger in the network."""
        part = next(iter(routed_parts(network, self.allowed)), network)
        candidates = [a for a in STRANGERS if a in part]
        return candidates[0] if candidates else part[0] if part.num_addresses == 1 else part[1]


def _by_family(found: Iterable[Path]) -> Iterator[Path]:
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


def _hidden(site: Site) -> tuple[Network, ...]:
    """Single addresses behind which clients may hide: default gateways and declared proxies."""
    gateways = [ipaddress.ip_network(g) for g in site.gateways]
    proxies = [n for n in site.proxies if n.prefixlen == n.max_prefixlen]
    return tuple(n for n in (*gateways, *proxies) if not contains((*_LINK_LOCAL, *LOOPBACK), n.network_address))


def _what_it_is(address: Address, site: Site) -> str:
    return "the default gateway" if str(address) in site.gateways else "a declared proxy"


def _through(item: Item) -> str:
    if item.table and item.table.sampled:
        return f" through {item.text}, of which only samples are known"
    return f" through {item.text}" if item.table else f" through {item.where}" if item.where else ""


def _explain(rule: Rule) -> str:
    return {
        "RELAY-04": f"{rule.text} makes foreign domains relay destinations: anybody may send to them",
        "RELAY-05": f"{rule.text} answers for every domain: foreign recipients count as ours",
    }.get(rule.control, f"{rule.text} in {rule.parameter} permits before anything rejects")
