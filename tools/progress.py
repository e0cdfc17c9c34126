"""Run long commands with their output in a log, and show that they are alive.

Runs on any Python >= 3.9 and needs nothing but the standard library: set-up uses it before anything is installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

HEARTBEAT_S = 20.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_print_lock = threading.Lock()


def say(text: str) -> None:
    """Print lines at once, never mixed with those of another thread."""
    with _print_lock:
        print(text, flush=True)


@dataclass(frozen=True)
class Done:
    """A finished command. `returncode` is None when it was ended because its time was up."""

    returncode: Optional[int]
    seconds: float
    log: Path

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    def output(self) -> str:
        """What it printed, without terminal colours."""
        return plain(self.log.read_text(encoding="utf-8", errors="replace"))


def plain(text: str) -> str:
    """Text without terminal colours."""
    return _ESCAPES.sub("", text)


def last_line(log: Path) -> str:
    """The last line that says something, cut to fit behind a heartbeat."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4096))
        tail = plain(file.read().decode("utf-8", "replace"))
    lines = [line.strip() for line in tail.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][-100:] if lines else ""


def run(
    title: str,
    command: Sequence[str],
    log: Path,
    *,
    cwd: Optional[Path] = None,
    env: Optional[Mapping[str, str]] = None,
    timeout_s: Optional[float] = None,
    heartbeat_s: float = HEARTBEAT_S,
) -> Done:
    """Run a command to its end; its output goes into `log`, a line every `heartbeat_s` seconds to the terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, cwd=cwd,
                env=None if env is None else dict(env), start_new_session=True,
            )
        except OSError as exc:
            sink.write(f"Could not start {command[0]}: {exc.strerror}\n".encode())
            return Done(127, time.monotonic() - start, log)
        try:
            returncode = _wait(process, title, log, start, timeout_s, heartbeat_s)
        except BaseException:  # Ctrl-C: the command has a session of its own and would go on
            _end(process)
            raise
        if returncode is None:
            sink.write(f"\nEnded: not finished after {timeout_s:.0f} s\n".encode())
    return Done(returncode, time.monotonic() - start, log)


def _wait(
    process: subprocess.Popen[bytes], title: str, log: Path, start: float, timeout_s: Optional[float], heartbeat_s: float
) -> Optional[int]:
    while True:
        spent = time.monotonic() - start
        left = None if timeout_s is None else timeout_s - spent
        if left is not None and left <= 0:
            _end(process)
            return None
        try:
            return process.wait(timeout=heartbeat_s if left is None else min(heartbeat_s, left))
        except subprocess.TimeoutExpired:
            say(f"  ...   {title}, {time.monotonic() - start:.0f} s: {last_line(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and all that it started: politely, then for good."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
