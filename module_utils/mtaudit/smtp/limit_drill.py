"""Find out how much an account may really send: messages to the canary until one is refused, or a budget is spent.

Once one was refused, more is asked: whether a role address among the recipients, or the login in other letters, gets by, and
whether another account still sends.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from ..finding import Evidence, Finding, Method, Subject, fail, passed, stamped, unknown
from .connection import Endpoint, SessionEnded
from .dialogue import Session
from .evidence import Costs, Limits, Transcript
from .login import Login
from .message import composed
from .reach import listener_name

SUBJECT = "mtaudit send limit drill"
BODY = "This message tests how much an account may send. It was sent by the server's owner with mtaudit; nobody needs to read it."


@dataclass(frozen=True)
class Request:
    """One account at one listener. `messages` is the budget of the whole drill, each to the canary so often as `recipients` says;
    `most` is what may be sent within an hour. `role` is an address such as postmaster@ at the canary's domain."""

    address: str
    port: int
    login: Login
    canary: str
    helo: str
    messages: int
    recipients: int = 1
    most: int = 0
    other: Optional[Login] = None
    role: str = ""
    tls: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Sent:
    """What became of one message: how many of its recipients were taken, and the reply that refused it or one of them."""

    taken: int
    refusal: str = ""


@dataclass
class Drilled:
    """`passed` are the recipients that were taken, of `messages`; `refusal` what the server then said. The others are what was
    asked behind it: None where it was not."""

    messages: int = 0
    passed: int = 0
    refusal: str = ""
    problem: str = ""
    role: Optional[Sent] = None
    other_case: Optional[Sent] = None
    other_account: Optional[Sent] = None


class _NotSent(Exception):
    """It never came to the message."""


def drill(request: Request) -> dict[str, Any]:
    """Send, and return plain data."""
    found = asyncio.run(_drill(request))
    return {**asdict(found), "findings": [finding.to_dict() for finding in judged(request, found)]}


async def _drill(request: Request) -> Drilled:
    found, left = Drilled(), request.messages
    try:
        while left and not found.refusal:
            left -= 1
            sent = await _send(request, request.login, [request.canary] * request.recipients)
            found.messages += bool(sent.taken)
            found.passed += sent.taken
            found.refusal = sent.refusal
        if found.refusal and found.passed:
            await _ask_behind(request, found, left)
    except (SessionEnded, _NotSent) as exc:
        found.problem = str(exc)
    return found


async def _ask_behind(request: Request, found: Drilled, left: int) -> None:
    """With what is left of the budget, and each but once."""
    login = request.login
    in_other_case = replace(login, username=login.username.swapcase())
    if request.role and left:
        found.role, left = await _send(request, login, [request.canary, request.role]), left - 1
    if request.other and left:
        found.other_account, left = await _send(request, request.other, [request.canary]), left - 1
    if left:
        try:
            found.other_case = await _send(request, in_other_case, [request.canary])
        except _NotSent:
            pass  # such a login there is none


async def _send(request: Request, login: Login, recipients: list[str]) -> Sent:
    """One message in a session of its own. Raises SessionEnded or _NotSent."""
    transcript = Transcript(request.limits, (login.password, login.username))
    session = Session(Endpoint(request.address, request.port, request.tls), request.limits, transcript, Costs())
    session.delivering = True
    try:
        await session.connect()
        await session.hello(request.helo)
        if not session.secure:
            await session.starttls(request.helo)
        if not session.secure and not login.cleartext:
            raise _NotSent("it offers no TLS, and the password is not sent in clear")
        reply = await session.login(login.username, login.password)
        if reply is None or reply.code != 235:
            raise _NotSent(f"the login was refused: {transcript.clean(str(reply))}")
        replies = await session.commands([f"MAIL FROM:<{login.sender}>", *(f"RCPT TO:<{to}>" for to in recipients)])
        refused = next((transcript.clean(str(reply)) for reply in replies if not reply.accepted), "")
        taken = sum(reply.accepted for reply in replies[1:]) if replies[0].accepted else 0
        if not taken:
            return Sent(0, refused)
        token = f"mtaudit-{secrets.token_hex(8)}"
        reply = (await session.commands(["DATA"]))[0]
        if reply.code == 354:
            content = composed(token, request.canary, SUBJECT, [BODY], login.sender.rpartition("@")[2], login.sender)
            reply = await session.message(content)
        await session.quit()
        return Sent(taken, refused) if reply.accepted else Sent(0, transcript.clean(str(reply)))
    finally:
        session.abort()


def judged(request: Request, found: Drilled) -> list[Finding]:
    """What it says of RATE-01, which is about what may be sent within an hour."""
    where = listener_name(request.address, request.port)
    about = Subject("listener", where)
    shown = Evidence(Method.PROBE, where, found.refusal or found.problem or "no message was refused")
    said = f"measured {found.passed} recipients in {found.messages} messages"
    said += f", allowed {request.most} an hour" if request.most else ""
    made = None
    if found.problem and not found.refusal:
        made = unknown(about, "how much an account may send could not be measured", found.problem, shown)
    elif request.most and found.passed > request.most:
        made = fail(about, f"an account sends more than it may: {said}", shown)
    elif not found.refusal:
        made = unknown(about, f"no limit was reached: {said}", f"the budget of {request.messages} messages is spent", shown)
    elif not found.passed:
        reason = "already the first message was refused"
        made = unknown(about, "how much an account may send could not be measured", reason, shown)
    elif found.role and found.role.taken:
        made = fail(about, f"over its limit an account still sends when {request.role} is a recipient, too", shown)
    elif found.other_case and found.other_case.taken:
        made = fail(about, "over its limit an account still sends with its login in other letters", shown)
    elif found.other_account and not found.other_account.taken:
        made = fail(about, f"another account is refused as well: {found.other_account.refusal}", shown)
    return [stamped(made or passed(about, f"an account is limited: {said}", shown), "RATE-01", Method.PROBE)]
