"""The questions to an IMAP, POP3 or ManageSieve listener, as a client that has not logged in."""

from __future__ import annotations

import secrets
from typing import Callable, Union

from ..redact import MASK
from ..smtp.connection import SessionEnded
from ..smtp.dialogue import Session
from ..smtp.login import LoginBudget
from .mailbox import Answer, MailboxSession
from .seen import Attempt, Mission, Offer, Said, Seen, Service, Target, Trial


class MailboxQuestions:
    """What is to be asked on one listener, and what it answered: `seen`."""

    def __init__(
        self, target: Target, service: Service, mission: Mission, seen: Seen, budget: LoginBudget,
        clean: Callable[[str], str], token: str,
    ) -> None:  # fmt: skip
        self._target, self._seen, self._budget, self._clean = target, seen, budget, clean
        self._waiting = not service.tls  # whether the login in clear is still to be tried
        self._nobody = f"{mission.tag}-{secrets.token_hex(4)}"
        self.spent = False

    @property
    def left(self) -> int:
        """How many questions wait."""
        return int(self._waiting)

    async def greet(self, session: Union[Session, MailboxSession]) -> None:
        """Connect and ask what is offered. Raises SessionEnded where we are not let in."""
        assert isinstance(session, MailboxSession)
        self.spent = False
        await session.connect()
        self._seen.banner = self._seen.banner or self._clean(session.banner)
        if session.protocol != "sieve":
            await session.learn_capabilities()
        self._learn(session)

    def _learn(self, session: MailboxSession) -> None:
        offer = Offer(tuple(map(self._clean, session.capabilities[:60])), frozenset(session.mechanisms()), session.offers_tls())
        if session.secure:
            self._seen.secure = self._seen.secure or offer
        else:
            self._seen.clear = self._seen.clear or offer

    async def secure(self, session: Union[Session, MailboxSession], first: bool = True) -> bool:
        """STARTTLS where it is offered. A refusal is kept."""
        assert isinstance(session, MailboxSession)
        if not session.offers_tls():
            return False
        answer = await session.starttls()
        if not session.secure:
            if first:
                self._seen.starttls = self._said("STARTTLS", answer)
            return False
        if first:
            self._learn(session)
        return True

    async def ask(self, session: Union[Session, MailboxSession]) -> None:
        """Begin a login without the password. A server that ends the connection then is not asked again."""
        assert isinstance(session, MailboxSession)
        if not self._waiting or session.secure:
            return
        self._waiting = False
        try:
            await self._login(session, self._seen.in_clear)
        except SessionEnded:
            self._seen.cut.append("login")
            raise

    def _said(self, question: str, answer: Answer) -> Said:
        return Said(question, self._clean(answer.text))

    async def _login(self, session: MailboxSession, attempt: Attempt) -> None:
        command, answer = "a login with PLAIN", await session.begin_login()
        attempt.said, attempt.reason = self._said(command, answer), ""
        if answer.word == "more":
            attempt.outcome = Trial.ASKED
            async with self._budget.lock:
                await self._password(session, attempt, command)
            return
        attempt.outcome = Trial.REFUSED
        if session.protocol == "pop3":
            # USER is a way of its own (RFC 1939, 7): a good answer asks for the password; the connection ends here.
            answer = await session.ask(f"USER {self._nobody}")
            if answer.word == "ok":
                attempt.outcome, attempt.said, self.spent = Trial.ASKED, self._said("USER", answer), True

    async def _password(self, session: MailboxSession, attempt: Attempt, command: str) -> None:
        login = self._target.login
        if login is None or not login.cleartext or self._budget.refused:
            await session.cancel_login()
            return
        self._seen.logins += 1
        answer = await session.give_login(login.username, login.password)
        attempt.said = self._said(f"{command} {MASK}", answer)
        if answer.word == "ok":
            attempt.outcome, self.spent = Trial.TAKEN, True
        else:
            self._budget.refused = True
