"""Keep to few connections at a time to one server, even when many addresses turn out to be one server."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Optional

# A name that says which server this is: fully qualified, and not what a thousand servers call themselves.
_TELLING_NAME = re.compile(r"(?!localhost\b)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z", re.I)
NEW_CONTACTS_PER_NEW_NAME = 3


class Clock:
    """A listener's time limit. It stands still while it waits for its turn without a connection: then others are slow."""

    def __init__(self, limit_s: float) -> None:
        self._left_s = limit_s
        self._slots = 0
        self._waits = 0
        self._task: Optional[asyncio.Task[None]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._started = 0.0
        self._expired = False

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, of which all tasks share this clock. Raises asyncio.TimeoutError when the time is up."""
        before = _clock.set(self)  # a task inherits the context that it is made in
        self._task = asyncio.ensure_future(work)
        _clock.reset(before)
        self._set()
        try:
            await self._task
        except asyncio.CancelledError:
            if self._expired:
                raise asyncio.TimeoutError from None
            raise
        finally:
            self._stop()
            self._task = None

    def count(self, slots: int) -> None:
        """A slot was taken (1) or given back (-1)."""
        self._slots += slots
        self._set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While waiting for a slot."""
        self._waits += 1
        self._set()
        try:
            yield
        finally:
            self._waits -= 1
            self._set()

    def _set(self) -> None:
        runs = self._task is not None and (self._slots > 0 or self._waits == 0)
        if runs and self._timer is None:
            loop = asyncio.get_running_loop()
            self._started = loop.time()
            self._timer = loop.call_later(self._left_s, self._expire)
        elif not runs:
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left_s -= asyncio.get_running_loop().time() - self._started

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()


_clock: ContextVar[Optional[Clock]] = ContextVar("clock", default=None)


class Servers:
    """Slots for connections: `per_server` to each server.

    A server is known by the target's name at first, and by the name in its banner as soon as that was read: targets with the same
    banner share their slots. How many servers may be contacted whose banner is not known yet starts at `per_server` and grows
    with every name that is new (as TCP's slow start does), so that an address block that is really one host never sees a crowd.
    """

    def __init__(self, per_server: int) -> None:
        self.worst = 0
        self._per_server = per_server
        self._window = per_server
        self._contacts = 0
        self._key: dict[str, str] = {}
        self._active: dict[str, int] = {}
        self._contacting: set[str] = set()
        self._shared: set[str] = set()
        self._waiting: dict[str, deque[tuple[str, asyncio.Future[None]]]] = {}
        self._newcomers: deque[asyncio.Future[None]] = deque()

    def key(self, target: str) -> str:
        """The server that a target belongs to, as far as is known."""
        return self._key.get(target, f"target {target}")

    def _may_start(self, target: str) -> bool:
        key = self.key(target)
        if self._active.get(key, 0) >= self._per_server:
            return False
        return target in self._key or target in self._contacting or self._may_contact()

    def _may_contact(self) -> bool:
        if not self._shared:
            return self._contacts < self._window
        # A server with several addresses was seen: the next unknown address may be that server again.
        busiest = max(self._active.get(key, 0) for key in self._shared)
        return self._contacts < min(self._window, self._per_server - busiest)

    def try_take(self, target: str) -> bool:
        """Take a slot if one is free."""
        taken = self._take(target)
        clock = _clock.get()
        if taken and clock:
            clock.count(1)
        return taken

    def _take(self, target: str) -> bool:
        if not self._may_start(target):
            return False
        key = self.key(target)
        self._active[key] = self._active.get(key, 0) + 1
        self.worst = max(self.worst, self._active[key])
        if not self._met(target):
            self._contacting.add(target)
            self._contacts += 1
        return True

    def _met(self, target: str) -> bool:
        return target in self._key or target in self._contacting

    async def take(self, target: str) -> None:
        """Wait for a slot. Who waits longest is served first: who gives a slot back does not get it again before the others."""
        clock = _clock.get()
        if not self._take(target):
            if clock:
                with clock.waiting():
                    await self._turn(target)
            else:
                await self._turn(target)
        if clock:
            clock.count(1)

    async def _turn(self, target: str) -> None:
        again = False
        while not self._met(target):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            (self._newcomers.appendleft if again else self._newcomers.append)(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake(self.key(target))
                raise
            # Only now, not when it was woken: contacts that answered meanwhile may have shown that all are one server.
            if self._take(target):
                return
            again = True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(self.key(target), deque()).append((target, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._return(target)  # the slot was handed over in the same moment
            raise

    def give_back(self, target: str) -> None:
        """Return a slot."""
        clock = _clock.get()
        if clock:
            clock.count(-1)
        self._return(target)

    def _return(self, target: str) -> None:
        key = self.key(target)
        self._active[key] -= 1
        self._wake(key)

    def learn(self, target: str, banner_name: str) -> bool:
        """A first contact was made. False when the target is a server whose slots are all in use: hang up and take one anew."""
        if target in self._key:
            return True
        held = f"target {target}"
        name = f"server {banner_name.lower()}" if _TELLING_NAME.match(banner_name) else held
        if target in self._contacting:
            self._contacting.discard(target)
            self._contacts -= 1
        again = name in self._active and name != held
        self._key[target] = name
        if name != held:
            self._active[name] = self._active.get(name, 0) + self._active.pop(held, 0)
            self._waiting.setdefault(name, deque()).extend(self._waiting.pop(held, ()))
        if again:
            self._shared.add(name)
            self.worst = max(self.worst, self._active[name])
            self._window = max(self._per_server, self._window // 2)
        else:
            self._window += NEW_CONTACTS_PER_NEW_NAME
        self._wake(name)
        return self._active.get(name, 0) <= self._per_server

    def _wake(self, key: str) -> None:
        queue = self._waiting.get(key)
        while queue:
            target, turn = queue[0]
            if not turn.done():
                if not self._take(target):
                    break
                turn.set_result(None)
            queue.popleft()
        count = self._window - self._contacts if self._may_contact() else 0
        while self._newcomers and count > 0:
            newcomer = self._newcomers.popleft()
            if not newcomer.done():
                newcomer.set_result(None)
                count -= 1
