"""Keep to few connections at a time to one server, even when many addresses turn out to be one server."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import Optional

# A name that says which server this is: fully qualified, and not what a thousand servers call themselves.
_TELLING_NAME = re.compile(r"(?!localhost\b)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z", re.I)
NEW_CONTACTS_PER_NEW_NAME = 3


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
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
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
        if not self._may_start(target):
            return False
        key = self.key(target)
        self._active[key] = self._active.get(key, 0) + 1
        self.worst = max(self.worst, self._active[key])
        if target not in self._key and target not in self._contacting:
            self._contacting.add(target)
            self._contacts += 1
        return True

    async def take(self, target: str) -> None:
        """Wait for a slot."""
        while not self.try_take(target):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            known = target in self._key or target in self._contacting
            queue = self._waiting.setdefault(self.key(target), deque()) if known else self._newcomers
            queue.append(future)
            try:
                await future
            except asyncio.CancelledError:
                self._wake(self.key(target))
                raise

    def give_back(self, target: str) -> None:
        """Return a slot."""
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
        room = self._per_server - self._active.get(key, 0)
        self._release(self._waiting.get(key), room)
        self._release(self._newcomers, self._window - self._contacts if self._may_contact() else 0)

    @staticmethod
    def _release(queue: Optional[deque[asyncio.Future[None]]], count: int) -> None:
        while queue and count > 0:
            future = queue.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1
