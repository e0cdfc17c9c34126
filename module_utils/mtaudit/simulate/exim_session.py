"""Talk to `exim -bh`, which behaves as if a client at any address were there.

It takes no message to the queue, delivers nothing and calls nobody back (specification, "Testing and debugging", -bh).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .session import Session

_REPLY_LINE = re.compile(rb"[2-5]\d\d[ -]")


class EximSession(Session):
    """A running `exim -bh`."""

    program = "exim -bh"

    def __init__(self, argv: Sequence[str], deadline: float) -> None:
        self._partial = b""
        super().__init__(argv, deadline, {"LC_ALL": "C.UTF-8"})

    def smtp(self, data: bytes) -> bytes:
        """Before the greeting it says on the same channel that this is a test."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        return b"".join(line + b"\n" for line in lines if _REPLY_LINE.match(line))

    def reason(self, log: Sequence[str]) -> str:
        """Its last words that are no part of the walk through the ACLs."""
        return super().reason([line for line in log if not line.startswith(">>>")])
