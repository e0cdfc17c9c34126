"""Find our own sessions in Exim's log: which client address was logged, and where the message went.

The formats are those of the specification's chapter "Log files" and of Exim 4.96 and 4.98, whose lines are in the tests. Exim
prints HELO names and senders as the client said them. Whoever is let say more than a name in HELO (helo_accept_junk_hosts) can
imitate everything behind it: a line that could be read in two ways names no client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..redact import redact
from ..text import printable
from .outcome import Delivery, LoggedClient, Sent, Taken, Trace, any_of, evidence, lines_with

_QUOTED = r'"(?:\\.|[^"\\])*"'
_MAILBOX = rf'(?:{_QUOTED}|[^\s"<>])*'
_ID = r"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})"  # before 4.97, and since
# In front of a line: syslog's stamp, host and tag, its mark of a line in pieces ([1/2]), Exim's own stamp, zone and process.
_SYSLOG = r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\S+T\S+) \S+ (?P<tag>[^\s\[:]+)(?:\[\d+\])?: (?:\[\d+[/\\]\d+\] )?"
_STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [+-]\d{4})?(?: \[\d+\])? "
_LINE = re.compile(rf"(?:{_SYSLOG}(?:{_STAMP})?|{_STAMP})(?:(?P<id>{_ID}) )?(?P<text>.*)")

_ADDRESS = r"\[(?P<address>[0-9A-Fa-f:.]+)\](?::(?P<port>\d+))?(?= |$)"
# Its verified name, the one it said in brackets where that differs, its address. A HELO name may be an address literal.
_CLIENT = rf"(?:(?P<name>[^\s()\[\]\"]+) )?(?:\((?P<helo>[^\s()]*)\) )?{_ADDRESS}"
_ANOTHER_CLIENT = re.compile(r"\) \[[0-9A-Fa-f:.]+\]")
_FIELD = rf' [A-Za-z]+\*?=(?:{_QUOTED}|<{_MAILBOX}>|[^\s"<]\S*)'
_ACCEPTED = re.compile(
    rf"(?:<=|\(=) (?P<sender><>|{_MAILBOX})(?: DS)?(?: R=\S+)?(?: DS)?"
    rf"(?: H={_CLIENT}| U=\S*)?(?P<said>(?:{_FIELD}|(?! from <| for ) [^\s=\"<>]+)*)"
)
_ASKED = re.compile(
    rf"(?:DS )?H={_CLIENT}(?P<said>(?:{_FIELD})*)"
    rf"(?:(?P<refused> (?:temporarily )?rejected )(?:MAIL <(?P<sender>{_MAILBOX})>)?"
    rf"| incomplete transaction \(\w+\) from <(?P<unfinished>{_MAILBOX})>)?"
)
_CONNECTED = re.compile(rf"(?:no MAIL in )?SMTP connection (?:Ci=\d+ )?from {_CLIENT}(?P<said>)")
_LOGIN = re.compile(r" A=(?P<name>[^\s:]+)(?::(?P<account>\S+))?")  # authenticator, account, and with smtp_mailauth a sender
_PROTOCOL = re.compile(r" P=e?smtp(?P<tls>s?)a?(?= |$)")
_INTERFACE = re.compile(r" I=\[[^\]]*\]:(?P<port>\d+)")
_MESSAGE_ID = re.compile(r" id\*?=(?P<id>\S+)")

_STATUS = {"=>": "sent", "->": "sent", ">>": "sent", "*>": "suppressed", "==": "deferred", "**": "bounced"}
# The delivered address (a pipe or a file, too), how it came about, and the recipient that the client named, where that differs.
_RECIPIENT = re.compile(
    rf'(?P<kind>=>|->|>>|\*>|==|\*\*) (?P<to>[|/:].+?|(?:{_QUOTED}|[^\s"])+?)(?: \([^()]*\))?(?: <(?P<first>{_MAILBOX})>)?'
    rf"(?=:? [A-Z][A-Za-z]*=| defer \(|: |$)"
)
_NEXT_FIELD = re.compile(rf'(?: (?P<key>[A-Za-z]+)\*?=| )(?P<value>{_QUOTED}|<{_MAILBOX}>|[^\s"<:]\S*?)(?=: |:?$| )')
_DSN = re.compile(r"\b[245]\d\d[ -](?P<dsn>[245]\.\d{1,3}\.\d{1,3})\b")
_HANDED_ON = re.compile(rf"\bid=(?P<id>{_ID})")  # how an Exim confirms a message


@dataclass(frozen=True)
class _Line:
    whole: str
    text: str  # without time stamp, program and message id
    message_id: str  # empty for lines of sessions


@dataclass(frozen=True)
class _Session:
    """Who a line says was connected, and what that client said of itself: HELO name, sender, Message-ID."""

    client: LoggedClient
    said: str


def trace(log: bytes, tokens: Sequence[str]) -> list[Trace]:
    """One trace for each token, in their order, from a log in the order of time.

    A session is ours when the token is in its HELO name, sender or Message-ID: in a recipient or a text it may stand because
    somebody answers us. Only the lines that hold a token, and those of their messages, are ever decoded.
    """
    pattern = any_of(tokens)
    marked = list(_lines_with(log, pattern))
    messages = {line.message_id: set[str]() for line in marked if line.message_id}
    for line in marked:
        if line.message_id in messages:
            messages[line.message_id].update(token for token in tokens if token in _said(line))
    of_messages = list(_lines_with(log, re.compile(b"|".join(b"%b " % i.encode() for i in messages)))) if messages else []
    return [_trace(token, marked, [i for i, holds in messages.items() if token in holds], of_messages) for token in tokens]


def _lines_with(log: bytes, pattern: re.Pattern[bytes]) -> Iterator[_Line]:
    for whole in lines_with(log, pattern):
        match = _LINE.match(whole.rstrip())
        if match and not (match["tag"] or "").startswith("postfix"):
            yield _Line(whole, match["text"], match["id"] or "")


def _said(line: _Line) -> str:
    """What the client of this line said of itself."""
    session = _session(line)
    if session is not None:
        return session.said
    local = _ACCEPTED.match(line.text)  # a message that a program on the host handed over
    return f"{local['sender']} {_message_id(local['said'])}" if local else ""


def _message_id(fields: str) -> str:
    found = _MESSAGE_ID.search(fields)
    return found["id"] if found else ""


def _session(line: _Line) -> Optional[_Session]:
    """The client that a line names. After a message id, `H=` without a refusal is the server that Exim delivers to."""
    accepted = _ACCEPTED.match(line.text)
    asked = _ASKED.match(line.text)
    if asked and line.message_id and not asked["refused"]:
        asked = None
    match = accepted or asked or _CONNECTED.match(line.text)
    if match is None or not match["address"]:
        return None
    if match["helo"] is not None and _ANOTHER_CLIENT.search(line.text, match.end("address")):
        return None
    said = [match["helo"] or match["name"] or ""]
    if accepted:
        said += [accepted["sender"], _message_id(accepted["said"])]
    elif asked:
        said += [asked["said"], asked["sender"] or asked["unfinished"] or ""]
    refused = bool(asked and asked["refused"])
    client = LoggedClient(match["address"], match["name"] or "", int(match["port"] or 0), refused)
    return _Session(client, " ".join(said))


def _trace(token: str, marked: Sequence[_Line], ids: Sequence[str], of_messages: Sequence[_Line]) -> Trace:
    asked = [line for line in marked if not line.message_id and token in line.whole]
    whole = [line for line in of_messages if line.message_id in ids]
    deliveries = [delivery for line in whole for delivery in _deliveries(line.text)]
    handed_back = {found["id"] for d in deliveries for found in [_HANDED_ON.search(d.text)] if found}
    sessions = [_session(line) for line in [*asked, *whole] if line.message_id not in handed_back]
    answers = [line for line in marked if line.message_id and line.message_id not in ids and token in line.whole]
    return Trace(
        token=token,
        clients=tuple(dict.fromkeys(session.client for session in sessions if session and token in session.said)),
        queue_ids=tuple(ids),
        deliveries=tuple(dict.fromkeys(deliveries)),
        lines=evidence(line.whole for line in [*asked, *whole, *answers]),
    )


def _deliveries(text: str) -> Iterator[Delivery]:
    match = _RECIPIENT.match(text)
    if match is None:
        return
    fields, position = _fields(text, match.end())
    name, _space, address = fields.get("H", "").partition(" ")
    confirmed = fields.get("C", "")
    reply = re.sub(r"\\(.)", r"\1", confirmed[1:-1]) if confirmed else text[position:].lstrip(": ")
    dsn = _DSN.search(reply)
    recipient = match["first"] or match["to"]
    yield Delivery(
        recipient,
        _STATUS[match["kind"]],
        printable(f"{name}{address}" if address else fields.get("T", "none")),
        dsn["dsn"] if dsn else "",
        printable(redact(reply)),
    )


def _fields(text: str, position: int) -> tuple[dict[str, str], int]:
    """The fields of a delivery, up to the text behind them, and where that begins. `H` holds name and [address]:port."""
    fields: dict[str, str] = {}
    last = ""
    while True:
        match = None if text.startswith((": ", " defer ("), position) else _NEXT_FIELD.match(text, position)
        if match is None:
            return fields, position
        if match["key"]:
            fields.setdefault(match["key"], match["value"])
        elif last == "H" and match["value"].startswith("["):
            fields["H"] += f" {match['value']}"
        last, position = match["key"] or "", match.end()


def authenticated(log: bytes, cut: bool = False) -> Iterator[Sent]:
    """The messages of people who had logged in: authenticator and, where server_set_id is set, account (chapter "Log files")."""
    for line in _lines_with(log, re.compile(rb" <= [^\n]* A=")):
        accepted = _ACCEPTED.match(line.text)
        login = _LOGIN.search(accepted["said"]) if accepted else None
        if login:
            yield Sent(line.whole, login["account"] or "")


def taken(log: bytes) -> list[Taken]:
    """The messages that came over SMTP. The listener's port is logged with `log_selector = +incoming_interface` only."""
    found: dict[str, Taken] = {}
    for line in _lines_with(log, re.compile(rb" (?:<=|=>|->|>>|==|\*\*) ")):
        accepted = _ACCEPTED.match(line.text)
        if accepted:
            if accepted["address"]:
                found[line.message_id] = _taken(line, accepted)
            continue
        message, to = found.get(line.message_id), _RECIPIENT.match(line.text)
        if message and to and "H" in _fields(line.text, to.end())[0]:
            message.passed_on.append(to["first"] or to["to"])
    return list(found.values())


def _taken(line: _Line, accepted: re.Match[str]) -> Taken:
    login, protocol = _LOGIN.search(accepted["said"]), _PROTOCOL.search(accepted["said"])
    interface = _INTERFACE.search(accepted["said"])
    return Taken(
        line.whole,
        accepted["address"],
        (login["account"] or "").partition(":")[0] if login else None,
        interface["port"] if interface else "",
        bool(protocol["tls"]) if protocol else None,
        "" if accepted["sender"] == "<>" else accepted["sender"],
    )
