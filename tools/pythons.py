"""Find the Pythons of this machine. Runs on any Python >= 3.9."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

OLDEST = (3, 11)  # ansible-core 2.19
NEWEST = (3, 14)  # ansible-core 2.21
_ASK = "import sys, importlib.util as u; print(*sys.version_info[:2], int(u.find_spec('ensurepip') is not None), sys.executable)"


@dataclass(frozen=True)
class Python:
    """An interpreter that starts. `has_venv`: it can make virtual environments (on Debian that is a package of its own)."""

    path: str
    version: tuple[int, int]
    has_venv: bool


def ask(path: str) -> Optional[Python]:
    """What an interpreter says about itself; None when it does not start (a version manager's stub, say)."""
    try:
        done = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, check=True, timeout=30, cwd="/")
        major, minor, has_venv, executable = done.stdout.strip().split(" ", 3)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Python(executable, (int(major), int(minor)), has_venv == "1")


def on_path() -> Iterable[str]:
    """Commands that may be a suitable interpreter, newest first."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        yield f"python3.{minor}"
    yield "python3"


def newest_python() -> Optional[Python]:
    """The newest suitable interpreter that the PATH offers; one that can make environments goes before one that cannot."""
    return best(ask(path) for name in on_path() if (path := shutil.which(name)))


def best(found: Iterable[Optional[Python]]) -> Optional[Python]:
    """The one to use, of those that start and are neither too old nor too new."""
    suitable = [python for python in found if python and OLDEST <= python.version <= NEWEST]
    return max(suitable, key=lambda python: (python.has_venv, python.version), default=None)


def find_python(minor: int) -> Optional[Python]:
    """Python 3.<minor>, also where a version manager (pyenv, uv) keeps it off the PATH."""
    home = os.path.expanduser("~")
    places = [
        os.path.join(os.environ.get("PYENV_ROOT", os.path.join(home, ".pyenv")), "versions", f"3.{minor}.*", "bin"),
        os.path.join(home, ".local/share/uv/python", f"cpython-3.{minor}.*", "bin"),
    ]
    candidates = [shutil.which(f"python3.{minor}") or ""]
    candidates += [os.path.join(found, f"python3.{minor}") for place in places for found in sorted(glob.glob(place))]
    for candidate in candidates:
        python = ask(candidate) if candidate else None
        if python and python.version == (3, minor):
            return python
    return None
