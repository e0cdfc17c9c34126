"""What the guard's program does: take a transaction back, and say so in the system's log."""

from __future__ import annotations

import sys
import syslog

from ..runner import LocalRunner
from .journal import read, take_back
from .places import SnapshotError
from .store import Store


def main() -> None:
    """`guard.pyz STORE NAME`; exit status 1 when something could not be put back, and systemd tries again."""
    syslog.openlog("mtaudit", facility=syslog.LOG_DAEMON)
    store, name = Store(sys.argv[1]), sys.argv[2]
    try:
        before = read(store, name)
        ended = take_back(store, LocalRunner(), name, "nobody confirmed it in time")
    except SnapshotError as exc:
        syslog.syslog(syslog.LOG_ERR, f"could not take back {name}: {exc}")
        sys.exit(1)
    if ended.problems:
        syslog.syslog(syslog.LOG_ERR, f"could not take back {name}: {'; '.join(ended.problems)}")
        sys.exit(1)
    if ended.phase != before.phase:
        syslog.syslog(syslog.LOG_WARNING, f"took back {name} ({ended.reason}): {ended.ended}")
