"""Probe one listener: hold the sessions that a plan asks for and collect the observations."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from .battery import FORMS, IDENTITY_FORMS, Form, Names, fill, literal, local_recipient_forms, relayed_domain_forms
from .connection import Endpoint, SessionEnded
from .dialogue import Session
from .evidence import Costs, Limits, Transcript
from .greeting import may_want_proxy_header, offers, proxy_header, server_name, vouched
from .login import Login
from .plan import Plan
from .reply import Reply
from .servers import Servers
from .transaction import NEGATIVE, POSITIVE, Transaction, answer_to
from .verdict import REFUSALS, Answer, Observations
from .wording import Meaning

CONNECTIONS_LIMIT = 60
FRUITLESS_LIMIT = 3  # sessions in a row that bring no answer
SUBMISSION_PORTS = (465, 587)


@dataclass(frozen=True)
class Target:
    """A server to probe, as the inventory has it. With `protect_local_recipients` no stranger may forge a sender there."""

    name: str
    known_recipient: str = ""
    local_domains: tuple[str, ...] = ()
    helo_name: str = ""
    login: Optional[Login] = None
    protect_local_recipients: bool = False


@dataclass(frozen=True)
class Mission:
    """What all probes of one call share. `sender` and `canary` are addresses, `helo` is the name that the prober gives itself."""

    sender: str
    canary: str
    helo: str
    tag: str = "mtaudit"
    retry_after_s: float = 60.0
    limits: Limits = field(default_factory=Limits)
    forms: tuple[Form, ...] = FORMS


class Listener:
    """One address and port of a target. `run` fills `seen`; what was observed stays valid when `run` is cancelled."""

    def __init__(self, target: Target, endpoint: Endpoint, declared_port: int, mission: Mission, servers: Servers) -> None:
        self.target, self.endpoint, self.port, self.mission, self.servers = target, endpoint, declared_port, mission, servers
        self.seen = Observations(local_domains=tuple(d.lower() for d in target.local_domains), canary=mission.canary)
        self.costs = Costs()
        hidden = (target.login.password, target.login.username) if target.login else ()
        self.transcript = Transcript(mission.limits, tuple(s for s in hidden if s))
        self.token = secrets.token_hex(8)
        # The sender carries the token: servers log it with a refusal, so that the log can be searched for our own connection. It
        # is the same in a retry, because greylisting remembers client, sender and recipient together.
        local, _at, domain = mission.sender.rpartition("@")
        self.sender = f"{local}+{mission.tag}-{self.token}@{domain}"
        self.banner = ""
        self.capabilities: tuple[str, ...] = ()
        self.capabilities_in_tls: tuple[str, ...] = ()
        self.source_address = ""
        self.preface = b""  # a PROXY header, on a listener that does not speak without one
        self.plan: Optional[Plan] = None
        self.names: Optional[Names] = None
        self._told = 0  # answers so far: a session that was cut after it gave one is no failed attempt
        self._fruitless = 0
        self._refusing: set[Session] = set()  # sessions that refused the known recipient before any accepted it
        self._doubtful: list[str] = []  # forms that they refused
        self._blocked_after: Optional[int] = None
        self._changed = asyncio.Event()
        self._helper: Optional[asyncio.Task[None]] = None
        # With the token, too: some servers log a refused recipient and no sender (OpenSMTPD).
        self._random_mailbox = f"{mission.tag}-{self.token}@{target.local_domains[0]}" if target.local_domains else ""

    async def run(self) -> None:
        """The battery; then what was put off once more."""
        try:
            await self.ask_everything()
            # Two rounds: a form that was first asked in the retry may be greylisted itself.
            for _round in range(2):
                if (
                    self.plan is None
                    or self.seen.gave_up
                    or not self.plan.retry("foreign_sender" if self._control_was_put_off() else "")
                ):
                    break
                self.transcript.add("*", f"put off: again in {self.mission.retry_after_s:g} s")
                await asyncio.sleep(self.mission.retry_after_s)
                self._fruitless = 0
                await self.ask_everything()
        finally:
            self.settle()

    def _control_was_put_off(self) -> bool:
        return self.seen.positive is not None and self.seen.positive.meaning in (Meaning.TEMPORARY, Meaning.OVERLOADED)

    def settle(self) -> None:
        """Note which forms are still without an answer, and for which identity forms the listener gives an occasion."""
        self.seen.unanswered = self.plan.untried if self.plan else []
        occasions = {"xclient": offers(self.capabilities, "XCLIENT"), "proxy": bool(self.preface)}
        forms = [form for form in IDENTITY_FORMS if occasions[form.identity]]
        self.seen.identity_forms = fill(forms, self.names) if self.names else []

    async def ask_everything(self) -> None:
        """Connect until the plan has nothing left to ask, or the listener gives nothing more."""
        try:
            await self._work()
            if self._helper:
                await self._helper
                await self._work()  # what the helper's connection could not finish
        finally:
            if self._helper and not self._helper.done():
                self._helper.cancel()
            self._helper = None

    def _more(self) -> bool:
        if self._fruitless >= FRUITLESS_LIMIT or self.costs.started >= CONNECTIONS_LIMIT:
            self.seen.gave_up = self.seen.gave_up or f"gave up after {self.costs.connections} connections: {self.seen.trouble}"
            return False
        return self.plan is None or self.plan.waiting

    async def _work(self, helping: bool = False) -> None:
        while self._more() and not self.seen.gave_up:
            # Beside a connection that still asks, another one is worth its cost only if there is more left than one can carry.
            alone = not helping and (self._helper is None or self._helper.done())
            if not alone and self.plan is not None and self.plan.left <= self.mission.limits.errors_per_connection:
                return
            if not helping:
                await self.servers.take(self.target.name)
            elif not self.servers.try_take(self.target.name):
                return
            before = self._told
            session = self.session()
            try:
                await self.greet(session)
                if not helping and self._helper is None and self.plan and not self.plan.single:
                    self._helper = asyncio.ensure_future(self._work(helping=True))
                await self._converse(session)
                await session.quit()
            except SessionEnded as end:
                if end.kind == "shared":
                    self._fruitless -= 1
                else:
                    self._note(end, session)
            finally:
                session.abort()
                self.servers.give_back(self.target.name)
                self._changed.set()
            useful = self._told > before
            self._fruitless = 0 if useful else self._fruitless + 1
            if self._fruitless > 0:
                await asyncio.sleep(self.mission.limits.backoff_s * self._fruitless)

    def session(self) -> Session:
        """A new connection's session, not yet connected."""
        return Session(self.endpoint, self.mission.limits, self.transcript, self.costs)

    def _note(self, end: SessionEnded, session: Session) -> None:
        sentence = f"the server {end}" if end.kind in ("closed", "timeout", "protocol") else str(end)
        self.seen.troubles.append(sentence)
        if self.plan and end.kind == "closed" and (session.errors or "421" in sentence):
            self.plan.single = True  # Postfix under stress cuts after one error (smtpd_hard_error_limit)
        if end.kind in ("refused", "unreachable", "protocol") or (end.kind == "tls" and self.endpoint.tls):
            self.seen.gave_up = sentence
        elif not self.seen.spoke and end.kind in ("timeout", "closed") and may_want_proxy_header(session):
            self._try_with_proxy_header()

    def _try_with_proxy_header(self) -> None:
        """A listener behind a load balancer stays silent until it has a PROXY header: give it one that tells the truth."""
        if self.preface or not self.source_address:
            self.seen.gave_up = self.seen.troubles[0]
            return
        self.preface = proxy_header(self.source_address, self.endpoint.address, self.port)

    async def greet(self, session: Session, preface: Optional[bytes] = None) -> Reply:
        """Connect, read the banner, say EHLO, and STARTTLS where the server wants it. Raises SessionEnded otherwise."""
        try:
            banner = await session.connect(self.preface if preface is None else preface)
        finally:
            self.source_address = session.source_address or self.source_address
            known = self.servers.learn(self.target.name, server_name(session.banner) if session.banner else "")
        if not known:
            await session.quit()
            raise SessionEnded("shared", "is a server that is being probed at another address")
        self.banner = self.banner or self.transcript.clean(banner.text)
        if banner.code == 421 or 400 <= banner.code < 500:
            raise SessionEnded("closed", f"is overloaded: {self.transcript.clean(str(banner))}")
        if banner.code != 220:
            self.seen.gave_up = f"prober blocked at the banner: {self.transcript.clean(str(banner))}"
            raise SessionEnded("closed", self.seen.gave_up)
        reply = await self._hello(session, banner)
        if self.plan is None:
            self._make_plan(session, reply)
        if self.plan and self.plan.tls_only and not session.secure:
            await self.upgrade(session)
        return reply

    async def _hello(self, session: Session, banner: Reply) -> Reply:
        reply = await session.hello(self.mission.helo)
        if not reply.accepted:
            raise SessionEnded("closed", f"refuses EHLO and HELO: {self.transcript.clean(str(reply))}")
        self.seen.spoke = True
        self.capabilities = self.capabilities or session.capabilities
        self._look_at(session)
        return reply

    def _look_at(self, session: Session) -> None:
        if session.secure:
            self.capabilities_in_tls = self.capabilities_in_tls or session.capabilities
        if self.port in SUBMISSION_PORTS and session.auth_mechanisms():
            self.seen.submission = True

    async def upgrade(self, session: Session) -> bool:
        """STARTTLS where it is offered. False when it is not, or is refused."""
        if not session.offers("STARTTLS"):
            return False
        upgraded = (await session.starttls(self.mission.helo)).accepted and session.secure
        self._look_at(session)
        return upgraded

    def _make_plan(self, session: Session, hello: Reply) -> None:
        said = (server_name(session.banner) if session.banner else "") or server_name(hello) or self.target.name
        name, told = vouched(said, self.target.helo_name, self.target.local_domains)
        local, _at, domain = self.sender.rpartition("@")
        canary_local, _at, canary_domain = self.mission.canary.rpartition("@")
        mailbox, _at, mailbox_domain = self.target.known_recipient.rpartition("@")
        at_home = mailbox_domain.lower() in self.seen.local_domains
        self.names = Names(
            local,
            domain,
            canary_local,
            canary_domain,
            name,
            literal(self.endpoint.address),
            (mailbox_domain if at_home else "") or next(iter(self.target.local_domains), ""),
            mailbox if at_home else "postmaster",
            told,
        )
        further = [domain for domain in self.target.local_domains if domain.lower() != self.names.L.lower()]
        forms = fill(self.mission.forms, self.names)
        forms += relayed_domain_forms(self.names, further)
        if self.target.protect_local_recipients and self.port not in SUBMISSION_PORTS:
            forms += local_recipient_forms(self.names, self.target.known_recipient)
        self.plan = Plan(forms)
        if session.secure or not session.offers("STARTTLS"):
            self.plan.skip(["inside_tls"])

    async def _converse(self, session: Session) -> None:
        """Ask batch after batch on this connection."""
        assert self.plan is not None
        transaction = Transaction(session)
        asked = False
        while True:
            controls = self._controls(first=not asked)
            room = self.mission.limits.errors_per_connection - session.errors - len(controls) - bool(controls)
            batch = self.plan.take(room, {transaction.sender} if transaction.sender is not None else (), session.upgraded)
            if batch is None:
                return
            if not batch:
                self._changed.clear()
                await self._changed.wait()
                continue
            # What is left after that, if anything, is for another connection. A first batch may show that TLS is wanted.
            last = asked and (not self.plan.left or len(batch) >= room)
            await self._ask(session, transaction, controls, batch, last)
            asked = True
            if last or self.plan.single:
                return

    def _controls(self, first: bool) -> list[tuple[Form, str]]:
        """The control envelopes that this batch carries: the known recipient once a session, the random mailbox once."""
        found = []
        if first and self.target.known_recipient:
            found.append((POSITIVE, self.target.known_recipient))
        if first and self._random_mailbox and (self.seen.negative is None or self.seen.negative.meaning is Meaning.TEMPORARY):
            found.append((NEGATIVE, self._random_mailbox))
        return found

    async def _ask(self, session: Session, transaction: Transaction, controls: Sequence[tuple[Form, str]],
                   batch: Sequence[Form], last: bool) -> None:
        assert self.plan is not None
        ours = [(form, self.sender, recipient) for form, recipient in controls]
        ours += [(form, form.sender, form.recipient) for form in batch if form.sender == self.sender]
        others = [(form, form.sender, form.recipient) for form in batch if form.sender != self.sender]
        # The foreign sender's envelopes share one transaction with the controls, and the next batch can go on in it.
        # Where the session may be cut at the first error, the known recipient comes before it.
        items = [*ours, *others] if transaction.sender == self.sender or self.plan.single else [*others, *ours]
        left = list(batch)
        told_before = self._told
        try:
            await self._prepare(session, transaction, batch[0], left)
            if left:
                self._record_all(await transaction.ask(items, last), session, left)
        except SessionEnded as end:
            if end.kind != "blocked":
                self._record_all(transaction.answered(end.replies), session, left)
            if end.kind == "tls" and batch[0].tls:
                self.plan.skip(["inside_tls"])  # nobody gets a message through a TLS that does not work
            raise
        finally:
            self.plan.give_back(left, counts=self._told == told_before)
            self._changed.set()
        if self.plan.tls_only and not session.secure and not last:
            transaction.reset()
            if not await self.upgrade(session):
                self.plan.tls_only = False
                raise SessionEnded("tls", "wants STARTTLS but does not do it")

    async def _prepare(self, session: Session, transaction: Transaction, form: Form, left: list[Form]) -> None:
        """Bring the session into the state that the form needs: TLS, HELO name."""
        assert self.plan is not None
        if form.tls and not session.secure:
            transaction.reset()
            if not await self.upgrade(session):
                self.plan.skip([form.name])
                left.remove(form)
                return
        helo = form.helo or self.mission.helo
        if helo == session.helo:
            return
        transaction.reset()
        refused = await session.hello(helo)
        if not refused.accepted:
            answer = answer_to(form, refused, "EHLO", self.transcript, session.secure)
            for same in list(left):
                self._record(same, answer, session, left)
            await session.hello(self.mission.helo)

    def _record_all(self, found: Sequence[tuple[Form, Answer]], session: Session, left: list[Form]) -> None:
        """A refusal counts only as much as the known recipient's answer in the same session."""
        control = next((answer for form, answer in found if form is POSITIVE), None)
        if control is not None and control.meaning in (*REFUSALS, Meaning.BLOCKED):
            if self.seen.positive is not None and self.seen.positive.meaning is Meaning.ACCEPTED:
                for form, answer in found:
                    if answer.meaning is Meaning.ACCEPTED:
                        self._record(form, answer, session, left)
                self._was_blocked(control)
            self._refusing.add(session)
        for form, answer in found:
            self._record(form, answer, session, left)
            if session in self._refusing and form not in (POSITIVE, NEGATIVE) and answer.meaning is not Meaning.ACCEPTED:
                self._doubtful.append(form.name)
        if control is not None and control.meaning is Meaning.ACCEPTED and self.plan:
            for name in self.plan.ask_again(self._doubtful):
                self.seen.answers.pop(name, None)
            self._doubtful.clear()

    def _was_blocked(self, control: Answer) -> None:
        """The known recipient, accepted before, is refused now. Once may be chance; twice is a block. Raises SessionEnded."""
        again = self._blocked_after is not None
        self._blocked_after = self._blocked_after or self.costs.connections - 1
        sentence = f"prober blocked after {self._blocked_after} connections: {control.quote}"
        self.seen.gave_up = self.seen.gave_up or (sentence if again else "")
        raise SessionEnded("blocked", sentence)

    def _record(self, form: Form, answer: Answer, session: Session, left: list[Form]) -> None:
        assert self.plan is not None
        wants_tls = answer.meaning is Meaning.TLS_REQUIRED and not session.secure and session.offers("STARTTLS")
        if wants_tls:
            self.plan.tls_only = self.seen.tls_was_required = True
            self.plan.skip(["inside_tls"])
        elif form is POSITIVE:
            # One acceptance vouches for the server: a later session that is cut or put off does not take it back.
            if self.seen.positive is None or self.seen.positive.meaning is not Meaning.ACCEPTED:
                self.seen.positive = answer
        elif form is NEGATIVE:
            self.seen.negative = answer
            self._told += 1
        if form is POSITIVE or form is NEGATIVE:
            return
        left.remove(form)
        if wants_tls:
            self.plan.give_back([form], counts=False)
            return
        self.seen.answers[form.name] = answer
        self._told += 1
        self.plan.answer(form, answer.meaning)
        if form.name == "foreign_sender" and answer.meaning is Meaning.OVERLOADED:
            self.plan.paused = True
