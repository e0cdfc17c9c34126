"""Audit one host: take the readings, evaluate the selected controls, ask the programs, describe the estate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from .address import LOOPBACK, Network, contains, parse_network
from .components import COMPONENTS, Reading, digest, one, read_all, servers
from .control import Site, controls_for
from .controls import every  # noqa: F401 - registers every control
from .finding import HOST, Finding, Method, notapplicable, stamped
from .finding import error as error_finding
from .finding import unknown as unknown_finding
from .listeners import SMTP_PORTS, Listener, tells_of
from .logs.survey import ACCOUNTS, PASSWORDS, survey
from .readers import network as network_reader
from .runner import ReadError, Runner
from .tunable import Tunable, typed


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


def selection(data: Sequence[Mapping[str, Any]], overrides: Mapping[str, Any]) -> tuple[Selected, ...]:
    """The catalogue's selection with this host's own tunables: `{control id: {name: value}}`. Raises InputError for a value
    that does not fit."""
    for entry in data:
        for name, given in overrides.get(entry["id"], {}).items():
            declared = entry.get("tunables", {}).get(name)
            wrong = Tunable.from_shipped(name, declared).problem(given) if declared else ""
            if wrong:
                raise InputError(f"the tunable {name} of {entry['id']} {wrong}")
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


@dataclass(frozen=True)
class Looked:
    """What was read of a host. `strange` are the SMTP ports that no program told of; `kind` and what it was taken from."""

    readings: tuple[Reading, ...]
    strange: tuple[Listener, ...] = ()
    links: Optional[network_reader.HostNetwork] = None
    kind: str = ""
    source: str = ""


def audit(runner: Runner, request: Request, looked: Optional[Looked] = None) -> Answer:
    """Everything that this host can be asked, in one go. Only reads; what is given as `looked` was read before."""
    answer = Answer()
    looked = looked or look(runner, request)
    site = site_of(request, looked)
    answer.findings.extend(evaluated(request, looked))
    answer.findings.extend(_logged(runner, request, site, looked.readings))
    answer.spawns = runner.spawns
    if request.simulate:
        answer.findings.extend(_guessed(runner, request, site, looked.readings))
        for reading in looked.readings:
            found, spawns = _simulated(reading, request, site, looked.links)
            answer.findings.extend(found)
            answer.simulation_spawns += spawns
    answer.estate = estate(request, looked.kind, looked.source, looked.readings, looked.links)
    answer.estate["listeners"] += [_listed(listener, "", "") for listener in looked.strange]
    return answer


def look(runner: Runner, request: Request) -> Looked:
    """Read what the selected controls need."""
    links = _network(runner)
    readings = read_all(runner, ids={wanted.id for wanted in request.selection})
    strange = _strange_listeners(runner, readings)
    kind, source = (request.kind, "inventory") if request.kind else infer_kind(readings)
    return Looked(tuple(readings), tuple(strange), links, kind, source)


def site_of(request: Request, looked: Looked) -> Site:
    """What controls are given beside a reading; without tunables, which each control has of its own."""
    return Site(
        kind=looked.kind,
        local_domains=request.local_domains,
        trusted_networks=request.trusted_networks,
        proxies=request.proxies,
        gateways=tuple(str(g) for g in looked.links.gateways) if looked.links else (),
        servers=servers(looked.readings, looked.strange),
        rspamd=one(looked.readings, "rspamd"),
        clamav=one(looked.readings, "clamav"),
        policyd=one(looked.readings, "policyd_rate_limit"),
        resolver=one(looked.readings, "resolver"),
    )


def _network(runner: Runner) -> Optional[network_reader.HostNetwork]:
    try:
        return network_reader.read(runner)
    except ReadError:
        return None


def _strange_listeners(runner: Runner, readings: Sequence[Reading]) -> list[Listener]:
    """Listeners on SMTP ports that others can reach, as the kernel lists them, and that no program read here has told of."""
    told = [listener for reading in readings for server in reading.servers for listener in server.listeners]
    found: dict[int, set[str]] = {}
    for address, port in network_reader.listening(runner):
        seen = Listener(port, str(address) if int(address) else "*")
        if port in SMTP_PORTS and not contains(LOOPBACK, address) and not any(tells_of(known, seen) for known in told):
            found.setdefault(port, set()).add(seen.bind)
    listeners = []
    for port, binds in sorted(found.items()):
        bind = "*" if "*" in binds or len(binds) > 1 else next(iter(binds))
        listeners.append(Listener(port, bind, (), tls_wrapper=port == 465))
    return listeners


def evaluated(request: Request, looked: Looked) -> Iterator[Finding]:
    """What the selected controls conclude from what was read."""
    site, readings = site_of(request, looked), looked.readings
    for wanted in request.selection:
        if not any(controls_for(name, [wanted.id]) for name in wanted.components if name in COMPONENTS):
            continue  # answered by others: the proofs of earlier runs, the vantages
        concerned = [r for r in readings if r.component.name in wanted.components]
        if not concerned:
            yield stamped(_nothing_to_ask(readings, looked.strange), wanted.id)
        elif _for_others(wanted, site) and not all(r.problem for r in concerned):
            reason = f"this host is of kind {site.kind}; the control is for {', '.join(wanted.kinds)}"
            yield stamped(notapplicable(HOST, "does not concern this kind of host", reason), wanted.id)
        else:
            for reading in concerned:
                yield from _evaluated_for(wanted, site, reading)


def asked(wanted: Selected, site: Site, component: str, instance: Any) -> list[Finding]:
    """What one control concludes about one instance of a program; nothing where it does not concern it."""
    if component not in wanted.components or _for_others(wanted, site):
        return []
    tuned = replace(site, tunables=wanted.tunables)
    return [f for found in controls_for(component, [wanted.id]) for f in _guarded(wanted.id, found.evaluate, instance, tuned)]


def _for_others(wanted: Selected, site: Site) -> bool:
    return bool(site.kind and wanted.kinds and site.kind not in wanted.kinds)


def _nothing_to_ask(readings: Sequence[Reading], strange: Sequence[Listener]) -> Finding:
    """Why no program here answers a control. That nobody can be asked is no answer while something listens."""
    if strange and not any(server.smtp for reading in readings for server in reading.servers):
        text = f"something that mtaudit cannot read listens on {', '.join(listener.name for listener in strange)}"
        return unknown_finding(HOST, "no mail server that is known", text)
    if readings:
        text = f"this control is not about {', '.join(r.component.title for r in readings if r.component.program)}"
    else:
        text = "no mail server that mtaudit can read is installed here, and nothing listens on an SMTP port"
    return notapplicable(HOST, "nothing to check", text)


def _evaluated_for(wanted: Selected, site: Site, reading: Reading) -> Iterator[Finding]:
    if reading.problem:
        yield stamped(error_finding(HOST, f"{reading.component.title} could not be read", reading.problem), wanted.id)
    tuned = replace(site, tunables=wanted.tunables)
    for found in controls_for(reading.component.name, [wanted.id]):
        for instance in reading.instances:
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


def _logged(runner: Runner, request: Request, site: Site, readings: Sequence[Reading]) -> list[Finding]:
    """What the programs' own log of the last days says."""
    instances = {reading.component.name: reading.instances for reading in readings}
    concerned = [s for s in request.selection if set(s.components) & set(instances)]
    wanted = {s.id for s in concerned if not site.kind or not s.kinds or site.kind in s.kinds}
    try:
        return survey(runner, instances, wanted)
    except Exception as exc:  # a defect of ours must not hide the other findings
        text = f"{type(exc).__name__}: {exc} (a defect of mtaudit: please report it)"
        ids = sorted(wanted & {ACCOUNTS, PASSWORDS})
        return [stamped(error_finding(HOST, "the check of the log itself failed", text), i, Method.LOG) for i in ids]


