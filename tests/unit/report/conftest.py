"""A run, made and reported, in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.report.produce import FORMATS, Made, Options, make, write_reports

TEMPLATES = Path(__file__).resolve().parents[3] / "roles/mta_report/templates"


def options(directory: Path, **more: Any) -> Options:
    values: dict[str, Any] = {
        "run_directory": str(directory), "history_directory": str(directory.parent), "template_directory": str(TEMPLATES),
        "formats": FORMATS, "title": "Mail server audit", "keep_runs": 365, "fail_on": "none", "fail_on_incomplete": 0.0,
        "hosts_per_page": 200, **more,
    }
    return Options(**values)


@pytest.fixture
def reported() -> Callable[..., Made]:
    """Read a run directory and write its reports."""

    def run(directory: Path, **more: Any) -> Made:
        chosen = options(directory, **more)
        made = make(chosen)
        write_reports(chosen, made, dry_run=False)
        return made

    return run
