"""The pairs in a hash file of Berkeley DB, as Cyrus SASL keeps its passwords in (sasldb2): no program of Debian's base reads one.

The layout is that of db_page.h, version 9 of the hash format (Berkeley DB 5.3, which Debian 12 and 13 have).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_MAGIC = 0x061561
_HASH_PAGES = (2, 13)  # P_HASH_UNSORTED, P_HASH
_HERE = 1  # H_KEYDATA: the item itself, not a pointer to another page
_HEAD_BYTES = 26


class NotHash(Exception):
    """It is no file of this kind, or a damaged one; the text holds nothing of its content."""


def pairs(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys with their values, in no order. Long ones stand on pages of their own and are left out. Raises NotHash."""
    if len(data) < 512:
        raise NotHash("it is too short for a file of Berkeley DB")
    order = next((order for order in "<>" if struct.unpack_from(f"{order}I", data, 12)[0] == _MAGIC), "")
    size = struct.unpack_from(f"{order}I", data, 20)[0] if order else 0
    if not 512 <= size <= 65536 or size & size - 1:
        raise NotHash("it is no hash file of Berkeley DB")
    for start in range(size, len(data) - size + 1, size):
        yield from _on_page(data[start : start + size], order)


def _on_page(page: bytes, order: str) -> Iterator[tuple[bytes, bytes]]:
    """Items stand at the end of the page, the first one last; their places at its beginning."""
    count, kind = struct.unpack_from(f"{order}H", page, 20)[0], page[25]
    if kind not in _HASH_PAGES or not count:
        return
    if _HEAD_BYTES + 2 * count > len(page):
        raise NotHash("a page of it is damaged")
    starts = struct.unpack_from(f"{order}{count}H", page, _HEAD_BYTES)
    items = [page[start:end] for start, end in zip(starts, (len(page), *starts))]
    for key, value in zip(items[::2], items[1::2]):
        if key[:1] == value[:1] == bytes([_HERE]):
            yield key[1:], value[1:]
