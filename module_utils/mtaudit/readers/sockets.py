"""Read who listens on the ports of SMTP where others can reach it, and whose process that is. No spawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..address import LOOPBACK, contains
from ..listeners import SMTP_PORTS, Listener
from ..runner import ReadError
from . import network
from .uses import DAEMONS, Around, Process


@dataclass(frozen=True)
class Socket:
    """What listens, and the first process that was found to hold it; None where that may not be seen: of another account's
    process the kernel shows it to those with CAP_SYS_PTRACE only (proc_pid_fd(5)), which root in a container mostly has not."""

    listener: Listener
    holder: Optional[Process] = None


def read(around: Around) -> list[Socket]:
    """Raises ReadError when processes cannot be seen."""
    wanted = {
        inode: Listener(port, str(address) if int(address) else "*")
        for (address, port), inode in network.listening(around.runner).items()
        if port in SMTP_PORTS and not contains(LOOPBACK, address)
    }
    return [Socket(listener, holder) for listener, holder in _held(around, wanted).items()]


def _held(around: Around, wanted: dict[str, Listener]) -> dict[Listener, Optional[Process]]:
    found: dict[Listener, Optional[Process]] = dict.fromkeys(wanted.values())
    daemons = {name for names in DAEMONS.values() for name in names}
    # Mail daemons first: with their few files the search is mostly over.
    for process in sorted(around.processes, key=lambda process: process.name not in daemons):
        if all(found.values()):
            break
        for path in around.runner.glob(f"/proc/{process.pid}/fd/*"):
            try:
                inode = around.runner.resolve(path).rpartition("/socket:[")[2].rstrip("]")
            except ReadError:
                break  # nor any other of this process
            if inode in wanted:
                found[wanted[inode]] = found[wanted[inode]] or process
    return found
