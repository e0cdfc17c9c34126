"""Join the answers of a run, host by host: observations of every method in, one finding per control and subject out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from .address import contains, is_address, parse_address, parse_network
from .attribution import CLASS_OWNERS, attribute
from .finding import HOST, Evidence, Finding, Method, Status, Subject
from .joined import DISAGREE, JoinedFinding
from .listeners import listener_name
from .questions import is_question, site_of, unanswered
from .report.run import ControlEntry, HostRun, RunData, checked_finding
from .run_directory import DEVICE
from .text import printable
from .truth import CLOSED, PROBE_VERDICTS, UNKNOWN, Conclusion, conclude, worst, worst_verdict

IDENTITY = "RELAY-07"  # the control on who may assert another client's address
CREDENTIALS = "CRED-01"  # the control on credentials that vendors ship
EVIDENCE_LIMIT = 12  # lines of one method in one joined finding: none crowds out the others


def join_run(run: RunData, more: Iterable[tuple[str, Finding]] = ()) -> list[JoinedFinding]:
    """Everything that is known of the run's hosts. `more` are (host, finding) pairs that the controller worked out itself."""
    added: dict[str, list[Finding]] = {}
    for name, finding in more:
        added.setdefault(name, []).append(finding)
    found: list[JoinedFinding] = []
    for host in run.hosts:
        found.extend(join_host(run, host, added.get(host.name, [])))
    found.extend(_report_line(run, site_of(run), question) for question in unanswered(run))
    return found


def join_host(run: RunData, host: HostRun, more: Iterable[Finding] = ()) -> Iterator[JoinedFinding]:
    """One host: its own answer, what the vantages saw of it, and what follows from both."""
    is_device = host.declared.get("program") == DEVICE
    found = (*host.findings, *probe_findings(run, host), *credential_findings(run, host), *(() if is_device else more))
    observations = [finding for finding in found if finding.control in run.controls]
    groups: dict[tuple[str, Subject], list[Finding]] = {}
    for finding in attribute(observations):
        groups.setdefault((finding.control, finding.subject), []).append(finding)
    yield from (_missing(run, host, control) for control in _unanswered(run, is_device, groups))
    for (control, subject), findings in groups.items():
        yield from _joined(run, host, control, subject, findings)


def _unanswered(run: RunData, is_device: bool, groups: Iterable[tuple[str, Subject]]) -> list[str]:
    """The controls that nothing was said about; all of the host's own where it gave no answer."""
    answered = {control for control, _ in groups}
    asked = {control: entry for control, entry in run.controls.items() if not is_device or _is_about_devices(entry)}
    return [control for control, entry in asked.items() if control not in answered and not is_question(entry)]


def _is_about_devices(entry: ControlEntry) -> bool:
    return DEVICE in (entry.data.get("components") or {})


def _missing(run: RunData, host: HostRun, control: str) -> JoinedFinding:
    status = {"unreachable": Status.NOTCHECKED, "ok": Status.NOTCHECKED}.get(host.status, Status.ERROR)
    reason = host.reason or ("no method that is in use here answers this control" if host.status == "ok" else host.status)
    message = {
        "ok": "not checked on this host",
        "unreachable": "the host could not be reached",
        "failed": "the audit of this host failed",
    }.get(host.status, "the host's answer could not be read")
    return _report_line(run, host, Finding(control, HOST, status, message, reason=reason))


def _joined(run: RunData, host: HostRun, control: str, subject: Subject, findings: list[Finding]) -> Iterator[JoinedFinding]:
    by_method = {m: [f for f in findings if f.method == m] for m in Method}
    observed = [f for f in by_method[Method.PROBE] if not f.verdict]
    own = worst([f.status for f in (*by_method[Method.CONFIG], *by_method[Method.LOG])])
    config, seen = _with_observed(own, worst([f.status for f in observed]))
    simulation = worst([f.status for f in by_method[Method.SIMULATION]])
    probe = worst_verdict([f.verdict for f in by_method[Method.PROBE]])
    conclusion = conclude(config, simulation, probe or seen)
    if own == Status.PASS and config == Status.FAIL and not conclusion.disagreement:
        conclusion = replace(conclusion, disagreement="the probe saw what the configuration does not show")
    methods = {
        name: word
        for name, word in (
            (Method.CONFIG.value, _word([f.status for f in by_method[Method.CONFIG]])),
            (Method.LOG.value, _word([f.status for f in by_method[Method.LOG]])),
            (Method.SIMULATION.value, simulation.value if simulation else ""),
            (Method.PROBE.value, probe or _word([f.status for f in observed])),
        )
        if word
    }
    telling = _telling(findings, conclusion.status)
    lead = replace(
        telling[0],
        subject=subject,
        status=conclusion.status,
        message=_message(telling[0], conclusion),
        conditions=_common_conditions(telling),
        reason=_reason(telling, findings, conclusion),
        evidence=_evidence(telling, findings),
    )
    yield _report_line(run, host, lead, methods)
    # A simulation asks as a few strangers; that none of them met the conditions of a narrow hole contradicts nobody.
    narrow = config == Status.FAIL and simulation == Status.PASS and bool(_config_conditions(telling))
    if conclusion.disagreement and not narrow:
        yield _disagreement(run, host, lead, methods, conclusion.disagreement)


