"""Answer what a report is opened for: can these servers be used to send spam, how do we know it, what comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from ..attribution import CAUSES
from ..finding import Status
from ..joined import DISAGREE, UNDECIDED, JoinedFinding
from ..questions import SITE
from ..truth import DISCARDS
from .clean import clean_host, clean_plan, clean_problem, line
from .complete import worst_first
from .gate import Gate
from .history import Point
from .run import ControlEntry, Problem, RunData

YES = "yes"
UNKNOWN = "unknown"
NO = "no"
NOTES_SHOWN = 5
SERIOUS = ("critical", "high")  # lesser failures weaken a defence

_PROOF = ("proven_open", "accepts")
_SEEN = {"config": "Read from the effective configuration", "probe": "Seen from outside",
         "log": "Seen in the log or in the record of earlier runs"}
_FROM = {"inside": "from the inside", "neighbour": "from a neighbour"}  # else from a stranger


@dataclass(frozen=True)
class HostAnswer:
    """One host: `answer` is yes, unknown or no; `findings` are worst first; `plan` is what harden.yml had to say of it."""

    name: str
    kind: str
    status: str
    reason: str
    answer: str
    counts: Mapping[str, int]
    findings: tuple[JoinedFinding, ...]
    plan: tuple[str, ...] = ()
    number: int = 0

    @property
    def anchor(self) -> str:
        """The host's id in the HTML report. Names can hold anything, so it is a number."""
        return f"host-{self.number}"

    @property
    def worst(self) -> Optional[JoinedFinding]:
        """The finding that decides the answer."""
        first = self.findings[0] if self.findings else None
        return first if first and first.status in (Status.FAIL, *UNDECIDED) else None

    @property
    def is_site(self) -> bool:
        """Not a host: what was asked of people."""
        return self.name == SITE

    @property
    def idle(self) -> bool:
        """No control applies: neither a good host nor a bad one."""
        return all(finding.status is Status.NOTAPPLICABLE for finding in self.findings)

    @property
    def proven(self) -> bool:
        return any(proof_rank(f) == 0 for f in self.findings if f.status is Status.FAIL)


@dataclass(frozen=True)
class Step:
    """Something to do: one control that fails, and where the same fix helps."""

    control: str
    title: str
    severity: str
    hosts: tuple[str, ...]
    proven: bool
    fix_hint: str


@dataclass(frozen=True)
class Report:
    """Everything that the formats show, cleaned and sorted; they only escape and lay out. The last of `hosts` may be the site."""

    title: str
    run: RunData
    hosts: tuple[HostAnswer, ...]
    counts: Mapping[str, int]
    failing: Mapping[str, int]
    answer: str
    headline: str
    details: tuple[str, ...]
    steps: tuple[Step, ...]
    gate: Gate
    trend: tuple[Point, ...]
    problems: tuple[Problem, ...]
    controls: tuple[ControlEntry, ...] = field(default=())
    expired_waivers: int = 0

    @property
    def servers(self) -> tuple[HostAnswer, ...]:
        """The hosts without the site."""
        return tuple(host for host in self.hosts if not host.is_site)

    @property
    def findings(self) -> Iterable[JoinedFinding]:
        """Host by host, worst first within each."""
        return (finding for host in self.hosts for finding in host.findings)


def build(title: str, run: RunData, findings: Sequence[JoinedFinding], gate: Gate, trend: tuple[Point, ...]) -> Report:
    """The report of a run from its completed, compared findings."""
    listed = _hosts(run, findings)
    hosts = [host for host in listed if not host.is_site]
    problems = tuple(clean_problem(p) for p in run.problems)
    answer = _answer(hosts, problems)
    return Report(
        title=title,
        run=run,
        hosts=listed,
        counts={status.value: number for status, number in _count(findings).items()},
        failing=Counter(f.severity for f in findings if f.status is Status.FAIL),
        answer=answer,
        headline=_headline(answer, hosts),
        details=(*_unmended(run), *_details(answer, hosts, problems), *_outside(run, findings), *_notes(run)),
        steps=_steps(findings),
        gate=gate,
        trend=trend,
        problems=problems,
        controls=_controls(run, findings),
        expired_waivers=_expired(findings),
    )


def proof_rank(finding: JoinedFinding) -> int:
    """0 proven by delivery, 1 accepted, 2 the program's own word, 3 read or seen without anybody trying it."""
    words = finding.methods.values()
    for rank, word in enumerate(_PROOF):
        if word in words:
            return rank
    return 2 if finding.methods.get("simulation") == Status.FAIL.value else 3


def proof(finding: JoinedFinding) -> str:
    """How a failure is known, in words."""
    rank = proof_rank(finding)
    sender = next((words for place, words in _FROM.items() if place in finding.conditions), "from a stranger")
    if rank == 0:
        return f"Proven: a test message {sender} was delivered"
    if rank == 1:
        where = "a local mailbox" if "local_recipient" in finding.conditions else "another domain"
        return f"Unconfirmed: a message {sender} was accepted for {where}; no delivery was seen"
    if rank == 2:
        return "Simulated: the server's own program says it would"
    return next((words for method, words in _SEEN.items() if finding.methods.get(method) == Status.FAIL.value), _SEEN["config"])


