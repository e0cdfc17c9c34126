"""Fix hints are read as the catalogue writes them: paragraphs, indented commands, names in backticks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factory
from ansible.module_utils.mtaudit.report.advice import blocks, first_step

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
    data["controls"][0]["fix"]["advice"] = ADVICE
    (directory / "catalogue.json").write_text(json.dumps(data))
    reported(directory)
    html = (directory / "report.html").read_text()
    assert "<pre>postconf -e &#39;relay_domains =&#39;\npostfix reload</pre>" in html
    assert "<code>permit_mx_backup</code>" in html
    assert "```text\npostconf -e 'relay_domains ='\npostfix reload\n```" in (directory / "report.md").read_text()
