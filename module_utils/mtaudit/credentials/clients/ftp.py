"""FTP: USER and PASS (RFC 959), in TLS where the server has it (RFC 4217): some hang up on a name that comes in clear."""

from __future__ import annotations

import re
from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .wire import Deadline, Shut, Wire

ANSWER_LIMIT_LINES = 100
_WANTS_TLS = re.compile(r"(?i)\b(?:TLS|SSL|encryption|secure)\b")


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """One login. Without a credential: `anonymous` is a name like any other, so there is none to try."""
    if credential is None:
        return Attempt(Outcome.UNASKED, "a name is needed here")
    wire = Wire(service.address, service.port, deadline, service.tls)
    try:
        return _login(wire, credential, secure=service.tls)
    finally:
        wire.close()


def _login(wire: Wire, credential: Credential, secure: bool) -> Attempt:
    said = _answer(wire)
    if not said.startswith("220"):
        return Attempt(Outcome.SHUT, said)
    if not secure and _ask(wire, "AUTH TLS").startswith("234"):
        wire.start_tls()
        secure = True
    said = _ask(wire, f"USER {credential.username}")
    if not secure and said.startswith("5") and _WANTS_TLS.search(said):
        return Attempt(Outcome.UNASKED, said)
    if said.startswith("331"):
        said = _ask(wire, f"PASS {credential.password}")
    if said[:3] in ("230", "232"):
        wire.send(b"QUIT\r\n")
        return Attempt(Outcome.ACCEPTED, said)
    if said.startswith("4"):
        return Attempt(Outcome.PUT_OFF, said)
    return Attempt(Outcome.REFUSED if said.startswith("530") else Outcome.UNASKED, said)


def _ask(wire: Wire, command: str) -> str:
    wire.send(f"{command}\r\n".encode())
    return _answer(wire)


def _answer(wire: Wire) -> str:
    """The last line of an answer: `230-` goes on until `230 ` (RFC 959, 4.2)."""
    first = wire.line()
    if not re.match(r"[1-5]\d\d(?: |-|$)", first):
        raise Shut("does not speak FTP")
    last, end = first, first[:3] + " "
    for _ in range(ANSWER_LIMIT_LINES):
        if last.startswith(end) or last == first[:3]:
            return last
        last = wire.line()
    raise Shut(f"sent an answer of more than {ANSWER_LIMIT_LINES} lines")
