"""Audit one host: take the readings, evaluate the selected controls, ask the programs, describe the estate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from . import controls  # noqa: F401 - registers every control
from .address import LOOPBACK, Network, contains, parse_network
from .control import Site, controls_for
from .finding import HOST, Finding, Status, notapplicable, stamped
from .finding import error as error_finding
from .finding import unknown as unknown_finding
from .listeners import SMTP_PORTS
from .readers import network as network_reader
from .readers import postfix as postfix_reader
from .readers.postfix import Postfix, SmtpService
from .runner import ReadError, Runner
from .tunable import typed

POSTFIX = "postfix"


class InputError(Exception):
    """What the inventory says cannot be used. The text names the variable and what is wrong with it."""


@dataclass(frozen=True)
class Selected:
    """A control that this run wants answered: the part of the catalogue that the host needs."""

    id: str
    components: tuple[str, ...]
    kinds: tuple[str, ...]
    tunables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What one host is asked. `kind` is empty when the inventory does not declare it."""

    host: str
    selection: tuple[Selected, ...]
    kind: str = ""
    trusted_networks: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()
    local_domains: tuple[str, ...] = ()
    simulate: bool = True
    contact_policy_services: bool = False
    canary: str = ""
    probe_sender: str = ""
    known_recipient: str = ""


@dataclass
class Answer:
    """What came of it. `spawns` counts the programs run for reading, `simulation_spawns` those run for simulation."""

    findings: list[Finding] = field(default_factory=list)
    estate: dict[str, Any] = field(default_factory=dict)
    spawns: int = 0
    simulation_spawns: int = 0


def networks(texts: Iterable[Any], variable: str) -> tuple[Network, ...]:
    """The networks that an inventory variable lists. Raises InputError naming the variable and the entry."""
    found = []
    for text in texts:
        try:
            found.append(parse_network(str(text)))
        except ValueError as exc:
            raise InputError(f"{variable} holds '{text}', which is not a network: {exc}") from exc
    return tuple(found)


def selection(data: Iterable[Mapping[str, Any]], overrides: Mapping[str, Any]) -> tuple[Selected, ...]:
    """The catalogue's selection with this host's own tunables: `{control id: {name: value}}`."""
    return tuple(
        Selected(
            id=entry["id"],
            components=tuple(entry.get("components", ())),
            kinds=tuple(entry.get("kinds", ())),
            tunables={
                name: typed(t["type"], overrides.get(entry["id"], {}).get(name, t["value"]))
                for name, t in entry.get("tunables", {}).items()
            },
        )
        for entry in data
    )


def audit(runner: Runner, request: Request) -> Answer:
    """Everything that this host can be asked, in one go. Only reads."""
    answer = Answer()
    links = _network(runner)
    strange = _smtp_sockets(runner)
    try:
        instances = postfix_reader.read(runner)
    except ReadError as exc:
        answer.findings.extend(_all(request, POSTFIX, Status.ERROR, "Postfix could not be read", str(exc)))
        instances = []
    else:
        if not instances and strange:
            text = f"something that mtaudit cannot read listens on {', '.join(str(s['name']) for s in strange)}"
            answer.findings.extend(_all(request, POSTFIX, Status.UNKNOWN, "not Postfix, and not known", text))
        elif not instances:
            text = "no mail server that mtaudit can read is installed here, and nothing listens on an SMTP port"
            answer.findings.extend(_all(request, POSTFIX, Status.NOTAPPLICABLE, "nothing to check", text))
    kind, source = (request.kind, "inventory") if request.kind else infer_kind(instances)
    site = Site(
        kind=kind,
        local_domains=request.local_domains,
        trusted_networks=request.trusted_networks,
        proxies=request.proxies,
        gateways=tuple(str(g) for g in links.gateways) if links else (),
    )
    answer.findings.extend(_evaluated(request, site, instances))
    answer.spawns = runner.spawns
    if request.simulate and instances:
        found, answer.simulation_spawns = _simulated(runner, request, site, instances, links)
        answer.findings.extend(found)
    answer.estate = estate(request, kind, source, instances, links)
    known = {listener["port"] for listener in answer.estate["listeners"]}
    answer.estate["listeners"] += [listener for listener in strange if listener["port"] not in known]
    return answer


def _network(runner: Runner) -> Optional[network_reader.HostNetwork]:
    try:
        return network_reader.read(runner)
    except ReadError:
        return None


def _smtp_sockets(runner: Runner) -> list[dict[str, Any]]:
    """Listeners on SMTP ports that others can reach, as the kernel lists them: nobody knows yet which program they belong to."""
    found: dict[int, set[str]] = {}
    for address, port in network_reader.listening(runner):
        if port in SMTP_PORTS and not contains(LOOPBACK, address):
            found.setdefault(port, set()).add("*" if int(address) == 0 else str(address))
    listeners = []
    for port, binds in sorted(found.items()):
        bind = "*" if "*" in binds or len(binds) > 1 else next(iter(binds))
        name = f"[{bind}]:{port}" if ":" in bind else f"{bind}:{port}"
        about = {"name": name, "port": port, "bind": bind, "program": "", "instance": "", "service": ""}
        listeners.append({**about, "tls_wrapper": port == 465, "loopback_only": False})
    return listeners


