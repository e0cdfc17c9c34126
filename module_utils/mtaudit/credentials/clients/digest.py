"""HTTP Digest (RFC 7616): a challenge and a login in, the Authorization header out."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Optional

_PARAMETER = re.compile(r'(?<![\w*-])([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# The strongest first (RFC 7616, 3.7); hashlib's names.
_HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


def parameters(challenge: str) -> dict[str, str]:
    """The parameters of a challenge, by their names in small letters."""
    found = _PARAMETER.findall(challenge)
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in found}


def strength(challenge: Mapping[str, str]) -> Optional[int]:
    """0 for the strongest algorithm; None for one that is not known here, or a qop without `auth`."""
    algorithm = challenge.get("algorithm", "MD5").upper()
    algorithm = algorithm[: -len("-SESS")] if algorithm.endswith("-SESS") else algorithm
    offered = re.split(r"[\s,]+", challenge.get("qop", "auth").lower())
    known = algorithm in _HASHES and _HASHES[algorithm] in hashlib.algorithms_available
    return list(_HASHES).index(algorithm) if known and "auth" in offered else None


def authorization(
    challenge: Mapping[str, str], method: str, uri: str, username: str, password: str, cnonce: str = ""
) -> str:  # fmt: skip
    """The header's value. `challenge` is one that has a strength."""
    algorithm = challenge.get("algorithm", "MD5")
    session = algorithm.upper().endswith("-SESS")
    name = _HASHES[algorithm.upper()[: -len("-SESS")] if session else algorithm.upper()]
    realm, nonce, cnonce = challenge.get("realm", ""), challenge.get("nonce", ""), cnonce or secrets.token_hex(16)

    def hashed(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    who = hashed(username, realm, password)
    if session:
        who = hashed(who, nonce, cnonce)
    what = hashed(method, uri)
    hides_name = challenge.get("userhash", "").lower() == "true"
    told = {"username": hashed(username, realm) if hides_name else username, "realm": realm, "uri": uri, "nonce": nonce}
    if "qop" in challenge:
        told |= {"cnonce": cnonce, "response": hashed(who, nonce, "00000001", cnonce, "auth", what)}
    else:  # RFC 2069
        told["response"] = hashed(who, nonce, what)
    if "opaque" in challenge:
        told["opaque"] = challenge["opaque"]
    words = [f'{key}="{_escaped(value)}"' for key, value in told.items()]
    words += [f"algorithm={algorithm}"] if "algorithm" in challenge else []
    words += ["qop=auth", "nc=00000001"] if "qop" in challenge else []
    words += ["userhash=true"] if hides_name else []
    return "Digest " + ", ".join(words)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
