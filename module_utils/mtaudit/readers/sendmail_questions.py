"""What to ask Sendmail about one of its configurations: strangers of each family, and whoever its tables and classes name."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..address import Address, Network, contains, routed_parts
from .local_users import NOBODY as NO_MAILBOX
from .postfix_samples import FOREIGN_DOMAINS, LABEL, STRANGERS
from .sendmail_ask import FOREIGN, Question, in_tag
from .sendmail_cf import OFFERS, Map
from .sendmail_model import Daemon, Entry, Sendmail, is_domain, network_of

NOBODY = "probe"  # a login that owns no sender, called like the foreign ones: a rule may compare the local part alone
CANDIDATES_LIMIT = 100
LOCAL_LIMIT = 5
ISSUER = "/O=mtaudit/CN=mtaudit+20nobody"


class Questions:
    """The questions for one daemon; where no rule can tell ports apart, the same ones for all."""

    def __init__(self, sendmail: Sendmail, daemon: Daemon) -> None:
        self._sendmail = sendmail
        self.daemon: dict[str, Any] = {"delayed": sendmail.delays_checks}
        if sendmail.by_daemon:
            self.daemon.update(daemon=daemon.name, port=daemon.port, flags=daemon.flags)

    def all(self) -> Iterator[Question]:
        """Every question that a control on relaying may want the answer of."""
        for version in (4, 6):
            yield self.plain(version)
            yield self.plain(version, sender=f"probe@{FOREIGN}")
            yield self.plain(version, tls=True)
            yield self.plain(version, issuer=ISSUER, subject=ISSUER)
        yield from (self.client(network) for network, _ in self.networks())
        yield from (self.address(gateway) for gateway in self._sendmail.gateways)
        yield from (self.named(name) for name, _ in self.names())
        yield from (self.to(domain) for domain in self.domains())
        yield from (self.plain(4, sender=sender) for sender, _ in self.senders())
        yield from (self.certified(issuer) for issuer in self.certificates())
        yield from (question for _, _, question in self.tricks())
        for domain in self.local_domains():
            yield self.plain(4, sender=f"postmaster@{domain}")
            yield self.plain(4, helo=domain)
            yield self.to_local(domain)
        yield from (self.login(mechanism) for mechanism in self._sendmail.mechanisms[:LOCAL_LIMIT])

    def of_services(self) -> Iterator[Question]:
        """The others: what sessions are offered, which mailboxes there are, whose sender is whose."""
        for domain in self.local_domains():
            yield self.submitted(domain)
            yield self.unlisted(domain)
            yield from self.impostors(domain)
        yield from (self.unlisted(domain) for domain in self.relayed_domains())
        yield from (question for name in OFFERS for _, question in self.offers(name))

    # sessions

    def stranger(self, version: int) -> Address:
        """An address that no table mentions."""
        known = [a for a in STRANGERS if a.version == version]
        listed = [network for network, _ in self.networks()]
        return next((a for a in known if not contains([*listed, *self._own()], a)), known[0])

    def plain(self, version: int, **fields: Any) -> Question:
        """A stranger with the null sender and a foreign recipient, with what else is to be true of the session."""
        usual = {"address": in_tag(self.stranger(version)), "recipient": f"probe@{FOREIGN}.", **self.daemon}
        return Question(**{**usual, **fields})

    def address(self, address: Address) -> Question:
        return self.plain(address.version, address=in_tag(address))

    def client(self, network: Network) -> Question:
        """A client in the network that no narrower entry speaks of."""
        narrower = [n for n in self._listed() if n.version == network.version and n.prefixlen > network.prefixlen]
        parts = routed_parts(network, [*narrower, *self._own()]) or routed_parts(network) or [network]
        return self.address(parts[0][min(66, parts[0].num_addresses - 1)])

    def named(self, name: str) -> Question:
        return self.plain(4, name=f"host.{name.strip('.')}.")

    def to(self, domain: str) -> Question:
        return self.plain(4, recipient=f"probe@{domain.strip('.')}.")

    def login(self, mechanism: str) -> Question:
        return self.plain(4, sender=f"{NOBODY}@{FOREIGN}", login=NOBODY, mechanism=mechanism)

    def certified(self, issuer: Entry) -> Question:
        return self.plain(4, issuer=issuer.key, subject=ISSUER)

    def to_local(self, domain: str) -> Question:
        """A stranger's mail from one mailbox here to another. Sendmail looks up the domain, which is the site's own."""
        mailbox = f"postmaster@{domain}"
        return self.plain(4, sender=mailbox, recipient=mailbox, whole_mail=True)

    def submitted(self, domain: str) -> Question:
        """A stranger's mail to a mailbox here, over TLS and without a login."""
        return self.plain(4, sender=f"probe@{FOREIGN}", recipient=f"postmaster@{domain}", tls=True)

    def unlisted(self, domain: str) -> Question:
        """A stranger's mail to a mailbox that nobody has. The dot keeps Sendmail from looking up a domain that is not its own."""
        dot = "" if domain in self._sendmail.local_domains else "."
        return self.plain(4, sender=f"probe@{FOREIGN}", recipient=f"{NO_MAILBOX}@{domain}{dot}")

    def impostors(self, domain: str) -> list[Question]:
        """A login that owns nothing, with senders of others, to a mailbox here."""
        mailboxes = [f"{name}@{domain}" for name in ("postmaster", "root")]
        usual = self.plain(4, recipient=f"postmaster@{domain}", login=NOBODY, tls=True, whole_mail=True)
        usual = replace(usual, mechanism=next(iter(self._sendmail.mechanisms), "PLAIN"))
        return [replace(usual, sender=mailbox) for mailbox in mailboxes]

    def offers(self, ruleset: str) -> Iterator[tuple[str, Question]]:
        """Whom, and the question what a rule set of `OFFERS` says of them: strangers, and the clients of entries of their own."""
        if ruleset not in self._sendmail.cf.rules or self.unasked(ruleset):
            return
        asked = [("", self.plain(4)), ("", self.plain(6))]
        for entry in list(self._sendmail.entries("srv_features"))[:CANDIDATES_LIMIT]:
            network = network_of(entry.key)
            if network is not None:
                asked.append((str(network), self.client(network)))
            elif is_domain(entry.key):
                asked.append((entry.key, self.named(entry.key)))
        for whom, question in asked:
            about = question.name if ruleset == "srv_features" else "postmaster"
            yield whom, replace(question, recipient=about, only=ruleset)

    def unasked(self, ruleset: str) -> str:
        """The map outside of Sendmail that keeps this rule set from being asked; empty when it can be asked."""
        rules = [rule for rules in self._sendmail.cf.reached(ruleset).values() for rule in rules]
        return reaching_out(self._sendmail.cf.maps_of(rules))

    # what the tables and classes name

    def _own(self) -> list[Network]:
        return [ipaddress.ip_network(a) for a in self._sendmail.addresses]

    def _listed(self) -> list[Network]:
        found = [network_of(entry.key) for table in self._sendmail.tables.values() for entry in table.entries]
        return [n for n in found if n is not None]

    def networks(self) -> list[tuple[Network, str]]:
        """What may relay by its address, with what says so; the widest first."""
        found: dict[Network, str] = {}
        for table in self._sendmail.tables.values():
            for entry in table.entries:
                network = network_of(entry.key) if entry.tag in ("connect", "") else None
                if network is not None and (entry.relays or table.name != "access"):
                    found.setdefault(network, f"{table.path} {entry}")
        for member in self._sendmail.classes.get("R", ()):
            network = network_of(member)
            if network is not None:
                found.setdefault(network, f"{self._sendmail.origin_of_class('R')} {member}")
        ranked = sorted(found.items(), key=lambda pair: pair[0].prefixlen - (96 if pair[0].version == 6 else 0))
        return ranked[:CANDIDATES_LIMIT]

    def names(self) -> list[tuple[str, str]]:
        """What may relay by its verified name, with what says so."""
        found: dict[str, str] = {}
        for entry in self._sendmail.entries("connect", ""):
            if entry.relays and is_domain(entry.key):
                found.setdefault(entry.key, f"{self._sendmail.tables['access'].path} {entry}")
        for member in self._sendmail.classes.get("R", ()):
            if is_domain(member):
                found.setdefault(member, f"{self._sendmail.origin_of_class('R')} {member}")
        whole_domain = [rule for rule in self._sendmail.cf.rules.get("Relay_ok", []) if "$=m" in rule.left]
        for member in self._sendmail.classes.get("m", ()) if whole_domain else ():
            if is_domain(member):
                found.setdefault(member, f"{self._sendmail.where(whole_domain[0])} {whole_domain[0]} ({member})")
        return list(found.items())[:CANDIDATES_LIMIT]

    def domains(self) -> list[str]:
        """Domains of strangers: below every kind of top-level domain, and below what is listed with one label."""
        listed = [e.key for e in self._sendmail.entries("to", "") if e.relays] + list(self._sendmail.classes.get("R", ()))
        labels = [d.strip(".").lower() for d in listed if is_domain(d) and "." not in d.strip(".")]
        return list(dict.fromkeys([*FOREIGN_DOMAINS, *(f"{LABEL}.{label}" for label in labels[:CANDIDATES_LIMIT])]))

    def senders(self) -> list[tuple[str, Entry]]:
        """Senders that the access map lets relay, for relay_mail_from."""
        listed = [entry for entry in self._sendmail.entries("from", "") if entry.relays and network_of(entry.key) is None]
        return [(e.key if "@" in e.key.rstrip("@") else f"probe@{e.key.rstrip('@')}", e) for e in listed[:CANDIDATES_LIMIT]]

    def certificates(self) -> list[Entry]:
        """Issuers whose every certificate the access map lets relay. With SUBJECT for a value it takes named ones only."""
        return [entry for entry in self._sendmail.entries("certissuer") if entry.relays][:CANDIDATES_LIMIT]

    def local_domains(self) -> list[str]:
        return [d for d in self._sendmail.local_domains if d != "localhost"][:LOCAL_LIMIT]

    def relayed_domains(self) -> list[str]:
        own = self._sendmail.local_domains
        return [d.strip(".") for d in self._sendmail.relayed_domains if d.strip(".") not in own][:LOCAL_LIMIT]

    def tricks(self) -> Iterator[tuple[str, str, Question]]:
        """Recipients that hide a foreign one in the local part: the trick, the domain that it is written at, the question."""
        for domain in dict.fromkeys([*self.local_domains()[:1], *self._sendmail.relayed_domains[:1]]):
            for trick, recipient in (
                ("percent", f"probe%{FOREIGN}@{domain}"), ("bang", f"{FOREIGN}!probe@{domain}"),
                ("quoted", f'"probe@{FOREIGN}"@{domain}'), ("source_route", f"@{domain}:probe@{FOREIGN}"),
            ):  # fmt: skip
                yield trick, domain, self.plain(4, recipient=recipient)


def questions(sendmail: Sendmail) -> list[Question]:
    """Every question on relaying, once, that can be written in test mode."""
    found = dict.fromkeys(q for each in _daemons(sendmail) for q in each.all())
    return [q for q in found if q.usable]


def service_questions(sendmail: Sendmail) -> list[Question]:
    """The others."""
    found = dict.fromkeys(q for each in _daemons(sendmail) for q in each.of_services())
    return [q for q in found if q.usable]


def _daemons(sendmail: Sendmail) -> list[Questions]:
    return [Questions(sendmail, daemon) for daemon in (sendmail.daemons if sendmail.by_daemon else sendmail.daemons[:1])]


def reaching_out(maps: list[Map]) -> str:
    """The first of these maps whose look-up reaches another program or writes; empty for none."""
    kinds = ("program", "socket", "ldap", "ldapx", "nis", "nisplus", "hesiod", "netinfo", "ph", "userdb", "syslog")
    return next((f"{m.name} ({m.kind})" for m in maps if m.kind.lower() in kinds), "")


__all__ = ["FOREIGN", "NOBODY", "NO_MAILBOX", "OFFERS", "Questions", "questions", "reaching_out", "service_questions"]
