"""The answer at the top, the gate at the end: nothing that was not found out is ever green."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import factory
import pytest
from ansible.module_utils.mtaudit.finding import Finding, Status, Subject
from ansible.module_utils.mtaudit.report.verdict import host_answer, proof

HOST = Subject("host", "")


def undecided(status: Status, control: str = "RELAY-01") -> factory.Host:
    return factory.replaced(factory.good("mx1"), Finding(control, HOST, status, "could not tell", reason="because"))


@pytest.mark.parametrize(("hosts", "answer"), [
    ([], "unknown"),
    ([factory.good("mx1")], "no"),
    ([factory.proven_open("mx1"), factory.unreachable("mx2")], "yes"),
    ([factory.good("mx1"), factory.unreachable("mx2")], "unknown"),
    ([factory.unreachable("mx1")], "unknown"),
    ([factory.Host("mx1", status="failed", reason="no Python")], "unknown"),
    ([factory.Host("mx1")], "unknown"),
    ([undecided(Status.UNKNOWN)], "unknown"),
    ([undecided(Status.ERROR)], "unknown"),
    ([undecided(Status.NOTCHECKED)], "unknown"),
    ([undecided(Status.UNKNOWN, "RELAY-10")], "no"),
    ([factory.replaced(factory.good("mx1"), factory.failing("RELAY-10"))], "no"),
    ([factory.replaced(factory.good("mx1"), factory.failing("RELAY-02"))], "yes"),
])
def test_the_answer(hosts: list[factory.Host], answer: str, tmp_path: Path, reported: Any) -> None:
    report = reported(factory.write_run(tmp_path, hosts)).report
    assert report.answer == answer
    assert report.headline.startswith({"yes": "Yes.", "unknown": "Unknown", "no": "No hole found."}[answer])


# What fails without letting a stranger send: a control on passwords, and one on relaying where a login is needed.
AUTH = ("AUTH-01", "critical", "Passwords are taken inside TLS only", "Set smtpd_tls_auth_only = yes.")


@pytest.mark.parametrize("weakness", [
    factory.failing("AUTH-01", "a password is taken in clear text"),
    factory.failing("RELAY-07", "clients may claim any address", conditions=("xclient", "authenticated")),
    factory.failing("SENDER-03", "strangers send to local mailboxes as anybody", conditions=("local_sender", "local_recipient")),
])
def test_a_serious_weakness_is_no_hole(weakness: Finding, tmp_path: Path, reported: Any) -> None:
    def of(*hosts: factory.Host) -> Any:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        return reported(factory.write_run(place, list(hosts), controls=(*factory.CONTROLS, AUTH))).report

    def host(name: str) -> factory.Host:
        made = factory.good(name)
        made.findings.append(factory.passing("AUTH-01"))
        return made

    weak = factory.replaced(host("mx1"), weakness)
    report = of(weak, host("mx2"))
    assert report.answer == "no"
    assert report.headline == (
        "No hole found that strangers can send through, but 1 of 2 servers has a serious weakness.")
    assert report.gate.worst in ("critical", "high")
    both = of(factory.replaced(weak, factory.failing("RELAY-02")))
    assert both.answer == "yes" and both.headline == "Yes. The only server can be used to send spam."
    assert "1 serious failure lets no stranger send by itself, but weakens a defence." in both.details


def test_a_host_without_findings_is_unknown() -> None:
    assert host_answer("ok", []) == "unknown"


def test_an_unreachable_host_is_notchecked_and_never_passes(tmp_path: Path, reported: Any) -> None:
    report = reported(factory.write_run(tmp_path, [factory.unreachable("mx1")])).report
    assert set(report.counts) == {"notchecked"}


def test_what_was_planned_and_could_not_be_done_is_told(tmp_path: Path, reported: Any) -> None:
    host = factory.unreachable("mx1")
    host.plan, host.problem = ["RELAY-01 (postfix) is mended: *:25"], "mx1 is unreachable since the step 'Confirm the change'."
    directory = factory.write_run(tmp_path, [host, factory.good("mx2")])
    report = reported(directory).report
    assert report.details[0] == "mx1 could not be mended. mx1 is unreachable since the step 'Confirm the change'."
    assert [host.plan for host in report.hosts] == [("RELAY-01 (postfix) is mended: *:25",), ()]
    for name in ("report.html", "report.md", "findings.json"):
        assert "RELAY-01 (postfix) is mended: " in (directory / name).read_text(encoding="utf-8"), name


def test_the_headline_counts_what_is_proven(tmp_path: Path, reported: Any) -> None:
    def headline(*hosts: factory.Host) -> str:
        return str(reported(factory.write_run(tmp_path / str(len(list(tmp_path.iterdir()))), list(hosts))).report.headline)

    proven, seen = factory.proven_open, factory.replaced(factory.good("b"), factory.failing())
    assert headline(proven("a")) == "Yes. The only server can be used to send spam, proven by a delivered test message."
    assert headline(seen) == "Yes. The only server can be used to send spam."
    assert headline(proven("a"), seen, factory.good("c")) == (
        "Yes. 2 of 3 servers can be used to send spam, 1 of them proven by a delivered test message.")
    assert headline(proven("a"), proven("b")) == (
        "Yes. All 2 servers can be used to send spam, all of them proven by a delivered test message.")
    assert headline(factory.unreachable("a")) == "Unknown. No hole was found, but the only server could not be fully checked."
    assert headline(factory.unreachable("a"), factory.unreachable("b")) == (
        "Unknown. No hole was found, but none of 2 servers could be fully checked.")
    assert headline(factory.unreachable("a"), factory.good("b")) == (
        "Unknown. No hole was found, but 1 of 2 servers could not be fully checked.")


def test_the_first_step_is_proven_and_worst(tmp_path: Path, reported: Any) -> None:
    hosts = [factory.replaced(factory.good(f"mx{n}"), factory.failing("RELAY-03")) for n in range(3)]
    report = reported(factory.write_run(tmp_path, [*hosts, factory.proven_open("mx9")])).report
    assert [step.control for step in report.steps] == ["RELAY-01", "RELAY-03"]
    assert report.steps[0].fix_hint.startswith("Set mynetworks")
    assert report.hosts[0].name == "mx9" and report.hosts[0].proven


@pytest.mark.parametrize(("methods", "words"), [
    ({"config": "pass", "probe": "proven_open"}, "Proven"),
    ({"config": "fail", "probe": "accepts"}, "Unconfirmed"),
    ({"config": "fail", "simulation": "fail", "probe": "closed"}, "Simulated"),
    ({"config": "fail", "probe": "closed"}, "Read from the effective configuration"),
    ({"config": "pass", "log": "fail"}, "Seen in the log"),
    ({"probe": "fail"}, "Seen from outside"),
])
def test_how_it_is_known(methods: dict[str, str], words: str, tmp_path: Path, reported: Any) -> None:
    report = reported(factory.write_run(tmp_path, [factory.proven_open("mx1")])).report
    assert proof(replace(report.hosts[0].findings[0], methods=methods)).startswith(words)


@pytest.mark.parametrize(("conditions", "words"), [
    ((), "from a stranger"), (("ipv6", "neighbour"), "from a neighbour"), (("inside",), "from the inside"),
])
def test_where_the_proof_came_from(conditions: tuple[str, ...], words: str, tmp_path: Path, reported: Any) -> None:
    report = reported(factory.write_run(tmp_path, [factory.proven_open("mx1")])).report
    found = replace(report.hosts[0].findings[0], conditions=conditions)
    assert proof(found) == f"Proven: a test message {words} was delivered"


def test_what_was_accepted_for_a_local_mailbox_is_not_said_to_be_for_another_domain(tmp_path: Path, reported: Any) -> None:
    report = reported(factory.write_run(tmp_path, [factory.proven_open("mx1")])).report
    conditions = ("local_sender", "local_recipient")
    found = replace(report.hosts[0].findings[0], methods={"probe": "accepts"}, conditions=conditions)
    assert proof(found) == "Unconfirmed: a message from a stranger was accepted for a local mailbox; no delivery was seen"


@pytest.mark.parametrize("fail_on", ["none", "critical", "high", "medium", "low"])
@pytest.mark.parametrize(("control", "severity"), [("RELAY-01", "critical"), ("RELAY-02", "high"), ("RELAY-10", "medium"),
                                                   ("RELAY-12", "low")])
def test_the_gate_by_severity(control: str, severity: str, fail_on: str, tmp_path: Path, reported: Any) -> None:
    host = factory.replaced(factory.good("mx1"), factory.failing(control))
    gate = reported(factory.write_run(tmp_path, [host]), fail_on=fail_on).report.gate
    order = ["critical", "high", "medium", "low"]
    met = fail_on != "none" and order.index(severity) <= order.index(fail_on)
    assert (gate.met, gate.worst, gate.failing) == (met, severity, int(met))


def test_a_waived_failure_does_not_meet_the_gate(tmp_path: Path, reported: Any) -> None:
    host = factory.replaced(factory.good("mx1"), factory.failing())
    host.declared["waivers"] = [{"id": "RELAY-01", "owner": "a", "reason": "b", "expires": "2027-01-01"}]
    assert not reported(factory.write_run(tmp_path, [host]), fail_on="low").report.gate.met


def test_unknown_is_no_failure_but_incomplete(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [undecided(Status.UNKNOWN)])
    assert not reported(directory, fail_on="low").report.gate.met
    gate = reported(directory, fail_on="low", fail_on_incomplete=1.0).report.gate
    assert (gate.met, gate.answered, gate.asked) == (True, 12, 13)
    assert gate.reasons == ("Only 12 of 13 controls were answered (92 %); at least 100 % are required",)
    assert not reported(directory, fail_on_incomplete=0.9).report.gate.met


@pytest.mark.parametrize(("vantages", "words"), [
    ((), "No test from outside took part: it needs vantages and mta_audit_canary."),
    (("neighbour",), "No stranger tested from outside"), (("stranger", "neighbour"), ""),
])
def test_what_the_tests_from_outside_lack_is_said(vantages: tuple[str, ...], words: str, tmp_path: Path, reported: Any) -> None:
    details = reported(factory.write_run(tmp_path, [factory.good("mx1")], vantages=vantages)).report.details
    assert [d.startswith(words) for d in details] == ([True] if words else [])


def test_vantages_that_gave_no_answer_are_not_said_to_be_missing(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")])
    (directory / "probes/stranger.json").write_text('{"error": "no route to host"}')
    assert "No test from outside gave an answer. This rests on configuration and simulation only." in (
        reported(directory).report.details)


def test_who_asks_for_everything_asks_for_every_vantage(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")], vantages=("stranger", "neighbour"))
    (directory / "probes/neighbour.json").write_text('{"error": "no route to host"}')
    assert not reported(directory, fail_on_incomplete=0.99).report.gate.met
    gate = reported(directory, fail_on_incomplete=1.0).report.gate
    assert gate.reasons == ("1 part of the run's results could not be had; at least 100 % are required",)


@pytest.mark.parametrize("hosts", [[], [factory.unreachable("mx1")], [factory.Host("mx1", status="failed", reason="x")]])
def test_a_run_that_answered_nothing_is_never_green(hosts: list[factory.Host], tmp_path: Path, reported: Any) -> None:
    assert reported(factory.write_run(tmp_path, hosts)).report.gate.met


def test_what_does_not_apply_is_not_asked(tmp_path: Path, reported: Any) -> None:
    findings = [Finding(c[0], HOST, Status.NOTAPPLICABLE, "no MTA", reason="none installed") for c in factory.CONTROLS]
    host = factory.Host("ws1", findings, kind="workstation")
    assert not reported(factory.write_run(tmp_path / "alone", [host]), fail_on_incomplete=1.0).report.gate.met
    gate = reported(factory.write_run(tmp_path, [host, factory.good("mx1")])).report.gate
    assert (gate.met, gate.answered, gate.asked) == (False, 13, 13)
