"""What a statement ahead of Debian's ACL for recipients opens, on the recording of a real host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.components import read_all
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import evaluate, restore, site_from

RECORDED = Path(__file__).resolve().parents[1] / "fixtures/RELAY-03/fail-exim-accept-sender"
STATEMENT = "accept senders = boss@partner.test"
RUN = "${run{/bin/true}{yes}{no}}"


@pytest.mark.parametrize(
    ("statement", "failing", "unknown"),
    [
        (STATEMENT, {"RELAY-03"}, set()),
        ("accept condition = ${if match_ip{$sender_host_address}{198.19.0.0/16}}", {"RELAY-01"}, set()),
        ("accept condition = ${if eq{$sender_host_address}{198.19.0.66}}", {"RELAY-01"}, set()),
        ("accept condition = ${if eq{$sender_host_address}{127.0.0.1}}", set(), set()),
        ("accept recipients = postmaster@*", {"RELAY-03"}, set()),
        # What cannot be told of some clients or senders is no pass for all.
        (f"accept senders = boss@partner.test\\n condition = {RUN}", set(), {"RELAY-03"}),
        (f"accept recipients = postmaster@*\\n condition = {RUN}", set(), {"RELAY-03"}),
        (f"accept hosts = 198.19.0.0/16\\n condition = {RUN}", set(), {"RELAY-01"}),
        (f"accept hosts = mail.partner.test\\n condition = {RUN}", set(), {"RELAY-01"}),
        (f"accept hosts = 127.0.0.1\\n condition = {RUN}", set(), set()),
        (f"accept domains = +local_domains\\n condition = {RUN}", set(), set()),
    ],
)
def test_what_a_statement_opens(statement: str, failing: set[str], unknown: set[str]) -> None:
    text = (RECORDED / "recording.json").read_text().replace(STATEMENT, statement)
    expected = json.loads((RECORDED / "expect.json").read_text())
    findings = evaluate(expected["programs"], restore(json.loads(text)), site_from(expected["site"]))
    relay = [f for f in findings if f.control.startswith("RELAY")]
    assert {f.control for f in relay if f.status.value == "fail"} == failing
    assert {f.control for f in relay if f.status.value in ("unknown", "error")} == unknown


@pytest.mark.parametrize("option", ["hosts_proxy", "hosts_xclient"])
@pytest.mark.parametrize(
    ("listed", "status"),
    [
        ("", "pass"),
        ("198.51.100.20", "pass"),  # the declared one
        ("198.19.0.0/24", "fail"),
        ("198.51.100.20 : mail.partner.test", "fail"),
        ("!10.0.0.1", "fail"),  # everybody else
        ("198.51.100.20 : !10.0.0.1", "fail"),
        ("!10.0.0.1 : 198.51.100.20", "pass"),
        ("${if eq{$received_port}{10025}{*}{}}", "unknown"),
    ],
)
def test_who_may_claim_another_address(option: str, listed: str, status: str) -> None:
    recording = restore(json.loads((RECORDED / "recording.json").read_text()))
    ((exim,),) = [reading.instances for reading in read_all(Replay(recording), ["exim"])]
    exim.options[option] = listed
    site = site_from({"proxies": ["198.51.100.20/32"]})
    findings = [f for f in REGISTRY[("RELAY-07", "exim")].evaluate(exim, site) if f.status.value != "notapplicable"]
    assert {f.status.value for f in findings} == {status}
