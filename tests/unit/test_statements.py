"""Every FAIL statement and trap of the catalogue is planted in the lab or shown otherwise, and every row of the lab is of one."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.mtaudit.catalogue import Entry, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from mtalab.faults import FAULTS, load  # noqa: E402

STATEMENTS = FAULTS / "statements"
CATALOGUE = load_catalogue(str(ROOT / "checks"))
ROWS = {fault.name: fault for fault in load()}
ALL = "all"  # what the catalogue says of all programs
# What a statement is about, and the verdicts that its rows may have.
KINDS = {
    "fails": {"fail"},
    "passes": {"pass", "notapplicable"},
    "unknown": {"unknown", "error", "informational"},
    "trap": {"fail", "pass", "notapplicable", "unknown", "error", "informational"},
}
SHOWN_BY = {"rows", "tests", "not_planted"}


@dataclass(frozen=True)
class Statement:
    """One item of a file: when the control fails, passes or cannot tell, or the first words of a trap in its catalogue entry;
    and what shows it."""

    control: str
    component: str
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        kinds = [kind for kind in KINDS if kind in self.data]
        assert len(kinds) == 1, f"{self.control} {self.component}: {self.data} is of one kind: {', '.join(KINDS)}"
        return kinds[0]

    def __str__(self) -> str:
        return f"{self.control} {self.component}: {self.data[self.kind]}"


def statements(control: str) -> Iterator[Statement]:
    path = STATEMENTS / f"{control}.yml"
    for component, items in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        yield from (Statement(control, component, item) for item in items)


def listed() -> list[str]:
    """The controls that programs of a host are asked about; a question for people has nothing to plant."""
    return [control for control, entry in CATALOGUE.controls.items() if asked(entry)]


def asked(entry: Entry) -> bool:
    return any(said.methods != ("answer",) for said in entry.components.values())


def traps(entry: Entry, component: str) -> list[str]:
    found = entry.data["traps"] if component == ALL else entry.components[component].traps
    return [" ".join(trap.split()) for trap in found]


def test_every_file_is_of_a_control() -> None:
    assert {path.stem for path in STATEMENTS.glob("*.yml")} == set(listed())


@pytest.mark.parametrize("control", listed())
def test_a_statement_says_what_shows_it(control: str) -> None:
    for said in statements(control):
        assert set(said.data) - {said.kind} <= SHOWN_BY, said
        assert SHOWN_BY & set(said.data), f"{said}: nothing shows it"
        for name in said.data.get("rows", ()):
            assert name in ROWS, f"{said}: no row is called {name}"
            row = ROWS[name]
            assert control in (row.control, *row.also), f"{said}: the row {name} is about {row.control}"
            assert row.control != control or row.verdict in KINDS[said.kind], f"{said}: the row {name} says {row.verdict}"
        for name in said.data.get("tests", ()):
            assert exists(name), f"{said}: there is no {name}"
        assert len(said.data.get("not_planted", "a reason that can be read")) > 20, f"{said}: why?"


def exists(name: str) -> bool:
    """Whether there is this test (FILE::FUNCTION) or this recorded fixture (a directory)."""
    file, _, function = name.partition("::")
    if not function:
        return (ROOT / file / "expect.json").is_file()
    text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).is_file() else ""
    return bool(re.search(rf"^def {function}\(", text, re.MULTILINE))


@pytest.mark.parametrize("control", listed())
def test_every_program_and_trap_of_the_catalogue_is_stated(control: str) -> None:
    entry = CATALOGUE.controls[control]
    by_component: dict[str, list[Statement]] = {}
    for said in statements(control):
        by_component.setdefault(said.component, []).append(said)
    assert set(by_component) - {ALL} == set(entry.components)
    for component in (*entry.components, *([ALL] if entry.data["traps"] else [])):
        stated = by_component.get(component, [])
        assert component == ALL or any(said.kind == "fails" for said in stated), f"{control} {component}: when does it fail?"
        begins = [said.data["trap"] for said in stated if said.kind == "trap"]
        meant = Counter(trap for trap in traps(entry, component) for words in begins if trap.startswith(words))
        assert len(begins) == meant.total(), f"{control} {component}: of {begins} some begin no trap, or more than one"
        assert meant == Counter(traps(entry, component)), f"{control} {component}: traps that nothing shows, or twice"


@pytest.mark.parametrize("control", listed())
def test_every_row_is_of_a_statement(control: str) -> None:
    rows = {name for said in statements(control) for name in said.data.get("rows", ())}
    assert {row.name for row in ROWS.values() if row.control == control} <= rows
