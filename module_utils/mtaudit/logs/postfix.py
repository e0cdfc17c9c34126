"""Find our own sessions in Postfix's log: which client address was logged, and where the message went."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..redact import redact
from ..text import printable
from .outcome import Delivery, LoggedClient, Sent, Taken, Trace, any_of, evidence, lines_with

_TAGGED = re.compile(r"\s(?P<tag>[^\s\[]+)\[(?P<pid>\d+)\]: (?P<text>.*)$")
_QUEUE_ID = re.compile(r"(?P<id>[0-9A-F]{6,}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}): ")  # short and long form, postconf(5)
_CLIENT = re.compile(r"client=(?P<name>[^\s\[]*)\[(?P<address>[^\]]+)\](?::(?P<port>\d+))?")
_ORIGINAL = re.compile(r"orig_client=(?P<name>[^\s\[]*)\[(?P<address>[^\]]+)\](?::(?P<port>\d+))?")
_REJECTED = re.compile(
    r"(?:reject|reject_warning|hold|discard|filter): \S+ from (?P<name>[^\s\[]*)\[(?P<address>[^\]]+)\](?::(?P<port>\d+))?"
)
_DELIVERY = re.compile(
    r"to=<(?P<recipient>[^>]*)>, .*?relay=(?P<relay>[^,]+), .*?dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+) \((?P<text>.*)\)$"
)
PASSED_ON = re.compile(rb"\]: NOQUEUE: client=")
_REINJECTED = re.compile(r"queued as (?P<id>[0-9A-Za-z]{6,})")


_LOGIN = re.compile(r"(?:(?:NOQUEUE|[0-9A-Za-z]{6,}): )client=\S+, sasl_method=[^\s,]*(?P<rest>.*)")
_ACCOUNT = re.compile(r", sasl_username=(?P<account>[^\s,]+)")

_OF_MESSAGES = re.compile(rb"smtpd\[\d+\]: |: from=<|: to=<|: removed")
_NEW = re.compile(r"(?:NOQUEUE|[0-9A-Za-z]{6,}): client=")
_SENDER = re.compile(r"from=<(?P<sender>[^>]*)>, size=")
_TO = re.compile(r"to=<(?P<to>[^>]*)>, (?:orig_to=<(?P<first>[^>]*)>, )?relay=")
_STARTTLS = re.compile(r" starttls=(?P<done>\d+)")


@dataclass(frozen=True)
class _Line:
    whole: str
    text: str  # without time stamp, host and program
    queue_id: str  # empty for NOQUEUE and for lines of sessions


def trace(log: bytes, tokens: Sequence[str]) -> list[Trace]:
    """One trace for each token, in their order, from a log in the order of time.

    Lines of our own simulation (tagged mtaudit) are not sessions. Only the lines that hold a token, and those of their messages,
    are ever decoded: a busy server writes gigabytes.
    """
    marked: dict[str, list[_Line]] = {token: [] for token in tokens}
    pattern = any_of(tokens)
    with_token = {line.queue_id for line in _lines_with(log, pattern)} - {""}
    messages = _Messages()
    wanted = b"|".join([pattern.pattern, *(b" %b: " % queue_id.encode() for queue_id in sorted(with_token))])
    for line in _lines_with(log, re.compile(wanted)):
        message = messages.add(line)
        for token in set(pattern.findall(line.whole.encode())):
            marked[token.decode()].append(line)
            if message is not None:
                message.tokens.add(token.decode())
    before_queue_filter = any(_lines_with(log, PASSED_ON))
    return [_trace(token, marked[token], messages.of(token), before_queue_filter) for token in marked]


def _lines_with(log: bytes, pattern: re.Pattern[bytes]) -> Iterator[_Line]:
    """The lines of Postfix that the pattern is in, each once, in order."""
    for whole in lines_with(log, pattern):
        line = _parsed(whole)
        if line is not None:
            yield line


def _parsed(whole: str) -> Optional[_Line]:
    match = _TAGGED.search(whole)
    if match is None or match["tag"].startswith("mtaudit"):
        return None
    queued = _QUEUE_ID.match(match["text"])
    return _Line(whole, match["text"], queued["id"] if queued else "")


class _Message:
    """The lines of one message: a queue id from its birth to its removal."""

    def __init__(self, queue_id: str) -> None:
        self.queue_id = queue_id
        self.lines: list[_Line] = []
        self.tokens: set[str] = set()


class _Messages:
    """Groups lines by queue id. Short ids are used again within seconds: `client=` and `removed` start a new message."""

    def __init__(self) -> None:
        self._open: dict[str, _Message] = {}
        self._all: list[_Message] = []

    def add(self, line: _Line) -> Optional[_Message]:
        if not line.queue_id:
            return None
        rest = line.text[len(line.queue_id) + 2 :]
        message = self._open.get(line.queue_id)
        if message is None or rest.startswith("client="):
            message = self._open[line.queue_id] = _Message(line.queue_id)
            self._all.append(message)
        message.lines.append(line)
        if rest.startswith("removed"):
            del self._open[line.queue_id]
        return message

    def of(self, token: str) -> list[_Message]:
        return [message for message in self._all if token in message.tokens]


def _trace(token: str, marked: Sequence[_Line], messages: Sequence[_Message], before_queue_filter: bool) -> Trace:
    whole = [line for message in messages for line in message.lines]
    own = [line for line in marked if not line.queue_id]
    deliveries = [delivery for line in whole for delivery in _deliveries(line.text)]
    handed_back = {found["id"] for d in deliveries for found in [_REINJECTED.search(d.text)] if found}
    first_hop = [line for message in messages if message.queue_id not in handed_back for line in message.lines]
    clients = [client for line in [*own, *first_hop] for client in _clients(line.text)]
    return Trace(
        token=token,
        clients=tuple(dict.fromkeys(clients)),
        queue_ids=tuple(dict.fromkeys(message.queue_id for message in messages)),
        deliveries=tuple(dict.fromkeys(deliveries)),
        lines=evidence(line.whole for line in [*own, *whole]),
        before_queue_filter=before_queue_filter,
    )


def _clients(text: str) -> Iterator[LoggedClient]:
    """The client that a line names: the one before a content filter (`orig_client`), where Postfix was told of it."""
    refused = _REJECTED.search(text)
    match = refused or _ORIGINAL.search(text) or _CLIENT.search(text)
    if match:
        yield LoggedClient(match["address"], match["name"], int(match["port"] or 0), bool(refused))


def _deliveries(text: str) -> Iterator[Delivery]:
    match = _DELIVERY.search(text)
    if match:
        said = printable(redact(match["text"]))
        yield Delivery(match["recipient"], match["status"], printable(match["relay"]), match["dsn"], said)


def authenticated(log: bytes, cut: bool = False) -> Iterator[Sent]:
    """The messages of people who had logged in: their client's line names method and account."""
    for line in _lines_with(log, re.compile(rb", sasl_method=")):
        match = _LOGIN.match(line.text)
        if match:
            account = _ACCOUNT.match(match["rest"])
            yield Sent(line.whole, account["account"] if account else "")


