"""Join what configuration, simulation and probe say about one subject: the one written truth table.

Read from the top, the first row that fits decides:

| configuration | simulation | probe | status |
|---|---|---|---|
| any | any | proven_open | fail, confirmed |
| any | fail | any | fail |
| any | any | accepts | fail, unconfirmed |
| fail | any | any | fail; a closed probe is explained, not believed |
| error | any | any | error |
| unknown | any | any | unknown |
| any | any | accepts_but_discards | informational |
| notapplicable | any | any | notapplicable |
| informational | any | any | informational |
| pass | any | any | pass; what did not confirm it is named |
| none | pass | any | pass |
| none | any | closed | pass |
| none | notapplicable | none | notapplicable |
| none | any | any | unknown |

`any` includes "not asked". Where one method says open and another closed, the disagreement is a finding of its own: one of
them is wrong, and a person must know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .finding import Status

PROVEN_OPEN = "proven_open"
ACCEPTS = "accepts"
DISCARDS = "accepts_but_discards"
CLOSED = "closed"
UNKNOWN = "unknown"

_TAKEN = "a foreign message was taken and nothing arrived"

# Worst first: of several vantages that looked at one listener, the first of these counts.
PROBE_VERDICTS = (PROVEN_OPEN, ACCEPTS, UNKNOWN, DISCARDS, CLOSED)
_WORST_FIRST = (Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.INFORMATIONAL, Status.PASS, Status.NOTAPPLICABLE)


@dataclass(frozen=True)
class Conclusion:
    """`notes` say what the status rests on and what it does not; `disagreement` is empty where the methods agree."""

    status: Status
    notes: tuple[str, ...] = ()
    disagreement: str = ""


def worst(statuses: list[Status]) -> Optional[Status]:
    """The status that counts when one method looked several times; None when it did not look.

    What no method may say (waived, fixed, notchecked: those are the report's words) counts as unknown, and hides behind no pass.
    """
    said = [s if s in _WORST_FIRST else Status.UNKNOWN for s in statuses]
    return next((s for s in _WORST_FIRST if s in said), None)


def worst_verdict(verdicts: list[str]) -> Optional[str]:
    """The same for the verdicts of several vantages."""
    return next((v for v in PROBE_VERDICTS if v in verdicts), None)


def conclude(config: Optional[Status], simulation: Optional[Status], probe: Optional[str]) -> Conclusion:
    """The table above. None means that the method was not asked."""
    opened = _says_open(config, simulation, probe)
    closed = _says_closed(config, simulation, probe)
    disagreement = f"{' and '.join(opened)} found it open, {' and '.join(closed)} closed" if opened and closed else ""
    if probe == PROVEN_OPEN:
        return Conclusion(Status.FAIL, ("proven: a message of ours was delivered",), disagreement)
    if simulation == Status.FAIL:
        return Conclusion(Status.FAIL, _unseen(probe), disagreement)
    if probe == ACCEPTS:
        return Conclusion(Status.FAIL, ("unconfirmed: accepted, no delivery was seen",), disagreement)
    if config == Status.FAIL:
        return Conclusion(Status.FAIL, _unseen(probe), disagreement)
    if config in (Status.ERROR, Status.UNKNOWN):
        return Conclusion(config, _outside_view(simulation, probe))
    if probe == DISCARDS:
        return Conclusion(Status.INFORMATIONAL, (_TAKEN,))
    if config in (Status.NOTAPPLICABLE, Status.INFORMATIONAL):
        return Conclusion(config, _outside_view(simulation, probe))
    if config == Status.PASS:
        return Conclusion(Status.PASS, _unconfirmed(simulation, probe))
    if simulation == Status.PASS or probe == CLOSED:
        return Conclusion(Status.PASS, _unconfirmed(simulation, probe))
    return Conclusion(Status.NOTAPPLICABLE if simulation == Status.NOTAPPLICABLE and probe is None else Status.UNKNOWN)


def _says_open(config: Optional[Status], simulation: Optional[Status], probe: Optional[str]) -> list[str]:
    said = (
        ("configuration", config == Status.FAIL),
        ("simulation", simulation == Status.FAIL),
        ("the probe", probe == PROVEN_OPEN),
    )
    return [name for name, yes in said if yes]


def _says_closed(config: Optional[Status], simulation: Optional[Status], probe: Optional[str]) -> list[str]:
    # A closed probe is no contradiction: it looks from one place only.
    said = (("configuration", config == Status.PASS), ("simulation", simulation == Status.PASS))
    return [name for name, yes in said if yes]


def _unseen(probe: Optional[str]) -> tuple[str, ...]:
    if probe == CLOSED:
        return ("the probe found it closed: from where it stands it need not meet the condition",)
    return ("the probe could not tell",) if probe == UNKNOWN else ()


def _outside_view(simulation: Optional[Status], probe: Optional[str]) -> tuple[str, ...]:
    seen = []
    if simulation == Status.PASS:
        seen.append("simulation found it closed")
    if probe == CLOSED:
        seen.append("the probe found it closed")
    if probe == DISCARDS:
        seen.append(_TAKEN)
    return tuple(seen)


def _unconfirmed(simulation: Optional[Status], probe: Optional[str]) -> tuple[str, ...]:
    notes = []
    if simulation in (Status.UNKNOWN, Status.ERROR):
        notes.append("not confirmed by simulation")
    if probe == UNKNOWN:
        notes.append("not confirmed by the probe")
    return tuple(notes)
