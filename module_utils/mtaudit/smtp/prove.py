"""Send one message through an open form and ask the canary whether it came; try the forms that need a session of their own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Optional

from .battery import RELAYING, Form, Hole, authenticated_forms
from .canary import Ask, CanaryError, arrived
from .connection import SessionEnded
from .dialogue import Session
from .greeting import proxy_header
from .listener import Listener
from .login import LoginBudget
from .message import composed
from .reply import Reply
from .transaction import answer_to
from .verdict import REFUSALS, Answer, Delivery, Outcome
from .wording import Meaning, meaning

ROUNDS = 6  # the plain envelope, then its five conditions or the five tricks
_OWN = Form("own_sender", Hole.AUTHENTICATED, "", "")


class _Declined(SessionEnded):
    """The server offers a way to claim an identity, and refuses it to us."""

    def __init__(self, reply: Reply, text: str) -> None:
        super().__init__("declined", text)
        self.reply = reply


class Prover:
    """What follows the battery on one listener. `ask` is None when no message is to be sent."""

    def __init__(self, listener: Listener, ask: Optional[Ask], wait_s: float, logins: LoginBudget) -> None:
        self.tokens: list[str] = []
        self._listener, self._seen = listener, listener.seen
        self._ask, self._wait_s = ask, wait_s
        self._logins = logins
        self._reopened: set[str] = set()
        self._pretended: set[str] = set()

    async def run(self) -> None:
        """Identity forms, then a message through each open class, then the test login."""
        listener = self._listener
        if listener.plan is None or not self._seen.spoke:
            return
        for number in range(1, ROUNDS + 1):
            if not self._relays_for_anybody() and not self._seen.gave_up:
                await self._identity()
            forms = [form for hole in RELAYING for form in self._next(hole)]
            await asyncio.gather(*(self._prove(form) for form in forms))
            if not self._reopen():
                break
            if number < ROUNDS:
                await listener.ask_everything()
            listener.settle()
        if listener.target.login and not self._seen.gave_up:
            async with self._logins.lock:
                await self._login()

    def _passed(self, hole: Hole) -> list[Form]:
        """The forms of a class that were accepted and not yet tried with a message."""
        tried = {delivery.form.name for delivery in self._seen.deliveries}
        accepted = [answer for answer in self._accepted(hole) if answer.form.name not in tried]
        return [answer.form for answer in accepted if not self._must_not_be_sent_to(answer)]

    def _next(self, hole: Hole) -> list[Form]:
        """One message for a class; after a dead end all that is left, as each wait for the canary takes long."""
        outcomes = {delivery.outcome for delivery in self._seen.deliveries if delivery.form.hole is hole}
        if Outcome.ARRIVED in outcomes:
            return []
        return self._passed(hole) if outcomes else self._passed(hole)[:1]

    def _accepted(self, *holes: Hole) -> list[Answer]:
        answers = self._seen.answers.values()
        return [answer for answer in answers if answer.form.hole in holes and answer.meaning is Meaning.ACCEPTED]

    def _must_not_be_sent_to(self, answer: Answer) -> bool:
        return self._seen.leads_elsewhere(answer) or self._seen.only_local(answer.form)

    def _dead_ends(self) -> list[Form]:
        """Accepted forms that do not lead to the canary, of the classes that are not proven open."""
        came = {d.form.hole for d in self._seen.deliveries if d.outcome is Outcome.ARRIVED}
        lost = {d.form.name for d in self._seen.deliveries if d.outcome in (Outcome.REFUSED, Outcome.MISSING)}
        accepted = self._accepted(*(hole for hole in RELAYING if hole not in came))
        return [a.form for a in accepted if a.form.name in lost or self._must_not_be_sent_to(a)]

    def _relays_for_anybody(self) -> bool:
        dead_ends = self._dead_ends()
        return any(not a.form.conditions and a.form not in dead_ends for a in self._accepted(Hole.PLAIN))

    def _reopen(self) -> bool:
        """A dead end stops nothing: the other forms are to be asked. False when there is no new one."""
        assert self._listener.plan is not None
        found = [form for form in self._dead_ends() if form.name not in self._reopened]
        for form in found:
            self._reopened.add(form.name)
            self._listener.plan.reopen(form)
        return bool(found)

    @asynccontextmanager
    async def _session(self, form: Form) -> AsyncIterator[Session]:
        """A session in the state that a form needs: preface, TLS, identity, HELO name."""
        listener = self._listener
        await listener.servers.take(listener.target.name)
        session = listener.session()
        try:
            preface = None
            if form.identity == "proxy":
                # Also over IPv6: a header may name another family, and 127.0.0.1 is what servers trust.
                preface = proxy_header("127.0.0.1", "127.0.0.1", listener.port)
            await listener.greet(session, preface)
            if form.tls and not session.secure:
                await listener.upgrade(session)
            if form.identity == "xclient":
                await self._pretend(session)
            if form.helo:
                await session.hello(form.helo)
            yield session
            await session.quit()
        finally:
            session.abort()
            listener.servers.give_back(listener.target.name)

    async def _pretend(self, session: Session) -> None:
        reply = (await session.commands(["XCLIENT ADDR=127.0.0.1 NAME=localhost"]))[0]
        if reply.code != 220:
            raise _Declined(reply, f"XCLIENT: {session.transcript.clean(str(reply))}")
        await session.hello(self._listener.mission.helo)

    async def _identity(self) -> None:
        """Claim to be somebody else, in the ways that the listener gives an occasion for. Each is tried once."""
        for form in self._seen.identity_forms:
            if form.name in self._pretended or self._passed(Hole.IDENTITY):
                continue
            self._pretended.add(form.name)
            try:
                async with self._session(form) as session:
                    self._seen.answers[form.name] = await self._envelope(session, form)
            except _Declined as end:  # it is offered to others
                transcript = self._listener.transcript
                self._seen.answers[form.name] = answer_to(form, end.reply, "XCLIENT", transcript, False)
            except SessionEnded as end:
                self._seen.troubles.append(f"{form.name}: the server {end}")

    async def _envelope(self, session: Session, form: Form) -> Answer:
        mail, recipient = await session.commands([f"MAIL FROM:<{form.sender}>", f"RCPT TO:<{form.recipient}>"])
        stage, decided = ("RCPT", recipient) if mail.accepted else ("MAIL", mail)
        return answer_to(form, decided, stage, session.transcript, session.secure)

    async def _prove(self, form: Form) -> None:
        if self._ask is None:
            return
        token = self._new_token()
        try:
            async with self._session(form) as session:
                delivery = await self._send(session, form, token)
        except SessionEnded as end:
            delivery = Delivery(form, Outcome.PUT_OFF, f"the server {end}")
        self._seen.deliveries.append(delivery)
        index = self._seen.deliveries.index(delivery)
        if delivery.outcome is Outcome.UNASKED:
            self._seen.deliveries[index] = await self._await(delivery, token)

    def _new_token(self) -> str:
        token = f"{self._listener.mission.tag}-{secrets.token_hex(8)}"
        self.tokens.append(token)
        return token

    async def _await(self, delivery: Delivery, token: str) -> Delivery:
        assert self._ask is not None
        try:
            came = await arrived(self._ask, token, self._wait_s)
        except CanaryError as exc:
            return Delivery(
                delivery.form, Outcome.UNASKED, f"the canary could not be asked: {exc}", delivery.without_local_sender
            )
        return Delivery(delivery.form, Outcome.ARRIVED if came else Outcome.MISSING, "", delivery.without_local_sender)

    async def _send(self, session: Session, form: Form, token: str) -> Delivery:
        """MAIL, RCPT, DATA and the message.

        A routing form of nmap's is first tried with the foreign sender, to see whether it really takes a local one.
        """
        session.delivering = True
        foreign = self._listener.sender
        answer: Optional[Answer] = None
        used = form.sender
        if form.hole is Hole.ROUTING and form.sender not in ("", foreign):
            used = foreign
            answer = await self._envelope(session, Form(form.name, form.hole, foreign, form.recipient))
            if answer.meaning is not Meaning.ACCEPTED:
                used = form.sender
                await session.commands(["RSET"])
        if answer is None or answer.meaning is not Meaning.ACCEPTED:
            answer = await self._envelope(session, form)
        if answer.meaning is not Meaning.ACCEPTED:
            return Delivery(form, Outcome.PUT_OFF, f"the same recipient was refused the second time: {answer.quote}")
        return await self._data(session, form, used, token)

    async def _data(self, session: Session, form: Form, sender: str, token: str) -> Delivery:
        clean = session.transcript.clean
        reply = (await session.commands(["DATA"]))[0]
        where = "at DATA"
        said = meaning(reply)
        if reply.code == 354:
            reply = await session.message(self._content(form, sender, token))
            where = "after the message"
            if reply.accepted:
                return Delivery(
                    form, Outcome.UNASKED, "sent; time was up before the canary could say", sender == self._listener.sender
                )
            said = meaning(reply)
        blocked = "prober blocked " if said is Meaning.BLOCKED else ""
        outcome = Outcome.REFUSED if said in REFUSALS else Outcome.PUT_OFF
        return Delivery(form, outcome, f"{blocked}{where}: {clean(str(reply))}")

    def _content(self, form: Form, sender: str, token: str) -> str:
        mission = self._listener.mission
        body = [
            "This message tests whether a mail server relays for strangers. It was sent by the server's owner with mtaudit.",
            f"Server: {self._listener.target.name}, port {self._listener.port}. Form: {form.name}.",
        ]
        domain = mission.sender.rpartition("@")[2]
        return composed(token, mission.canary, "mtaudit relay test", body, domain, mission.sender)

    async def _login(self) -> None:
        """One login on this listener; after a failed one the account is left alone."""
        listener, login = self._listener, self._listener.target.login
        assert login is not None and listener.names is not None
        self._seen.login_forms = forms = authenticated_forms(listener.names, login.other_sender)
        if self._logins.refused:
            self._seen.login_problem = "not tried: the test login was refused at another listener"
            return
        try:
            async with self._session(forms[0]) as session:
                if not session.secure:
                    await listener.upgrade(session)
                if not session.auth_mechanisms():
                    return
                if not session.secure and not login.cleartext:
                    self._seen.login_problem = "not tried: AUTH is offered, but TLS is not, and a password is not sent in clear"
                    return
                await self._as_user(session, forms)
        except SessionEnded as end:
            self._seen.login_problem = self._seen.login_problem or f"the server {end}"

    async def _as_user(self, session: Session, forms: list[Form]) -> None:
        listener, login = self._listener, self._listener.target.login
        assert login is not None
        reply = await session.login(login.username, login.password)
        if reply is None or reply.code != 235:
            self._logins.refused = True
            self._seen.login_problem = (
                f"the test login failed: {session.transcript.clean(str(reply)) if reply else 'no mechanism in common'}"
            )
            return
        own = Form(_OWN.name, _OWN.hole, login.sender, listener.mission.canary)
        self._seen.login = await self._envelope(session, own)
        for form in forms:
            await session.commands(["RSET"])
            self._seen.answers[form.name] = answer = await self._envelope(session, form)
            if answer.meaning is Meaning.ACCEPTED and self._ask is not None:
                token = self._new_token()
                await session.commands(["RSET"])
                try:
                    delivery = await self._send(session, form, token)
                except SessionEnded as end:
                    self._seen.deliveries.append(Delivery(form, Outcome.PUT_OFF, f"the server {end}"))
                    raise
                if delivery.outcome is Outcome.UNASKED:
                    delivery = await self._await(delivery, token)
                self._seen.deliveries.append(delivery)
