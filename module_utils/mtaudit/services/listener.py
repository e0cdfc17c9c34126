"""Look at one listener: one connection in clear that goes on inside TLS, one more where its certificate is not trusted, one in
old TLS. What was seen stays valid when a connection is cut, or the time is up."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Optional, Union

from ..smtp.connection import Endpoint, SessionEnded
from ..smtp.dialogue import Session
from ..smtp.evidence import Costs, Transcript
from ..smtp.greeting import server_name
from ..smtp.login import LoginBudget
from ..smtp.servers import Servers
from .mailbox import MailboxSession
from .mailbox_questions import MailboxQuestions
from .seen import Mission, Seen, Service, Target
from .smtp_questions import SmtpQuestions
from .tls import distrusts, old_context, refusal_of_old, verifying_context

CONNECTIONS_LIMIT = 6
_contexts: dict[str, ssl.SSLContext] = {}


def _context(name: str) -> Optional[ssl.SSLContext]:
    """Made once for all listeners: reading the trusted certificates takes 10 ms. Any TLS is good enough without one."""
    makers = {"verifying": verifying_context, "old": old_context}
    if name in makers and name not in _contexts:
        _contexts[name] = makers[name]()
    return _contexts.get(name)


class ServiceListener:
    """One address and port. `run` fills `seen`."""

    def __init__(
        self, target: Target, endpoint: Endpoint, service: Service, mission: Mission, servers: Servers, budget: LoginBudget
    ) -> None:
        self.target, self.endpoint, self.service, self.mission = target, endpoint, service, mission
        self.seen = Seen()
        self.costs = Costs()
        hidden = (target.login.password, target.login.username) if target.login else ()
        self.transcript = Transcript(mission.limits, tuple(s for s in hidden if s))
        self.source_address = ""
        self.token = secrets.token_hex(8)
        self._servers = servers
        ask = SmtpQuestions if service.protocol == "smtp" else MailboxQuestions
        self.questions: Union[SmtpQuestions, MailboxQuestions] = ask(
            target, service, mission, self.seen, budget, self.transcript.clean, self.token
        )

    async def run(self) -> None:
        """Ask everything; then, in a connection of its own, whether old TLS is spoken."""
        while not self._done() and self.costs.started < CONNECTIONS_LIMIT:
            before = self._progress()
            try:
                async with self._turn():
                    await self._connection("any" if self.seen.tls.trust or self.seen.tls.problem else "verifying")
            except SessionEnded as end:
                self._note(end)
                if end.kind != "shared" and before == self._progress():
                    self.seen.gave_up = self.seen.gave_up or _sentence(end)
            if self.seen.gave_up:
                return
        await self._old_tls()

    def _progress(self) -> tuple[int, bool, bool, str]:
        return (self.questions.left, self.seen.clear is not None, self.seen.secure is not None, self.seen.tls.trust)

    def _done(self) -> bool:
        seen = self.seen
        no_tls = seen.clear is not None and (not seen.clear.starttls or seen.starttls is not None)
        return bool(seen.gave_up) or (not self.questions.left and (seen.secure is not None or no_tls or bool(seen.tls.problem)))

    def _session(self, context: str) -> Union[Session, MailboxSession]:
        common = (self.endpoint, self.mission.limits, self.transcript, self.costs, _context(context))
        if self.service.protocol == "smtp":
            return Session(*common)
        return MailboxSession(self.service.protocol, *common)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._servers.take(self.target.name)
        try:
            yield
        finally:
            self._servers.give_back(self.target.name)

    async def _connection(self, context: str) -> None:
        session = self._session(context)
        try:
            try:
                await self.questions.greet(session)
            finally:
                self.source_address = session.source_address or self.source_address
                self._learn_server(session)
            self._saw_tls(session, context)
            await self.questions.ask(session)
            if not session.secure and not self.questions.spent and await self.questions.secure(session):
                self._saw_tls(session, context)
                await self.questions.ask(session)
            await session.quit()
        finally:
            session.abort()

    def _learn_server(self, session: Union[Session, MailboxSession]) -> None:
        """Targets with the same name in their greeting are one server. Raises SessionEnded where that has its connections."""
        name = server_name(session.banner) if isinstance(session, Session) and session.banner else ""
        if not self._servers.learn(self.target.name, name):
            raise SessionEnded("shared", "is a server that is being looked at at another address")

    def _saw_tls(self, session: Union[Session, MailboxSession], context: str) -> None:
        if session.secure:
            self.seen.tls.learn(session.tls_object)
            if context == "verifying":
                self.seen.tls.trust = "trusted"

    def _note(self, end: SessionEnded) -> None:
        sentence = self.transcript.clean(_sentence(end))
        if end.kind == "shared":
            return
        self.seen.troubles.append(sentence)
        words = distrusts(end.__cause__)
        if words:
            self.seen.tls.trust, self.seen.tls.distrust = "untrusted", self.transcript.clean(words)
        elif end.kind == "tls" and not self.endpoint.tls:
            self.seen.tls.problem = sentence
        elif end.kind in ("refused", "unreachable", "protocol", "tls"):
            self.seen.gave_up = sentence

    async def _old_tls(self) -> None:
        seen = self.seen.tls
        if not seen.version or seen.old == "taken":
            return
        if self.mission.no_old_tls:
            seen.old_reason = self.mission.no_old_tls
            return
        session = self._session("old")
        try:
            await self._handshake(session)
            seen.old_reason = "STARTTLS was refused the second time"
        except SessionEnded as end:
            seen.old_reason = self.transcript.clean(_sentence(end))
            refusal = refusal_of_old(end.__cause__) if end.kind == "tls" else ""
            # Dovecot closes without an alert; but so does a server that has too many connections, before any word in clear.
            if refusal == "said" or (refusal == "closed" and (not self.endpoint.tls or await self._still_there())):
                seen.old, seen.old_reason = "refused", ""
        finally:
            made = session.tls_object if session.secure and session.connected else None
            if made is not None and made.version():
                seen.old, seen.old_version, seen.old_reason = "taken", made.version() or "", ""
            session.abort()

    async def _handshake(self, session: Union[Session, MailboxSession]) -> None:
        async with self._turn():
            try:
                await self.questions.greet(session)
                if not session.secure:
                    await self.questions.secure(session, first=False)
                await session.quit()
            finally:
                session.abort()

    async def _still_there(self) -> bool:
        """Whether today's TLS is taken right after the old was not."""
        try:
            await self._handshake(self._session("any"))
        except SessionEnded:
            return False
        return True


def _sentence(end: SessionEnded) -> str:
    return f"the server {end}" if end.kind in ("closed", "timeout", "protocol", "shared") else str(end)
