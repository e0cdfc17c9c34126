"""`make audit` finds the run that its play reported on, whatever the play was asked to write and to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import factory
import pytest
import show_report
from test_report_role import play

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("log", "directory"), [
    ('ok: => {\n "Report: /srv/my reports/runs/1/findings.json"\n}', "/srv/my reports/runs/1"),
    ("ok: [mx1]\n1 p=2 u=a n=ansible INFO| Run kept in /srv/my reports/runs/1\nok", "/srv/my reports/runs/1"),
    ("x INFO| Run kept in /a/runs/1\nx INFO| Run kept in /a/runs/2\n", "/a/runs/2"),
    # What the play shows may hold a hostile server's words: the callback's line goes before them.
    ('x INFO| Run kept in /a/runs/1\n  "msg": "250 Report: /evil/x",\n  "500 | Run kept in /evil"\n', "/a/runs/1"),
    ('{"msg": ["Report: "]}', None),
    ("fatal: [mx1]: FAILED! => No report was written", None),
])
def test_the_run_is_found_in_a_log(log: str, directory: str | None) -> None:
    assert show_report.run_directory(log) == (Path(directory) if directory else None)


@pytest.mark.parametrize(("variables", "file"), [
    ({}, "report.html"),
    ({"mta_report_formats": ["csv", "json"]}, "findings.json"),
    ({"mta_report_show_summary": False}, "report.html"),
    ({"mta_report_show_summary": False, "mta_report_formats": ["markdown"]}, "report.md"),
    ({"mta_report_formats": []}, ""),
    ({"mta_report_fail_on": "critical", "mta_report_show_summary": False}, "report.html"),  # the play fails, the report is there
])
def test_the_run_of_a_play_is_found(
    variables: dict[str, Any], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, log = factory.write_run(tmp_path, factory.realistic()), tmp_path / "ansible.log"
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(ROOT / "tools/callback_plugins"))
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(log))
    done = play(tmp_path, **variables)
    assert "Run kept in" not in done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr and "DEPRECAT" not in done.stderr, done.stderr
    monkeypatch.setattr("sys.argv", ["show_report.py", str(log)])
    assert show_report.main() == 0
    shown = capsys.readouterr().out
    assert "CAN OUR SERVERS BE USED TO SEND SPAM?" in shown
    assert shown.splitlines()[-1] == f"Report: {run / file}"


def test_no_report_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text("x INFO| skipping: no hosts matched\n")
    monkeypatch.setattr("sys.argv", ["show_report.py", str(tmp_path / "log")])
    assert show_report.main() == 1
    assert capsys.readouterr().err == "No report was written: see the output above.\n"
