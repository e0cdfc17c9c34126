"""What the README names exists, and what it counts is counted right."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.mtaudit.report.produce import FORMATS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def options() -> set[str]:
    found: set[str] = set()
    for role in ("mta_audit", "mta_report"):
        text = (ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
        found |= set(yaml.safe_load(text)["argument_specs"]["main"]["options"])
    return found


def test_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)|^[#$] make ([a-z-]+)", README, re.MULTILINE))
    assert {"audit", "test"} <= {a or b for a, b in named} <= targets


def test_variables_exist() -> None:
    named = set(re.findall(r"\bmta_(?:audit|report)_[a-z_]+", README))
    assert len(named) > 4
    assert named <= options() | {"mta_audit_", "mta_report_"}
    play = yaml.safe_load((ROOT / "playbooks/audit.yml").read_text(encoding="utf-8"))[0]
    assert "mta_target" in play["hosts"] and "mta_target" in README


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_the_report(name: str) -> None:
    words = {"metrics": "OpenMetrics"}.get(name, name).lower()
    assert words in README.split("## The report", 1)[1].split("##", 1)[0].lower()


def test_the_labs_sink_needs_nothing_but_python() -> None:
    match = re.search(r"\[sink\.py\]\(([^)]+)\)", README)
    assert match and "nothing\nbut Python 3.11" in README
    tree = ast.parse((ROOT / match.group(1)).read_text(encoding="utf-8"))
    imported = {n.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported and imported <= set(sys.stdlib_module_names)


def test_ways_to_ask_the_canary_are_those_of_the_module() -> None:
    text = (ROOT / "library/mta_relay_probe.py").read_text(encoding="utf-8")
    documentation = yaml.safe_load(re.search(r'DOCUMENTATION = r"""(.*?)"""', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    ways = documentation["options"]["canary_check"]["suboptions"]
    table = re.findall(r"^\| `(url|maildir|imap): ", README, re.MULTILINE)
    assert sorted(table) == sorted(ways)
    for key in ways["imap"]["suboptions"]:
        assert key in README
