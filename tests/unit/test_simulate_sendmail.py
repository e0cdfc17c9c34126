"""The simulation of Sendmail with a stand-in for `sendmail -bt`, which refuses, accepts, hangs, floods and ends as told."""

from __future__ import annotations

import ipaddress
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.finding import Finding, Method
from ansible.module_utils.mtaudit.readers import sendmail as reader
from ansible.module_utils.mtaudit.readers.network import HostNetwork
from ansible.module_utils.mtaudit.readers.sendmail import Sendmail
from ansible.module_utils.mtaudit.runner import Replay
from ansible.module_utils.mtaudit.simulate import sendmail as simulation
from ansible.module_utils.mtaudit.simulate.envelopes import Declared
from capture_fixture import restore

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
CLOSED = {"RELAY-03": ("pass",), "SENDER-03": ("pass",), "RELAY-10": ("pass",)}
UNKNOWN = dict.fromkeys(CLOSED, ("unknown",))
NETWORK = HostNetwork(
    addresses=(ipaddress.ip_address("198.51.100.43"),),
    links=(ipaddress.ip_network("198.51.100.0/24"),),
    gateways=(ipaddress.ip_address("198.51.100.254"),),
)

Ask = Callable[..., list[Finding]]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in; needs no root."""
    monkeypatch.setattr(simulation.os, "geteuid", lambda: 0)
    shutil.copy(HERE / "simulation" / "sendmail", tmp_path / "sendmail")
    monkeypatch.setattr(simulation, "PROGRAMS", (str(tmp_path / "sendmail"),))
    return tmp_path


def recorded(fixture: str = "RELAY-03/pass-sendmail-untouched") -> list[Sendmail]:
    return reader.read(Replay(restore(json.loads((FIXTURES / fixture / "recording.json").read_text()))))


@pytest.fixture
def ask(program: Path) -> Ask:
    """Simulate with a behaviour; `more` is declared."""

    def run(behaviour: str = "", instances: list[Sendmail] | None = None, **more: Any) -> list[Finding]:
        (program / "behaviour").write_text(behaviour)
        (program / "calls").unlink(missing_ok=True)
        names = {"recipient": "canary@canary.test", "sender": "probe@stranger.test"}
        found = simulation.simulate_all(instances or recorded(), Site(), NETWORK, Declared(**{**names, **more}))
        calls = program / "calls"
        assert found.spawns == (len(calls.read_text().splitlines()) if calls.exists() else 0)
        assert all(f.method is Method.SIMULATION for f in found.findings)
        return list(found.findings)

    return run


def statuses(findings: list[Finding], listener: str = "*:25") -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for finding in findings:
        if finding.subject.name == listener:
            found.setdefault(finding.control, []).append(finding.status.value)
    return {control: tuple(values) for control, values in found.items()}


def test_a_closed_server_and_its_port_for_logins(ask: Ask, program: Path) -> None:
    found = ask()
    assert statuses(found) == CLOSED and statuses(found, "*:587") == CLOSED
    assert (program / "calls").read_text().splitlines() == [
        "-OTimeout.resolver.retrans=2s -OTimeout.resolver.retry=1 -bt"]
    login = next(f for f in found if f.subject.name == "*:587")
    assert "530 5.7.0 Authentication required" in login.evidence[0].text


def test_an_open_server_is_open_to_anybody(ask: Ask) -> None:
    found = [f for f in ask("open") if f.status.value == "fail" and f.control == "RELAY-03"]
    assert [f.conditions for f in found] == [()]
    assert statuses(ask("open"))["RELAY-10"] == ("unknown",)  # tricks cannot be told apart


@pytest.mark.parametrize(
    ("behaviour", "control", "conditions"),
    [
        ("local sender", "SENDER-03", ("local_sender",)),
        ("ipv6", "RELAY-03", ("ipv6",)),
        ("next host", "RELAY-10", ("percent",)),
    ],
)
def test_what_it_takes_is_said(ask: Ask, behaviour: str, control: str, conditions: tuple[str, ...]) -> None:
    failing = [(f.control, f.conditions) for f in ask(behaviour) if f.status.value == "fail" and f.subject.name == "*:25"]
    assert (control, conditions) in failing


def test_a_mailbox_of_an_odd_name_is_no_relay(ask: Ask) -> None:
    assert statuses(ask("mailbox"))["RELAY-10"] == ("pass",)


def test_a_sender_that_does_not_exist_hides_no_refusal(ask: Ask) -> None:
    assert statuses(ask("no such sender")) == CLOSED


@pytest.mark.parametrize("behaviour", ["hang", "flood", "end at once", "end in the middle", "temporary", "blocklist"])
def test_what_decides_nothing_is_unknown(ask: Ask, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    monkeypatch.setattr(simulation, "TIMEOUT_S", 1.0 if behaviour == "hang" else 30.0)
    found = ask(behaviour)
    assert statuses(found) == UNKNOWN
    assert all(f.reason for f in found if f.status.value == "unknown")
    assert statuses(found, "*:587") == CLOSED


def test_not_root_no_program_and_what_reaches_outside(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = recorded("RELAY-03/unknown-sendmail-program-is-asked")
    found = ask(instances=asking)
    assert statuses(found) == UNKNOWN and "the map ask (program)" in found[0].reason
    assert statuses(ask(instances=asking, contact_policy_services=True)) == CLOSED
    monkeypatch.setattr(simulation, "PROGRAMS", ("/nowhere/sendmail",))
    assert "not found" in ask()[0].reason
    monkeypatch.setattr(simulation.os, "geteuid", lambda: 1000)
    assert "not root" in ask()[0].reason


def test_an_address_that_ends_a_line_is_not_asked(ask: Ask, program: Path) -> None:
    found = ask(recipient="canary@canary.test>\n/quit")
    assert statuses(found) == UNKNOWN
    assert "cannot be asked for every address" in found[0].reason


def test_a_second_daemon_is_asked_with_its_own_file(ask: Ask, program: Path) -> None:
    found = ask(instances=recorded("RELAY-06/fail-sendmail-second-daemon-open"))
    assert statuses(found, "*:2525") == CLOSED
    assert "-C /etc/mail/other.cf" in (program / "calls").read_text()
