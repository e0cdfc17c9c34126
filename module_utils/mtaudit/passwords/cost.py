"""What one guess at a stored password takes: its own parameters say so, and whoever wrote the table chose them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Callable, NamedTuple

from .schemes import Stored
from .unsupported import Unsupported

_MOST_MIB = 256
_MOST_LOG2 = 63
# Seconds for one step of each scheme on a core of the year 2020: an estimate, which the first guess puts right.
_STEP_S = {
    "SHA512-CRYPT": 4.2e-7, "SHA256-CRYPT": 5.5e-7, "BLF-CRYPT": 6e-5, "SUN-MD5": 1.4e-6, "SHA1-CRYPT": 1.1e-6,
    "BSDI-CRYPT": 1.6e-7, "PBKDF2": 3.6e-7, "SCRAM-SHA-1": 3.6e-7, "SCRAM-SHA-256": 4e-7, "YESCRYPT": 8e-7,
    "GOST-YESCRYPT": 8e-7, "SCRYPT": 1.2e-6, "ARGON2ID": 1e-6, "ARGON2I": 1e-6,
}  # fmt: skip
_FIXED_S = {"MD5-CRYPT": 1.4e-4, "APR1": 1.4e-4}
_DEFAULT_S = 5e-6
_ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Cost(NamedTuple):
    """Of one guess, on one processor."""

    seconds: float
    mib: float = 0.0


def of(stored: Stored) -> Cost:
    """Raises Unsupported where the parameters cannot be read, or ask for more memory than a guess may have."""
    steps = _STEPS.get(stored.scheme)
    if steps is None:
        return Cost(_FIXED_S.get(stored.scheme, _DEFAULT_S))
    try:
        count, kib = steps(stored.text)
    except (ValueError, IndexError) as exc:
        raise Unsupported(f"what a guess costs is not to be read from this password of scheme {stored.scheme}") from exc
    if kib > _MOST_MIB * 1024:
        raise Unsupported(f"it takes {kib // 1024} MiB a guess, more than the {_MOST_MIB} MiB that this host is to lend")
    return Cost(_DEFAULT_S + count * _STEP_S[stored.scheme], kib / 1024)


def _counted(pattern: str, default: int = 0) -> Callable[[str], tuple[int, int]]:
    """A number of rounds that stands in the setting; `default` where the kind has one and none stands there."""

    def steps(text: str) -> tuple[int, int]:
        found = re.match(pattern, text)
        if not found:
            raise ValueError("no number of rounds")
        return int(found[1]) if found[1] else default, 0

    return steps


def _bcrypt(text: str) -> tuple[int, int]:
    found = re.match(r"\$2[a-z]?\$([0-3]\d)\$", text)
    if not found:
        raise ValueError("no cost")
    return 1 << int(found[1]), 0


def _sun_md5(text: str) -> tuple[int, int]:
    found = re.match(r"\$md5(?:[,$]rounds=(\d{1,10}))?", text)
    return 4096 + int(found[1] or 0) if found else 0, 0


def _bsdi(text: str) -> tuple[int, int]:
    return _fixed(text[1:5]), 0


def _argon2(text: str) -> tuple[int, int]:
    found = re.match(r"\$argon2id?\$(?:v=\d+\$)?m=(\d{1,10}),t=(\d{1,10}),p=\d+\$", text)
    if not found:
        raise ValueError("no parameters")
    return int(found[1]) * int(found[2]), int(found[1])


def _scrypt(text: str) -> tuple[int, int]:
    """`$7$`, N as one character, r and p as five each (libxcrypt, alg-yescrypt-common.c)."""
    kib = (128 * _fixed(text[4:9]) << _ITOA64.index(text[3])) // 1024
    return 2 * kib * _fixed(text[9:14]), kib


def _yescrypt(text: str) -> tuple[int, int]:
    """`$y$` and numbers of no fixed length: flavour, N, r; then which follow of p (chunks), t (time) and others."""
    numbers = text.split("$")[2]
    _, at = _number(numbers, 0, 0)
    n_log2, at = _number(numbers, at, 1)
    blocks, at = _number(numbers, at, 1)
    if n_log2 > _MOST_LOG2:
        raise ValueError("N is no number of 64 bits")
    chunks, time = 1, 0
    if at < len(numbers):
        have, at = _number(numbers, at, 1)
        if have & 1:
            chunks, at = _number(numbers, at, 2)
        if have & 2:
            time, at = _number(numbers, at, 1)
    kib = (128 * blocks << n_log2) // 1024 + chunks * (blocks + 13)
    return kib * (2 + time), kib


def _number(text: str, at: int, least: int) -> tuple[int, int]:
    """decode64_uint32() of libxcrypt: the first character says how many follow. Returns the number, and where it ends."""
    digit, start, end, chars, bits, value = _ITOA64.index(text[at]), 0, 47, 1, 0, least
    while digit > end:
        value += (end + 1 - start) << bits
        start = end + 1
        end = start + (62 - end) // 2
        chars, bits = chars + 1, bits + 6
    value += (digit - start) << bits
    for more in text[at + 1 : at + chars]:
        bits -= 6
        value += _ITOA64.index(more) << bits
    return value, at + chars


def _fixed(text: str) -> int:
    """The lowest digit first."""
    return sum(_ITOA64.index(char) << 6 * place for place, char in enumerate(text))


_STEPS: Mapping[str, Callable[[str], tuple[int, int]]] = {
    "SHA512-CRYPT": _counted(r"\$6\$(?:rounds=(\d{1,10})\$)?", 5000), "YESCRYPT": _yescrypt, "GOST-YESCRYPT": _yescrypt,
    "SHA256-CRYPT": _counted(r"\$5\$(?:rounds=(\d{1,10})\$)?", 5000), "SCRYPT": _scrypt, "BLF-CRYPT": _bcrypt,
    "SHA1-CRYPT": _counted(r"\$sha1\$(\d{1,10})\$"), "SUN-MD5": _sun_md5, "BSDI-CRYPT": _bsdi,
    "PBKDF2": _counted(r"\$1\$[^$]*\$(\d{1,10})\$"), "SCRAM-SHA-1": _counted(r"(\d{1,10}),"),
    "SCRAM-SHA-256": _counted(r"(\d{1,10}),"), "ARGON2ID": _argon2, "ARGON2I": _argon2,
}  # fmt: skip
