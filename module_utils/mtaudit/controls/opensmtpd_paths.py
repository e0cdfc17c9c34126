"""Find the ways by which an OpenSMTPD listener lets strangers' mail through: who, by which rule, and which control owns it.

Candidates come from the configuration itself (networks, names, senders, HELO names, recipients and domains that its rules
mention), and each is walked through all rules.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..address import LOOPBACK, Address, Network, contains, routed_parts
from ..control import Site
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_model import Port
from ..readers.opensmtpd_syntax import Criterion, Rule
from ..readers.opensmtpd_tables import Doubt, network_of
from ..readers.postfix_samples import FOREIGN_DOMAINS, LABEL, STRANGERS, examples
from .opensmtpd_walk import Answer, Outcome, Session, Walk
from .way import Path as AnyPath
from .way import relaxed, remembered, usual_of

_CANDIDATES_LIMIT = 100
_OWNERS = {"from": "RELAY-01", "for": "RELAY-04"}
_PRIVATE_LABELS = ("localhost", "localdomain", "local", "internal", "lan", "home", "intranet")


@dataclass(frozen=True)
class Opening:
    """What lets a session through: the listener's line, and what the rules say of it."""

    port: Port
    outcome: Outcome

    def __str__(self) -> str:
        return str(self.outcome.rule)


Path = AnyPath[Opening]


def paths(smtpd: OpenSmtpd, listener: Listener, site: Site) -> list[Path]:
    """The ways of one listener, with RELAY-06 as the owner of those that the usual one does not have."""
    return remembered(smtpd.memo, listener, site, _of_port(smtpd, listener, site))


def _of_port(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Path]:
    usual = usual_of(smtpd.listeners, listener)
    measure = None if listener == usual else Finder(smtpd, usual, site).all()
    yield from relaxed(Finder(smtpd, listener, site).all(), measure, listener.name, kept=("SENDER-03", "RELAY-12"))


