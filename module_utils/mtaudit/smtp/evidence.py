"""What a probe keeps of its dialogue, what it may cost a server, and what it did cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..redact import MASK, redact
from ..text import printable

# One of these is in everything that redact() blanks out; asking first saves 5 ms of patterns for each listener.
_MAY_BE_SECRET = ("pass", "secret", "key", "token", "pw", "://", "auth", "-----")


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
        text = printable(text, limit)
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return redact(text)
