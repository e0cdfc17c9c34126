"""Time limits and turns: slow or faulty listeners cost others nothing; the call's own limit bounds everything."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.evidence import Limits
from ansible.module_utils.mtaudit.smtp.listener import Listener, Mission, Target
from ansible.module_utils.mtaudit.smtp.probe import Order, Request, probe
from ansible.module_utils.mtaudit.smtp.servers import Clock, Servers

from .conftest import FAST
from .fakes import CANARY, KNOWN, LOCAL_DOMAIN, Fake

SLOW = Limits(connect_s=2, banner_s=5, reply_s=5, quit_s=0.1, backoff_s=0.01)


async def _probe(fakes: list[Fake], limits: Limits = FAST, **more: Any) -> list[dict[str, Any]]:
    for fake in fakes:
        await fake.start()
    orders = tuple(Order(Target(f"t{n}", KNOWN, (LOCAL_DOMAIN,)), "127.0.0.1", (1000 + n,)) for n in range(len(fakes)))
    mission = Mission("probe@stranger.test", CANARY, "probe.stranger.test", retry_after_s=0.05, limits=limits)
    try:
        result = await probe(Request(orders, mission, dial=lambda host, port: (host, fakes[port - 1000].port), **more))
    finally:
        for fake in fakes:
            fake.stop()
    listeners: list[dict[str, Any]] = result["listeners"]
    return listeners


def test_silent_servers_never_make_a_good_one_unknown() -> None:
    """Eight silent servers take two turns of 0.5 s each; the good one has its own 0.5 s after them."""
    fakes = [*(Fake(banner=None) for _n in range(8)), Fake()]
    found = asyncio.run(_probe(fakes, SLOW, concurrency=2, target_timeout_s=0.5))
    assert [item["verdict"] for item in found] == ["unknown"] * 8 + ["closed"]
    assert all("the target's limit of 0.5 s" in item["reason"] for item in found[:8])


class Mute(Fake):
    """Greets, and then says nothing more."""

    def _hello(self, client: Any, verb: str) -> str:
        return "250-"


def test_a_server_that_stops_talking_does_not_starve_its_other_addresses() -> None:
    fakes = [*(Mute() for _n in range(4)), Fake()]  # one name in all banners: two slots for all
    found = asyncio.run(_probe(fakes, SLOW, target_timeout_s=0.6))
    assert [item["verdict"] for item in found] == ["unknown"] * 4 + ["closed"]


def test_the_calls_limit_bounds_everything_and_keeps_what_is_known() -> None:
    fakes = [Fake(), *(Fake(banner=None, name=f"silent{n}.test") for n in range(6))]
    found = asyncio.run(_probe(fakes, SLOW, timeout_s=1.5, target_timeout_s=300))
    assert found[0]["verdict"] == "closed"
    for item in found[1:]:
        assert item["verdict"] == "unknown" and "the call's limit of 1.5 s" in item["reason"]


def test_a_fault_in_one_listener_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Listener.run

    async def run(listener: Listener) -> None:
        if listener.port == 1001:
            raise RuntimeError("not as expected")
        await original(listener)

    monkeypatch.setattr(Listener, "run", run)
    found = asyncio.run(_probe([Fake(), Fake(), Fake()]))
    assert [item["verdict"] for item in found] == ["closed", "unknown", "closed"]
    assert "RuntimeError: not as expected" in found[1]["reason"]


def test_an_ask_that_fails_in_an_unknown_way_ends_no_call() -> None:
    def ask(token: str) -> bool:
        raise RuntimeError("sink")

    assert [item["verdict"] for item in asyncio.run(_probe([Fake()], ask=ask))] == ["closed"]


def _run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_the_clock_stands_still_while_waiting_without_a_slot() -> None:
    async def main() -> None:
        servers = Servers(1)
        await servers.take("a")

        async def work() -> None:
            await servers.take("a")
            servers.give_back("a")

        task = asyncio.ensure_future(Clock(0.05).run(work()))
        await asyncio.sleep(0.2)
        assert not task.done()
        servers.give_back("a")
        await task

    _run(main())


def test_the_clock_runs_while_a_slot_is_held() -> None:
    async def main() -> None:
        servers = Servers(1)

        async def work() -> None:
            await servers.take("a")
            try:
                await servers.take("a")  # waits for the connection of its own
            finally:
                servers.give_back("a")

        with pytest.raises(asyncio.TimeoutError):
            await Clock(0.05).run(work())
        assert servers.try_take("a"), "the slot came back"

    _run(main())


def test_slots_are_handed_over_in_order() -> None:
    async def main() -> None:
        servers = Servers(1)
        order: list[str] = []
        await servers.take("a")
        servers.learn("a", "mx.good.test")

        async def worker(name: str) -> None:
            for _turn in range(2):
                await servers.take("a")
                order.append(name)
                await asyncio.sleep(0)
                servers.give_back("a")

        workers = [asyncio.ensure_future(worker(name)) for name in "xyz"]
        await asyncio.sleep(0)
        servers.give_back("a")
        await asyncio.gather(*workers)
        assert order == list("xyzxyz") and servers.worst == 1

    _run(main())


def test_a_slot_handed_to_one_who_is_cancelled_goes_on() -> None:
    async def main() -> None:
        servers = Servers(1)
        await servers.take("a")
        first, second = (asyncio.ensure_future(servers.take("a")) for _n in range(2))
        await asyncio.sleep(0)
        servers.give_back("a")  # handed to the first, which is cancelled before it runs
        first.cancel()
        await asyncio.wait_for(second, 2)
        assert first.cancelled()

    _run(main())
