"""Try what is due at one target, service after service, and leave it alone at the first sign that it has had enough.

First each service is asked without a login: what does not answer then is not there, what does not answer later has shut us out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, Optional

from .budget import Budget, Candidate, Day
from .defaults import MAIL
from .ledger import ANSWERS, OPEN, RANDOM, Ledger, Record
from .values import Attempt, Credential, Outcome, Service

Client = Callable[[Service, Optional[Credential], float], Attempt]
Reach = Callable[[Service, float], str]  # why there is no connection, empty where there is one

NAMELESS = ("snmp", "redis", "rspamd")  # no user name is asked for
TOO_LATE = "the time of the call was over"
SILENT = ("snmp",)  # a wrong community is not answered: that nothing comes back is no ban


@dataclass(frozen=True)
class Door:
    """A service of a target and what should not open it. `passwords` holds those of the candidates, by id."""

    service: Service
    candidates: tuple[Candidate, ...]
    passwords: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def listener(self) -> str:
        address, port = self.service.address, self.service.port
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    @property
    def place(self) -> str:
        """What is asked: another path at the same port may be another program."""
        return " ".join([self.listener, *(f"{key}={value}" for key, value in sorted(self.service.options.items()))])

    @property
    def name(self) -> str:
        return f"{self.service.protocol} {self.place}"


@dataclass(frozen=True)
class Order:
    """A target. `lockout`: failed logins after which it shuts a client out, 0 for unknown. `consent`: who agreed, and when."""

    target: str
    doors: tuple[Door, ...]
    consent: str = ""
    lockout: int = 0

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(door.service.address for door in self.doors)


@dataclass
class Seen:
    """What came of one door in this run. `asked` is the answer without a login; `gave_up` why not everything was asked."""

    door: Door
    asked: Optional[Attempt] = None
    said: dict[str, str] = field(default_factory=dict)  # by credential
    gave_up: str = ""

    @property
    def answers(self) -> bool:
        """Whether it is known to be there."""
        return self.asked is not None and self.asked.outcome.value in (*ANSWERS, Outcome.UNASKED.value)


@dataclass(frozen=True)
class Tools:
    """What a visit needs. `until` is in the seconds of `monotonic`; `now` gives seconds since 1970."""

    client: Client
    reach: Reach
    ledger: Ledger
    budget: Budget
    attempt_s: float
    until: float
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Visit:
    """One target's turn. `seen` has an entry for each door from the start: a visit that is cut off shows what was done."""

    def __init__(self, order: Order, tools: Tools) -> None:
        self.order = order
        self.seen = [Seen(door) for door in order.doors]
        self.stopped = ""
        self._tools = tools
        self._last: dict[str, float] = {}

    def run(self) -> None:
        """Raises LedgerError when an attempt cannot be written down."""
        self._stop_if_banned()
        for seen in self.seen:
            if not self.stopped:
                self._ask(seen)
        for seen in self.seen:
            if not self.stopped and not seen.gave_up:
                self._try(seen)
            seen.gave_up = seen.gave_up or self.stopped

    def day(self) -> Day:
        return Day(self._tools.ledger.of(self.order.target, self.order.addresses), self._tools.now())

    def _stop_if_banned(self) -> None:
        when = self._banned()
        if when:
            self.stopped = f"it shut the prober out at {utc(when)}: nothing is tried before a day is over"

    def _ask(self, seen: Seen) -> None:
        if self._tools.monotonic() >= self._tools.until:
            seen.gave_up = TOO_LATE
            return
        why = "" if seen.door.service.protocol in SILENT else self._tools.reach(seen.door.service, self._tools.attempt_s)
        if why:
            seen.gave_up = f"it does not answer: {why}"
            return
        seen.asked = self._attempt(seen.door, OPEN, None)
        if seen.asked.outcome is Outcome.SHUT:
            seen.gave_up = f"it does not answer: {seen.asked.said or 'nothing came back'}"
        elif seen.asked.outcome is Outcome.PUT_OFF:
            self.stopped = f"it puts the prober off: {seen.asked.said}"
        elif seen.asked.outcome is Outcome.ACCEPTED:
            seen.gave_up = "it asks for no login"

    def _try(self, seen: Seen) -> None:
        """Nobody's login first: a refusal says something only where those who must be refused are."""
        wanted = 2 if seen.door.service.protocol in MAIL else 1 if self.day().due(seen.door.candidates, seen.door.name) else 0
        for _ in range(wanted - len(self.day().random(seen.door.name))):
            name = "" if seen.door.service.protocol in NAMELESS else f"mtaudit-{secrets.token_hex(4)}"
            if not self._login(seen, RANDOM, Credential(name, secrets.token_urlsafe(12))):
                return
        if any(record.outcome == Outcome.ACCEPTED.value for record in self.day().random(seen.door.name)):
            seen.gave_up = "it takes any login"
            return
        for candidate in self.day().due(seen.door.candidates, seen.door.name):
            day, account = self.day(), candidate.username
            if day.service(seen.door.listener) >= self._tools.budget.per_service:
                seen.gave_up = f"{self._tools.budget.per_service} passwords a day are tried at a service"
                return
            if day.account(seen.door.listener, account) >= self._tools.budget.per_account:
                seen.gave_up = f"{self._tools.budget.per_account} passwords a day are tried at an account"
                continue
            if not self._login(seen, candidate.id, Credential(account, seen.door.passwords[candidate.id])):
                return
            if self._outcome(seen, candidate.id) is Outcome.ACCEPTED:
                return

    def _outcome(self, seen: Seen, credential: str) -> Optional[Outcome]:
        record = self.day().last(seen.door.name).get(credential)
        return Outcome(record.outcome) if record else None

    def _login(self, seen: Seen, credential: str, login: Credential) -> bool:
        """Whether it may go on with this service: it was answered, and nothing speaks against another attempt."""
        if self.order.lockout and self.day().failed() >= self.order.lockout - 1:
            seen.gave_up = f"{self.order.lockout} failed logins shut a client out here, and {self.day().failed()} were made today"
            return False
        self._pause(seen.door)
        if self._tools.monotonic() >= self._tools.until:
            seen.gave_up = TOO_LATE
            return False
        attempt = self._attempt(seen.door, credential, login)
        seen.said[credential] = attempt.said
        if attempt.outcome.value in ANSWERS or (attempt.outcome is Outcome.SHUT and seen.door.service.protocol in SILENT):
            return True
        if attempt.outcome is Outcome.UNASKED:
            seen.gave_up = f"no password could be tried: {attempt.said or 'none is asked for'}"
        elif self._banned():
            how = "put the prober off" if attempt.outcome is Outcome.PUT_OFF else "did not answer any more"
            self.stopped = f"{seen.door.name} {how} after {self.day().failed()} logins: {attempt.said or 'no answer'}"
        else:
            seen.gave_up = f"it did not answer a login: {attempt.said or 'nothing came back'}"
        return False

    def _banned(self) -> float:
        return self.day().ban(SILENT)

    def _gone(self, silent: Door) -> str:
        """Which other service answered a login today and can be reached no more, empty for none: the silent one may be broken."""
        day = self.day()
        for door in self.order.doors:
            if door is not silent and door.service.protocol not in SILENT and day.answered(door.name):
                why = self._tools.reach(door.service, self._tools.attempt_s)
                if why:
                    return f"{door.name} answers no more either: {why}"
        return ""

    def _pause(self, door: Door) -> None:
        last = self._last.get(door.listener)
        if last is not None:
            self._tools.sleep(max(0.0, last + self._tools.budget.pause_s - self._tools.monotonic()))

    def _attempt(self, door: Door, credential: str, login: Optional[Credential]) -> Attempt:
        """Written down, made, and written down again. What the client cannot cope with is no answer."""
        account = login.username if login else ""
        record = Record(self._tools.now(), self.order.target, door.name, account, credential)
        self._tools.ledger.note(record)
        try:
            attempt = self._tools.client(door.service, login, self._tools.attempt_s)
        except Exception as exc:  # a defect of a client, or an answer that nobody expected
            attempt = Attempt(Outcome.UNASKED, f"the client failed ({type(exc).__name__})")
        gone = self._gone(door) if login and attempt.outcome is Outcome.SHUT and door.service.protocol not in SILENT else ""
        if gone:
            attempt = Attempt(Outcome.PUT_OFF, gone)
        if credential != OPEN:
            self._last[door.listener] = self._tools.monotonic()
        self._tools.ledger.close(record, attempt.outcome.value)
        return attempt


def utc(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
