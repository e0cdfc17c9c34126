"""The lab for the tests, and which of them may run side by side: those of different files, unless they share a part of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "lab"))

from lab import Lab

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file is one worker's: its fixtures are made once. Files with one `xdist_group` are one worker's too."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: WorkerController, ids: list[str]) -> None:
    """Stop where pytest-xdist does not understand this pytest: each worker would plant every fault."""
    if node.config.getoption("dist") == "loadgroup" and not all("@" in nodeid for nodeid in ids):
        pytest.exit("pytest-xdist gives these tests no groups: its release does not fit pytest's, see requirements-dev.txt", 4)


@pytest.fixture(scope="module")
def lab() -> Lab:
    """The lab, up. Without podman this fails; it never skips."""
    running = Lab()
    running.up()
    return running
