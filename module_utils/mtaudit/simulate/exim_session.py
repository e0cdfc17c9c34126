"""Talk to `exim -bh`, which behaves as if a client at any address were there: one process, bounded in time.

It takes no message to the queue, delivers nothing and calls nobody back (specification, "Testing and debugging", -bh).
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Optional

from ..smtp.reply import Reply, ReplyParser
from ..text import decode, printable

LOG_LIMIT_BYTES = 64 * 1024
_REPLY_LINE = re.compile(rb"[2-5]\d\d[ -]")


class SessionEnded(Exception):
    """Exim ended or did not answer; the text says which, with the last thing that it said."""


class Session:
    """A running `exim -bh`. Use as a context manager: the process is gone afterwards, whatever happened."""

    def __init__(self, argv: Sequence[str], deadline: float) -> None:
        self._deadline = deadline
        self._parser = ReplyParser()
        self._replies: list[Reply] = []
        self._partial = b""
        self._log = b""
        self._log_open = True
        limit_s = max(int(deadline - time.monotonic()) + 5, 5)
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            preexec_fn=lambda: signal.alarm(limit_s),  # ends the child should we be killed before we can
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], exc: Optional[BaseException], where: Optional[TracebackType]) -> None:
        self._process.kill()
        self._process.communicate()

    def command(self, line: str) -> Reply:
        """Send one command and wait for its reply. Raises SessionEnded."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode("ascii", "replace") + b"\r\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it ended: reading says so, with the reason
        return self.reply(line.split(" ", 1)[0])

    def reply(self, to: str = "connect") -> Reply:
        """The next reply. Raises SessionEnded."""
        while not self._replies:
            if not self._receive(to):
                raise SessionEnded(f"exim -bh ended at {to}{self._because()}")
            if self._parser.error:
                raise SessionEnded(f"exim's reply to {to} is no SMTP: {self._parser.error}")
        return self._replies.pop(0)

    def _receive(self, to: str) -> bool:
        """Read what there is on both pipes; False when Exim closed its output."""
        assert self._process.stdout is not None and self._process.stderr is not None
        output, log = self._process.stdout.fileno(), self._process.stderr.fileno()
        pipes = [output, log] if self._log_open else [output]
        ready = select.select(pipes, [], [], max(self._deadline - time.monotonic(), 0))[0]
        if not ready:
            raise SessionEnded(f"exim -bh did not answer {to} in time{self._because()}")
        if log in ready:
            said = os.read(log, 65536)
            self._log = (self._log + said)[-LOG_LIMIT_BYTES:]
            self._log_open = bool(said)
        if output not in ready:
            return True
        data = os.read(output, 65536)
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        # Before the greeting it says on the same channel that this is a test.
        self._replies += self._parser.feed(b"".join(line + b"\n" for line in lines if _REPLY_LINE.match(line)))
        return bool(data)

    def _because(self) -> str:
        """Its last words that are no part of the walk through the ACLs."""
        lines = [line for line in decode(self._log).splitlines() if line.strip() and not line.startswith(">>>")]
        return f": {printable(lines[-1])}" if lines else ""
