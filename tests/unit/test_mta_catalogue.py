"""The module mta_catalogue: what it returns, what it writes, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mta_catalogue
import pytest
from ansible.module_utils.testing import patch_module_args

CHECKS = Path(__file__).resolve().parents[2] / "checks"


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args({"path": str(CHECKS), **arguments}), pytest.raises(SystemExit):
        mta_catalogue.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_returns_what_the_hosts_need_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, profile="strict", tunables={"RELAY-15": {"max_proof_age_days": 3}})
    assert not result["changed"]
    assert result["controls"] == len(result["selection"]) > 15
    days = {"type": "int", "value": 3, "minimum": 1, "maximum": 366}
    assert {"id": "RELAY-15", "tunables": {"max_proof_age_days": days}}.items() <= next(
        c for c in result["selection"] if c["id"] == "RELAY-15").items()
    assert result["digest"].startswith("sha256:") and result["version"].count(".") == 2


def test_writes_the_catalogue_of_the_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = run(capsys, run_directory=str(tmp_path / "runs/1"))
    path = tmp_path / "runs/1/catalogue.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    assert result["changed"] and len(written["controls"]) == result["controls"]
    assert written["digest"] == result["digest"]
    assert path.stat().st_mode & 0o077 == 0, "findings and waivers are for their owner only"


def test_check_mode_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert not run(capsys, run_directory=str(tmp_path / "run"), _ansible_check_mode=True)["changed"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_hosts_are_refused_and_told_in_full(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    waiver = {"id": "RELAY-99", "reason": "r", "owner": "o", "expires": "never"}
    hosts = {"mx1": {"kind": "mailer"}, "mx2": {"waivers": [waiver]}, "mx3": {"kind": "mx"}}
    result = run(capsys, hosts=hosts, run_directory=str(tmp_path / "run"))
    assert {host: len(problems) for host, problems in result["refused"].items()} == {"mx1": 1, "mx2": 2}
    assert result["refused"]["mx1"][0].startswith("mta_audit_kind: must be one of mx, ")


def test_wrong_inputs_of_the_run_stop_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = run(capsys, profile="paranoid", run_directory=str(tmp_path / "run"))
    begin = "The inputs of the run have errors:\nmta_audit_profile: there is no profile"
    assert result["failed"] and result["msg"].startswith(begin)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_catalogue_is_told_with_file_and_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_bytes((CHECKS / "schema.json").read_bytes())
    for name in ("profiles", "mappings", "relay"):
        (tmp_path / name).mkdir()
    (tmp_path / "relay/RELAY-01.yml").write_text("id: RELAY-01\nid: RELAY-02\n", encoding="utf-8")
    result = run(capsys, path=str(tmp_path))
    assert result["failed"] and result["msg"].startswith("The catalogue has errors:\n")
    assert f"{tmp_path}/relay/RELAY-01.yml:2: 'id' is already on line 1: keep one of the two" in result["problems"]


def test_a_directory_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(capsys, run_directory=str(tmp_path / "file/run"))
    assert result["failed"] and result["msg"].startswith(f"Could not write {tmp_path}/file/run/catalogue.json: Not a directory")
