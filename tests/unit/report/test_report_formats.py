"""Every format is valid by its own rules, whatever hostile servers put into it, and says the same."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import factory
import jsonschema
import pytest
from ansible.module_utils.mtaudit.finding import Status
from ansible.module_utils.mtaudit.report import csv_report, markdown, terminal
from ansible.module_utils.mtaudit.report.clean import clean

ROOT = Path(__file__).resolve().parents[3]
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def case(name: str) -> list[factory.Host]:
    return {
        "realistic": factory.realistic(),
        "hostile": [factory.hostile("mx-evil"), factory.good("mx1")],
        "empty": [],
        "unreachable": [factory.unreachable("mx1"), factory.unreachable("mx2")],
        "all good": [factory.good("mx1")],
    }[name]


@pytest.fixture(scope="module", params=["realistic", "hostile", "empty", "unreachable", "all good"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    directory = factory.write_run(tmp_path_factory.mktemp("run"), case(request.param))
    return directory, factory.report(directory)


def text(run: tuple[Path, Any], name: str) -> str:
    return (run[0] / name).read_text(encoding="utf-8")


def test_json_follows_its_schema(run: Any) -> None:
    data = json.loads(text(run, "findings.json"))
    schema = json.loads((ROOT / "docs/findings.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(data)
    assert len(data["findings"]) == len(list(run[1].report.findings))
    assert Counter(f["status"] for f in data["findings"]) == data["counts"]


def test_json_has_one_line_per_finding(run: Any) -> None:
    lines = text(run, "findings.json").splitlines()
    assert sum('"severity": ' in line and '"control": ' in line for line in lines) == len(list(run[1].report.findings))


def test_junit_is_well_formed_and_counts_right(run: Any) -> None:
    root = ElementTree.fromstring(text(run, "junit.xml"))
    assert root.tag == "testsuites"
    for element in (root, *root.iter("testsuite")):
        cases = list(element.iter("testcase"))
        for attribute, tag in (("tests", None), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            found = len(cases) if tag is None else sum(c.find(tag) is not None for c in cases)
            assert int(element.attrib[attribute]) == found, attribute
    # What was not found out has a child that says so: an empty case is a pass to every reader of JUnit.
    silent = sum(len(c) == 0 for c in root.iter("testcase"))
    good = (Status.PASS, Status.FIXED, Status.INFORMATIONAL)
    assert silent == sum(f.status in good for f in run[1].report.findings)
    assert int(root.attrib["failures"]) == sum(f.status is Status.FAIL for f in run[1].report.findings)


def test_sarif_has_what_the_standard_requires(run: Any) -> None:
    data = json.loads(text(run, "report.sarif"))
    assert data["version"] == "2.1.0" and len(data["runs"]) == 1
    sarif = data["runs"][0]
    assert set(sarif) <= {"tool", "columnKind", "automationDetails", "invocations", "results"}
    rules = sarif["tool"]["driver"]["rules"]
    assert sarif["tool"]["driver"]["name"] == "mtaudit"
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    fingerprints = set()
    for result in sarif["results"]:
        check_sarif_result(result, rules)
        fingerprints.add(result["partialFingerprints"]["mtaudit/v1"])
    failures = [f for f in run[1].report.findings if f.status in (Status.FAIL, Status.WAIVED)]
    assert len(sarif["results"]) == len(fingerprints) == len(failures)
    suppressed = [r for r in sarif["results"] if r.get("suppressions")]
    assert len(suppressed) == sum(f.status is Status.WAIVED for f in failures)
    (invocation,) = sarif["invocations"]
    assert isinstance(invocation["executionSuccessful"], bool)
    for note in invocation["toolExecutionNotifications"]:
        assert note["level"] in ("error", "warning") and note["message"]["text"]
        if "associatedRule" in note:
            assert rules[note["associatedRule"]["index"]]["id"] == note["associatedRule"]["id"]
    undecided = [f for f in run[1].report.findings if f.status in (Status.UNKNOWN, Status.ERROR, Status.NOTCHECKED)]
    assert len(invocation["toolExecutionNotifications"]) == len(undecided) + len(run[1].report.problems)


def check_sarif_result(result: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    """SARIF 2.1.0, 3.27 to 3.35: required properties, enumerations, and URIs that are URIs (RFC 3986)."""
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["kind"] == "fail" and result["level"] in ("error", "warning", "note")
    assert result["message"]["text"]
    (location,) = result["locations"]
    uri = location["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+", uri), uri
    if "region" in location["physicalLocation"]:
        assert location["physicalLocation"]["region"]["startLine"] >= 1
    for suppression in result.get("suppressions", ()):
        assert suppression["kind"] == "external" and suppression["status"] == "accepted" and suppression["justification"]


def test_csv_holds_no_formula(run: Any) -> None:
    with (run[0] / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(csv_report.COLUMNS)
    assert len(rows) - 1 == len(list(run[1].report.findings))
    for row in rows[1:]:
        assert len(row) == len(csv_report.COLUMNS)
        for value in row:
            assert not value.lstrip().startswith(("=", "+", "-", "@")), value


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@x", " =1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_a_formula_is_disarmed(value: str) -> None:
    assert csv_report.cell(value) == f"'{value}"


def test_metrics_are_openmetrics(run: Any) -> None:
    content = text(run, "metrics.prom")
    assert content.endswith("# EOF\n") and content.count("# EOF") == 1 + content.count("# EOF\"")
    samples = openmetrics(content)
    assert samples[("mtaudit_run", "version")] == 1
    for status in Status:
        assert samples[("mtaudit_findings", status.value)] == run[1].report.counts.get(status.value, 0)
    assert samples[("mtaudit_hosts", "yes")] == sum(h.answer == "yes" for h in run[1].report.hosts)


LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"([a-z_:][a-z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.]+)")


def openmetrics(content: str) -> dict[tuple[str, str], float]:
    """Samples by name and last label value; strict: TYPE, UNIT, HELP in this order, one block a family, no sample twice."""
    families: list[str] = []
    seen: set[str] = set()
    found: dict[tuple[str, str], float] = {}
    for line in content.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            _hash, _type, family, kind = line.split(" ")
            assert family not in families and kind == "gauge"
            families.append(family)
        elif line.startswith("# UNIT "):
            assert families[-1].endswith("_" + line.split(" ")[3])
        elif line.startswith("# HELP "):
            assert line.split(" ")[2] == families[-1]
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match.group(1) == families[-1], line
            assert line.rsplit(" ", 1)[0] not in seen, line
            seen.add(line.rsplit(" ", 1)[0])
            labels = re.findall(r'=("(?:[^"\\]|\\.)*")', match.group(2) or "")
            name = "version" if match.group(1) == "mtaudit_run" else json.loads(labels[-1]) if labels else ""
            found[(match.group(1), name)] = float(match.group(3))
    return found


def test_markdown_holds_no_markup_of_others(run: Any) -> None:
    content = text(run, "report.md")
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", content, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"<[a-z/!]", outside, re.IGNORECASE)
    assert not re.search(r"(?<!\\)\]\(", outside)
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {10}


def test_a_fence_is_longer_than_any_in_it() -> None:
    assert markdown._fenced("a\n`````\nb").startswith("``````text\n")


def test_nothing_invisible_is_left(run: Any) -> None:
    for path in run[0].iterdir():
        if path.is_file() and path.name not in ("run.json", "catalogue.json"):
            content = path.read_text(encoding="utf-8").replace("\r\n", "\n")
            assert not INVISIBLE.search(content), path.name


def test_reports_are_for_the_owner_only(run: Any) -> None:
    for name in ("findings.json", "report.html", "junit.xml", "report.sarif", "findings.csv", "report.md", "metrics.prom"):
        assert (run[0] / name).stat().st_mode & 0o077 == 0, name


def test_a_megabyte_is_cut_and_says_so(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.hostile("mx-evil")])
    reported(directory)
    for path in directory.iterdir():
        if path.is_file():
            assert path.stat().st_size < 400_000, path.name


def test_clean_cuts_with_a_note_and_shows_what_cannot_be_seen() -> None:
    assert clean("a" * 30, 10) == "aaaaaaaaaa [cut: 10 of 30 characters]"
    assert clean("a\x00b\u202ec\ud800\n\td") == "a\\x00b\\u202ec\\ud800\n\td"


def test_the_summary_is_ascii_and_fits(run: Any) -> None:
    summary = terminal.summary(run[1].report)
    assert summary.isascii() and "\x1b" not in summary
    assert max(map(len, summary.splitlines())) <= terminal.WIDTH
    assert run[1].report.headline in " ".join(summary.split()) or len(run[1].report.headline) > terminal.WIDTH


def test_colours_only_when_asked(run: Any) -> None:
    painted = terminal.summary(run[1].report, colour=True)
    assert "\x1b[" in painted
    assert re.sub("\x1b\\[[0-9;]*m", "", painted) == terminal.summary(run[1].report)
