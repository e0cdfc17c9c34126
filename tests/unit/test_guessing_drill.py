"""What a guessing drill does against servers on this machine, and what it says of what it saw."""

from __future__ import annotations

import asyncio
import base64
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest
from ansible.module_utils.mtaudit.credentials import guessing_drill
from ansible.module_utils.mtaudit.credentials.guessing_drill import Drilled, DrillError, Guessed, Request, Spread, Way, drill
from ansible.module_utils.mtaudit.credentials.guessing_verdict import judged
from ansible.module_utils.mtaudit.credentials.mail_login import try_login
from ansible.module_utils.mtaudit.credentials.values import Credential, Outcome, Service
from ansible.module_utils.mtaudit.finding import Method
from ansible.module_utils.mtaudit.smtp.evidence import Limits

GUESSES, SPREAD, CONTROL, SERVER = "127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.9"
WAY = Way(SERVER, GUESSES, CONTROL)
RIGHT = "the right one"


class Smtp:
    """Takes logins in clear; after `most` wrong ones it resets whatever comes from that address, or refuses the account."""

    def __init__(self, most: int = 1000, account_most: int = 1000, by_source: bool = True) -> None:
        self.most, self.account_most = most, account_most
        self.wrong: dict[str, int] = {}
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = writer.get_extra_info("peername")[0]
        writer.write(b"220 x.test ESMTP\r\n")
        while line := (await reader.readline()).decode():
            writer.write(f"{self.answer(source, line)}\r\n".encode())
            if line.upper().startswith("QUIT"):
                break
        writer.close()

    def answer(self, source: str, line: str) -> str:
        word = line.split()[0].upper()
        if word == "EHLO":
            return "250-x.test\r\n250 AUTH PLAIN"
        if word != "AUTH":
            return "221 2.0.0 bye"
        right = base64.b64decode(line.split()[2]).decode().endswith(f"\0{RIGHT}")
        self.wrong[source] = self.wrong.get(source, 0) + (not right)
        if sum(self.wrong.values()) > self.account_most:
            return "454 4.7.0 locked"
        return "235 2.7.0 in" if right else "535 5.7.8 no"


