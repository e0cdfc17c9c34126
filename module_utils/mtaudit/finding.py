"""What a control concluded about a subject: findings, their status and their evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Status(str, Enum):
    """Result words of XCCDF 1.2 (NISTIR 7275r4, 6.6.4.2), and `waived`."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    UNKNOWN = "unknown"
    NOTAPPLICABLE = "notapplicable"
    NOTCHECKED = "notchecked"
    INFORMATIONAL = "informational"
    FIXED = "fixed"
    WAIVED = "waived"


class Method(str, Enum):
    """How something was found out."""

    CONFIG = "config"
    SIMULATION = "simulation"
    PROBE = "probe"
    LOG = "log"


@dataclass(frozen=True)
class Subject:
    """What a finding is about: kind is `host`, `listener`, `domain`, `address`, `account` or `network`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return self.kind if self.kind == "host" else f"{self.kind} {self.name}"


HOST = Subject("host", "")


@dataclass(frozen=True)
class Evidence:
    """One observation: `where` is file:line, parameter, table entry or listener; `text` is what was seen there, redacted."""

    method: Method
    where: str
    text: str


@dataclass(frozen=True)
class Finding:
    """The result of one control on one subject by one method.

    `conditions` says what it takes (`null_sender`, `ipv6`, ...); empty means anybody, anyhow. `reason` says why a status is
    `unknown`, `error`, `notapplicable` or `notchecked`. `verdict` is the relay probe's word where it has one. `clients` are the
    addresses or networks that the way is open to, by configuration, or that were seen to go it; empty means anybody's.
    """

    control: str
    subject: Subject
    status: Status
    message: str
    method: Method = Method.CONFIG
    evidence: tuple[Evidence, ...] = ()
    conditions: tuple[str, ...] = ()
    reason: str = ""
    verdict: str = ""
    clients: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; what is empty is left out, so that a pass is one compact line."""
        data: dict[str, Any] = {
            "control": self.control,
            "subject": {"kind": self.subject.kind, "name": self.subject.name},
            "status": self.status.value,
            "method": self.method.value,
            "message": self.message,
        }
        if self.evidence:
            data["evidence"] = [{"method": e.method.value, "where": e.where, "text": e.text} for e in self.evidence]
        for name in ("conditions", "clients"):
            if getattr(self, name):
                data[name] = list(getattr(self, name))
        for name in ("reason", "verdict"):
            if getattr(self, name):
                data[name] = getattr(self, name)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """The inverse of `to_dict`. Raises KeyError or ValueError on data that is not a finding."""
        return cls(
            control=data["control"],
            subject=Subject(data["subject"]["kind"], data["subject"]["name"]),
            status=Status(data["status"]),
            method=Method(data["method"]),
            message=data["message"],
            evidence=tuple(
                Evidence(Method(e["method"]), e["where"], e["text"]) for e in data.get("evidence", ())
            ),
            conditions=tuple(data.get("conditions", ())),
            clients=tuple(data.get("clients", ())),
            reason=data.get("reason", ""),
            verdict=data.get("verdict", ""),
        )


def _finding(status: Status, subject: Subject, message: str, evidence: Iterable[Evidence], **more: Any) -> Finding:
    # The control's id is stamped on by the @control decorator, the one place that knows it.
    return Finding("", subject, status, message, evidence=tuple(evidence), **more)


def passed(subject: Subject, message: str, *evidence: Evidence) -> Finding:
    """The requirement is met."""
    return _finding(Status.PASS, subject, message, evidence)


def fail(
    subject: Subject, message: str, *evidence: Evidence, conditions: Iterable[str] = (), clients: Iterable[str] = ()
) -> Finding:
    """The requirement is not met; the message names the path, the evidence shows it."""
    return _finding(Status.FAIL, subject, message, evidence, conditions=tuple(conditions), clients=tuple(clients))


def unknown(subject: Subject, message: str, reason: str, *evidence: Evidence) -> Finding:
    """It could not be found out, and why."""
    return _finding(Status.UNKNOWN, subject, message, evidence, reason=reason)


def error(subject: Subject, message: str, reason: str, *evidence: Evidence) -> Finding:
    """A tool is missing, a file unreadable, or our own code failed."""
    return _finding(Status.ERROR, subject, message, evidence, reason=reason)


def notapplicable(subject: Subject, message: str, reason: str) -> Finding:
    """The requirement does not concern this subject, and why."""
    return _finding(Status.NOTAPPLICABLE, subject, message, (), reason=reason)


def informational(subject: Subject, message: str, *evidence: Evidence) -> Finding:
    """Worth knowing, neither good nor bad."""
    return _finding(Status.INFORMATIONAL, subject, message, evidence)


def stamped(finding: Finding, control: str, method: Method = Method.CONFIG) -> Finding:
    """The finding with its control's id and method filled in."""
    return replace(finding, control=control, method=method)
