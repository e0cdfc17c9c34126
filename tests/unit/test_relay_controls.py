"""Controls on recordings of real hosts: every fixture's directory names the verdict it must get."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.components import read_all
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.readers import exim, opensmtpd, postfix, sendmail
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import evaluate, restore, site_from

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule/lab"))

from mtalab import faults  # noqa: E402

FIXTURES = ROOT / "tests/fixtures"
ALSO = {fault.name: fault.also for fault in faults.load()}
# The good hosts meet these only since they exist: what was recorded before fails them, whatever it was recorded for.
SINCE = {"INFO-03", "LOG-02", "INB-03", "INB-04", "OUT-01", "SENDER-02", "INB-01", "INB-02", "LOG-06", "PATCH-02", "TLS-01",
         "RATE-02", "RATE-01", "DRIFT-02", "OUT-03", "OUT-02", "AV-01"}  # fmt: skip
COMPLETE = ("postfix", "exim", "sendmail", "opensmtpd", "os")  # of these every control has a fixture of each verdict
# OpenSMTPD stops with its filter program, so that none that is down lets mail pass; what the program itself does is unknown.
# And no release of it that is known takes a message with something behind its end.
NEVER = {("MILTER-01", "opensmtpd", "fail"), ("PATCH-02", "opensmtpd", "fail")}
CONTROLS = sorted((control, component) for control, component in REGISTRY if component in COMPLETE)


def component_of(directory: Path) -> str:
    """A scenario of another program than Postfix says so first: `fail-exim-...`."""
    word = directory.name.split("-")[1]
    return word if any(component == word for _, component in REGISTRY) else "postfix"


SCENARIOS = sorted(
    path.parent for path in FIXTURES.glob("*/*/recording.json")
    if (path.parent.parent.name, component_of(path.parent)) in CONTROLS
)  # fmt: skip


def load(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    recording = restore(json.loads((directory / "recording.json").read_text()))
    return recording, json.loads((directory / "expect.json").read_text())


def short(finding: Finding) -> dict[str, Any]:
    return {"subject": str(finding.subject), "status": finding.status.value, "message": finding.message,
            "conditions": list(finding.conditions)}


@pytest.mark.parametrize("directory", SCENARIOS, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_the_verdict_is_the_one_in_the_name(directory: Path) -> None:
    control, verdict = directory.parent.name, directory.name.partition("-")[0]
    recording, expected = load(directory)
    findings = evaluate(expected["programs"], recording, site_from(expected["site"]))
    own = [f for f in findings if f.control == control]
    failing = {f.control for f in findings if f.status.value == "fail"}
    assert [short(f) for f in own] == expected["findings"]
    assert sorted(failing - {control} - SINCE) == sorted(set(expected["other_failures"]) - SINCE)
    statuses = {f.status.value for f in own}
    if verdict == "pass":
        assert not statuses & {"fail", "unknown", "error"}
    else:
        assert statuses & ({"unknown", "error"} if verdict == "unknown" else {verdict})


@pytest.mark.parametrize("directory", SCENARIOS, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_one_root_cause_fails_one_control(directory: Path) -> None:
    """Others fail with it only where the row of the fault says so, and why."""
    name = re.sub(r"^[a-z]+-(.*?)(?:-d13)?$", r"\1", directory.name)
    expected = load(directory)[1]
    named = set(ALSO.get(name, ()))
    # Of a control on the host itself only its own fixtures have the readings. Of one without a function only the probe tells.
    unread = set() if "os" in expected["programs"] else {control for control, component in REGISTRY if component == "os"}
    unread |= {control for control in named if not any((control, program) in REGISTRY for program in expected["programs"])}
    assert set(expected["other_failures"]) - SINCE == named - SINCE - unread


@pytest.mark.parametrize("directory", SCENARIOS, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_what_is_not_a_pass_says_why_and_where(directory: Path) -> None:
    recording, expected = load(directory)
    for finding in evaluate(expected["programs"], recording, site_from(expected["site"])):
        if finding.status.value == "fail":
            assert finding.evidence, finding
        if finding.status.value in ("unknown", "error", "notapplicable"):
            assert finding.reason, finding


@pytest.mark.parametrize(("control", "component"), CONTROLS)
@pytest.mark.parametrize("verdict", ["pass", "fail", "unknown"])
def test_every_control_has_a_fixture_of_each_verdict(control: str, component: str, verdict: str) -> None:
    own = [d for d in SCENARIOS if d.parent.name == control and component_of(d) == component]
    assert (control, component, verdict) in NEVER or any(d.name.startswith(f"{verdict}-") for d in own)


@pytest.mark.parametrize("directory", [d for d in SCENARIOS if component_of(d) == "os"], ids=lambda d: d.name)
def test_reading_the_host_takes_no_program(directory: Path) -> None:
    recording, expected = load(directory)
    programs = [name for name in expected["programs"] if name != "os"]
    alone, whole = Replay(recording), Replay(recording)
    read_all(alone, programs)
    read_all(whole, expected["programs"], recording["ids"])
    asked_of = recording.get("query", {}).items()
    servers = sum(server.endswith("sql)") and list(told) != ["error"] for server, told in asked_of)
    asked = ("WEB-01" in recording["ids"]) + servers
    assert whole.spawns == alone.spawns + asked, "the packet filter and data bases that have a server alone are asked"


@pytest.mark.parametrize("directory", [d for d in SCENARIOS if component_of(d) != "os"], ids=lambda d: d.name)
def test_reading_one_instance_takes_few_programs(directory: Path) -> None:
    replay = Replay(load(directory)[0])
    if component_of(directory) == "exim":
        found = exim.read(replay)
        assert replay.spawns <= 2 * len(found) + bool(found[0].package or found[0].package_problem)
        return
    if component_of(directory) == "opensmtpd":
        (smtpd,) = opensmtpd.read(replay)
        data_bases = [table for table in smtpd.config.tables.values() if table.backend == "db"]
        assert replay.spawns <= 2 + len(data_bases)
        return
    if component_of(directory) == "sendmail":
        servers = sendmail.read(replay)
        once = 1 if servers[0].package or servers[0].package_problem else 0
        assert replay.spawns <= 3 * len(servers) + sum(len(server.tables) for server in servers) + once
        return
    instances = postfix.read(replay)
    read = {id(table): table for i in instances for table in (*i.recipients.values(), *i.tables.values())}
    tables = sum(1 for table in read.values() if table.indexed or table.sampled or table.problem)
    written = [one for i in instances for each in i.submitted.values() for one in each]
    headers = {name for one in written for name in one.names if "_checks" in name or "_access" in name}
    assert replay.spawns <= 2 * len(instances) + tables + len(headers)
    assert tables <= 4 * len(instances)


def test_all_relay_controls_are_there() -> None:
    every = [f"RELAY-{n:02}" for n in range(1, 15)] + ["SENDER-03"]
    not_exim = {"RELAY-02", "RELAY-05"}  # mynetworks_style and the virtual domains are Postfix's own
    # And what MX records or mailbox daemons say decides nothing in OpenSMTPD.
    not_opensmtpd = not_exim | {"RELAY-11", "RELAY-13"}
    relay = [key for key in CONTROLS if key[0].startswith("RELAY-") or key[0] in every]
    assert [control for control, component in relay if component == "postfix"] == every
    assert [control for control, component in relay if component == "exim"] == [c for c in every if c not in not_exim]
    own = [control for control, component in relay if component == "opensmtpd"]
    assert own == [c for c in every if c not in not_opensmtpd]
    not_sendmail = {*not_exim, "RELAY-07"}  # it knows neither XCLIENT nor the PROXY protocol
    assert [control for control, component in relay if component == "sendmail"] == [c for c in every if c not in not_sendmail]