def _all(request: Request, component: str, status: Status, message: str, reason: str) -> Iterator[Finding]:
    make = {Status.ERROR: error_finding, Status.UNKNOWN: unknown_finding}.get(status, notapplicable)
    for wanted in request.selection:
        if component in wanted.components:
            yield stamped(make(HOST, message, reason), wanted.id)


def _evaluated(request: Request, site: Site, instances: Sequence[Postfix]) -> Iterator[Finding]:
    for wanted in request.selection:
        if POSTFIX not in wanted.components or not instances:
            continue
        if site.kind and wanted.kinds and site.kind not in wanted.kinds:
            reason = f"this host is of kind {site.kind}; the control is for {', '.join(wanted.kinds)}"
            yield stamped(notapplicable(HOST, "does not concern this kind of host", reason), wanted.id)
            continue
        for found in controls_for(POSTFIX, [wanted.id]):
            tuned = replace(site, tunables=wanted.tunables)
            for instance in instances:
                yield from _guarded(wanted.id, found.evaluate, instance, tuned)


def _guarded(control_id: str, evaluate: Any, instance: Any, site: Site) -> list[Finding]:
    """A control that breaks says so in a finding of its own, and takes no other control with it."""
    try:
        return list(evaluate(instance, site))
    except ReadError as exc:
        return [stamped(error_finding(HOST, "could not be read", str(exc)), control_id)]
    except Exception as exc:  # a defect of ours must not hide the other findings
        text = f"{type(exc).__name__}: {exc} (a defect of mtaudit: please report it)"
        return [stamped(error_finding(HOST, "the check itself failed", text), control_id)]


def _simulated(
    runner: Runner, request: Request, site: Site, instances: Sequence[Postfix], links: Optional[network_reader.HostNetwork]
) -> tuple[list[Finding], int]:
    from .simulate import postfix as simulation

    wanted = {s.id for s in request.selection if POSTFIX in s.components and (not site.kind or site.kind in s.kinds)}
    # Declared addresses are better than names that cannot exist: a check of the sender's domain would hide the answer.
    declared = {"recipient": request.canary, "sender": request.probe_sender, "known_recipient": request.known_recipient}
    given = {name: value for name, value in declared.items() if value}
    result = simulation.simulate_all(
        instances, site, links, contact_policy_services=request.contact_policy_services, **given
    )
    return [f for f in result.findings if f.control in wanted], result.spawns


def infer_kind(instances: Sequence[Postfix]) -> tuple[str, str]:
    """The kind of host and what it was inferred from; empty when there is nothing to infer it from."""
    listeners = [(service.port, service.loopback_only) for instance in instances for service in instance.smtp_services()]
    public = {port for port, loopback_only in listeners if not loopback_only}
    if public & {465, 587}:
        return "submission", "inferred: listens for submission on " + ", ".join(str(p) for p in sorted(public & {465, 587}))
    if public:
        return "mx", "inferred: listens on " + ", ".join(str(p) for p in sorted(public))
    return ("null_client", "inferred: listens on no address but loopback") if instances else ("", "no mail server found")


def estate(
    request: Request, kind: str, source: str, instances: Sequence[Postfix], links: Optional[network_reader.HostNetwork]
) -> dict[str, Any]:
    """What the probes and the report need to know of the host: docs/architecture.md, "Estate"."""
    return {
        "host": request.host,
        "kind": {"value": kind, "source": source},
        "programs": [{"name": POSTFIX, "version": i.version, "instance": i.config_directory} for i in instances],
        "listeners": [_listener(i, s) for i in instances for s in i.smtp_services()],
        "addresses": [str(a) for a in links.addresses] if links else [],
        "gateways": [str(g) for g in links.gateways] if links else [],
        "local_domains": sorted({*request.local_domains, *(d for i in instances for d in i.local_domains)}),
        "mynetworks": sorted({str(n) for i in instances for n, _ in i.main.match_list("mynetworks").trusted().networks}),
        "helo": instances[0].helo_name if instances else "",
        "config_digest": postfix_reader.digest(instances) if instances else "",
    }


def _listener(instance: Postfix, service: SmtpService) -> dict[str, Any]:
    return {
        "name": service.listener,
        "port": service.port,
        "bind": service.bind,
        "families": list(service.families),
        "program": POSTFIX,
        "instance": instance.config_directory,
        "service": service.name,
        "tls_wrapper": service.tls_wrapper,
        "loopback_only": service.loopback_only,
    }
