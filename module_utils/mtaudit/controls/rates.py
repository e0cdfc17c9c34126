"""Rates: what `100 / 1h` allows an account within an hour, and what is said of a limit that is in force."""

from __future__ import annotations

import re
from typing import Optional

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT = r"(?:seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d|weeks?|w)"
_PERIOD = re.compile(rf"(\d+(?:\.\d+)?|(?=[a-z]))({_UNIT}|)")
_TIMES = {"k": 1024, "m": 1024**2, "g": 1024**3}


def per_hour(count: str, period: str) -> Optional[float]:
    """`100` and `1h`, `2w3d`, `1 min`, `hour`; None for what is not written out."""
    amount = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", count.strip().lower())
    seconds = _seconds(period.strip().lower())
    if amount is None or not seconds:
        return None
    return float(amount.group(1)) * _TIMES.get(amount.group(2), 1) * 3600 / seconds


def _seconds(period: str) -> float:
    """The sum of its parts; 0 for what is none."""
    words = period.replace(" ", "")
    parts = _PERIOD.findall(words)
    if "".join("".join(part) for part in parts) != words:
        return 0.0
    return sum(float(number or 1) * _SECONDS[(unit or "s")[0]] for number, unit in parts)
