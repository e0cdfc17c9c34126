"""SASL mechanisms: which send the password itself, and which are weak. By the names of the IANA registry, in upper case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

PLAIN = ("PLAIN", "LOGIN")
# Why each is no good: the registry calls the first two obsolete (RFC 6331; draft-ietf-sasl-crammd5-to-historic).
_WEAK = {
    "CRAM-MD5": "needs the password itself, or as much, in the server's store",
    "DIGEST-MD5": "needs the password itself, or as much, in the server's store (RFC 6331)",
    "APOP": "needs the password itself in the server's store, and MD5",
    "NTLM": "is a hash that is as good as the password, with MD4",
    "LANMAN": "is a hash that is broken in minutes",
    "SKEY": "is a one-time password with MD4 (obsolete)",
    "OTP": "is a list of one-time passwords, whose server must be kept secret",
    "RPA": "is a protocol of CompuServe's, with MD5",
    "KERBEROS_V4": "is broken (RFC 6649)",
    "PASSDSS-3DES-1": "is a draft that came to nothing, with 3DES",
    "SRP": "is a draft that came to nothing",
    "ANONYMOUS": "lets everybody in without a password (RFC 4505)",
}


def upper(names: Iterable[str]) -> list[str]:
    """The names as the registry has them, each once."""
    return list(dict.fromkeys(name.upper() for name in names))


def weak(names: Iterable[str]) -> list[str]:
    """Those that are not to be offered, as they were written."""
    return [name for name in names if name.upper() in _WEAK]


def why_weak(name: str) -> Optional[str]:
    """What is wrong with a mechanism; None when nothing is known against it."""
    return _WEAK.get(name.upper())
