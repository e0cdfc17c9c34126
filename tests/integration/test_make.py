"""The commands that people type."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import show_report
from test_ways_of_use import GOOD, Desk, assert_good_host_was_audited, lab  # noqa: F401 - lab is a fixture

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.lab


def make(*words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MAKE"))}
    return subprocess.run(["make", "--no-print-directory", *words], cwd=ROOT, env=kept, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, timeout=600)


def test_without_a_target_it_says_what_there_is() -> None:
    done = make()
    assert done.returncode == 0
    for target in ("audit", "test", "test-full", "lab", "lab-down", "clean"):
        assert f"make {target}" in done.stdout


def test_audit_of_an_own_inventory_ends_with_the_summary_and_the_report(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.list_hosts({"not-to-be-audited": {"ansible_host": "nowhere.invalid"}})
    done = make("audit", f"INVENTORY={desk.inventory}", f"LIMIT={GOOD}", "PROFILE=strict",
                f"ARGS=-e mta_report_directory={desk.reports}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set-up:" not in done.stdout  # all is there: nothing is installed again
    assert "lab:" not in done.stdout + done.stderr
    report = desk.report()
    assert_good_host_was_audited(report)
    assert report["run"]["profile"] == "strict"
    assert {host["name"] for host in report["hosts"]} == {GOOD}
    end = done.stdout.rstrip().splitlines()
    assert end[-1].startswith("Report: ") and Path(end[-1].removeprefix("Report: ")).is_file()
    assert any(line.startswith(GOOD) for line in end[end.index(next(line for line in end if "PLAY RECAP" in line)):])


def test_audit_with_an_inventory_that_is_not_there_fails(tmp_path: Path) -> None:
    done = make("audit", f"INVENTORY={tmp_path}/none")
    assert done.returncode != 0
    assert "Report: " not in done.stdout


def test_audit_that_matches_no_host_fails(tmp_path: Path) -> None:
    """Ansible calls it a success when the pattern of the play matches nothing."""
    desk = Desk(tmp_path)
    desk.list_hosts()
    done = make("audit", f"INVENTORY={desk.inventory}", f"ARGS=-e mta_target=others -e mta_report_directory={desk.reports}")
    assert done.returncode != 0
    assert "No report was written" in done.stderr


@pytest.mark.parametrize(("log", "directory"), [
    ('ok: => {\n "Report: /srv/my reports/runs/1/report.html"\n}', "/srv/my reports/runs/1"),
    ("| Report: /a/runs/1/report.html\n| Report: /a/runs/2/report.html\n", "/a/runs/2"),
    ("fatal: [mx1]: FAILED!", None),
])
def test_the_report_is_found_in_the_log(log: str, directory: str | None) -> None:
    assert show_report.run_directory(log) == (Path(directory) if directory else None)
