"""Try one login at a mail service, from an address of ours: what came of it, and how long the answer took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional, Union

from ..services.mailbox import MailboxSession
from ..smtp.connection import Endpoint, SessionEnded
from ..smtp.dialogue import Session
from ..smtp.evidence import Costs, Limits, Transcript
from .mail_answers import of_refusal, of_reply
from .values import Attempt, Credential, Outcome, Service


@dataclass(frozen=True)
class Tried:
    """`connected`: whether the server took the connection. `wait_s` is how long the answer to the password took."""

    attempt: Attempt
    connected: bool = True
    wait_s: float = 0.0


async def try_login(service: Service, source: str, credential: Credential, limits: Limits, name: str, secret: bool) -> Tried:
    """Whatever happens is an outcome. `name` is for EHLO. Where the service offers no TLS, what is `secret` is not sent."""
    transcript = Transcript(limits, (credential.password, credential.username))
    endpoint, costs = Endpoint(service.address, service.port, service.tls, source), Costs()
    session: Union[Session, MailboxSession]
    if service.protocol == "smtp":
        session = Session(endpoint, limits, transcript, costs)
    else:
        session = MailboxSession(service.protocol, endpoint, limits, transcript, costs)
    begun = time.monotonic()
    try:
        attempt = await (_began_smtp(session, name) if isinstance(session, Session) else _began_mailbox(session))
        if secret and not session.secure:
            attempt = Attempt(Outcome.UNASKED, "it offers no TLS, and the password is not sent in clear")
        begun = time.monotonic()
        if attempt is None:
            attempt = await (_smtp(session, credential) if isinstance(session, Session) else _mailbox(session, credential))
        waited = time.monotonic() - begun
        await session.quit()
        return Tried(Attempt(attempt.outcome, transcript.clean(attempt.said)), True, round(waited, 2))
    except SessionEnded as end:
        waited = time.monotonic() - begun
        return Tried(Attempt(Outcome.SHUT, transcript.clean(str(end))), session.connected, round(waited, 2))
    finally:
        session.abort()


async def _began_smtp(session: Session, name: str) -> Optional[Attempt]:
    """None when a password would be taken."""
    banner = await session.connect()
    if not banner.accepted:
        return Attempt(Outcome.PUT_OFF, str(banner))
    hello = await session.hello(name)
    if hello.accepted and not session.secure and session.offers("STARTTLS"):
        hello = await session.starttls(name)
    if not hello.accepted:
        return Attempt(Outcome.PUT_OFF, str(hello))
    return None if session.auth_mechanisms() & {"PLAIN", "LOGIN"} else Attempt(Outcome.UNASKED, "it offers no login")


async def _smtp(session: Session, credential: Credential) -> Attempt:
    reply = await session.login(credential.username, credential.password)
    if reply is None:
        return Attempt(Outcome.UNASKED, "it offers no login")
    return Attempt(of_reply(reply.code, str(reply)), str(reply))


async def _began_mailbox(session: MailboxSession) -> Optional[Attempt]:
    await session.connect()
    if session.protocol != "sieve":  # whose greeting tells them
        await session.learn_capabilities()
    if not session.secure and session.offers_tls():
        await session.starttls()
    return None if "PLAIN" in session.mechanisms() else Attempt(Outcome.UNASKED, "it offers no login with PLAIN")


async def _mailbox(session: MailboxSession, credential: Credential) -> Attempt:
    answer = await session.begin_login()
    if answer.word == "more":
        answer = await session.give_login(credential.username, credential.password)
    if answer.word == "ok":
        return Attempt(Outcome.ACCEPTED, answer.text)
    return Attempt(of_refusal(answer.text), answer.text)
