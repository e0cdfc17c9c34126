"""Find our own sessions in OpenSMTPD's log: which client address was logged, and where the message went.

Every line of a session begins with its id, sixteen hexadecimal digits; deliveries name their envelope by another one, whose first
half is the message's. The formats are those of 6.8 and 7.6, whose lines are in the tests. HELO names are not logged, nor is the
sender of a recipient that is refused; what a client says stands behind the words of smtpd, encoded by vis(3), so that it can
imitate no line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..redact import redact
from ..text import printable
from .outcome import Delivery, LoggedClient, Sent, Taken, Trace, any_of, evidence, lines_with

_ID = r"[0-9a-f]{16}"
_SYSLOG = r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\S+T\S+) \S+ smtpd(?:\[\d+\])?: "
_LINE = re.compile(rf"{_SYSLOG}(?P<id>{_ID}) (?P<text>.*)$")

_CONNECTED = re.compile(r"smtp connected address=\[?(?P<address>[0-9A-Fa-f:.]+)\]? host=(?P<name>\S+)$")
_LOGIN = re.compile(r"smtp authentication user=(?P<account>\S*) result=ok$")
_MESSAGE = re.compile(r"smtp message msgid=(?P<msgid>[0-9a-f]{8}) ")
_ENVELOPE = re.compile(rf"smtp envelope evpid=(?P<evpid>{_ID}) from=<(?P<sender>[^\s>]*)> to=")
_REFUSED = re.compile(
    r'smtp failed-command command="(?P<verb>(?i:MAIL FROM|RCPT TO)): *<?(?P<mailbox>[^\s>"]*)>?.*" result="(?P<reply>[45].*)"$'
)
_DELIVERY = re.compile(
    rf"(?:mta|mda) delivery evpid=(?P<evpid>{_ID}) from=<[^\s>]*> to=<(?P<to>[^\s>]*)> rcpt=<(?P<rcpt>[^\s>]*)> "
    r'(?:source="[^"]*" relay="(?P<relay>[^"]*)"|user=(?P<user>\S+)) delay=\S+ result="?(?P<result>\w+)"? stat="?(?P<stat>.*?)"?$'
)
_RELAY = re.compile(r"\[?(?P<address>[0-9A-Fa-f:.]+)\]? \((?P<name>[^)]*)\)")
_STATUS = {"Ok": "sent", "TempFail": "deferred", "PermFail": "bounced", "Loop": "bounced"}
_DSN = re.compile(r"\d{3}[ -](?P<dsn>[245]\.\d{1,3}\.\d{1,3})\b")
_CONFIRMED = re.compile(r"\b(?P<msgid>[0-9a-f]{8}) Message accepted for delivery")  # how an OpenSMTPD confirms a message


@dataclass(frozen=True)
class _Line:
    whole: str
    id: str
    text: str  # without time stamp, program and session id


def trace(log: bytes, tokens: Sequence[str]) -> list[Trace]:
    """One trace for each token, in their order, from a log in the order of time.

    A session is ours when the token is in a sender, or in a refused recipient that is no address of ours: in one of these it
    stands because somebody answers us. Only the lines that hold a token, and those of their sessions and envelopes, are decoded.
    """
    marked = list(_lines_with(log, any_of(tokens)))
    sessions = {token: {line.id for line in marked if token in _said(line)} for token in tokens}
    wanted = set().union(*sessions.values())
    related = list(_lines_with(log, re.compile(b"|".join(i.encode() for i in sorted(wanted))))) if wanted else []
    envelopes = {line.whole: match["evpid"] for line in related for match in [_ENVELOPE.match(line.text)] if match}
    deliveries = list(_lines_with(log, re.compile(b"|".join(b"evpid=%b" % e.encode() for e in sorted(set(envelopes.values())))))
                      ) if envelopes else []  # fmt: skip
    return [_trace(token, marked, [x for x in related if x.id in sessions[token]], deliveries) for token in tokens]


def _lines_with(log: bytes, pattern: re.Pattern[bytes]) -> Iterator[_Line]:
    for whole in lines_with(log, pattern):
        match = _LINE.match(whole.rstrip())
        if match:
            yield _Line(whole, match["id"], match["text"])


def _said(line: _Line) -> str:
    """What the client of this line said that only we say."""
    envelope, refused = _ENVELOPE.match(line.text), _REFUSED.match(line.text)
    if envelope:
        return envelope["sender"]
    if refused and (refused["verb"].upper() == "MAIL FROM" or "+" not in refused["mailbox"]):
        return refused["mailbox"]
    return ""


def _trace(token: str, marked: Sequence[_Line], own: Sequence[_Line], deliveries: Sequence[_Line]) -> Trace:
    by_session: dict[str, list[_Line]] = {}
    for line in own:
        by_session.setdefault(line.id, []).append(line)
    # The message of a session, and the envelopes whose sender holds the token: a session may carry others.
    evpids = {m["evpid"]: line.id for line in own for m in [_ENVELOPE.match(line.text)] if m and token in m["sender"]}
    found = [(line, m) for line in deliveries for m in [_DELIVERY.match(line.text)] if m and m["evpid"] in evpids]
    handed_back = {m["msgid"] for line, _ in found for m in _CONFIRMED.finditer(line.text)}
    first = [i for i in by_session if not any(evpid[:8] in handed_back for evpid, session in evpids.items() if session == i)]
    clients = [client for i in first for client in _client(by_session[i])]
    lines = [*own, *(line for line, _ in found), *(line for line in marked if token in line.whole)]
    return Trace(
        token=token,
        clients=tuple(dict.fromkeys(clients)),
        queue_ids=tuple(dict.fromkeys(evpid[:8] for evpid in evpids)),
        deliveries=tuple(dict.fromkeys(_delivery(match) for _, match in found)),
        lines=evidence(line.whole for line in lines),
    )


def _client(session: Sequence[_Line]) -> Iterator[LoggedClient]:
    """Who was connected; nobody for a program on the host, whose address is `local`."""
    refused = any(_REFUSED.match(line.text) for line in session)
    for line in session:
        match = _CONNECTED.match(line.text)
        if match:
            yield LoggedClient(match["address"], "" if match["name"] == "<unknown>" else match["name"], 0, refused)


def _delivery(match: re.Match[str]) -> Delivery:
    """`rcpt` is what the client named, where aliases made something else of it."""
    recipient = match["to"] if match["rcpt"] in ("-", "") else match["rcpt"]
    relay = _RELAY.match(match["relay"] or "")
    where = f"{relay['name']}[{relay['address']}]" if relay else match["relay"] or "local"
    reply = match["stat"]
    dsn = _DSN.match(reply)
    status = _STATUS.get(match["result"], match["result"].lower())
    return Delivery(recipient, status, printable(where), dsn["dsn"] if dsn else "", printable(redact(reply)))


def authenticated(log: bytes, cut: bool = False) -> Iterator[Sent]:
    """The messages of sessions in which somebody logged in; a session's lines begin with its id."""
    accounts: dict[str, str] = {}
    for line in _lines_with(log, re.compile(rb" smtp (?:authentication user=|message msgid=|disconnected )")):
        login = _LOGIN.match(line.text)
        if login:
            accounts[line.id] = login["account"]
        elif line.text.startswith("smtp disconnected "):
            accounts.pop(line.id, None)
        elif line.id in accounts and line.text.startswith("smtp message "):
            yield Sent(line.whole, accounts[line.id])


