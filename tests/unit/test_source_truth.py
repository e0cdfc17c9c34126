"""RELAY-08 by log: the address that the server logged against the one that the probe came from."""

from __future__ import annotations

import ipaddress

import pytest
from ansible.module_utils.mtaudit.controls.source_truth import Connection, Surroundings, source_truth
from ansible.module_utils.mtaudit.finding import Finding, Method, Status
from ansible.module_utils.mtaudit.logs.outcome import LoggedClient, Trace

address, network = ipaddress.ip_address, ipaddress.ip_network
STRANGER, GATEWAY = address("198.19.0.66"), address("198.51.100.254")
SESSION = Connection("t1", "*:25", "stranger", (STRANGER, address("2001:db8:19::66")))
HERE = Surroundings(
    own=(address("198.51.100.11"),), gateways=(GATEWAY,), proxies=(network("198.51.100.40/32"),),
    mynetworks=(network("127.0.0.0/8"), network("198.51.100.248/29")),
)


def traced(*clients: str, refused: bool = True, token: str = "t1", before_queue_filter: bool = False) -> Trace:
    return Trace(token, tuple(LoggedClient(c, "x", 0, refused) for c in clients), (), (), ("a log line",), before_queue_filter)


def judge(*traces: Trace, here: Surroundings = HERE, reason: str = "") -> Finding:
    (finding,) = source_truth([SESSION], traces, here, reason)
    assert finding.control == "RELAY-08" and finding.method is Method.LOG and str(finding.subject) == "listener *:25"
    return finding


@pytest.mark.parametrize("logged", ["198.19.0.66", "2001:db8:19::66", "::ffff:198.19.0.66", "IPv6:2001:db8:19::66"])
def test_its_own_address_passes(logged: str) -> None:
    finding = judge(traced(logged))
    assert finding.status is Status.PASS and finding.evidence[0].text == "a log line"


def test_a_trusted_gateway_fails_and_the_range_is_named() -> None:
    finding = judge(traced("198.51.100.254"))
    assert finding.status is Status.FAIL
    assert "198.51.100.248/29" in finding.message and "198.51.100.254" in finding.message and "198.19.0.66" in finding.message


@pytest.mark.parametrize(
    ("logged", "who"),
    [("198.51.100.254", "the gateway"), ("198.51.100.40", "a declared proxy"), ("198.51.100.11", "a proxy on the host"),
     ("127.0.0.1", "a proxy on the host")],
)
def test_what_hides_clients_fails_although_it_is_not_trusted(logged: str, who: str) -> None:
    here = Surroundings(HERE.own, HERE.gateways, HERE.proxies)
    finding = judge(traced(logged), here=here)
    assert finding.status is Status.FAIL and who in finding.message


def test_loopback_after_a_filter_is_unknown() -> None:
    assert judge(traced("127.0.0.1", refused=False, before_queue_filter=True)).status is Status.UNKNOWN
    assert judge(traced("127.0.0.1", refused=False)).status is Status.FAIL
    assert judge(traced("127.0.0.1", refused=True, before_queue_filter=True)).status is Status.FAIL


def test_an_address_that_is_nobodys_near_the_host_is_unknown() -> None:
    finding = judge(traced("203.0.113.9"))
    assert finding.status is Status.UNKNOWN and "203.0.113.9" in finding.reason and "declare" in finding.reason
    assert judge(traced("unknown")).status is Status.UNKNOWN


def test_no_trace_is_unknown_with_the_logs_reason() -> None:
    assert judge(reason="the log was rotated").reason == "the log was rotated"
    assert judge(traced()).status is Status.UNKNOWN
    assert judge(Trace("other")).status is Status.UNKNOWN


def test_one_finding_for_a_listener_the_worst_counts() -> None:
    sessions = [SESSION, Connection("t2", "*:25", "stranger", (STRANGER,)), Connection("t3", "*:587", "stranger", (STRANGER,))]
    findings = list(source_truth(sessions, [traced("198.19.0.66"), traced("198.51.100.254", token="t2")], HERE))
    assert [(f.subject.name, f.status) for f in findings] == [("*:25", Status.FAIL), ("*:587", Status.UNKNOWN)]
    findings = list(source_truth(sessions[:2], [traced("198.19.0.66")], HERE))
    assert [f.status for f in findings] == [Status.PASS]


NEIGHBOUR = address("198.51.100.77")
BOTH = [Connection("n", "*:25", "neighbour", (NEIGHBOUR,)), Connection("s", "*:25", "stranger", (STRANGER,))]
OWN_TRACE = traced(str(NEIGHBOUR), token="n")


def both(*traces: Trace) -> Finding:
    found = {f for order in (BOTH, BOTH[::-1]) for f in source_truth(order, traces, HERE)}
    (finding,) = found
    return finding


def test_another_logged_address_is_not_outweighed_by_a_session_that_went_well() -> None:
    finding = both(OWN_TRACE, traced("203.0.113.9", token="s"))
    assert finding.status is Status.UNKNOWN and "203.0.113.9" in finding.reason
    again = [Connection("s2", "*:25", "stranger", (STRANGER,)), BOTH[1]]
    (finding,) = source_truth(again, [traced(str(STRANGER), token="s2"), traced("203.0.113.9", token="s")], HERE)
    assert finding.status is Status.UNKNOWN and "203.0.113.9" in finding.reason
    finding = both(traced("203.0.113.9", token="n"), traced(str(STRANGER), token="s"))
    assert finding.status is Status.UNKNOWN


def test_a_neighbour_says_nothing_about_strangers() -> None:
    assert both(OWN_TRACE).status is Status.UNKNOWN
    assert both(traced(str(STRANGER), token="s")).status is Status.PASS
    assert both(OWN_TRACE, traced(str(STRANGER), token="s")).status is Status.PASS
    assert both(traced("198.51.100.254", token="n"), traced(str(STRANGER), token="s")).status is Status.FAIL
    (finding,) = source_truth(BOTH[:1], [OWN_TRACE], HERE)
    assert finding.status is Status.PASS