class Finder:
    """Looks for the ways of one listener."""

    def __init__(self, smtpd: OpenSmtpd, listener: Listener, site: Site) -> None:
        self._smtpd, self._listener, self._site = smtpd, listener, site
        self.ports = smtpd.ports_of(listener)
        self._allowed = (*site.trusted_networks, *smtpd.own_addresses)
        self.local_domains = list(dict.fromkeys((*smtpd.local_domains, *site.local_domains)))
        self._networks_listed = list(self._listed_networks())

    def all(self) -> list[Path]:
        """Each way once: what a rule opens to IPv4 and IPv6 is one."""
        found: dict[tuple[Any, ...], Path] = {}
        versions: dict[tuple[Any, ...], set[int]] = {}
        for port, version in self.ports:
            for path in self._of_port(port, version):
                key = (*path.key[:2], path.conditions, path.doubt)
                known = found.setdefault(key, path)
                networks = tuple(dict.fromkeys((*known.networks, *path.networks)))
                found[key] = replace(known, networks=networks)
                versions.setdefault(key, set()).add(version)
        return [self._of_family(path, versions[key]) for key, path in found.items()]

    def _of_family(self, path: Path, versions: set[int]) -> Path:
        """What only IPv6 clients can do, although the listener takes both, belongs to RELAY-09."""
        if versions == {6} and path.control in ("RELAY-01", "RELAY-03") and not path.doubt:
            both = any(version == 4 for _, version in self.ports) or path.networks
            if both:
                text = path.message.replace("anybody may", "anybody with an IPv6 address may")
                return replace(path, control="RELAY-09", message=text, conditions=(*path.conditions, "ipv6"))
        if path.networks:
            shown = f"{', '.join(path.networks[:3])}{' and more' if len(path.networks) > 3 else ''}"
            text = f"'{path.rule}' trusts {shown}: its clients may relay"
            return path if path.control == "RELAY-08" else replace(path, message=text)
        return path

    def session(self, version: int, **fields: Any) -> Session:
        """A stranger that no rule mentions, with what else is to be true of the session."""
        name = f"mail.{FOREIGN_DOMAINS[0]}"
        usual = {"address": str(self._stranger(version)), "name": name, "helo": name,
                 "sender": f"probe@{FOREIGN_DOMAINS[0]}", "recipient": f"probe@{FOREIGN_DOMAINS[1]}"}  # fmt: skip
        return Session(**{**usual, **fields})

    def outcome(self, port: Port, session: Session) -> Outcome:
        """What OpenSMTPD does with it."""
        return Walk(self._smtpd, port, session).outcome()

    def _stranger(self, version: int) -> Address:
        networks = [n for n in self._networks_listed if n.prefixlen]
        known = [a for a in STRANGERS if a.version == version]
        free = [a for a in known if not contains([*networks, *self._allowed], a)]
        return (free or known)[0]

    def _of_port(self, port: Port, version: int) -> Iterator[Path]:
        certificate = port.listen.verify
        plain = list(self._anybody(port, version, certificate))
        yield from plain
        networks = list(self._networks(port, version, certificate))
        if not any(path.control in ("RELAY-01", "RELAY-12") and not path.doubt for path in plain):
            yield from networks
            yield from self._gateways(port, version, [ipaddress.ip_network(n) for path in networks for n in path.networks])
        if any(not path.doubt and path.control != "RELAY-04" for path in plain):
            return
        yield from self._destinations(port, version, bool(plain))
        yield from self._forms_that_open(port, version)

    # clients

    def _anybody(self, port: Port, version: int, certificate: bool) -> Iterator[Path]:
        session = self.session(version, certificate=certificate)
        outcome = self.outcome(port, session)
        if outcome.answer is Answer.UNKNOWN:
            yield from _doubtful(port, outcome)
        elif outcome.answer is Answer.RELAY:
            control = "RELAY-12" if certificate else _owner(outcome.rule)
            ca = port.listen.ca
            shows = f"whoever shows a certificate of {f'the authority {ca}' if ca else 'any public authority'}"
            who = shows if certificate else "anybody"
            text = f"{_explained(control, outcome)}: {who} may {'send there' if control == 'RELAY-04' else 'relay'}"
            # OpenSMTPD compares no fingerprints: all that the authority certifies are let in.
            doubt = f"whether {ca} certifies none but the hosts of this site cannot be seen here" if certificate and ca else ""
            yield Path(control, text, Opening(port, outcome), ("client_certificate",) * certificate, (), doubt)

    def _networks(self, port: Port, version: int, certificate: bool) -> Iterator[Path]:
        """Networks of `from src` whose clients may relay because of their address; one way for all of one rule."""
        used: dict[str, tuple[Outcome, list[str]]] = {}
        for network in self._networks_listed:
            parts = routed_parts(network, self._allowed) if network.version == version else []
            if not parts or network in self._hidden():
                continue
            address = parts[0][min(66, parts[0].num_addresses - 1)]
            outcome = self._by_address(port, address, certificate)
            if outcome is not None and outcome.doubt:
                text = f"whether clients in {network} may relay could not be evaluated: {outcome.rule}"
                yield Path("RELAY-01", text, Opening(port, outcome), doubt=outcome.doubt)
            elif outcome is not None:
                used.setdefault(str(outcome.rule), (outcome, []))[1].append(str(network))
        for outcome, names in used.values():
            text = f"{outcome.rule} trusts {', '.join(names)}: its clients may relay"
            conditions = ("client_certificate",) * certificate
            yield Path("RELAY-01", text, Opening(port, outcome), conditions, tuple(dict.fromkeys(names)))

    def _by_address(self, port: Port, address: Address, certificate: bool = False) -> Optional[Outcome]:
        """The outcome for a client that may relay because of its address, or perhaps; None where it may not, or everybody may."""
        outcome = self.outcome(port, self.session(address.version, address=str(address), certificate=certificate))
        if outcome.answer not in (Answer.RELAY, Answer.UNKNOWN):
            return None
        everybody = self.outcome(port, self.session(address.version, certificate=certificate))
        return None if everybody.answer in (Answer.RELAY, outcome.answer) else outcome

    def _listed_networks(self) -> Iterator[Network]:
        """The networks that rules mention, widest first."""
        found = {network for key in self._mentioned("from", "src") for network in [network_of(key)] if network is not None}
        for example in self._examples("from", "src"):
            network = network_of(example.strip("[]"))
            found.update([network] if network is not None else [])
        ranked = sorted(found, key=lambda n: (n.prefixlen - (96 if n.version == 6 else 0), str(n)))
        yield from ranked[:_CANDIDATES_LIMIT]

    def _hidden(self) -> list[Network]:
        """What may hide others: gateways and proxies by themselves."""
        single = [ipaddress.ip_network(g) for g in self._site.gateways]
        return [*single, *(p for p in self._site.proxies if p.prefixlen == p.max_prefixlen)]

    def _gateways(self, port: Port, version: int, covered: list[Network]) -> Iterator[Path]:
        for network in self._hidden():
            address = network.network_address
            if address.version != version or contains([*covered, *LOOPBACK, *self._smtpd.own_addresses], address):
                continue
            outcome = self._by_address(port, address)
            if outcome is None:
                continue
            who = "the default gateway" if str(address) in self._site.gateways else "a declared proxy"
            alone = network in self._networks_listed
            doubt = f"whether {address} hides the addresses of clients cannot be seen in the configuration: probe through it"
            text = f"'{outcome.rule}' trusts {address}, {who}{': whoever it hides may relay' * alone}"
            doubt = outcome.doubt or ("" if alone else doubt)
            yield Path("RELAY-08", text, Opening(port, outcome), ("through_gateway",), (str(network),), doubt)

    # destinations and envelopes

    def _destinations(self, port: Port, version: int, known: bool) -> Iterator[Path]:
        """Domains of strangers that `for domain` holds: by a star or a pattern."""
        patterns = [key for key in self._mentioned("for", "domain") if "*" in key]
        texts = [key.replace("*", LABEL) for key in patterns] + self._examples("for", "domain")
        # A star ends before the first letter that stands behind it: a name of a digit has none of `*pl`.
        texts += [f"{name}.{label}" for key in patterns for label in [key.lstrip("*.")] if label and "." not in label
                  for name in (LABEL, "7")]  # fmt: skip
        private = (*_PRIVATE_LABELS, *self.local_domains)
        for domain in dict.fromkeys((*FOREIGN_DOMAINS, *texts)):
            if known or "." not in domain or domain.rpartition(".")[2] in private or self._ours(domain):
                continue
            outcome = self.outcome(port, self.session(version, recipient=f"probe@{domain}"))
            if outcome.answer is Answer.RELAY:
                control = _owner(outcome.rule)
                yield Path(control, f"{_explained('RELAY-04', outcome)}: anybody may send to {domain}", Opening(port, outcome),
                           () if control == "RELAY-04" else ("recipient",))  # fmt: skip
                return

    def _ours(self, domain: str) -> bool:
        """Below a domain that is served here: `*.example.org` beside example.org is no stranger's."""
        return any(domain.endswith(f".{own}") for own in (*self.local_domains, *self._smtpd.relayed_domains) if "." in own)

    def _forms_that_open(self, port: Port, version: int) -> Iterator[Path]:
        """What it takes, a form at a time; the first of each kind that opens, else one that may."""
        opened: set[str] = set()
        perhaps: dict[str, Path] = {}
        for condition, fields in self._forms():
            if condition in opened:
                continue
            outcome = self.outcome(port, self.session(version, certificate=port.listen.verify, **fields))
            plain = self.outcome(port, self.session(version, certificate=port.listen.verify))
            if outcome.answer is Answer.RELAY and plain.answer is not Answer.RELAY:
                opened.add(condition)
                control = "SENDER-03" if condition == "local_sender" else "RELAY-03"
                text = f"{_explained('RELAY-03', outcome)}: whoever {_does(condition, fields)} may relay"
                yield Path(control, text, Opening(port, outcome), (condition,))
            elif outcome.doubt and plain.answer is Answer.REJECT and condition != "local_sender":
                text = f"whether whoever {_does(condition, fields)} may relay could not be evaluated: {outcome.rule}"
                perhaps.setdefault(condition, Path("RELAY-03", text, Opening(port, outcome), (condition,), doubt=outcome.doubt))
        yield from (path for condition, path in perhaps.items() if condition not in opened)

    def _forms(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "null_sender", {"sender": ""}
        for domain in self.local_domains:
            for user in ("postmaster", "root"):
                yield "local_sender", {"sender": f"{user}@{domain}"}
        senders = [*self._mentioned("mail-from"), *self._examples("mail-from")]
        for sender in filter(None, map(_mailbox, senders)):
            own = sender.rpartition("@")[2].lower() in self.local_domains
            yield "local_sender" if own else "sender", {"sender": sender}
        for helo in dict.fromkeys((*self.local_domains, self._smtpd.hostname, *self._mentioned("helo"), *self._examples("helo"))):
            yield "helo", {"helo": helo.replace("*", LABEL)}
        yield "client_name", {"name": ""}
        for name in (*self._mentioned("from", "rdns"), *self._examples("from", "rdns")):
            yield "client_name", {"name": name.replace("*", LABEL)}
        for recipient in filter(None, map(_mailbox, (*self._mentioned("rcpt-to"), *self._examples("rcpt-to")))):
            domain = recipient.rpartition("@")[2]
            if domain not in (*self.local_domains, *self._smtpd.relayed_domains):
                yield "recipient", {"recipient": recipient}
        for user in ("postmaster", "abuse"):
            yield "recipient", {"recipient": f"{user}@{FOREIGN_DOMAINS[1]}"}

    def _criteria(self, name: str, scope: str) -> Iterator[Criterion]:
        for rule in self._smtpd.config.rules:
            yield from (c for c in rule.criteria if c.name == name and c.scope == scope and c.table is not None)

    def _mentioned(self, name: str, scope: str = "") -> list[str]:
        """The keys of all tables that such criteria use, but for patterns."""
        found: dict[str, None] = {}
        for criterion in self._criteria(name, scope):
            if not criterion.regex and criterion.table is not None:
                try:
                    found.update(dict.fromkeys(criterion.table.keys))
                except Doubt:
                    continue
        return list(found)[: 2 * _CANDIDATES_LIMIT]

    def _examples(self, name: str, scope: str = "") -> list[str]:
        """Texts that may match the patterns of such criteria."""
        found: list[str] = []
        for criterion in self._criteria(name, scope):
            if criterion.regex and criterion.table is not None:
                try:
                    found += [e for key in criterion.table.keys for e in examples(re.sub(r"^\(\?i\)", "", key))]
                except Doubt:
                    continue
        return list(dict.fromkeys(found))[:_CANDIDATES_LIMIT]


def _mailbox(text: str) -> str:
    """An address that a pattern for mailboxes matches; empty for the one that matches all."""
    user, _, domain = text.rpartition("@") if "@" in text else (text, "", "")
    if not user and not domain:
        return ""
    return f"{user or 'probe'}@{domain.replace('*', LABEL) or FOREIGN_DOMAINS[1]}"


def _owner(rule: Optional[Rule]) -> str:
    """The control of what a rule that is open to strangers rests on."""
    if rule is None:
        return "RELAY-03"
    destination, source = rule.criterion("for"), rule.criterion("from")
    if any(rule.criterion(name) for name in ("helo", "mail-from", "rcpt-to")) or source and source.scope == "rdns":
        return "RELAY-03"
    return "RELAY-04" if destination is not None and destination.scope != "any" else "RELAY-01"


def _doubtful(port: Port, outcome: Outcome) -> Iterator[Path]:
    """A way that may exist, under every control that could own it."""
    owner = _OWNERS.get(outcome.about) or (_owner(outcome.rule) if outcome.about == "filter" else "RELAY-03")
    text = f"whether strangers may relay could not be evaluated: {outcome.rule}"
    for control in [owner] + (["RELAY-09"] if owner == "RELAY-01" else []):
        yield Path(control, text, Opening(port, outcome), doubt=outcome.doubt)


def _explained(control: str, outcome: Outcome) -> str:
    rule = outcome.rule
    if control == "RELAY-04" and rule is not None and rule.criterion("for") is not None:
        return f"'{rule}' ({rule.where}) relays for foreign domains ({rule.criterion('for')})"
    return f"'{rule}' ({rule.where if rule else ''}) relays before anything refuses"


def _does(condition: str, fields: dict[str, Any]) -> str:
    return {
        "null_sender": "uses the null sender",
        "local_sender": f"claims to be {fields.get('sender')}",
        "helo": f"says HELO {fields.get('helo')}",
        "sender": f"claims to be {fields.get('sender')}",
        "client_name": f"has the reverse name {fields.get('name')}" if fields.get("name") else "has no reverse name",
        "recipient": f"writes to {str(fields.get('recipient'))}",
    }[condition]
