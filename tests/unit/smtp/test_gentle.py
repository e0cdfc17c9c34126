"""What a probe costs a server, counted by the server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.mtaudit.smtp.dialogue import Session
from ansible.module_utils.mtaudit.smtp.listener import Mission, Target
from ansible.module_utils.mtaudit.smtp.probe import Order, Request, probe

from .conftest import FAST
from .fakes import CANARY, KNOWN, LOCAL_DOMAIN, OK, Client, Fake, open_when, plain

Probe = Callable[..., dict[str, Any]]
BEHAVIOURS = {
    "closed": {},
    "closed-without-pipelining": {"extensions": ()},
    "open": {"rcpt": open_when(lambda client, rcpt: True)},
    "accepts-everything": {"rcpt": lambda client, rcpt: OK},
    "local-sender": {"rcpt": open_when(lambda client, rcpt: "stranger" not in (client.sender or "stranger") and plain(rcpt))},
    "null-sender": {"rcpt": open_when(lambda client, rcpt: client.sender == "" and plain(rcpt))},
    "percent": {"rcpt": open_when(lambda client, rcpt: "%" in rcpt)},
    "refuses-senders": {"mail": lambda client, sender: "250 Ok" if sender.endswith("@stranger.test") else "553 5.7.1 no"},
    "refuses-all-senders": {"mail": lambda client, sender: "550 5.7.1 no"},
    "put-off": {"rcpt": lambda client, rcpt: "450 4.2.0 later"},
    "cuts": {"errors_before_421": 2},
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_errors_connections_and_recipients(probe_fakes: Probe, behaviour: str) -> None:
    fake = Fake(**BEHAVIOURS[behaviour])
    (listener,) = probe_fakes(fake, deliver=False)["listeners"]
    foreign = [rcpt for client in fake.dialogue for rcpt in client.recipients if rcpt != KNOWN]
    assert max(client.errors for client in fake.dialogue) <= 8
    assert fake.worst_at_once <= 2
    accepted = sum(client.accepted for client in fake.dialogue)
    classes = 3  # plain, local sender, routing
    random_mailbox = behaviour == "accepts-everything"
    assert accepted <= len(fake.dialogue) + classes + random_mailbox, (accepted, foreign)
    assert listener["costs"]["accepted_recipients"] == accepted
    assert listener["costs"]["errors"] == sum(client.errors for client in fake.dialogue)
    assert listener["costs"]["connections"] == len(fake.dialogue)


def test_a_closed_server_is_asked_each_form_once(probe_fakes: Probe) -> None:
    fake = Fake()
    (listener,) = probe_fakes(fake)["listeners"]
    asked = [c for client in fake.dialogue for c in client.commands if c.startswith("RCPT") and KNOWN not in c]
    assert len(asked) == len(listener["forms"]) + 1  # and the random mailbox
    assert len(fake.dialogue) <= 5


def test_one_message_for_each_open_class(probe_fakes: Probe) -> None:
    fake = Fake(rcpt=open_when(lambda client, rcpt: True))
    probe_fakes(fake)
    assert len(fake.sink.messages) == 2
    assert all("To: <canary@sink.test>" in message for message in fake.sink.messages)


def test_recipients_are_the_canary_the_declared_and_random_local_mailboxes_only(probe_fakes: Probe, tls: ssl.SSLContext) -> None:
    for fake in (Fake(rcpt=lambda client, rcpt: OK), Fake(tls=tls), Fake(xclient=True)):
        probe_fakes(fake)
        for client in fake.dialogue:
            for command in client.commands:
                if command.startswith("RCPT"):
                    rcpt = command.partition("<")[2].rpartition(">")[0]
                    random = rcpt.startswith("mtaudit-") and rcpt.endswith("@" + LOCAL_DOMAIN)
                    assert rcpt == KNOWN or random or ("canary" in rcpt and "sink.test" in rcpt), command


@pytest.mark.parametrize("same_name", [True, False])
def test_many_addresses_of_one_server_share_its_connections(same_name: bool) -> None:
    """Twelve targets; when their banners carry one name, that is one server with two connections at a time."""
    counts = {"now": 0, "worst": 0}

    class Counting(Fake):
        async def _talk(self, *args: Any) -> None:
            counts["now"] += 1
            counts["worst"] = max(counts["worst"], counts["now"])
            try:
                await super()._talk(*args)
            finally:
                counts["now"] -= 1

    result = asyncio.run(
        _many([Counting(name="mx.good.test" if same_name else f"mx{n}.good.test", delay_s=0.005) for n in range(12)])
    )
    assert {item["verdict"] for item in result["listeners"]} == {"closed"}
    if same_name:
        assert counts["worst"] <= 2 and result["worst_connections_at_a_time"] <= 2
    else:
        assert counts["worst"] > 2


async def _many(fakes: list[Fake]) -> dict[str, Any]:
    for fake in fakes:
        await fake.start()
    orders = tuple(Order(Target(f"t{n}", KNOWN, (LOCAL_DOMAIN,)), "127.0.0.1", (1000 + n,)) for n in range(len(fakes)))
    mission = Mission("probe@stranger.test", CANARY, "probe.stranger.test", limits=FAST)
    request = Request(orders, mission, dial=lambda host, port: (host, fakes[port - 1000].port))
    try:
        return await probe(request)
    finally:
        for fake in fakes:
            fake.stop()


def test_pipelining_saves_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how often the probe writes to a closed server."""
    writes: list[bytes] = []
    original = Session._send
    monkeypatch.setattr(Session, "_send", lambda session, data: (writes.append(data), original(session, data)))
    asyncio.run(_many([Fake(extensions=())]))
    without, writes[:] = len(writes), []
    asyncio.run(_many([Fake(extensions=("PIPELINING",))]))
    assert len(writes) < 0.6 * without
    together = [data for data in writes if b"RCPT" in data and data.endswith(b"QUIT\r\n")]
    assert together, "QUIT goes with the last envelopes (RFC 2920, 3.1)"


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
def test_a_server_that_does_not_answer_quit_is_no_trouble(probe_fakes: Probe, extensions: tuple[str, ...]) -> None:
    class Curt(Fake):
        async def _command(self, client: Client, line: str, *streams: Any) -> bool:
            return line == "QUIT" or await super()._command(client, line, *streams)

    fake = Curt(extensions=extensions)
    (listener,) = probe_fakes(fake)["listeners"]
    assert listener["verdict"] == "closed" and not listener["troubles"]
    assert all(client.commands[-1] == "QUIT" and client.commands.count("QUIT") == 1 for client in fake.dialogue)
