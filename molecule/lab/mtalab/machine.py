"""Find out what about this machine keeps the lab from working, and say what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

OLDEST_PODMAN = (4, 3)                 # Debian 12's; several subnets and named interfaces came with 4.0
PROC = Path("/proc")
INOTIFY_PER_HOST = 2                   # instances that systemd takes, 252 on Debian 12 and 257 on Debian 13; measured


def podman_problem(version: str) -> str:
    """Why the podman whose `--version` says so cannot run the lab; empty when it can."""
    found = re.search(r"^podman version (\d+)\.(\d+)", version)
    oldest = ".".join(map(str, OLDEST_PODMAN))
    if not found:
        return f"`podman --version` says {version.strip()[:100]!r}: the lab needs podman {oldest} or newer"
    if (int(found[1]), int(found[2])) < OLDEST_PODMAN:
        return f"podman {found[1]}.{found[2]} is too old: the lab needs {oldest} or newer, as in Debian 12"
    return ""


def ipv6_problem(proc: Path = PROC) -> str:
    """Why this machine cannot give containers IPv6 addresses; empty when it can.

    `net.ipv6.conf.*.disable_ipv6=1` is no obstacle: each network namespace has settings of its own (tried).
    """
    if (proc / "sys/net/ipv6").is_dir():
        return ""
    return "the kernel has no IPv6 (ipv6.disable=1 on its command line?), and the lab's networks need it"


def inotify_problem(proc: Path = PROC) -> str:
    """That root has no inotify instances left for one more host, with the figures; empty when it has."""
    limit = int((proc / "sys/fs/inotify/max_user_instances").read_text(encoding="ascii"))
    used = sum(_inotify_instances(process) for process in proc.glob("[0-9]*"))
    if used + INOTIFY_PER_HOST <= limit:
        return ""
    return (
        f"root uses {used} of the {limit} inotify instances that this machine allows, and systemd needs {INOTIFY_PER_HOST} "
        f"in each host: sysctl -w fs.inotify.max_user_instances={max(1024, 2 * limit)}, or remove throw-away copies"
    )


def _inotify_instances(process: Path) -> int:
    """How many inotify instances one of root's processes holds; 0 for another user's, and when it has gone."""
    try:
        if process.stat().st_uid != 0:
            return 0
        return sum(os.readlink(handle) == "anon_inode:inotify" for handle in (process / "fd").iterdir())
    except OSError:
        return 0
