"""What shall be mended, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..config.files import Candidate
from ..finding import Finding, Subject

DISRUPTIONS = ("low", "medium", "high")  # as checks/schema.json


@dataclass(frozen=True)
class Wish:
    """A control that may be mended: what its fix is, as the catalogue tells it, and why it is not to be applied now, if so."""

    id: str
    severity: str
    fix_class: str
    disruption: str
    withheld: str = ""


def wishes(fixes: Iterable[Mapping[str, str]], only: Collection[str], max_disruption: str, confirmed: bool) -> list[Wish]:
    """From the catalogue's automated fixes (id, severity, class, disruption): those of `only`, or all; why one is withheld."""
    found = []
    for fix in fixes:
        why = ""
        if DISRUPTIONS.index(fix["disruption"]) > DISRUPTIONS.index(max_disruption):
            why = f"its disruption is {fix['disruption']}, and mta_harden_max_disruption is {max_disruption}"
        elif fix["class"] == "confirm" and not confirmed:
            why = "it may cut mail off: look at it, and plan again with mta_harden_confirmed"
        if not only or fix["id"] in only or fix.get("role") in only:
            found.append(Wish(fix["id"], fix["severity"], fix["class"], fix["disruption"], why))
    return found


@dataclass(frozen=True)
class Step:
    """A fix that is part of the plan: the control, where, what fails now, what of it still does afterwards, what less severe
    `shows` then, and the `subjects` that do not fail any more."""

    wish: Wish
    component: str
    instance: str
    failing: tuple[str, ...]
    left: tuple[str, ...] = ()
    shows: tuple[Finding, ...] = ()
    subjects: tuple[Subject, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A control that fails and stays as it is, and why."""

    id: str
    component: str
    failing: tuple[str, ...]
    why: str


@dataclass
class Proposals:
    """What came of it. `candidates` change the instances that have any."""

    steps: list[Step] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
