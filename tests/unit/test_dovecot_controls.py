"""Controls on recordings of real Dovecots: every fixture's directory names the verdict it must get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY
from capture_fixture import evaluate, site_from
from test_relay_controls import ALSO, FIXTURES, SINCE, component_of, load, short

SCENARIOS = sorted(p.parent for p in FIXTURES.glob("*/*/recording.json") if component_of(p.parent) == "dovecot")
# One setting among those that the reader gets at once: what makes it unreadable is an error of the reader.
NEVER_UNKNOWN = ("AUTH-03", "AUTH-05", "AUTH-06", "TLS-01", "LOG-01", "LOG-06", "RATE-02")


def fault_of(directory: Path) -> str:
    """The row of a recording."""
    return re.sub(r"^[a-z]+-(.*?)(?:-d1[23])?$", r"\1", directory.name)


def label(directory: Path) -> str:
    return f"{directory.parent.name}/{directory.name}"


@pytest.mark.parametrize("directory", SCENARIOS, ids=label)
def test_the_verdict_is_the_one_in_the_name(directory: Path) -> None:
    control, verdict = directory.parent.name, directory.name.partition("-")[0]
    recording, expected = load(directory)
    findings = evaluate(expected["programs"], recording, site_from(expected["site"]))
    own = [f for f in findings if f.control == control]
    assert [short(f) for f in own] == expected["findings"]
    others = {f.control for f in findings if f.status.value == "fail"} - {control} - SINCE
    assert others == set(expected["other_failures"]) - SINCE
    assert others <= set(ALSO.get(fault_of(directory), ()))
    statuses = {f.status.value for f in own}
    assert verdict in statuses
    assert verdict != "pass" or not statuses & {"fail", "unknown", "error"}
    for finding in findings:
        assert finding.evidence or finding.status.value != "fail", finding
        assert finding.reason or finding.status.value not in ("unknown", "error", "notapplicable"), finding


@pytest.mark.parametrize("control", sorted(control for control, component in REGISTRY if component == "dovecot"))
@pytest.mark.parametrize("verdict", ["pass", "fail", "unknown"])
def test_every_control_has_a_fixture_of_each_verdict(control: str, verdict: str) -> None:
    own = [d for d in SCENARIOS if d.parent.name == control and d.name.startswith(f"{verdict}-")]
    assert bool(own) is not (verdict == "unknown" and control in NEVER_UNKNOWN)