def taken(log: bytes) -> list[Taken]:
    """The messages that smtpd took. TLS is told by smtpd_tls_loglevel = 1, else by the summary that Postfix 3.0 and newer
    writes at the end of a session."""
    found = _Taken()
    for whole in lines_with(log, _OF_MESSAGES):
        match = _TAGGED.search(whole)
        if match and not match["tag"].startswith("mtaudit"):
            name, _slash, program = match["tag"].rpartition("/")
            if program == "smtpd":
                found.smtpd(whole, name, match["pid"], match["text"])
            else:
                found.queue(program, match["text"])
    return found.all()


class _Taken:
    """Joins the lines of sessions by process, those of messages by queue id."""

    def __init__(self) -> None:
        self._found: list[Taken] = []
        self._open: dict[str, Taken] = {}
        self._last: dict[str, Taken] = {}  # by queue id, those that are gone as well
        self._sessions: dict[tuple[str, str], tuple[list[Taken], bool]] = {}  # by name and process: its messages; TLS was seen
        self._copies: list[tuple[Taken, Taken]] = []  # a message, and what a content filter handed back of it

    def smtpd(self, whole: str, name: str, pid: str, text: str) -> None:
        messages, secure = self._sessions.get((name, pid), ([], False))
        if text.startswith("disconnect from "):
            self._end(messages, secure, text)
        if text.startswith(("connect from ", "disconnect from ")):
            messages, secure = [], False
        elif " TLS connection established from " in text:
            secure = True
        elif _NEW.match(text):
            messages = [*messages, self._begin(whole, name, text)]
        self._sessions[(name, pid)] = (messages, secure)

    def _begin(self, whole: str, name: str, text: str) -> Taken:
        client, login = _CLIENT.search(text), _LOGIN.match(text)
        account = _ACCOUNT.match(login["rest"]) if login else None
        message = Taken(whole, client["address"] if client else "", listener=name)
        message.account = (account["account"] if account else "") if login else None
        queue_id = text.partition(":")[0]
        if queue_id != "NOQUEUE":
            self._open[queue_id] = self._last[queue_id] = message
        if not _ORIGINAL.search(text):  # else a filter handed it back: its client and login are those of the first hop
            self._found.append(message)
        return message

    def _end(self, messages: Sequence[Taken], secure: bool, text: str) -> None:
        counted = _STARTTLS.search(text)
        for message in messages:
            if secure or counted and int(counted["done"]):
                message.tls = True
            elif " commands=" in text:
                message.tls = False

    def queue(self, program: str, text: str) -> None:
        queue_id, _colon, rest = text.partition(": ")
        message = self._open.get(queue_id)
        if message is None:
            return
        sender, to, again = _SENDER.match(rest), _TO.match(rest), _REINJECTED.search(rest)
        if sender:
            message.sender = sender["sender"]
        elif to and again and again["id"] in self._last:
            self._copies.append((message, self._last[again["id"]]))
        elif to and program == "smtp":
            message.passed_on.append(to["first"] or to["to"])
        elif rest.startswith("removed"):
            del self._open[queue_id]

    def all(self) -> list[Taken]:
        """In the order of time; what a content filter handed back is a part of the message that it was made of."""
        for message, copy in self._copies:
            message.passed_on += copy.passed_on
        copies = {id(copy) for _, copy in self._copies}
        return [message for message in self._found if id(message) not in copies]
