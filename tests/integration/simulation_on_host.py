"""Runs on a lab host: simulate every Postfix service while the queue is watched, and say what was found and what was touched.

Standard input is JSON: {"more": {...} of Declared, "patch": name of an entry of PATCHES, "trusted": networks,
"rewrite_hangs": bool, "not_root": bool, "timeout_s": seconds}. Standard output is JSON.
"""

from __future__ import annotations

import ctypes
import hashlib
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mtaudit.control import Site
from mtaudit.readers import network, postfix
from mtaudit.runner import LocalRunner
from mtaudit.simulate import postfix as simulation
from mtaudit.simulate import smtpd
from mtaudit.simulate.envelopes import Declared

QUEUES = ("incoming", "active", "deferred", "defer", "hold", "maildrop", "corrupt", "bounce")
CHANGES = 0x100 | 0x200 | 0x40 | 0x80 | 0x2  # IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, IN_MODIFY: inotify(7)


class Watch:
    """Every file that appears in a queue directory, for however short a time."""

    def __init__(self, directories: list[Path]) -> None:
        libc = ctypes.CDLL("libc.so.6", use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        self._names = {}
        for directory in directories:
            watched = libc.inotify_add_watch(self._descriptor, str(directory).encode(), CHANGES)
            assert watched >= 0, f"cannot watch {directory}"
            self._names[watched] = directory

    def events(self) -> Iterator[str]:
        try:
            data = os.read(self._descriptor, 1 << 20)
        except BlockingIOError:
            return
        while data:
            watched, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0").decode()
            yield f"{mask:#x} {self._names[watched]}/{name}"
            data = data[16 + length :]


def queue_directories() -> list[Path]:
    tops = [spool / name for spool in Path("/var/spool").glob("postfix*") for name in QUEUES]
    return [inner for top in tops if top.is_dir() for inner in [top, *(p for p in top.iterdir() if p.is_dir())]]


def state() -> dict[str, str]:
    """What must not change: configuration, queue, master's process, temporary directories, data directory."""
    trees = ["/etc/postfix", "/tmp", "/run", "/var/lib/postfix", "/root", *map(str, Path("/etc").glob("postfix-*"))]
    found = {str(path): "" for directory in queue_directories() for path in directory.rglob("*")}
    for tree in trees:
        for path in sorted(Path(tree).rglob("*")):
            # prng_exch and the caches are tlsmgr's and verify's own business.
            if path.is_file() and not path.is_symlink() and not {"__pycache__", "systemd", "udev"} & set(path.parts):
                if path.suffix not in (".db", ".lmdb") and path.name not in ("prng_exch", "utmp"):
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    for pid_file in Path("/var/spool").glob("postfix*/pid/master.pid"):
        found[str(pid_file)] = pid_file.read_text()
    return found


def left_behind() -> list[str]:
    """Stand-alone smtpd processes that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/smtpd") and b"-S" in words:
            found.append(entry.parent.name)
    return found


def with_queue_file() -> None:
    """The way of facts known before: a filter with speed_adjust, for which smtpd makes a file and unlinks it at once."""
    smtpd.QUESTIONS_ONLY = tuple(
        o.replace("unix:/dev/null/mtaudit", "127.0.0.1:1").replace("smtpd_proxy_options=", "smtpd_proxy_options=speed_adjust")
        for o in smtpd.QUESTIONS_ONLY
    )


def without_name() -> None:
    """XCLIENT without NAME: the mistake that opens tables which go by name."""
    simulation._xclient = lambda client: f"XCLIENT ADDR={'IPV6:' * (client.address.version == 6)}{client.address}"


def opposite() -> None:
    """Another program in smtpd's place, which says yes to what the real one refuses and no to what it accepts."""
    smtpd.SmtpdInvocation.program = property(lambda self: "/run/mtaudit-sim/opposite")


PATCHES = {"": lambda: None, "with_queue_file": with_queue_file, "without_name": without_name, "opposite": opposite}


def main() -> None:
    asked = json.load(sys.stdin)
    runner = LocalRunner()
    instances, here = postfix.read(runner), network.read(runner)
    for instance in instances:
        instance.smtp_services()
    site = Site(trusted_networks=tuple(ipaddress.ip_network(n) for n in asked.get("trusted", [])))
    PATCHES[asked.get("patch", "")]()
    server = socket.create_server(("127.0.0.1", 10031))
    if asked.get("rewrite_hangs"):
        path = "/var/spool/postfix/private/rewrite"
        Path(path).unlink(missing_ok=True)
        hanging = socket.socket(socket.AF_UNIX)
        hanging.bind(path)
        hanging.listen()
    if "timeout_s" in asked:
        simulation.DEFAULT_TIMEOUT_S = asked["timeout_s"]
    before = state()
    watch = Watch(queue_directories())
    if asked.get("not_root"):
        os.setresuid(65534, 65534, 65534)
    start = time.monotonic()
    answer = simulation.simulate_all(instances, site, here, Declared(**asked.get("more", {})))
    took = time.monotonic() - start
    contacted = bool(select.select([server], [], [], 0)[0])
    if not asked.get("not_root"):
        time.sleep(0.2)  # what a killed process set going would show by now
    after = before if asked.get("not_root") else state()
    print(json.dumps({
        "findings": [finding.to_dict() for finding in answer.findings],
        "spawns": answer.spawns,
        "took_s": took,
        "events": list(watch.events()),
        "changed": sorted(path for path in {*before, *after} if before.get(path) != after.get(path)),
        "left_behind": left_behind(),
        "contacted": contacted,
    }))


main()
