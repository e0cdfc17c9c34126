"""The questions to an SMTP listener, as an unauthenticated client: each is asked once, where it can be answered."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable
from typing import Callable, Union

from ..readers.local_users import ROLES
from ..redact import MASK
from ..smtp.connection import SessionEnded
from ..smtp.dialogue import Session
from ..smtp.login import LoginBudget
from ..smtp.reply import Reply
from ..smtp.wording import Meaning, meaning
from .bare_lf import smuggle
from .mailbox import MailboxSession
from .seen import Attempt, Mission, Offer, Said, Seen, Service, Target, Trial

MX_PORT = 25
Clean = Callable[[str], str]
_IN_CLEAR = ("recipients", "verify", "expand", "help", "login")


class SmtpQuestions:
    """What is to be asked on one listener, and what it answered: `seen`."""

    def __init__(
        self, target: Target, service: Service, mission: Mission, seen: Seen, budget: LoginBudget, clean: Clean, token: str
    ) -> None:
        self._target, self._service, self._mission, self._seen, self._budget = target, service, mission, seen, budget
        self._clean = clean
        self.spent = False  # logged in: not the connection of a stranger any more
        local, _at, domain = mission.sender.rpartition("@")
        self.sender = f"{local}+{mission.tag}-{token}@{domain}"
        known = target.known_recipient
        self._domain = known.rpartition("@")[2] or next(iter(target.local_domains), "")
        self._known = known or (f"postmaster@{self._domain}" if self._domain else "postmaster")
        self._random = f"{mission.tag}-{secrets.token_hex(8)}" + (f"@{self._domain}" if self._domain else "")
        elsewhere = mission.foreign.rpartition("@")[2] not in {self._domain, *target.local_domains}
        self._foreign = mission.foreign if elsewhere else ""
        self._clear = [] if service.tls else list(_IN_CLEAR)
        self._secure = [name for name in _IN_CLEAR if name != "login"] if service.tls else []
        self._secure += ["login"] if service.port == MX_PORT else []
        self._secure += ["smuggle"] if self._may_smuggle() else []
        self._questions: dict[str, Callable[[Session], Awaitable[None]]] = {
            "recipients": self._ask_recipients, "verify": self._ask_verify, "expand": self._ask_expand, "help": self._ask_help,
            "login": self._ask_login, "smuggle": self._ask_smuggle,
        }  # fmt: skip

    def _may_smuggle(self) -> bool:
        if not self._mission.canary:
            self._seen.smuggled.reason = f"not tried: {self._mission.no_message}"
        elif not self._target.login:
            self._seen.smuggled.reason = (
                "not tried: a message goes to the canary only, and this server takes that only from a test login"
            )
        else:
            return True
        return False

    @property
    def left(self) -> int:
        """How many questions wait. Those for inside TLS do not, where there is none."""
        tls_is_there = self._seen.secure is not None or self._service.tls or self._seen.starttls is None
        offered = self._seen.clear is None or self._seen.clear.starttls
        ahead = self._secure if tls_is_there and offered and not self._seen.tls.problem else []
        return len(self._clear) + len(ahead)

    async def greet(self, session: Union[Session, MailboxSession]) -> None:
        """Connect and say EHLO. Raises SessionEnded where we are not let in."""
        assert isinstance(session, Session)
        self.spent = False
        banner = await session.connect()
        self._seen.banner = self._seen.banner or self._clean(banner.text)
        if banner.code != 220:
            raise SessionEnded("closed", f"does not let us in: {self._clean(str(banner))}")
        reply = await session.hello(self._mission.helo)
        if not reply.accepted:
            raise SessionEnded("closed", f"refuses EHLO and HELO: {self._clean(str(reply))}")
        self._learn(session)

    def _learn(self, session: Session) -> None:
        offer = Offer(
            tuple(map(self._clean, session.capabilities[:60])), frozenset(session.auth_mechanisms()), session.offers("STARTTLS")
        )
        if session.secure:
            self._seen.secure = self._seen.secure or offer
        else:
            self._seen.clear = self._seen.clear or offer

    async def secure(self, session: Union[Session, MailboxSession], first: bool = True) -> bool:
        """STARTTLS where it is offered. A refusal is kept."""
        assert isinstance(session, Session)
        if not session.offers("STARTTLS"):
            return False
        reply = await session.starttls(self._mission.helo)
        if not session.secure:
            if first:
                self._seen.starttls = self._said("STARTTLS", reply)
            return False
        if first:
            self._learn(session)
        return True

    async def ask(self, session: Union[Session, MailboxSession]) -> None:
        """Everything that waits for a connection like this one. A question that ends the connection is not asked again."""
        assert isinstance(session, Session)
        waiting = self._secure if session.secure else self._clear
        while waiting and not self.spent:
            name = waiting.pop(0)
            try:
                await self._questions[name](session)
            except SessionEnded:
                self._seen.cut.append(name)
                raise

    def _said(self, question: str, reply: Reply) -> Said:
        return Said(question, self._clean(str(reply)), reply.code, reply.enhanced)

    def _wants_tls(self, session: Session, name: str, reply: Reply) -> bool:
        """Whether this question, and all after it, are for inside TLS. The login is tried in clear all the same."""
        if meaning(reply) is not Meaning.TLS_REQUIRED or session.secure or not session.offers("STARTTLS"):
            return False
        later = [name, *(each for each in self._clear if each != "login")]
        self._clear[:] = [each for each in self._clear if each == "login"]
        self._secure[:0] = later
        return True

    async def _ask_recipients(self, session: Session) -> None:
        """A mailbox that exists, one that does not, one of another domain, and on port 25 those that every domain must have
        (RFC 5321 4.5.1, RFC 2142 2), in one transaction that is given up."""
        if not self._domain:
            return
        boxes = {"known": self._target.known_recipient, "random": self._random, "foreign": self._foreign}
        if self._service.port == MX_PORT:
            boxes.update((role, f"{role}@{self._domain}") for role in ROLES)
        boxes = {name: box for name, box in boxes.items() if box}
        lines = [f"MAIL FROM:<{self.sender}>", *(f"RCPT TO:<{box}>" for box in boxes.values()), "RSET"]
        replies = await session.commands(lines)
        if self._wants_tls(session, "recipients", replies[0] if not replies[0].accepted else replies[1]):
            return
        for name, line, reply in zip(boxes, lines[1:], replies[1:]):
            self._seen.recipients[name] = self._said(line, reply) if replies[0].accepted else self._said(lines[0], replies[0])

    async def _ask_verify(self, session: Session) -> None:
        await self._known_and_random(session, "verify", "VRFY", self._seen.verify)

    async def _ask_expand(self, session: Session) -> None:
        await self._known_and_random(session, "expand", "EXPN", self._seen.expand)

    async def _known_and_random(self, session: Session, name: str, verb: str, into: dict[str, Said]) -> None:
        """The mailbox that exists; where that gets no refusal, the one that does not: only the difference tells."""
        for which, box in (("known", self._known), ("random", self._random)):
            line = f"{verb} {box}"
            reply = (await session.commands([line]))[0]
            if self._wants_tls(session, name, reply):
                return
            into[which] = self._said(line, reply)
            if not reply.accepted:
                return

    async def _ask_help(self, session: Session) -> None:
        self._seen.help = self._said("HELP", (await session.commands(["HELP"]))[0])

    async def _ask_login(self, session: Session) -> None:
        """Begin a login without the password, advertised or not: RFC 4954, 4 has the server ask for it (334), or refuse."""
        attempt = self._seen.in_tls if session.secure else self._seen.in_clear
        offered = session.auth_mechanisms()
        mechanism = "LOGIN" if "LOGIN" in offered and "PLAIN" not in offered else "PLAIN"
        line = f"AUTH {mechanism}"
        reply = (await session.commands([line]))[0]
        attempt.said, attempt.reason = self._said(line, reply), ""
        if reply.code != 334:
            attempt.outcome = Trial.REFUSED if reply.code >= 500 else Trial.UNKNOWN
            attempt.reason = "" if reply.code >= 500 else "put off"
            return
        attempt.outcome = Trial.ASKED
        login = self._target.login
        if session.secure or login is None or not login.cleartext or mechanism != "PLAIN":
            await session.commands(["*"])
            return
        async with self._budget.lock:
            await self._give_login(session, attempt, line)

    async def _give_login(self, session: Session, attempt: Attempt, line: str) -> None:
        login = self._target.login
        if login is None or self._budget.refused:
            await session.commands(["*"])
            return
        self._seen.logins += 1
        token = base64.b64encode(f"\0{login.username}\0{login.password}".encode()).decode()
        reply = (await session.commands([token], [MASK]))[0]
        attempt.said = self._said(f"{line} {MASK}", reply)
        if reply.code == 235:
            attempt.outcome, self.spent = Trial.TAKEN, True
        else:
            self._budget.refused = True

    async def _ask_smuggle(self, session: Session) -> None:
        """One message to the canary, as the test login, whose lines do not all end as they should."""
        login, result = self._target.login, self._seen.smuggled
        assert login is not None
        if not session.auth_mechanisms() & {"PLAIN", "LOGIN"}:
            result.reason = "not tried: this listener takes no test login, and without one no message to the canary"
            return
        async with self._budget.lock:
            if self._budget.refused:
                result.reason = "not tried: the test login was refused at another listener"
                return
            self._seen.logins += 1
            reply = await session.login(login.username, login.password)
            if reply is None or reply.code != 235:
                self._budget.refused = True
                result.reason = f"the test login failed: {self._clean(str(reply)) if reply else 'no mechanism in common'}"
                return
        self.spent = True
        self._seen.smuggled = await smuggle(session, login.sender, self._mission, self._clean)
