"""A host as it would be with changed files: what a program's reader is given to read a candidate."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..kernel import Clock
from ..runner import DEFAULT_TIMEOUT_S, Completed, FileStat, ReadError, Runner, Space

if TYPE_CHECKING:
    from ..sql_client import Login, Rows


class Overlay:
    """A Runner over another: `texts` are read in place of the files at these paths, and `command` says what is run instead of a
    command."""

    def __init__(self, runner: Runner, texts: Mapping[str, str], command: Callable[[Sequence[str]], Sequence[str]]) -> None:
        self._runner, self._texts, self._command = runner, texts, command
        self.spawns = 0

    def run(
        self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        self.spawns += 1
        return self._runner.run(self._command(argv), stdin, timeout_s, env)

    def read(self, path: str) -> str:
        led = path if path in self._texts else self._led_to(path)
        return self._texts[led] if led in self._texts else self._runner.read(path)

    def _led_to(self, path: str) -> str:
        try:
            return self._runner.resolve(path)
        except ReadError:
            return path

    def stat(self, path: str) -> Optional[FileStat]:
        """One that is new is root's, and everybody's to read."""
        found = self._runner.stat(path)
        if found is None and path in self._texts:
            return FileStat(0, 0, 0o644, len(self._texts[path].encode()), int(self.now() * 1e9), "file")
        return found

    def glob(self, pattern: str) -> list[str]:
        more = [path for path in self._texts if _matches(path, pattern)]
        return sorted({*self._runner.glob(pattern), *more})

    def which(self, name: str) -> Optional[str]:
        return self._runner.which(name)

    def resolve(self, path: str) -> str:
        return path if path in self._texts else self._runner.resolve(path)

    def tail(self, path: str, limit_bytes: int) -> str:
        return self._runner.tail(path, limit_bytes)

    def now(self) -> float:
        return self._runner.now()

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        led = path if path in self._texts else self._led_to(path)
        if led in self._texts:
            return self._texts[led].encode()[offset:offset + size_bytes]
        return self._runner.piece(path, offset, size_bytes)

    def query(self, path: str, statements: Sequence[str], timeout_s: float = DEFAULT_TIMEOUT_S) -> list[list[dict[str, Any]]]:
        return self._runner.query(path, statements, timeout_s)

    def session(self, login: Login, timeout_s: float) -> AbstractContextManager[Rows]:
        return self._runner.session(login, timeout_s)

    def space(self, path: str) -> Space:
        return self._runner.space(path)

    def clock(self) -> Clock:
        return self._runner.clock()


def _matches(path: str, pattern: str) -> bool:
    """glob(7): `*` stays within a directory."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatch.fnmatchcase(part, want) for part, want in zip(parts, wanted))