def _count(findings: Iterable[JoinedFinding]) -> dict[Status, int]:
    counted = Counter(finding.status for finding in findings)
    return {status: counted[status] for status in Status if counted[status]}


def _hosts(run: RunData, findings: Sequence[JoinedFinding]) -> tuple[HostAnswer, ...]:
    """Every host of the run and of the findings, those that need attention first."""
    by_host: dict[str, list[JoinedFinding]] = {}
    for finding in findings:
        by_host.setdefault(finding.host, []).append(finding)
    about = {shown[0]: shown for shown in map(clean_host, run.hosts)}
    answers = []
    for name in sorted({*by_host, *about}):
        _name, kind, status, reason = about.get(name, (name, "", "ok", ""))
        own = tuple(sorted(by_host.get(name, ()), key=worst_first))
        counts = {status_.value: number for status_, number in _count(own).items()}
        answers.append(HostAnswer(name, kind, status, reason, host_answer(status, own), counts, own,
                                  clean_plan(run, name)))  # fmt: skip
    answers.sort(key=_attention)
    return tuple(_numbered(answers))


def _numbered(hosts: Iterable[HostAnswer]) -> Iterable[HostAnswer]:
    for number, host in enumerate(hosts, 1):
        yield replace(host, number=number)


def _attention(host: HostAnswer) -> tuple[bool, int, int, int, str]:
    order = (YES, UNKNOWN, NO).index(host.answer)
    return (host.is_site, order, 0 if host.proven else 1, -host.counts.get(Status.FAIL.value, 0), host.name)


def host_answer(status: str, findings: Sequence[JoinedFinding]) -> str:
    """`no` needs an answer to every serious control: what is not known is not safe."""
    serious = [f for f in findings if f.severity in SERIOUS]
    if any(lets_strangers_send(f) for f in serious):
        return YES
    decided = [f for f in findings if f.status is not Status.NOTAPPLICABLE]
    if status != "ok" or any(f.status in UNDECIDED for f in serious) or (not decided and not findings):
        return UNKNOWN
    return NO


def lets_strangers_send(finding: JoinedFinding) -> bool:
    """Whether this failure is a hole by itself. A serious one that is none (a password in clear text) is a way to get there."""
    opens = finding.control in CAUSES and not {"authenticated", "local_recipient"} & set(finding.conditions)
    return finding.status is Status.FAIL and finding.severity in SERIOUS and opens


def _weaknesses(hosts: Iterable[HostAnswer]) -> list[JoinedFinding]:
    """Serious failures that are no hole by themselves."""
    failures = [f for host in hosts for f in host.findings if f.status is Status.FAIL and f.severity in SERIOUS]
    return [f for f in failures if not lets_strangers_send(f)]


def _answer(hosts: Sequence[HostAnswer], problems: Sequence[Problem]) -> str:
    answers = {host.answer for host in hosts}
    if YES in answers:
        return YES
    return UNKNOWN if UNKNOWN in answers or problems or not hosts else NO


def _headline(answer: str, hosts: Sequence[HostAnswer]) -> str:
    bad = [host for host in hosts if host.answer == YES]
    open_ended = [host for host in hosts if host.answer == UNKNOWN]
    if not hosts:
        return "Unknown: no server was audited."
    if answer == YES:
        proven = sum(host.proven for host in bad)
        certainty = f", {proven if proven < len(bad) else 'all'} of them proven by a delivered test message" if proven else ""
        certainty = certainty if len(bad) > 1 else _single(proven)
        return f"Yes. {_of(len(bad), len(hosts)).capitalize()} can be used to send spam{certainty}."
    if answer == UNKNOWN and open_ended:
        none = len(open_ended) == len(hosts) > 1
        who = f"none of {len(hosts)} servers could" if none else f"{_of(len(open_ended), len(hosts))} could not"
        return f"Unknown. No hole was found, but {who} be fully checked."
    if answer == UNKNOWN:
        return "Unknown. No hole was found, but part of the run's results is missing."
    if all(host.idle for host in hosts):
        return "Nothing to check: no control applies to any server of this run."
    waived = any(f.status is Status.WAIVED and f.severity in SERIOUS for host in hosts for f in host.findings)
    beyond = " beyond what a waiver accepts" if waived else ""
    weak = {f.host for f in _weaknesses(hosts)}
    if weak:
        who = f"{_of(len(weak), len(hosts))} {'has' if len(weak) == 1 else 'have'}"
        return f"No hole found{beyond} that strangers can send through, but {who} a serious weakness."
    return f"No hole found{beyond}. {_of(len(hosts), len(hosts)).capitalize()} answered every serious control."


def _single(proven: int) -> str:
    return ", proven by a delivered test message" if proven else ""


def _of(part: int, whole: int) -> str:
    noun = "server" if whole == 1 else "servers"
    if part == whole:
        return "the only server" if whole == 1 else f"all {whole} servers"
    return f"{part} of {whole} {noun}"