def taken(log: bytes) -> list[Taken]:
    """The messages that came over SMTP. The log does not tell the listener."""
    found: dict[str, Taken] = {}  # by the message's id, with which that of each of its envelopes begins
    sessions: dict[str, tuple[str, Optional[str], bool]] = {}  # client, account, TLS
    for line in _lines_with(log, re.compile(rb" smtp | mta delivery ")):
        client, account, tls = sessions.get(line.id, ("", None, False))
        connected, login = _CONNECTED.match(line.text), _LOGIN.match(line.text)
        begun, envelope, done = _MESSAGE.match(line.text), _ENVELOPE.match(line.text), _DELIVERY.match(line.text)
        if connected:
            sessions[line.id] = (connected["address"], None, False)
        elif login and client:
            sessions[line.id] = (client, login["account"], tls)
        elif line.text.startswith("smtp tls ") and client:
            sessions[line.id] = (client, account, True)
        elif line.text.startswith("smtp disconnected "):
            sessions.pop(line.id, None)
        elif begun and client:
            found[begun["msgid"]] = Taken(line.whole, client, account, "", tls)
        elif envelope and envelope["evpid"][:8] in found:
            found[envelope["evpid"][:8]].sender = envelope["sender"]
        elif done and done["evpid"][:8] in found:
            found[done["evpid"][:8]].passed_on.append(_delivery(done).recipient)
    return list(found.values())
