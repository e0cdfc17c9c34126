"""What an audit costs a host, in counts that need no clock: tasks, connections' commands, programs run, bytes sent.

The counts are not the audit's own: ssh sessions are kept by a forced command on the host, programs by the kernel's process
accounting. What the audit says of itself must agree.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.simulate.postfix import BUDGET
from audited_copy import ROOT, Copy, Cost, throw_away_copy

pytestmark = pytest.mark.lab

SPAWNS = 10
# Measured: 898 KB, of which 169 KB are Ansible's own (its ping module, sent the same way), about 50 KB for each program that is
# read, 180 KB for the host around them (its passwords: 90) and the rest for what they share. Python compresses to a fifth; base64
# adds a third.
PAYLOAD_BYTES = 1_000_000
OWN_BYTES = 830_000
# A control's entry in the selection: id, components, kinds, tunables.
SELECTED_BYTES = 1_000


@dataclass(frozen=True)
class Counted:
    """An audit: what it cost from outside, and what it says of itself."""

    cost: Cost
    answer: dict[str, Any]

    @property
    def controls(self) -> set[str]:
        return {finding["control"] for finding in self.answer["findings"]}


@pytest.fixture(scope="module", params=["mx-d12", "full-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A copy of a good host on which every ssh session is kept."""
    with throw_away_copy(request.param, "count", tmp_path_factory.mktemp("count")) as made:
        made.spy()
        yield made


def counted(copy: Copy, **variables: Any) -> Counted:
    with copy.counted() as costs:
        run = copy.audit(**variables)
    return Counted(costs[0], run.answer())


@pytest.fixture(scope="module")
def read_only(copy: Copy) -> Counted:
    """An audit that reads the configuration and simulates nothing."""
    return counted(copy, mta_audit_simulate=False)


@pytest.fixture(scope="module")
def simulated(copy: Copy) -> Counted:
    """An audit as it is by default, without probes."""
    return counted(copy)


def profile_of(control: str, directory: Path) -> Path:
    """A catalogue with one more profile: that control, alone."""
    checks = directory / "checks"
    shutil.copytree(ROOT / "checks", checks)
    text = json.dumps({"id": "alone", "title": "One control", "description": "One control.", "select": {"ids": [control]}})
    (checks / "profiles/alone.yml").write_text(f"---\n{text}\n", encoding="utf-8")
    return checks


@pytest.fixture(scope="module")
def alone(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """An audit of one control."""
    checks = profile_of("RELAY-03", tmp_path_factory.mktemp("alone"))
    return counted(copy, mta_audit_checks=str(checks), mta_audit_profile="alone")


@pytest.fixture(scope="module")
def everything(copy: Copy) -> Counted:
    """An audit of every control of the catalogue."""
    return counted(copy, mta_audit_profile="strict")


# The counting itself

@pytest.mark.parametrize(("module", "arguments", "below"), [
    ("ping", "", []),
    ("command", "sh -c 'true; /bin/true; :'", ["sh", "true"]),
])
def test_the_counts_are_right_for_modules_whose_cost_is_known(
    copy: Copy, module: str, arguments: str, below: Sequence[str]
) -> None:
    """One session and one Python for a module; what a module runs is seen however deep it is."""
    with copy.counted() as costs:
        copy.ansible("ansible", "all", "-m", module, "-a", arguments)
    assert len(costs[0].sessions) == 1
    assert len(costs[0].modules) == 1
    assert costs[0].spawned == list(below)


# Tasks

def test_one_task_one_module_and_one_command_of_ssh(read_only: Counted, simulated: Counted) -> None:
    for audit in (read_only, simulated):
        assert [len(session.stdin) > 0 for session in audit.cost.sessions] == [True], "another task ran on the host"
        assert len(audit.cost.modules) == 1


def test_the_task_is_the_audit(simulated: Counted) -> None:
    assert b"mta_audit" in simulated.cost.sessions[0].stdin
    assert simulated.answer["status"] == "ok"
    assert len(simulated.controls) > 10


# Programs run

def test_few_programs_are_run_to_read_everything(read_only: Counted) -> None:
    assert 0 < len(read_only.cost.spawned) <= SPAWNS


def test_the_audit_counts_its_programs_right(read_only: Counted, simulated: Counted) -> None:
    assert read_only.answer["spawns"] == len(read_only.cost.spawned)
    assert read_only.answer["simulation_spawns"] == 0
    assert simulated.answer["spawns"] + simulated.answer["simulation_spawns"] == len(simulated.cost.spawned)


def test_a_simulation_runs_smtpd_and_nothing_else(read_only: Counted, simulated: Counted) -> None:
    more = list(simulated.cost.spawned)
    for name in read_only.cost.spawned:
        more.remove(name)
    assert set(more) == {"smtpd"}
    assert len(more) == simulated.answer["simulation_spawns"] <= BUDGET


def test_a_simulation_runs_at_most_two_smtpd_for_each_service(simulated: Counted) -> None:
    """The second only where a policy service or a DNS allow list might decide otherwise; no good host has any."""
    services = {(entry["instance"], entry["service"]) for entry in simulated.answer["estate"]["listeners"]}
    assert 0 < simulated.answer["simulation_spawns"] <= 2 * len(services)


# Bytes

def test_what_is_sent_is_bounded(simulated: Counted) -> None:
    assert 0 < simulated.cost.bytes_sent <= PAYLOAD_BYTES


def test_most_of_what_is_sent_is_ansibles_own(copy: Copy, simulated: Counted) -> None:
    with copy.counted() as costs:
        copy.ansible("ansible", "all", "-m", "ping")
    assert simulated.cost.bytes_sent - costs[0].bytes_sent <= OWN_BYTES


# The number of controls

def test_more_controls_cost_no_more_tasks_and_no_more_programs(alone: Counted, everything: Counted) -> None:
    """But for one: where there is no file of the mail log, the journal is read, once, by those who ask what was logged."""
    assert alone.controls == {"RELAY-03"}
    assert len(everything.controls) > 10
    assert len(everything.cost.sessions) == len(alone.cost.sessions) == 1
    assert len(everything.cost.modules) == len(alone.cost.modules) == 1
    more = Counter(everything.cost.spawned) - Counter(alone.cost.spawned)
    # rspamd is asked for its configuration, and the resolver for two names, once, by controls on filters.
    assert more - Counter({"journalctl": 1}) == Counter({"rspamadm": 1, "getent": 1})
    assert everything.answer["spawns"] == alone.answer["spawns"] + more.total()


def test_a_control_more_sends_only_its_line_in_the_selection(alone: Counted, everything: Counted) -> None:
    more = len(everything.controls) - len(alone.controls)
    assert everything.cost.bytes_sent - alone.cost.bytes_sent <= SELECTED_BYTES * more