def _unmended(run: RunData) -> Iterator[str]:
    """What harden.yml could not do, and why."""
    for host, told in run.hardening.items():
        if told.get("problem"):
            yield line(f"{host} could not be mended. {told['problem']}")


def _details(answer: str, hosts: Sequence[HostAnswer], problems: Sequence[Problem]) -> Iterable[str]:
    open_ended = [host for host in hosts if host.answer == UNKNOWN]
    unreached = [host for host in hosts if host.status == "unreachable"]
    findings = [finding for host in hosts for finding in host.findings]
    if answer == YES and open_ended:
        they = "it is" if len(open_ended) == 1 else "they are"
        yield f"{_of(len(open_ended), len(hosts)).capitalize()} could not be fully checked: {they} not known to be safe."
    if unreached:
        are = "is" if len(unreached) == 1 else "are"
        yield f"{_of(len(unreached), len(hosts)).capitalize()} could not be reached, and {are} not counted as safe."
    idle = [host for host in hosts if host.answer == NO and host.idle]
    if idle and len(idle) < len(hosts):
        yield f"{_of(len(idle), len(hosts)).capitalize()} had nothing to check: no control applies there."
    waived = sum(finding.status is Status.WAIVED for finding in findings)
    if waived:
        yield f"{_many(waived, 'failure is', 'failures are')} accepted by a waiver and not counted."
    expired = _expired(findings)
    if expired:
        yield f"{_many(expired, 'failure counts', 'failures count')} again: the waiver has expired."
    discards = [f for f in findings if f.methods.get("probe") == DISCARDS and f.status is Status.INFORMATIONAL]
    taken = {(finding.host, finding.subject) for finding in discards}
    if taken:
        yield f"{_many(len(taken), 'listener', 'listeners')} took a foreign message that did not arrive: look where it went."
    doubtful = sum(finding.subject.name.endswith(DISAGREE) for finding in findings)
    if doubtful:
        yield f"In {_many(doubtful, 'place', 'places')} the methods disagree: one of them is wrong there."
    weak = _weaknesses(hosts)
    if weak and answer != NO:
        verb = "lets no stranger send by itself, but weakens", "let no stranger send by themselves, but weaken"
        yield f"{_many(len(weak), f'serious failure {verb[0]}', f'serious failures {verb[1]}')} a defence."
    lesser = sum(finding.status is Status.FAIL and finding.severity not in SERIOUS for finding in findings)
    if lesser:
        yield f"{_many(lesser, 'lesser failure weakens', 'lesser failures weaken')} a defence."
    if problems:
        yield f"{_many(len(problems), 'part', 'parts')} of the run's results could not be had."


def _many(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _outside(run: RunData, findings: Sequence[JoinedFinding]) -> Iterator[str]:
    """What the tests from outside do not cover, and what they need."""
    if not findings:
        return
    if not any("probe" in finding.methods for finding in findings):
        lack = "gave an answer" if run.vantages else "took part: it needs vantages and mta_audit_canary"
        yield f"No test from outside {lack}. This rests on configuration and simulation only."
    elif not any(answer.get("vantage") == "stranger" and answer.get("findings") for answer in run.probes.values()):
        yield "No stranger tested from outside: what is open to strangers only may have been missed."


def _notes(run: RunData) -> Iterator[str]:
    """What the vantages say of their own work: that the canary did not answer, for example. The same words once."""
    said: dict[str, list[str]] = {}
    for vantage, answer in run.probes.items():
        notes = answer.get("notes")
        for note in notes if isinstance(notes, list) else ():
            said.setdefault(line(str(note)), []).append(vantage)
    for note, vantages in list(said.items())[:NOTES_SHOWN]:
        yield line(f"{'Vantage' if len(vantages) == 1 else 'Vantages'} {', '.join(vantages)}: {note}")


def _expired(findings: Iterable[JoinedFinding]) -> int:
    return sum(finding.waiver is not None and finding.waiver.expired for finding in findings)


def _steps(findings: Sequence[JoinedFinding]) -> tuple[Step, ...]:
    """Controls that fail, by what to do about them; the one to start with first: proven, severe, on many hosts."""
    groups: dict[tuple[str, str], list[JoinedFinding]] = {}
    for finding in sorted((f for f in findings if f.status is Status.FAIL), key=worst_first):
        groups.setdefault((finding.control, finding.fix_hint), []).append(finding)
    steps = [
        Step(control, group[0].title, group[0].severity, tuple(dict.fromkeys(f.host for f in group)),
             any(proof_rank(f) == 0 for f in group), fix_hint)
        for (control, fix_hint), group in groups.items()
    ]
    order = {key: worst_first(group[0])[:3] for key, group in groups.items()}
    return tuple(sorted(steps, key=lambda s: (order[s.control, s.fix_hint], -len(s.hosts), s.control)))


def _controls(run: RunData, findings: Iterable[JoinedFinding]) -> tuple[ControlEntry, ...]:
    """The catalogue's controls in its order, then those that only a finding names."""
    known = dict(run.controls)
    for finding in findings:
        if finding.control not in known:
            known[finding.control] = ControlEntry(finding.control, finding.title, finding.severity, finding.area)
    return tuple(known.values())
