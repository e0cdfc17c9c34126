"""What was tried where, kept on the vantage: every attempt is written down before it is made, so that a run which is killed, or a
second one on the same day, cannot exceed the budget."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .values import Outcome

STATE = "/var/lib/mtaudit/credentials.jsonl"
DAY_S = 86_400.0
KEPT_DAYS = 90
AHEAD_S = 300.0  # so far a clock may have been put back
SIZE_LIMIT_BYTES = 64 * 1024 * 1024

BEGUN = "begun"  # an attempt that nobody wrote the end of: it counts, and says nothing
OPEN = "(no login)"  # asked whether anything is needed at all: no account is concerned
RANDOM = "(random)"  # a name and a password that nobody has

ANSWERS = (Outcome.ACCEPTED.value, Outcome.REFUSED.value)  # about a credential

_Key = tuple[float, str, str, str]  # of an attempt, whose end has the key of its beginning
_ADVICE = "look at it; remove it only when no login was tried from here for a day, for what it counts is forgotten with it"


class LedgerError(Exception):
    """The record cannot be relied on, so nothing may be tried. The text says what to do."""


@dataclass(frozen=True)
class Record:
    """One attempt. `when` in seconds since 1970 (UTC); `service` as `http 198.51.100.5:80 path=/login`; `credential` an id, no
    password."""

    when: float
    target: str
    service: str
    account: str
    credential: str
    outcome: str = BEGUN

    @property
    def is_login(self) -> bool:
        """Whether the service saw a login, which it may count."""
        return self.credential != OPEN

    @property
    def protocol(self) -> str:
        return self.service.partition(" ")[0]

    @property
    def listener(self) -> str:
        """Address and port of the service."""
        return self.service.partition(" ")[2].partition(" ")[0]

    @property
    def address(self) -> str:
        return self.listener.rpartition(":")[0].strip("[]")


class Ledger:
    """The records of the last days, oldest first. `note` and `close` may be called by several threads."""

    def __init__(self, file: int, records: Iterable[Record]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], dict[_Key, Record]] = {}
        for record in records:
            self._take(record)

    def of(self, target: str, addresses: Iterable[str] = ()) -> list[Record]:
        """A target's records, and those of the addresses, whatever the inventory called them."""
        with self._lock:
            found = [self._records.get(place, {}) for place in (("", target), *(("address", each) for each in addresses))]
            return sorted({key: record for listed in found for key, record in listed.items()}.values(), key=lambda r: r.when)

    def _take(self, record: Record) -> None:
        for place in (("", record.target), ("address", record.address)):
            self._records.setdefault(place, {})[_key(record)] = record

    def note(self, record: Record) -> None:
        """Write an attempt, or what came of it, so that it lasts. Raises LedgerError."""
        line = (json.dumps(asdict(record), separators=(",", ":")) + "\n").encode()
        with self._lock:
            self._take(record)
            try:
                if os.write(self._file, line) != len(line):
                    raise OSError(None, "the line was cut")
                os.fsync(self._file)
            except OSError as exc:
                raise LedgerError(f"an attempt could not be written down, so it is not made: {exc.strerror}") from exc

    def close(self, record: Record, outcome: str) -> None:
        """Write what came of an attempt."""
        self.note(replace(record, outcome=outcome))


def _key(record: Record) -> _Key:
    return (record.when, record.target, record.service, record.credential)


@contextmanager
def opened(path: str, now: float) -> Iterator[Ledger]:
    """The ledger in this file, ours alone until the end. Raises LedgerError when it cannot be relied on: it is never reset."""
    file = Path(path)
    with _held(file.parent):
        records = list(_recent(_read(file, now), now))
        _write(file, records)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            yield Ledger(handle, records)
        finally:
            os.close(handle)


def peek(path: str, now: float) -> list[Record]:
    """The records as they stand, for a look only: nothing is made, and nobody kept out. Raises LedgerError."""
    return _read(Path(path), now)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """The directory's lock: a file that is replaced could not hold one. It ends with the process, however that ends."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise LedgerError(f"{directory} cannot be used for the record of attempts: {exc.strerror}") from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        raise LedgerError(f"another run tries logins from here just now ({directory} is locked): wait for its end") from exc
    finally:
        os.close(handle)


def _read(file: Path, now: float) -> list[Record]:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise LedgerError(f"the record of attempts {file} cannot be read: {exc.strerror}; {_ADVICE}") from exc
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise LedgerError(f"the record of attempts {file} is no file of our own: {_ADVICE}")
        if about.st_mode & 0o077:
            raise LedgerError(f"others may read or change the record of attempts {file}: look at it, then chmod 600 {file}")
        if about.st_size > SIZE_LIMIT_BYTES:
            raise LedgerError(f"the record of attempts {file} is larger than {SIZE_LIMIT_BYTES // 1024 // 1024} MiB: {_ADVICE}")
        with open(handle, "rb", closefd=False) as source:
            return _parsed(file, source.read(), now)
    finally:
        os.close(handle)


def _parsed(file: Path, raw: bytes, now: float) -> list[Record]:
    found: dict[_Key, Record] = {}
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            record = Record(**json.loads(line))
            texts = (record.target, record.service, record.account, record.credential, record.outcome)
            if not isinstance(record.when, (int, float)) or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, TypeError, RecursionError) as exc:
            raise LedgerError(f"line {number} of the record of attempts {file} cannot be read: {_ADVICE}") from exc
        if not record.when <= now + AHEAD_S:
            raise LedgerError(f"line {number} of the record of attempts {file} is of a time to come: see to the clock; {_ADVICE}")
        found[_key(record)] = record
    return list(found.values())


def _recent(records: Iterable[Record], now: float) -> Iterator[Record]:
    """Without what is of no more use: of older days only the last attempt with each credential, and the last answer."""
    listed = sorted(records, key=lambda record: record.when)
    last = {(r.target, r.service, r.credential, r.outcome in ANSWERS): r for r in listed}
    last.update({(r.target, r.service, r.credential, False): r for r in listed})
    useful = {id(record) for record in last.values()}
    for record in listed:
        if now - record.when < (KEPT_DAYS if id(record) in useful else 1) * DAY_S:
            yield record


def _write(file: Path, records: Iterable[Record]) -> None:
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".credentials")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as target:
                target.writelines(json.dumps(asdict(record), separators=(",", ":")) + "\n" for record in records)
                target.flush()
                os.fsync(target.fileno())
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as exc:
        raise LedgerError(f"the record of attempts {file} cannot be written: {exc.strerror}") from exc
