"""Run several ways to do one job in turns, and compare them pair by pair: what disturbs the machine disturbs both of a pair."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, TypeVar

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Ratio:
    """How many times more the peer took: the median of the pairs' ratios, the lowest and the highest."""

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        spread = f" ({self.low:.3g}-{self.high:.3g})" if self.pairs > 1 else " (n=1)"
        return f"{self.median:.3g} x{spread}"


def ratio(peer: Sequence[Optional[float]], product: Sequence[Optional[float]]) -> Optional[Ratio]:
    """Peer divided by product, pair by pair; None marks a round that a side sat out. No complete pair: no ratio."""
    found = [p / ours for p, ours in zip(peer, product) if p is not None and ours]
    return Ratio(statistics.median(found), min(found), max(found), len(found)) if found else None


def in_turns(ways: Mapping[str, Callable[[], Outcome]], rounds: int,
             at_most: Mapping[str, int]) -> dict[str, list[Optional[Outcome]]]:
    """A B C, A B C ...: the outcomes of each way, one entry a round; `at_most` says which ways sit out later rounds."""
    found: dict[str, list[Optional[Outcome]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, run in ways.items():
            outcome = run() if number < at_most.get(name, rounds) else None
            found[name].append(outcome)
            if outcome is not None:
                print(f"round {number + 1}: {name}: {outcome}; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def median(values: Iterable[Optional[float]]) -> Optional[float]:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None
