"""One way in: who may go it, by which rule of the program's, and which control owns it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..control import Site
from ..listeners import Listener

R = TypeVar("R")


@dataclass(frozen=True)
class Path(Generic[R]):
    """One way in. `control` owns it; `conditions` say what it takes; with `doubt` it may or may not exist.

    `rule` lets it through, str(rule) being its text; `networks` are the clients it is open to, empty for anybody's.
    """

    control: str
    message: str
    rule: R
    conditions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two ways of different ports the same."""
        return self.control, str(self.rule), self.networks, self.conditions, bool(self.doubt)


def remembered(memo: dict[Any, Any], listener: Listener, site: Site, found: Iterable[Path[R]]) -> list[Path[R]]:
    """The ways of one port, looked for once: `found` is gone through only when the program's memo does not hold them yet."""
    key = ("paths", listener, site.trusted_networks, site.proxies, site.gateways, site.local_domains)
    if key not in memo:
        memo[key] = list(found)
    ways: list[Path[R]] = memo[key]
    return ways
