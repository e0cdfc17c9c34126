"""One way in: who may go it, by which rule of the program's, and which control owns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

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
