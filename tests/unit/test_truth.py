"""Every combination of what configuration, simulation and probe can say."""

from __future__ import annotations

import itertools
import re

import pytest
from ansible.module_utils.mtaudit import truth
from ansible.module_utils.mtaudit.finding import Status

CONFIG = [None, Status.PASS, Status.FAIL, Status.UNKNOWN, Status.ERROR, Status.NOTAPPLICABLE, Status.INFORMATIONAL]
SIMULATION = [None, Status.PASS, Status.FAIL, Status.UNKNOWN, Status.ERROR, Status.NOTAPPLICABLE]
PROBE = [None, *truth.PROBE_VERDICTS]


def table() -> list[list[str]]:
    """The rows of the table in the module's own documentation: what people read is what is tested."""
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in truth.__doc__.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] != "configuration"]


def expected(config, simulation, probe) -> str:
    for row in table():
        cells = zip(row[:3], (config, simulation, probe))
        if all(cell == "any" or cell == (said or "none") for cell, said in cells):
            return re.split(r"[,;]", row[3])[0]
    raise AssertionError("no row fits")


COMBINATIONS = [c for c in itertools.product(CONFIG, SIMULATION, PROBE) if any(c)]


@pytest.mark.parametrize(("config", "simulation", "probe"), COMBINATIONS)
def test_status_is_the_tables(config, simulation, probe):
    words = [c.value if isinstance(c, Status) else c for c in (config, simulation, probe)]
    assert truth.conclude(config, simulation, probe).status.value == expected(*words)


@pytest.mark.parametrize(("config", "simulation", "probe"), COMBINATIONS)
def test_what_was_not_found_out_is_never_pass_and_never_fail(config, simulation, probe):
    said = {config, simulation}
    status = truth.conclude(config, simulation, probe).status
    if status == Status.PASS:
        assert Status.PASS in said or probe == truth.CLOSED
        assert Status.FAIL not in said and probe not in (truth.PROVEN_OPEN, truth.ACCEPTS)
    if status == Status.FAIL:
        assert Status.FAIL in said or probe in (truth.PROVEN_OPEN, truth.ACCEPTS)


@pytest.mark.parametrize(("config", "simulation", "probe"), COMBINATIONS)
def test_methods_that_contradict_each_other_are_named(config, simulation, probe):
    opened = Status.FAIL in (config, simulation) or probe == truth.PROVEN_OPEN
    closed = Status.PASS in (config, simulation)
    assert bool(truth.conclude(config, simulation, probe).disagreement) == (opened and closed)


def test_a_closed_probe_does_not_acquit_a_failing_configuration():
    found = truth.conclude(Status.FAIL, None, truth.CLOSED)
    assert found.status == Status.FAIL
    assert "need not meet the condition" in found.notes[0]


def test_the_worst_of_several_vantages_counts():
    assert truth.worst_verdict(["closed", "unknown", "proven_open"]) == truth.PROVEN_OPEN
    assert truth.worst_verdict(["closed", "unknown"]) == truth.UNKNOWN
    assert truth.worst([]) is None


@pytest.mark.parametrize("said", [Status.NOTCHECKED, Status.WAIVED, Status.FIXED])
def test_a_word_that_no_method_may_say_hides_behind_no_pass(said):
    assert truth.worst([Status.PASS, said]) == Status.UNKNOWN
    assert truth.worst([Status.FAIL, said]) == Status.FAIL


@pytest.mark.parametrize("config", [Status.ERROR, Status.UNKNOWN])
def test_a_message_that_vanished_does_not_settle_what_is_not_known(config):
    told = truth.conclude(config, None, truth.DISCARDS)
    assert told.status == config
    assert told.notes == ("a foreign message was taken and nothing arrived",)
