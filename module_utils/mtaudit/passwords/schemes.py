"""What a stored password is: its scheme, what that is worth to a thief, and how a guess is compared with it.

Schemes have the names of doveadm-pw(1); those of crypt(3) that Dovecot knows only as CRYPT, the names of crypt(5).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import partial
from typing import Callable, NamedTuple

from . import argon2, libcrypt
from .hmac_md5 import contexts
from .unsupported import Unsupported

READABLE, FAST, SLOW = "readable", "fast", "slow"

Check = Callable[[bytes], bool]

# crypt(5): what a setting begins with.
_CRYPT = (
    ("$y$", "YESCRYPT"), ("$gy$", "GOST-YESCRYPT"), ("$7$", "SCRYPT"), ("$2", "BLF-CRYPT"), ("$6$", "SHA512-CRYPT"),
    ("$5$", "SHA256-CRYPT"), ("$sha1", "SHA1-CRYPT"), ("$md5", "SUN-MD5"), ("$1$", "MD5-CRYPT"), ("$3$", "NT"),
    ("$argon2id$", "ARGON2ID"), ("$argon2i$", "ARGON2I"), ("$apr1$", "APR1"), ("_", "BSDI-CRYPT"),
)  # fmt: skip
_OF_CRYPT = {name for _, name in _CRYPT} - {"ARGON2ID", "ARGON2I", "APR1"} | {"DES-CRYPT", "CRYPT"}
_READABLE = {"PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC"}
# Thousands of guesses a second and more on one core (crypt(5): not for new passwords), or it is enough to log in with.
_FAST = {
    "SHA", "SHA1", "SHA256", "SHA512", "SSHA", "SSHA256", "SSHA512", "SMD5", "LDAP-MD5", "PLAIN-MD5", "PLAIN-MD4", "NT",
    "NTLM", "LANMAN", "CRAM-MD5", "HMAC-MD5", "DIGEST-MD5", "OTP", "SKEY", "RPA", "DES-CRYPT", "BSDI-CRYPT", "MD5-CRYPT",
    "APR1", "SUN-MD5", "SHA1-CRYPT",
}  # fmt: skip
_SLOW = {
    "YESCRYPT", "GOST-YESCRYPT", "SCRYPT", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "ARGON2I", "ARGON2ID", "PBKDF2",
    "SCRAM-SHA-1", "SCRAM-SHA-256",
}  # fmt: skip
# Scheme: the digest's name in hashlib, and whether a salt follows it.
_DIGESTS: Mapping[str, tuple[str, bool]] = {
    "SHA": ("sha1", False), "SHA1": ("sha1", False), "SHA256": ("sha256", False), "SHA512": ("sha512", False),
    "LDAP-MD5": ("md5", False), "PLAIN-MD5": ("md5", False), "SMD5": ("md5", True), "SSHA": ("sha1", True),
    "SSHA256": ("sha256", True), "SSHA512": ("sha512", True),
}  # fmt: skip
_UNSALTED = {"PLAIN-MD4", "NT", "NTLM", "LANMAN", "CRAM-MD5", "HMAC-MD5"}
_DES = re.compile(r"[./0-9A-Za-z]{13}")


class Stored(NamedTuple):
    """`scheme` is empty where nothing tells it; `text` is what the scheme says of the password, and `user` whose it is, as the
    login is written: some schemes mix it in. Nobody logs in with what is `locked`. `text` stays on the host and is in no repr."""

    user: str
    scheme: str
    text: str
    locked: bool = False

    def __repr__(self) -> str:
        return f"Stored({self.user!r}, {self.scheme!r})"

    @property
    def empty(self) -> bool:
        return not self.locked and self.scheme in ("", *_READABLE) and not self.text

    @property
    def worth(self) -> str:
        """What a thief has who gets the table: READABLE, FAST or SLOW to guess; "" where that is unknown."""
        known = ((_READABLE, READABLE), (_FAST, FAST), (_SLOW, SLOW))
        return next((worth for schemes, worth in known if self.scheme in schemes), "")

    @property
    def same_for_all(self) -> str:
        """What equals that of every other account with the same password; empty where a salt or the name is mixed in."""
        name, salted = _DIGESTS.get(self.scheme, ("", True))
        if self.scheme in _READABLE:
            return f"readable:{self.text}"
        if not salted:
            return f"{name}:{_binary(self, name).hex()}"
        return f"{self.scheme}:{self.text.lower()}" if self.scheme in _UNSALTED else ""


def of_shadow(user: str, field: str) -> Stored:
    """The second field of shadow(5): empty lets in whoever asks; "!" and "*" are in no hash, and what begins so is locked."""
    locked = field.startswith(("!", "*"))
    text = field.lstrip("!*")
    return Stored(user, _crypt_scheme(text) if text else "", text, locked)


def of_dovecot(user: str, text: str, default: str) -> Stored:
    """As Dovecot reads it: {SCHEME} or {SCHEME.ENCODING} in front, `$1$` by itself, or the passdb's default scheme."""
    found = re.match(r"\{([A-Za-z0-9-]+)(?:\.(b64|base64|hex))?\}(.*)", text, re.DOTALL | re.IGNORECASE)
    if not found and text.startswith("$1$"):
        return Stored(user, "MD5-CRYPT", text)
    scheme, encoding, rest = (found[1].upper(), (found[2] or "").lower(), found[3]) if found else (default.upper(), "", text)
    if encoding:
        rest = _decoded(encoding, rest, scheme in _DIGESTS)
    if scheme in ("CRYPT", "MD5") and rest:
        scheme = _crypt_scheme(rest) if rest.startswith("$") or scheme == "CRYPT" else _md5_scheme(rest)
    elif scheme in ("ARGON2", ""):
        scheme = _crypt_scheme(rest)
    return Stored(user, scheme, rest, rest.startswith(("!", "*")) and scheme in _OF_CRYPT | {""})