def _with_observed(own: Optional[Status], seen: Optional[Status]) -> tuple[Optional[Status], Optional[str]]:
    """What a probe observed that gave no verdict about relaying, for the truth table: with the configuration, or as a verdict.

    What it saw counts like the log. A pass, and that it could not tell, say no more than a relay probe's: one place's view.
    """
    if seen in (Status.PASS, Status.UNKNOWN):
        return own, CLOSED if seen == Status.PASS else UNKNOWN
    return worst([status for status in (own, seen) if status]), None


def _word(statuses: list[Status]) -> str:
    found = worst(statuses)
    return found.value if found else ""


def _telling(findings: list[Finding], status: Status) -> list[Finding]:
    """The findings that made the status, configuration first: it names the cause. Never empty."""
    same = [f for f in findings if f.status == status]
    order = {Method.CONFIG: 0, Method.LOG: 1, Method.PROBE: 2, Method.SIMULATION: 3}
    return sorted(same or findings, key=lambda f: order[f.method])


def _reason(telling: list[Finding], findings: list[Finding], conclusion: Conclusion) -> str:
    """Why the status is what it is; for a status that a method did not confirm, why that method could not tell."""
    own = [f.reason for f in telling if f.status == conclusion.status and f.reason]
    open_ended = [f.reason for f in findings if f.status in (Status.UNKNOWN, Status.ERROR) and f.reason]
    return next(iter(own or (open_ended if conclusion.notes else [])), "")


def _config_conditions(findings: list[Finding]) -> tuple[str, ...]:
    return _common_conditions([f for f in findings if f.method == Method.CONFIG])


def _common_conditions(findings: list[Finding]) -> tuple[str, ...]:
    """What every open path needs: a path without conditions makes the others irrelevant."""
    return min((f.conditions for f in findings), key=len, default=())


def _evidence(telling: list[Finding], findings: list[Finding]) -> tuple[Evidence, ...]:
    rest = [f for f in findings if f not in telling]
    kept: dict[Evidence, None] = {}
    for finding in (*telling, *rest):
        for evidence in finding.evidence:
            if sum(e.method == evidence.method for e in kept) < EVIDENCE_LIMIT:
                kept[Evidence(evidence.method, printable(evidence.where), printable(evidence.text))] = None
    return tuple(kept)


def _message(finding: Finding, conclusion: Conclusion) -> str:
    return printable("; ".join((finding.message, *conclusion.notes)), 1000)


def _disagreement(run: RunData, host: HostRun, lead: Finding, methods: Mapping[str, str], text: str) -> JoinedFinding:
    finding = replace(
        lead,
        subject=Subject(lead.subject.kind, f"{lead.subject.name} {DISAGREE}".strip()),
        status=Status.INFORMATIONAL,
        message=f"{text}: one of them is wrong here, look at both before you rely on either",
        reason="",
    )
    return _report_line(run, host, finding, methods)


def _report_line(run: RunData, host: HostRun, finding: Finding, methods: Optional[Mapping[str, str]] = None) -> JoinedFinding:
    entry = run.entry(finding.control)
    is_good = finding.status in (Status.PASS, Status.NOTAPPLICABLE)
    return JoinedFinding(
        host=host.name,
        control=finding.control,
        subject=finding.subject,
        status=finding.status,
        message=finding.message,
        severity=entry.severity,
        title=entry.title,
        area=entry.area,
        methods=dict(methods or {}),
        conditions=finding.conditions,
        reason=finding.reason,
        evidence=() if is_good else finding.evidence,
        fix_hint=_fix_hint(entry, host, finding.subject) if finding.status == Status.FAIL else "",
    )


def _fix_hint(entry: ControlEntry, host: HostRun, subject: Subject) -> str:
    """What the catalogue advises: for the program whose listener it is, else for those of the host, else for every program."""
    advice = {name: str(said.get("advice") or "") for name, said in (entry.data.get("components") or {}).items()}
    listeners = [*(host.estate.get("listeners") or ()), *(host.estate.get("mailbox_listeners") or ())]
    at_subject = {str(each.get("program")) for each in listeners if each.get("name") == subject.name}
    on_host = {str(each.get("name")) for each in host.estate.get("programs") or ()}
    concerned = next(filter(None, (advice.keys() & names for names in (at_subject, on_host, set(advice)))), set())
    texts = [(name, text) for name, text in advice.items() if name in concerned]
    return texts[0][1] if len(texts) == 1 else "\n\n".join(f"With {name}: {text}" for name, text in texts)


