"""An accepted failure is shown as accepted, and one whose time is over as a failure whose waiver expired: in every format."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import factory
import pytest
from ansible.module_utils.mtaudit.finding import Finding, Method, Status, Subject
from ansible.module_utils.mtaudit.report import terminal

WAIVER = {"id": "RELAY-01", "owner": "Ada Lovelace", "reason": "moves in spring"}
WORDS = {True: "accepted by Ada Lovelace, expired on 2026-11-20", False: "accepted by Ada Lovelace, until 2026-11-21"}


@pytest.fixture(params=[True, False], ids=["expired", "valid"])
def waived(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[bool, Path, Any]:
    host = factory.replaced(factory.good("mx1"), factory.failing())
    host.declared["waivers"] = [{**WAIVER, "expires": "2026-11-20" if request.param else "2026-11-21"}]
    directory = factory.write_run(tmp_path, [host], started="2026-11-21T20:45:00Z")
    return request.param, directory, factory.report(directory)


def test_text_formats_say_whose_and_until_when(waived: tuple[bool, Path, Any]) -> None:
    expired, directory, made = waived
    junit = ElementTree.parse(directory / "junit.xml").getroot()
    (told,) = junit.iter("failure" if expired else "skipped")
    sarif = json.loads((directory / "report.sarif").read_text())["runs"][0]["results"][0]
    suppressed = [s["justification"] for s in sarif.get("suppressions", [])]
    assert WORDS[expired] in told.attrib["message"] and WORDS[expired] in (told.text or "")
    assert WORDS[expired] in (directory / "report.md").read_text().replace("\\", "")
    assert (WORDS[True] in sarif["message"]["text"]) is expired
    assert suppressed == ([] if expired else ["moves in spring (accepted by Ada Lovelace, expires 2026-11-21)"])
    if expired:
        assert WORDS[True] in " ".join(terminal.summary(made.report).split())
        assert "1 failure counts again: the waiver has expired." in made.report.details


def test_data_formats_have_it_as_data(waived: tuple[bool, Path, Any]) -> None:
    expired, directory, _ = waived
    findings = json.loads((directory / "findings.json").read_text())["findings"]
    (finding,) = (f for f in findings if "waiver" in f)
    assert (finding["status"], finding["waiver"]["expired"]) == (("fail", True) if expired else ("waived", False))
    with open(directory / "findings.csv", newline="", encoding="utf-8") as file:
        (row,) = (row for row in csv.DictReader(file) if row["waiver_owner"])
    assert (row["status"], row["waiver_expired"]) == (("fail", "yes") if expired else ("waived", "no"))
    assert f"mtaudit_expired_waivers {int(expired)}\n" in (directory / "metrics.prom").read_text()


def test_the_page_shows_it(waived: tuple[bool, Path, Any]) -> None:
    expired, directory, _ = waived
    page = (directory / "report.html").read_text()
    assert ('<span class="tag new">expired</span>' in page) is expired
    assert ("expired on 2026-11-20" if expired else "until 2026-11-21") in page
    title = page.split('<div class="title">', 1)[1].split("</div>", 1)[0]
    assert ("badge s-fail" if expired else "badge s-waived") in title


def test_what_a_waiver_accepts_is_no_clean_bill(tmp_path: Path, reported: Any) -> None:
    host = factory.proven_open("mx1", declared={"waivers": [{**WAIVER, "expires": "2027-01-01"}]})
    report = reported(factory.write_run(tmp_path, [host, factory.good("mx2")])).report
    assert report.headline == "No hole found beyond what a waiver accepts. All 2 servers answered every serious control."
    assert "1 failure is accepted by a waiver and not counted." in report.details


def test_where_nothing_applies_nothing_was_found_good(tmp_path: Path, reported: Any) -> None:
    def idle(name: str) -> factory.Host:
        none = [Finding(c[0], Subject("host", ""), Status.NOTAPPLICABLE, "no MTA", reason="none") for c in factory.CONTROLS]
        return factory.Host(name, none)

    report = reported(factory.write_run(tmp_path / "alone", [idle("web1")])).report
    assert report.headline == "Nothing to check: no control applies to any server of this run."
    report = reported(factory.write_run(tmp_path, [idle("web1"), factory.good("mx1")])).report
    assert "1 of 2 servers had nothing to check: no control applies there." in report.details


def test_what_a_vantage_says_of_its_work_is_told_once(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.good("mx1")], vantages=("neighbour", "stranger"))
    for vantage in ("neighbour", "stranger"):
        path = directory / f"probes/{vantage}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "notes": ["No message is sent: \x1b no canary."]}))
    made = reported(directory)
    assert "Vantages neighbour, stranger: No message is sent: \\x1b no canary." in made.report.details
    assert "no canary" in terminal.summary(made.report) and "no canary" in (directory / "report.html").read_text()


def test_a_message_that_vanished_and_methods_that_disagree_are_told_first(tmp_path: Path, reported: Any) -> None:
    host = factory.good("mx1")
    host.findings.append(Finding("RELAY-10", factory.OPEN, Status.PASS, "closed"))
    host.findings.append(Finding("SENDER-03", factory.OPEN, Status.PASS, "closed"))
    host.probe = [Finding("RELAY-10", factory.OPEN, Status.INFORMATIONAL, "taken", Method.PROBE, verdict="accepts_but_discards"),
                  Finding("SENDER-03", factory.OPEN, Status.INFORMATIONAL, "taken", Method.PROBE, verdict="accepts_but_discards"),
                  Finding("RELAY-03", factory.OPEN, Status.FAIL, "open", Method.PROBE, verdict="proven_open")]
    host.findings.append(Finding("RELAY-03", factory.OPEN, Status.PASS, "closed"))
    details = reported(factory.write_run(tmp_path, [host])).report.details
    assert "1 listener took a foreign message that did not arrive: look where it went." in details
    assert "In 1 place the methods disagree: one of them is wrong there." in details
