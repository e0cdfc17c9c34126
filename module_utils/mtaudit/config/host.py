"""Change what the host around the mail programs says of their files: owner and mode. Nobody has to be told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ..runner import Runner
from .files import Candidate, ConfigError, NewFile


@dataclass(frozen=True)
class Wanted:
    """Permission bits, and the number of the owner where that changes, by path."""

    files: Mapping[str, tuple[int, Optional[int]]] = field(default_factory=dict)

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        return Wanted({**self.files, **later.files})


def candidate(runner: Runner, live: Any, wanted: Wanted, scratch: Path) -> Candidate:
    """The files with their contents as they are. Whether that is enough shows when they are in place. Raises ConfigError."""
    found = []
    for path, (mode, owner) in wanted.files.items():
        try:
            content = Path(path).read_bytes()
        except OSError as exc:
            raise ConfigError(f"Could not change owner and mode of {path}: {exc.strerror}") from exc
        found.append(NewFile(path, content, mode, owner, planned_on=hashlib.sha256(content).hexdigest()))
    return Candidate(tuple(found))
