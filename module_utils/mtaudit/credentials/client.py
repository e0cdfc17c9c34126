"""Try one login at one service of the network, and tell what came of it."""

from __future__ import annotations

import base64
import html
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Callable, Optional
from urllib.parse import quote, quote_plus

from ..redact import MASK, redact
from ..text import printable
from .clients import ftp, http, mail, mysql, postgresql, redis, rspamd, snmp, ssh, telnet
from .clients.wire import Deadline, Shut
from .mail_answers import NOT_NOW
from .values import Attempt, Credential, Outcome, Service

Client = Callable[[Service, Optional[Credential], Deadline], Attempt]

_CLIENTS: Mapping[str, Client] = MappingProxyType({
    "smtp": mail.login,
    "imap": mail.login,
    "pop3": mail.login,
    "sieve": mail.login,
    "ssh": ssh.login,
    "telnet": telnet.login,
    "ftp": ftp.login,
    "http": http.login,
    "snmp": snmp.login,
    "redis": redis.login,
    "mysql": mysql.login,
    "postgresql": postgresql.login,
    "rspamd": rspamd.login,
})  # fmt: skip
PROTOCOLS = tuple(_CLIENTS)

# Where each is usually found: the port, and whether TLS is there from the first byte.
PORTS: Mapping[str, tuple[tuple[int, bool], ...]] = MappingProxyType({
    "smtp": ((25, False), (465, True), (587, False)),
    "imap": ((143, False), (993, True)),
    "pop3": ((110, False), (995, True)),
    "sieve": ((4190, False),),
    "ssh": ((22, False),),
    "telnet": ((23, False),),
    "ftp": ((21, False),),
    "http": ((80, False), (443, True)),
    "snmp": ((161, False),),
    "redis": ((6379, False),),
    "mysql": ((3306, False),),
    "postgresql": ((5432, False),),
    "rspamd": ((11334, False),),
})  # fmt: skip

SAID_CHARACTERS = 200
_READ_CHARACTERS = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What says that the answer is not about the credential: too many attempts, a lock, an address that is not wanted.
_PUT_OFF = re.compile(
    r"(?i)\btoo many\b|\blocked\b|\block(?:ed)?[ -]?out\b|\bis blocked\b|\bbanned\b|\brate.?limit|\bmax number of clients\b"
    r"|\b(?:try|come) (?:again )?later\b|\btry again in\b|\btemporar(?:y|ily)\b|(?:^|session: )421\b"
    rf"|{NOT_NOW}"
)

# Zabbix's answer to every wrong login, locked or not.
_EITHER = re.compile(r"(?i)\bpassword or account is (?:temporarily )?blocked\b")


def try_login(service: Service, credential: Optional[Credential], timeout_s: float) -> Attempt:
    """One attempt, which ends within `timeout_s` and a little. Without a credential: come in without any, for what stands
    open. What the peer does never raises; an unknown protocol does (KeyError)."""
    client = _CLIENTS[service.protocol]
    if credential and _CONTROL.search(credential.username + credential.password):
        return Attempt(Outcome.UNASKED, "the credential has control characters, which no login takes")
    try:
        attempt = client(service, credential, Deadline(timeout_s))
    except (Shut, OSError) as exc:
        attempt = Attempt(Outcome.SHUT, str(exc))
    except (ValueError, LookupError, EOFError, struct.error) as exc:  # an answer that is none
        attempt = Attempt(Outcome.SHUT, f"sent what is no {service.protocol}: {type(exc).__name__}")
    said = _EITHER.sub("", attempt.said[:_READ_CHARACTERS])
    if attempt.outcome in (Outcome.REFUSED, Outcome.SHUT, Outcome.UNASKED) and _PUT_OFF.search(said):
        attempt = replace(attempt, outcome=Outcome.PUT_OFF)
    return replace(attempt, said=_clean(attempt.said, credential))


def _clean(said: str, credential: Optional[Credential]) -> str:
    """Fit for a report: a server may say again what it was told."""
    said = said[:_READ_CHARACTERS]
    forms = sorted(set(_forms(credential)), key=len, reverse=True) if credential else []
    if forms:
        said = re.sub("|".join(map(re.escape, forms)), MASK, said, flags=re.IGNORECASE)
    return printable(redact(said).strip(), SAID_CHARACTERS)


def _forms(credential: Credential) -> Iterator[str]:
    """The name and the password as they cross the wire."""
    name, password = credential.username, credential.password
    for text in filter(None, (name, password)):
        yield from (text, quote(text), quote(text, safe=""), quote_plus(text), html.escape(text), repr(text)[1:-1])
    for told in (name, password, f"\0{name}\0{password}", f"{name}\0{name}\0{password}", f"{name}:{password}"):
        if told.strip("\0:"):
            yield base64.b64encode(told.encode()).decode()