def probe_findings(run: RunData, host: HostRun) -> Iterator[Finding]:
    """What every vantage found out about this host, on the listener names that the host itself uses."""
    for name, answer in (*run.probes.items(), *((name, _of_probed(run, looked)) for name, looked in run.services.items())):
        vantage = Vantage(name, str(answer.get("vantage") or name))
        for data in answer.get("findings") or ():
            if isinstance(data, dict) and data.get("target") == host.name:
                try:
                    finding = checked_finding(data)
                    if finding.verdict not in ("", *PROBE_VERDICTS):
                        raise ValueError(f"'{finding.verdict}' is no verdict")
                except (KeyError, TypeError, ValueError, AttributeError) as exc:
                    yield _unreadable(name, exc, data.get("control"))
                    continue
                yield from seen_from(finding, vantage, clients_of(run, host, name, finding.subject.name), host)


def credential_findings(run: RunData, host: HostRun) -> Iterator[Finding]:
    """What came of the logins that were tried at this host, or why none was."""
    for name, answer in run.credentials.items():
        if answer.get("error") and host.declared.get("credentials"):
            text = f"no login was tried from {name}"
            yield Finding(CREDENTIALS, HOST, Status.ERROR, text, Method.PROBE, reason=str(answer["error"]))
        for data in answer.get("findings") or ():
            if isinstance(data, dict) and data.get("target") == host.name:
                try:
                    yield checked_finding(data)
                except (KeyError, TypeError, ValueError, AttributeError) as exc:
                    yield _unreadable(name, exc, data.get("control") or CREDENTIALS)


def _of_probed(run: RunData, looked: Mapping[str, Any]) -> dict[str, Any]:
    """What a look at services found out about controls that the catalogue says a probe answers: it tells more than that."""
    probed = {
        control for control, entry in run.controls.items()
        if any("probe" in (said.get("methods") or ()) for said in (entry.data.get("components") or {}).values())
    }
    listed = [data for data in looked.get("findings") or () if isinstance(data, dict) and data.get("control") in probed]
    return {**looked, "findings": listed}


def clients_of(run: RunData, host: HostRun, vantage: str, listener: str) -> tuple[str, ...]:
    """The addresses that a vantage was seen with at a listener: its own, and those that the server logged for its sessions."""
    found: dict[str, None] = {}
    logged = {t.get("token"): t.get("clients") or () for t in run.traces.get(host.name, {}).get("traces") or ()}
    answers = (run.probes.get(vantage, {}), run.services.get(vantage, {}))
    for seen in (listener for answer in answers for listener in answer.get("listeners") or ()):
        if seen.get("name") == host.name and seen.get("listener") == listener:
            found[str(seen.get("source_address"))] = None
            for token in seen.get("tokens") or ():
                found.update((str(client.get("address")), None) for client in logged.get(token, ()))
    return tuple(text for text in found if is_address(text))


def _unreadable(vantage: str, exc: Exception, control: object) -> Finding:
    about = control if isinstance(control, str) and control else "RELAY-03"
    return Finding(about, HOST, Status.ERROR, f"an answer of vantage {vantage} could not be read", Method.PROBE, reason=str(exc))


@dataclass(frozen=True)
class Vantage:
    """Where a probe came from: the inventory's name of the host, and where it stands."""

    host: str
    place: str


def seen_from(finding: Finding, vantage: Vantage, clients: tuple[str, ...], host: HostRun) -> Iterator[Finding]:
    """The finding with the listener's own name, and with what its vantage adds to the conditions.

    A vantage in a network that the site declares may do there what it was meant to: it says nothing about strangers. One that was
    declared a stranger all the same leaves the question open.
    """
    address, _, port = finding.subject.name.rpartition(":")
    subject = Subject(finding.subject.kind, listener_name(host.estate, address.strip("[]"), port) or finding.subject.name)
    finding = replace(finding, subject=subject, clients=clients)
    if finding.status != Status.FAIL:
        yield finding
    elif _declared(finding.control, vantage, clients, host):
        if vantage.place == "stranger":
            reason = "the vantage stands in a network that the inventory trusts: it is no stranger there"
            yield replace(finding, status=Status.UNKNOWN, verdict=UNKNOWN, message="not seen as a stranger", reason=reason)
    else:
        place = vantage.place if vantage.place in ("neighbour", "inside") else ""
        more = (place,) if place and place not in finding.conditions else ()
        yield replace(finding, conditions=(*finding.conditions, *more))


def _declared(control: str, vantage: Vantage, clients: tuple[str, ...], host: HostRun) -> bool:
    """Whether the inventory lets this client do what the control forbids to strangers."""
    if control not in (*CLASS_OWNERS, IDENTITY):
        return False
    if vantage.place == "local" and vantage.host == host.name:
        return True
    networks = host.declared.get("proxies" if control == IDENTITY else "trusted_networks") or ()
    try:
        trusted = [parse_network(str(text)) for text in networks]
    except ValueError:
        return False
    return any(contains(trusted, parse_address(client)) for client in clients)
