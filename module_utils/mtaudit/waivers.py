"""What people decided about controls: failures that they accept (waivers), and answers where nothing could be checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from .finding import Status
from .joined import JoinedFinding
from .joined import Waiver as AppliedWaiver


@dataclass(frozen=True)
class Waiver:
    """An accepted failure of one control on one host; of one subject when `subject` names it (`*:25` or `listener *:25`).

    It holds up to and including the day `expires`.
    """

    id: str
    reason: str
    owner: str
    expires: date
    subject: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Waiver:
        """From inventory data that passed `refused_hosts`. Raises ValueError that says what is wrong with other data."""
        given = _texts(data, "id", "reason", "owner", "expires")
        return cls(given["id"], given["reason"], given["owner"], _day(given["expires"]), str(data.get("subject") or ""))

    def covers(self, finding: JoinedFinding) -> bool:
        """Whether it is about this control and subject. It says nothing about dates."""
        return self.id == finding.control and self.subject in ("", finding.subject.name, str(finding.subject))


@dataclass(frozen=True)
class Answer:
    """What a person says about a control that nothing could check. It holds up to and including the day `expires`."""

    id: str
    status: Status
    owner: str
    expires: date
    note: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Answer:
        """From inventory data that passed `refused_hosts`. Raises ValueError that says what is wrong with other data."""
        given = _texts(data, "id", "status", "owner", "expires")
        if given["status"] not in (Status.PASS.value, Status.FAIL.value):
            raise ValueError(f"status is '{given['status']}', neither pass nor fail")
        note = str(data.get("note") or "")
        return cls(given["id"], Status(given["status"]), given["owner"], _day(given["expires"]), note)


def _texts(data: Any, *names: str) -> dict[str, str]:
    if not isinstance(data, dict):
        raise ValueError("an entry is not a mapping")
    missing = [name for name in names if not isinstance(data.get(name), str)]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing, or no text")
    return {name: data[name] for name in names}


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expires: '{text}' is not a day written as 2027-03-31") from None


def apply_waivers(findings: Iterable[JoinedFinding], waivers: Iterable[Waiver], today: date) -> list[JoinedFinding]:
    """The findings of one host with its waivers applied.

    A waiver turns `fail` into `waived` and nothing else: what is unknown was not accepted, it was not seen. A failure whose
    waivers have all expired stays `fail` and says so.
    """
    known = tuple(waivers)
    return [_waived(finding, known, today) if finding.status is Status.FAIL else finding for finding in findings]


def _waived(finding: JoinedFinding, waivers: tuple[Waiver, ...], today: date) -> JoinedFinding:
    covering = [w for w in waivers if w.covers(finding)]
    if not covering:
        return finding
    latest = max(covering, key=lambda w: w.expires)
    applied = AppliedWaiver(latest.owner, latest.expires.isoformat(), latest.reason, expired=latest.expires < today)
    if not applied.expired:
        return replace(finding, status=Status.WAIVED, waiver=applied)
    note = f"the waiver of {latest.owner} expired on {latest.expires.isoformat()}"
    return replace(finding, waiver=applied, reason=f"{finding.reason}; {note}" if finding.reason else note)


def apply_answers(findings: Iterable[JoinedFinding], answers: Iterable[Answer], today: date) -> list[JoinedFinding]:
    """The findings of one host with what people answered.

    An answer counts only where nobody looked (`notchecked`): a person's word never overrules what was seen, nor hides that a
    method tried and could not tell. An expired answer leaves the finding as it was and says so.
    """
    latest: dict[str, Answer] = {}
    for answer in answers:
        if answer.id not in latest or answer.expires > latest[answer.id].expires:
            latest[answer.id] = answer
    return [_answered(finding, latest[finding.control], today)
            if finding.status is Status.NOTCHECKED and finding.control in latest else finding for finding in findings]


def _answered(finding: JoinedFinding, answer: Answer, today: date) -> JoinedFinding:
    until = answer.expires.isoformat()
    if answer.expires < today:
        note = f"the answer of {answer.owner} expired on {until}"
        return replace(finding, reason=f"{finding.reason}; {note}" if finding.reason else note)
    message = answer.note or f"{answer.owner} says so"
    return replace(finding, status=answer.status, message=message, reason=f"answered by {answer.owner}, valid until {until}")
