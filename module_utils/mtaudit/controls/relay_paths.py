"""Find the paths by which an SMTP port lets strangers' mail through: who, by which rule, and which control owns it.

Candidates are taken from the configuration itself (trusted networks, keys of access tables that permit, sample strangers), and
each is walked through all lists as Postfix would: a rule that is never reached, or is overruled, makes no path.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Optional, TypeVar

from ..address import LOOPBACK, Address, Network, contains, routed_parts, subtract
from ..control import Site
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_match import Item
from ..readers.postfix_restrictions import access_tables, all_statements
from ..readers.postfix_samples import FOREIGN_DOMAINS, LABEL, STRANGERS
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import Table, TableProblem
from .relay_keys import (
    TRIED_LIMIT,
    address_at,
    by_turns,
    host_in,
    mentioned_networks,
    permitted_entries,
    permitted_names,
    permitted_networks,
    written_by_a_daemon,
)
from .relay_path import Path, by_family, explain, through, what_it_is
from .relay_walk import Answer, Envelope, Rule, Walk

# Names that the public DNS does not have: a domain of one label among these opens nothing.
_PRIVATE_LABELS = ("localhost", "localdomain", "local", "internal", "lan", "home", "intranet")
_WALKED_LIMIT = 40  # of mynetworks: its ranges open all the same rule, the others are taken to do so too
_DOMAINS = ("relay_domains", "virtual_alias_domains", "virtual_mailbox_domains")
_LINK_LOCAL = (ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("169.254.0.0/16"))

_Key = TypeVar("_Key")
_ALIKE_LIMIT = 3  # of the entries of one table that a class of restrictions is for


@dataclass(frozen=True)
class _Base:
    """A message that a table hands over to a class of restrictions: what it has to have for that, and the networks of all clients
    that are treated like its own; none for anybody."""

    envelope: Envelope
    conditions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


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
        self.hidden = hiding(site)
        self._strangers: dict[int, Address] = {}
        self.local_domains = tuple(dict.fromkeys((*service.postfix.local_domains, *site.local_domains)))

    def all(self) -> Iterator[Path]:
        trusting = list(self._mynetworks())
        yield from trusting
        yield from self._gateways(trusting)
        plain = list(self._anybody())
        yield from plain
        yield from self._destinations()
        if not any(not p.conditions and not p.doubt for p in plain):
            yield from by_family(self._clients())
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
        used = any(word == "permit_mynetworks" for word, _ in all_statements(self.service))
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
            if rule is not None and len(used) >= _WALKED_LIMIT:
                used.append((network, item))
                continue
            outcome = self.walk.outcome(Envelope(self._inside(network)))
            if outcome.answer is Answer.OK and outcome.rule and outcome.rule.control == "RELAY-01":
                used.append((network, item))
                rule = rule or outcome.rule
        if rule is None:
            return
        only_ipv6 = all(network.version == 6 for network, _ in used) and control == "RELAY-01"
        names = tuple(dict.fromkeys(str(network) for network, _ in used))
        text = f"mynetworks trusts {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}{through(used[0][1])}"
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
            text = f"mynetworks trusts {address}, {what_it_is(address, self.site)}"
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
        # Of a table of patterns, what answered for a name that nobody has below a top level.
        asked = [i.table for name in _DOMAINS for i in self.walk.resolver.match_list(name).items if i.table and i.table.sampled]
        tails = [key.partition(".")[2] for table in asked for key in table.entries if key.startswith(f"{LABEL}.")]
        labels = [k for k in (*literal, *keys, *tails) if k and "." not in k and k not in (*_PRIVATE_LABELS, *self.local_domains)]
        for domain in (*FOREIGN_DOMAINS, *(f"{LABEL}.{label}" for label in labels)):
            accepted = self.walk.accepts(f"probe@{domain}")
            if accepted and accepted.control and not accepted.doubt:
                yield from self._walked(Envelope(self.stranger(self.versions[0]), recipient=f"probe@{domain}"), (), "")

    def _clients(self) -> Iterator[Path]:
        for table in self._client_tables():
            networks, names = by_turns(self._foreign_clients(table)), by_turns(permitted_names(table))
            found = [*self._by_network(table, [n for n, _ in networks]), *self._by_name(names)]
            yield from found or self._untried("check_client_access", table, max(len(networks), len(names)))

    def _client_tables(self) -> Iterator[Table]:
        return (table for word, table in access_tables(self.service) if word == "check_client_access")

    def _foreign_clients(self, table: Table) -> Iterator[tuple[Network, str]]:
        return ((network, value) for network, value in permitted_networks(table)
                if network.version in self.versions and routed_parts(network, self.allowed))

    def _by_network(self, table: Table, networks: list[Network]) -> Iterator[Path]:
        opened: Optional[Path] = None
        for network in networks[:TRIED_LIMIT]:
            for path in self._walked(Envelope(self._inside(network)), ("client_network",), ""):
                yield self._client_path(path, table, network)
                opened = opened or (None if path.doubt or path.rule.control != "RELAY-03" else path)
        # Those beyond the limit stand in the same table as one that opens it: they are taken to open it as well.
        if opened:
            yield from (self._client_path(opened, table, network) for network in networks[TRIED_LIMIT:])

    def _by_name(self, names: list[tuple[str, str]]) -> Iterator[Path]:
        for name, _ in names[:TRIED_LIMIT]:
            yield from self._walked(Envelope(self.stranger(self.versions[0]), name=name), ("client_name",), "")

    def _untried(self, word: str, table: Table, count: int, control: str = "RELAY-03") -> Iterator[Path]:
        """The doubt that is left when a table holds too many entries to try, and those that were tried opened nothing."""
        if count > TRIED_LIMIT:
            rule = Rule(f"{word} {table.spec}", "", table.spec, f"{count} entries that may permit", control)
            doubt = f"{table.spec} has {count} entries that may permit; only {TRIED_LIMIT} of them were tried"
            yield Path(control, f"{rule.text} is too long to be evaluated in full", rule, doubt=doubt)

    def _client_path(self, path: Path, table: Table, network: Network) -> Path:
        if path.rule.control != "RELAY-03":
            return path
        control = "RELAY-08" if network in self.hidden else path.control
        if written_by_a_daemon(table) or table.indexed and path.rule.entry.rpartition(" ")[2].isdigit():
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
        bases = [_Base(Envelope(stranger)), *self._delegated()]
        for word, table in access_tables(self.service):
            for condition, entries in self._groups(word, table).items():
                if condition:
                    yield from self._by_keys(word, table, condition, by_turns(entries), bases)

    def _groups(self, word: str, table: Table) -> dict[str, list[tuple[str, str]]]:
        """The entries of a table that may permit, by what a message has to have so that they are looked up."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for key, value in permitted_entries(table):
            groups.setdefault(self._condition(word, key), []).append((key, value))
        return groups

    def _condition(self, word: str, key: str) -> str:
        """What a message has to have so that the table's key is looked up; empty when no foreign message has it."""
        if word == "check_sender_access":
            sender = address_at(key)
            local = sender.rpartition("@")[2] in self.local_domains or bool(self.walk.accepts(sender)) and bool(sender)
            return "local_sender" if local else "sender"
        if word == "check_recipient_access":
            return "" if self.walk.accepts(address_at(key)) else "recipient"
        return "helo" if word == "check_helo_access" else ""

    def _by_keys(self, word: str, table: Table, condition: str, entries: list[tuple[str, str]],
                 bases: list[_Base]) -> Iterator[Path]:
        found = []
        for base in bases:
            opening: set[str] = set()
            for key, value in entries[:TRIED_LIMIT] if condition not in base.conditions else ():
                if value in opening:
                    continue  # one more key with the same answer is the same path
                for path in self._walked(_saying(base.envelope, condition, key), (*base.conditions, condition), ""):
                    found.append(replace(path, networks=base.networks))
                    opening |= set() if path.doubt else {value}
        control = "SENDER-03" if condition == "local_sender" else "RELAY-03"
        yield from found or self._untried(word, table, len(entries), control)

    def _delegated(self) -> Iterator[_Base]:
        """A table may hand some messages over to another one: those clients, senders and recipients, with what brings them there.

        Those that it lets through as they are were found by themselves.
        """
        anybody = Envelope(self.stranger(self.versions[0]))
        for word, table in access_tables(self.service):
            found = [*self._handed_over(word, table, anybody)]
            yield from (base for base in found if self.walk.outcome(base.envelope).answer is not Answer.OK)

    def _handed_over(self, word: str, table: Table, anybody: Envelope) -> Iterator[_Base]:
        if word == "check_client_access":
            for members in self._by_class(self._foreign_clients(table)):
                networks = tuple(str(network) for network in members)
                yield from (_Base(Envelope(self._inside(n)), (), networks) for n in members[:_ALIKE_LIMIT])
            for names in self._by_class(permitted_names(table)):
                yield from (_Base(replace(anybody, name=name), ("client_name",)) for name in names[:_ALIKE_LIMIT])
        for condition, entries in self._groups(word, table).items():
            for keys in self._by_class(entries) if condition else ():
                yield from (_Base(_saying(anybody, condition, key), (condition,)) for key in keys[:_ALIKE_LIMIT])

    def _by_class(self, entries: Iterable[tuple[_Key, str]]) -> list[list[_Key]]:
        """The keys that one class of restrictions is for, together: only a class asks further tables (access(5))."""
        groups: dict[str, list[_Key]] = {}
        for key, value in entries:
            if any(word in self.walk.classes for word in words(value)):
                groups.setdefault(value, []).append(key)
        return list(groups.values())

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
            yield Path(control, message or explain(rule), rule, needed)
        elif outcome.answer is Answer.UNKNOWN:
            control = "SENDER-03" if local_sender and rule.control == "RELAY-03" and "sender" in rule.text else rule.control
            yield Path(control, f"{rule.text} could not be evaluated", rule, (), doubt=rule.doubt)

    def stranger(self, version: int) -> Address:
        """A client that nothing mentions; any, when everything is mentioned."""
        if version not in self._strangers:
            self._strangers[version] = self._unmentioned(version)
        return self._strangers[version]

    def _unmentioned(self, version: int) -> Address:
        mentioned = [n for n, _ in self.service.match_list("mynetworks").trusted().networks]
        for word, table in access_tables(self.service):
            mentioned += [] if word != "check_client_access" or table.sampled else list(mentioned_networks(table))
        mentioned = [n for n in mentioned if n.prefixlen] + [*self.allowed, *self.service.postfix.links]
        fitting = [a for a in STRANGERS if a.version == version] or list(STRANGERS)
        return next((a for a in fitting if not contains(mentioned, a)), fitting[0])

    def _inside(self, network: Network) -> Address:
        """An address of a stranger in the network."""
        part = next(iter(routed_parts(network, self.allowed)), network)
        candidates = [a for a in STRANGERS if a in part]
        return candidates[0] if candidates else part[0] if part.num_addresses == 1 else part[1]


def _saying(envelope: Envelope, condition: str, key: str) -> Envelope:
    """The envelope with what finds a table's key."""
    if condition == "helo":
        return replace(envelope, helo=host_in(key))
    address = address_at(key)
    return replace(envelope, recipient=address) if condition == "recipient" else replace(envelope, sender=address)


def hiding(site: Site) -> tuple[Network, ...]:
    """Single addresses behind which clients may hide: default gateways and declared proxies."""
    gateways = [ipaddress.ip_network(g) for g in site.gateways]
    proxies = [n for n in site.proxies if n.prefixlen == n.max_prefixlen]
    return tuple(n for n in (*gateways, *proxies) if not contains((*_LINK_LOCAL, *LOOPBACK), n.network_address))
