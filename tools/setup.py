#!/usr/bin/env python3
"""Install what is missing on this machine: system packages and a virtual environment.

    setup.py audit     audit your own inventory
    setup.py dev       run the linters and the tests that need no lab
    setup.py lab       audit the lab
    setup.py test      run all tests

As root on Debian it installs system packages, after saying which and why. Elsewhere it names all that is missing, once, and
stops. The environment (.venv) carries the digest of what it was made from: a second run finds it and does nothing.
Runs on any Python >= 3.9 and needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Optional

from progress import Done, run, say
from pythons import NEWEST, OLDEST, Python, newest_python

ROOT = Path(__file__).resolve().parents[1]
APT_LOCK_TRIES, APT_LOCK_WAIT_S = 30, 10
APT_LOCKED = ("Could not get lock", "Unable to lock directory")
# What apt-get and pip print, and what to do then.
ADVICE = (
    (APT_LOCKED, "Another program is using apt (a new machine updates itself after its start): wait, then run this again."),
    (("dpkg was interrupted",), "An earlier installation was interrupted: run `dpkg --configure -a`, then run this again."),
    (("No space left on device", "not have enough free space", "You don't have enough free space"),
     "The disk is full: make room, then run this again."),
    (("Temporary failure resolving", "Could not resolve", "Name or service not known", "Temporary failure in name resolution",
      "Network is unreachable", "Could not connect to", "Failed to establish a new connection", "NewConnectionError",
      "Connection refused", "timed out", "No route to host"),
     "Package sources were not reached: check the network, name resolution and proxy of this machine, then run this again."),
    (("Unable to locate package", "has no installation candidate"),
     "The configured package sources lack it: they must hold Debian 12 or newer, complete with its updates."),
)
HELPER_PATHS = ("/usr/sbin", "/sbin", "/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")


class SetupError(Exception):
    """Set-up cannot go on. The text says why and what to do."""


@dataclass(frozen=True)
class Tool:
    """Something the machine must have: the Debian package, what it is for, and the programs or files that show it is there."""

    package: str
    why: str
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


AUDIT_TOOLS = (Tool("openssh-client", "Ansible reaches the hosts with it", ("ssh",)),)
LAB_TOOLS = (
    Tool("podman", "runs the hosts of the lab as containers", ("podman",)),
    Tool("runc", "runs containers on machines where crun refuses the cgroups", ("runc",)),
    Tool("netavark", "makes the networks of the lab", ("netavark",)),
    Tool("aardvark-dns", "answers for the networks of the lab", ("aardvark-dns",)),
    Tool("mmdebstrap", "makes the Debian images of the lab", ("mmdebstrap",)),
    Tool("iptables", "netavark calls it, for internal networks too", ("iptables",)),
    Tool("nftables", "hides the lab's inner network behind its gateway", ("nft",)),
    Tool("iproute2", "shows whether the lab's networks are free on this machine", ("ip",)),
)
DEV_TOOLS = (Tool("git", "molecule and some tests ask it which files belong to the project", ("git",)),)
TEST_TOOLS = (
    Tool("openssl", "makes certificates for the tests' fake servers", ("openssl",)),
    Tool("chromium", "looks at the HTML report", ("chromium", "chromium-browser", "google-chrome")),
    Tool("fonts-dejavu-core", "shows the letters of the HTML report", files=(
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
        "/usr/share/fonts/TTF/DejaVuSans.ttf")),
)
TOOLS = {
    "audit": AUDIT_TOOLS,
    "dev": DEV_TOOLS,
    "lab": AUDIT_TOOLS + LAB_TOOLS,
    "test": AUDIT_TOOLS + LAB_TOOLS + DEV_TOOLS + TEST_TOOLS,
}
REQUIREMENTS = {
    "audit": "requirements.txt", "dev": "requirements-dev.txt", "lab": "requirements.txt", "test": "requirements-dev.txt",
}
NEEDS_ROOT = ("lab", "test")


@dataclass(frozen=True)
class Machine:
    """What set-up may do here."""

    debian: bool
    apt: bool
    root: bool

    @property
    def may_install(self) -> bool:
        return self.debian and self.root and self.apt

    @classmethod
    def this_one(cls) -> Machine:
        return cls("debian" in os_ids(Path("/etc/os-release")), shutil.which("apt-get") is not None, os.geteuid() == 0)


def os_ids(os_release: Path) -> set[str]:
    """The ID of the distribution; empty when the file is not there."""
    try:
        lines = os_release.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return {values.get("ID", "").strip().strip('"')}


def missing(tools: Iterable[Tool]) -> list[Tool]:
    """Those of the tools that this machine lacks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *HELPER_PATHS])
    return [
        tool for tool in tools
        if not any(shutil.which(name, path=path) for name in tool.programs) and not any(Path(f).exists() for f in tool.files)
    ]


