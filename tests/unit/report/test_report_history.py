"""What is new, fixed, still open, and since when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import factory
from ansible.module_utils.mtaudit.finding import Finding, Status, Subject

DAYS = [f"2026-11-{day:02d}T02:00:00Z" for day in range(1, 9)]


def run(reported: Any, root: Path, day: int, *hosts: factory.Host, **more: Any) -> Any:
    return reported(factory.write_run(root, list(hosts), DAYS[day], **more))


def of(made: Any, host: str, control: str, name: str | None = None) -> Any:
    found = [f for f in made.report.findings if f.host == host and f.control == control
             and (name is None or f.subject.name == name)]
    assert len(found) == 1, found
    return found[0]


def bad(name: str = "mx1", control: str = "RELAY-01") -> factory.Host:
    return factory.replaced(factory.good(name), factory.failing(control))


def test_the_first_run_compares_with_nothing(tmp_path: Path, reported: Any) -> None:
    finding = of(run(reported, tmp_path, 0, bad()), "mx1", "RELAY-01")
    assert (finding.change, finding.since) == ("", DAYS[0])


def test_new_then_still_open_then_fixed_then_passes(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, factory.good("mx1"))
    finding = of(run(reported, tmp_path, 1, bad()), "mx1", "RELAY-01")
    assert (finding.status, finding.change, finding.since) == (Status.FAIL, "new", DAYS[1])
    finding = of(run(reported, tmp_path, 2, bad()), "mx1", "RELAY-01")
    assert (finding.change, finding.since) == ("still_open", DAYS[1])
    fixed = [f for f in run(reported, tmp_path, 3, factory.good("mx1")).report.findings if f.status is Status.FIXED]
    assert [(f.control, f.subject.name, f.change, f.since) for f in fixed] == [("RELAY-01", "*:25", "fixed", DAYS[1])]
    after = run(reported, tmp_path, 4, factory.good("mx1")).report
    assert not [f for f in after.findings if f.change or f.since]
    finding = of(run(reported, tmp_path, 5, bad()), "mx1", "RELAY-01")
    assert (finding.change, finding.since) == ("new", DAYS[5])


def test_the_same_subject_passes_now(tmp_path: Path, reported: Any) -> None:
    host = Subject("host", "")
    run(reported, tmp_path, 0, factory.replaced(factory.good("mx1"), factory.failing("RELAY-02", "subnet", (), host)))
    finding = of(run(reported, tmp_path, 1, factory.good("mx1")), "mx1", "RELAY-02")
    assert (finding.status, finding.change) == (Status.FIXED, "fixed")


def test_what_was_proven_open_shows_that_it_was_tried_again(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, factory.proven_open("mx1"))
    passing = Finding("RELAY-01", factory.OPEN, Status.PASS, "mynetworks trusts no stranger")
    mended = factory.replaced(factory.good("mx1"), passing)
    finding = of(run(reported, tmp_path, 1, mended), "mx1", "RELAY-01")
    assert (finding.change, dict(finding.methods)) == ("fixed", {"probe": "closed", "config": "pass"})


def unknown(name: str = "mx1") -> factory.Host:
    finding = Finding("RELAY-01", factory.OPEN, Status.UNKNOWN, "postconf timed out", reason="no answer in 20 s")
    return factory.replaced(factory.good(name), finding)


def test_what_is_not_known_is_neither_fixed_nor_forgotten(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, bad())
    for day, host in ((1, unknown()), (2, factory.unreachable("mx1")), (3, factory.Host("mx1", status="failed", reason="x"))):
        made = run(reported, tmp_path, day, host)
        assert not [f for f in made.report.findings if f.change], host
    finding = of(run(reported, tmp_path, 4, bad()), "mx1", "RELAY-01")
    assert (finding.change, finding.since) == ("still_open", DAYS[0])


def test_the_date_is_shown_while_it_is_unknown(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, bad())
    assert of(run(reported, tmp_path, 1, unknown()), "mx1", "RELAY-01").since == DAYS[0]


def test_a_run_of_one_host_says_nothing_about_the_others(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, bad("mx1"), bad("mx2"))
    assert {f.host for f in run(reported, tmp_path, 1, bad("mx1")).report.findings} == {"mx1"}
    finding = of(run(reported, tmp_path, 2, bad("mx1"), bad("mx2")), "mx2", "RELAY-01")
    assert (finding.change, finding.since) == ("still_open", DAYS[0])


def test_another_profile_is_not_compared(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, bad(), profile="strict")
    made = run(reported, tmp_path, 1, bad())
    assert of(made, "mx1", "RELAY-01").change == ""
    assert len(made.report.trend) == 1


def test_a_later_run_is_not_an_earlier_one(tmp_path: Path, reported: Any) -> None:
    first = factory.write_run(tmp_path, [bad()], DAYS[0])
    run(reported, tmp_path, 1, factory.good("mx1"))
    assert of(reported(first), "mx1", "RELAY-01").change == ""


def test_a_waived_failure_stays_open(tmp_path: Path, reported: Any) -> None:
    waived = bad()
    waived.declared["waivers"] = [{"id": "RELAY-01", "owner": "a", "reason": "b", "expires": "2026-11-02"}]
    run(reported, tmp_path, 0, bad())
    assert of(run(reported, tmp_path, 1, waived), "mx1", "RELAY-01").status is Status.WAIVED
    finding = of(run(reported, tmp_path, 2, waived), "mx1", "RELAY-01")
    assert (finding.status, finding.since, finding.change) == (Status.FAIL, DAYS[0], "still_open")


def test_the_trend_counts_every_run(tmp_path: Path, reported: Any) -> None:
    for day, hosts in enumerate(([bad()], [bad(), bad("mx2", "RELAY-10")], [factory.good("mx1")])):
        made = run(reported, tmp_path, day, *hosts)
    assert [dict(point.failing) for point in made.report.trend] == [{"critical": 1}, {"critical": 1, "medium": 1}, {}]


def test_garbled_history_is_left_out(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, bad())
    for content in ("", "[]", '{"schema": 1}', '{"schema": 99}', "[" * 100_000, '{"schema": 1, "point": 5, "open": {}}'):
        (tmp_path / "runs" / "20261101T020000Z" / "history.json").write_text(content)
        made = reported(factory.write_run(tmp_path, [bad()], DAYS[1], run_id=f"run{len(content)}"))
        assert of(made, "mx1", "RELAY-01").host == "mx1"


def test_the_report_of_a_run_does_not_depend_on_when_it_is_made(tmp_path: Path, reported: Any) -> None:
    run(reported, tmp_path, 0, bad())
    directory = factory.write_run(tmp_path, factory.realistic(), DAYS[1])
    reported(directory)
    before = {p: p.read_bytes() for p in directory.iterdir() if p.is_file()}
    reported(directory)
    assert {p: p.read_bytes() for p in directory.iterdir() if p.is_file()} == before
