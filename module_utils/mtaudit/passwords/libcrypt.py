"""crypt(3) of the host's own library: whatever it lets people log in with, it can compute.

Python's crypt module is gone since 3.13. ctypes lets go of the interpreter's lock for the call, so threads use every processor.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable

from .unsupported import Unsupported

_DATA_BYTES = 32768  # sizeof(struct crypt_data), crypt(3)
_INVALID, _DISABLED = 1, 2  # crypt_checksalt(3)
_work = threading.local()


def check(setting: str) -> Callable[[bytes], bool]:
    """Raises Unsupported where the library is missing or does not know the setting; so does the function, for what is cut off."""
    kept = setting.encode()
    if b"\0" in kept or _library().crypt_checksalt(kept) in (_INVALID, _DISABLED):
        raise Unsupported("the host's libcrypt does not know this kind of password, or it is malformed")
    crypt_rn = _library().crypt_rn

    def matches(guess: bytes) -> bool:
        if not hasattr(_work, "data"):
            _work.data = ctypes.create_string_buffer(_DATA_BYTES)
        found = crypt_rn(guess, kept, _work.data, _DATA_BYTES)
        if found is None or len(found) != len(kept):
            raise Unsupported("it is no whole password of its kind")
        return bool(found == kept)

    return matches


@functools.cache
def _library() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            library = ctypes.CDLL(name)
            library.crypt_rn.restype, library.crypt_checksalt.argtypes = ctypes.c_char_p, [ctypes.c_char_p]
        except (OSError, AttributeError):
            continue
        library.crypt_rn.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
        return library
    raise Unsupported("this host has no libxcrypt, which computes what people log in with")
