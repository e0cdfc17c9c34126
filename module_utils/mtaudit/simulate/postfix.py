"""Ask the real Postfix smtpd what it would do with clients at any address.

A stand-alone smtpd is told with XCLIENT who its client is. No port is opened, no message and no queue file is made, the running
service is not touched; the traces are log lines tagged mtaudit/smtpd. Still asked, as for every real client: trivial-rewrite,
proxymap, the SASL back end, and the name service for `check_*_mx_access`, `check_*_ns_access`, `check_*_a_access` and
`permit_mx_backup`. Not seen: client certificates, the chroot's view of files, and what only an access table names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..address import NOBODYS, Address, Network
from ..control import Site
from ..finding import Finding
from ..readers.network import HostNetwork
from ..readers.postfix_model import Postfix, Service, SmtpService
from ..readers.postfix_restrictions import names_client
from ..redact import redact
from ..smtp.reply import Reply
from ..text import printable
from .envelopes import Client, Declared, Envelope, clients, envelopes, for_client
from .refusals import NO_POLICY, names_the_client, undecided, would_queue
from .restrictions import CLASSES, Outside, deciders, names, rewritten
from .session import Budget, Session, SessionEnded
from .smtpd import Listening, SmtpdInvocation, SmtpdSession, obstacle
from .verdict import Answer, Simulated, findings

DEFAULT_TIMEOUT_S = 15.0
TOTAL_TIMEOUT_S = 60.0
BUDGET = 20

Question = tuple[Client, Envelope]


def simulate_all(
    instances: Sequence[Postfix],
    site: Site,
    network: Optional[HostNetwork],
    declared: Declared,
) -> Simulated:
    """Every SMTP service of every instance that others than the host itself can reach.

    Bounded by BUDGET processes and TOTAL_TIMEOUT_S seconds; what could not be asked is `unknown` with the reason.
    """
    budget = Budget(BUDGET)
    services = [ports for postfix in instances if not postfix.problem for ports in _by_smtpd(postfix)]
    found: list[Finding] = []
    for ports in services:
        smtpd = ports[0].smtpd
        found += simulate(
            from_services(ports),
            _clients(smtpd, site, network),
            _envelopes(smtpd.postfix, site, declared),
            budget,
            site.trusted_networks,
            min(DEFAULT_TIMEOUT_S, TOTAL_TIMEOUT_S / len(services)),
            declared.contact_policy_services,
        )
    return Simulated(tuple(found), budget.used)


def _by_smtpd(postfix: Postfix) -> list[list[SmtpService]]:
    """The ports that others than the host itself can reach, those of one smtpd service together: it is asked once."""
    groups: dict[int, list[SmtpService]] = {}
    for port in postfix.smtp_services():
        if not port.loopback_only:
            groups.setdefault(id(port.smtpd), []).append(port)
    return list(groups.values())


def from_services(ports: Sequence[SmtpService]) -> SmtpdInvocation:
    """How to start the smtpd that decides behind all of `ports`: behind postscreen, that of the `pass` service."""
    smtpd = ports[0].smtpd
    main = smtpd.postfix.main
    classes = {CLASSES: smtpd.value(CLASSES)}
    return SmtpdInvocation(
        listeners=tuple(Listening(port.listener, port.families) for port in ports),
        config_directory=smtpd.postfix.config_directory,
        queue_directory=main.value("queue_directory"),
        daemon_directory=main.value("daemon_directory"),
        mail_owner=main.value("mail_owner"),
        options=tuple(f"{name}={value}" for name, value in smtpd.overrides.items()),
        routing_gap=_routing_gap(smtpd),
        parameters={**classes, **{name: smtpd.value(name) for name in names(classes)}},
        named=tuple(address for address in NOBODYS if names_client(smtpd, address)),
    )


def _clients(smtpd: Service, site: Site, network: Optional[HostNetwork]) -> list[Client]:
    here = network or HostNetwork((), (), ())
    mynetworks = [found for found, _ in smtpd.match_list("mynetworks").trusted().networks]
    return clients(here.addresses, here.links, here.gateways, site.trusted_networks, mynetworks)


def _envelopes(postfix: Postfix, site: Site, declared: Declared) -> list[Envelope]:
    relayed = _relayed(postfix)
    local = [domain for domain in [*postfix.local_domains, *site.local_domains] if domain not in relayed]
    return envelopes(declared, local, relayed)


def _relayed(postfix: Postfix) -> list[str]:
    """The relay domains that are known by name: `.partner.test` and tables that cannot be listed name none."""
    return [domain for domain in postfix.relayed_domains if not domain.startswith(".")]


def _routing_gap(smtpd: Service) -> str:
    """Where `allow_untrusted_routing` lets tricks pass at relay domains, a list of which no name is known hides the answer."""
    hidden = smtpd.on("allow_untrusted_routing") and smtpd.match_list("relay_domains").items and not _relayed(smtpd.postfix)
    return "no domain of relay_domains is known by name, so routing tricks could not be tried there" if hidden else ""


@dataclass(frozen=True)
class _Limits:
    budget: Budget
    timeout_s: float  # for both processes together


def simulate(
    service: SmtpdInvocation,
    clients: Sequence[Client],
    envelopes: Sequence[Envelope],
    budget: Budget,
    trusted: Sequence[Network] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
    contact_policy_services: bool = False,
) -> Iterator[Finding]:
    """For each listener of the service, one or more findings for each class of hole. Never raises.

    One process; a second one only when something is accepted and a policy service or a DNS allow list, which are not contacted
    unless `contact_policy_services`, might decide otherwise. Takes no longer than `timeout_s`.
    """
    families = {family for listener in service.listeners for family in listener.families}
    present = [c for c in clients if _family(c) in families]
    answers, stopped = _ask_all(service, present, envelopes, _Limits(budget, timeout_s), contact_policy_services)
    for listener in service.listeners:
        reachable = [answer for answer in answers if _family(answer.client) in listener.families]
        yield from findings(listener.name, reachable, trusted, stopped, service.routing_gap)


def _family(client: Client) -> str:
    return f"ipv{client.address.version}"


def _ask_all(
    service: SmtpdInvocation, clients: Sequence[Client], envelopes: Sequence[Envelope], limits: _Limits, contact: bool
) -> tuple[list[Answer], str]:
    """The answers, and why some are missing."""
    stopped = obstacle(service)
    if stopped:
        return [], stopped
    questions = [(client, envelope) for client in clients for envelope in for_client(client, envelopes)]
    first = rewritten(service.parameters, Outside.ASKED if contact else Outside.PERMITS)
    second = rewritten(service.parameters, Outside.ASKED if contact else Outside.REFUSES)
    answers, stopped = _converse(service, questions, first, limits)
    accepted = [(a.client, a.envelope) for a in answers if a.allowed and a.client.vantage != "local"]
    if first == second or not accepted:
        return answers, stopped
    again, stopped_again = _converse(service, accepted, second, limits)
    doubtful = set(accepted) - {(a.client, a.envelope) for a in again if a.allowed}
    reason = "depends on the answer of " + ", ".join(deciders(service.parameters)) + ", which was not contacted"
    sure = [replace(a, allowed=None, reason=reason) if (a.client, a.envelope) in doubtful else a for a in answers]
    return sure, stopped or stopped_again


def _converse(
    service: SmtpdInvocation, questions: Sequence[Question], overrides: Mapping[str, str], limits: _Limits
) -> tuple[list[Answer], str]:
    """One smtpd, all questions. What was answered before it stopped is kept."""
    if not limits.budget.take():
        return [], f"the budget of {limits.budget.limit} processes for simulations is used up"
    answers: list[Answer] = []
    try:
        with SmtpdSession(service, [f"{name}={value}" for name, value in overrides.items()], limits.timeout_s / 2) as session:
            dialogue = _Dialogue(session, service.named)
            for client, envelope in questions:
                answers.append(dialogue.ask(client, envelope))
    except SessionEnded as exc:
        return answers, str(exc)
    except OSError as exc:
        return answers, f"Could not start {service.program}: {exc.strerror}"
    return answers, ""


class _Dialogue:
    """The SMTP side of a session: who the client is, one envelope after the other."""

    def __init__(self, session: Session, named: Sequence[Address]) -> None:
        self._session = session
        self._named = named
        self._in_transaction = False
        greeting = session.reply()
        if not greeting.accepted:
            raise SessionEnded(f"smtpd refuses every client at the start: {_quoted(greeting)}")
        session.command("EHLO localhost")

    def ask(self, client: Client, envelope: Envelope) -> Answer:
        """Try one envelope."""
        allowed, reply = self._try(client, envelope)
        if allowed and envelope.at_local_domain and self._accepts_anything(client, envelope):
            return Answer(client, envelope, None, _quoted(reply), "every local part is accepted at this domain")
        reason = "" if allowed else undecided(reply, envelope.at_local_domain) or self._as_invented(client, reply)
        return Answer(client, envelope, None if reason else allowed, _quoted(reply), reason)

    def _as_invented(self, client: Client, reply: Reply) -> str:
        """Why a refusal may hold for the invented client only: lists of bogons name its address, others nameless clients."""
        named = client.address in self._named and names_the_client(reply)
        return "a table of clients may refuse the invented client's address only" if named else ""

    def _accepts_anything(self, client: Client, envelope: Envelope) -> bool:
        """A random mailbox at the same domain: where that is accepted too, the trick was taken as a name, not as a route."""
        domain = envelope.recipient.rpartition("@")[2]
        return self._try(client, replace(envelope, recipient=f"mtaudit-5b1f9c72@{domain}"))[0]

    def _try(self, client: Client, envelope: Envelope) -> tuple[bool, Reply]:
        """Whether smtpd takes the recipient, and the reply that decided."""
        if self._in_transaction:
            self._session.command("RSET")  # XCLIENT is not allowed within a transaction
        self._in_transaction = False
        reply = self._session.command(_xclient(client))
        if reply.code in NO_POLICY:
            raise SessionEnded(f"smtpd does not take XCLIENT: {_quoted(reply)}")
        for line in (f"EHLO {envelope.helo}", f"MAIL FROM:<{envelope.sender}>", f"RCPT TO:<{envelope.recipient}>"):
            if not reply.accepted:
                return False, reply
            self._in_transaction = self._in_transaction or line.startswith("MAIL")
            reply = self._session.command(line)
        if would_queue(reply):
            # Accepted up to the queue that smtpd was not given. VRFY runs the same restrictions and has an answer for it.
            reply = self._session.command(f"VRFY <{envelope.recipient}>")
        return reply.accepted, reply


def _quoted(reply: Reply) -> str:
    return printable(redact(str(reply)))


def _xclient(client: Client) -> str:
    """NAME must not be left out: smtpd then keeps `localhost`, and tables that go by name would open (measured)."""
    tag = "IPV6:" if client.address.version == 6 else ""
    unnamed = "NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"
    return f"XCLIENT ADDR={tag}{client.address} {unnamed} PORT=40000 PROTO=ESMTP LOGIN=[UNAVAILABLE]"
