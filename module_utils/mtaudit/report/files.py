"""Write report files: atomically, for the owner's eyes, and only when something changed."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def differs(path: Path, chunks: Iterable[str]) -> bool:
    """Whether `write` would change something. Raises OSError."""
    if path.is_symlink() or not path.is_file():
        return True
    with open(path, "rb") as file:
        same = all(file.read(len(data)) == data for data in (chunk.encode("utf-8", "replace") for chunk in chunks))
        return not same or bool(file.read(1))


def write(path: Path, chunks: Iterable[str]) -> bool:
    """Write text in pieces, so that a report of a thousand hosts is never held in memory as a whole.

    Returns whether the file is new or differs. The temporary file is made beside the target with O_EXCL (mkstemp) and mode 0600:
    reports name open relays, and the directory may be world-writable. Raises OSError.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(chunks)
        if path.is_file() and not path.is_symlink() and filecmp.cmp(temporary, path, shallow=False):
            os.unlink(temporary)
            return False
        os.replace(temporary, path)
        return True
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
