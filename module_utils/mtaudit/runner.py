"""Everything a reader may do on a host: run a tool, read a file, look at a directory.

Readers take a `Runner`, so that the same code runs against a live host (`LocalRunner`), is recorded from one (`Recorder`) and
is replayed in tests (`Replay`). Every spawn is counted: on a busy mail host each one costs.
"""

from __future__ import annotations

import base64
import glob
import os
import shutil
import stat as stat_module
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Optional, Protocol

from .kernel import Clock, acl, clock
from .sqlite_file import NoAnswer, rows
from .text import decode, printable

if TYPE_CHECKING:
    from .sql_client import Login, Rows

DEFAULT_TIMEOUT_S = 20.0
FILE_LIMIT_BYTES = 8 * 1024 * 1024


class ReadError(Exception):
    """Something could not be read. The text says what was being done, with what, and why it failed."""


class ToolMissing(ReadError):
    """The program is not installed."""


class ToolTimeout(ReadError):
    """The program did not end within its time limit."""


@dataclass(frozen=True)
class Completed:
    """A finished program: exit status and its output as text."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class FileStat:
    """What a control needs to know of a file. `mode` holds the permission bits only; `mtime_ns` (of the content) and `ctime_ns`
    (of owner and mode, too) are nanoseconds since the epoch. `acl` is what an access control list adds: ("user" or "group", id,
    rwx)."""

    uid: int
    gid: int
    mode: int
    size_bytes: int
    mtime_ns: int
    kind: str  # file, directory, socket, fifo, other
    ctime_ns: int = 0
    acl: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Space:
    """A file system's size, and what it has left for those who are not root."""

    size_bytes: int
    free_bytes: int


