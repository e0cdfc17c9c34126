"""One cause for every hole, one line for every control and subject, and nothing lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible.module_utils.mtaudit import proof
from ansible.module_utils.mtaudit.attribution import attribute
from ansible.module_utils.mtaudit.finding import HOST, Evidence, Finding, Method, Status, Subject
from ansible.module_utils.mtaudit.join import join_run
from ansible.module_utils.mtaudit.listeners import listener_name
from ansible.module_utils.mtaudit.report.run import ControlEntry, HostRun, RunData
from ansible.module_utils.mtaudit.truth import worst

IPV6 = ("RELAY-03", "RELAY-09")
PORT_25 = Subject("listener", "*:25")
ESTATE = {
    "listeners": [
        {"name": "*:25", "port": 25, "bind": "*", "loopback_only": False, "program": "postfix"},
        {"name": "127.0.0.1:10025", "port": 10025, "bind": "127.0.0.1", "loopback_only": True},
    ],
    "config_digest": "sha256:now",
}


def config(control: str, status: Status, subject: Subject = PORT_25, **more) -> Finding:
    return Finding(control, subject, status, f"{control} by configuration", **more)


def simulated(control: str, status: Status, **more) -> Finding:
    return Finding(control, PORT_25, status, "asked smtpd", Method.SIMULATION, **more)


def probed(control: str, verdict: str, **more) -> dict:
    status = {"closed": Status.PASS, "unknown": Status.UNKNOWN}.get(verdict, Status.FAIL)
    subject = Subject("listener", "198.51.100.41:25")
    return {**Finding(control, subject, status, "probed", Method.PROBE, verdict=verdict, **more).to_dict(), "target": "mx1"}


def run_of(findings=(), probes=(), vantage="stranger", controls=("RELAY-01", "RELAY-03", "SENDER-03"), **host) -> RunData:
    advice = {name: {"advice": f"mend {name}"} for name in ("postfix", "exim", "dovecot")}
    entries = {c: ControlEntry(c, f"title of {c}", "critical", "relay", data={"components": advice}) for c in controls}
    asked = bool(probes) or host.pop("always_probe", False)
    answer = {"vantage": vantage, "findings": list(probes), "listeners": host.pop("listeners", [])}
    answers = {"v1": answer} if asked else {}
    mx1 = replace(HostRun("mx1", "ok", findings=tuple(findings), estate=ESTATE), **host)
    return RunData("r1", "2026-11-21T20:00:00Z", "0.1.0", "sha256:c", "baseline", entries, (mx1,), probes=answers)


def lines(run: RunData, more=()) -> dict:
    return {(f.control, str(f.subject)): f for f in join_run(run, more)}


def test_open_over_ipv6_only_is_charged_to_ipv6_where_ipv4_gave_no_answer():
    cause = config("RELAY-09", Status.FAIL, conditions=("ipv6",), clients=("::/0",))
    opened = simulated("RELAY-03", Status.FAIL, clients=("2001:db8:19::66",))
    over_ipv4 = replace(opened, clients=("198.19.0.66",))
    assert [f.control for f in attribute([cause, opened, over_ipv4])] == ["RELAY-09", "RELAY-09", "RELAY-03"]


def test_an_open_relay_is_charged_to_the_configuration_that_causes_it():
    found = lines(
        run_of(
            [
                config("RELAY-01", Status.FAIL),
                config("RELAY-03", Status.PASS),
                simulated("RELAY-03", Status.FAIL),
                simulated("SENDER-03", Status.FAIL),
                config("SENDER-03", Status.PASS),
            ],
            [probed("RELAY-03", "proven_open"), probed("SENDER-03", "proven_open")],
        )
    )
    assert {key: f.status.value for key, f in found.items()} == {
        ("RELAY-01", "listener *:25"): "fail",
        ("RELAY-03", "listener *:25"): "pass",
        ("SENDER-03", "listener *:25"): "pass",
    }
    cause = found[("RELAY-01", "listener *:25")]
    assert cause.methods == {"config": "fail", "simulation": "fail", "probe": "proven_open"}
    assert cause.fix_hint == "mend postfix"


ALL = "With postfix: mend postfix\n\nWith exim: mend exim\n\nWith dovecot: mend dovecot"
HOST_OF_TWO = {
    "programs": [{"name": "exim"}, {"name": "dovecot"}, {"name": "rspamd"}],
    "listeners": [{"name": "*:25", "port": 25, "bind": "*", "program": "exim"},
                  {"name": "*:2525", "port": 2525, "bind": "*", "program": ""}],
    "mailbox_listeners": [{"name": "*:143", "port": 143, "bind": "*", "program": "dovecot"}],
}


@pytest.mark.parametrize(("estate", "subject", "hint"), [
    (HOST_OF_TWO, PORT_25, "mend exim"),
    (HOST_OF_TWO, Subject("listener", "*:143"), "mend dovecot"),
    (HOST_OF_TWO, Subject("listener", "*:2525"), "With exim: mend exim\n\nWith dovecot: mend dovecot"),
    (HOST_OF_TWO, HOST, "With exim: mend exim\n\nWith dovecot: mend dovecot"),
    ({"programs": [{"name": "postfix"}]}, HOST, "mend postfix"),
    ({"programs": [{"name": "rspamd"}]}, HOST, ALL),
    ({}, PORT_25, ALL),
])
def test_the_advice_is_for_the_program_that_the_failure_is_about(estate, subject, hint):
    (found,) = lines(run_of([config("RELAY-01", Status.FAIL, subject)], controls=("RELAY-01",), estate=estate)).values()
    assert found.fix_hint == hint


def test_what_does_not_fail_needs_no_advice():
    assert not lines(run_of([config("RELAY-01", Status.UNKNOWN)]))[("RELAY-01", "listener *:25")].fix_hint


def test_what_no_configuration_explains_stays_and_contradicts():
    found = lines(run_of([config("RELAY-01", Status.PASS), config("RELAY-03", Status.PASS)], [probed("RELAY-03", "proven_open")]))
    assert found[("RELAY-03", "listener *:25")].status == Status.FAIL
    disagreement = found[("RELAY-03", "listener *:25 (methods disagree)")]
    assert disagreement.status == Status.INFORMATIONAL
    assert "configuration closed" in disagreement.message
    assert found[("RELAY-01", "listener *:25")].status == Status.PASS


@pytest.mark.parametrize(("conditions", "owner"), [((), "RELAY-01"), (("ipv6",), "RELAY-09")])
def test_what_the_configuration_could_not_tell_is_explained_by_the_probe(conditions, owner):
    own = [config("RELAY-01", Status.UNKNOWN), config("RELAY-09", Status.UNKNOWN), config("RELAY-03", Status.PASS)]
    found = lines(run_of(own, [probed("RELAY-03", "proven_open", conditions=conditions)], controls=(*IPV6, "RELAY-01")))
    assert found[(owner, "listener *:25")].methods == {"config": "unknown", "probe": "proven_open"}
    assert found[(owner, "listener *:25")].status == Status.FAIL
    assert found[("RELAY-03", "listener *:25")].status == Status.PASS


def test_a_cause_that_needs_more_than_the_answer_had_does_not_explain_it():
    ipv6_only = config("RELAY-09", Status.FAIL, conditions=("ipv6",))
    found = lines(run_of([ipv6_only, config("RELAY-03", Status.PASS), simulated("RELAY-03", Status.FAIL)], controls=IPV6))
    assert found[("RELAY-03", "listener *:25")].status == Status.FAIL
    assert "simulation" not in found[("RELAY-09", "listener *:25")].methods


def test_an_answer_that_needed_ipv6_is_explained_by_the_ipv6_hole():
    ipv6_only = config("RELAY-09", Status.FAIL, conditions=("ipv6",))
    opened = simulated("RELAY-03", Status.FAIL, conditions=("ipv6",))
    found = lines(run_of([ipv6_only, config("RELAY-03", Status.PASS), opened], controls=IPV6))
    assert found[("RELAY-09", "listener *:25")].methods == {"config": "fail", "simulation": "fail"}
    assert found[("RELAY-03", "listener *:25")].status == Status.PASS


def test_a_real_client_may_meet_a_narrow_condition_unknowingly():
    cause = config("RELAY-13", Status.FAIL, conditions=("client_network",))
    answers = [probed("RELAY-03", "proven_open"), probed("SENDER-03", "proven_open", conditions=("local_sender",))]
    controls = ("RELAY-03", "RELAY-13", "SENDER-03")
    found = lines(run_of([cause, config("RELAY-03", Status.PASS), config("SENDER-03", Status.PASS)], answers, controls=controls))
    assert {control: f.status.value for (control, _), f in found.items()} == {
        "RELAY-13": "fail", "RELAY-03": "pass", "SENDER-03": "pass",
    }  # fmt: skip
    assert found[("RELAY-13", "listener *:25")].methods == {"config": "fail", "probe": "proven_open"}


def test_a_simulation_that_met_no_narrow_condition_contradicts_nobody():
    narrow = config("RELAY-03", Status.FAIL, conditions=("helo",))
    assert len(lines(run_of([narrow, simulated("RELAY-03", Status.PASS)], controls=("RELAY-03",)))) == 1
    wide = config("RELAY-03", Status.FAIL)
    assert len(lines(run_of([wide, simulated("RELAY-03", Status.PASS)], controls=("RELAY-03",)))) == 2


def test_variants_of_a_hole_that_only_one_vantage_meets_are_the_same_hole():
    answers = [probed("RELAY-03", "accepts"), probed("SENDER-03", "accepts", conditions=("local_sender",))]
    helo = config("RELAY-03", Status.FAIL, conditions=("helo",))
    found = lines(run_of([helo, config("SENDER-03", Status.PASS)], answers, vantage="inside", controls=("RELAY-03", "SENDER-03")))
    assert {control: f.status.value for (control, _), f in found.items()} == {"RELAY-03": "fail", "SENDER-03": "pass"}


def test_with_an_unexplained_open_relay_the_variants_are_the_same_hole():
    answers = [simulated("RELAY-03", Status.FAIL), simulated("SENDER-03", Status.FAIL, conditions=("local_sender",))]
    found = lines(run_of([config("SENDER-03", Status.PASS), *answers]))
    assert found[("SENDER-03", "listener *:25")].status == Status.PASS
    assert found[("RELAY-03", "listener *:25")].status == Status.FAIL


def test_a_forged_sender_to_a_local_recipient_is_no_relay_and_no_other_controls_fault():
    forged = probed("SENDER-03", "accepts", conditions=("local_sender", "local_recipient"))
    answers = [probed("RELAY-03", "closed"), probed("SENDER-03", "closed"), forged]
    said = [config("RELAY-03", Status.FAIL), config("SENDER-03", Status.PASS)]
    found = lines(run_of(said, answers, controls=("RELAY-03", "SENDER-03")))
    sender, relay = found[("SENDER-03", "listener *:25")], found[("RELAY-03", "listener *:25")]
    assert (sender.status, sender.conditions) == (Status.FAIL, ("local_sender", "local_recipient"))
    assert sender.methods["probe"] == "accepts" and relay.methods["probe"] == "closed"
    unsure = [probed("SENDER-03", "closed"), probed("SENDER-03", "unknown", reason="still put off after a retry")]
    open_ended = lines(run_of([], unsure))[("SENDER-03", "listener *:25")]
    assert (open_ended.status, open_ended.reason) == (Status.UNKNOWN, "still put off after a retry")


def test_where_anybody_relays_a_forged_sender_to_a_local_recipient_is_no_second_hole():
    forged = probed("SENDER-03", "accepts", conditions=("ipv6", "local_sender", "local_recipient"))
    found = lines(run_of([config("SENDER-03", Status.INFORMATIONAL)], [probed("RELAY-03", "proven_open"), forged]))
    assert found[("SENDER-03", "listener *:25")].status == Status.INFORMATIONAL
    assert found[("RELAY-03", "listener *:25")].status == Status.FAIL


def test_a_neighbours_view_carries_its_vantage_as_condition():
    found = lines(run_of([], [probed("RELAY-03", "proven_open")], vantage="neighbour"))
    assert found[("RELAY-03", "listener *:25")].conditions == ("neighbour",)


def from_source(vantage: str, **declared) -> dict:
    """A proven open answer from 198.18.0.7, at a host about which this is declared."""
    source = [{"name": "mx1", "listener": "198.51.100.41:25", "source_address": "198.18.0.7"}]
    run = run_of([config("RELAY-03", Status.PASS)], [probed("RELAY-03", "proven_open")], vantage=vantage, listeners=source,
                 declared=declared)
    return lines(run)


def test_an_inside_host_that_the_site_trusts_may_relay_and_tells_nothing_about_strangers():
    found = from_source("inside", trusted_networks=["198.18.0.0/24"])[("RELAY-03", "listener *:25")]
    assert (found.status, found.methods) == (Status.PASS, {"config": "pass"})
    assert from_source("inside")[("RELAY-03", "listener *:25")].status == Status.FAIL


def test_a_stranger_in_a_trusted_network_is_no_stranger_and_acquits_nobody():
    found = from_source("stranger", trusted_networks=["198.18.0.0/24"])[("RELAY-03", "listener *:25")]
    assert found.methods == {"config": "pass", "probe": "unknown"}
    assert "not confirmed by the probe" in found.message


def test_a_cause_explains_only_the_clients_that_it_lets_through():
    source = [{"name": "mx1", "listener": "198.51.100.41:25", "source_address": "198.19.0.66"}]
    answers = [config("RELAY-01", Status.FAIL, clients=("198.18.0.0/24",)), config("RELAY-03", Status.PASS)]
    found = lines(run_of(answers, [probed("RELAY-03", "proven_open")], listeners=source))
    assert found[("RELAY-03", "listener *:25")].status == Status.FAIL
    assert "probe" not in found[("RELAY-01", "listener *:25")].methods
    answers[0] = replace(answers[0], clients=("198.18.0.0/15",))
    found = lines(run_of(answers, [probed("RELAY-03", "proven_open")], listeners=source))
    assert found[("RELAY-03", "listener *:25")].status == Status.PASS
    assert found[("RELAY-01", "listener *:25")].methods == {"config": "fail", "probe": "proven_open"}


def test_a_verdict_that_nobody_knows_is_an_error():
    found = lines(run_of([config("RELAY-01", Status.PASS)], [probed("RELAY-03", "open!")]))
    assert found[("RELAY-03", "host")].status == Status.ERROR


@pytest.mark.parametrize(
    ("status", "expected"), [("unreachable", Status.NOTCHECKED), ("failed", Status.ERROR), ("unreadable", Status.ERROR)]
)
def test_a_host_without_an_answer_is_neither_good_nor_bad(status, expected):
    found = lines(run_of(status=status, reason="no route", estate={}))
    assert {f.status for f in found.values()} == {expected}
    assert {f.control for f in found.values()} == {"RELAY-01", "RELAY-03", "SENDER-03"}
    assert {f.reason for f in found.values()} == {"no route"}


def test_a_host_that_was_not_reached_by_ssh_may_still_be_proven_open():
    found = lines(run_of([], [probed("RELAY-03", "proven_open")], status="unreachable", estate={}))
    assert found[("RELAY-03", "listener 198.51.100.41:25")].status == Status.FAIL
    assert found[("RELAY-01", "host")].status == Status.NOTCHECKED


def test_what_did_not_confirm_a_pass_says_why():
    found = lines(run_of([config("RELAY-03", Status.PASS), simulated("RELAY-03", Status.UNKNOWN, reason="needs root")]))
    told = found[("RELAY-03", "listener *:25")]
    assert (told.status, told.reason) == (Status.PASS, "needs root")
    assert "not confirmed by simulation" in told.message


def test_a_garbled_answer_of_a_vantage_is_an_error_and_no_crash():
    found = lines(run_of([], [{"target": "mx1", "control": 5}]))
    assert found[("RELAY-03", "host")].status == Status.UNKNOWN or found[("RELAY-03", "host")].status == Status.ERROR


def test_hostile_text_is_made_printable():
    nasty = config("RELAY-01", Status.FAIL, evidence=(Evidence(Method.PROBE, "x", "\x1b[2J" + "A" * 9000),))
    text = lines(run_of([nasty]))[("RELAY-01", "listener *:25")].evidence[0].text
    assert "\x1b" not in text
    assert len(text) < 600


def test_listener_names():
    assert listener_name(ESTATE, "198.51.100.41", "25") == "*:25"
    assert listener_name(ESTATE, "198.51.100.41", "10025") == ""


SEEN = [{"name": "mx1", "port": 25, "verdict": "closed"}]


@pytest.mark.parametrize(
    ("earlier", "listeners", "status", "words"),
    [
        ({}, SEEN, "pass", "was probed"),
        ({}, [], "unknown", "never probed"),
        ({"mx1": proof.Proof("sha256:now", "2026-11-20T20:00:00Z")}, [], "pass", "2026-11-20"),
        ({"mx1": proof.Proof("sha256:old", "2026-11-20T20:00:00Z")}, [], "fail", "changed since"),
        ({"mx1": proof.Proof("sha256:now", "2026-09-01T20:00:00Z")}, [], "fail", "81 days ago, 31 are allowed"),
        ({"mx1": proof.Proof("sha256:old", "2026-11-20T20:00:00Z")}, SEEN, "pass", "2026-11-21"),
        ({}, [{"name": "mx1", "port": 25, "verdict": "unknown"}], "unknown", "never probed"),
    ],
)
def test_a_proof_is_as_old_as_the_configuration_it_saw(earlier, listeners, status, words):
    run = run_of(controls=("RELAY-15",), listeners=listeners, always_probe=True)
    ((host, finding),) = proof.findings(run, proof.proofs_of(run, earlier))
    assert host == "mx1"
    assert finding.subject == HOST
    assert finding.status.value == status
    assert words in finding.message


def test_a_host_that_nobody_can_reach_needs_no_probe():
    quiet = {"listeners": [ESTATE["listeners"][1]], "config_digest": "sha256:now"}
    ((_, finding),) = proof.findings(run_of(controls=("RELAY-15",), estate=quiet), {})
    assert finding.status == Status.NOTAPPLICABLE


def test_garbled_proofs_of_an_earlier_run_count_as_none():
    day = "2026-11-20T20:00:00Z"
    data = {"mx1": "?", "mx2": {"digest": "d", "at": day}, "mx3": {"digest": "d"}, "mx4": {"digest": "d", "at": "soon"}}
    assert proof.parse_proofs(data) == {"mx2": proof.Proof("d", day)}
    assert proof.parse_proofs([1]) == {}


def observed(status: Status, **more) -> dict:
    subject = Subject("listener", "198.51.100.41:25")
    return {**Finding("AUTH-02", subject, status, "seen by the probe", Method.PROBE, **more).to_dict(), "target": "mx1"}


@pytest.mark.parametrize(
    ("own", "seen", "expected", "words"),
    [
        (Status.PASS, [Status.FAIL], Status.FAIL, "seen by the probe"),
        (Status.PASS, [Status.PASS], Status.PASS, "by configuration"),
        (Status.PASS, [Status.UNKNOWN], Status.PASS, "not confirmed by the probe"),
        (Status.FAIL, [Status.PASS], Status.FAIL, "the probe found it closed"),
        (Status.FAIL, [Status.UNKNOWN], Status.FAIL, "the probe could not tell"),
        (Status.UNKNOWN, [Status.PASS], Status.UNKNOWN, "the probe found it closed"),
        (Status.NOTAPPLICABLE, [Status.FAIL], Status.FAIL, "seen by the probe"),
        (None, [Status.PASS], Status.PASS, "seen by the probe"),
        (None, [Status.UNKNOWN], Status.UNKNOWN, "seen by the probe"),
        (None, [Status.PASS, Status.UNKNOWN], Status.UNKNOWN, "seen by the probe"),  # over IPv4 and IPv6
        (None, [Status.NOTAPPLICABLE], Status.NOTAPPLICABLE, "seen by the probe"),
    ],
)
def test_what_a_probe_observes_without_a_verdict(own, seen, expected, words):
    found = run_of([config("AUTH-02", own)] if own else [], [observed(status) for status in seen], controls=("AUTH-02",))
    (line, *more) = [f for f in join_run(found) if f.control == "AUTH-02"]
    assert (line.status, line.subject) == (expected, PORT_25)
    assert words in line.message
    assert line.methods["probe"] == worst(seen).value
    assert bool(more) is (own == Status.PASS and Status.FAIL in seen)
    assert all(f.status == Status.INFORMATIONAL and "one of them is wrong" in f.message for f in more)


def test_of_a_device_only_its_logins_are_told():
    data = Finding("CRED-01", Subject("listener", "198.51.100.1:22"), Status.FAIL, "gets in", Method.PROBE).to_dict()
    run = run_of([], controls=("RELAY-01", "CRED-01"), declared={"program": "device", "credentials": [{"protocol": "ssh"}]})
    assert ("CRED-01", "host") not in lines(run)
    entry = replace(run.controls["CRED-01"], data={"components": {"device": {"methods": ["probe"]}}})
    run = replace(run, controls={**run.controls, "CRED-01": entry})
    assert lines(run)[("CRED-01", "host")].status == Status.NOTCHECKED and len(lines(run)) == 1
    seen = replace(run, credentials={"v1": {"findings": [{**data, "target": "mx1"}, {**data, "target": "other"}, 1]}})
    assert {line.status for line in lines(seen).values()} == {Status.FAIL} and len(lines(seen)) == 1
    failed = replace(run, credentials={"v1": {"error": "the record of attempts cannot be read"}})
    assert lines(failed)[("CRED-01", "host")].status == Status.ERROR
    garbled = replace(run, credentials={"v1": {"findings": [{"control": "CRED-01", "target": "mx1"}]}})
    assert lines(garbled)[("CRED-01", "host")].status == Status.ERROR


def test_services_are_joined_on_the_hosts_own_names():
    run = run_of([], controls=("AUTH-02",), estate={**ESTATE, "mailbox_listeners": [{"name": "*:143", "bind": "*", "port": 143}]})
    data = Finding("AUTH-02", Subject("listener", "198.51.100.41:143"), Status.FAIL, "seen", Method.PROBE).to_dict()
    run = replace(run, services={"v1": {"vantage": "stranger", "findings": [{**data, "target": "mx1"}, {"target": "mx1"}]}})
    assert ("AUTH-02", "listener *:143") not in lines(run)  # the catalogue does not say that a probe answers it
    entry = replace(run.controls["AUTH-02"], data={"components": {"postfix": {"methods": ["config", "probe"]}}})
    found = lines(replace(run, controls={"AUTH-02": entry}))
    assert found[("AUTH-02", "listener *:143")].status == Status.FAIL
