"""Fix hints are read as the catalogue writes them: paragraphs, indented commands, names in backticks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import factory
import pytest
from ansible.module_utils.mtaudit.catalogue import load_catalogue
from ansible.module_utils.mtaudit.report import terminal
from ansible.module_utils.mtaudit.report.advice import blocks, first_step
from ansible.module_utils.mtaudit.selection import for_report

ADVICE = """Take `permit_mx_backup` out
of the list:

    postconf -e 'relay_domains ='
    postfix reload

Then look again."""


def test_paragraphs_and_commands() -> None:
    found = blocks(ADVICE)
    assert [(b.is_command, b.text) for b in found] == [
        (False, "Take `permit_mx_backup` out of the list:"),
        (True, "postconf -e 'relay_domains ='\npostfix reload"),
        (False, "Then look again."),
    ]
    assert found[0].parts == ("Take ", "permit_mx_backup", " out of the list:")
    assert found[1].plain == "postconf -e 'relay_domains ='; postfix reload"


def test_the_first_step_is_a_paragraph_and_its_commands() -> None:
    assert first_step(ADVICE) == blocks(ADVICE)[:2]
    assert [b.text for b in first_step("One thing.\n\nAnother.")] == ["One thing."]
    assert blocks("") == first_step("") == ()


def test_commands_keep_their_lines_in_every_format(tmp_path: Path, reported: Any) -> None:
    directory = factory.write_run(tmp_path, [factory.proven_open("mx1")])
    data = json.loads((directory / "catalogue.json").read_text())
    data["controls"][0]["components"]["postfix"]["advice"] = ADVICE
    (directory / "catalogue.json").write_text(json.dumps(data))
    reported(directory)
    html = (directory / "report.html").read_text()
    assert "<pre>postconf -e &#39;relay_domains =&#39;\npostfix reload</pre>" in html
    assert "<code>permit_mx_backup</code>" in html
    assert "```text\npostconf -e 'relay_domains ='\npostfix reload\n```" in (directory / "report.md").read_text()


CHECKS = Path(__file__).resolve().parents[3] / "checks"


def with_programs(tmp_path: Path, *programs: str) -> Path:
    """A run with the real catalogue's RELAY-01, which fails on one host for each of these programs."""
    directory = factory.write_run(tmp_path, [factory.Host(f"mx-{n}", [factory.failing()]) for n in range(len(programs))])
    catalogue = for_report(load_catalogue(str(CHECKS)), "baseline", {}, "0.1.0")
    catalogue["controls"] = [entry for entry in catalogue["controls"] if entry["id"] == "RELAY-01"]
    (directory / "catalogue.json").write_text(json.dumps(catalogue))
    for n, program in enumerate(programs):
        path = directory / "hosts" / f"mx-{n}.json"
        answer = json.loads(path.read_text())
        answer["estate"]["programs"] = [{"name": program}]
        answer["estate"]["listeners"][0]["program"] = program
        path.write_text(json.dumps(answer))
    return directory


@pytest.mark.parametrize(("program", "shown", "foreign"), [
    ("exim", "dc_relay_nets", r"\bpost(conf|map|multi|fix reload)\b"),
    ("postfix", "postconf -e", r"(?i)\b(update-)?exim"),
])
def test_a_hosts_report_has_the_advice_of_its_program_only(
    program: str, shown: str, foreign: str, tmp_path: Path, reported: Any
) -> None:
    directory = with_programs(tmp_path, program)
    made = reported(directory)
    files = [path for path in directory.iterdir() if path.name.startswith(("report.", "findings.", "junit."))]
    texts = {path.name: path.read_text() for path in files} | {"summary": terminal.summary(made.report)}
    for name in ("findings.json", "findings.csv", "report.html", "report.md", "junit.xml", "summary"):
        assert shown in texts[name], name
    for name, text in texts.items():
        assert not re.search(foreign, text), name


def test_what_to_do_first_is_a_step_for_each_program(tmp_path: Path, reported: Any) -> None:
    made = reported(with_programs(tmp_path, "exim", "postfix", "exim"))
    steps = {step.hosts: step.fix_hint for step in made.report.steps}
    assert set(steps) == {("mx-0", "mx-2"), ("mx-1",)}
    assert "update-exim4.conf" in steps["mx-0", "mx-2"] and "postconf" in steps["mx-1",]
