"""Ask the real Postfix smtpd what it would do with clients at any address.

A stand-alone smtpd is told with XCLIENT who its client is. No port is opened, no message and no queue file is made, the running
service is not touched; the traces are log lines tagged mtaudit/smtpd. What is still asked, as for every real client: the name
service for `reject_unknown_*` and `check_*_mx_access`, proxymap and trivial-rewrite, and the SASL back end. Not seen: client
certificates, the chroot's view of files, and policy services named only by an access table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..address import Network
from ..finding import Finding
from ..redact import redact
from ..smtp.reply import Reply
from ..text import printable
from .envelopes import Client, Envelope, for_client
from .refusals import NO_POLICY, lacks_name, undecided, would_queue
from .restrictions import depends, left_out
from .smtpd import Session, SessionEnded, SmtpdInvocation, obstacle
from .verdict import Answer, findings

DEFAULT_TIMEOUT_S = 15.0


@dataclass
class Budget:
    """How many processes the simulation of a host may start, and how many it did."""

    limit: int
    used: int = 0

    def take(self) -> bool:
        """Count one more; False when there is none left."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True


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
    """One or more findings for each class of hole on the service's listener; never raises, never takes longer than `timeout_s`.

    One process; a second one only when something is accepted and a policy service or a DNS allow list, which are not contacted
    unless `contact_policy_services`, might decide otherwise.
    """
    present = [c for c in clients if f"ipv{c.address.version}" in service.families]
    answers, stopped = _ask_all(service, present, envelopes, _Limits(budget, timeout_s), contact_policy_services)
    yield from findings(service.listener, answers, trusted, stopped)


Question = tuple[Client, Envelope]


def _ask_all(
    service: SmtpdInvocation, clients: Sequence[Client], envelopes: Sequence[Envelope], limits: _Limits, contact: bool
) -> tuple[list[Answer], str]:
    """The answers, and why some are missing."""
    stopped = obstacle(service)
    if stopped:
        return [], stopped
    questions = [(client, envelope) for client in clients for envelope in for_client(client, envelopes)]
    permissive, strict = ({}, {}) if contact else (left_out(service.parameters, True), left_out(service.parameters, False))
    answers, stopped = _converse(service, questions, permissive, limits)
    accepted = [(a.client, a.envelope) for a in answers if a.allowed and a.client.vantage != "local"]
    if strict == permissive or not accepted:
        return answers, stopped
    again, stopped_again = _converse(service, accepted, strict, limits)
    doubtful = set(accepted) - {(a.client, a.envelope) for a in again if a.allowed}
    reason = "depends on the answer of " + ", ".join(depends(service.parameters)) + ", which was not contacted"
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
        with Session(service, [f"{name}={value}" for name, value in overrides.items()], limits.timeout_s / 2) as session:
            dialogue = _Dialogue(session)
            for client, envelope in questions:
                answers.append(dialogue.ask(client, envelope))
    except SessionEnded as exc:
        return answers, str(exc)
    except OSError as exc:
        return answers, f"Could not start {service.program}: {exc.strerror}"
    return answers, ""


class _Dialogue:
    """The SMTP side of a session: who the client is, one envelope after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names_needed = False
        self._in_transaction = False
        greeting = session.reply()
        if not greeting.accepted:
            raise SessionEnded(f"smtpd refuses every client at the start: {greeting}")
        session.command("EHLO localhost")

    def ask(self, client: Client, envelope: Envelope) -> Answer:
        """Try one envelope; once more, with a host name for the client, when smtpd refuses clients without one."""
        allowed, reply = self._try(client, envelope)
        if not allowed and not self._names_needed and lacks_name(reply):
            self._names_needed = True
            allowed, reply = self._try(client, envelope)
        if allowed and envelope.at_local_domain and self._accepts_anything(client, envelope):
            return Answer(client, envelope, None, _quoted(reply), "every local part is accepted at this domain")
        reason = "" if allowed else undecided(reply, envelope.at_local_domain)
        return Answer(client, envelope, None if reason else allowed, _quoted(reply), reason)

    def _accepts_anything(self, client: Client, envelope: Envelope) -> bool:
        """A random mailbox at the same domain: where that is accepted too, the trick was taken as a name, not as a route."""
        domain = envelope.recipient.rpartition("@")[2]
        return self._try(client, replace(envelope, recipient=f"mtaudit-5b1f9c72@{domain}"))[0]

    def _try(self, client: Client, envelope: Envelope) -> tuple[bool, Reply]:
        """Whether smtpd takes the recipient, and the reply that decided."""
        if self._in_transaction:
            self._session.command("RSET")  # XCLIENT is not allowed within a transaction
        self._in_transaction = False
        reply = self._session.command(_xclient(client, self._names_needed))
        if reply.code in NO_POLICY:
            raise SessionEnded(f"smtpd does not take XCLIENT: {_quoted(reply)}")
        for line in (f"EHLO {envelope.helo}", f"MAIL FROM:<{envelope.sender}>", f"RCPT TO:<{envelope.recipient}>"):
            if not reply.accepted:
                return False, reply  # `smtpd_delay_reject = no`: refused before the recipient is named
            self._in_transaction = self._in_transaction or line.startswith("MAIL")
            reply = self._session.command(line)
        if would_queue(reply):
            # Accepted up to the queue that smtpd was not given. VRFY runs the same restrictions and has an answer for it.
            reply = self._session.command(f"VRFY <{envelope.recipient}>")
        return reply.accepted, reply


def _quoted(reply: Reply) -> str:
    return printable(redact(str(reply)))


def _xclient(client: Client, named: bool) -> str:
    """NAME must not be left out: smtpd then keeps `localhost`, and tables that go by name would open (measured)."""
    tag = "IPV6:" if client.address.version == 6 else ""
    name = "client.mtaudit.invalid" if named else "[UNAVAILABLE]"
    return (
        f"XCLIENT ADDR={tag}{client.address} NAME={name} REVERSE_NAME={name} PORT=40000 PROTO=ESMTP LOGIN=[UNAVAILABLE]"
    )