def _guessed(runner: Runner, request: Request, site: Site, readings: Sequence[Reading]) -> list[Finding]:
    """What somebody would find out who has stolen the passwords."""
    from .simulate.passwords import CONTROL, STATE, guessed

    wanted, host = next((s for s in request.selection if s.id == CONTROL), None), one(readings, "os")
    if wanted is None or host is None or _for_others(wanted, site):
        return []
    try:
        return guessed(runner, host.passwords, wanted.tunables, site.local_domains, Path(STATE))
    except Exception as exc:  # a defect of ours must not hide the other findings
        text = f"{type(exc).__name__} (a defect of mtaudit: please report it)"  # no more: it might hold a password
        return [stamped(error_finding(HOST, "the guessing itself failed", text), CONTROL, Method.SIMULATION)]


def _simulated(
    reading: Reading, request: Request, site: Site, links: Optional[network_reader.HostNetwork]
) -> tuple[list[Finding], int]:
    from .simulate.envelopes import Declared

    component = reading.component
    if component.simulate is None or not reading.instances:
        return [], 0
    wanted = {s.id for s in request.selection if component.name in s.components and (not site.kind or site.kind in s.kinds)}
    # Declared addresses are better than names that cannot exist: a check of the sender's domain would hide the answer.
    names = {"recipient": request.canary, "sender": request.probe_sender, "known_recipient": request.known_recipient}
    given = {name: value for name, value in names.items() if value}
    declared = Declared(contact_policy_services=request.contact_policy_services, **given)
    result = component.simulate(reading.instances, site, links, declared)
    return [f for f in result.findings if f.control in wanted], result.spawns


