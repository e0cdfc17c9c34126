"""What all methods together concluded about one control on one subject of one host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from .finding import Evidence, Method, Status, Subject

SEVERITIES = ("critical", "high", "medium", "low")  # worst first

# Neither good nor bad: nobody may read them as a pass or as a failure.
UNDECIDED = frozenset({Status.UNKNOWN, Status.ERROR, Status.NOTCHECKED})

NEW = "new"
STILL_OPEN = "still_open"
FIXED = "fixed"

DISAGREE = "(methods disagree)"  # ends the subject of a finding which says that


@dataclass(frozen=True)
class Waiver:
    """An accepted failure. `expires` is an ISO date; `expired` says that the run was later: the failure counts again."""

    owner: str
    expires: str
    reason: str
    expired: bool = False

    def __str__(self) -> str:
        state = "expired on" if self.expired else "until"
        return f"accepted by {self.owner}, {state} {self.expires}: {self.reason}"


@dataclass(frozen=True)
class JoinedFinding:
    """One line of the report.

    `methods` maps a method to what it said, in its own word: `{"config": "fail", "probe": "proven_open"}`. `since` is when the
    failure was first seen (ISO 8601, UTC); `change` compares with the last comparable run: `new`, `still_open`, `fixed` or empty.
    """

    host: str
    control: str
    subject: Subject
    status: Status
    message: str
    severity: str
    title: str
    area: str
    methods: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    waiver: Optional[Waiver] = None
    fix_hint: str = ""
    since: str = ""
    change: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same failure has the same key in every run."""
        return (self.host, self.control, self.subject.kind, self.subject.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; what is empty is left out, so that a pass is one compact line."""
        data: dict[str, Any] = {
            "host": self.host,
            "control": self.control,
            "subject": {"kind": self.subject.kind, "name": self.subject.name},
            "status": self.status.value,
            "message": self.message,
            "severity": self.severity,
            "title": self.title,
            "area": self.area,
        }
        if self.methods:
            data["methods"] = dict(self.methods)
        if self.conditions:
            data["conditions"] = list(self.conditions)
        if self.evidence:
            data["evidence"] = [{"method": e.method.value, "where": e.where, "text": e.text} for e in self.evidence]
        if self.waiver:
            data["waiver"] = asdict(self.waiver)
        for name in ("reason", "fix_hint", "since", "change"):
            if getattr(self, name):
                data[name] = getattr(self, name)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JoinedFinding:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError on data that is not a joined finding."""
        waiver = data.get("waiver")
        return cls(
            host=data["host"],
            control=data["control"],
            subject=Subject(data["subject"]["kind"], data["subject"]["name"]),
            status=Status(data["status"]),
            message=data["message"],
            severity=data["severity"],
            title=data["title"],
            area=data["area"],
            methods=dict(data.get("methods", {})),
            conditions=tuple(data.get("conditions", ())),
            reason=data.get("reason", ""),
            evidence=tuple(Evidence(Method(e["method"]), e["where"], e["text"]) for e in data.get("evidence", ())),
            waiver=Waiver(waiver["owner"], waiver["expires"], waiver["reason"], waiver["expired"]) if waiver else None,
            fix_hint=data.get("fix_hint", ""),
            since=data.get("since", ""),
            change=data.get("change", ""),
        )