def missing_for_environment(venv: Path, requirements: Path) -> list[Tool]:
    """What this machine lacks to make the virtual environment; on Debian, venv is a package of its own."""
    if is_current(venv, requirements) or usable(venv):
        return []
    python = newest_python()
    if python is None:
        return [Tool("python3", f"from 3.{OLDEST[1]} to 3.{NEWEST[1]}: Ansible runs on it")]
    if python.has_venv:
        return []
    name = f"python{python.version[0]}.{python.version[1]}-venv" if python.path.startswith("/usr/bin/") else "python3-venv"
    return [Tool(name, "makes the virtual environment")]


def refusal(need: str, wanted: Iterable[Tool], machine: Machine) -> str:
    """Why set-up stops before it has done anything, with all that is missing; empty when it may go on."""
    tools = list(wanted)
    parts = []
    if need in NEEDS_ROOT and not machine.root:
        parts.append("the lab needs root, since it makes networks and routers: run this as root, with sudo for example")
    if tools and not machine.may_install:
        parts.append(what_to_install(tools, machine))
    return "\n".join(parts)


def what_to_install(tools: Iterable[Tool], machine: Machine) -> str:
    """The message for a machine where we install nothing ourselves."""
    wanted = list(tools)
    lines = ["missing on this machine:"]
    lines += [f"  {tool.package:<20} {tool.why}" for tool in wanted]
    packages = " ".join(tool.package for tool in wanted)
    if machine.apt:
        sudo = "" if machine.root else "sudo "
        lines.append(f"Install them with: {sudo}apt-get install --no-install-recommends {packages}")
        lines += ["As root, this installs them by itself."] if machine.debian and not machine.root else []
    else:
        lines.append("Install them (the names are Debian's), then run this again.")
    return "\n".join(lines)


def install_packages(tools: Iterable[Tool], machine: Machine, cache: Path) -> None:
    """Install the Debian packages, or stop with their names."""
    wanted = list(tools)
    if not wanted:
        return
    if not machine.may_install:
        raise SetupError(what_to_install(wanted, machine))
    say("set-up: installing with apt-get:")
    for tool in wanted:
        say(f"  {tool.package:<20} {tool.why}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    update = _step("apt-get update", ["apt-get", "update", "-q"], cache / "logs/setup-apt-update.log", environment)
    # Recommended packages are left out: those of podman bring crun in place of runc.
    command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *(tool.package for tool in wanted)]
    # A source that was not reached is only a warning of `apt-get update`: the install may well do without it.
    unreached = [line for line in update.output().splitlines() if line.startswith(("W: ", "E: "))]
    _step("apt-get install", command, cache / "logs/setup-apt-install.log", environment, unreached)
    if still := missing(tool for tool in wanted if tool.programs or tool.files):
        raise SetupError("apt-get installed these, but they are not found: " + ", ".join(tool.package for tool in still))


def _step(
    title: str, command: list[str], log: Path, environment: Optional[Mapping[str, str]] = None, heard: Iterable[str] = ()
) -> Done:
    """Run a command to its end; waits while another program holds apt's lock. `heard`: lines that may explain its failure."""
    say(f"set-up: {title} ...")
    done = run(title, command, log, env=environment, heartbeat_s=10)
    tries = APT_LOCK_TRIES
    while not done.ok and tries and says(done.output(), APT_LOCKED):
        say(f"set-up: {title}: another program is using apt; trying again in {APT_LOCK_WAIT_S} s")
        sleep(APT_LOCK_WAIT_S)
        tries -= 1
        done = run(title, command, log, env=environment, heartbeat_s=10)
    if not done.ok:
        raise SetupError(failure(title, log, [*heard, *done.output().splitlines()]))
    say(f"set-up: {title}: {done.seconds:.0f} s")
    return done


