"""Ask a server of MySQL, MariaDB or PostgreSQL through the client program that is there, in one session that only reads.

The client is told its login by a file that is in memory alone (memfd_create(2)): it is on no disk, in no argument and in no
environment, where others might read it.
"""

from __future__ import annotations

import html
import os
import re
import secrets
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from .redact import redact
from .sqlite_file import NoAnswer
from .text import decode, printable

MYSQL, PGSQL = "mysql", "pgsql"
_CONNECT_S = 10
_RECORD_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024
_STDERR_BYTES = 16 * 1024
# The rows of each statement, by its number.
Rows = Callable[[Sequence[str]], Iterator[tuple[int, dict[str, Any]]]]
_Records = Iterator[tuple[bytes, bool]]


@dataclass(frozen=True)
class Login:
    """`settings` are those of the client's own file, by its names: host, port, user, password and so on."""

    driver: str
    database: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        place = self.settings.get("host") or self.settings.get("socket") or "this host"
        return printable(f"{self.database or 'a data base'} on {place} ({self.driver})")


class _MySql:
    """XML tells NULL from a text. `--quick` lets the client keep no more than a row."""

    programs = ("mariadb", "mysql")
    ends, last = re.compile(rb"</(?:row|resultset)>"), b"</resultset>"
    _fields = re.compile(r'<field name="([^"]*)"(?:( xsi:nil="true" />)|>(.*?)</field>)', re.DOTALL)
    # Errors whose text holds names alone: of a login, a host, a table, a column.
    _plain = ("1044", "1045", "1049", "1054", "1142", "1143", "1146", "1698", "2002", "2003", "2005", "2026")
    _late = ("1969", "3024")

    def words(self, handle: int) -> list[str]:
        return [f"--defaults-file=/dev/fd/{handle}", "--batch", "--quick", "--xml", "--unbuffered"]

    def environment(self, _handle: int) -> dict[str, str]:
        return {}

    def file(self, login: Login) -> str:
        settings = {"default-character-set": "utf8mb4", "connect-timeout": str(_CONNECT_S),
                    "loose-ssl-verify-server-cert": "0", **login.settings}  # fmt: skip
        told = [f'{name} = "{_escaped(value)}"' for name, value in settings.items()]
        return "\n".join(["[client]", *told, "[mysql]", f'database = "{_escaped(login.database)}"', ""])

    def start(self, timeout_s: float) -> str:
        # Each of the two servers takes for a comment what is meant for the other.
        return ("SET SESSION TRANSACTION READ ONLY;\n"
                f"/*M!100101 SET SESSION max_statement_time = {timeout_s:.0f} */;\n"
                f"/*!50708 SET SESSION max_execution_time = {timeout_s * 1000:.0f} */;\n"
                "START TRANSACTION READ ONLY;\n")  # fmt: skip

    def asked(self, statement: str) -> str:
        return f"{statement}\n;\n"

    def rows(self, records: _Records) -> Iterator[dict[str, Any]]:
        for record, last in records:
            fields = self._fields.findall(decode(record))
            if fields:
                yield {html.unescape(name): None if nil else html.unescape(value) for name, nil, value in fields}
            if last:
                return

    def why(self, told: str) -> str:
        found = re.search(r"(?m)^ERROR (\d+)[^:\n]*: ([^\n]*?)(?: \(using password: \w+\))?$", told)
        if not found:
            return "its client ended without a word of why"
        if found[1] in self._late:
            return "a query took too long"
        return found[2] if found[1] in self._plain else f"the server refuses a query (error {found[1]})"


