"""SMTP, IMAP, POP3 and ManageSieve: one login, after STARTTLS where it is offered."""

from __future__ import annotations

import asyncio
import socket
from typing import Optional, Union

from ...redact import MASK
from ...services.mailbox import Answer, MailboxSession
from ...smtp.connection import Endpoint, SessionEnded
from ...smtp.dialogue import Session
from ...smtp.evidence import Costs, Limits, Transcript
from ..mail_answers import of_refusal, of_reply
from ..values import Attempt, Credential, Outcome, Service
from .wire import Deadline

NO_LOGIN = Attempt(Outcome.UNASKED, "a login is needed here")


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """AUTH PLAIN or LOGIN; IMAP's LOGIN and POP3's USER where those are not offered."""
    if credential is None:
        return NO_LOGIN
    return asyncio.run(_within(service, credential, deadline.left_s()))


async def _within(service: Service, credential: Credential, limit_s: float) -> Attempt:
    limits = Limits(limit_s, limit_s, limit_s, limit_s)
    common = (Endpoint(service.address, service.port, service.tls), limits, Transcript(limits), Costs())
    session = Session(*common) if service.protocol == "smtp" else MailboxSession(service.protocol, *common)
    try:
        work = _smtp(session, credential) if isinstance(session, Session) else _mailbox(session, credential)
        return await asyncio.wait_for(work, limit_s)
    except SessionEnded as end:
        return Attempt(Outcome.SHUT, str(end))
    except asyncio.TimeoutError:
        return Attempt(Outcome.SHUT, "did not come to an end in time")
    finally:
        session.abort()


async def _smtp(session: Session, credential: Credential) -> Attempt:
    banner = await session.connect()
    if banner.code != 220:
        return Attempt(Outcome.SHUT, str(banner))
    name = socket.gethostname() or "localhost"
    await session.hello(name)
    if not session.secure and session.offers("STARTTLS"):
        await session.starttls(name)
    reply = await session.login(credential.username, credential.password)
    if reply is None:
        return Attempt(Outcome.UNASKED, "offers neither AUTH PLAIN nor LOGIN")
    if reply.code == 235:
        await session.quit()
    return Attempt(of_reply(reply.code, str(reply)), str(reply))


async def _mailbox(session: MailboxSession, credential: Credential) -> Attempt:
    await session.connect()
    if session.protocol != "sieve":
        await session.learn_capabilities()
    if not session.secure and session.offers_tls():
        await session.starttls()
    answer = await _give(session, credential)
    if isinstance(answer, str):
        return Attempt(Outcome.UNASKED, answer)
    if answer.word == "ok":
        await session.quit()
        return Attempt(Outcome.ACCEPTED, answer.text)
    return Attempt(of_refusal(answer.text), answer.text)


async def _give(session: MailboxSession, credential: Credential) -> Union[Answer, str]:
    """The answer to the login, or why there was none."""
    offered = session.mechanisms()
    if "PLAIN" in offered:
        begun = await session.begin_login()
        if begun.word == "more":
            return await session.give_login(credential.username, credential.password)
    if not (credential.username + credential.password).isascii():
        return "only PLAIN takes a login that is not ASCII, and it is not offered"
    if session.protocol == "imap" and "LOGIN" in offered:
        return await session.ask(f"LOGIN {_quoted(credential.username)} {_quoted(credential.password)}", f"LOGIN {MASK}")
    if session.protocol == "pop3":  # RFC 1939 has USER, and nothing that says so
        named = await session.ask(f"USER {credential.username}", f"USER {MASK}")
        return named if named.word == "no" else await session.ask(f"PASS {credential.password}", f"PASS {MASK}")
    return "offers no login with a password" + (" before TLS" if not session.secure else "")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
