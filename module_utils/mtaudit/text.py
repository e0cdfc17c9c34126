"""Make bytes and text from anywhere safe to pass on."""

from __future__ import annotations


def decode(data: bytes) -> str:
    """Text from a configuration file or a server.

    Latin-1 bytes are common in mail configurations, and ansible-core 2.19 and newer refuses a module result that is not valid
    UTF-8: bytes that are not UTF-8 become U+FFFD, never surrogates.
    """
    return data.decode("utf-8", "replace")


def printable(text: str, limit: int = 500) -> str:
    """One line without control characters, cut to `limit` characters: fit for a report, a log or a terminal."""
    cleaned = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return cleaned if len(cleaned) <= limit else cleaned[:limit] + "..."
