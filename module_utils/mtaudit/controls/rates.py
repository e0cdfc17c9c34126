"""Rates: what `100 / 1h` allows an account within an hour, what the site allows, and what is said of a limit that is in force."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Optional

from ..control import Site
from ..tunable import Account

HOUR_S, DAY_S = 3600.0, 86400.0
OPEN, CLOSED = "open", "closed"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT = r"(?:seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d|weeks?|w)"
_PERIOD = re.compile(rf"(\d+(?:\.\d+)?|(?=[a-z]))({_UNIT}|)")
_TIMES = {"k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True)
class Most:
    """What may be sent within an hour and a day; infinite where nothing limits it."""

    per_hour: float = math.inf
    per_day: float = math.inf
    what: str = "recipients"

    def __str__(self) -> str:
        found = f"{self.per_hour:.9g} {self.what} within an hour" if self.per_hour < math.inf else ""
        daily = f"{self.per_day:.9g} {'' if found else self.what + ' '}within a day" if self.per_day < math.inf else ""
        return ", ".join(filter(None, (found, daily))) or "as much as it likes"

    def within(self, other: Most) -> bool:
        return self.per_hour <= other.per_hour and self.per_day <= other.per_day

    def least(self, other: Most) -> Most:
        """What is left when both hold."""
        return Most(min(self.per_hour, other.per_hour), min(self.per_day, other.per_day), self.what)


@dataclass(frozen=True)
class Allowed:
    """What the site allows an account, and by whom more is declared and not expired; which way a limit is to fail, if that is
    said."""

    most: Most
    accounts: tuple[Account, ...] = ()
    when_down: str = ""

    def of(self, login: str) -> Most:
        own = next((account for account in self.accounts if login.lower() in account.logins), None)
        return limits_of(own) if own else self.most

    def against(self, down: str, who: str) -> str:
        """What is wrong with a limit that is `down` (open or closed) while `who` does not answer; or nothing."""
        return f"{while_down(down, who)}, and when_down is {self.when_down}" if self.when_down not in ("", down) else ""


def allowed(site: Site) -> Allowed:
    daily = int(site.tunables.get("max_per_day", 0)) or math.inf
    accounts = tuple(account for account in site.tunables.get("accounts", ()) if not account.expired)
    return Allowed(Most(int(site.tunables.get("max_per_hour", 1000)), daily), accounts, site.tunables.get("when_down", ""))


def limits_of(account: Account) -> Most:
    return Most(account.max_per_hour or math.inf, account.max_per_day or math.inf)


def while_down(down: str, who: str) -> str:
    return f"while {who} does not answer mail {'passes' if down == OPEN else 'waits'}"


def window(count: float, seconds: float, what: str = "recipients") -> Most:
    """A limit of `count` in any time so long."""
    return Most(count * math.ceil(HOUR_S / seconds), count * math.ceil(DAY_S / seconds), what)


def per_hour(count: str, period: str) -> Optional[float]:
    """`100` and `1h`, `2w3d`, `1 min`, `hour`; None for what is not written out."""
    read = rate(count, period)
    return read[0] * HOUR_S / read[1] if read else None


def rate(count: str, period: str) -> Optional[tuple[float, float]]:
    """The same as a number and its seconds."""
    amount = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", count.strip().lower())
    seconds = _seconds(period.strip().lower())
    return (float(amount.group(1)) * _TIMES.get(amount.group(2), 1), seconds) if amount and seconds else None


def _seconds(period: str) -> float:
    """The sum of its parts; 0 for what is none."""
    words = period.replace(" ", "")
    parts = _PERIOD.findall(words)
    if "".join("".join(part) for part in parts) != words:
        return 0.0
    return sum(float(number or 1) * _SECONDS[(unit or "s")[0]] for number, unit in parts)
