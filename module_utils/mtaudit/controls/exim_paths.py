"""Find the ways by which an Exim port lets strangers' mail through: who, by which statement, and which control owns it.

Candidates come from the configuration itself (networks, names, senders, HELO names, recipients that lists and conditions
mention) and each is walked through all ACLs. What a way rests on is found out by walking again with that out of sight.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Optional

from ..address import LOOPBACK, Address, Network, contains, routed_parts
from ..control import Site
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Session
from ..readers.exim_lists import EVERYTHING, Without, network_of
from ..readers.exim_syntax import Condition
from ..readers.exim_tables import WRITTEN_KINDS
from ..readers.postfix_samples import FOREIGN_DOMAINS, LABEL, STRANGERS, examples
from .exim_walk import Answer, Outcome, Walk
from .way import Path as AnyPath
from .way import relaxed, remembered, usual_of

# Tables that POP-before-SMTP daemons write; and lookups whose tables a program can write while Exim runs.
_POP_BEFORE_SMTP = re.compile(r"(?i)pop[-_]?(?:before|b4|relay|auth|ip)|\bdrac\b|relay-?ctrl|whoson|imap[-_]?before|relayhosts")
_WRITTEN = re.compile(rf"\b(?:{'|'.join(WRITTEN_KINDS)})(?:;|\{{|,| )")
_LOOKUP = re.compile(r"\b[a-z]+[;{](/[^\s:;{}|]+)")
_PRIVATE_LABELS = ("localhost", "localdomain", "local", "internal", "lan", "home", "intranet")
_LITERALS = re.compile(r"\{\s*([\w.@+-]{2,})\s*\}")
_ADDRESSES = re.compile(r"[\da-fA-F]+[.:][\da-fA-F.:]*(?:/\d+)?")
_CANDIDATES_LIMIT = 100
_OWNERS = {"hosts": "RELAY-01", "domains": "RELAY-04"}


Path = AnyPath[Outcome]


def paths(exim: Exim, listener: Listener, site: Site) -> list[Path]:
    """The ways of one port, with RELAY-06 as the owner of those that the first port of the default one does not have."""
    return remembered(exim.memo, listener, site, _of_port(exim, listener, site))


def _of_port(exim: Exim, listener: Listener, site: Site) -> Iterator[Path]:
    default = exim.primary or exim
    usual = usual_of(default.listeners, listener)
    same = exim.primary is None and listener.port == usual.port
    source = f"the daemon with {exim.file}" if exim.primary else f"port {listener.port}"
    yield from relaxed(Finder(exim, listener, site).all(), None if same else Finder(default, usual, site).all(), source)


def pop_before_smtp(exim: Exim) -> str:
    """The lookup in a list of hosts or a condition that is named like what a POP-before-SMTP daemon writes; empty for none."""
    texts = [c.value for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name in ("hosts", "condition")]
    texts += [text for (kind, _), text in exim.config.lists.items() if kind == "hostlist"]
    found = (match.group(0) for text in texts for match in _LOOKUP.finditer(text) if _POP_BEFORE_SMTP.search(match.group(1)))
    return next(found, "")


class Finder:
    """Looks for the ways of one port."""

    def __init__(self, exim: Exim, listener: Listener, site: Site) -> None:
        self._exim = exim
        self._listener = listener
        self._site = site
        self._versions = tuple({"ipv4": 4, "ipv6": 6}[family] for family in listener.families)
        self._allowed = (*site.trusted_networks, *(ipaddress.ip_network(a) for a in exim.addresses))
        self._hosts = [i.lstrip("! \t") for i in self._mentioned("hosts", "hostlist")]
        self.local_domains = list(dict.fromkeys((*exim.local_domains, *site.local_domains)))

    def all(self) -> list[Path]:
        """Each way once."""
        found: dict[tuple[object, ...], Path] = {}
        for path in self._all():
            found.setdefault(path.key, path)
        return list(found.values())

    def session(self, version: int = 0, **fields: Any) -> Session:
        """A stranger that no list mentions, with what else is to be true of the session."""
        address = self._stranger(version or self._versions[0])
        usual = {"name": f"mail.{FOREIGN_DOMAINS[0]}", "helo": f"mail.{FOREIGN_DOMAINS[0]}",
                 "sender": f"probe@{FOREIGN_DOMAINS[0]}", "recipient": f"probe@{FOREIGN_DOMAINS[1]}"}  # fmt: skip
        port, tls = self._listener.port, self._listener.tls_wrapper
        return Session(**{**usual, "address": str(address), "port": port, "tls": tls, **fields})

    def outcome(self, session: Session, without: Without = EVERYTHING) -> Outcome:
        """What Exim does with it."""
        return Walk(self._exim, session, without).outcome()

    def _stranger(self, version: int) -> Address:
        networks = [n for n, _ in self._listed_networks() if n.prefixlen]
        known = [a for a in STRANGERS if a.version == version]
        free = [a for a in known if not contains([*networks, *self._allowed], a)]
        return (free or known)[0]

    def _all(self) -> Iterator[Path]:
        plain = [path for version in self._versions for path in self._anybody(version)]
        networks = list(self._networks())
        covered = {path.control for path in networks if not path.doubt}
        yield from networks
        yield from (path for path in plain if path.doubt or not (path.control in ("RELAY-01", "RELAY-09") and covered))
        yield from self._gateways([ipaddress.ip_network(n) for path in networks for n in path.networks])
        if any(not path.doubt and not path.conditions for path in plain):
            return
        yield from self._names()
        yield from self._destinations()
        yield from self._envelopes()

    # clients

    def _anybody(self, version: int) -> Iterator[Path]:
        session = self.session(version)
        outcome = self.outcome(session)
        if outcome.answer is Answer.UNKNOWN:
            yield from _doubtful(outcome)
        elif outcome.answer is Answer.OK:
            control = self._owner(session)
            other = self.outcome(self.session(4)).answer if 4 in self._versions else Answer.REJECT
            only_ipv6 = version == 6 and other is Answer.REJECT and control in ("RELAY-01", "RELAY-03")
            text = f"{_explained(control, outcome)}: anybody{' with an IPv6 address' * only_ipv6} may relay"
            yield Path("RELAY-09" if only_ipv6 else control, text, outcome, ("ipv6",) * (version == 6 and only_ipv6))

    def _owner(self, session: Session) -> str:
        """The control of what a way rests on: an address, a domain list, encryption, or nothing of these."""
        if self.outcome(session, Without(domains=True)).answer is not Answer.OK:
            return "RELAY-04"
        if self.outcome(session, Without(addresses=True)).answer is not Answer.OK:
            return "RELAY-01"
        if session.tls and self.outcome(replace(session, tls=False)).answer is not Answer.OK:
            return "RELAY-12"
        return "RELAY-03"

    def _networks(self) -> Iterator[Path]:
        """Networks of host lists whose clients may relay because of their address."""
        used: dict[bool, list[tuple[Network, Outcome]]] = {}
        for network, popped in self._listed_networks():
            parts = routed_parts(network, self._allowed) if network.version in self._versions else []
            if not parts or network in self._hidden():
                continue
            outcome = self._by_address(_member(parts[0]))
            if outcome is not None and outcome.doubt:
                yield _perhaps(f"whether clients in {network} may relay could not be evaluated", outcome, "client_network")
            elif outcome is not None:
                used.setdefault(popped, []).append((network, outcome))
        for popped, found in used.items():
            names = tuple(dict.fromkeys(str(network) for network, _ in found))
            ipv6 = all(network.version == 6 for network, _ in found)
            control = "RELAY-13" if popped else "RELAY-09" if ipv6 else "RELAY-01"
            what = _list_name(found[0][1])
            text = f"{what} trusts {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}: its clients may relay"
            yield Path(control, text, found[0][1], ("ipv6",) * ipv6, names)

    def _by_address(self, address: Address, **fields: Any) -> Optional[Outcome]:
        """The outcome for a client that may relay because of its address, or perhaps; None where it may not, or everybody may."""
        session = self.session(address.version, address=str(address), **fields)
        outcome = self.outcome(session)
        if outcome.answer is Answer.REJECT or self.outcome(self.session(address.version)).answer is outcome.answer and (
            outcome.doubt or self.outcome(session, Without(addresses=True)).answer is Answer.OK
        ):
            return None
        return outcome

    def _listed_networks(self) -> Iterator[tuple[Network, bool]]:
        """The networks that host lists mention, and whether a table of POP before SMTP does; widest first."""
        found: list[tuple[Network, bool]] = []
        for item in self._hosts:
            network = network_of(item)
            if network is not None:
                found.append((network, False))
        for condition in self._conditions("condition"):
            if "sender_host_address" in condition.value:
                words = map(network_of, _ADDRESSES.findall(condition.value))
                found += [(network, False) for network in words if network is not None]
        for path, table in self._exim.tables.items():
            for key in [] if table.problem else [key for key, _ in table.entries("lsearch")]:
                network = network_of(key)
                if network is not None:
                    found.append((network, bool(_POP_BEFORE_SMTP.search(path))))
        ranked = sorted(found, key=lambda pair: pair[0].prefixlen - (96 if pair[0].version == 6 else 0))
        yield from ranked[:_CANDIDATES_LIMIT]

    def _hidden(self) -> list[Network]:
        """What may hide others: gateways and proxies by themselves."""
        single = [ipaddress.ip_network(g) for g in self._site.gateways]
        return [*single, *(p for p in self._site.proxies if p.prefixlen == p.max_prefixlen)]

    def _gateways(self, covered: list[Network]) -> Iterator[Path]:
        for network in self._hidden():
            address = network.network_address
            if address.version not in self._versions or contains([*covered, *LOOPBACK], address):
                continue
            outcome = self._by_address(address) if address not in self._exim.addresses else None
            if outcome is None:
                continue
            who = "the default gateway" if str(address) in self._site.gateways else "a declared proxy"
            alone = any(network_of(item) == network for item in self._hosts)
            doubt = f"whether {address} hides the addresses of clients cannot be seen in the configuration: probe through it"
            text = f"{_list_name(outcome)} trusts {address}, {who}{': whoever it hides may relay' * alone}"
            doubt = outcome.doubt or ("" if alone else doubt)
            yield Path("RELAY-08", text, outcome, ("through_gateway",), (str(network),), doubt)

    def _names(self) -> Iterator[Path]:
        """Clients that are trusted for the name that their own reverse zone gives them."""
        for item in dict.fromkeys(self._hosts):
            if item.startswith("^"):
                reason = "whether a stranger can have a name that fits the pattern is not evaluated"
                yield from (Path("RELAY-01", f"clients may be trusted by name: {item}", o, ("client_name",), (), reason)
                            for o in [self.outcome(self.session())] if o.answer is not Answer.OK)
            elif re.fullmatch(r"\*\.[A-Za-z]+|\*?\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", item) and network_of(item) is None:
                name = f"host{item[1:]}" if item.startswith("*.") else item.lstrip("*")
                outcome = self._by_address(self._stranger(self._versions[0]), name=name)
                if outcome is not None:
                    text = f"{_list_name(outcome)} trusts clients by name: {item}"
                    yield Path("RELAY-01", text, outcome, ("client_name",), doubt=outcome.doubt)

    # destinations and envelopes

    def _destinations(self) -> Iterator[Path]:
        """Domains of strangers that a list takes for ones of the site."""
        keys = [key for table in self._exim.tables.values() if not table.problem for key, _ in table.entries("lsearch")]
        keys += [*self._mentioned("domains", "domainlist"), *self._mentioned("recipients", "addresslist")]
        wide = [i for i in keys if i.lstrip("! \t")[:1] in ("*", "^", ".", "\\")]
        named = dict.fromkeys(word for i in wide for word in re.findall(r"[a-z][\w-]*", i.lower()))
        labels = [i for i in named if i not in (*_PRIVATE_LABELS, *self.local_domains)][:_CANDIDATES_LIMIT]
        for domain in (*FOREIGN_DOMAINS, *(f"{LABEL}.{label}" for label in labels)):
            session = self.session(recipient=f"probe@{domain}")
            outcome = self.outcome(session)
            if outcome.answer is Answer.OK:
                text = f"{_explained('RELAY-04', outcome)}: anybody may send to {domain}"
                yield Path(self._owner(session), text, outcome, () if self._owner(session) == "RELAY-04" else ("recipient",))
                break
        session = self.session(mx_backup=True)
        outcome = self.outcome(session)
        if outcome.answer is Answer.OK:
            text = f"{_list_name(outcome)} holds @mx_any: whoever names this host in an MX record may relay to that domain"
            yield Path("RELAY-11", text, outcome, ("mx_backup",))
        elif outcome.answer is Answer.UNKNOWN and self.outcome(self.session()).answer is not Answer.UNKNOWN:
            text = "whether whoever names this host in an MX record may relay could not be evaluated"
            yield Path("RELAY-11", text, outcome, ("mx_backup",), (), outcome.doubt)

    def _envelopes(self) -> Iterator[Path]:
        """What it takes, a form at a time; the first of each kind that opens, else one that may."""
        owners = {"local_sender": "SENDER-03", "after_starttls": "RELAY-12", "client_certificate": "RELAY-12"}
        opened: set[str] = set()
        perhaps: dict[str, Path] = {}
        for condition, fields in self._forms():
            if condition in opened or condition == "client_certificate" and "after_starttls" in opened:
                continue
            outcome = self.outcome(self.session(**fields))
            if outcome.answer is Answer.OK:
                opened.add(condition)
                text = f"{_explained('RELAY-03', outcome)}: whoever {_does(condition, fields)} may relay"
                yield Path(owners.get(condition, "RELAY-03"), text, outcome, (condition,))
            elif outcome.doubt and condition not in owners:
                text = f"whether whoever {_does(condition, fields)} may relay could not be evaluated"
                perhaps.setdefault(condition, _perhaps(text, outcome, condition, "RELAY-03"))
        if self.outcome(self.session()).answer is Answer.REJECT:
            yield from (path for condition, path in perhaps.items() if condition not in opened)

    def _forms(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "null_sender", {"sender": ""}
        literals = list(self._literals())
        for domain in self.local_domains:
            for user in ("postmaster", "root"):
                yield "local_sender", {"sender": f"{user}@{domain}"}
        for helo in dict.fromkeys((*self.local_domains, self._exim.helo_name, "localhost", *literals)):
            yield "helo", {"helo": helo}
        for sender in self._samples("senders", "addresslist", literals):
            if "@" in sender:
                yield "sender", {"sender": f"probe{sender}" if sender.startswith("@") else sender}
        for domain in self._samples("sender_domains", "domainlist", literals):
            if "." in domain.strip(".") and "@" not in domain and domain not in self.local_domains:
                yield "sender", {"sender": f"probe@{domain}"}
        anywhere = [i[:-2] for i in self._mentioned("recipients", "addresslist") if i.endswith("@*")]
        for local_part in (*self._mentioned("local_parts", "localpartlist"), *anywhere, "postmaster", "abuse"):
            if re.fullmatch(r"[\w.-]+", local_part):
                yield "recipient", {"recipient": f"{local_part}@{FOREIGN_DOMAINS[1]}"}
        if not self._listener.tls_wrapper:
            yield "after_starttls", {"tls": True}
        yield "client_certificate", {"tls": True, "certificate": True}

    def _literals(self) -> Iterator[str]:
        """Words within conditions that compare the HELO name or the sender."""
        for condition in self._conditions("condition"):
            if re.search(r"sender_helo_name|sender_address", condition.value):
                yield from _LITERALS.findall(condition.value)

    def _samples(self, condition: str, kind: str, literals: list[str]) -> Iterator[str]:
        """Texts that may fit the items of such lists: of patterns, examples."""
        for item in (i.lstrip("! \t") for i in (*self._mentioned(condition, kind), *literals)):
            plain = item.replace("\\N", "").replace("\\$", "$").replace("\\\\", "\\")  # as it is after Exim has expanded its list
            any_label = LABEL if item.startswith("*.") else ""
            yield from examples(plain) if plain.startswith("^") else [any_label + item.lstrip("*")]

    def _conditions(self, name: str) -> Iterator[Condition]:
        for acl in self._exim.config.acls.values():
            yield from (c for statement in acl for c in statement.conditions if c.name == name)

    def _mentioned(self, condition: str, kind: str) -> list[str]:
        """The items of all lists that such conditions use."""
        found = [item for c in self._conditions(condition) for item in self._exim.flat(kind, c.value)]
        return list(dict.fromkeys(item for item in found if item))


def _perhaps(text: str, outcome: Outcome, condition: str, control: str = "RELAY-01") -> Path:
    return Path(control, text, outcome, (condition,), doubt=outcome.doubt)


def _doubtful(outcome: Outcome) -> Iterator[Path]:
    """A way that may exist, under every control that could own it."""
    owner = _OWNERS.get(outcome.about, "RELAY-03")
    owners = [owner] + (["RELAY-09"] if owner == "RELAY-01" else [])
    if outcome.about in ("hosts", "condition") and _WRITTEN.search(outcome.doubt):
        owners.append("RELAY-13")
    text = f"whether strangers may relay could not be evaluated: {outcome.statement}"
    yield from (Path(control, text, outcome, doubt=outcome.doubt) for control in owners)


def _list_name(outcome: Outcome) -> str:
    """The named list that decided, else the condition."""
    for condition, matched in reversed(outcome.matched):
        if condition.name in ("hosts", "domains"):
            return matched.within or f"'{condition}'"
    return f"'{outcome.statement}'"


def _explained(control: str, outcome: Outcome) -> str:
    if control in _OWNERS.values():
        wanted = "hosts" if control == "RELAY-01" else "domains"
        for condition, matched in reversed(outcome.matched):
            if condition.name == wanted:
                return f"{_list_name(outcome)} matches everybody's ({matched.item})"
    where = outcome.statement.where if outcome.statement else "an ACL"
    return f"'{outcome.statement}' ({where}) accepts before anything refuses"


def _does(condition: str, fields: dict[str, Any]) -> str:
    return {
        "null_sender": "uses the null sender",
        "local_sender": f"claims to be {fields.get('sender')}",
        "helo": f"says HELO {fields.get('helo')}",
        "sender": f"claims to be {fields.get('sender')}",
        "recipient": f"writes to {str(fields.get('recipient')).partition('@')[0]}, wherever that is,",
        "after_starttls": "encrypts the session",
        "client_certificate": "shows a certificate of a trusted authority",
    }[condition]


def _member(network: Network) -> Address:
    return network[min(66, network.num_addresses - 1)]
