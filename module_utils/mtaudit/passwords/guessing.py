"""Guess stored passwords within a budget of processor time: likeliest first, over all accounts before deeper into one."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Callable, Optional

from .accounts import Account
from .guesses import EMPTY, Guess, Words
from .schemes import SLOW, check
from .unsupported import Unsupported

_PATIENCE = 10  # times the budget may pass by the clock, on a host that has other things to do
_IN_A_TURN = 8  # guesses of a slow scheme before the next account has its turn
_EVERY_S = 1.0
Progress = Callable[[int, int], None]


class Tries:
    """What was tried for an account: `tried` of `planned` guesses, those of earlier runs among them; none are planned before its
    first turn. `weakness`: the kind of guess that hit. `problem`: why its password cannot be computed here."""

    __slots__ = ("account", "planned", "problem", "tried", "weakness")

    def __init__(self, account: Account, planned: int = 0, tried: int = 0, weakness: str = "", problem: str = "") -> None:
        self.account, self.planned, self.tried, self.weakness, self.problem = account, planned, tried, weakness, problem

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
    for each in tries:
        if each.account.stored.empty:
            each.planned, each.tried, each.weakness = 1, 1, EMPTY
    pool = _Pool([each for each in tries if not each.over], words, budget_s)
    pool.run(threads or len(os.sched_getaffinity(0)), lambda: _tell(tries, progress))
    return Guessed(tries, pool.spent_s)


def _in_turn(own: list[Guess], shared: list[Guess]) -> list[Guess]:
    """A name that is common, too, is a name."""
    found: dict[str, Guess] = {}
    for mine, everybodys in zip_longest(own, shared):
        if mine:
            found[mine.word] = mine
        if everybodys:
            found.setdefault(everybodys.word, everybodys)
    return list(found.values())


def _tell(tries: list[Tries], progress: Optional[Progress]) -> None:
    if progress:
        progress(sum(each.tried for each in tries), sum(each.planned for each in tries))


class _Pool:
    """Threads that take turns: ctypes and hashlib let go of the interpreter's lock while they compute. What is fast to guess is
    guessed first, and to the end."""

    def __init__(self, waiting: list[Tries], words: Words, budget_s: float) -> None:
        self._waiting = deque(sorted(waiting, key=lambda each: each.account.stored.worth == SLOW))
        self._words, self._shared, self._budget_s = words, words.shared(), budget_s
        self._lock = threading.Lock()
        self._until = time.monotonic() + _PATIENCE * budget_s
        self.spent_s = 0.0

    def run(self, threads: int, tell: Callable[[], None]) -> None:
        workers = [threading.Thread(target=self._turns, daemon=True) for _ in range(min(threads, len(self._waiting)))]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(_EVERY_S)
                tell()

    def _turns(self) -> None:
        os.nice(19)  # of this thread alone (nice(2), "C library/kernel differences")
        while self.spent_s < self._budget_s and time.monotonic() < self._until:
            try:
                tries = self._waiting.popleft()
            except IndexError:
                return
            began = time.thread_time()
            self._turn(tries)
            with self._lock:
                self.spent_s += time.thread_time() - began
            if not tries.over:
                self._waiting.append(tries)

    def _turn(self, tries: Tries) -> None:
        stored = tries.account.stored
        try:
            matches = check(stored)
            guesses = _in_turn(self._words.own(stored.user), self._shared)
            tries.planned = len(guesses)
            until = min(tries.tried + _IN_A_TURN, len(guesses)) if stored.worth == SLOW else len(guesses)
            tries.weakness = next((each.kind for each in guesses[tries.tried : until] if matches(each.word.encode())), "")
        except Unsupported as exc:
            tries.problem = str(exc)
            return
        tries.tried = until
