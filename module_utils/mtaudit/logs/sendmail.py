"""Find our own sessions in Sendmail's log: which client address was logged, with which login, and where the message went.

The lines are those of Sendmail 8.17 and 8.18, which are in the tests. A client chooses its sender, its Message-ID and what its
refusal quotes, but nothing behind the last `relay=` of a `from=` line: that alone names the client. The line of a login has no
queue id; it is joined by process and client.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..redact import redact
from ..text import printable
from .outcome import Delivery, LoggedClient, Sent, Taken, Trace, any_of, evidence, lines_with, stamp

_LINE = re.compile(r"\s(?P<tag>[^\s\[:]+)\[(?P<pid>\d+)\]: (?:(?P<id>[0-9A-Za-z]{8}\d{6,}): )?(?P<text>.*)$")
_RELAY = r"relay=(?:(?P<name>[^\s\[\]]+) )?\[(?P<address>[^\[\]\s]+)\](?: \(may be forged\))?"
_FROM = re.compile(rf"from=(?P<said>.*), (?:proto=\S+, )?(?:daemon=\S+, )?{_RELAY}$")
_LOGIN = re.compile(rf"AUTH=server, {_RELAY}, authid=")
_REFUSED = re.compile(r"ruleset=(?P<ruleset>\w+), arg1=(?P<said>.*?), .*\breject=[45]\d\d ")
_DELIVERY = re.compile(
    r"to=(?P<to>.*?), (?:ctladdr=.*?, )?delay=[\d+:]+, (?:xdelay=[\d+:]+, )?(?:mailer=\S+, )?pri=\d+, "
    r"(?:relay=(?P<relay>[^,]*), )?(?:dsn=(?P<dsn>[\d.]+), )?(?:reply=.*?, )?stat=(?P<stat>.*)$"
)
_NEXT_SERVER = re.compile(r"(?P<name>\S*?)\.? ?\[(?P<address>[^\]]+)\]")
_HANDED_ON = re.compile(r"Sent \((?P<id>[0-9A-Za-z]{8}\d{6,}) Message accepted for delivery\)")


_ACCOUNT = re.compile(r", authid=(?P<account>[^\s,]+)")
_OF_PROCESSES = re.compile(rb"\]: ")
_STARTED = "starting daemon ("
_LOGINS_AND_MESSAGES = re.compile(rb"\]: AUTH=server, |, proto=E?SMTPS?A, |\]: starting daemon \(")
_AUTHENTICATED = re.compile(rf"from=.*, proto=E?SMTPS?A, (?:daemon=\S+, )?{_RELAY}$")  # RFC 3848: A is AUTH
_TAKEN = re.compile(rf"from=(?P<said>.*), proto=E?SMTP(?P<tls>S?)(?P<auth>A?), (?:daemon=(?P<daemon>\S+), )?{_RELAY}$")
_SENDER = re.compile(r"<(?P<sender>[^>]*)>, size=\d+, class=-?\d+, nrcpts=(?P<recipients>\d+)")
# The controlling user of what an alias or .forward makes is another than the sender (8.18, sendmail/recipient.c).
_TO = re.compile(r"to=(?P<to>.*?), (?:ctladdr=<?(?P<of>[^\s>,]*)>?[^,]*, )?delay=.*?, mailer=(?P<mailer>[^\s,]+)")
# Nobody may be silent for longer within a session (Timeout.command): who is heard of later began later.
_SILENCE_S = 3600.0


@dataclass(frozen=True)
class _Line:
    whole: str
    text: str  # without time stamp, host, program and queue id
    pid: str
    queue_id: str  # empty for lines of sessions


def trace(log: bytes, tokens: Sequence[str]) -> list[Trace]:
    """One trace for each token, in their order, from a log in the order of time.

    A message is ours when the token is in what its client said of it: sender or Message-ID. Only the lines that hold a token,
    those of their messages and of logins are ever decoded.
    """
    marked = list(_lines_with(log, any_of(tokens)))
    owners: dict[str, set[str]] = {}
    for line in marked:
        said = _said(line)
        if line.queue_id and said:
            owners.setdefault(line.queue_id, set()).update(token for token in tokens if token in said)
    owners = {queue_id: holds for queue_id, holds in owners.items() if holds}
    wanted = b"|".join(b" %b: " % queue_id.encode() for queue_id in owners)
    of_messages = list(_lines_with(log, re.compile(wanted + rb"|\]: AUTH=server, "))) if owners else []
    return [_trace(token, marked, [i for i, holds in owners.items() if token in holds], of_messages) for token in tokens]


def _lines_with(log: bytes, pattern: re.Pattern[bytes]) -> Iterator[_Line]:
    for whole in lines_with(log, pattern):
        match = _LINE.search(whole.rstrip())
        if match and not match["tag"].startswith("postfix"):
            yield _Line(whole, match["text"], match["pid"], match["id"] or "")


def _said(line: _Line) -> str:
    """What the client of this line said of itself."""
    sent = _FROM.match(line.text)
    if sent:
        return sent["said"]
    refused = _REFUSED.match(line.text)
    return refused["said"] if refused and refused["ruleset"] == "check_mail" else ""


def _trace(token: str, marked: Sequence[_Line], ids: Sequence[str], of_messages: Sequence[_Line]) -> Trace:
    whole = [line for line in of_messages if line.queue_id in ids]
    deliveries = [d for line in whole for d in [_delivery(line.text)] if d]
    handed_back = {found["id"] for line in whole for found in [_HANDED_ON.search(line.text)] if found}
    refused = {line.queue_id for line in whole if _REFUSED.match(line.text)}
    first_hop = [line for line in whole if line.queue_id not in handed_back]
    clients = [c for line in first_hop for c in [_client(_FROM.match(line.text), line.queue_id in refused)] if c]
    answers = [line for line in marked if token in line.whole and line not in whole]
    return Trace(
        token=token,
        clients=tuple(dict.fromkeys(clients)),
        queue_ids=tuple(ids),
        deliveries=tuple(dict.fromkeys(deliveries)),
        lines=evidence(line.whole for line in [*_logins(first_hop, of_messages), *whole, *answers]),
    )


def _logins(messages: Sequence[_Line], of_messages: Sequence[_Line]) -> Iterator[_Line]:
    """The last login in front of each message, of the same process and client: process ids are used again."""
    for message in messages:
        sent = _FROM.match(message.text)
        if sent is None:
            continue
        last: Optional[_Line] = None
        for line in of_messages:
            if line is message:
                break
            login = _LOGIN.match(line.text) if line.pid == message.pid and not line.queue_id else None
            last = line if login and login["address"] == sent["address"] else last
        if last:
            yield last


def _client(match: Optional[re.Match[str]], refused: bool) -> Optional[LoggedClient]:
    if match is None:
        return None
    return LoggedClient(_address(match["address"]), match["name"] or "", 0, refused)


def _address(text: str) -> str:
    """Sendmail writes `IPv6:` and every word of the address."""
    try:
        return str(ipaddress.ip_address(text[5:] if text.startswith("IPv6:") else text))
    except ValueError:
        return text


def _delivery(text: str) -> Optional[Delivery]:
    match = _DELIVERY.match(text)
    if match is None or match["stat"].startswith("aborted"):
        return None
    where = _NEXT_SERVER.fullmatch(match["relay"] or "")
    relay = f"{where['name']}[{_address(where['address'])}]" if where else match["relay"] or "none"
    dsn, stat = match["dsn"] or "", match["stat"]
    later = stat.startswith(("Deferred", "queued")) or dsn.startswith("4")
    status = "sent" if stat.startswith("Sent") else "deferred" if later else "bounced"
    return Delivery(match["to"].strip("<>"), status, printable(relay), dsn, printable(redact(stat)))


def authenticated(log: bytes, cut: bool = False) -> Iterator[Sent]:
    """The messages of people who had logged in, with the account of the login's line, which is joined by process and client.

    `cut`: something in front of this log is missing. Then a login may stand there, and a message whose process is heard of in
    the first hour is left out when it has none here, unless the daemon itself was started before.

    A daemon writes the line of every login or of none (LogLevel). Between two logins of one daemon the line of a message's own
    was lost on its way to the log: that message is left out, too.
    """
    logins: dict[str, tuple[str, str]] = {}  # process: client, account
    early: set[str] = set()
    nameless: list[Sent] = []  # behind a login of this daemon; known to be lost when another follows
    begun: Optional[float] = None
    logged = False
    for line in _lines_with(log, _OF_PROCESSES if cut else _LOGINS_AND_MESSAGES):
        started = line.text.startswith(_STARTED)
        if cut:
            at = stamp(line.whole)
            begun = at if begun is None else begun
            if started:
                cut = False
            elif at is None or begun is None or at - begun <= _SILENCE_S:
                early.add(line.pid)
        login, sent = _LOGIN.match(line.text), _AUTHENTICATED.match(line.text)
        if started:
            yield from nameless
            nameless, logged = [], False
        elif login:
            account = _ACCOUNT.search(line.text)
            logins[line.pid] = (login["address"], account["account"] if account else "")
            nameless, logged = [], True
        elif sent:
            client, account_name = logins.get(line.pid, ("", ""))
            found = account_name if client == sent["address"] else ""
            if found:
                yield Sent(line.whole, found)
            elif line.pid not in early and logged:
                nameless.append(Sent(line.whole, ""))
            elif line.pid not in early:
                yield Sent(line.whole, "")
    yield from nameless


def taken(log: bytes) -> list[Taken]:
    """The messages that came over SMTP. With the account of the login's line, as in `authenticated`."""
    found: dict[str, Taken] = {}
    logins: dict[str, tuple[str, str]] = {}  # process: client, account
    for line in _lines_with(log, re.compile(rb"\]: AUTH=server, |: from=|: to=")):
        login, start = _LOGIN.match(line.text), _TAKEN.match(line.text)
        said = _SENDER.match(start["said"]) if start else None
        if login:
            account = _ACCOUNT.search(line.text)
            logins[line.pid] = (login["address"], account["account"] if account else "")
        elif start and said and said["recipients"] != "0":
            client, name = logins.get(line.pid, ("", ""))
            who = (name if client == start["address"] else "") if start["auth"] else None
            found[line.queue_id] = Taken(
                line.whole, _address(start["address"]), who, start["daemon"] or "", bool(start["tls"]), said["sender"]
            )
        elif line.queue_id in found:
            found[line.queue_id].passed_on += _passed_on(line.text, found[line.queue_id].sender)
    return list(found.values())


def _passed_on(text: str, sender: str) -> list[str]:
    to = _TO.match(text)
    if to is None or to["mailer"] not in ("esmtp", "smtp", "smtp8", "dsmtp", "relay") or (to["of"] or sender) != sender:
        return []
    return [recipient.strip("<>") for recipient in to["to"].split(",")]
