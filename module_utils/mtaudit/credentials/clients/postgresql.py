"""PostgreSQL: one login by its protocol 3.0 (postgresql.org/docs, "Message Flow"): in clear, MD5 or SCRAM-SHA-256.

Option of the service: `database` (else `postgres`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import struct
from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .wire import Deadline, Shut, Wire

MESSAGE_LIMIT_BYTES = 64 * 1024
MESSAGES = 20
ITERATIONS_LIMIT = 200_000
_TLS_REQUEST = struct.pack("!II", 8, 80877103)
_OK, _CLEAR, _MD5, _SASL, _SASL_GO_ON, _SASL_END = 0, 3, 5, 10, 11, 12
_REFUSED = ("28P01", "28000")


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """One login, in TLS where the server has it. One that asks for no password says so."""
    if credential is None:
        return Attempt(Outcome.UNASKED, "a name is needed here")
    wire = Wire(service.address, service.port, deadline, service.tls)
    try:
        if not service.tls:
            wire.send(_TLS_REQUEST)
            if wire.exactly(1) == b"S":
                wire.start_tls()
        database = service.options.get("database", "postgres")
        words = ("user", credential.username, "database", database, "application_name", "mtaudit")
        body = struct.pack("!I", 196608) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
        wire.send(struct.pack("!I", len(body) + 4) + body)
        return _converse(wire, credential)
    finally:
        wire.close()


def _message(wire: Wire) -> tuple[bytes, bytes]:
    kind, size = struct.unpack("!cI", wire.exactly(5))
    if not 4 <= size <= MESSAGE_LIMIT_BYTES:
        raise Shut("sent what is no message of PostgreSQL")
    return kind, wire.exactly(size - 4)


def _send(wire: Wire, body: bytes) -> None:
    wire.send(b"p" + struct.pack("!I", len(body) + 4) + body)


def _converse(wire: Wire, credential: Credential) -> Attempt:
    scram = Scram(credential.password)
    asked = False
    for _ in range(MESSAGES):
        kind, body = _message(wire)
        if kind == b"E":
            return _refusal(body)
        if kind != b"R":
            continue
        wanted, rest = struct.unpack("!I", body[:4])[0], body[4:]
        if wanted == _OK:
            wire.send(b"X" + struct.pack("!I", 4))
            return Attempt(Outcome.ACCEPTED, "logged in" if asked else "logged in, and no password was asked for")
        asked = True
        if wanted == _CLEAR:
            _send(wire, credential.password.encode() + b"\0")
        elif wanted == _MD5:
            _send(wire, md5_response(credential, rest) + b"\0")
        elif wanted == _SASL and b"SCRAM-SHA-256" in rest.split(b"\0"):
            first = scram.first()
            _send(wire, b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        elif wanted == _SASL_GO_ON:
            _send(wire, scram.final(rest))
        elif wanted != _SASL_END:
            return Attempt(Outcome.UNASKED, f"asks in way {wanted}, which is not spoken here")
    raise Shut("goes on asking")


def _refusal(body: bytes) -> Attempt:
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    code, text = fields.get(b"C", ""), fields.get(b"M", "")
    # A line of pg_hba.conf that is missing is about this address, not about the password, and no ban either.
    refused = code in _REFUSED and "pg_hba.conf" not in text
    busy = code.startswith("53") or code == "57P03"
    outcome = Outcome.REFUSED if refused else Outcome.PUT_OFF if busy else Outcome.UNASKED
    return Attempt(outcome, f"{code} {text}")


def md5_response(credential: Credential, salt: bytes) -> bytes:
    def hashed(data: bytes) -> bytes:
        return hashlib.new("md5", data, usedforsecurity=False).hexdigest().encode()

    return b"md5" + hashed(hashed((credential.password + credential.username).encode()) + salt)


class Scram:
    """The client of SCRAM-SHA-256 (RFC 7677), which PostgreSQL uses without the name."""

    def __init__(self, password: str, username: str = "", nonce: str = "") -> None:
        self._password = password.encode()
        self._bare = f"n={username},r={nonce or secrets.token_hex(12)}"

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """The answer to the server's first message. Raises ValueError when it is none."""
        said = challenge.decode("ascii")
        found = re.fullmatch(r"r=([^,]+),s=([A-Za-z0-9+/=]+),i=([0-9]{1,6})", said)
        if not found or not 0 < int(found[3]) <= ITERATIONS_LIMIT:
            raise ValueError("no challenge of SCRAM")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(found[2]), int(found[3]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={found[1]}"
        told = f"{self._bare},{said},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client).digest(), told, "sha256")
        proof = bytes(a ^ b for a, b in zip(client, signature))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
