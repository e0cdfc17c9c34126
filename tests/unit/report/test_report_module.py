"""The module as Ansible calls it: check, real, again, again in check mode; and what it says when something is in the way."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import factory
import mta_report
import pytest
from ansible.module_utils.testing import patch_module_args

TEMPLATES = Path(__file__).resolve().parents[3] / "roles/mta_report/templates"


@pytest.fixture
def module(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(directory: Path, **more: Any) -> dict[str, Any]:
        arguments = {"run_directory": str(directory), "template_directory": str(TEMPLATES), **more}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            mta_report.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def state(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_check_real_again_again_in_check_mode(module: Any, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    before = state(tmp_path)
    planned = module(directory, _ansible_check_mode=True)
    assert planned["changed"] is True and state(tmp_path) == before
    real = module(directory)
    assert real["changed"] is True
    after = state(tmp_path)
    assert module(directory)["changed"] is False and state(tmp_path) == after
    assert module(directory, _ansible_check_mode=True)["changed"] is False and state(tmp_path) == after
    assert {k: v for k, v in planned.items() if k != "changed"} == {k: v for k, v in real.items() if k != "changed"}
    assert all(os.path.isfile(path) for path in real["files"].values())
    assert set(real["files"]) == {"json", "html", "junit", "sarif", "csv", "markdown", "metrics"}


def test_check_mode_of_many_pages_writes_nothing(module: Any, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    before = state(tmp_path)
    assert module(directory, hosts_per_page=2, _ansible_check_mode=True)["changed"] is True
    assert state(tmp_path) == before and not (directory / "report-hosts").exists()


def test_only_the_formats_that_were_asked_for(module: Any, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    before = set(state(directory))
    module(directory, formats=["csv", "metrics"])
    assert set(state(directory)) - before == {"findings.csv", "metrics.prom", "history.json"}


def test_the_results_stay_small(module: Any, tmp_path: Path) -> None:
    hosts = [factory.proven_open(f"mx{n}") for n in range(150)] + [factory.hostile("mx-evil")]
    result = module(factory.write_run(tmp_path, hosts), formats=["csv"])
    assert len(json.dumps(result)) < 40_000
    assert len(json.dumps(result["stats"])) < 4_000
    assert result["stats"]["hosts"] == {"yes": 151, "unknown": 0, "no": 0}


def test_the_gate_says_what_how_many_and_where(module: Any, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    result = module(directory, fail_on="high")
    assert "failed" not in result and result["gate"]["met"] is True
    for words in ("2 failures of severity high or worse on 2 hosts", "RELAY-01 (critical) on mail-old.example.org",
                  str(directory / "report.html")):
        assert words in result["gate"]["message"], words
    assert module(directory, fail_on="none")["gate"]["message"] == ""


@pytest.mark.parametrize(("arguments", "words"), [
    ({"fail_on_incomplete": 80}, "a share from 0 to 1, not 80"),
    ({"fail_on_incomplete": -0.1}, "a share from 0 to 1"),
    ({"keep_runs": 0}, "keep_runs must be at least 1"),
    ({"hosts_per_page": 0}, "hosts_per_page must be at least 1"),
    ({"template_directory": None}, "needs template_directory"),
    ({"template_directory": "/nonexistent"}, "/nonexistent"),
    ({"fail_on": "terrible"}, "value of fail_on must be one of"),
])
def test_wrong_arguments(arguments: dict[str, Any], words: str, module: Any, tmp_path: Path) -> None:
    result = module(factory.write_run(tmp_path, factory.realistic()), **arguments)
    assert result["failed"] is True and words in result["msg"] and "Traceback" not in result["msg"]


def test_no_run(module: Any, tmp_path: Path) -> None:
    result = module(tmp_path / "nothing")
    assert result["failed"] is True and "Could not read" in result["msg"] and "run.json" in result["msg"]


def test_a_directory_that_cannot_be_written(module: Any, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    (directory / "report-hosts").write_text("a file where a directory belongs")
    result = module(directory, hosts_per_page=1)
    assert result["failed"] is True and "Could not write the reports" in result["msg"] and "mta_report_directory" in result["msg"]


def test_a_full_disk_does_not_hide_what_was_found(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mta_report, "write_reports", full)
    result = module(factory.write_run(tmp_path, [factory.proven_open("mx1")]))
    assert result["failed"] is True and "None" not in result["msg"]
    for words in ("No space left on device. Make room there", "mta_report_directory", "Yes. The only server can be used"):
        assert words in result["msg"], words


def test_a_garbled_history_is_named(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(mta_report.AnsibleModule, "warn", lambda _, text, **__: told.append(text))
    earlier = factory.write_run(tmp_path, [factory.good("mx1")], "2026-11-01T02:00:00Z")
    module(earlier)
    directory = factory.write_run(tmp_path, [factory.good("mx1")], "2026-11-02T02:00:00Z")
    module(directory)
    assert told == []
    (earlier / "history.json").write_text('{"schema": 1, "open')
    module(directory)
    assert [str(earlier / "history.json") in text and "not compared" in text for text in told] == [True]


def test_a_run_before_all_others_is_compared_with_none(module: Any, tmp_path: Path) -> None:
    """A clock that went back: what is called later than this run is not taken for its past, and is not deleted for it."""
    later = factory.write_run(tmp_path, [factory.proven_open("mx1")], "2026-11-20T02:00:00Z")
    module(later)
    now = factory.write_run(tmp_path, [factory.proven_open("mx1")], "2026-11-01T02:00:00Z")
    result = module(now, keep_runs=2)
    data = json.loads((now / "findings.json").read_text())
    assert len(data["trend"]) == 1 and result["removed"] == []
    assert not [f for f in data["findings"] if f.get("change")]


def test_a_link_is_replaced_and_not_followed(module: Any, tmp_path: Path) -> None:
    directory = factory.write_run(tmp_path, factory.realistic())
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory / "findings.json").symlink_to(victim)
    module(directory)
    assert victim.read_text() == "precious" and not (directory / "findings.json").is_symlink()


def test_old_runs_are_removed_and_dates_are_kept(module: Any, tmp_path: Path) -> None:
    bad = factory.replaced(factory.good("mx1"), factory.failing())
    started = [f"2026-11-{day:02d}T02:00:00Z" for day in range(1, 7)]
    stranger = tmp_path / "runs" / "not-a-run"
    stranger.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("run.json", "history.json"):
        (tmp_path / "elsewhere" / name).write_text("{}")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    for when in started[:-1]:
        module(factory.write_run(tmp_path, [bad], when), formats=["csv"])
    last = factory.write_run(tmp_path, [bad], started[-1])
    planned = module(last, formats=["json"], keep_runs=2, _ansible_check_mode=True)
    assert len(planned["removed"]) == 4 and len(list((tmp_path / "runs").iterdir())) == 8
    result = module(last, formats=["json"], keep_runs=2)
    assert sorted(map(os.path.basename, result["removed"])) == [w.replace("-", "").replace(":", "") for w in started[:4]]
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"not-a-run", "link", "20261105T020000Z", "20261106T020000Z"}
    assert (tmp_path / "elsewhere" / "run.json").exists()
    finding = next(f for f in json.loads((last / "findings.json").read_text())["findings"] if f["control"] == "RELAY-01")
    assert finding["since"] == started[0]