@contextmanager
def served(server: Smtp) -> Iterator[Smtp]:
    up, down = Event(), []

    async def main() -> None:
        listening = await asyncio.start_server(server.serve, SERVER, 0)
        server.port = listening.sockets[0].getsockname()[1]
        down.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        up.set()
        await stop.wait()
        listening.close()

    thread = Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert up.wait(5)
    try:
        yield server
    finally:
        loop, stop = down[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(guessing_drill, "_SETTLES_S", 0.0)
    monkeypatch.setattr(guessing_drill, "_PAUSE_S", 0.0)
    monkeypatch.setattr(guessing_drill, "_LOOKS_AGAIN_S", 0.1)
    return monkeypatch


def request(port: int, **more: Any) -> Request:
    return Request((WAY,), "drill", **{"ports": (port,), "attempts": 6, "watch_s": 0.3, "helo": "t.test", **more})


def measured(server: Smtp, quick: pytest.MonkeyPatch, shut: bool = True, **more: Any) -> Drilled:
    """With connections refused as a packet filter would: from a source that guessed too often."""
    taken = asyncio.open_connection

    async def filtered(host: str, port: int, local_addr: tuple[str, int]) -> Any:
        if shut and server.wrong.get(local_addr[0], 0) >= server.most:
            raise ConnectionRefusedError
        return await taken(host, port, local_addr=local_addr)

    real = guessing_drill.try_login

    async def tried(service: Service, source: str, *rest: Any) -> Any:
        found = await real(service, source, *rest[:-1], False)  # this server has no TLS
        blocked = server.wrong.get(source, 0) > server.most
        return replace(found, connected=not blocked)

    quick.setattr(guessing_drill.asyncio, "open_connection", filtered)
    quick.setattr(guessing_drill, "try_login", tried)
    quick.setattr(guessing_drill, "MAIL_PORTS", {server.port: "smtp"})
    return drill(request(server.port, **more))


def test_a_source_is_guessed_with_until_it_is_blocked(quick: pytest.MonkeyPatch) -> None:
    with served(Smtp(most=3)) as server:
        found = measured(server, quick)
    (way,) = found.ways
    assert (way.before_block, way.shut, way.open, way.ended, way.problem) == (3, [server.port], [], False, "")
    assert way.held_s >= 0.2 and way.said.startswith("535") and "drill" not in way.said
    assert set(server.wrong) == {GUESSES}


def test_one_that_is_not_blocked_spends_the_budget(quick: pytest.MonkeyPatch) -> None:
    with served(Smtp()) as server:
        (way,) = measured(server, quick).ways
    assert (way.guesses, way.before_block, way.shut) == (6, None, []) and len(way.waits_s) == 6


@pytest.mark.parametrize(("account_most", "right"), [(1000, "accepted"), (3, "put_off")])
def test_many_addresses_guess_at_one_account(quick: pytest.MonkeyPatch, account_most: int, right: str) -> None:
    with served(Smtp(account_most=account_most)) as server:
        spread = measured(server, quick, attempts=1, spread=(SPREAD, "127.0.1.4"), each=2, password=RIGHT).spread
    assert spread and (spread.addresses, spread.guesses, spread.right, spread.problem) == (2, 4, right, "")


def test_without_the_right_password_nobody_knows(quick: pytest.MonkeyPatch) -> None:
    with served(Smtp()) as server:
        found = measured(server, quick, attempts=1, spread=(SPREAD,), password="an old one")
    assert found.spread and found.spread.problem == "the account's own password was not taken: 535 5.7.8 no"


def test_a_right_password_is_not_sent_in_clear() -> None:
    with served(Smtp()) as server:
        service = Service("smtp", SERVER, server.port)
        tried = asyncio.run(try_login(service, GUESSES, Credential("drill", RIGHT), Limits(), "t.test", secret=True))
    assert tried.attempt.outcome == Outcome.UNASKED and not server.wrong


@pytest.mark.parametrize(
    ("way", "why"),
    [(Way(SERVER, "192.0.2.1"), "192.0.2.1 is no address of this vantage: "), (Way(SERVER, "::1"), "are not of one family"),
     (Way(SERVER, GUESSES, GUESSES), "needs an address of its own"),
     (Way("127.0.0.1", "127.0.0.1"), "needs an address of its own")],
)  # fmt: skip
def test_an_address_that_does_not_fit_is_named(way: Way, why: str) -> None:
    with pytest.raises(DrillError, match=why):
        drill(replace(request(587), ways=(way,)))


SEEN = Guessed(WAY, [587, 143], 30, None, 60.0, [1.0, 1.1], "535 no")
BLOCKED = replace(SEEN, before_block=5, took_s=9.0, shut=[25, 143, 587], held_s=600.4, ended=True)


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        (SEEN, "fail", "it is not blocked after 30 in 60 s (IPv4)"),
        (replace(SEEN, waits_s=[1.0, 17.0]), "fail", "only slowed: answers came after up to 17 s"),
        (BLOCKED, "pass", "is blocked after 5 wrong passwords in 9 s (IPv4), for 600 s"),
        (replace(BLOCKED, ended=False), "pass", "for at least 600 s"),
        (replace(BLOCKED, shut=[587], open=[143]), "fail", "and still logs in at port 143"),
        (replace(BLOCKED, shut=[143, 587], open=[25]), "pass", "is blocked after 5"),
        (replace(SEEN, problem="the control does not get in either"), "unknown", "the control does not get in either"),
    ],
)
def test_what_is_said_of_a_source(found: Guessed, status: str, text: str) -> None:
    (finding,) = judged(request(587), Drilled([found]))
    assert (finding.control, finding.method, finding.status.value) == ("AUTH-06", Method.PROBE, status)
    assert text in finding.message + finding.reason and str(finding.subject) == "host"


MANY = Spread(3, 9, right="accepted", said="235 in", usual_wait_s=0.1, wait_s=0.2)


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        (MANY, "informational", "is not seen: after 9 wrong passwords from 3 addresses"),
        (MANY, "informational", "auth_policy_server_url"),
        (replace(MANY, wait_s=9.0), "informational", "is slowed, not stopped"),
        (replace(MANY, right="put_off"), "pass", "is braked"),
        (replace(MANY, right="shut"), "unknown", "could not be measured"),
        (replace(MANY, right="refused", guesses=0), "unknown", "could not be measured"),
        (replace(MANY, right=None), "unknown", "was not given the account's right password"),
        (replace(MANY, blocked=[SPREAD]), "unknown", f"{SPREAD} was blocked meanwhile"),
        (replace(MANY, problem="it was not taken"), "unknown", "it was not taken"),
    ],
)
def test_what_is_said_of_the_account(found: Spread, status: str, text: str) -> None:
    (finding,) = judged(request(587), Drilled([], found))
    assert finding.status.value == status and text in finding.message + finding.reason
    assert str(finding.subject) == "account drill"


@pytest.mark.parametrize(
    ("given", "why"),
    [({"attempts": 0}, "attempts takes 1 to 1000, not 0"), ({"ports": [22]}, "ports takes .*, not 22"),
     ({"source_addresses": ["::1"]}, "none of the family"),
     ({"source_addresses": ["10.0.0.1", "10.0.0.2"]}, "one address of each")],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_named(given: dict[str, Any], why: str) -> None:
    usual = {"addresses": [SERVER], "source_addresses": [GUESSES], "control_addresses": [], "spread_addresses": [],
             "spread_each": 3, "account": {"username": "drill", "password": ""}, "ports": [587], "attempts": 3, "watch_s": 9,
             "helo": ""}  # fmt: skip
    module = importlib.import_module("mta_guessing_drill")
    assert module.request_from(usual).ways == (Way(SERVER, GUESSES),)
    with pytest.raises(DrillError, match=why):
        module.request_from({**usual, **given})
