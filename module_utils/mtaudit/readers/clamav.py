"""Read ClamAV: how clamd and its milter are set, whether clamd runs, and when its daily signatures were built. No spawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from ..address import Address
from ..runner import ReadError, Runner
from ..text import decode, printable
from . import network
from .rspamd import Socket, answers, socket_of, unix_sockets
from .uses import Around

CLAMD, MILTER = "/etc/clamav/clamd.conf", "/etc/clamav/clamav-milter.conf"
_DIRECTORY = "/var/lib/clamav"  # where clamd.conf(5) names no DatabaseDirectory
_HEADER_BYTES = 512
Settings = Mapping[str, list[str]]  # the values of each name, as often as it is set


@dataclass(frozen=True)
class ClamAv:
    """`clamd` and `milter` are what their files set, None where there is no such file. `built_at` is when the newest of the
    databases that ClamAV builds each day was built, 0 where there is none in `directory`; `running` whether there is a clamd.
    `problem` says what could not be read."""

    clamd: Optional[Settings] = None
    milter: Optional[Settings] = None
    directory: str = _DIRECTORY
    built_at: float = 0.0
    running: bool = False
    now: float = 0.0
    listening: tuple[tuple[Address, int], ...] = ()
    sockets: frozenset[str] = frozenset()
    problem: str = ""

    def answers(self, called: Socket) -> Optional[bool]:
        """Whether something listens there now; None for another host, which cannot be seen from here."""
        return answers(called, self.listening, self.sockets)

    def is_clamd(self, called: Socket) -> bool:
        """Whether that is where the clamd of clamd.conf listens."""
        clamd = self.clamd or {}
        places = [Socket(path=_run(path)) for path in clamd.get("LocalSocket", ())]
        for port in clamd.get("TCPSocket", ()):
            hosts = clamd.get("TCPAddr") or ["*"]  # without it clamd listens on every address (clamd.conf(5))
            places += [Socket("*" if host in ("0.0.0.0", "::") else host, int(port)) for host in hosts if port.isdigit()]
        return any(place.serves(Socket(called.host, called.port, _run(called.path))) for place in places)


def read(runner: Runner) -> ClamAv:
    try:
        clamd, milter = _settings(runner, CLAMD), _settings(runner, MILTER)
        directory = (clamd or {}).get("DatabaseDirectory", [_DIRECTORY])[-1]
        built_at = max(_built(runner, f"{directory}/daily.{kind}") for kind in ("cld", "cvd"))
        running = any(process.name == "clamd" for process in Around(runner).processes)
    except ReadError as exc:
        return ClamAv(problem=printable(str(exc)))
    listening = tuple(network.listening(runner))
    return ClamAv(clamd, milter, directory, built_at, running, runner.now(), listening, unix_sockets(runner))


def places(text: str, port: int = 3310) -> list[Socket]:
    """`/run/clamav/clamd.ctl`, `unix:/...`, `127.0.0.1:3310`, `tcp:127.0.0.1:3310`; of several with commas each."""
    found = [socket_of(re.sub(r"^(?:tcp|local|round-robin|random|master-slave|hash):", "", word.strip()), port)
             for word in text.split(",")]  # fmt: skip
    return [place for place in found if place]


def _run(path: str) -> str:
    return path.replace("/var/run/", "/run/", 1)


def _settings(runner: Runner, path: str) -> Optional[Settings]:
    if runner.stat(path) is None:
        return None
    found: dict[str, list[str]] = {}
    for line in runner.read(path).splitlines():
        name, _, value = line.strip().partition(" ")
        if name and name[0] != "#":
            found.setdefault(name, []).append(value.strip().strip('"'))
    return found


def _built(runner: Runner, path: str) -> float:
    """By the header, `ClamAV-VDB:22 Nov 2026 04-28 -0500:27800:...:1795339680`: the time in words, and at its end in seconds."""
    if runner.stat(path) is None:
        return 0.0
    fields = decode(runner.piece(path, 0, _HEADER_BYTES)).split(":")
    if fields[0] != "ClamAV-VDB" or len(fields) < 2:
        raise ReadError(f"{path} does not begin as a database of ClamAV's does")
    if len(fields) > 8 and fields[8].strip().isdigit():
        return float(fields[8])
    try:
        return datetime.strptime(fields[1].strip(), "%d %b %Y %H-%M %z").timestamp()
    except ValueError as exc:
        raise ReadError(f"{path} does not say when it was built: {printable(fields[1], 40)}") from exc
