"""Probe many targets at once: resolve, probe each listener within its limits, conclude, and report findings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from ..finding import Finding
from .battery import Hole
from .canary import Ask, canary_problem
from .connection import Endpoint
from .listener import Listener, Mission, Target
from .login import LoginBudget
from .prove import Prover
from .reach import addresses_of, allow_files, without_collections
from .results import findings_of, listener_result
from .servers import Clock, Servers
from .verdict import Conclusion, Observations, Place, conclude, with_place

Dial = Callable[[str, int], "tuple[str, int]"]


@dataclass(frozen=True)
class Order:
    """A target and where to look for it: a host name or address, and ports. Those in `tls_ports` speak TLS from the start."""

    target: Target
    host: str
    ports: tuple[int, ...] = (25,)
    tls_ports: tuple[int, ...] = (465,)


@dataclass(frozen=True)
class Request:
    """One call of the probe.

    `ask` is None when no message may be sent. `concurrency` bounds the listeners at a time, `per_server` the connections at a
    time to one server. `target_timeout_s` is for each listener of a target, without the wait for its turn. `dial` maps a
    listener to where it really is (tests); `sources` are own addresses to connect from, by IP version.
    """

    orders: tuple[Order, ...]
    mission: Mission
    vantage: str = "stranger"
    ask: Optional[Ask] = None
    no_delivery_reason: str = ""
    canary_wait_s: float = 30.0
    concurrency: int = 200
    per_server: int = 2
    timeout_s: float = 900.0
    target_timeout_s: float = 300.0
    allow_foreign_senders: bool = False
    sources: Mapping[int, str] = field(default_factory=dict)
    dial: Optional[Dial] = None


@dataclass
class _Job:
    """One listener under way. `listener` is None when the target has no address."""

    order: Order
    address: str
    port: int
    listener: Optional[Listener] = None
    prover: Optional[Prover] = None
    problem: str = ""

    @property
    def seen(self) -> Observations:
        if self.listener is None:
            return Observations(gave_up=self.problem)
        return self.listener.seen

    @property
    def place(self) -> Place:
        version = 6 if ":" in self.address else 4
        return Place(self.order.target.name, version, self.port)


def run(request: Request) -> dict[str, Any]:
    """Probe and return plain data: `findings`, `listeners`, `notes` and `worst_connections_at_a_time`."""
    with without_collections():
        return asyncio.run(probe(request))


async def probe(request: Request) -> dict[str, Any]:
    """As `run`, inside an event loop."""
    end = asyncio.get_running_loop().time() + request.timeout_s
    notes: list[str] = []
    allow_files(request.concurrency, notes)
    ask, reason = request.ask, request.no_delivery_reason
    if ask is not None:
        reason = await canary_problem(ask)
        ask = None if reason else ask
    if reason:
        notes.append(f"No message is sent: {reason}.")
    servers = Servers(request.per_server)
    jobs = await _jobs(request, servers)
    for job in jobs:
        job.seen.no_delivery_reason = reason
    await _work(request, jobs, ask, end)
    placed = _conclude(jobs)
    findings: list[dict[str, Any]] = []
    listeners: list[dict[str, Any]] = []
    for job, classes in placed:
        source = job.listener.source_address if job.listener else ""
        found: Iterable[Finding] = findings_of(
            job.address, job.port, source, classes, request.vantage, request.allow_foreign_senders
        )
        findings += [{**finding.to_dict(), "target": job.order.target.name} for finding in found]
        tokens = job.prover.tokens if job.prover else []
        listeners.append(listener_result(job.order.target.name, job.address, job.port, job.seen, classes, job.listener, tokens))
    return {"findings": findings, "listeners": listeners, "notes": notes, "worst_connections_at_a_time": servers.worst}


async def _jobs(request: Request, servers: Servers) -> list[_Job]:
    found = await asyncio.gather(*(addresses_of(order.host) for order in request.orders))
    jobs = []
    for order, (addresses, problem) in zip(request.orders, found):
        problem = problem or _unfit(order, request.mission)
        for address in addresses or [order.host]:
            for port in order.ports:
                job = _Job(order, address, port, problem=problem)
                if not problem:
                    job.listener = _listener(request, job, servers)
                jobs.append(job)
    return jobs


def _unfit(order: Order, mission: Mission) -> str:
    domain = mission.canary.rpartition("@")[2].lower()
    if domain and domain in (d.lower() for d in order.target.local_domains):
        return f"the canary's domain {domain} is local to this server: an accepted recipient would prove nothing"
    return ""


def _listener(request: Request, job: _Job, servers: Servers) -> Listener:
    address, port = request.dial(job.address, job.port) if request.dial else (job.address, job.port)
    version = 6 if ":" in address else 4
    endpoint = Endpoint(address, port, job.port in job.order.tls_ports, request.sources.get(version, ""))
    return Listener(job.order.target, endpoint, job.port, request.mission, servers)


async def _work(request: Request, jobs: list[_Job], ask: Optional[Ask], end: float) -> None:
    room = asyncio.Semaphore(request.concurrency)
    logins: dict[str, LoginBudget] = {}
    tasks = []
    for job in jobs:
        if job.listener is not None:
            budget = logins.setdefault(job.order.target.name, LoginBudget())
            tasks.append(asyncio.ensure_future(_one(request, job, ask, room, budget)))
    if not tasks:
        return
    _done, late = await asyncio.wait(tasks, timeout=max(0.0, end - asyncio.get_running_loop().time()))
    for task in late:
        task.cancel()
    for job in jobs:
        if late and job.listener is not None and not job.problem:
            job.problem = f"time-out: the call's limit of {request.timeout_s:g} s was reached"
    await asyncio.gather(*tasks, return_exceptions=True)


async def _one(request: Request, job: _Job, ask: Optional[Ask], room: asyncio.Semaphore, logins: LoginBudget) -> None:
    """Probe one listener. Its time begins when it has its turn, and its faults are its own: the others go on."""
    assert job.listener is not None
    async with room:
        try:
            await Clock(request.target_timeout_s).run(_listen(request, job, job.listener, ask, logins))
            job.problem = "done"
        except asyncio.TimeoutError:
            job.problem = f"time-out: the target's limit of {request.target_timeout_s:g} s was reached"
        except Exception as exc:
            text = job.listener.transcript.clean(str(exc))
            job.problem = f"the probe itself failed ({type(exc).__name__}: {text})"


async def _listen(request: Request, job: _Job, listener: Listener, ask: Optional[Ask], logins: LoginBudget) -> None:
    await listener.run()
    job.prover = Prover(listener, ask, request.canary_wait_s, logins)
    await job.prover.run()


def _conclude(jobs: list[_Job]) -> list[tuple[_Job, dict[Hole, Conclusion]]]:
    """Verdicts, with what the listeners of one target say about each other."""
    for job in jobs:
        if job.listener is not None and job.problem not in ("", "done"):
            job.seen.gave_up = job.problem
    placed = with_place([(job.place, conclude(job.seen)) for job in jobs])
    return list(zip(jobs, placed))
