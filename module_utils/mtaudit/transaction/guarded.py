"""What the guard's program does: take a transaction back, and say so in the system's log."""

from __future__ import annotations

import os
import sys
import syslog
import time

from ..runner import LocalRunner
from .guard import STAMP, disarm
from .journal import FINISHED, read, take_back, unfinished
from .places import SnapshotError
from .store import Store


def main() -> None:
    """`guard.pyz STORE NAME`; exit status 1 when something could not be put back, and systemd tries again."""
    syslog.openlog("mtaudit", facility=syslog.LOG_DAEMON)
    store, name = Store(sys.argv[1]), sys.argv[2]
    if STAMP.exists():
        # systemd notes the start of this program, not its end: after a reboot in the middle it would not start it again.
        os.utime(STAMP, (0, 0))
    try:
        before = read(store, name)
        if before.until > time.time() + 1 and before.phase not in FINISHED:
            return  # a unit of an earlier one that is still tried
        ended = take_back(store, LocalRunner(), name, "nobody confirmed it in time")
    except SnapshotError as exc:
        syslog.syslog(syslog.LOG_ERR, f"could not take back {name}: {exc}")
        sys.exit(1)
    if ended.problems:
        syslog.syslog(syslog.LOG_ERR, f"could not take back {name}: {'; '.join(ended.problems)}")
        sys.exit(1)
    if not unfinished(store):
        disarm(LocalRunner())
    if ended.phase != before.phase:
        syslog.syslog(syslog.LOG_WARNING, f"took back {name} ({ended.reason}): {ended.ended}")
