"""Read who listens on the ports of SMTP where others can reach it, and whose process that is. No spawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..address import LOOPBACK, contains
from ..listeners import SMTP_PORTS, Listener
from ..runner import ReadError
from . import network
from .uses import DAEMONS, Around, Process


@dataclass
class Socket:
    """What listens, whether root opened it, and the first process that was found to hold it; None where that may not be seen: of
    another account's process the kernel shows it to those with CAP_SYS_PTRACE only (proc_pid_fd(5)), which root in a container
    mostly has not."""

    listener: Listener
    of_root: bool = True
    holder: Optional[Process] = None


def read(around: Around) -> list[Socket]:
    """Raises ReadError when processes cannot be seen."""
    found = {
        inode: Socket(Listener(port, str(address) if int(address) else "*"), uid == "0")
        for (address, port), (uid, inode) in network.listening(around.runner).items()
        if port in SMTP_PORTS and not contains(LOOPBACK, address)
    }
    daemons = {name for names in DAEMONS.values() for name in names}
    # Mail daemons first: with their few files the search is mostly over.
    for process in sorted(around.processes, key=lambda process: process.name not in daemons):
        if all(socket.holder for socket in found.values()):
            break
        for path in around.runner.glob(f"/proc/{process.pid}/fd/*"):
            try:
                socket = found.get(around.runner.resolve(path).rpartition("/socket:[")[2].rstrip("]"))
            except ReadError:
                break  # nor any other of this process
            if socket:
                socket.holder = socket.holder or process
    return list(found.values())