def _md5_scheme(text: str) -> str:
    return "PLAIN-MD5" if len(text) == 32 else "LDAP-MD5"


def _crypt_scheme(text: str) -> str:
    return next((name for start, name in _CRYPT if text.startswith(start)), "DES-CRYPT" if _DES.fullmatch(text) else "")


def check(stored: Stored) -> Check:
    """A function that tells whether a guess is the password; it may be called from several threads at once. Raises Unsupported
    where the text is no password of its scheme, or the scheme cannot be computed on this host."""
    if stored.scheme in _READABLE:
        return _readable(stored)
    if stored.scheme in _DIGESTS:
        return _digest(stored)
    if stored.scheme in _OF_CRYPT:
        return libcrypt.check(stored.text)
    if stored.scheme == "NTLM":
        return libcrypt.check(f"$3$${stored.text.lower()}")
    if stored.scheme in ("ARGON2ID", "ARGON2I"):
        return argon2.check(stored.text)
    if stored.scheme in _OTHERS:
        return _OTHERS[stored.scheme](stored)
    raise Unsupported(f"passwords of scheme {stored.scheme or 'unknown'} are not computed")


def _readable(stored: Stored) -> Check:
    text = stored.text
    if stored.scheme == "PLAIN-TRUNC":
        length, dash, text = text.partition("-")
        if not dash or not length.isdigit():
            raise Unsupported("a password of scheme PLAIN-TRUNC begins with its length and a dash")
        cut = int(length)
        return lambda guess: guess[:cut] == text.encode()
    return text.encode().__eq__


def _digest(stored: Stored) -> Check:
    name, salted = _DIGESTS[stored.scheme]
    raw = _binary(stored, name)
    size = hashlib.new(name, usedforsecurity=False).digest_size
    kept, salt = raw[:size], raw[size:]
    if len(kept) < size or (salt and not salted):
        wanted = f"{size} bytes{' and a salt' if salted else ''}"
        raise Unsupported(f"a password of scheme {stored.scheme} has {wanted}, not {len(raw)}")
    return lambda guess: hashlib.new(name, guess + salt, usedforsecurity=False).digest() == kept


def _binary(stored: Stored, name: str) -> bytes:
    """Hexadecimal digits where their number is right for the digest, else base64: as Dovecot decides it."""
    text, size = stored.text, hashlib.new(name, usedforsecurity=False).digest_size
    try:
        is_hex = re.fullmatch(rf"[0-9a-fA-F]{{{2 * size}}}", text)
        return binascii.unhexlify(text) if is_hex else b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as exc:
        raise Unsupported(f"a password of scheme {stored.scheme} is neither hexadecimal nor base64") from exc


def _decoded(encoding: str, text: str, is_digest: bool) -> str:
    try:
        raw = binascii.unhexlify(text) if encoding == "hex" else b64decode(text, validate=True)
        return b64encode(raw).decode() if is_digest else raw.decode()
    except ValueError:
        return text


def _pbkdf2(stored: Stored) -> Check:
    found = re.fullmatch(r"\$1\$([^$]*)\$(\d{1,8})\$([0-9a-fA-F]{40})", stored.text)
    if not found or not int(found[2]):
        raise Unsupported("a password of scheme PBKDF2 reads $1$SALT$ROUNDS$DIGEST")
    salt, rounds, kept = found[1].encode(), int(found[2]), binascii.unhexlify(found[3])
    return lambda guess: hashlib.pbkdf2_hmac("sha1", guess, salt, rounds) == kept


def _scram(name: str, stored: Stored) -> Check:
    """RFC 5802, section 3: what is kept is the digest of the client's key."""
    found = re.fullmatch(r"(\d{1,8}),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+),[A-Za-z0-9+/=]+", stored.text)
    if not found or not int(found[1]):
        raise Unsupported(f"a password of scheme {stored.scheme} reads ROUNDS,SALT,KEY,KEY")
    try:
        rounds, salt, kept = int(found[1]), b64decode(found[2], validate=True), b64decode(found[3], validate=True)
    except ValueError as exc:
        raise Unsupported(f"a password of scheme {stored.scheme} has a salt that is not base64") from exc

    def matches(guess: bytes) -> bool:
        key = hmac.digest(hashlib.pbkdf2_hmac(name, guess, salt, rounds), b"Client Key", name)
        return hashlib.new(name, key).digest() == kept

    return matches


def _cram_md5(stored: Stored) -> Check:
    kept = _of_hex(stored, 32)
    return lambda guess: contexts(guess) == kept


def _digest_md5(stored: Stored) -> Check:
    """RFC 2831, section 2.1.2.1: the realm is what follows the at sign."""
    kept = _of_hex(stored, 16)
    user, _, realm = stored.user.partition("@")
    head = f"{user}:{realm}:".encode()
    return lambda guess: hashlib.new("md5", head + guess, usedforsecurity=False).digest() == kept


def _of_hex(stored: Stored, size: int) -> bytes:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * size}}}", stored.text):
        raise Unsupported(f"a password of scheme {stored.scheme} has {2 * size} hexadecimal digits")
    return binascii.unhexlify(stored.text)


_OTHERS: Mapping[str, Callable[[Stored], Check]] = {
    "PBKDF2": _pbkdf2, "SCRAM-SHA-1": partial(_scram, "sha1"), "SCRAM-SHA-256": partial(_scram, "sha256"),
    "CRAM-MD5": _cram_md5, "HMAC-MD5": _cram_md5, "DIGEST-MD5": _digest_md5,
}  # fmt: skip
