"""The role as a play uses it: files first, then the statistics, the gate last of all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import factory
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


def play(tmp_path: Path, *more: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([{
        "name": "Report", "hosts": "all", "gather_facts": False, "become": True, "become_user": "nobody",
        "roles": ["mta_report"], "vars": {"mta_report_directory": str(tmp_path), **variables}}]))
    empty = tmp_path / "ansible.cfg"
    empty.write_text("")
    environment = {
        **os.environ, "ANSIBLE_LIBRARY": str(ROOT / "library"), "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils"),
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"), "ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_INJECT_FACT_VARS": "0", "ANSIBLE_CONFIG": str(empty)}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "mx1,mx2,", str(playbook), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=180)


def test_the_newest_run_is_reported_and_the_statistics_are_set(tmp_path: Path) -> None:
    factory.write_run(tmp_path, [factory.good("mx1")], "2026-11-01T02:00:00Z")
    newest = factory.write_run(tmp_path, factory.realistic(), "2026-11-02T02:00:00Z")
    done = play(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (newest / "report.html").is_file()
    assert "CAN OUR SERVERS BE USED TO SEND SPAM?" in done.stdout and f"Report: {newest / 'report.html'}" in done.stdout
    stats = json.loads(done.stdout.split("RUN: ", 1)[1].splitlines()[0])
    assert stats["mta_report"]["answer"] == "yes" and stats["mta_report"]["schema"] == 1
    assert "[WARNING]" not in done.stderr and "DEPRECAT" not in done.stderr, done.stderr


def test_an_interrupted_run_does_not_hide_the_last_whole_one(tmp_path: Path) -> None:
    whole = factory.write_run(tmp_path, [factory.good("mx1")], "2026-11-01T02:00:00Z")
    interrupted = tmp_path / "runs/20261102T020000Z"
    interrupted.mkdir()
    (interrupted / "catalogue.json").write_text("{}")
    (whole.parent / "20261101T010000Z").mkdir()
    done = play(tmp_path)
    assert done.returncode == 0 and f"Report: {whole / 'report.html'}" in done.stdout, done.stdout + done.stderr


def test_the_gate_is_the_last_task(tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    # As a survey of AWX gives them: text.
    done = play(tmp_path, mta_report_fail_on="critical", mta_report_fail_on_incomplete="0.5", mta_report_hosts_per_page="100")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "1 failure of severity critical or worse on 1 host" in done.stdout
    assert (directory / "report.html").is_file()
    tasks = [line for line in done.stdout.splitlines() if line.startswith("TASK [")]
    assert "Fail when the gate is met" in tasks[-1] and "Hand the summary on" in tasks[-2]
    assert '"mta_report": {' in done.stdout  # the statistics were handed on all the same


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    done = play(tmp_path, "--check", mta_report_run_directory=str(directory))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (directory / "report.html").exists() and "changed=0" in done.stdout


@pytest.mark.parametrize(("variables", "words"), [
    ({}, "There is no run in"),
    ({"mta_report_fail_on": "terrible"}, "value of mta_report_fail_on must be one of"),
    ({"mta_report_formats": ["pdf"]}, "mta_report_formats"),
])
def test_wrong_input(variables: dict[str, Any], words: str, tmp_path: Path) -> None:
    done = play(tmp_path, **variables)
    assert done.returncode == 2 and words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_defaults_and_specification_agree() -> None:
    defaults = yaml.safe_load((ROOT / "roles/mta_report/defaults/main.yml").read_text())
    options = yaml.safe_load((ROOT / "roles/mta_report/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults
