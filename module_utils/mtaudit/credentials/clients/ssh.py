"""SSH by password or keyboard-interactive, with paramiko, which the vantage may have."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Optional

from ..values import Attempt, Credential, Outcome, Service
from .telnet import wants_new
from .wire import Deadline, Wire

NEEDS_LIBRARY = "needs python3-paramiko on the vantage"


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """One login. The host's key is not looked at: whoever answers there is asked."""
    if credential is None:
        return Attempt(Outcome.UNASKED, "a name is needed here")
    try:
        import paramiko
    except ImportError:
        return Attempt(Outcome.UNASKED, NEEDS_LIBRARY)
    _silence()
    wire = Wire(service.address, service.port, deadline)
    left_s = deadline.left_s()
    transport = None
    # The library waits for each step anew; the end of the connection ends them all.
    end = threading.Timer(left_s, wire.close)
    end.daemon = True
    end.start()
    try:
        wire.socket.settimeout(left_s)
        transport = paramiko.Transport(wire.socket)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = left_s
        transport.start_client(timeout=left_s)
        return _login(paramiko, transport, credential)
    except Exception as exc:  # the library hands on whatever its thread stumbled over in what the peer sent
        return Attempt(Outcome.SHUT, str(exc) or "the connection ended")
    finally:
        end.cancel()
        if transport is not None:
            transport.close()
        wire.close()


def _silence() -> None:
    """The library tells the log of the program what a peer does wrong; there is nobody to read it."""
    log = logging.getLogger("paramiko")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def _login(paramiko: Any, transport: Any, credential: Credential) -> Attempt:
    try:
        transport.auth_none(credential.username)
        return Attempt(Outcome.ACCEPTED, f"{transport.remote_version}: logged in, and no password was asked for")
    except paramiko.BadAuthenticationType as told:
        ways = list(told.allowed_types)
    try:
        if "password" in ways:
            further = transport.auth_password(credential.username, credential.password, fallback=False)
        elif "keyboard-interactive" in ways:
            further = _interactive(transport, credential)
        else:
            return Attempt(Outcome.UNASKED, "takes only " + ", ".join(ways))
    except AsksMore as more:
        outcome = Outcome.ACCEPTED if wants_new(str(more)) else Outcome.UNASKED
        return Attempt(outcome, f"asks for more than a password: {more}")
    except paramiko.AuthenticationException as exc:
        # A connection that ends is told as a refusal, too, and so is one that hangs.
        answered = transport.is_active() and "timeout" not in str(exc).lower()
        return Attempt(Outcome.REFUSED if answered else Outcome.SHUT, str(exc))
    if further:
        return Attempt(Outcome.UNASKED, "takes the password, and then wants " + ", ".join(further))
    return Attempt(Outcome.ACCEPTED, str(transport.remote_version))


class AsksMore(Exception):
    """More than a password is asked for; the text is the question."""


class _Answers:
    """The password to the one question that hides what is typed. That question again is a refusal; to another one nothing is
    said, for an empty word might become the new password. `more` is that one."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._asked = ""
        self.more = ""

    def __call__(self, title: str, instructions: str, questions: Sequence[tuple[str, bool]]) -> list[str]:
        answers = []
        for question, echoes in questions:
            if self._asked and question != self._asked:
                self.more = question
                raise AsksMore(question)
            answers.append("" if echoes or self._asked else self._password)
            self._asked = question if not echoes else self._asked
        return answers


def _interactive(transport: Any, credential: Credential) -> Any:
    answers = _Answers(credential.password)
    try:
        return transport.auth_interactive(credential.username, answers)
    except Exception as exc:  # the library's thread asks, and what it stumbles over comes out here in its own way
        if answers.more:
            raise AsksMore(answers.more) from exc
        raise
