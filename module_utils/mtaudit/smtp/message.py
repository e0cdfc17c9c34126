"""Write the messages that are sent to find something out: each says what it is and carries its token."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .canary import TOKEN_HEADER


def composed(token: str, recipient: str, subject: str, body: Sequence[str], domain: str, sender: str = "") -> str:
    """A message whose lines end with CR LF. `domain` is that of its Message-ID. Without a `sender` there is no From: then
    the program that takes it from a local user writes one (RFC 6409, 8.1)."""
    lines = [
        *([f"From: mtaudit <{sender}>"] if sender else []),
        f"To: <{recipient}>",
        f"Subject: {subject}",
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}",
        f"Message-ID: <{token}@{domain}>",
        f"{TOKEN_HEADER}: {token}",
        "Auto-Submitted: auto-generated",
        "",
        *body,
        "",
    ]
    return "\r\n".join(lines)
