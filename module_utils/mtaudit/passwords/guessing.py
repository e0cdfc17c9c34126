"""Guess stored passwords within a budget of processor time: likeliest first, over all accounts before deeper into one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Callable, Optional

from . import cost
from .accounts import Account
from .guesses import EMPTY, Words
from .schemes import check
from .unsupported import Unsupported

_PATIENCE = 10  # times the budget may pass by the clock, on a host that has other things to do
_IN_A_TURN = 8  # guesses of a slow scheme before the next account has its turn
_SLOW_S = 5e-4
_LONG_S = 0.5  # a guess that takes longer is begun only where it can end within the budget
_BIG_MIB = 64  # what takes more memory is guessed one at a time, however many processors there are
_EVERY_S = 1.0
Progress = Callable[[int, int], None]


class Tries:
    """What was tried for an account: `tried` of `planned` guesses, those of earlier runs among them; none are planned before its
    first turn. `weakness`: the kind of guess that hit. `problem`: why it was not tried, or not to the end. `cost`: of a guess."""

    __slots__ = ("account", "cost", "planned", "problem", "tried", "weakness")

    def __init__(self, account: Account, planned: int = 0, tried: int = 0, weakness: str = "", problem: str = "") -> None:
        self.account, self.planned, self.tried, self.weakness, self.problem = account, planned, tried, weakness, problem
        self.cost = cost.Cost(0.0)

    def __lt__(self, other: Tries) -> bool:
        """Whose turn comes first: who has had less time when it ends. So what is fast is guessed first, and to the end."""
        return (self.tried + 1) * self.cost.seconds < (other.tried + 1) * other.cost.seconds

    @property
    def over(self) -> bool:
        return bool(self.weakness or self.problem) or 0 < self.planned <= self.tried


@dataclass
class Guessed:
    """`spent_s` is processor time."""

    tries: list[Tries]
    spent_s: float = 0.0

    @property
    def planned(self) -> tuple[int, bool]:
        """All guesses, and whether that is exact: for accounts that had no turn it is what the others have."""
        known = [each.planned for each in self.tries if each.planned]
        whole = len(known) == len(self.tries)
        return sum(known) if whole else round(len(self.tries) * sum(known) / max(len(known), 1)), whole


def guess(
    accounts: Iterable[Account], words: Words, budget_s: float, threads: int = 0, before: Optional[Mapping[str, int]] = None,
    progress: Optional[Progress] = None,
) -> Guessed:  # fmt: skip
    """`before`: guesses that an earlier run tried in vain, by Account.key, with the same words. `threads`: 0 for one on each
    processor that this process may use. `progress` is told each second how many guesses of how many were tried."""
    found = (account for account in accounts if not account.stored.locked)
    tries = [Tries(account, tried=before.get(account.key, 0) if before else 0) for account in found]
    prices: dict[cost.Cost, cost.Cost] = {}
    for each in tries:
        if each.account.stored.empty:
            each.planned, each.tried, each.weakness = 1, 1, EMPTY
        else:
            _priced(each, budget_s, prices)
    pool = _Pool([each for each in tries if not each.over], words, budget_s)
    pool.run(threads or len(os.sched_getaffinity(0)), lambda: _tell(tries, progress))
    return Guessed(tries, pool.spent_s)


def _priced(tries: Tries, budget_s: float, prices: dict[cost.Cost, cost.Cost]) -> None:
    """Whoever may write a table may have put a password there that takes hours, or all memory, to compare once. `prices`: those
    that are known, so that a million accounts share one."""
    try:
        price = cost.of(tries.account.stored)
        tries.cost = prices.setdefault(price, price)
    except Unsupported as exc:
        tries.problem = str(exc)
        return
    if tries.cost.seconds > max(budget_s, _LONG_S):
        taken = f"one guess takes about {tries.cost.seconds:.0f} s of processor time"
        tries.problem = f"{taken}, and there are {budget_s:g} s for all"


def _tell(tries: list[Tries], progress: Optional[Progress]) -> None:
    if progress:
        progress(sum(each.tried for each in tries), sum(each.planned for each in tries))


class _Pool:
    """Threads that take turns: ctypes and hashlib let go of the interpreter's lock while they compute."""

    def __init__(self, waiting: list[Tries], words: Words, budget_s: float) -> None:
        self._waiting, self._words, self._budget_s = waiting, words, budget_s
        heapify(self._waiting)
        self._lock, self._big = threading.Lock(), threading.Lock()
        self._until = time.monotonic() + _PATIENCE * budget_s
        self.spent_s = 0.0  # with what those are to take that have their turn

    def run(self, threads: int, tell: Callable[[], None]) -> None:
        """A guess that holds on past all patience ends with this process."""
        workers = [threading.Thread(target=self._turns, daemon=True) for _ in range(min(threads, len(self._waiting)))]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive() and time.monotonic() < self._until + _EVERY_S:
                worker.join(_EVERY_S)
                tell()

    def _turns(self) -> None:
        os.nice(19)  # of this thread alone (nice(2), "C library/kernel differences")
        while time.monotonic() < self._until:
            with self._lock:
                if not self._waiting or self.spent_s >= self._budget_s:
                    return
                tries = heappop(self._waiting)
                charged = tries.cost.seconds
                if charged > max(_LONG_S, self._budget_s - self.spent_s):
                    continue  # the next run's
                self.spent_s += charged
            began = time.thread_time()
            with self._big if tries.cost.mib > _BIG_MIB else nullcontext():
                self._turn(tries)
            with self._lock:
                self.spent_s += time.thread_time() - began - charged
                if not tries.over:
                    heappush(self._waiting, tries)

    def _turn(self, tries: Tries) -> None:
        stored, guess_s = tries.account.stored, tries.cost.seconds
        try:
            matches = check(stored)
            guesses = self._words.of(stored.user)
            tries.planned = len(guesses)
            many = len(guesses) if guess_s < _SLOW_S else _IN_A_TURN if guess_s < _LONG_S / _IN_A_TURN else 1
            turn, began = guesses[tries.tried : tries.tried + many], time.thread_time()
            tries.weakness = next((each.kind for each in turn if matches(each.word.encode())), "")
        except Unsupported as exc:
            tries.problem = str(exc)
            return
        tries.tried += len(turn)
        if turn and guess_s >= _SLOW_S and not tries.weakness:
            tries.cost = tries.cost._replace(seconds=(time.thread_time() - began) / len(turn))
