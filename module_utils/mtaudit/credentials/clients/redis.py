"""Redis: AUTH, or no login at all (its protocol RESP2)."""

from __future__ import annotations

from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .wire import Deadline, Wire

_REFUSED = ("-NOAUTH", "-WRONGPASS", "-DENIED", "-ERR invalid password", "-NOPERM")


def _command(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """PING without a credential, else AUTH (with a name as Redis 6 has them). A server without a password says so: UNASKED."""
    wire = Wire(service.address, service.port, deadline, service.tls)
    try:
        if credential is None:
            wire.send(_command("PING"))
        elif credential.username:
            wire.send(_command("AUTH", credential.username, credential.password))
        else:
            wire.send(_command("AUTH", credential.password))
        said = wire.line()
        if said in ("+OK", "+PONG"):
            wire.send(_command("QUIT"))
    finally:
        wire.close()
    return Attempt(_outcome(said), said)


def _outcome(said: str) -> Outcome:
    if said in ("+OK", "+PONG"):
        return Outcome.ACCEPTED
    return Outcome.REFUSED if said.startswith(_REFUSED) else Outcome.UNASKED if said.startswith("-") else Outcome.SHUT
