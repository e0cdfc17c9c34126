"""Write the guard's program: the modules of this package that it needs, as one file that Python runs (zipapp's form)."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

from .. import config, kernel, redact, retention, runner, sqlite_file, text, zipped
from ..config import files
from . import account_lists, guard, guarded, journal, places, services, snapshot, spools, store

_PACKAGE = __package__.rpartition(".")[0]
# A test compares them with what the program really imports.
_PARTS = (sys.modules[_PACKAGE], sys.modules[__package__], config, files, kernel, redact, retention, runner, sqlite_file, text,
          zipped, account_lists, guard, guarded, journal, places, services, snapshot, spools, store)  # fmt: skip
_MAIN = "from mtaudit.transaction.guarded import main\nmain()\n"


def write_program(program: Path) -> None:
    """Raises OSError."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for part in _PARTS:
            path = part.__name__[len(_PACKAGE.rpartition(".")[0]) :].strip(".").replace(".", "/")
            source = part.__loader__.get_source(part.__name__)  # type: ignore[union-attr]
            archive.writestr(f"{path}/__init__.py" if hasattr(part, "__path__") else f"{path}.py", source or "")
        archive.writestr("__main__.py", _MAIN)
    store.write_whole(program, held.getvalue(), 0o600)
