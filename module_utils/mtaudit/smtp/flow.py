"""Whether mail flows: what became of one message in each direction, and how that compares with before a change. Pure.

Four directions: `in` from a stranger to a mailbox of the site, `submission` from a login to the canary, `out` from a local
program to the canary, `local` from a local program to a mailbox of the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Optional

from ..logs.outcome import Delivery, Trace


class Direction(str, Enum):
    """Where a message comes from and goes to."""

    IN = "in"
    SUBMISSION = "submission"
    OUT = "out"
    LOCAL = "local"


TO_THE_CANARY = (Direction.SUBMISSION, Direction.OUT)


class Status(str, Enum):
    """What became of a message.

    `accepted`: the server took it, and nothing confirms yet that it arrived. `refused`: the server does not take it, or sent it
    back. `not_sent`: there was nothing to try it with. `unknown`: put off, or the session broke off.
    """

    ARRIVED = "arrived"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """One message. `where` is the listener or program that it was handed to, `line` what that said last, `detail` the reason.

    `seconds` is the time until the message was confirmed, or else until it was taken; `at` when it was sent, since the epoch.
    """

    direction: Direction
    target: str
    where: str
    status: Status
    detail: str = ""
    line: str = ""
    token: str = ""
    seconds: float = 0.0
    at: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "direction": self.direction.value, "status": self.status.value, "seconds": round(self.seconds, 2)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Answer:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError on data that is no answer."""
        fields = {**data, "direction": Direction(data["direction"]), "status": Status(data["status"])}
        return cls(**{**fields, "seconds": float(data.get("seconds") or 0), "at": float(data.get("at") or 0)})

    @property
    def pending(self) -> bool:
        """Whether the message may still be on its way: a session can break off after the server took it."""
        return bool(self.token) and self.status in (Status.ACCEPTED, Status.UNKNOWN)


def after_log(answer: Answer, trace: Trace, why_missing: str = "") -> Answer:
    """The answer with what the server's own log says of its token. `why_missing`: why the log may not hold it.

    To the canary only the canary confirms: there the log can only tell why a message did not come.
    """
    if not answer.pending:
        return answer
    ends = _ends(trace)
    sent = [end for end in ends if end.status == "sent"]
    if sent and answer.direction not in TO_THE_CANARY:
        return replace(answer, status=Status.ARRIVED, detail=f"delivered, the log says: {_told(sent[0])}")
    if not ends:
        said = "no delivery yet" if trace.found else f"nothing of this message{f' ({why_missing})' if why_missing else ''}"
        return replace(answer, detail=_joined(answer.detail, f"the log says {said}"))
    bounced = not sent and all(end.status == "bounced" for end in ends)
    status = Status.REFUSED if bounced else answer.status
    return replace(answer, status=status, detail=_joined(answer.detail, f"the log says {_told(ends[-1])}"))


def _ends(trace: Trace) -> list[Delivery]:
    """The deliveries with which a message leaves the mail server's hands: not those to a filter that handed it back."""
    return [d for d in trace.deliveries if not any(queue_id in d.text for queue_id in trace.queue_ids)]


def _told(delivery: Delivery) -> str:
    by = f"by {delivery.relay}" if delivery.relay != "none" else ""
    words = (delivery.status, f"<{delivery.recipient}>", by, delivery.text)
    return " ".join(word for word in words if word)


def _joined(*parts: str) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))


class Verdict(str, Enum):
    """How one direction compares with before."""

    KEPT = "kept"
    BROKEN = "broken"
    WAS_BROKEN = "was_broken"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True)
class Compared:
    """One direction at one listener, before and after. `proven`: a message arrived after the change."""

    direction: Direction
    target: str
    where: str
    verdict: Verdict
    proven: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "direction": self.direction.value, "verdict": self.verdict.value}


_FLOWS = {Status.ARRIVED: 2, Status.ACCEPTED: 1, Status.REFUSED: 0, Status.UNKNOWN: 0}
_Key = tuple[Direction, str, str]


def compare(before: Iterable[Answer], after: Iterable[Answer]) -> list[Compared]:
    """Every direction at every listener that either run tells of. Of several answers about one (two vantages) the best counts."""
    old, new = _best(before), _best(after)
    order = list(Direction)
    keys = sorted(old.keys() | new.keys(), key=lambda key: (key[1], order.index(key[0]), key[2]))
    return [_compared(key, old.get(key), new.get(key)) for key in keys]


def _best(answers: Iterable[Answer]) -> dict[_Key, Answer]:
    found: dict[_Key, Answer] = {}
    for answer in answers:
        key = (answer.direction, answer.target, answer.where)
        if key not in found or _rank(answer) > _rank(found[key]):
            found[key] = answer
    return found


def _rank(answer: Optional[Answer]) -> int:
    """How far a message got; -1 when none was tried."""
    return _FLOWS.get(answer.status, -1) if answer else -1


def _compared(key: _Key, before: Optional[Answer], after: Optional[Answer]) -> Compared:
    was, is_now = _rank(before), _rank(after)
    if was > 0:
        verdict = Verdict.KEPT if is_now >= was else Verdict.BROKEN
    elif is_now > 0:
        verdict = Verdict.KEPT
    else:
        verdict = Verdict.WAS_BROKEN if was == 0 else Verdict.NOT_TRIED
    return Compared(*key, verdict, is_now == _FLOWS[Status.ARRIVED], _reason(verdict, before, after))


def _reason(verdict: Verdict, before: Optional[Answer], after: Optional[Answer]) -> str:
    now, then = _in_words(after), _in_words(before)
    same = verdict is Verdict.KEPT and _rank(before) == _rank(after)
    return now if before is None or same or now == then else f"{now}; before: {then}"


def _in_words(answer: Optional[Answer]) -> str:
    if answer is None:
        return "nothing was tried"
    said = answer.detail or answer.line
    return f"{answer.status.value.replace('_', ' ')}{f': {said}' if said else ''}"


def unproven(compared: Sequence[Compared], directions: Iterable[Direction] = tuple(Direction)) -> dict[str, str]:
    """The directions in which no message was proven to arrive after the change, each with the reason."""
    found = {}
    for direction in directions:
        of_it = [each for each in compared if each.direction is direction]
        if not any(each.proven for each in of_it):
            found[direction.value] = "; ".join(dict.fromkeys(each.reason for each in of_it)) or "nothing was tried"
    return found


def as_broken(compared: Iterable[Compared]) -> list[str]:
    """What flowed before and does not flow now, as sentences."""
    return [f"{each.direction.value} {f'at {each.where} ' if each.where else ''}of {each.target}: {each.reason}"
            for each in compared if each.verdict is Verdict.BROKEN]  # fmt: skip
