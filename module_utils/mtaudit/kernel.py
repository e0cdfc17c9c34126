"""Ask the kernel what Python's library has no function for: access control lists, and the state of the clock."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

_STA_UNSYNC = 0x40  # linux/timex.h


@dataclass(frozen=True)
class Clock:
    """What the kernel says of its clock (adjtimex(2)): whether something keeps it right, and by how much it may be wrong."""

    synchronised: bool
    max_error_us: int


def acl(path: str) -> tuple[tuple[str, int, int], ...]:
    """The named users and groups of a POSIX access control list, cut by its mask (acl(5); linux/posix_acl_xattr.h)."""
    try:
        data = os.getxattr(path, "system.posix_acl_access")
    except OSError:
        return ()  # none, or the file system has no such lists
    entries = [struct.unpack_from("<HHI", data, offset) for offset in range(4, len(data) - 7, 8)]
    mask = next((rights for tag, rights, _ in entries if tag == 0x10), 7)
    kinds = {0x02: "user", 0x08: "group"}
    return tuple((kinds[tag], number, rights & mask) for tag, rights, number in entries if tag in kinds)


def clock() -> Clock:
    """Raises OSError. struct timex begins with modes, offset, freq, maxerror, esterror, status; modes 0 changes nothing."""
    buffer = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except AttributeError:
        raise OSError(0, "the C library has no adjtimex") from None
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _, _, _, max_error_us, _, status = struct.unpack_from("@Illlli", buffer.raw)
    return Clock(not status & _STA_UNSYNC, max_error_us)
