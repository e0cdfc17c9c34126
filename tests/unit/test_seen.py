"""The server's own log proves a delivery only when the message really went to the canary, over the network."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.mtaudit import seen
from ansible.module_utils.mtaudit.finding import Finding, Status
from ansible.module_utils.mtaudit.report.run import ControlEntry, HostRun, RunData

ESTATE = {
    "addresses": ["198.51.100.41"],
    "listeners": [{"name": "*:25", "port": 25, "bind": "*", "loopback_only": False}],
}


def findings(relay: str, recipient: str = "canary@canary.test", place: str = "stranger", **declared: Any) -> list[Finding]:
    """What follows from a message that the canary never got, and a log line that says it was sent."""
    listener = {
        "name": "mx1", "host": "198.51.100.41", "port": 25, "listener": "198.51.100.41:25", "verdict": "accepts_but_discards",
        "classes": {"plain": {"verdict": "accepts_but_discards", "conditions": []}}, "tokens": ["t1"],
        "forms": [{"class": "plain", "rcpt_to": "canary@canary.test"}], "source_address": "198.19.0.66",
    }  # fmt: skip
    delivery = {"recipient": recipient, "status": "sent", "relay": relay, "dsn": "2.0.0", "text": "250 ok"}
    client = {"address": "198.19.0.66", "name": "x", "port": 0, "refused": False}
    trace = {"token": "t1", "clients": [client], "queue_ids": ["A"], "deliveries": [delivery], "lines": ["x"],
             "before_queue_filter": False}
    run = RunData(
        "r", "2026-11-21T20:00:00Z", "0.1.0", "", "baseline", {"RELAY-03": ControlEntry("RELAY-03", "t", "critical", "relay")},
        (HostRun("mx1", "ok", estate=ESTATE, declared=declared),),
        probes={"v1": {"vantage": place, "listeners": [listener], "findings": []}}, traces={"mx1": {"traces": [trace]}},
    )  # fmt: skip
    return [finding for _, finding in seen.findings(run) if finding.control == "RELAY-03"]


@pytest.mark.parametrize("relay", ["sink.canary.test[198.51.100.20]:25", "sink.canary.test[2001:db8:51::20]"])
def test_a_message_that_went_to_the_canary_is_proof(relay):
    """Exim logs the port only with outgoing_port in log_selector."""
    (found,) = findings(relay)
    assert (found.status, found.verdict, str(found.subject)) == (Status.FAIL, "proven_open", "listener *:25")


STAYED = [
    "none", "local", "virtual", "maildir_home", "127.0.0.1[127.0.0.1]:10024", "mx1[198.51.100.41]:25", "mx1[198.51.100.41]",
    "filter[x]:1",
]  # fmt: skip


@pytest.mark.parametrize("relay", STAYED)
def test_what_stayed_on_the_host_is_no_proof(relay):
    assert findings(relay) == []


def test_another_recipient_is_no_proof():
    assert findings("sink.canary.test[198.51.100.20]:25", recipient="alice@mx1.test") == []


def test_a_trusted_vantage_proves_nothing():
    trusted = {"trusted_networks": ["198.19.0.0/24"]}
    assert findings("sink.canary.test[198.51.100.20]:25", place="inside", **trusted) == []
    (found,) = findings("sink.canary.test[198.51.100.20]:25", **trusted)
    assert found.status == Status.UNKNOWN


def test_a_garbled_trace_is_an_error_of_that_host_alone():
    run = RunData("r", "", "", "", "", {}, (HostRun("mx1", "ok", estate={"addresses": 5}), HostRun("mx2", "ok")),
                  traces={"mx1": {"traces": 5}})
    assert [(host, f.status) for host, f in seen.findings(run)] == [("mx1", Status.ERROR)]
