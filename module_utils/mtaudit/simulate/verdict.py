"""Turn a program's answers into findings: one class of hole, one control."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..address import Network, contains
from ..finding import Evidence, Finding, Method, Status, Subject
from ..smtp.battery import CONTROLS, Hole
from ..smtp.reply import Reply
from ..smtp.wording import Meaning, meaning
from .envelopes import Client, Envelope

# What each class of hole lets through.
_QUESTION = {
    Hole.PLAIN: "a foreign recipient",
    Hole.LOCAL_SENDER: "mail that a stranger sends with a local sender",
    Hole.ROUTING: "a foreign recipient hidden in the local part",
}
CLASSES = tuple(_QUESTION)
# Refusals that say nothing about relaying, and what they say instead, {} being the program.
_NO_VERDICT = {
    Meaning.TLS_REQUIRED: "encryption is demanded, which the simulation does not use",
    Meaning.BLOCKED: "the simulated client was refused as one that is on a blocklist",
    Meaning.OVERLOADED: "{} is overloaded",
    Meaning.TEMPORARY: "refused for the moment only",
}


@dataclass(frozen=True)
class Answer:
    """What the program said to one envelope of one client.

    `allowed` is None when the reply decides nothing; `reason` says why. `reply` is quoted as evidence.
    """

    client: Client
    envelope: Envelope
    allowed: Optional[bool]
    reply: str
    reason: str = ""

    @property
    def conditions(self) -> tuple[str, ...]:
        return (*self.client.conditions, *([self.envelope.condition] if self.envelope.condition else []))


@dataclass(frozen=True)
class Simulated:
    """What the simulation of a host found, and how many processes it started."""

    findings: tuple[Finding, ...] = ()
    spawns: int = 0


def no_verdict(reply: Reply, program: str) -> str:
    """Why a refusal says nothing about relaying, whatever the program's own words for it; empty when it does."""
    return _NO_VERDICT.get(meaning(reply), "").format(program)


def findings(
    listener: str,
    answers: Sequence[Answer],
    trusted: Sequence[Network],
    stopped: str = "",
    routing_gap: str = "",
    program: str = "smtpd",
) -> Iterator[Finding]:
    """One finding for each class of hole: every distinct way in, else `unknown` when something is undecided, else `pass`.

    `stopped` says why answers are missing, `routing_gap` why some tricks were not tried. Allowed for localhost or for a `trusted`
    network is no hole.
    """
    subject = Subject("listener", listener)
    strangers = [a for a in answers if a.client.vantage != "local" and not contains(trusted, a.client.address)]
    for hole in CLASSES:
        mine, without = _telling(hole, strangers)
        opened = list(_narrowest([a for a in mine if a.allowed]))
        if opened:
            yield from (_fail(subject, hole, answer, _through(answer, mine), program) for answer in opened)
        else:
            missing = stopped or without or (routing_gap if hole is Hole.ROUTING else "")
            yield _not_open(subject, hole, mine, missing, program)


def _telling(hole: Hole, answers: Sequence[Answer]) -> tuple[list[Answer], str]:
    """The answers of a class that tell something, and why some do not.

    With an open relay every routing trick succeeds too, so tricks are judged by the clients that may not relay outright.
    """
    mine = [a for a in answers if a.envelope.hole is hole]
    if not mine:
        return [], "no envelope of this kind could be tried"
    if hole is not Hole.ROUTING:
        return mine, ""
    relayed = {a.client for a in answers if a.allowed and a.envelope.hole is Hole.PLAIN and not a.envelope.condition}
    anybody = any(client.vantage == "stranger" and not client.network for client in relayed)
    return [a for a in mine if a.client not in relayed], "relays for strangers, so tricks cannot be told apart" if anybody else ""


def _narrowest(opened: Iterable[Answer]) -> Iterator[Answer]:
    """The answers that no other one makes superfluous: what anybody may do needs no second finding for the null sender."""
    kept: list[set[str]] = []
    for answer in sorted(opened, key=lambda a: len(a.conditions)):
        conditions = set(answer.conditions)
        if not any(known <= conditions for known in kept):
            kept.append(conditions)
            yield answer


def _not_open(subject: Subject, hole: Hole, mine: Sequence[Answer], stopped: str, program: str) -> Finding:
    undecided = [a for a in mine if a.allowed is None]
    refused = [a for a in mine if a.allowed is False]
    reason = undecided[0].reason if undecided else stopped
    if reason:
        message = f"The simulation does not tell whether {program} accepts {_QUESTION[hole]}"
        quoted = tuple(_evidence(subject, a) for a in undecided[:1])
        return Finding(CONTROLS[hole], subject, Status.UNKNOWN, message, Method.SIMULATION, quoted, (), reason, "unknown")
    addresses = len({a.client.address for a in refused})
    message = f"{program} refuses {_QUESTION[hole]}: {len(refused)} envelopes from {addresses} client addresses"
    quoted = (_evidence(subject, refused[0]),)
    return Finding(CONTROLS[hole], subject, Status.PASS, message, Method.SIMULATION, quoted, verdict="closed")


def _through(opened: Answer, mine: Iterable[Answer]) -> tuple[str, ...]:
    """The invented clients that got through the same way."""
    same = (a.client for a in mine if a.allowed and set(a.conditions) == set(opened.conditions))
    return tuple(dict.fromkeys(str(client.address) for client in same))


def _fail(subject: Subject, hole: Hole, answer: Answer, clients: tuple[str, ...], program: str) -> Finding:
    message = f"{program} accepts {_QUESTION[hole]} from a client at {answer.client.address} ({answer.client.vantage})"
    return Finding(CONTROLS[hole], subject, Status.FAIL, message, Method.SIMULATION, (_evidence(subject, answer),),
                   conditions=answer.conditions, verdict="accepts", clients=clients)


def _evidence(subject: Subject, answer: Answer) -> Evidence:
    return Evidence(Method.SIMULATION, f"{subject.name} client {answer.client}", f"{answer.envelope}: {answer.reply}")
