"""What a probe keeps of its dialogue, what it may cost a server, and what it did cost."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Optional

from ..redact import MASK, redact
from ..text import printable

# One of these is in everything that redact() blanks out; asking first saves 5 ms of patterns for each listener.
_MAY_BE_SECRET = ("pass", "secret", "key", "token", "pw", "://", "auth", "-----")
_ENOUGH_OF_BASE64 = 12  # characters that tell a response: servers cut what they echo
_READ_CHARACTERS = 2048  # a reply can be long, and patterns on hostile text take long


@dataclass(frozen=True)
class Limits:
    """How long to wait for what, and how much of a server's patience one connection may use.

    Postfix waits 1 s before every reply from the 10th error of a connection on (smtpd_soft_error_limit), hence 8.
    """

    connect_s: float = 10.0
    banner_s: float = 20.0
    reply_s: float = 20.0
    message_s: float = 60.0
    quit_s: float = 2.0
    backoff_s: float = 1.0
    errors_per_connection: int = 8
    dialogue_lines: int = 240
    line_characters: int = 240


@dataclass
class Costs:
    """What the probe cost a server. `accepted_recipients` are those of envelopes that were given up; messages count apart."""

    started: int = 0
    connections: int = 0
    errors: int = 0
    worst_connection_errors: int = 0
    accepted_recipients: int = 0
    messages: int = 0
    bytes_sent: int = 0


@dataclass
class Transcript:
    """The dialogue as evidence: a bounded number of lines, the secrets blanked. `number` tells the connections apart."""

    limits: Limits = field(default_factory=Limits)
    secrets: tuple[str, ...] = ()
    _said: list[tuple[int, str, str]] = field(default_factory=list)
    _hidden: Optional[re.Pattern[str]] = None

    def __post_init__(self) -> None:
        forms = sorted(_forms(self.secrets), key=len, reverse=True)  # a user name may be part of its password
        self._hidden = re.compile("|".join(forms)) if forms else None

    def add(self, who: str, text: str, number: int = 0) -> None:
        if len(self._said) <= self.limits.dialogue_lines:
            self._said.append((number, who, text))

    @property
    def lines(self) -> list[str]:
        """What was said, fit for a report."""
        said = self._said[: self.limits.dialogue_lines]
        together = "".join(text for _number, _who, text in said)
        # Nearly always nothing is to be cleaned: one look at the whole saves one at each line.
        clean = self.clean if self._wants_cleaning(together, self.limits.dialogue_lines * 80) else str
        lines = [f"{number or ''}{who} {clean(text)}" for number, who, text in said]
        return lines if len(self._said) <= self.limits.dialogue_lines else [*lines, "... (cut)"]

    def _wants_cleaning(self, text: str, limit: int) -> bool:
        if self.secrets or not text.isprintable() or len(text) > limit:
            return True
        lower = text.lower()
        return any(word in lower for word in _MAY_BE_SECRET)

    def clean(self, text: str) -> str:
        """Text from a server, fit for a report."""
        limit = self.limits.line_characters
        if not self._wants_cleaning(text, limit):
            return text
        # Cut last: half a secret is not recognised any more.
        if self._hidden:
            text = self._hidden.sub(MASK, text)
        return printable(redact(text[:_READ_CHARACTERS]), limit)


def _forms(secrets: tuple[str, ...]) -> Iterator[str]:
    """Patterns of the secrets as they cross the wire: plain, as AUTH LOGIN and as AUTH PLAIN sends them (RFC 4616, 2)."""
    told = [secret for secret in secrets if secret]
    yield from (re.escape(secret) for secret in told)
    pairs = list(permutations(told, 2))
    for response in (*told, *(f"\0{a}\0{b}" for a, b in pairs), *(f"{a}\0{a}\0{b}" for a, b in pairs)):
        encoded = base64.b64encode(response.encode()).decode().rstrip("=")
        rest = "[A-Za-z0-9+/]*" if len(encoded) > _ENOUGH_OF_BASE64 else ""
        yield re.escape(encoded[:_ENOUGH_OF_BASE64]) + rest + "=*"
