"""Every planted fault is found, by its one cause, and nothing else is accused; an independent oracle says what is true."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_runs import Lab, Outcome, run
from mtalab.faults import load, sample

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("gateway")]  # one port of the gateway is published at a time

FULL = bool(os.environ.get("MTAUDIT_FULL"))
ON_ONE = load() if FULL else sample(load())
# Debian 13 has its own versions of all programs; the whole matrix runs on it only in the full run.
SAMPLE = ("mynetworks-everybody", "untouched", "exim-relay-nets-everybody", "exim-untouched")
ON_BOTH = [fault for fault in ON_ONE if not fault.releases and fault.base.endswith("d12") and (FULL or fault.name in SAMPLE)]
FAULTS = ON_ONE + [fault.on_other_release for fault in ON_BOTH]


@pytest.fixture(scope="module")
def outcomes(lab: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Of the faults that the tests of this run ask for (`-k`)."""
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    return run(lab, [fault for fault in FAULTS if fault.name in asked], tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_the_oracle_sees_what_the_fault_says(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert not outcome.problem
    assert (outcome.sees, outcome.plain) == (dict(outcome.fault.sees), dict(outcome.fault.plain)), outcome.said
    assert re.search(outcome.fault.shows, outcome.shown), outcome.shown[-3000:]


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_the_audit_names_the_cause_and_accuses_nobody_else(outcomes: dict[str, Outcome], name: str) -> None:
    judge(outcomes[name])


def judge(outcome: Outcome) -> None:
    """What fails is the fault's control on its listener, and nothing else; what does not fail says what its row says."""
    fault = outcome.fault
    assert not outcome.problem
    shown = [(f["control"], f["subject"]["name"], f["status"], f.get("methods"), f["message"]) for f in outcome.findings
             if f["status"] not in ("pass", "notapplicable")]
    own = [f for f in outcome.findings if f["control"] == fault.control and f["subject"]["name"] == fault.listener]
    # What the configuration alone leaves open, the probe may prove.
    probed = [f for f in outcome.findings if f.get("methods", {}).get("probe") in ("proven_open", "fail")
              or f["status"] == "fail" and f.get("methods", {}).get("probe") == "accepts"]  # fmt: skip
    proven = fault.verdict == "unknown" and any(f in own for f in probed)
    seen = {(f["control"], f["subject"]["name"]) for f in probed if fault.verdict == "unknown" and f not in own
            and f["methods"].get("config") == "unknown"}  # fmt: skip
    named = {(fault.control, name) for name in (fault.listener, *fault.also_on)}
    expected = named if fault.verdict == "fail" or proven else set()
    assert {found for found in outcome.failing() - seen if found[0] not in fault.also} == expected, shown
    assert {control for control, _ in outcome.failing()} >= set(fault.also), shown
    assert ("fail" if proven else fault.verdict) in {f["status"] for f in own}, shown
