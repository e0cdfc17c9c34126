"""Plan, change and prove on the host: what a run of mta_harden does there. The vantages' proof, and the confirmation, follow."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..attribution import attribute
from ..audit import Looked, Request, audit, look, site_of
from ..finding import Finding, Method, Status, Subject
from ..logs.dependents import Dependents, dependents, told
from ..runner import Runner
from ..transaction.configured import SHORT_GUARD_S, scratch_directory
from ..transaction.diff import diff
from ..transaction.journal import pending, refuse_while_open
from ..transaction.journal_actions import begin, end
from ..transaction.store import Store
from .plan import Plan, plan
from .proposals import proposals
from .wishes import Wish

# A daemon that was told a moment ago may not have read everything yet.
_PROOF_TRIES = 4
_PROOF_STEP_S = 1.0
# What keeps people out whom no log has to name.
_LOCKS = {"PASS-04"}


def harden(
    store: Store,
    runner: Runner,
    request: Request,
    wishes: Sequence[Wish],
    severities: Mapping[str, str],
    acknowledged: Collection[str] = (),
    approved: str = "",
    guard_after_s: float = 0.0,
    check: bool = False,
) -> dict[str, Any]:
    """Mend what fails.

    `severities` are those of all controls that were asked, `acknowledged` the controls whose fix may close what is in use.
    `approved` is the digest of the plan that somebody has seen: another plan changes nothing.
    Without `guard_after_s` the change is confirmed at once. Raises ConfigError or SnapshotError when nothing was changed.
    """
    refuse_while_open(store, runner, look_only=True)
    wishes = [_held(wish, acknowledged) for wish in wishes]
    looked = look(runner, request)
    made = _planned(runner, request, looked, wishes, severities)
    used = _dependents(runner, request, looked, made, acknowledged)
    in_use = {each.control for each in used if each.found} & {step.wish.id for step in made.steps}
    if in_use:
        why = "its log says that this is in use, see below; to close it all the same, name it in mta_harden_acknowledged"
        held = [replace(wish, withheld=wish.withheld or why) if wish.id in in_use else wish for wish in wishes]
        made = _planned(runner, request, looked, held, severities)
    answer: dict[str, Any] = {
        "plan": made.to_dict(), "summary": [*made.lines(), *told(used)], "dependents": [each.to_dict() for each in used],
        "transaction": {}, "changed": bool(made.files),
    }  # fmt: skip
    if made.silent:
        answer["warnings"] = [f"{unit} is not up: nobody will be told of the change" for unit in made.silent]
    if approved and approved != made.digest and (made.steps or made.refused):
        text = "The host is not what it was when the plan was approved; nothing is changed. Plan again, and have that approved"
        return {**answer, "changed": False, "failed": True, "msg": text}
    if check or not made.files:
        answer["diff"] = [diff(now, now.path, new, content) for now, new, content in pending(made.files)]
        return answer
    before = audit(runner, request, looked).findings
    because = ", ".join(dict.fromkeys(step.wish.id for step in made.steps))
    done = begin(store, runner, made.files, made.services, because, made.checks, guard_after_s or SHORT_GUARD_S)
    answer.update(done)
    if done.get("failed") or not done["transaction"]:
        return answer
    try:
        problems = _proof(runner, request, made, before)
    except Exception as exc:  # a defect of ours must not leave an unproven change in force
        problems = [f"{type(exc).__name__}: {exc} (a defect of mtaudit: please report it)"]
    name = done["transaction"]["name"]
    if problems:
        text = f"The change does not hold on the running system: {'; '.join(problems)}"
        back = end(store, runner, "take_back", name, text)
        more = back.get("msg") or "Everything was put back as it was"
        return {**answer, "failed": True, "changed": bool(back.get("failed")), "transaction": back["transaction"],
                "msg": f"{text}. {more}"}  # fmt: skip
    if not guard_after_s:
        answer["transaction"] = end(store, runner, "commit", name, "")["transaction"]
    return answer


def _held(wish: Wish, acknowledged: Collection[str]) -> Wish:
    why = "it locks accounts: see whose they are, and name it in mta_harden_acknowledged"
    return replace(wish, withheld=wish.withheld or why) if wish.id in _LOCKS - set(acknowledged) else wish


def _planned(
    runner: Runner, request: Request, looked: Looked, wishes: Sequence[Wish], severities: Mapping[str, str]
) -> Plan:
    with scratch_directory() as scratch:
        return plan(runner, proposals(runner, request, looked, wishes, severities, scratch))


def _dependents(
    runner: Runner, request: Request, looked: Looked, made: Plan, acknowledged: Collection[str]
) -> list[Dependents]:
    """Who uses what the plan closes, or would close once somebody has looked at it, as far as the host's logs tell, but for what
    is acknowledged."""
    instances = {reading.component.name: reading.instances for reading in looked.readings}
    closed: dict[str, set[str]] = {}
    steps, refused = ((step.component, step.wish.id) for step in made.steps), ((r.component, r.id) for r in made.refused)
    for component, control in (*steps, *refused):
        if control not in acknowledged:
            closed.setdefault(component, set()).add(control)
    return [found for component, ids in closed.items()
            for found in dependents(runner, {component: instances.get(component, ())}, ids, site_of(request, looked),
                                    own=(request.canary, request.probe_sender))]  # fmt: skip


def _proof(runner: Runner, request: Request, made: Plan, before: Sequence[Finding]) -> list[str]:
    """What the host itself, read and asked anew, says against the change."""
    for attempt in range(_PROOF_TRIES):
        if attempt:
            time.sleep(_PROOF_STEP_S)
        problems = list(_against(made, before, audit(runner, request).findings))
        if not problems:
            break
    return problems


def _against(made: Plan, before: Iterable[Finding], after: Iterable[Finding]) -> Iterable[str]:
    mended = {(step.wish.id, subject) for step in made.steps for subject in step.subjects}
    foreseen = {(f.control, f.subject) for step in made.steps for f in step.shows}
    was = _states(before)
    for key, finding in _states(after).items():
        text = f"{finding.control} ({finding.subject}): {finding.message}"
        if finding.status is Status.FAIL and key in mended:
            yield f"it still fails, by {finding.method.value}: {text}"
        elif finding.status in (Status.FAIL, Status.ERROR) and key not in foreseen and (
            key not in was or was[key].status not in (finding.status, Status.FAIL)
        ):
            yield f"it fails, by {finding.method.value}, and did not before: {text}"


def _states(findings: Iterable[Finding]) -> dict[tuple[str, Subject], Finding]:
    """The worst of each control and subject, each hole under its cause; without what the log tells of the past."""
    found: dict[tuple[str, Subject], Finding] = {}
    for finding in attribute(f for f in findings if f.method is not Method.LOG):
        key = (finding.control, finding.subject)
        if key not in found or found[key].status is not Status.FAIL:
            found[key] = finding
    return found
