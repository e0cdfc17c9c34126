"""Count the tests of a JUnit file as pytest writes it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Skip:
    """A test that did not run, and the reason it gave."""

    test: str
    reason: str


@dataclass
class Counts:
    """What a check found out: how many tests passed, which failed, which were skipped."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)

    @property
    def ran(self) -> int:
        return self.passed + len(self.failed)


def read(path: Path) -> Counts:
    """The counts of one file. Raises OSError or xml.etree.ElementTree.ParseError when it is not there or not whole."""
    counts = Counts()
    for case in ET.parse(path).getroot().iter("testcase"):  # our own pytest wrote it
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        # A test with a failure and an error in its teardown has both elements, and is one test.
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed.append(name)
        elif skipped is not None:
            counts.skipped.append(Skip(name, skipped.get("message") or ""))
        else:
            counts.passed += 1
    return counts
