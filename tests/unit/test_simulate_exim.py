"""The simulation of Exim with a stand-in for `exim -bh`, which refuses, accepts, hangs and dies as told."""

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
from ansible.module_utils.mtaudit.readers import exim as reader
from ansible.module_utils.mtaudit.readers.exim import Exim
from ansible.module_utils.mtaudit.readers.network import HostNetwork
from ansible.module_utils.mtaudit.runner import Replay
from ansible.module_utils.mtaudit.simulate import exim as simulation
from ansible.module_utils.mtaudit.simulate.envelopes import Declared
from capture_fixture import restore

HERE = Path(__file__).parent
FIXTURE = HERE.parent / "fixtures/RELAY-03/pass-exim-untouched/recording.json"
CLOSED = {"RELAY-03": ("pass",), "SENDER-03": ("pass",), "RELAY-10": ("pass",)}
UNKNOWN = dict.fromkeys(CLOSED, ("unknown",))
NETWORK = HostNetwork(
    addresses=(ipaddress.ip_address("198.51.100.41"),),
    links=(ipaddress.ip_network("198.51.100.0/24"),),
    gateways=(ipaddress.ip_address("198.51.100.254"),),
)

Ask = Callable[..., list[Finding]]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in; needs no root."""
    monkeypatch.setattr(simulation.os, "geteuid", lambda: 0)
    shutil.copy(HERE / "simulation" / "exim", tmp_path / "exim")
    monkeypatch.setattr(simulation, "PROGRAMS", (str(tmp_path / "exim"),))
    return tmp_path


def recorded(change: Callable[[str], str] = lambda text: text, ports: str = "25") -> list[Exim]:
    """The lab's good host, which listens on 25, 465 and 587, with these ports."""
    recording = restore(json.loads(FIXTURE.read_text()))
    for entry in recording["run"]:
        entry["stdout"] = change(entry["stdout"].replace("daemon_smtp_ports = 25 : 465 : 587", f"daemon_smtp_ports = {ports}"))
    return reader.read(Replay(recording))


@pytest.fixture
def ask(program: Path) -> Ask:
    """Simulate with a behaviour; `more` is declared."""

    def run(behaviour: str = "", instances: list[Exim] | None = None, **more: Any) -> list[Finding]:
        (program / "behaviour").write_text(behaviour)
        (program / "calls").unlink(missing_ok=True)
        names = {"recipient": "canary@canary.test", "sender": "probe@stranger.test"}
        site = Site(local_domains=("exim.test",))
        found = simulation.simulate_all(instances or recorded(), site, NETWORK, Declared(**names, **more))
        assert found.spawns >= len(calls(program))
        return list(found.findings)

    return run


def calls(program: Path) -> list[str]:
    path = program / "calls"
    return path.read_text().splitlines() if path.exists() else []


def said(findings: list[Finding], port: int = 25) -> dict[str, tuple[str, ...]]:
    return {f.control: (f.status.value, *f.conditions) for f in findings if f.subject.name == f"*:{port}"}


def test_a_closed_server(ask: Ask, program: Path) -> None:
    findings = ask(instances=recorded(ports="25 : 587"))
    assert said(findings) == said(findings, 587) == CLOSED
    assert all(f.method is Method.SIMULATION for f in findings)
    assert "550 relay not permitted" in findings[0].evidence[0].text and findings[0].message.startswith("Exim refuses")
    ports = {call.rpartition(".")[2] for call in calls(program)}
    assert ports == {"25", "587"} and all(call.startswith("-bh ") and " -oMi " in call for call in calls(program))


def test_another_program_flips_the_verdict(ask: Ask) -> None:
    opened, closed = ask("opposite")[0], ask()[0]
    assert (opened.control, opened.status.value, opened.conditions, opened.verdict) == ("RELAY-03", "fail", (), "accepts")
    assert (closed.control, closed.status.value, closed.verdict) == ("RELAY-03", "pass", "closed")


def test_a_spoofed_sender_is_a_hole_of_its_own(ask: Ask, program: Path) -> None:
    findings = said(ask("sender", instances=recorded(lambda text: text.replace("exim-d12.test", "exim.test").replace(
        "exim-d12.corp.test", "exim.test"))))  # fmt: skip
    assert findings["SENDER-03"] == ("fail", "local_sender") and findings["RELAY-03"] == ("pass",)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("unrouteable", "could not be routed"),
        ("broken", "a list or a look-up could not be evaluated"),
        ("dies", "Exim configuration error in line 12"),
    ],
)
def test_what_says_nothing_about_relaying_is_unknown(ask: Ask, behaviour: str, reason: str) -> None:
    findings = [f for f in ask(behaviour) if f.subject.name == "*:25" and f.control == "RELAY-03"]
    assert [f.status.value for f in findings] == ["unknown"] and reason in findings[0].reason, findings


def test_one_that_does_not_answer_is_unknown_in_time(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "SESSION_TIMEOUT_S", 0.2)
    monkeypatch.setattr(simulation, "BUDGET", 3)
    findings = ask("silent")
    assert said(findings) == UNKNOWN and "did not answer connect in time" in findings[0].reason


def test_the_budget_is_kept(ask: Ask, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "BUDGET", 1)
    findings = ask()
    assert len(calls(program)) == 1 and "the budget of 1 processes" in findings[0].reason


def test_no_session_has_more_commands_than_exim_bears(ask: Ask) -> None:
    assert "Too many nonmail" not in str(ask("catch-all"))


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("ratelimit = 5 / 1h / strict", "'ratelimit'"),
        ("condition = ${run{/bin/true}{yes}{no}}", "outside of Exim (run)"),
        ("hosts = ${lookup mysql{SELECT 1}}", "outside of Exim (mysql)"),
    ],
)
def test_what_would_be_counted_or_reach_outside_is_not_asked(ask: Ask, program: Path, condition: str, reason: str) -> None:
    changed = recorded(lambda text: text.replace("  acl_check_rcpt:\n", f"  acl_check_rcpt:\n    warn\n    {condition}\n"))
    findings = ask(instances=changed)
    assert said(findings) == UNKNOWN and reason in findings[0].reason and calls(program) == []


def test_outsiders_are_asked_where_the_site_allows_it(ask: Ask, program: Path) -> None:
    asking = "  acl_check_rcpt:\n    warn\n    hosts = ${run{/bin/true}}\n"
    changed = recorded(lambda text: text.replace("  acl_check_rcpt:\n", asking))
    assert said(ask(instances=changed, contact_policy_services=True)) == CLOSED and calls(program)


def test_a_rate_limit_that_no_recipient_meets_is_no_obstacle() -> None:
    (found,) = recorded()
    assert any(c.name == "ratelimit" for acl in found.config.acls.values() for s in acl for c in s.conditions)
    assert "ratelimit" not in simulation.obstacle(found, False)


def test_without_root_nothing_is_asked(ask: Ask, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation.os, "geteuid", lambda: 1000)
    findings = ask()
    assert said(findings) == UNKNOWN and "not root" in findings[0].reason and calls(program) == []
