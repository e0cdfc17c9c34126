"""What the tests of the relay probe share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.evidence import Limits
from ansible.module_utils.mtaudit.smtp.listener import Mission, Target
from ansible.module_utils.mtaudit.smtp.login import Login
from ansible.module_utils.mtaudit.smtp.probe import Order, Request, probe

from .fakes import CANARY, KNOWN, LOCAL_DOMAIN, Fake, Sink, self_signed

FAST = Limits(connect_s=2, banner_s=0.4, reply_s=0.4, message_s=0.4, quit_s=0.2, backoff_s=0.01)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def probe_fakes() -> Callable[..., dict[str, Any]]:
    """Probe fakes by (host, declared port) as one target; returns what the probe returns."""

    def run(
        fakes: Any,
        known: str = KNOWN,
        deliver: bool = True,
        login: Login | None = None,
        sink: Sink | None = None,
        limits: Limits = FAST,
        retry_after_s: float = 0.05,
        target_timeout_s: float = 20.0,
        domains: tuple[str, ...] = (LOCAL_DOMAIN,),
        protect: bool = False,
        **more: Any,
    ) -> dict[str, Any]:
        target = Target("mx.good.test", known, domains, login=login, protect_local_recipients=protect)
        return asyncio.run(_run(fakes, target, deliver, sink, limits, retry_after_s, target_timeout_s, more))

    return run


async def _run(
    fakes: Any,
    target: Target,
    deliver: bool,
    sink: Sink | None,
    limits: Limits,
    retry_after_s: float,
    target_timeout_s: float,
    more: dict[str, Any],
) -> dict[str, Any]:
    where: dict[tuple[str, int], Fake] = {("127.0.0.1", 25): fakes} if isinstance(fakes, Fake) else fakes
    sink = sink or next(iter(where.values())).sink
    for (host, _port), fake in where.items():
        fake.sink = sink
        await fake.start(host)
    hosts = dict.fromkeys(host for host, _port in where)
    orders = tuple(Order(target, host, tuple(port for h, port in where if h == host)) for host in hosts)
    mission = Mission("probe@stranger.test", CANARY, "probe.stranger.test", retry_after_s=retry_after_s, limits=limits)
    request = Request(
        orders,
        mission,
        ask=sink.ask if deliver else None,
        canary_wait_s=0.15,
        target_timeout_s=target_timeout_s,
        dial=lambda host, port: (host, where[(host, port)].port),
        **more,
    )
    try:
        return await probe(request)
    finally:
        for fake in where.values():
            fake.stop()
