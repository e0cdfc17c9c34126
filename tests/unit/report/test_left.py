"""What fails and no plan names is left to people: what has no fix, and what only a vantage saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import factory
from ansible.module_utils.mtaudit.finding import Finding, Method, Status
from ansible.module_utils.mtaudit.hardening.left import left

SEEN = Finding("RELAY-03", factory.OPEN, Status.FAIL, "a stranger's message arrived", Method.PROBE, verdict="proven_open")


def test_what_no_plan_names_is_left_with_its_advice(tmp_path: Path, reported: Any) -> None:
    mx1 = factory.replaced(factory.good("mx1"), factory.failing(), factory.failing("RELAY-08", "NAT hides the clients"))
    mx1.probe = [SEEN]
    waived = factory.replaced(factory.good("mx2"), factory.failing("RELAY-10", "percent"))
    waived.declared["waivers"] = [{"id": "RELAY-10", "owner": "Ada", "expires": "2027-01-01", "reason": "moves"}]
    findings = list(reported(factory.write_run(tmp_path, [mx1, waived, factory.good("mx3")])).report.findings)
    found = left(findings, {"mx1": ["RELAY-01"], "mx2": []}, {})
    assert [str(each) for each in found["mx1"]] == [
        "RELAY-08 is left to you: listener *:25: NAT hides the clients. Do not rewrite source addresses in front of the server.",
    ], "what was seen from outside is explained by RELAY-01, which is mended"
    assert found == {"mx1": found["mx1"], "mx2": []}, "an accepted failure is not left; who has no plan is not asked"
    assert left(findings, {"mx1": []}, {"mx1": ["RELAY-01"]})["mx1"][0].control == "RELAY-01"
    assert left(findings, {"mx1": []}, {"mx1": []}) == {"mx1": []}, "nothing was asked for: no approved plan names it"


def test_what_only_a_vantage_saw_is_left(tmp_path: Path, reported: Any) -> None:
    host = factory.good("mx1")
    host.probe = [SEEN]
    findings = reported(factory.write_run(tmp_path, [host])).report.findings
    (found,) = left(findings, {"mx1": []}, {})["mx1"]
    assert found.control == "RELAY-03" and "a stranger's message arrived" in found.failing[0]
