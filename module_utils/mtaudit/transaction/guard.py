"""Take a change back by the host itself, when nobody confirms it in time: the controller is gone, or the change cut it off.

A timer of systemd, kept on the disk, so that it outlives the controller's connection and a reboot. It starts a program that is
kept beside the transaction.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..runner import ReadError, Runner
from ..text import printable
from .places import SnapshotError, why
from .store import Store, write_whole

_AT_LEAST_S = 10
_PLAIN = re.compile(r"[\w./:+-]+")
UNITS = Path("/etc/systemd/system")
NAME = "mtaudit-guard"
STAMP = Path(f"/var/lib/systemd/timers/stamp-{NAME}.timer")  # of `Persistent`: systemd.timer(5)
PROGRAM = "guard.pyz"
# `Restart`: when another run holds the lock, or a file could not be put back.
_SERVICE = """\
[Unit]
Description=Take back a change of this mail server that nobody confirmed (mtaudit)
StartLimitIntervalSec=3600
StartLimitBurst=20

[Service]
Type=oneshot
ExecStart={python} -I -B {program} {store} {name}
Restart=on-failure
RestartSec=15
"""
_TIMER = """\
[Unit]
Description=Wait for the confirmation of a change of this mail server (mtaudit)

[Timer]
OnCalendar={when} UTC
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def arm(store: Store, runner: Runner, name: str, until: float, write_program: Callable[[Path], None]) -> None:
    """Let the host take this transaction back at that time, by a program that is written first. Raises SnapshotError."""
    program = store.transactions / name / PROGRAM
    after_s = int(until - time.time()) + 1
    if after_s < _AT_LEAST_S:
        raise SnapshotError(f"Could not arm the guard: {after_s} s are too few, give it {_AT_LEAST_S} or more")
    if not _PLAIN.fullmatch(str(program)):
        raise SnapshotError(f"Could not arm the guard: {store.path} has signs that a unit of systemd cannot hold; use another")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(until))
    try:
        write_program(program)
        UNITS.mkdir(parents=True, exist_ok=True)
        service = _SERVICE.format(python=os.path.realpath(sys.executable), program=program, store=store.path, name=name)
        write_whole(UNITS / f"{NAME}.service", service.encode(), 0o644)
        write_whole(UNITS / f"{NAME}.timer", _TIMER.format(when=when).encode(), 0o644)
    except OSError as exc:
        raise SnapshotError(f"Could not arm the guard: {why(exc)}; without one: guard_after_s 0") from exc
    _systemctl(runner, ["daemon-reload"])
    _systemctl(runner, ["enable", "--now", f"{NAME}.timer"])


def disarm(runner: Runner) -> str:
    """What went wrong; empty when it is gone. One that stays finds, when its time comes, nothing to do, and goes."""
    timer = f"{NAME}.timer"
    # A dot stands before those that were not written to their end.
    units = [*UNITS.glob(f"{NAME}.*"), *UNITS.glob(f".{NAME}.*"), *UNITS.glob(f"timers.target.wants/{timer}")]
    if not units:
        return ""
    problem = ""
    try:
        _systemctl(runner, ["disable", "--now", timer])
    except SnapshotError as exc:  # one that was armed by half is not known to systemd yet
        problem = str(exc)
    try:
        for unit in (*units, STAMP):
            unit.unlink(missing_ok=True)
        _systemctl(runner, ["daemon-reload"])
        return problem if problem and not runner.run(["systemctl", "is-active", "--quiet", timer]).returncode else ""
    except (SnapshotError, ReadError) as exc:
        return str(exc)
    except OSError as exc:
        return f"Could not remove the guard's units in {UNITS}: {why(exc)}"


def _systemctl(runner: Runner, words: Sequence[str]) -> None:
    try:
        done = runner.run(["systemctl", "--quiet", *words])
    except ReadError as exc:
        raise SnapshotError(f"Could not set the guard: {exc}; without one: guard_after_s 0") from exc
    if done.returncode:
        said = printable(done.stderr.strip()) or f"exit status {done.returncode}"
        raise SnapshotError(f"Could not set the guard: systemctl {' '.join(words)}: {said}; without one: guard_after_s 0")
