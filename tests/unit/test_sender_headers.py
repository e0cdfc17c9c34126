"""SENDER-02 where another hole decides: one cause has one failure, and what cannot be followed is no failure."""

from __future__ import annotations

import pytest
from capture_fixture import evaluate, site_from
from test_relay_controls import FIXTURES, load


@pytest.mark.parametrize(
    ("recorded", "status"),
    [
        ("RELAY-01/fail-exim-relay-nets-everybody", "informational"),
        ("RELAY-12/fail-exim-accept-encrypted", "informational"),
        ("SENDER-03/fail-exim-local-sender-relays", "informational"),
        ("RELAY-13/fail-exim-pop-before-smtp", "unknown"),  # its list is not walked
        ("SENDER-02/fail-exim-headers-stay-as-they-are", "fail"),
    ],
)
def test_a_statement_that_relays_for_strangers_is_the_cause(recorded: str, status: str) -> None:
    recording, expected = load(FIXTURES / recorded)
    findings = evaluate(expected["programs"], recording, site_from(expected["site"]))
    found = {str(f.subject): f.status.value for f in findings if f.control == "SENDER-02"}
    assert (found["listener *:465"], found["listener *:587"]) == (status, status)
