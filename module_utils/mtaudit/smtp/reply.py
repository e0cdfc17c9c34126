"""Turn the bytes that an SMTP server sends into replies: code, enhanced code and text (RFC 5321 4.2, RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional

# RFC 5321 4.5.3.1.5 allows 512 octets a line; servers send more. Beyond these a server is not answering, it is flooding.
LINE_LIMIT_BYTES = 4096
REPLY_LIMIT_LINES = 200
REPLY_LIMIT_BYTES = 64 * 1024
_TOO_LONG = f"a line longer than {LINE_LIMIT_BYTES} bytes"

_LINE = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?\Z", re.DOTALL | re.ASCII)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|\Z)", re.ASCII)


@dataclass(frozen=True)
class Reply:
    """One complete reply. `enhanced` is empty when the server gave none; `lines` are the texts without code and enhanced code."""

    code: int
    enhanced: str = ""
    lines: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The lines as one text."""
        return " ".join(self.lines)

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


@lru_cache(maxsize=2048)  # servers say the same few lines over and over
def _parse(raw: bytes) -> Optional[tuple[int, bool, str, str]]:
    """Code, whether more lines follow, enhanced code and text of one line; None when it is no line of a reply."""
    # NULs are dropped as if they were not sent; a CR may be doubled or missing.
    match = _LINE.match(raw.replace(b"\0", b"").rstrip(b"\r").decode("utf-8", "replace"))
    if match is None:
        return None
    text = match.group(3) or ""
    found = _ENHANCED.match(text)  # repeated on every line of a reply (RFC 2034, 4)
    enhanced = found.group(1) if found else ""
    return int(match.group(1)), match.group(2) == "-", enhanced, text[found.end() :] if found else text


class ReplyParser:
    """Takes bytes in pieces of any size and gives complete replies.

    What breaks the protocol ends the parsing: `error` then says what it was, and what came before it stays valid. The result
    does not depend on how the bytes were cut.
    """

    def __init__(self) -> None:
        self.error = ""
        self._buffer = b""
        self._lines: list[str] = []
        self._bytes = 0
        self._enhanced = ""

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes."""
        replies: list[Reply] = []
        if self.error:
            return replies
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            reply = self._take(line)
            if self.error:
                break
            if reply:
                replies.append(reply)
        if not self.error and len(self._buffer) > LINE_LIMIT_BYTES:
            self.error = _TOO_LONG
        if self.error:
            self._buffer = b""
        return replies

    @property
    def pending(self) -> bool:
        """Whether a reply has begun that has not ended."""
        return bool(self._buffer or self._lines)

    def _take(self, raw: bytes) -> Optional[Reply]:
        if len(raw) > LINE_LIMIT_BYTES:
            self.error = _TOO_LONG
            return None
        self._bytes += len(raw) + 1
        parsed = _parse(raw)
        if parsed is None:
            self.error = "a line that does not begin with a reply code"
            return None
        code, more, enhanced, text = parsed
        self._lines.append(text)
        if len(self._lines) > REPLY_LIMIT_LINES:
            self.error = f"a reply of more than {REPLY_LIMIT_LINES} lines"
        elif self._bytes > REPLY_LIMIT_BYTES:
            self.error = f"a reply of more than {REPLY_LIMIT_BYTES} bytes"
        self._enhanced = self._enhanced or enhanced
        if self.error or more:
            return None
        reply = Reply(code, self._enhanced, tuple(self._lines))
        self._lines, self._bytes, self._enhanced = [], 0, ""
        return reply
