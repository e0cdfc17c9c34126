"""What may be tried today: at few passwords a day no account is locked, and within some days each of them was tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .ledger import ANSWERS, DAY_S, RANDOM, Record
from .values import Outcome

# More than these in a day count as reckless (AUTH-07), whatever the call allows.
SAFE_PER_ACCOUNT = 3
SAFE_PER_SERVICE = 2
REFUSED_LASTS_DAYS = 30  # a credential that was refused is asked for again afterwards


@dataclass(frozen=True)
class Budget:
    """Attempts in 24 hours with passwords at one account and at one service, and the pause between two at a service."""

    per_account: int = SAFE_PER_ACCOUNT
    per_service: int = SAFE_PER_SERVICE
    pause_s: float = 5.0


@dataclass(frozen=True)
class Candidate:
    """A credential that should not get in. `source` says where it is documented, `label` whose it is: a vendor or the site."""

    id: str
    label: str
    username: str
    source: str = ""


class Day:
    """What was done at one target and its addresses, from its records, as seen at `now`."""

    def __init__(self, records: Iterable[Record], now: float) -> None:
        self.all = list(records)
        self.today = [record for record in self.all if now - record.when < DAY_S and record.is_login]
        self._now = now

    def account(self, listener: str, username: str) -> int:
        """Attempts at an account today, however it is spelt; where no name is asked for, the listener is the account."""
        named = username.casefold()
        at_account = [r for r in self.today if r.account.casefold() == named and (named or r.listener == listener)]
        return sum(record.credential != RANDOM for record in at_account)

    def service(self, listener: str) -> int:
        """Attempts with passwords at a listener today, whatever is asked there."""
        return sum(record.listener == listener and record.credential != RANDOM for record in self.today)

    def failed(self) -> int:
        """Logins today that the target may have counted as failed."""
        return sum(record.outcome != Outcome.ACCEPTED.value for record in self.today)

    def random(self, service: str) -> list[Record]:
        """Today's attempts of nobody at a service that were answered."""
        return [r for r in self.today if r.service == service and r.credential == RANDOM and r.outcome in ANSWERS]

    def ban(self, silent: Sequence[str] = ()) -> float:
        """When the target last shut us out today, 0 if it did not: it put us off, or a service is silent that had answered a
        login. With the `silent` protocols nothing is told by silence."""
        answered: set[str] = set()
        found = 0.0
        for record in sorted(self.today, key=lambda r: r.when):
            gone = record.outcome == Outcome.SHUT.value and record.service in answered and record.protocol not in silent
            found = record.when if gone or record.outcome == Outcome.PUT_OFF.value else found
            if record.outcome in ANSWERS:
                answered.add(record.service)
        return found

    def answered(self, service: str) -> bool:
        """Whether a service answered a login today."""
        return any(record.service == service and record.outcome in ANSWERS for record in self.today)

    def last(self, service: str) -> dict[str, Record]:
        """By credential, the last attempt at a service that was answered, as long as the answer counts."""
        counts = (r for r in self.all if r.service == service and self._now - r.when < REFUSED_LASTS_DAYS * DAY_S)
        return {r.credential: r for r in counts if r.outcome in ANSWERS}

    def due(self, candidates: Iterable[Candidate], service: str) -> list[Candidate]:
        """What is to be tried: first what got in before, then what was never tried, then what was tried longest ago."""
        last = self.last(service)
        tried = {record.credential: record.when for record in self.all if record.service == service}
        got_in = {name for name, record in last.items() if record.outcome == Outcome.ACCEPTED.value}
        open_ended = [c for c in candidates if c.id not in last or c.id in got_in]
        return sorted(open_ended, key=lambda c: (c.id not in got_in, tried.get(c.id, 0.0)))
