"""Find the changes that make failing controls pass: one fix after the other, each tried on a candidate that nobody runs yet.

A fix is kept when its control fails less with it and nothing as severe fails more, as the controls themselves tell of the
candidate. So two fixes that touch one list of restrictions see each other's work, and one that would break another control is
left out. What is less severe may show behind what is mended: an open domain that is closed has recipients to be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..audit import Looked, Request, asked, evaluated, site_of
from ..components import Component
from ..config.files import Candidate, ConfigError
from ..control import Site
from ..finding import Finding, Status, Subject
from ..fix import FIXES, Fix
from ..fixes import every  # noqa: F401 - registers every fix
from ..joined import SEVERITIES
from ..runner import ReadError, Runner
from ..text import printable
from .configure import CONFIGURE
from .wishes import Proposals, Refused, Step, Wish

_ROUNDS = 4  # for causes that hide behind others
_WORSE = (Status.FAIL, Status.ERROR)


@dataclass(frozen=True)
class _Work:
    """One instance of one program: as it is, as it would be, and everything wanted of it so far."""

    place: int  # among all of them
    reading: int
    number: int
    live: Any
    now: Any
    wanted: Any = None
    candidate: Candidate = Candidate()


def proposals(
    runner: Runner, request: Request, looked: Looked, wishes: Sequence[Wish], severities: Mapping[str, str], scratch: Path
) -> Proposals:
    """For everything that fails. Only reads, apart from `scratch`, an empty directory that only root may enter.

    `severities` are those of all controls that were asked.
    """
    maker = _Maker(runner, request, looked, severities, scratch)
    for wish in wishes:
        for place in range(len(maker.works)):
            maker.mend(wish, place)
    candidates = [work.candidate for work in maker.works]
    maker.found.candidates = [each for each in candidates if each.files or each.activate == "start"]
    return maker.found


class _Maker:
    def __init__(
        self, runner: Runner, request: Request, looked: Looked, severities: Mapping[str, str], scratch: Path
    ) -> None:
        self.runner, self.request, self.looked, self.severities, self.scratch = runner, request, looked, severities, scratch
        self.found = Proposals()
        places = [(r, n) for r, reading in enumerate(looked.readings) for n in range(len(reading.instances))]
        # Dovecot first: what others leave to it is mended there.
        places.sort(key=lambda place: looked.readings[place[0]].component.name != "dovecot")
        lives = [looked.readings[r].instances[n] for r, n in places]
        self.works = [_Work(place, r, n, live, live) for place, ((r, n), live) in enumerate(zip(places, lives))]
        self.findings = list(evaluated(request, looked))
        self.tried = 0

    def mend(self, wish: Wish, place: int) -> None:
        """Propose and try until the control passes, or nothing helps any more."""
        component = self._component(self.works[place])
        failing = self._failing(wish.id, place)
        if not failing:
            return
        first, rounds, why = failing, 0, ""
        fix = FIXES.get((wish.id, component.name))
        if wish.withheld or fix is None:
            why = wish.withheld or f"mtaudit has no fix for {component.title}"
        shows: list[Finding] = []
        while not why and failing and fix and rounds < _ROUNDS:
            why, failing = self._round(wish, fix, self.works[place], failing, shows)
            rounds += not why
        name, messages = self._instance(self.works[place]), _messages(first)
        if rounds:
            still = {f.subject for f in failing}
            mended = tuple(dict.fromkeys(f.subject for f in first if f.subject not in still))
            self.found.steps.append(Step(wish, component.name, name, messages, _messages(failing), tuple(shows), mended))
        else:
            self.found.refused.append(Refused(wish.id, component.name, messages, why))

    def _round(
        self, wish: Wish, fix: Fix, work: _Work, failing: list[Finding], shows: list[Finding]
    ) -> tuple[str, list[Finding]]:
        """Why the next proposal is not taken, or nothing; and what fails now. `shows` gets what shows behind it."""
        try:
            proposal = fix.propose(work.now, self._site(fix.id), failing)
            if proposal is None:
                return "no change that mtaudit knows would mend it: see the advice", failing
            tried = self._tried(work, proposal)
        except (ConfigError, ReadError, OSError) as exc:
            return str(exc), failing
        except Exception as exc:  # a defect of ours must not hide the other fixes
            return f"{type(exc).__name__}: {exc} (a defect of mtaudit: please report it)", failing
        if all(new.candidate.files in ((), self.works[new.place].candidate.files) for new in tried):
            return "it is so already, and the control still fails", failing
        before = (list(self.works), self.looked, self.findings)
        for new in tried:
            self.works[new.place] = new
        if all(new.candidate.reading is None for new in tried):
            return "", []
        self.looked = self._with(tried)
        self.findings = list(evaluated(self.request, self.looked))
        changed, left = list(_worse(before[-1], self.findings, fix.id)), self._failing(fix.id, work.place)
        worse = next((f for f in changed if not self._may_show(f, wish, before[-1])), None)
        if not worse and _keys(left) != _keys(failing) and len(left) <= len(failing):
            shows += changed
            return "", left
        self.works, self.looked, self.findings = before
        why = f"with it {worse.control} would fail: {worse.message}" if worse else f"it would not help: {left[0].message}"
        return why, failing

    def _tried(self, work: _Work, proposal: Any) -> list[_Work]:
        """Each instance that the proposal changes, as it would be then."""
        own = self._component(work).name
        wanted = proposal if isinstance(proposal, Mapping) else {own: proposal}
        return [self._changed(work if name == own else self._only(name), change) for name, change in wanted.items()]

    def _changed(self, work: _Work, change: Any) -> _Work:
        if callable(change):  # what depends on what others want of that program
            change = change(work.now)
        wanted = work.wanted.then(change) if work.wanted else change
        self.tried += 1
        directory = self.scratch / str(self.tried)
        directory.mkdir(mode=0o700)
        candidate = CONFIGURE[self._component(work).name](self.runner, work.live, wanted, directory)
        return replace(work, wanted=wanted, candidate=candidate, now=candidate.reading or work.live)

    def _only(self, component: str) -> _Work:
        """What is on a host once. Raises ConfigError where it could not be read."""
        found = next((work for work in self.works if self._component(work).name == component), None)
        if found is None:
            raise ConfigError(f"it changes {component} as well, which was not read")
        return found

    def _may_show(self, finding: Finding, wish: Wish, before: Iterable[Finding]) -> bool:
        """What is less severe, and has a fix of its own or did not pass before either: people are told of it."""
        own = self.severities.get(finding.control)
        if finding.status is not Status.FAIL or own is None or SEVERITIES.index(own) <= SEVERITIES.index(wish.severity):
            return False
        mended = any((finding.control, self._component(work).name) in FIXES for work in self.works)
        return mended or not any(f.status is Status.PASS and _key(f) == _key(finding) for f in before)

    def _failing(self, control_id: str, place: int) -> list[Finding]:
        """What fails of a control in this instance, as it would be now."""
        work = self.works[place]
        component = self._component(work).name
        wanted = [one for one in self.request.selection if one.id == control_id]
        found = (f for one in wanted for f in asked(one, site_of(self.request, self.looked), component, work.now))
        return [f for f in found if f.status is Status.FAIL]

    def _site(self, control_id: str) -> Site:
        tunables = next((wanted.tunables for wanted in self.request.selection if wanted.id == control_id), {})
        return replace(site_of(self.request, self.looked), tunables=tunables)

    def _with(self, works: Sequence[_Work]) -> Looked:
        readings = list(self.looked.readings)
        for work in works:
            instances = list(readings[work.reading].instances)
            instances[work.number] = work.now
            readings[work.reading] = replace(readings[work.reading], instances=tuple(instances))
        return replace(self.looked, readings=tuple(readings))

    def _component(self, work: _Work) -> Component:
        return self.looked.readings[work.reading].component

    def _instance(self, work: _Work) -> str:
        component = self._component(work)
        return component.describe(work.live).instance if component.describe else ""


def _worse(before: Iterable[Finding], after: Iterable[Finding], control_id: str) -> Iterator[Finding]:
    """What fails, or cannot be told any more, and did not before: of other controls than the one that is mended."""
    known = {_key(f): f.status for f in before}
    passing = {key for key, status in known.items() if status is Status.PASS}
    for finding in after:
        key = _key(finding)
        if finding.control == control_id:
            continue
        if finding.status in _WORSE and known.get(key) is not finding.status:
            yield finding
        elif finding.status is Status.UNKNOWN and key in passing:
            yield finding


def _key(finding: Finding) -> tuple[str, Subject]:
    return finding.control, finding.subject


def _keys(findings: Sequence[Finding]) -> set[tuple[Subject, str]]:
    return {(f.subject, f.message) for f in findings}


def _messages(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(printable(f"{f.subject}: {f.message}") for f in findings))
