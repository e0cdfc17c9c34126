"""The controller of rspamd: GET /stat with the header Password, or without (rspamd.com/doc/developers/protocol.html)."""

from __future__ import annotations

from typing import Optional

from ..values import Attempt, Credential, Outcome, Service
from .http import Visit
from .wire import Deadline


def login(service: Service, credential: Optional[Credential], deadline: Deadline) -> Attempt:
    """The credential's password alone; without a credential: does the controller answer whoever comes?"""
    visit = Visit(Service(service.protocol, service.address, service.port, service.tls, {"path": "/stat"}), deadline)
    headers = {} if credential is None else {"Password": credential.password}
    answer = visit.knock(visit.start, **headers)
    if "rspamd" not in answer.headers.get("Server", "").lower():
        return Attempt(Outcome.UNASKED, f"is no rspamd: {answer.said}")
    if answer.status == 200:
        return Attempt(Outcome.ACCEPTED, answer.said)
    if answer.status == 403:  # its own word: nothing stands before it
        return Attempt(Outcome.REFUSED, answer.said)
    return Attempt(answer.outcome_of_status or Outcome.UNASKED, answer.said)
