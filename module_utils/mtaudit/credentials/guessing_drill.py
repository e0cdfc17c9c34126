"""Guess the password of a throw-away account until the source is blocked, and find out what that block is worth.

Each family of addresses has a source of its own, used for nothing else, and a control: another address of ours, which must still
get in, for else the server is down. What is blocked is told by connections alone. Then the same from several addresses, each too
seldom to be blocked: whether anything counts by account.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from ..address import parse_address
from ..smtp.evidence import Limits
from .mail_login import Tried, try_login
from .values import Credential, Outcome, Service

MAIL_PORTS = {25: "smtp", 465: "smtp", 587: "smtp", 143: "imap", 993: "imap", 110: "pop3", 995: "pop3", 4190: "sieve"}
_TLS_PORTS = (465, 993, 995)
_KNOCK_S = 5.0
_PAUSE_S, _SETTLES_S = 1.0, 5.0  # a program that reads logs is not told at once
_LOOKS_AGAIN_S = 5.0


class DrillError(Exception):
    """The drill cannot begin: why."""


@dataclass(frozen=True)
class Way:
    """One family: the server's address, the source that guesses, and the control, empty for the system's choice."""

    address: str
    source: str
    control: str = ""


@dataclass(frozen=True)
class Request:
    """`ports` are where logins are tried, in turn. `attempts` is the budget of each way. `password` is the account's right one,
    empty where it is not known; `spread` are the addresses that each guess `each` times."""

    ways: tuple[Way, ...]
    username: str
    password: str = ""
    ports: tuple[int, ...] = (587, 465, 25, 143, 993, 110, 995)
    attempts: int = 30
    watch_s: float = 900.0
    spread: tuple[str, ...] = ()
    each: int = 3
    helo: str = ""
    limits: Limits = field(default_factory=lambda: Limits(connect_s=_KNOCK_S, banner_s=30.0, reply_s=30.0))


@dataclass
class Guessed:
    """What one way saw. `offered` are the ports that take logins, `guesses` the wrong passwords that were given there, of which
    the server took so many as `before_block` says before the first connection that it did not take, after `took_s`; `waits_s` is
    how long each answer took. `shut` and `open` are the ports that the source does not and does reach afterwards, of those that
    the control reaches; `held_s` is how long it was seen blocked, to its end where `ended`."""

    way: Way
    offered: list[int] = field(default_factory=list)
    guesses: int = 0
    before_block: Optional[int] = None
    took_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    said: str = ""
    blocked_at: float = 0.0  # seconds since 1970
    shut: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    held_s: float = 0.0
    ended: bool = False
    problem: str = ""

    @property
    def blocked(self) -> bool:
        return bool(self.shut)


@dataclass
class Spread:
    """Wrong passwords of one account from several addresses. `right` is what then became of the right one, None where it is not
    known; `usual_wait_s` and `wait_s` how long its answer took before and after; `blocked` are the addresses that were."""

    addresses: int = 0
    guesses: int = 0
    blocked: list[str] = field(default_factory=list)
    right: Optional[str] = None
    said: str = ""
    usual_wait_s: float = 0.0
    wait_s: float = 0.0
    problem: str = ""


@dataclass
class Drilled:
    ways: list[Guessed] = field(default_factory=list)
    spread: Optional[Spread] = None


def drill(request: Request) -> Drilled:
    """Guess. Raises DrillError."""
    for way in request.ways:
        _refuse_what_is_not_ours(way.address, (way.source, way.control))
    families = {parse_address(way.address).version for way in request.ways}
    for address in request.spread:
        if parse_address(address).version not in families:
            raise DrillError(f"{address} is no address of a family in which the server is asked")
        _refuse_what_is_not_ours(address, (address,))
    return asyncio.run(_drill(request))


def _refuse_what_is_not_ours(address: str, own: Sequence[str]) -> None:
    """Raises DrillError."""
    version = parse_address(address).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    for each in filter(None, own):
        if parse_address(each).version != version:
            raise DrillError(f"{address} and {each} are not of one family")
        try:
            with socket.socket(family) as trial:
                trial.bind((each, 0))
        except OSError as exc:
            raise DrillError(f"{each} is no address of this vantage: {exc.strerror or exc}") from exc
    if len(own) == 2 and own[0] == (own[1] or _usual(address, family)):
        raise DrillError(f"{own[0]} is what this vantage uses for everything: what guesses needs an address of its own")


def _usual(address: str, family: int) -> str:
    """The address that the system would choose; nothing is sent. Raises DrillError."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.connect((address, 25))
            return str(trial.getsockname()[0])
    except OSError as exc:
        raise DrillError(f"{address} cannot be reached from here: {exc.strerror or exc}") from exc


async def _drill(request: Request) -> Drilled:
    found, right = Drilled(), None
    if request.spread:
        found.spread = Spread(len(request.spread))
        right = await _try_right(request, found.spread) if request.password else None
    found.ways += await asyncio.gather(*(_guess(request, way) for way in request.ways))
    if found.spread and not found.spread.problem:
        await _spread(request, found, found.spread, right)
    await asyncio.gather(*(_watch(request, each) for each in found.ways if each.blocked))
    return found


async def knock(address: str, port: int, source: str) -> bool:
    """Whether a TCP connection from there is taken."""
    own = (source, 0) if source else None
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port, local_addr=own), _KNOCK_S)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _reached(address: str, ports: Sequence[int], source: str) -> list[int]:
    answers = await asyncio.gather(*(knock(address, port, source) for port in ports))
    return [port for port, taken in zip(ports, answers) if taken]


