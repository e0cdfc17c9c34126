"""Which files are the project's."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that git tracks, or would if it were added; also in a checkout that belongs to somebody else, as in CI."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(path for name in sorted(set(done.stdout.split("\0")) - {""}) if (path := ROOT / name).is_file())
