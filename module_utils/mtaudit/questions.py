"""What only people can answer: controls of the component `site`, asked once for all hosts of a run.

The report lists them as one more entry beside the hosts, with what the inventory answers (`mta_audit_answers`, on any host).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .finding import HOST, Finding, Status
from .report.run import ControlEntry, HostRun, RunData

COMPONENT = "site"
SITE = "(the site)"  # no name that a host can have beside it: inventories quote no brackets
_REASON = "only people can answer this: declare mta_audit_answers, with status, owner and expires"


def is_question(entry: ControlEntry) -> bool:
    """Whether no host can answer a control."""
    return set(entry.data.get("components") or ()) == {COMPONENT}


def site_of(run: RunData) -> HostRun:
    """Stands for the site in the report; it holds the answers that any host of the run declares."""
    answers = [answer for host in run.hosts for answer in _answers(host) if _asks(run, answer)]
    unique = [answer for place, answer in enumerate(answers) if answer not in answers[:place]]
    # Of two answers that end on one day the worse one counts: waivers.apply_answers takes the first.
    return HostRun(SITE, "ok", declared={"answers": sorted(unique, key=lambda a: a.get("status") != Status.FAIL.value)})


def _answers(host: HostRun) -> Iterable[Any]:
    given = host.declared.get("answers")
    return given if isinstance(given, list) else ()


def _asks(run: RunData, answer: Any) -> bool:
    control = answer.get("id") if isinstance(answer, dict) else None
    return isinstance(control, str) and control in run.controls and is_question(run.controls[control])


def unanswered(run: RunData) -> Iterator[Finding]:
    """Every question of the run, as nobody has answered it."""
    for entry in run.controls.values():
        if is_question(entry):
            said = entry.data["components"][COMPONENT]
            question = str(said.get("manual_check") if isinstance(said, dict) else "") or entry.title
            yield Finding(entry.id, HOST, Status.NOTCHECKED, " ".join(question.split()), reason=_REASON)