def _escaped(text: str) -> str:
    """Of a value of an option file (MySQL's manual, "Using Option Files")."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


class _PgSql:
    """Values and rows end with characters that are in no text, an answer with a word that nobody knows."""

    programs = ("psql",)
    _words = {
        "28P01": "the server refuses the login", "42P01": "there is no such table", "42703": "there is no such column",
        "42501": "the login may not read a table", "57014": "a query took too long", "25006": "its query would write",
    }  # fmt: skip

    def __init__(self) -> None:
        word = secrets.token_hex(12)
        self._end, self._null = f"end-{word}", f"null-{word}"
        self.last = f"{self._end}\n".encode()
        self.ends = re.compile(b"\x1e|\n?" + self.last)  # psql 17 writes nothing of an answer without rows

    def words(self, _handle: int) -> list[str]:
        return ["-X", "-q", "-w", "-A", "-F", "\x1f", "-R", "\x1e", "-P", "footer=off", "-P", f"null={self._null}",
                "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "-v", "FETCH_COUNT=1000", "service=mtaudit"]  # fmt: skip

    def environment(self, handle: int) -> dict[str, str]:
        return {"PGSERVICEFILE": f"/dev/fd/{handle}", "PGPASSFILE": os.devnull, "PGCLIENTENCODING": "UTF8"}

    def file(self, login: Login) -> str:
        settings = {"connect_timeout": str(_CONNECT_S), **login.settings, "dbname": login.database}
        return "\n".join(["[mtaudit]", *(f"{name}={value}" for name, value in settings.items() if value), ""])

    def start(self, timeout_s: float) -> str:
        return ("BEGIN TRANSACTION READ ONLY;\n"
                f"SET LOCAL statement_timeout = {timeout_s * 1000:.0f};\n"
                "SET LOCAL standard_conforming_strings = on;\n")  # fmt: skip

    def asked(self, statement: str) -> str:
        return f"{statement}\n;\n\\echo {self._end}\n"

    def rows(self, records: _Records) -> Iterator[dict[str, Any]]:
        names: list[str] = []
        for record, last in records:
            values = decode(record).split("\x1f")
            if not names:
                names = values
            elif len(values) != len(names):
                raise NoAnswer("a text in it holds characters that are in none")
            else:
                yield {name: None if value == self._null else value for name, value in zip(names, values)}
            if last:
                return

    def why(self, told: str) -> str:
        state = re.search(r"(?m)ERROR: +(\w{5})$", told)
        if state:
            return self._words.get(state[1], f"the server refuses a query (SQLSTATE {state[1]})")
        return next(iter(re.findall(r"(?m)^psql: error: ([^\n]*)", told)), "its client ended without a word of why")


_Client = Union[_MySql, _PgSql]


@contextmanager
def session(which: Callable[[str], Optional[str]], path: str, login: Login, timeout_s: float) -> Iterator[Rows]:
    """One spawn. See Runner.session. Raises NoAnswer."""
    client: _Client = _MySql() if login.driver == MYSQL else _PgSql()
    program = next(filter(None, map(which, client.programs)), None)
    if program is None:
        raise NoAnswer(f"its client program is not installed ({' or '.join(client.programs)})")
    handle = os.memfd_create("mtaudit", 0)
    try:
        os.fchmod(handle, 0o600)
        with open(handle, "w", encoding="utf-8", closefd=False) as file:
            file.write(client.file(login))
        environment = {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", **client.environment(handle)}
        process = subprocess.Popen(
            [program, *client.words(handle)], cwd="/", env=environment, pass_fds=[handle],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as exc:
        raise NoAnswer(f"could not run {program}: {exc.strerror}") from exc
    finally:
        os.close(handle)
    try:
        yield _Dialogue(client, process, timeout_s).rows
    finally:
        process.kill()
        process.communicate()


class _Dialogue:
    """What is asked goes into the client while its answers come out of it: neither waits for the other."""

    def __init__(self, client: _Client, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self._client, self._process, self._timeout_s = client, process, timeout_s
        self._until = time.monotonic() + timeout_s
        self._asked, self._answered, self._told = client.start(timeout_s).encode(), b"", b""
        self._records = self._read()
        self._pipes = selectors.DefaultSelector()
        assert process.stdin and process.stdout and process.stderr
        for pipe, event in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ),
                            (process.stderr, selectors.EVENT_READ)):  # fmt: skip
            os.set_blocking(pipe.fileno(), False)
            self._pipes.register(pipe, event)

    def rows(self, statements: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Of each statement, by its number. To be read to the end before anything else is asked."""
        self._asked += "".join(map(self._client.asked, statements)).encode()
        for number in range(len(statements)):
            for row in self._client.rows(self._records):
                yield number, row

    def _read(self) -> _Records:
        while True:
            start = 0
            for found in self._client.ends.finditer(self._answered):
                yield self._answered[start : found.start()], found[0].endswith(self._client.last)
                start = found.end()
            self._answered = self._answered[start:]
            if len(self._answered) > _RECORD_BYTES:
                raise NoAnswer(f"a row of it has more than {_RECORD_BYTES} bytes")
            self._move()

    def _move(self) -> None:
        """Some bytes in or out. Raises NoAnswer when the time is over, or the client has ended."""
        assert self._process.stdin and self._process.stdout
        if not self._asked and self._process.stdin in self._pipes.get_map():
            self._pipes.unregister(self._process.stdin)
        elif self._asked and self._process.stdin not in self._pipes.get_map():
            self._pipes.register(self._process.stdin, selectors.EVENT_WRITE)
        left_s = self._until - time.monotonic()
        ready = self._pipes.select(left_s) if left_s > 0 else []
        if not ready:
            raise NoAnswer(f"it did not answer within {self._timeout_s:g} s")
        for key, _ in ready:
            if key.fileobj is self._process.stdin:
                self._write()
                continue
            piece = os.read(key.fd, _PIECE_BYTES)
            if key.fileobj is self._process.stdout:
                self._answered += piece
                if not piece:
                    self._ended()
            elif piece:
                self._told = (self._told + piece)[-_STDERR_BYTES:]
            else:
                self._pipes.unregister(key.fileobj)

    def _write(self) -> None:
        assert self._process.stdin
        try:
            self._asked = self._asked[os.write(self._process.stdin.fileno(), self._asked[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._asked = b""  # why is read from the other pipes

    def _ended(self) -> None:
        try:
            self._told += self._process.communicate(timeout=_CONNECT_S)[1] or b""
        except (subprocess.TimeoutExpired, ValueError, OSError):
            pass
        raise NoAnswer(printable(redact(self._client.why(decode(self._told)))))
