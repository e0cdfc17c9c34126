"""Send one legitimate message in each direction that begins outside of the host: in from a stranger, and from a login.

What a server puts off is tried again, as other servers do; the canary is asked until the message is there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from .canary import Ask, CanaryError, arrived, canary_problem
from .connection import Endpoint, SessionEnded
from .dialogue import Session
from .evidence import Costs, Limits, Transcript
from .flow import Answer, Direction, Status
from .login import Login, LoginBudget
from .message import composed
from .reach import addresses_of, allow_files, listener_name, without_collections
from .reply import Reply
from .wording import Meaning, meaning

Dial = Callable[[str, int], "tuple[str, int]"]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 30.0
RESTART_S = 3.0  # a daemon that was just told of its configuration may not listen for a moment
BODY = "This message tests whether mail flows. It was sent by the server's owner with mtaudit; nobody needs to read it."
SUBJECT = "mtaudit mail flow test"


@dataclass(frozen=True)
class Target:
    """A server, and where to look for it. Ports in `tls_ports` speak TLS from the first byte."""

    name: str
    host: str
    known_recipient: str = ""
    login: Optional[Login] = None
    ports: tuple[int, ...] = (25,)
    submission_ports: tuple[int, ...] = (587, 465)
    tls_ports: tuple[int, ...] = (465,)
    directions: tuple[Direction, ...] = (Direction.IN, Direction.SUBMISSION)


@dataclass(frozen=True)
class Request:
    """One call. `ask` is None when the canary cannot be asked, `no_canary` says why; `expected` are messages that others sent.

    `put_off_s`: how long a server is tried that puts a message off. `dial` maps a listener to where it really is (tests).
    """

    targets: tuple[Target, ...]
    sender: str
    canary: str
    helo: str
    ask: Optional[Ask] = None
    no_canary: str = ""
    expected: tuple[Answer, ...] = ()
    tag: str = "mtaudit"
    canary_wait_s: float = 30.0
    put_off_s: float = 60.0
    concurrency: int = 100
    per_server: int = 2
    timeout_s: float = 300.0
    limits: Limits = field(default_factory=Limits)
    dial: Optional[Dial] = None


def run(request: Request) -> dict[str, Any]:
    """Send and return plain data: `answers` and `notes`."""
    with without_collections():
        return asyncio.run(send(request))


async def send(request: Request) -> dict[str, Any]:
    """As `run`, inside an event loop."""
    notes: list[str] = []
    allow_files(request.concurrency, notes)
    if request.ask is not None:
        problem = await canary_problem(request.ask)
        request = replace(request, ask=None, no_canary=problem) if problem else request
    shared = _Shared(asyncio.Semaphore(request.concurrency))
    found = await asyncio.gather(*(addresses_of(target.host) for target in request.targets))
    jobs = [job for target, (addresses, problem) in zip(request.targets, found)
            for job in _jobs(request, shared, target, addresses, problem)]  # fmt: skip
    jobs += [_Job(request, shared, answer=answer) for answer in request.expected]
    await _work(request, jobs)
    return {"answers": [job.answer.to_dict() for job in jobs], "notes": notes}


def _jobs(request: Request, shared: _Shared, target: Target, addresses: Sequence[str], problem: str) -> list[_Job]:
    jobs = []
    for direction in target.directions:
        why = _nothing_to_try_with(request, target, direction)
        if why or problem:
            status = Status.NOT_SENT if why else Status.UNKNOWN
            jobs.append(_Job(request, shared, answer=Answer(direction, target.name, "", status, why or problem)))
            continue
        ports = target.ports if direction is Direction.IN else target.submission_ports
        jobs += [_job(request, shared, target, direction, address, port) for address in addresses for port in ports]
    return jobs


def _nothing_to_try_with(request: Request, target: Target, direction: Direction) -> str:
    if direction is Direction.IN:
        return "" if target.known_recipient else "no known recipient is declared"
    if target.login is None:
        return "no test login is declared"
    if not request.canary:
        return "no canary is declared"
    return "" if request.ask else request.no_canary or "the canary is not asked"


def _job(request: Request, shared: _Shared, target: Target, direction: Direction, address: str, port: int) -> _Job:
    where, token = listener_name(address, port), f"{request.tag}-{secrets.token_hex(8)}"
    answer = Answer(direction, target.name, where, Status.UNKNOWN, "was not tried", token=token, at=time.time())
    real = request.dial(address, port) if request.dial else (address, port)
    return _Job(request, shared, answer, target, Endpoint(*real, port in target.tls_ports))


async def _work(request: Request, jobs: Sequence[_Job]) -> None:
    tasks = [asyncio.ensure_future(job.run()) for job in jobs]
    if not tasks:
        return
    _done, late = await asyncio.wait(tasks, timeout=request.timeout_s)
    for task in late:
        task.cancel()
    for job, task, result in zip(jobs, tasks, await asyncio.gather(*tasks, return_exceptions=True)):
        if task in late:
            job.say(detail=f"time-out: the call's limit of {request.timeout_s:g} s was reached")
        elif isinstance(result, Exception):  # a fault of ours is no fault of the server's, nor of the other messages
            job.say(Status.UNKNOWN, f"the probe itself failed ({type(result).__name__}: {job.clean(str(result))})")


@dataclass
class _Shared:
    """What the messages of one call share: room, connections at a time and the login by target."""

    room: asyncio.Semaphore
    servers: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    logins: defaultdict[str, LoginBudget] = field(default_factory=lambda: defaultdict(LoginBudget))

    def server(self, target: str, at_a_time: int) -> asyncio.Semaphore:
        return self.servers.setdefault(target, asyncio.Semaphore(at_a_time))


class _NotTaken(Exception):
    """The server does not take the message. `later`: it may, if it is tried again."""

    def __init__(self, status: Status, detail: str, line: str = "", later: bool = False) -> None:
        super().__init__(detail)
        self.status, self.line, self.later = status, line, later


@dataclass
class _Job:
    """One message: to a listener of a target; without a target one that somebody else sent."""

    request: Request
    shared: _Shared
    answer: Answer
    target: Optional[Target] = None
    endpoint: Optional[Endpoint] = None
    _clear: bool = False  # TLS did not come about: other servers then send without (RFC 3207, 4.1)
    _message_sent: bool = False

    def __post_init__(self) -> None:
        login = self.target.login if self.target else None
        self._transcript = Transcript(self.request.limits, (login.password, login.username) if login else ())
        self.clean = self._transcript.clean

    def say(self, status: Optional[Status] = None, detail: str = "", line: str = "") -> None:
        """Note what became of the message so far."""
        self.answer = replace(self.answer, status=status or self.answer.status, detail=detail, line=line or self.answer.line)

    async def run(self) -> None:
        """Hand the message in, and wait for it at the canary."""
        begun = time.monotonic()
        if self.target and self.endpoint:
            await self._hand_in(self.target, self.endpoint)
        if self.answer.pending and self.answer.direction in (Direction.SUBMISSION, Direction.OUT):
            await self._await_arrival()
        self.answer = replace(self.answer, seconds=self.answer.seconds + time.monotonic() - begun)

    async def _await_arrival(self) -> None:
        if self.request.ask is None:
            return self.say(detail=self.answer.detail or self.request.no_canary)
        wait_s = self.request.canary_wait_s
        try:
            if await arrived(self.request.ask, self.answer.token, wait_s):
                return self.say(Status.ARRIVED)
        except CanaryError as exc:
            return self.say(detail=f"the canary could not be asked: {exc}")
        missing = f"did not reach the canary within {wait_s:g} s"
        self.say(detail=f"{self.answer.detail}; it {missing}" if self.answer.detail else missing)

    async def _hand_in(self, target: Target, endpoint: Endpoint) -> None:
        """Try until the server has said yes or no, or the patience is at its end."""
        begun, pause_s = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                async with self.shared.room, self.shared.server(target.name, self.request.per_server):
                    line = await self._attempt(target, endpoint)
                return self.say(Status.ACCEPTED, "TLS does not work: it was sent without" if self._clear else "", line)
            except _NotTaken as no:
                patience_s = self.request.put_off_s if no.later else 0.0
                self.say(no.status, str(no), no.line)
            except SessionEnded as end:
                if end.kind == "tls" and not self._clear and self.answer.direction is Direction.IN and not endpoint.tls:
                    self._clear = True
                    continue
                patience_s = self._patience_s(end)
                self._note(end)
            if time.monotonic() - begun + pause_s > patience_s:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _patience_s(self, end: SessionEnded) -> float:
        if self._message_sent:
            return 0.0  # it may have been taken
        return self.request.put_off_s if end.kind == "closed" else min(self.request.put_off_s, RESTART_S)

    def _note(self, end: SessionEnded) -> None:
        text = f"the server {end}" if end.kind in ("closed", "timeout", "protocol") else str(end)
        status = Status.REFUSED if end.kind in ("refused", "tls") else Status.UNKNOWN
        self.say(status, f"{text}, after the message was sent" if self._message_sent else text)

    async def _attempt(self, target: Target, endpoint: Endpoint) -> str:
        """One session. Returns what the server said to the message; raises _NotTaken or SessionEnded."""
        login = target.login if self.answer.direction is Direction.SUBMISSION else None
        session = Session(endpoint, self.request.limits, self._transcript, Costs())
        session.delivering = True
        try:
            self._expect(await session.connect(), "at the greeting")
            self._expect(await session.hello(self.request.helo), "at EHLO")
            await self._secure(session, login)
            if login:
                sender, recipient = login.sender, self.request.canary
                async with self.shared.logins[target.name].lock:
                    await self._log_in(session, login, self.shared.logins[target.name])
            else:
                local, _at, domain = self.request.sender.rpartition("@")
                sender, recipient = f"{local}+{self.answer.token}@{domain}", target.known_recipient
            line = await self._say_message(session, sender, recipient)
            await session.quit()
            return line
        finally:
            session.abort()

    async def _secure(self, session: Session, login: Optional[Login]) -> None:
        if not session.secure and session.offers("STARTTLS") and not self._clear:
            reply = await session.starttls(self.request.helo)
            if login:
                self._expect(reply, "at STARTTLS")
        if login and not session.secure and not login.cleartext:
            raise _NotTaken(Status.REFUSED, "it offers no TLS, and the test login's password is not sent in clear")

    async def _log_in(self, session: Session, login: Login, budget: LoginBudget) -> None:
        if budget.refused:
            raise _NotTaken(Status.NOT_SENT, "the test login was refused at another listener, and is not tried again")
        reply = await session.login(login.username, login.password)
        if reply is None:
            raise _NotTaken(Status.REFUSED, "it offers neither AUTH PLAIN nor AUTH LOGIN")
        budget.refused = reply.code != 235 and reply.code >= 500
        self._expect(reply, "at the login")

    async def _say_message(self, session: Session, sender: str, recipient: str) -> str:
        for stage, reply in zip(("MAIL", "RCPT"), await session.commands([f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"])):
            self._expect(reply, f"at {stage}")
        self._expect((await session.commands(["DATA"]))[0], "at DATA")
        direction, target = self.answer.direction.value, self.answer.target
        author = sender if self.answer.direction is Direction.SUBMISSION else self.request.sender
        body = [BODY, f"Server: {target}, {self.answer.where}. Direction: {direction}."]
        content = composed(self.answer.token, recipient, SUBJECT, body, author.rpartition("@")[2], author)
        self._message_sent = True
        reply = await session.message(content)
        self._message_sent = False
        return self._expect(reply, "after the message")

    def _expect(self, reply: Reply, stage: str) -> str:
        """The reply as text, when it is a good one; raises _NotTaken for any other."""
        line = self.clean(str(reply))
        if reply.accepted or reply.code == 354:
            return line
        said = meaning(reply)
        if said in (Meaning.TEMPORARY, Meaning.OVERLOADED):
            raise _NotTaken(Status.UNKNOWN, f"put off {stage}: {line}", line, later=True)
        refused = "this client is blocked" if said is Meaning.BLOCKED else "refused"
        raise _NotTaken(Status.REFUSED, f"{refused} {stage}: {line}", line)