class Runner(Protocol):
    """What readers are given."""

    spawns: int

    def run(
        self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        """Run a program to its end. Raises ToolMissing, ToolTimeout or ReadError; a non-zero exit status is not an error."""

    def read(self, path: str) -> str:
        """The text of a file. Raises ReadError."""

    def stat(self, path: str) -> Optional[FileStat]:
        """None when there is nothing at the path. Raises ReadError when that cannot be seen."""

    def glob(self, pattern: str) -> list[str]:
        """The paths that match, sorted."""

    def which(self, name: str) -> Optional[str]:
        """The path of a program, looked for in PATH and the system's sbin directories."""

    def resolve(self, path: str) -> str:
        """The path with every symbolic link followed; of /proc/PID/exe the program's file. Raises ReadError."""

    def tail(self, path: str, limit_bytes: int) -> str:
        """The end of a file. Raises ReadError."""

    def now(self) -> float:
        """The clock: seconds since the epoch."""

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        """A part of a file, shorter where the file ends. Raises ReadError."""

    def query(self, path: str, statements: Sequence[str], timeout_s: float = DEFAULT_TIMEOUT_S) -> list[list[dict[str, Any]]]:
        """The rows of each statement, asked of a file of SQLite that is only read; fewer answers where the time was over. Raises
        ReadError, whose text holds nothing of the statements."""

    def session(self, login: Login, timeout_s: float) -> AbstractContextManager[Rows]:
        """What asks a server of a data base, and may change nothing there. One spawn. Both raise ReadError, whose text holds
        nothing of the statements; what came before it is right."""

    def space(self, path: str) -> Space:
        """Of the file system that holds a path. Raises ReadError."""

    def clock(self) -> Clock:
        """What the kernel says of its clock. Raises ReadError."""


class LocalRunner:
    """Runs on this host."""

    def __init__(self) -> None:
        self.spawns = 0
        self._path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])

    def run(
        self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        program = self.which(argv[0])
        if program is None:
            raise ToolMissing(f"{argv[0]} is not installed")
        self.spawns += 1
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                input=stdin.encode(),
                capture_output=True,
                timeout=timeout_s,
                check=False,
                cwd="/",
                env={"PATH": self._path, "LC_ALL": "C.UTF-8", **(env or {})},
            )
        except subprocess.TimeoutExpired:
            raise ToolTimeout(f"'{' '.join(argv)}' did not end within {timeout_s:g} s") from None
        except (OSError, ValueError) as exc:  # ValueError: a NUL among the words
            raise ReadError(f"Could not run '{printable(' '.join(argv))}': {getattr(exc, 'strerror', exc)}") from exc
        return Completed(done.returncode, decode(done.stdout), decode(done.stderr))

    def read(self, path: str) -> str:
        try:
            # Opening a fifo would wait for a writer, and a device may never end.
            if not stat_module.S_ISREG(os.stat(path).st_mode) and path != os.devnull:
                raise ReadError(f"Could not read {path}: not a regular file")
            with open(path, "rb") as file:
                data = file.read(FILE_LIMIT_BYTES + 1)
        except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
            raise ReadError(f"Could not read {printable(path)}: {getattr(exc, 'strerror', exc)}") from exc
        if len(data) > FILE_LIMIT_BYTES:
            raise ReadError(f"Could not read {path}: larger than {FILE_LIMIT_BYTES // 1024 // 1024} MiB")
        return decode(data)

    def stat(self, path: str) -> Optional[FileStat]:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
            raise ReadError(f"Could not look at {printable(path)}: {getattr(exc, 'strerror', exc)}") from exc
        kinds = {stat_module.S_IFREG: "file", stat_module.S_IFDIR: "directory", stat_module.S_IFSOCK: "socket",
                 stat_module.S_IFIFO: "fifo"}
        return FileStat(found.st_uid, found.st_gid, stat_module.S_IMODE(found.st_mode), found.st_size, found.st_mtime_ns,
                        kinds.get(stat_module.S_IFMT(found.st_mode), "other"), found.st_ctime_ns, acl(path))

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    def which(self, name: str) -> Optional[str]:
        return shutil.which(name, path=self._path)

    def resolve(self, path: str) -> str:
        try:
            found = os.path.realpath(path)
            # Up to Python 3.12 and after it a link that may not be read is told of differently.
            if os.path.islink(found):
                os.readlink(found)
        except (OSError, ValueError) as exc:
            raise ReadError(f"Could not follow {printable(path)}: {getattr(exc, 'strerror', exc)}") from exc
        return found

    def tail(self, path: str, limit_bytes: int) -> str:
        try:
            if not stat_module.S_ISREG(os.stat(path).st_mode):
                raise ReadError(f"Could not read {printable(path)}: not a regular file")
            with open(path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - limit_bytes))
                return decode(file.read(limit_bytes))
        except (OSError, ValueError) as exc:
            raise ReadError(f"Could not read {printable(path)}: {getattr(exc, 'strerror', exc)}") from exc

    def now(self) -> float:
        return time.time()

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        try:
            if not stat_module.S_ISREG(os.stat(path).st_mode):
                raise ReadError(f"Could not read {printable(path)}: not a regular file")
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size_bytes)
        except (OSError, ValueError) as exc:
            raise ReadError(f"Could not read {printable(path)}: {getattr(exc, 'strerror', exc)}") from exc

    def query(self, path: str, statements: Sequence[str], timeout_s: float = DEFAULT_TIMEOUT_S) -> list[list[dict[str, Any]]]:
        try:
            return rows(path, self.piece(path, 0, 20), statements, timeout_s)
        except NoAnswer as exc:
            raise ReadError(f"Could not ask {printable(path)}: {exc}") from None

    @contextmanager
    def session(self, login: Login, timeout_s: float) -> Iterator[Rows]:
        from . import sql_client

        @contextmanager
        def told() -> Iterator[None]:
            try:
                yield
            except NoAnswer as exc:
                raise ReadError(f"Could not ask {login.title}: {exc}") from None

        def asked(statements: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
            with told():
                yield from ask(statements)

        with told(), sql_client.session(self.which, self._path, login, timeout_s) as ask:
            self.spawns += 1
            yield asked

    def space(self, path: str) -> Space:
        try:
            found = os.statvfs(path)
        except OSError as exc:
            raise ReadError(f"Could not see how much space {printable(path)} has: {exc.strerror}") from exc
        return Space(found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail)

    def clock(self) -> Clock:
        try:
            return clock()
        except OSError as exc:
            raise ReadError(f"Could not ask for the clock's state: {exc.strerror}") from exc


class Recorder:
    """Passes everything on to another runner and keeps what was asked and answered, for `Replay`."""

    def __init__(self, inner: Runner) -> None:
        self._inner = inner
        self.recording: dict[str, Any] = {"run": [], "read": {}, "stat": {}, "glob": {}, "which": {}, "resolve": {}, "tail": {},
                                          "piece": {}, "query": {}, "space": {}}

    @property
    def spawns(self) -> int:
        return self._inner.spawns

    def run(
        self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        entry: dict[str, Any] = {"argv": list(argv), "stdin": stdin, "env": dict(env or {})}
        self.recording["run"].append(entry)
        try:
            done = self._inner.run(argv, stdin, timeout_s, env)
        except ReadError as exc:
            entry["error"] = [type(exc).__name__, str(exc)]
            raise
        entry.update(asdict(done))
        return done

    def read(self, path: str) -> str:
        try:
            text = self._inner.read(path)
        except ReadError as exc:
            self.recording["read"][path] = {"error": str(exc)}
            raise
        self.recording["read"][path] = {"text": text}
        return text

    def stat(self, path: str) -> Optional[FileStat]:
        try:
            found = self._inner.stat(path)
        except ReadError as exc:
            self.recording["stat"][path] = {"error": str(exc)}
            raise
        self.recording["stat"][path] = asdict(found) if found else None
        return found

    def glob(self, pattern: str) -> list[str]:
        self.recording["glob"][pattern] = self._inner.glob(pattern)
        return list(self.recording["glob"][pattern])

    def which(self, name: str) -> Optional[str]:
        self.recording["which"][name] = self._inner.which(name)
        found: Optional[str] = self.recording["which"][name]
        return found

    def resolve(self, path: str) -> str:
        try:
            found = self._inner.resolve(path)
        except ReadError as exc:
            self.recording["resolve"][path] = {"error": str(exc)}
            raise
        self.recording["resolve"][path] = {"path": found}
        return found

    def tail(self, path: str, limit_bytes: int) -> str:
        try:
            text = self._inner.tail(path, limit_bytes)
        except ReadError as exc:
            self.recording["tail"][path] = {"error": str(exc)}
            raise
        self.recording["tail"][path] = {"text": text}
        return text

    def now(self) -> float:
        found: float = self.recording.setdefault("now", self._inner.now())
        return found

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        entry = self.recording["piece"].setdefault(path, {})
        try:
            data = self._inner.piece(path, offset, size_bytes)
        except ReadError as exc:
            entry["error"] = str(exc)
            raise
        entry[f"{offset}+{size_bytes}"] = base64.b64encode(data).decode()
        return data

    def query(self, path: str, statements: Sequence[str], timeout_s: float = DEFAULT_TIMEOUT_S) -> list[list[dict[str, Any]]]:
        entry = self.recording["query"].setdefault(path, {})
        try:
            found = self._inner.query(path, statements, timeout_s)
        except ReadError as exc:
            entry["error"] = str(exc)
            raise
        entry.update(zip(statements, found))
        return found

    @contextmanager
    def session(self, login: Login, timeout_s: float) -> Iterator[Rows]:
        entry = self.recording["query"].setdefault(login.title, {})
        try:
            with self._inner.session(login, timeout_s) as rows:

                def kept(statements: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
                    entry.update((statement, []) for statement in statements)
                    try:
                        for number, row in rows(statements):
                            entry[statements[number]].append(row)
                            yield number, row
                    except ReadError as exc:  # a reader may go on without the rest
                        entry["error"] = str(exc)
                        raise

                yield kept
        except ReadError as exc:
            entry["error"] = str(exc)
            raise

    def space(self, path: str) -> Space:
        try:
            found = self._inner.space(path)
        except ReadError as exc:
            self.recording["space"][path] = {"error": str(exc)}
            raise
        self.recording["space"][path] = asdict(found)
        return found

    def clock(self) -> Clock:
        try:
            found = self._inner.clock()
        except ReadError as exc:
            self.recording["clock"] = {"error": str(exc)}
            raise
        self.recording["clock"] = asdict(found)
        return found


class Replay:
    """Answers from a recording. What was never recorded raises LookupError: a test must not answer by accident."""

    _errors = {"ToolMissing": ToolMissing, "ToolTimeout": ToolTimeout, "ReadError": ReadError}

    def __init__(self, recording: Mapping[str, Any]) -> None:
        self._recording = recording
        self.spawns = 0

    def run(
        self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        for entry in self._recording["run"]:
            if entry["argv"] == list(argv) and entry["stdin"] == stdin and entry["env"] == dict(env or {}):
                if "error" in entry:
                    name, text = entry["error"]
                    raise self._errors[name](text)
                self.spawns += 1
                return Completed(entry["returncode"], entry["stdout"], entry["stderr"])
        if argv[-1] in self._recording.get("asked_later", ()):
            raise ReadError("it was not asked when this was recorded")
        raise LookupError(f"not in the recording: {list(argv)} with stdin {stdin!r}")

    def read(self, path: str) -> str:
        entry = self._recording["read"][path]
        if "error" in entry:
            raise ReadError(entry["error"])
        return str(entry["text"])

    def stat(self, path: str) -> Optional[FileStat]:
        entry = self._recording["stat"][path]
        if entry and "error" in entry:
            raise ReadError(entry["error"])
        return FileStat(**{**entry, "acl": tuple(tuple(e) for e in entry.get("acl", ()))}) if entry else None

    def glob(self, pattern: str) -> list[str]:
        return list(self._recording["glob"][pattern])

    def which(self, name: str) -> Optional[str]:
        found: Optional[str] = self._recording["which"][name]
        return found

    def resolve(self, path: str) -> str:
        entry = self._recording["resolve"][path]
        if "error" in entry:
            raise ReadError(entry["error"])
        return str(entry["path"])

    def tail(self, path: str, limit_bytes: int) -> str:
        entry = self._recording["tail"][path]
        if "error" in entry:
            raise ReadError(entry["error"])
        return str(entry["text"])

    def now(self) -> float:
        return float(self._recording["now"])

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        entry = self._recording["piece"][path]
        if "error" in entry:
            raise ReadError(entry["error"])
        return base64.b64decode(entry[f"{offset}+{size_bytes}"])

    def query(self, path: str, statements: Sequence[str], timeout_s: float = DEFAULT_TIMEOUT_S) -> list[list[dict[str, Any]]]:
        entry = self._recording["query"][path]
        if "error" in entry:
            raise ReadError(entry["error"])
        return [entry[statement] for statement in statements if statement in entry]

    @contextmanager
    def session(self, login: Login, timeout_s: float) -> Iterator[Rows]:
        entry = self._recording["query"][login.title]
        if list(entry) == ["error"]:
            raise ReadError(entry["error"])
        self.spawns += 1

        def rows(statements: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
            yield from ((number, row) for number, each in enumerate(statements) for row in entry.get(each, ()))
            if "error" in entry:
                raise ReadError(entry["error"])

        yield rows

    def space(self, path: str) -> Space:
        entry = self._recording["space"][path]
        if "error" in entry:
            raise ReadError(entry["error"])
        return Space(**entry)

    def clock(self) -> Clock:
        entry = self._recording["clock"]
        if "error" in entry:
            raise ReadError(entry["error"])
        return Clock(**entry)