def _service(address: str, port: int) -> Service:
    return Service(MAIL_PORTS.get(port, "smtp"), address, port, port in _TLS_PORTS)


async def _once(request: Request, address: str, port: int, source: str, password: str = "") -> Tried:
    """One attempt, with a password that is not the account's where none is given."""
    credential = Credential(request.username, password or f"wrong-{secrets.token_hex(8)}")
    return await try_login(_service(address, port), source, credential, request.limits, request.helo, bool(password))


async def _guess(request: Request, way: Way) -> Guessed:
    found = Guessed(way)
    there = await _reached(way.address, tuple(MAIL_PORTS), way.control)
    found.offered = [port for port in request.ports if port in there]
    if not found.offered:
        found.problem = f"nothing answers {way.control or 'this vantage'} at port {', '.join(map(str, request.ports))}"
        return found
    if not await _reached(way.address, found.offered, way.source):
        found.problem = f"{way.source} is blocked already, or not routed: nothing answers it"
        return found
    await _until_blocked(request, found)
    if not found.problem:
        await asyncio.sleep(_SETTLES_S)
        await _look(found, there)
    return found


async def _until_blocked(request: Request, found: Guessed) -> None:
    """Attempts at one port after the other. One that takes no connection any more is left out; the others are tried on, as
    whoever guesses would do."""
    ports, turn, started = list(found.offered), 0, time.monotonic()
    answered = started, time.time()  # a block cuts off sessions as well: it began behind the last answer
    while ports and turn < request.attempts:
        port = ports[turn % len(ports)]
        tried = await _once(request, found.way.address, port, found.way.source)
        outcome = tried.attempt.outcome
        if outcome == Outcome.ACCEPTED:
            found.problem = f"a password made up at random was taken at port {port}"
            return
        if not tried.connected or outcome == Outcome.UNASKED:
            ports.remove(port)
            found.offered = [each for each in found.offered if each != port or not tried.connected]
            if not tried.connected and found.before_block is None:
                found.before_block, found.took_s, found.blocked_at = found.guesses, round(answered[0] - started, 1), answered[1]
            continue
        turn += 1
        await asyncio.sleep(_PAUSE_S)
        if outcome != Outcome.SHUT:  # that one got no answer
            answered = time.monotonic(), time.time()
            found.guesses += 1
            found.waits_s.append(tried.wait_s)
            found.said = tried.attempt.said
    if found.before_block is None:
        found.took_s = _since(started)
    if not found.offered:
        found.problem = "no port takes a login"


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


async def _look(found: Guessed, there: Sequence[int]) -> None:
    """Which ports the source reaches, of those that the control does."""
    way = found.way
    controlled = await _reached(way.address, there, way.control)
    if not controlled:
        found.problem = "the control does not get in either: the server is down, or both are blocked"
        return
    found.open = await _reached(way.address, controlled, way.source)
    found.shut = [port for port in controlled if port not in found.open]
    if found.before_block is None:
        found.before_block, found.blocked_at = (found.guesses, time.time()) if found.shut else (None, 0.0)
    elif not found.shut:
        found.problem = "connections were not taken for a while, and then were"


async def _watch(request: Request, found: Guessed) -> None:
    """Until the source gets in again."""
    started = time.monotonic()
    while time.monotonic() - started < request.watch_s:
        if await knock(found.way.address, found.shut[0], found.way.source):
            found.ended = True
            break
        await asyncio.sleep(min(_LOOKS_AGAIN_S, request.watch_s))
    found.held_s = round(time.time() - found.blocked_at, 1)


def _at(request: Request, source: str) -> str:
    """The server's address in the family of one of ours."""
    version = parse_address(source).version
    return next(way.address for way in request.ways if parse_address(way.address).version == version)


async def _try_right(request: Request, found: Spread) -> Optional[int]:
    """The port at which the right password is taken, before anything was guessed."""
    said = "nothing answers"
    for port in request.ports:
        tried = await _once(request, request.ways[0].address, port, request.ways[0].control, request.password)
        if tried.attempt.outcome == Outcome.ACCEPTED:
            found.usual_wait_s = tried.wait_s
            return port
        said = tried.attempt.said if tried.connected else said
        if tried.connected and tried.attempt.outcome != Outcome.UNASKED:
            break  # once is enough: no account is to be locked by this
    found.problem = f"the account's own password was not taken: {said}"
    return None


async def _spread(request: Request, found: Drilled, spread: Spread, right: Optional[int]) -> None:
    offered = {way.way.address: way.offered for way in found.ways}
    for _round in range(request.each):
        for number, source in enumerate(each for each in request.spread if each not in spread.blocked):
            address = _at(request, source)
            ports = [right] if right else offered.get(address) or list(request.ports)
            tried = await _once(request, address, ports[number % len(ports)], source)
            if not tried.connected:
                spread.blocked.append(source)
            elif tried.attempt.outcome != Outcome.SHUT:
                spread.guesses += 1
                spread.said = tried.attempt.said
    if right:  # from an address that guessed nothing: one that did may be slowed by itself
        way = request.ways[0]
        tried = await _once(request, way.address, right, way.control, request.password)
        spread.right, spread.said, spread.wait_s = tried.attempt.outcome.value, tried.attempt.said, tried.wait_s


def plain(found: Drilled) -> dict[str, Any]:
    """As data."""
    return asdict(found)
