"""Run podman with a configuration of the lab's own, and say what is missing on this machine."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path

from mtalab.machine import ipv6_problem, podman_problem

# What the lab runs, and the Debian package that has it.
TOOLS = {
    "podman": "podman",
    "netavark": "netavark",
    "iptables": "iptables",            # netavark calls it, on internal networks too
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
}
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
INSTANCES_WANTED = 1024
HELPER_PATHS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")
HEARTBEAT_S = 20.0
_in_this_process: dict[Path, threading.Lock] = {}


class LabError(Exception):
    """The lab cannot go on; the message says why and what to do."""


def state_directory() -> Path:
    """Where the key, containers.conf and base images are kept: $MTAUDIT_LAB_STATE or the user's cache."""
    chosen = os.environ.get("MTAUDIT_LAB_STATE")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(chosen) if chosen else Path(cache) / "mtaudit" / "lab"


def say(text: str) -> None:
    """One line of progress."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a long step, show from time to time that it goes on, and say how long it took."""
    say(f"{text} ...")
    start = time.monotonic()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_S):
            say(f"{text} ... {time.monotonic() - start:.0f} s")

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
    say(f"{text}: {time.monotonic() - start:.1f} s")


def choose_runtime(unified_cgroups: bool, installed: Mapping[str, bool]) -> str | None:
    """The OCI runtime to name, or None for podman's default.

    crun refuses version 1 and hybrid cgroups ("cgroups in hybrid mode not supported"); runc takes them.
    """
    if unified_cgroups:
        return None
    if not installed.get("runc"):
        raise LabError("this machine has version 1 or hybrid cgroups, which only runc can use: install runc")
    return "runc"


def containers_conf(nofile: int, nproc: int, runtime: str | None) -> str:
    """A containers.conf whose limits stay below the machine's hard ones: podman may not raise them."""
    engine = f'runtime = "{runtime}"\n' if runtime else ""
    return (
        "# Written by lab.py; changes are overwritten.\n"
        "[containers]\n"
        f'default_ulimits = ["nofile={nofile}:{nofile}", "nproc={nproc}:{nproc}"]\n'
        '[network]\nnetwork_backend = "netavark"\n'
        f"[engine]\n{engine}"
    )


def _limit(which: int, highest: int) -> int:
    hard = resource.getrlimit(which)[1]
    return highest if hard == resource.RLIM_INFINITY else min(hard, highest)


def missing_tools() -> list[str]:
    """Names of the Debian packages that are to be installed, in order, each once."""
    found = {tool: _which(tool) for tool in TOOLS}
    return list(dict.fromkeys(package for tool, package in TOOLS.items() if not found[tool]))


def _which(tool: str) -> bool:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *HELPER_PATHS])
    return shutil.which(tool, path=path) is not None


@dataclass(frozen=True)
class Result:
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


def allow_many_hosts(limit: Path = INOTIFY_INSTANCES) -> None:
    """Raise the number of inotify instances of one user until the next boot, and say so.

    Each systemd of the lab takes three of root's, and a kernel's 128 end at about 40 containers: the next does not boot.
    """
    try:
        before = int(limit.read_text(encoding="ascii"))
        if before < INSTANCES_WANTED:
            limit.write_text(str(INSTANCES_WANTED), encoding="ascii")
            say(f"fs.inotify.max_user_instances raised from {before} to {INSTANCES_WANTED} until the next boot")
    except (OSError, ValueError) as problem:
        say(f"fs.inotify.max_user_instances cannot be raised, so about 40 hosts are the most: {problem}")


class Podman:
    """podman, with the lab's containers.conf."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.conf = state / "containers.conf"

    def prepare(self) -> None:
        """Check the machine and write the state directory; raises LabError naming what is missing."""
        if missing := missing_tools():
            raise LabError("missing tools; on Debian: apt-get install --no-install-recommends " + " ".join(missing))
        if os.geteuid() != 0:
            raise LabError("the lab makes networks and routers: run it as root")
        if problem := podman_problem(self.version()) or ipv6_problem():
            raise LabError(problem)
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        runtime = choose_runtime(unified, {"runc": _which("runc")})
        text = containers_conf(_limit(resource.RLIMIT_NOFILE, 65536), _limit(resource.RLIMIT_NPROC, 4096), runtime)
        if not self.conf.exists() or self.conf.read_text(encoding="utf-8") != text:
            self.conf.write_text(text, encoding="utf-8")

    def version(self) -> str:
        """What `podman --version` prints."""
        done = subprocess.run(["podman", "--version"], capture_output=True, text=True, errors="replace", check=False)
        return done.stdout or done.stderr

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.conf)}

    def run(
        self, *words: str, check: bool = True, timeout_s: float | None = 120, stdin: str | None = None
    ) -> Result:
        """Run `podman words...`; raises LabError with podman's own words when it fails and `check` is set."""
        command = ["podman", *words]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s,
                env=self.environment, check=False,
            )
        except subprocess.TimeoutExpired:
            if check:
                raise LabError(f"podman {words[0]}: no answer within {timeout_s:.0f} s") from None
            return Result(124, "", "timed out")
        if check and done.returncode != 0:
            raise LabError(f"podman {' '.join(words[:3])}: {done.stderr.strip()[-2000:] or done.stdout[-2000:]}")
        return Result(done.returncode, done.stdout, done.stderr)

    def follow(self, words: Sequence[str], log: Path) -> None:
        """Run a long podman command with its output in `log`; raises LabError with the last lines of it."""
        with log.open("w", encoding="utf-8") as sink:
            done = subprocess.run(
                ["podman", *words], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=self.environment, check=False
            )
        if done.returncode != 0:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
            raise LabError(f"podman {words[0]} failed; {log} ends with:\n  " + "\n  ".join(tail))


@contextmanager
def locked(state: Path, name: str) -> Iterator[None]:
    """Hold one of the lab's locks, against other threads and other processes; says so when it waits for a process."""
    path = state / f"{name}.lock"
    with _in_this_process.setdefault(path, threading.Lock()), path.open("w", encoding="utf-8") as handle:
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds the lab's {name} lock")
            flock(handle, LOCK_EX)
        try:
            yield
        finally:
            flock(handle, LOCK_UN)
