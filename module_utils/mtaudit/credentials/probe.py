"""Try logins at many targets: a few targets at a time, each target's services one after the other; findings out."""

from __future__ import annotations

import functools
import queue
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .budget import Budget, Day
from .findings import findings_of, hindered, planned
from .ledger import BEGUN, STATE, Ledger, LedgerError, Record, opened, peek
from .values import Service
from .visit import TOO_LATE, Client, Order, Reach, Tools, Visit, utc


@dataclass(frozen=True)
class Request:
    """One call of the probe. `dry`: nothing is tried, but what would be is told."""

    orders: tuple[Order, ...]
    budget: Budget = field(default_factory=Budget)
    vantage: str = "stranger"
    concurrency: int = 10
    attempt_s: float = 30.0
    timeout_s: float = 1800.0
    state: str = STATE
    dry: bool = False


def connects(service: Service, timeout_s: float) -> str:
    """Why no connection can be made, empty where one can. Nothing is said in it."""
    try:
        socket.create_connection((service.address, service.port), timeout_s).close()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def run(request: Request, client: Client, reach: Reach = connects) -> dict[str, Any]:
    """Try and return plain data: `findings`, `attempts` and `consents`. Raises LedgerError before anything is tried."""
    findings = [(order.target, f) for order in request.orders for f in hindered(order)]
    agreed = [order for order in request.orders if not any(hindered(order))]
    attempts: list[dict[str, Any]] = []
    if request.dry:
        records = peek(request.state, time.time()) if agreed else []
        for order in agreed:
            listed = [record for record in records if record.target == order.target or record.address in order.addresses]
            day = Day(listed, time.time())
            findings += [(order.target, f) for f in planned(order, day)]
    elif agreed:
        started = time.time()
        with opened(request.state, started) as ledger:
            visits = _visited(request, client, reach, ledger, agreed)
            for visit in visits:
                findings += [
                    (visit.order.target, f) for f in findings_of(visit.order, visit.seen, visit.day(), request.vantage)
                ]
            attempts = [_told(r) for order in agreed for r in ledger.of(order.target) if r.when >= started]
    return {
        "findings": [{**finding.to_dict(), "target": target} for target, finding in findings],
        "attempts": attempts,
        "consents": {order.target: order.consent for order in agreed},
    }


def _visited(request: Request, client: Client, reach: Reach, ledger: Ledger, orders: Iterable[Order]) -> list[Visit]:
    """Every target's visit. One that hangs beyond the time of the call is left behind: its thread ends with the process."""
    until = time.monotonic() + request.timeout_s
    tools = Tools(client, reach, ledger, request.budget, request.attempt_s, until)
    visits = [Visit(order, tools) for order in orders]
    waiting: queue.SimpleQueue[list[Visit]] = queue.SimpleQueue()
    for together in _together(visits):
        waiting.put(together)
    problems: list[LedgerError] = []
    threads = [
        threading.Thread(target=_work, args=(waiting, until, problems), daemon=True)
        for _ in range(min(request.concurrency, len(visits)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until + 2 * request.attempt_s - time.monotonic()))
    if problems:
        raise problems[0]
    for seen in (seen for visit in visits for seen in visit.seen):
        if not seen.asked and not seen.gave_up:
            seen.gave_up = TOO_LATE
    return visits


def _together(visits: Iterable[Visit]) -> list[list[Visit]]:
    """Those of one address are made one after the other, for they have one budget."""
    groups: dict[str, list[Visit]] = {}
    for visit in visits:
        met = {id(groups[address]): groups[address] for address in visit.order.addresses if address in groups}
        group = [*(each for before in met.values() for each in before), visit]
        groups.update(dict.fromkeys((address for each in group for address in each.order.addresses), group))
    return list({id(group): group for group in groups.values()}.values())


def _work(waiting: queue.SimpleQueue[list[Visit]], until: float, problems: list[LedgerError]) -> None:
    while time.monotonic() < until and not problems:
        try:
            for visit in waiting.get_nowait():
                visit.run()
        except queue.Empty:
            return
        except LedgerError as exc:
            problems.append(exc)


def _told(record: Record) -> dict[str, Any]:
    """One attempt for the log of the run: all but a password."""
    outcome = "unknown: cut off" if record.outcome == BEGUN else record.outcome
    return {
        "when": utc(record.when), "from": _own_address(record.address), "target": record.target, "service": record.service,
        "account": record.account, "credential": record.credential, "outcome": outcome,
    }  # fmt: skip


@functools.cache
def _own_address(address: str) -> str:
    """The address that this host uses towards another; a datagram socket sends nothing when it is connected."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""

