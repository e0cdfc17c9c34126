"""Talk SMTP to a program over its pipes: one process, bounded in time and in what is kept of its log."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Optional

from ..smtp.reply import Reply, ReplyParser
from ..text import decode, printable

LOG_LIMIT_BYTES = 64 * 1024
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class SessionEnded(Exception):
    """The program died or did not answer; the text says which, with its last words."""


@dataclass
class Budget:
    """How many processes the simulation of a host may start, and how many it did."""

    limit: int
    used: int = 0

    def take(self) -> bool:
        """Count one more; False when there is none left."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True


class Session:
    """A running program that speaks SMTP on its standard input and output, and logs to standard error.

    Use as a context manager: the process is gone afterwards, whatever happened. `deadline` is a time of time.monotonic();
    `become` is what the child does before it becomes the program.
    """

    program = "the program"  # as messages call it

    def __init__(
        self, argv: Sequence[str], deadline: float, env: Mapping[str, str], become: Optional[Callable[[], None]] = None
    ) -> None:
        self._deadline = deadline
        self._parser = ReplyParser()
        self._replies: list[Reply] = []
        self._log = b""
        self._log_open = True
        limit_s = max(int(deadline - time.monotonic()) + 5, 5)

        def prepare() -> None:
            signal.alarm(limit_s)  # ends the child should we be killed before we can
            if become:
                become()

        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": PATH, **env},
            cwd="/",
            preexec_fn=prepare,
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
            pass  # it died: reading says so, with the reason
        return self.reply(line.split(" ", 1)[0])

    def reply(self, to: str = "connect") -> Reply:
        """The next reply. Raises SessionEnded."""
        while not self._replies:
            if not self._receive(to):
                raise SessionEnded(self._last_words(to))
            if self._parser.error:
                raise SessionEnded(f"{self.program}'s reply to {to} is no SMTP: {self._parser.error}")
        return self._replies.pop(0)

    def _receive(self, to: str) -> bool:
        """Read what there is on both pipes; False when the program closed its output."""
        assert self._process.stdout is not None and self._process.stderr is not None
        output, log = self._process.stdout.fileno(), self._process.stderr.fileno()
        pipes = [output, log] if self._log_open else [output]
        ready = select.select(pipes, [], [], max(self._deadline - time.monotonic(), 0))[0]
        if not ready:
            raise SessionEnded(f"{self.program} did not answer {to} in time" + self._because())
        if log in ready:
            said = os.read(log, 65536)
            self._log = (self._log + said)[-LOG_LIMIT_BYTES:]
            self._log_open = bool(said)
        if output not in ready:
            return True
        data = os.read(output, 65536)
        self._replies += self._parser.feed(self.smtp(data))
        return bool(data)

    def _last_words(self, to: str) -> str:
        self._process.kill()
        self._log += self._process.communicate()[1]
        what = f"{self.program} does not start" if to == "connect" else f"{self.program} died at {to}"
        return what + (self._because() or f": no reason given, exit status {self._process.returncode}")

    def _because(self) -> str:
        said = self.reason([line for line in decode(self._log).splitlines() if line.strip()])
        return ": " + printable(said) if said else ""

    def smtp(self, data: bytes) -> bytes:
        """The part of its output that is SMTP."""
        return data

    def reason(self, log: Sequence[str]) -> str:
        """What the lines of its log say of its end."""
        return log[-1] if log else ""
