"""What a log says of our own sessions, in the same words for every program; and how their lines are found in a long log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional

from ..redact import redact
from ..text import decode, printable

_LINE_LIMIT = 600
_LINES_KEPT = 20
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d")


@dataclass(frozen=True)
class LoggedClient:
    """The client of a session as the server saw it. `refused`: logged with a refusal, so access control judged this address."""

    address: str
    name: str = ""
    port: int = 0
    refused: bool = False


@dataclass(frozen=True)
class Delivery:
    """What became of a message for one recipient: `status` is sent, deferred, bounced ...; `text` the next server's answer."""

    recipient: str
    status: str
    relay: str
    dsn: str
    text: str


@dataclass(frozen=True)
class Sent:
    """A message of somebody who had logged in: the line that says so, and the account that the log names; empty for none."""

    line: str
    account: str


@dataclass
class Taken:
    """A message that was taken over SMTP, as far as the log tells.

    `account` is None without a login, and empty where the log does not name it. `listener` is what tells the listeners apart:
    Postfix's syslog_name, the port for Exim, the daemon's name for Sendmail, empty where nothing does. `tls` is None where the
    log does not say. `passed_on` are the recipients, as the client named them, whose mail went on to another server.
    """

    line: str
    client: str
    account: Optional[str] = None
    listener: str = ""
    tls: Optional[bool] = None
    sender: str = ""
    passed_on: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """What the log says about the sessions that carried one token.

    `clients` are those of the first hop: a message that a content filter hands back is not counted again. `before_queue_filter`:
    the log holds sessions that were passed to a filter before they got a queue id, whose token is logged by nobody.
    """

    token: str
    clients: tuple[LoggedClient, ...] = ()
    queue_ids: tuple[str, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    lines: tuple[str, ...] = ()
    before_queue_filter: bool = False

    @property
    def found(self) -> bool:
        return bool(self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "token": self.token,
            "clients": [vars(client) for client in self.clients],
            "queue_ids": list(self.queue_ids),
            "deliveries": [vars(delivery) for delivery in self.deliveries],
            "lines": list(self.lines),
            "before_queue_filter": self.before_queue_filter,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trace:
        """The inverse of `to_dict`. Raises KeyError or TypeError on data that is not a trace."""
        return cls(
            token=data["token"],
            clients=tuple(LoggedClient(**client) for client in data["clients"]),
            queue_ids=tuple(data["queue_ids"]),
            deliveries=tuple(Delivery(**delivery) for delivery in data["deliveries"]),
            lines=tuple(data["lines"]),
            before_queue_filter=data["before_queue_filter"],
        )


def joined(traces: Sequence[Trace]) -> Trace:
    """What the logs of several programs say about the same token."""
    return Trace(
        traces[0].token,
        tuple(dict.fromkeys(client for trace in traces for client in trace.clients)),
        tuple(dict.fromkeys(queue_id for trace in traces for queue_id in trace.queue_ids)),
        tuple(dict.fromkeys(delivery for trace in traces for delivery in trace.deliveries)),
        tuple(dict.fromkeys(line for trace in traces for line in trace.lines))[:_LINES_KEPT],
        any(trace.before_queue_filter for trace in traces),
    )


def any_of(tokens: Sequence[str]) -> re.Pattern[bytes]:
    """Matches each token. What all begin with stands in front, which makes the search some ten times faster."""
    prefix = os.path.commonprefix(list(tokens))
    rest = b"|".join(re.escape(token[len(prefix) :].encode()) for token in sorted(tokens, key=len, reverse=True))
    return re.compile(re.escape(prefix.encode()) + b"(?:" + rest + b")")


def lines_with(log: bytes, pattern: re.Pattern[bytes]) -> Iterator[str]:
    """The lines that the pattern is in, each once, in order."""
    position = 0
    while True:
        found = pattern.search(log, position)
        if found is None:
            return
        start = log.rfind(b"\n", 0, found.start()) + 1
        end = log.find(b"\n", found.start())
        position = len(log) if end < 0 else end
        yield decode(log[start:position])


def evidence(lines: Iterable[str]) -> tuple[str, ...]:
    """The first lines, each once, fit for a report."""
    return tuple(printable(redact(line.rstrip()), _LINE_LIMIT) for line in list(dict.fromkeys(lines))[:_LINES_KEPT])


def stamp(line: str) -> Optional[float]:
    """When a line was written, in seconds since an epoch of its own: good for differences. None for a form that is not known."""
    try:
        return datetime.fromisoformat(line[:19]).timestamp()
    except ValueError:
        pass
    try:  # BSD's stamp has no year; a leap year has every day
        return datetime.strptime(f"2024 {line[:15]}", "%Y %b %d %H:%M:%S").timestamp()
    except ValueError:
        return None


def written(line: str) -> str:
    """The stamp that a line begins with, as it stands there; empty for a form that is not known."""
    found = _STAMP.match(line)
    return found[0] if found else ""
