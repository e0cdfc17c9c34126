"""A run directory with anything missing or garbled still gives a report, and never a green one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import factory
import pytest
from ansible.module_utils.mtaudit.finding import Status
from ansible.module_utils.mtaudit.joined import JoinedFinding
from ansible.module_utils.mtaudit.report.run import RunError, load_run


def statuses(made: Any, host: str) -> set[Status]:
    return {f.status for f in made.report.findings if f.host == host}


def answer(made: Any, host: str) -> str:
    return next(h.answer for h in made.report.hosts if h.name == host)


GARBAGE = {
    "empty": "",
    "half a file": '{"host": "mx1", "findings": [',
    "a list": "[]",
    "a number": "7",
    "no findings": '{"host": "mx1", "status": "ok"}',
    "findings are text": '{"host": "mx1", "status": "ok", "findings": "none"}',
    "not UTF-8": "\udcff\udcfe",
    "nested too deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_garbled_host_is_an_error(content: str, tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1"), factory.good("mx2")])
    (directory / "hosts/mx1.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    made = reported(directory)
    # The stranger's probe of RELAY-03 is kept: it is an answer of somebody else.
    assert {f.status for f in made.report.findings if f.host == "mx1" and not f.methods} == {Status.ERROR}
    assert answer(made, "mx1") == "unknown"
    assert made.report.answer == "unknown"
    assert [p.file for p in made.report.problems] == ["hosts/mx1.json"]
    assert answer(made, "mx2") == "no"


def test_a_missing_host_file_is_an_error(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")])
    os.unlink(directory / "hosts/mx1.json")
    assert Status.ERROR in statuses(reported(directory), "mx1")


@pytest.mark.parametrize("finding", [
    None, 7, [], {}, {"control": "RELAY-02"},
    {"control": "RELAY-02", "subject": {"kind": "host", "name": ""}, "status": "fine", "method": "config", "message": "x"},
    {"control": "RELAY-02", "subject": {"kind": "host", "name": ""}, "status": "pass", "method": "config", "message": ["x"]},
    {"control": "RELAY-02", "subject": {"kind": "host", "name": 5}, "status": "pass", "method": "config", "message": "x"},
    {"control": "RELAY-02", "subject": {"kind": "host", "name": ""}, "status": "pass", "method": "config", "message": "x",
     "conditions": [{}]},
])
def test_a_garbled_finding_is_named_and_not_taken_for_a_pass(finding: Any, tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")])
    path = directory / "hosts/mx1.json"
    data = json.loads(path.read_text())
    data["findings"] = [f for f in data["findings"] if f["control"] != "RELAY-02"] + [finding]
    path.write_text(json.dumps(data))
    made = reported(directory)
    lost = [f for f in made.report.findings if f.control == "RELAY-02"]
    assert [f.status for f in lost] == [Status.ERROR]
    assert "1 of 13 findings could not be read" in lost[0].reason
    assert answer(made, "mx1") == "unknown"


def test_a_vantage_without_an_answer_is_a_problem(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")], vantages=("stranger", "neighbour"))
    os.unlink(directory / "probes/neighbour.json")
    (directory / "probes/stranger.json").write_text('{"vantage": "stranger", "error": "no route to host"}')
    made = reported(directory)
    assert {(p.file, p.reason) for p in made.report.problems} == {
        ("probes/neighbour.json", "the answer of vantage neighbour is missing"), ("probes/stranger.json", "no route to host")}
    assert made.report.answer == "unknown"


@pytest.mark.parametrize("name", ["run.json", "catalogue.json"])
@pytest.mark.parametrize("content", [None, "", "[", "7"])
def test_without_the_question_there_is_no_report(name: str, content: str | None, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")])
    os.unlink(directory / name)
    if content is not None:
        (directory / name).write_text(content)
    with pytest.raises(RunError, match=f"Could not read .*{name}"):
        load_run(str(directory))


def test_garbled_waivers_are_named(tmp_path: Path, reported: Any) -> None:
    host = factory.replaced(factory.good("mx1"), factory.failing())
    host.declared["waivers"] = [{"id": "RELAY-01"}, {"id": "RELAY-01", "owner": "a", "reason": "b", "expires": "soon"}]
    made = reported(factory.write_run(tmp_path, [host]))
    assert Status.FAIL in statuses(made, "mx1") and Status.WAIVED not in statuses(made, "mx1")
    assert len(made.report.problems) == 2


@pytest.mark.parametrize(("expires", "status"), [("2026-11-21", Status.WAIVED), ("2026-11-20", Status.FAIL)])
def test_a_waiver_holds_until_its_day(expires: str, status: Status, tmp_path: Path, reported: Any) -> None:
    host = factory.replaced(factory.good("mx1"), factory.failing())
    host.declared["waivers"] = [{"id": "RELAY-01", "owner": "a", "reason": "b", "expires": expires}]
    made = reported(factory.write_run(tmp_path, [host], started="2026-11-21T20:45:00Z"))
    assert [f.status for f in made.report.findings if f.control == "RELAY-01"] == [status]
    assert made.report.answer == ("no" if status is Status.WAIVED else "yes")


def test_no_waiver_holds_on_a_day_that_nobody_knows(tmp_path: Path, reported: Any) -> None:
    host = factory.replaced(factory.good("mx1"), factory.failing())
    host.declared["waivers"] = [{"id": "RELAY-01", "owner": "a", "reason": "b", "expires": "2100-01-01"}]
    made = reported(factory.write_run(tmp_path, [host], started="yesterday", run_id="r"))
    assert Status.FAIL in statuses(made, "mx1")


def test_a_joined_finding_survives_json(tmp_path: Path, reported: Any) -> None:
    made = reported(factory.write_run(tmp_path, factory.realistic()))
    findings = list(made.report.findings)
    assert findings
    assert [JoinedFinding.from_dict(json.loads(json.dumps(f.to_dict()))) for f in findings] == findings


def test_a_host_name_may_hold_anything(tmp_path: Path, reported: Any) -> None:
    names = ["a/b", "../../etc/passwd", "mx 1", "[2001:db8::1]", "<b>"]
    made = reported(factory.write_run(tmp_path, [factory.proven_open(name) for name in names]), hosts_per_page=2)
    assert {h.name for h in made.report.hosts} == set(names)
    assert not made.report.problems
    pages = {p.name for p in (tmp_path / "runs" / made.report.run.id / "report-hosts").iterdir()}
    assert pages == {f"{n:04d}.html" for n in range(1, 6)}
