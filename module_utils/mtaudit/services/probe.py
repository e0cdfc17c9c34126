"""Look at the listeners of many targets at once: resolve, ask each within its limits, and report findings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable, Optional

from ..smtp.connection import Endpoint
from ..smtp.login import LoginBudget
from ..smtp.reach import addresses_of, allow_files, listener_name, without_collections
from ..smtp.servers import Clock, Servers
from .findings import Look, findings_of
from .listener import ServiceListener
from .seen import Mission, Offer, Said, Seen, Service, Target
from .tls import why_no_old_tls

Dial = Callable[[str, int], "tuple[str, int]"]


@dataclass(frozen=True)
class Order:
    """A target, one of its addresses or names, and the services there."""

    target: Target
    host: str
    services: tuple[Service, ...]


@dataclass(frozen=True)
class Request:
    """One call of the probe; limits as in smtp/probe.py. `dial` maps a listener to where it really is (tests)."""

    orders: tuple[Order, ...]
    mission: Mission
    vantage: str = "stranger"
    concurrency: int = 100
    per_server: int = 2
    timeout_s: float = 900.0
    target_timeout_s: float = 120.0
    sources: Mapping[int, str] = field(default_factory=dict)
    dial: Optional[Dial] = None


@dataclass
class _Job:
    """One listener under way. `listener` is None when the target has no address."""

    order: Order
    address: str
    service: Service
    listener: Optional[ServiceListener] = None
    problem: str = ""


def run(request: Request) -> dict[str, Any]:
    """Look and return plain data: `findings`, `listeners`, `notes` and `worst_connections_at_a_time`."""
    with without_collections():
        return asyncio.run(probe(request))


async def probe(request: Request) -> dict[str, Any]:
    """As `run`, inside an event loop."""
    notes: list[str] = []
    allow_files(request.concurrency, notes)
    mission = replace(request.mission, no_old_tls=why_no_old_tls())
    if mission.no_old_tls:
        notes.append(f"Old TLS is not asked for: {mission.no_old_tls}.")
    if not mission.canary:
        notes.append(f"Line ends are not tried: {mission.no_message}.")
    servers = Servers(request.per_server)
    jobs = await _jobs(request, mission, servers)
    await _work(request, jobs)
    findings: list[dict[str, Any]] = []
    listeners: list[dict[str, Any]] = []
    for job in jobs:
        listeners.append(_result(job))
        findings += [{**found.to_dict(), "target": job.order.target.name} for found in findings_of(_look(job, request.vantage))]
    return {"findings": findings, "listeners": listeners, "notes": notes, "worst_connections_at_a_time": servers.worst}


async def _jobs(request: Request, mission: Mission, servers: Servers) -> list[_Job]:
    found = await asyncio.gather(*(addresses_of(order.host) for order in request.orders))
    budgets: dict[str, LoginBudget] = {}
    jobs = []
    for order, (addresses, problem) in zip(request.orders, found):
        budget = budgets.setdefault(order.target.name, LoginBudget())
        for address in addresses or [order.host]:
            for service in order.services:
                job = _Job(order, address, service, problem=problem)
                if not problem:
                    endpoint = _endpoint(request, address, service)
                    job.listener = ServiceListener(order.target, endpoint, service, mission, servers, budget)
                jobs.append(job)
    return jobs


def _endpoint(request: Request, address: str, service: Service) -> Endpoint:
    host, port = request.dial(address, service.port) if request.dial else (address, service.port)
    return Endpoint(host, port, service.tls, request.sources.get(6 if ":" in host else 4, ""))


async def _work(request: Request, jobs: Iterable[_Job]) -> None:
    room = asyncio.Semaphore(request.concurrency)
    tasks = {asyncio.ensure_future(_one(request, job, job.listener, room)): job for job in jobs if job.listener is not None}
    if not tasks:
        return
    _done, late = await asyncio.wait(tasks, timeout=request.timeout_s)
    for task in late:
        task.cancel()
        tasks[task].problem = f"time-out: the call's limit of {request.timeout_s:g} s was reached"
    await asyncio.gather(*tasks, return_exceptions=True)


async def _one(request: Request, job: _Job, listener: ServiceListener, room: asyncio.Semaphore) -> None:
    """Look at one listener. Its time begins when it has its turn, and its faults are its own: the others go on."""
    async with room:
        try:
            await Clock(request.target_timeout_s).run(listener.run())
        except asyncio.TimeoutError:
            job.problem = f"time-out: the listener's limit of {request.target_timeout_s:g} s was reached"
        except Exception as exc:
            job.problem = f"the probe itself failed ({type(exc).__name__}: {listener.transcript.clean(str(exc))})"


def _look(job: _Job, vantage: str) -> Look:
    name, listener = listener_name(job.address, job.service.port), job.listener
    if listener is None:
        return Look(job.order.target, job.service, Seen(gave_up=job.problem), name, "", vantage)
    if job.problem:
        listener.seen.gave_up = listener.seen.gave_up or job.problem
    return Look(job.order.target, job.service, listener.seen, name, listener.source_address, vantage)


def _result(job: _Job) -> dict[str, Any]:
    """Everything about one listener as plain data."""
    name = listener_name(job.address, job.service.port)
    result: dict[str, Any] = {
        "name": job.order.target.name, "host": job.address, "port": job.service.port, "protocol": job.service.protocol,
        "implicit_tls": job.service.tls, "listener": name, "reason": job.problem,
    }  # fmt: skip
    if job.listener is None:
        return result
    listener, seen = job.listener, job.listener.seen
    certificate = seen.tls.certificate
    result.update(
        reason=job.problem or seen.gave_up,
        banner=seen.banner,
        before_tls=_offer(seen.clear),
        inside_tls=_offer(seen.secure),
        login_in_clear={"outcome": seen.in_clear.outcome.value, "answer": _text(seen.in_clear.said)},
        recipients={which: said.text for which, said in seen.recipients.items()},
        vrfy={which: said.text for which, said in seen.verify.items()},
        expn={which: said.text for which, said in seen.expand.items()},
        help=_text(seen.help),
        line_ends={"outcome": seen.smuggled.outcome.value, "ending": seen.smuggled.ending, "reason": seen.smuggled.reason},
        tls={
            "version": seen.tls.version, "cipher": seen.tls.cipher, "trust": seen.tls.trust, "distrust": seen.tls.distrust,
            "old": seen.tls.old, "old_version": seen.tls.old_version, "old_reason": seen.tls.old_reason,
            "names": [listener.transcript.clean(n) for n in certificate.names] if certificate else [],
            "not_after": certificate.not_after.isoformat() if certificate else "", "problem": seen.tls.problem,
        },
        troubles=seen.troubles[-5:],
        source_address=listener.source_address,
        costs={**asdict(listener.costs), "logins": seen.logins},
        dialogue=listener.transcript.lines,
    )  # fmt: skip
    return result


def _offer(offer: Optional[Offer]) -> Optional[dict[str, Any]]:
    if offer is None:
        return None
    return {"capabilities": list(offer.capabilities), "mechanisms": sorted(offer.mechanisms), "starttls": offer.starttls}


def _text(said: Optional[Said]) -> str:
    return said.text if said else ""