def says(output: str, phrases: Iterable[str]) -> bool:
    return any(phrase in output for phrase in phrases)


def failure(title: str, log: Path, lines: list[str]) -> str:
    """What failed, the end of what it printed, and what to do when we know the words."""
    advice = next((advice for phrases, advice in ADVICE if says("\n".join(lines), phrases)), "")
    return "\n  ".join([f"{title} failed ({log}):", *lines[-25:]]) + (f"\n{advice}" if advice else "")


def digest(requirements: Path, venv: Path) -> str:
    """What the environment is made from: the requirements, with those they include, and its place (its scripts name it)."""
    text = "".join(file.read_text(encoding="utf-8") for file in with_included(requirements))
    return hashlib.sha256(f"{venv}\n{text}".encode()).hexdigest()


def with_included(requirements: Path) -> list[Path]:
    """A file of requirements and those that it includes."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return [requirements, *(requirements.parent / line[3:].strip() for line in lines if line.startswith("-r "))]


def stamp(venv: Path, requirements: Path) -> Path:
    return venv / f".made-from-{requirements.name}"


def is_current(venv: Path, requirements: Path) -> bool:
    """Whether the environment was made from these requirements, here, and its Python still starts."""
    mark = stamp(venv, requirements)
    if unfinished(venv).exists() or not mark.is_file() or mark.read_text(encoding="utf-8").strip() != digest(requirements, venv):
        return False
    return python_version(venv) is not None


def unfinished(venv: Path) -> Path:
    """There from before pip starts until it has succeeded: what an interrupted pip leaves behind is made anew."""
    return venv / ".unfinished"


def python_version(venv: Path) -> Optional[tuple[int, int]]:
    """The Python of an environment; None when it does not start."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([str(venv / "bin/python"), "-c", code], capture_output=True, text=True, check=False, timeout=30)
        major, minor = done.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return int(major), int(minor)


def usable(venv: Path) -> bool:
    """Whether packages can be installed into the environment as it is: a suitable Python, and never moved from elsewhere."""
    version = python_version(venv)
    script = venv / "bin/pip"
    if version is None or not OLDEST <= version <= NEWEST or not script.is_file() or unfinished(venv).exists():
        return False
    return script.read_bytes()[:512].startswith(f"#!{venv}/bin/".encode())


def make_venv(venv: Path, python: Python, cache: Path) -> None:
    """Make an empty environment."""
    _step(f"new environment on {python.path}", [python.path, "-m", "venv", "--clear", str(venv)], cache / "logs/setup-venv.log")


def install_environment(venv: Path, requirements: Path, cache: Path) -> None:
    """Make or complete the virtual environment; nothing when it is current."""
    if is_current(venv, requirements):
        return
    if not usable(venv):
        python = newest_python()
        if python is None:
            raise SetupError(f"no Python from 3.{OLDEST[1]} to 3.{NEWEST[1]} was found on the PATH: install one")
        make_venv(venv, python, cache)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements)]
    log = cache / "logs/setup-pip.log"
    unfinished(venv).touch()
    try:
        _step(f"pip install -r {requirements.name}", pip, log)
    except SetupError:
        if "Installing collected packages" not in log.read_text(encoding="utf-8", errors="replace"):
            unfinished(venv).unlink()  # it changed nothing
        raise
    unfinished(venv).unlink()
    for satisfied in with_included(requirements):
        stamp(venv, satisfied).write_text(digest(satisfied, venv) + "\n", encoding="utf-8")


def set_up(need: str, venv: Path, cache: Path, machine: Machine) -> None:
    """Everything for one need, one process at a time."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "setup.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        requirements = ROOT / REQUIREMENTS[need]
        wanted = missing(TOOLS[need]) + missing_for_environment(venv, requirements)
        if why := refusal(need, wanted, machine):
            raise SetupError(why)
        install_packages(wanted, machine, cache)
        install_environment(venv, requirements, cache)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("need", choices=sorted(TOOLS))
    need = parser.parse_args().need
    try:
        set_up(need, ROOT / ".venv", ROOT / ".cache", Machine.this_one())
    except (SetupError, OSError) as exc:
        print(f"set-up: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
