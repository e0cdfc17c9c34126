"""Send one message through an open form and ask the canary whether it came; try the forms that need a session of their own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Optional

from .battery import IDENTITY_FORMS, Form, Hole, authenticated_forms, fill
from .canary import TOKEN_HEADER, Ask, CanaryError, arrived
from .dialogue import Session, SessionEnded
from .listener import Listener, proxy_header
from .transaction import answer_to
from .verdict import Answer, Delivery, Outcome
from .wording import Meaning

REOPEN_LIMIT = 4
_OWN = Form("own_sender", Hole.AUTHENTICATED, "", "")


@dataclass
class LoginBudget:
    """The test login of one target: one attempt at a time, and none after a refusal, so that no account is locked out."""

    refused: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Prover:
    """What follows the battery on one listener. `ask` is None when no message is to be sent."""

    def __init__(self, listener: Listener, ask: Optional[Ask], wait_s: float, logins: LoginBudget) -> None:
        self.tokens: list[str] = []
        self._listener, self._seen = listener, listener.seen
        self._ask, self._wait_s = ask, wait_s
        self._logins = logins

    async def run(self) -> None:
        """Identity forms, then a message through each open class, then the test login."""
        listener = self._listener
        if listener.plan is None or not self._seen.spoke:
            return
        plain_is_open = self._passed(Hole.PLAIN) is not None
        if not plain_is_open and not self._seen.gave_up:
            await self._identity()
        for _round in range(REOPEN_LIMIT):
            await asyncio.gather(*(self._prove(hole) for hole in (Hole.PLAIN, Hole.LOCAL_SENDER, Hole.ROUTING, Hole.IDENTITY)))
            if not await self._went_on():
                break
        if listener.target.login and not self._seen.gave_up:
            async with self._logins.lock:
                await self._login()

    def _passed(self, hole: Hole) -> Optional[Form]:
        """The form of a class that was accepted and not yet tried with a message."""
        tried = {delivery.form.name for delivery in self._seen.deliveries}
        for answer in self._seen.answers.values():
            elsewhere = answer.forward_path and answer.forward_path.lower() != answer.form.recipient.lower()
            if (
                answer.form.hole is hole
                and answer.meaning is Meaning.ACCEPTED
                and answer.form.name not in tried
                and not elsewhere
            ):
                return answer.form
        return None

    async def _went_on(self) -> bool:
        """A recipient that was only a local mailbox stops nothing: ask its class's other tricks. True when one was accepted."""
        listener = self._listener
        assert listener.plan is not None
        local = [d.form for d in self._seen.deliveries if d.outcome is Outcome.MISSING and d.form.may_be_local]
        proven = {d.form.hole for d in self._seen.deliveries if d.outcome is Outcome.ARRIVED}
        if not local or local[-1].hole in proven or not listener.plan.reopen(local[-1]):
            return False
        await listener.ask_everything()
        listener.settle()
        return self._passed(local[-1].hole) is not None

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
            raise SessionEnded("refused", f"XCLIENT: {session.transcript.clean(str(reply))}")
        await session.hello(self._listener.mission.helo)

    async def _identity(self) -> None:
        """XCLIENT only where it is offered, a PROXY header only where the listener wants one: both are told by how it greets."""
        listener = self._listener
        assert listener.names is not None
        wanted = {
            "xclient": any(c.split(" ")[0].upper() == "XCLIENT" for c in listener.capabilities),
            "proxy": bool(listener.preface),
        }
        for form in fill(IDENTITY_FORMS, listener.names):
            if not wanted[form.identity] or self._passed(Hole.IDENTITY):
                continue
            try:
                async with self._session(form) as session:
                    self._seen.answers[form.name] = await self._envelope(session, form)
            except SessionEnded as end:
                if form.identity == "xclient" and end.kind == "refused":
                    continue  # it is offered to others
                self._seen.troubles.append(f"{form.name}: {end}")
                self._seen.unanswered.append(form)

    async def _envelope(self, session: Session, form: Form) -> Answer:
        mail, recipient = await session.commands([f"MAIL FROM:<{form.sender}>", f"RCPT TO:<{form.recipient}>"])
        stage, decided = ("RCPT", recipient) if mail.accepted else ("MAIL", mail)
        return answer_to(form, decided, stage, session.transcript, session.secure)

    async def _prove(self, hole: Hole) -> None:
        form = self._passed(hole)
        if form is None or self._ask is None:
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
        if reply.code == 354:
            reply = await session.message(self._content(form, sender, token))
            where = "after the message"
            if reply.accepted:
                return Delivery(
                    form, Outcome.UNASKED, "sent; time was up before the canary could say", sender == self._listener.sender
                )
        permanent = 500 <= reply.code < 600
        return Delivery(form, Outcome.REFUSED if permanent else Outcome.PUT_OFF, f"{where}: {clean(str(reply))}")

    def _content(self, form: Form, sender: str, token: str) -> str:
        mission = self._listener.mission
        domain = mission.sender.rpartition("@")[2]
        return "\r\n".join(
            [
                f"From: mtaudit <{mission.sender}>",
                f"To: <{mission.canary}>",
                "Subject: mtaudit relay test",
                f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}",
                f"Message-ID: <{token}@{domain}>",
                f"{TOKEN_HEADER}: {token}",
                "Auto-Submitted: auto-generated",
                "",
                "This message tests whether a mail server relays for strangers. It was sent by the server's owner with mtaudit.",
                f"Server: {self._listener.target.name}, port {self._listener.port}. Form: {form.name}.",
                "",
            ]
        )

    async def _login(self) -> None:
        """One login on this listener; after a failed one the account is left alone."""
        listener, login = self._listener, self._listener.target.login
        assert login is not None and listener.names is not None
        if self._logins.refused:
            self._seen.login_problem = "not tried: the test login was refused at another listener"
            return
        first, *others = authenticated_forms(listener.names, login.other_sender)
        try:
            async with self._session(first) as session:
                if not session.secure:
                    await listener.upgrade(session)
                if not session.auth_mechanisms():
                    return
                if not session.secure and not login.cleartext:
                    self._seen.login_problem = "not tried: AUTH is offered, but TLS is not, and a password is not sent in clear"
                    return
                await self._as_user(session, [first, *others])
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
            if answer.meaning is not Meaning.ACCEPTED:
                continue
            if self._ask is not None:
                token = self._new_token()
                await session.commands(["RSET"])
                delivery = await self._send(session, form, token)
                if delivery.outcome is Outcome.UNASKED:
                    delivery = await self._await(delivery, token)
                self._seen.deliveries.append(delivery)
            break
