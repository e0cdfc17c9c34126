"""The two contexts of HMAC-MD5 that CRAM-MD5 keeps instead of the password (RFC 2104, RFC 1321): hashlib does not show them."""

from __future__ import annotations

import hashlib
import math
import struct

_BLOCK = 64
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_SHIFTS = [shift for row in ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21)) for shift in row * 4]
_SINES = [int(abs(math.sin(n + 1)) * 2**32) for n in range(64)]
_WORDS = [(step * n + start) % 16 for step, start in ((1, 0), (5, 1), (3, 5), (7, 0)) for n in range(16)]


def contexts(password: bytes) -> bytes:
    """32 bytes: the outer context, and the inner one."""
    if len(password) > _BLOCK:
        password = hashlib.new("md5", password, usedforsecurity=False).digest()
    key = password.ljust(_BLOCK, b"\0")
    return b"".join(_compressed(bytes(byte ^ pad for byte in key)) for pad in (0x5C, 0x36))


def _compressed(block: bytes) -> bytes:
    """RFC 1321, 3.4: one block from the start."""
    a, b, c, d = _START
    words = struct.unpack("<16I", block)
    for n in range(64):
        if n < 16:
            mixed = b & c | ~b & d
        elif n < 32:
            mixed = d & b | ~d & c
        elif n < 48:
            mixed = b ^ c ^ d
        else:
            mixed = c ^ (b | ~d & 0xFFFFFFFF)
        turned = (a + mixed + _SINES[n] + words[_WORDS[n]]) & 0xFFFFFFFF
        a, b, c, d = d, (b + (turned << _SHIFTS[n] | turned >> 32 - _SHIFTS[n])) & 0xFFFFFFFF, b, c
    return struct.pack("<4I", *((was + now) & 0xFFFFFFFF for was, now in zip(_START, (a, b, c, d))))
