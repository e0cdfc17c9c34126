"""Read from systemd-journald's own files, without a spawn: when a file begins and ends, and the last lines with a given field.

The format: https://systemd.io/JOURNAL_FILE_FORMAT/. A field's data object is found by its hash, as journalctl does it, and leads
to the lines that have it; nothing else of the file is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ..runner import ReadError, Runner
from ..text import decode

_SIGNATURE = b"LPKSHHRH"
_KEYED_HASH, _COMPACT = 1 << 2, 1 << 4  # incompatible flags
_KNOWN_FLAGS = 0b11111
_COMPRESSED = 0b111  # flags of a data object
_DATA, _ENTRY, _ENTRY_ARRAY = 1, 3, 6
_CHAIN_LIMIT = 64
_OBJECT_LIMIT_BYTES = 64 * 1024
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class JournalFile:
    """A file's header; times in seconds since the epoch. Lines are numbered through all files of one `sequence`."""

    path: str
    file_id: bytes
    sequence: bytes
    flags: int
    table_offset: int
    table_bytes: int
    entries: int
    first_number: int
    first_at: float
    last_at: float

    @property
    def item_bytes(self) -> int:
        return 4 if self.flags & _COMPACT else 8


@dataclass(frozen=True)
class Line:
    """A line of the journal: when it was written, and its fields that were asked for."""

    at: float
    message: str = ""


def header(runner: Runner, path: str) -> JournalFile:
    """Raises ReadError on what is no journal, or one of a form that is not known here."""
    data = runner.piece(path, 0, 208)
    if len(data) < 208 or data[:8] != _SIGNATURE:
        raise ReadError(f"Could not read {path}: not a file of systemd-journald")
    _, flags = struct.unpack_from("<II", data, 8)
    if flags & ~_KNOWN_FLAGS:
        raise ReadError(f"Could not read {path}: it is of a newer form")
    table_offset, table_bytes = struct.unpack_from("<QQ", data, 104)
    entries, _, first, _, first_us, last_us = struct.unpack_from("<QQQQQQ", data, 152)
    return JournalFile(
        path, data[24:40], data[72:88], flags, table_offset, table_bytes, entries, first, first_us / 1e6, last_us / 1e6
    )


def last_lines(runner: Runner, file: JournalFile, field: str, most: int = 1) -> list[Line]:
    """The newest lines with a field (`SYSLOG_FACILITY=2`), at most those of its last array, the newest first; with their MESSAGE
    where more than one is wanted. Raises ReadError."""
    if not file.flags & _KEYED_HASH:
        raise ReadError(f"Could not look into {file.path}: it is of a form before systemd 246")
    try:
        offsets = _entries(runner, file, field.encode())
        return [_line(runner, file, offset, most > 1) for offset in offsets[::-1][:most]]
    except struct.error as exc:
        raise ReadError(f"Could not look into {file.path}: {exc}") from exc


def _entries(runner: Runner, file: JournalFile, field: bytes) -> list[int]:
    """Offsets of the last lines that have a field."""
    wanted = _siphash(field, file.file_id)
    buckets = file.table_bytes // 16
    (offset,) = struct.unpack("<Q", runner.piece(file.path, file.table_offset + wanted % max(buckets, 1) * 16, 8))
    for _ in range(_CHAIN_LIMIT):
        if not offset:
            return []
        head = _object(runner, file, offset, _DATA)
        found, offset_next, _, entry, array, number = struct.unpack_from("<QQQQQQ", head, 16)
        if found == wanted and _payload(file, head) == field:
            return _of_arrays(runner, file, array, number - 1) or [entry]
        offset = offset_next
    raise ReadError(f"Could not look into {file.path}: a chain of its hash table does not end")


def _of_arrays(runner: Runner, file: JournalFile, offset: int, left: int) -> list[int]:
    """What the last array of a chain holds that is in use, `left` in all; with the one before it where it has just begun."""
    before: list[int] = []
    for _ in range(_CHAIN_LIMIT):
        if not offset or left <= 0:
            break
        size, following = struct.unpack("<QQ", runner.piece(file.path, offset + 8, 16))
        here = min((size - 24) // file.item_bytes, left)
        left -= here
        if left <= 0 or not following:
            keep = min(here, 32)
            start = offset + 24 + (here - keep) * file.item_bytes
            data = runner.piece(file.path, start, keep * file.item_bytes)
            before += struct.unpack(f"<{keep}{'I' if file.item_bytes == 4 else 'Q'}", data)
        offset = following
    return before


def _line(runner: Runner, file: JournalFile, offset: int, with_message: bool) -> Line:
    head = _object(runner, file, offset, _ENTRY)
    (at_us,) = struct.unpack_from("<Q", head, 24)
    message = ""
    for item in _items(file, head) if with_message else ():
        data = _object(runner, file, item, _DATA)
        payload = _payload(file, data)
        if payload.startswith(b"MESSAGE="):
            message = decode(payload[8:])
    return Line(at_us / 1e6, message)


def _items(file: JournalFile, entry: bytes) -> Iterator[int]:
    size, form = (4, "<I") if file.flags & _COMPACT else (16, "<Q")
    for position in range(64, len(entry) - size + 1, size):
        yield int(struct.unpack_from(form, entry, position)[0])


def _payload(file: JournalFile, data: bytes) -> bytes:
    return b"" if data[1] & _COMPRESSED else data[72 if file.flags & _COMPACT else 64 :]


def _object(runner: Runner, file: JournalFile, offset: int, kind: int) -> bytes:
    head = runner.piece(file.path, offset, 16)
    found, size = struct.unpack("<B7xQ", head)
    if found != kind:
        raise ReadError(f"Could not look into {file.path}: an object of type {found} stands where one of {kind} is expected")
    return runner.piece(file.path, offset, min(size, _OBJECT_LIMIT_BYTES))


def _siphash(data: bytes, key: bytes) -> int:
    """SipHash-2-4 (https://www.aumasson.jp/siphash/siphash.pdf)."""
    k0, k1 = struct.unpack("<QQ", key)
    v: list[int] = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    end = len(data) - len(data) % 8
    last = len(data) % 256 << 56 | int.from_bytes(data[end:], "little")
    for word in (*struct.unpack(f"<{end // 8}Q", data[:end]), last):
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[int], number: int) -> None:
    for _ in range(number):
        for a, b, turn, half in ((0, 1, 13, True), (2, 3, 16, False), (0, 3, 21, False), (2, 1, 17, True)):
            v[a] = (v[a] + v[b]) & _MASK
            v[b] = _turned(v[b], turn) ^ v[a]
            if half:
                v[a] = _turned(v[a], 32)


def _turned(word: int, by: int) -> int:
    return (word << by | word >> 64 - by) & _MASK
