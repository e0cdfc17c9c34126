"""Find the ways by which a Sendmail port lets strangers' mail through: who, by which entry or rule, and which control owns it.

Candidates are what the compiled maps, classes and rules name; what counts is what Sendmail's own rules answered for each
(readers/sendmail_questions.py).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Optional

from ..address import LOOPBACK, Address, Network, contains, routed_parts
from ..control import Site
from ..listeners import Listener
from ..readers.sendmail import POP_BEFORE_SMTP, Sendmail
from ..readers.sendmail_ask import FOREIGN, Question, Told
from ..readers.sendmail_cf import Map, Rule
from ..readers.sendmail_model import Table
from ..readers.sendmail_questions import ISSUER, Questions
from .sendmail_ports import Because, answer
from .way import Path as Way
from .way import relaxed, remembered, usual_of

Path = Way[Because]

_RELAYS = re.compile(r"\$[@#] *RELAY\b|<RELAY>")
_SAYS_YES = re.compile(r"\$# *(?!error\b|discard\b|TEMP\b)\S", re.IGNORECASE)
_SHOWN = 3


def paths(sendmail: Sendmail, listener: Listener, site: Site) -> list[Path]:
    """The ways of one port; RELAY-06 owns those that the first port of the default configuration does not have."""
    return remembered(sendmail.memo, listener, site, _of_port(sendmail, listener, site))


def _of_port(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Path]:
    default = sendmail.primary or sendmail
    usual = usual_of(default.listeners, listener)
    same = sendmail.primary is None and listener.name == usual.name
    source = f"the daemon with {sendmail.file}" if sendmail.primary else f"port {listener.port}"
    yield from relaxed(Finder(sendmail, listener, site).all(), None if same else Finder(default, usual, site).all(), source)


class Finder:
    """Looks for the ways of one port."""

    def __init__(self, sendmail: Sendmail, listener: Listener, site: Site) -> None:
        self._sendmail = sendmail
        self._listener = listener
        self._site = site
        self._daemon = sendmail.daemon_of(listener)
        self.questions = Questions(sendmail, self._daemon)
        self._versions = tuple({"ipv4": 4, "ipv6": 6}[family] for family in listener.families)
        self._own = [ipaddress.ip_network(a) for a in sendmail.addresses]
        self._allowed = (*site.trusted_networks, *self._own)

    @property
    def login_required(self) -> bool:
        return self._sendmail.login_required(self._daemon)

    def told(self, question: Question) -> Told:
        return self._sendmail.told(question)

    def open_to_anybody(self) -> bool:
        """Whether a plain stranger relays here, over any family."""
        return not self.login_required and any(self.told(self.questions.plain(v)).allowed for v in self._versions)

    def all(self) -> list[Path]:
        """Each way once."""
        found: dict[tuple[object, ...], Path] = {}
        for path in self._all() if not self.login_required else ():
            found.setdefault(path.key, path)
        return list(found.values())

    def _all(self) -> Iterator[Path]:
        yield from self._unlisted()
        anybody = list(self._anybody())
        yield from anybody
        if any(not path.doubt and not path.conditions for path in anybody):
            return
        yield from self._networks()
        yield from self._gateways()
        yield from self._names()
        yield from self._destinations()
        yield from self._envelopes()
        yield from self._mx()

    # anybody

    def _anybody(self) -> Iterator[Path]:
        opened = {version: self.told(self.questions.plain(version)) for version in self._versions}
        for version, told in opened.items():
            if told.allowed is None:
                text = "whether strangers may relay could not be evaluated"
                because = Because(f"{self._sendmail.file} check_rcpt", told.said or told.reason)
                yield from (Path(c, text, because, doubt=told.reason) for c in ("RELAY-01", "RELAY-03", "RELAY-04", "RELAY-09"))
                return
            foreign = self.told(self.questions.plain(version, sender=f"probe@{FOREIGN}"))
            if told.allowed:
                only_ipv6 = version == 6 and 4 in opened and not opened[4].allowed
                null = foreign.allowed is False
                what = "whoever uses the null sender" if null else "anybody"
                text = f"no rule refuses strangers: {what}{' with an IPv6 address' * only_ipv6} may relay"
                conditions = ("ipv6",) * only_ipv6 + ("null_sender",) * null
                yield Path("RELAY-09" if only_ipv6 else "RELAY-03", text, self._rule(told), conditions)
            elif foreign.allowed:
                text = "no rule refuses strangers with a sender of their own: anybody may relay"
                yield Path("RELAY-03", text, self._rule(foreign))

    def _rule(self, told: Told) -> Because:
        """The rule set that said yes: with the line of its first rule that permits."""
        rules = self._sendmail.cf.rules.get(told.ruleset or "check_rcpt", [])
        permitting = [r for r in rules if _RELAYS.search(r.right)] or rules[-1:]
        where = self._sendmail.where(permitting[0]) if permitting else self._sendmail.file
        return Because(where, f"S{told.ruleset or 'check_rcpt'}", answer(told))

    # clients

    def _networks(self) -> Iterator[Path]:
        """Networks whose clients may relay because of their address."""
        used: dict[tuple[str, str], list[tuple[Network, str, Told]]] = {}
        for network, source in self.questions.networks():
            if network.version not in self._versions or network in self._hidden() or not routed_parts(network, self._allowed):
                continue
            told = self.told(self.questions.client(network))
            if told.allowed is False:
                continue
            popped = any(POP_BEFORE_SMTP.search(f"{t.name} {t.path}") and source.startswith(t.path) for t in self._tables())
            control = "RELAY-13" if popped else "RELAY-09" if network.version == 6 else "RELAY-01"
            used.setdefault((control, told.reason), []).append((network, source, told))
        for (control, doubt), found in used.items():
            names = tuple(dict.fromkeys(str(network) for network, _, _ in found))
            shown = ", ".join(names[:_SHOWN]) + " and more" * (len(names) > _SHOWN)
            where, _, entry = found[0][1].partition(" ")
            because = Because(where, entry, answer(found[0][2]))
            condition = {"RELAY-09": ("ipv6",), "RELAY-13": ("client_network",)}.get(control, ())
            yield Path(control, f"{where} trusts {shown}: its clients may relay", because, condition, names, doubt)

    def _tables(self) -> list[Table]:
        return [t for t in self._sendmail.tables.values() if t.path]

    def _hidden(self) -> list[Network]:
        """What may hide others: gateways and proxies by themselves."""
        single = [ipaddress.ip_network(g) for g in dict.fromkeys([*self._site.gateways, *map(str, self._sendmail.gateways)])]
        return [*single, *(p for p in self._site.proxies if p.prefixlen == p.max_prefixlen)]

    def _gateways(self) -> Iterator[Path]:
        for network in self._hidden():
            address = network.network_address
            if address.version not in self._versions or contains([*LOOPBACK, *self._own], address):
                continue
            trusting = self._trusting(address)
            if trusting is None or not self._may(address, trusting[0]):
                continue
            trusted, source = trusting
            is_gateway = str(address) in self._site.gateways or address in self._sendmail.gateways
            who = "the default gateway" if is_gateway else "a declared proxy"
            alone = trusted == network
            if not alone and routed_parts(trusted, self._allowed):
                continue  # the network around it is a hole of its own
            doubt = f"whether {address} hides the addresses of clients cannot be seen in the configuration: probe through it"
            where, _, entry = source.partition(" ")
            text = f"{where} trusts {address}, {who}{': whoever it hides may relay' * alone}"
            yield Path("RELAY-08", text, Because(where, entry), ("through_gateway",), (str(network),), "" if alone else doubt)

    def _trusting(self, address: Address) -> Optional[tuple[Network, str]]:
        """The narrowest network that holds the address, with what lists it."""
        holding = [pair for pair in self.questions.networks() if contains([pair[0]], address)]
        return max(holding, key=lambda pair: pair[0].prefixlen, default=None)

    def _may(self, address: Address, trusted: Network) -> bool:
        """Whether a client there relays: asked for itself where it was known when the questions were, else for its network."""
        itself = self.told(self.questions.address(address))
        told = itself if itself.allowed is not None else self.told(self.questions.client(trusted))
        return told.allowed is not False

    def _names(self) -> Iterator[Path]:
        """Clients that are trusted for their verified name. One label that is relayed for, too, is a hole of RELAY-04."""
        wide = tuple("." + domain.partition(".")[2] for domain in self._foreign_destinations())
        opened = []
        for name, source in self.questions.names():
            if not f".{name.strip('.').lower()}".endswith(wide) and self.told(self.questions.named(name)).allowed:
                opened.append((name, source))
        if opened:
            shown = ", ".join(name for name, _ in opened[:_SHOWN]) + " and more" * (len(opened) > _SHOWN)
            where, _, entry = opened[0][1].partition(" ")
            told = self.told(self.questions.named(opened[0][0]))
            text = f"{where} trusts clients by name: {shown}"
            yield Path("RELAY-01", text, Because(where, entry, answer(told)), ("client_name",))

    # destinations and envelopes

    def _foreign_destinations(self) -> list[str]:
        return [domain for domain in self.questions.domains() if self.told(self.questions.to(domain)).allowed]

    def _destinations(self) -> Iterator[Path]:
        for domain in self._foreign_destinations()[:1]:
            told = self.told(self.questions.to(domain))
            label = domain.partition(".")[2]
            listed = [f"{self._sendmail.tables['access'].path} {e}" for e in self._sendmail.entries("to", "")
                      if e.relays and e.key.strip(".").lower() == label]  # fmt: skip
            listed += [f"{self._sendmail.origin_of_class('R')} {m}" for m in self._sendmail.classes.get("R", ())
                       if m.strip(".").lower() == label]  # fmt: skip
            where, _, entry = (listed or [f"{self._sendmail.file} {told.ruleset}"])[0].partition(" ")
            text = f"{where} holds {label}: anybody may send to {domain}"
            yield Path("RELAY-04", text, Because(where, entry, answer(told)))

    def _envelopes(self) -> Iterator[Path]:
        """What it takes, a form at a time; the first of each kind that opens."""
        opened: set[str] = set()
        for condition, control, question, does in self._forms():
            told = self.told(question) if condition not in opened else None
            if told is None or condition == "client_certificate" and "after_starttls" in opened:
                continue
            if told.allowed:
                opened.add(condition)
                yield Path(control, f"whoever {does} may relay", self._rule(told), (condition,))
            elif told.allowed is None and condition != "after_starttls":
                opened.add(condition)
                text = f"whether whoever {does} may relay could not be evaluated"
                yield Path(control, text, Because(self._sendmail.file, "check_rcpt"), (condition,), doubt=told.reason)

    def _forms(self) -> Iterator[tuple[str, str, Question, str]]:
        ask, version = self.questions, self._versions[0]
        for domain in ask.local_domains():
            sender = f"postmaster@{domain}"
            yield "local_sender", "SENDER-03", ask.plain(4, sender=sender), f"claims to be {sender}"
        for domain in ask.local_domains():
            yield "helo", "RELAY-03", ask.plain(4, helo=domain), f"says HELO {domain}"
        for sender, entry in ask.senders():
            yield "sender", "RELAY-03", ask.plain(4, sender=sender), f"claims to be {sender} ({entry})"
        if self._sendmail.cf.option("ServerCertFile"):
            yield "after_starttls", "RELAY-12", ask.plain(version, tls=True), "encrypts the session"
            anyone = ask.plain(version, issuer=ISSUER, subject=ISSUER)
            yield "client_certificate", "RELAY-12", anyone, "shows a certificate of a trusted authority"
            for issuer in ask.certificates():
                yield "client_certificate", "RELAY-12", ask.certified(issuer), f"shows any certificate of {issuer.key}"

    # what is not asked

    def _mx(self) -> Iterator[Path]:
        """FEATURE(relay_based_on_MX): a bestmx map whose answer is compared with class w, and then permits.

        In rules of the site's own it is not known what it is compared with."""
        for name, rules in self._sendmail.cf.reached("check_rcpt").items():
            for index, rule in enumerate(rules):
                mapped = next((m for m in self._sendmail.cf.maps_of([rule]) if m.kind == "bestmx"), None)
                if mapped is None:
                    continue
                because = Because(self._sendmail.where(rule), str(rule))
                if any("$=w" in r.left and _RELAYS.search(r.right) for r in rules[index + 1 : index + 4]):
                    text = f"{mapped.name} asks for MX records: whoever names this host in one may relay to that domain"
                    yield Path("RELAY-11", text, because, ("mx_backup",))
                    return
                if name.startswith("Local_") and any(_SAYS_YES.search(r.right) for r in rules[index + 1 :]):
                    text = f"rules of the site's own permit by MX records ({mapped.name})"
                    doubt = "what MX records they permit was not tried: it takes one"
                    yield Path("RELAY-11", text, because, ("mx_backup",), doubt=doubt)

    def _unlisted(self) -> Iterator[Path]:
        """Tables that decide about clients and whose entries are not known."""
        for table in self._sendmail.tables.values():
            source = self._sendmail.cf.maps[table.name]
            popped = bool(POP_BEFORE_SMTP.search(f"{table.name} {table.path}"))
            if popped and self._by_it(source):
                text = f"{table.path or table.name} is where a POP-before-SMTP daemon writes the clients that may relay"
                rule = self._by_it(source)[0]
                yield Path("RELAY-13", text, Because(self._sendmail.where(rule), str(rule)), ("client_network",))
            elif table.problem and table.name == "access":
                because = Because(f"{self._sendmail.file}:{source.line}", f"K{source.name} {source.kind} {source.rest}")
                for control in ("RELAY-01", "RELAY-04", "RELAY-09"):
                    yield Path(control, "what the access map holds is not known", because, doubt=table.problem)
            elif not popped:
                yield from self._written(table, source)

    def _written(self, table: Table, source: Map) -> Iterator[Path]:
        """Another table than the access map: who writes it cannot be told from the configuration."""
        rules = self._by_it(source) if table.name != "access" else []
        if rules:
            because = Because(self._sendmail.where(rules[0]), str(rules[0]))
            text = f"the map {table.name} ({table.path or source.kind}) decides which clients may relay"
            doubt = "whether another program writes it while it runs cannot be told"
            yield Path("RELAY-13", text, because, ("client_network",), doubt=doubt)
            if table.problem:
                yield from (Path(c, text, because, doubt=table.problem) for c in ("RELAY-01", "RELAY-09"))

    def _by_it(self, source: Map) -> list[Rule]:
        """The rules that look into a map in a rule set that can permit, or that ask it for the client's address."""
        found = []
        for name, rules in self._sendmail.cf.reached("check_rcpt").items():
            permits = any(re.search(r"\$[@#] *(?:RELAY|OK)\b", rule.right, re.IGNORECASE) for rule in rules)
            inside = name == "Relay_ok" or any("{client_addr}" in rule.right for rule in rules)
            found += [r for r in rules if permits and inside and source in self._sendmail.cf.maps_of([r])]
        return found
