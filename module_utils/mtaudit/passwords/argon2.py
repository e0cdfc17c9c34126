"""Argon2 by a library of the host: libargon2, or the libsodium that Dovecot uses."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable

from .unsupported import Unsupported

_MISMATCH = -35  # ARGON2_VERIFY_MISMATCH (argon2.h)
_WHOLE = re.compile(r"\$argon2id?\$(?:v=\d+\$)?m=\d{1,8},t=\d{1,4},p=\d{1,3}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")


def check(encoded: str) -> Callable[[bytes], bool]:
    """Raises Unsupported where neither library is there, and for what is no whole password of the kind."""
    if not _WHOLE.fullmatch(encoded):
        raise Unsupported("an Argon2 password has its parameters, a salt and a digest")
    kept = encoded.encode()
    verify = _library()
    return lambda guess: verify(kept, guess)


@functools.cache
def _library() -> Callable[[bytes, bytes], bool]:
    try:
        library = ctypes.CDLL("libargon2.so.1")
        of_kind = {b"$argon2id$": library.argon2id_verify, b"$argon2i$": library.argon2i_verify}
        for function in of_kind.values():
            function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]

        def matches(kept: bytes, guess: bytes) -> bool:
            answer = of_kind[kept[: kept.index(b"$", 1) + 1]](kept, guess, len(guess))
            if answer not in (0, _MISMATCH):
                raise Unsupported(f"libargon2 could not compute it (error {answer})")
            return bool(answer == 0)

        return matches
    except (OSError, AttributeError):
        pass
    for name in ("libsodium.so.23", "libsodium.so.26"):
        try:
            verify = ctypes.CDLL(name).crypto_pwhash_str_verify
        except (OSError, AttributeError):
            continue
        verify.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulonglong]
        return lambda kept, guess: verify(kept, guess, len(guess)) == 0
    raise Unsupported("Argon2 needs libargon2 or libsodium, and this host has neither")