def infer_kind(readings: Sequence[Reading]) -> tuple[str, str]:
    """The kind of host and what it was inferred from; empty when there is nothing to infer it from."""
    servers = [server for r in readings for server in r.servers if r.component.transfers or server.smtp]
    public = {listener.port for server in servers for listener in server.smtp if not listener.loopback_only}
    if public & {465, 587}:
        return "submission", "inferred: listens for submission on " + ", ".join(str(p) for p in sorted(public & {465, 587}))
    if public & {25, 2525}:
        return "mx", "inferred: listens on " + ", ".join(str(p) for p in sorted(public))
    return ("null_client", "inferred: listens on no address but loopback") if servers else ("", "no mail server found")


def estate(
    request: Request, kind: str, source: str, readings: Sequence[Reading], links: Optional[network_reader.HostNetwork]
) -> dict[str, Any]:
    """What the probes and the report need to know of the host: docs/architecture.md, "Estate"."""
    found = [(reading.component.name, server) for reading in readings for server in reading.servers]
    return {
        "host": request.host,
        "kind": {"value": kind, "source": source},
        "programs": [{"name": name, "version": server.version, "instance": server.instance} for name, server in found],
        "listeners": [_listed(listener, name, server.instance) for name, server in found for listener in server.smtp],
        "mailbox_listeners": [
            _listed(listener, name, server.instance)
            for name, server in found for listener in server.listeners if listener not in server.smtp
        ],
        "addresses": [str(a) for a in links.addresses] if links else [],
        "gateways": [str(g) for g in links.gateways] if links else [],
        "local_domains": sorted({*request.local_domains, *(d for _, server in found for d in server.local_domains)}),
        "mynetworks": sorted({str(n) for _, server in found for n in server.trusted}),
        "lockout": _lockout(readings),
        "helo": next((server.helo for _, server in found if server.helo), ""),
        "config_digest": digest(readings),
    }


def _lockout(readings: Sequence[Reading]) -> int:
    """Failed logins after which the strictest jail of fail2ban shuts a client out; 0 where none is known to be in force."""
    guard = getattr(one(readings, "os"), "guard", None)
    return min((max(jail.maxretry, 1) for jail in guard.jails), default=0) if guard and guard.running else 0


def _listed(listener: Listener, program: str, instance: str) -> dict[str, Any]:
    return {"name": listener.name, **asdict(listener), "program": program, "instance": instance}
