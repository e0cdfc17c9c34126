"""The runner of the tests: what it counts, and that no failure hides another."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import run_tests
from progress import last_line, run
from run_tests import Rules, allowed_skips
from stages import Check, Stage, scenarios, stages, without_hosts

LENIENT = Rules(strict_skips=False, allowed_skips=(), deadline=None)
STRICT = Rules(strict_skips=True, allowed_skips=("no screen",), deadline=None)
ROOT = Path(__file__).resolve().parents[2]

TESTS = """
import pytest
def test_good(): pass
@pytest.mark.skip(reason="no screen: none here")
def test_skipped(): pass
"""


def command(tmp_path: Path, name: str, code: str, **more: object) -> Check:
    return Check(name, (sys.executable, "-c", code), tmp_path / f"{name}.log", **more)  # type: ignore[arg-type]


def pytest_check(tmp_path: Path, text: str, name: str = "tests") -> Check:
    (tmp_path / f"test_{name}.py").write_text(text)
    junit = tmp_path / f"{name}.xml"
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}",
             f"--junit-xml={junit}", str(tmp_path / f"test_{name}.py"))
    return Check(name, words, tmp_path / f"{name}.log", junit)


def run_all(chosen: list[Stage], rules: Rules = LENIENT) -> tuple[str, int]:
    shown: list[str] = []
    status = run_tests.run_all(chosen, rules, shown.append)
    return "\n".join(shown), status


def test_a_failing_check_hides_neither_its_neighbour_nor_the_next_stage(tmp_path: Path) -> None:
    first = Stage("first", "", (command(tmp_path, "bad", "raise SystemExit(3)"), command(tmp_path, "good", "")))
    text, status = run_all([first, Stage("second", "", (command(tmp_path, "late", ""),))])
    assert status == 1
    assert "failed: first: bad" in text
    assert text.splitlines()[-1] == "2 passed, 1 failed, 0 skipped"


def test_the_output_of_a_failing_check_is_shown_and_that_of_a_good_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all([Stage("s", "", (command(tmp_path, "bad", "print('why it failed'); raise SystemExit(1)"),
                             command(tmp_path, "good", "print('chatter')")))])
    shown = capsys.readouterr().out
    assert "| why it failed" in shown
    assert "chatter" not in shown


def test_all_good(tmp_path: Path) -> None:
    text, status = run_all([Stage("s", "", (command(tmp_path, "good", ""),))])
    assert (text.splitlines()[-1], status) == ("1 passed, 0 failed, 0 skipped", 0)


def test_nothing_at_all_is_a_failure() -> None:
    text, status = run_all([])
    assert (text.splitlines()[-1], status) == ("0 passed, 0 failed, 0 skipped", 1)


def test_a_stage_without_checks_is_a_failure() -> None:
    text, status = run_all([Stage("molecule", "", ())])
    assert (text.splitlines()[-1], status) == ("0 passed, 1 failed, 0 skipped", 1)


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    text, status = run_all([Stage("s", "", (Check("gone", ("/nonexistent/tool",), tmp_path / "log"),))])
    assert (text.splitlines()[-1], status) == ("0 passed, 1 failed, 0 skipped", 1)
    assert "Could not start /nonexistent/tool" in (tmp_path / "log").read_text()


def test_pytest_is_counted_test_by_test(tmp_path: Path) -> None:
    text, status = run_all([Stage("s", "", (pytest_check(tmp_path, TESTS + "def test_bad(): assert False\n"),))])
    assert (text.splitlines()[-1], status) == ("1 passed, 1 failed, 1 skipped", 1)
    assert "failed: s: test_tests::test_bad" in text


def test_an_allowed_skip_is_no_failure_in_ci(tmp_path: Path) -> None:
    text, status = run_all([Stage("s", "", (pytest_check(tmp_path, TESTS),))], STRICT)
    assert (text.splitlines()[-1], status) == ("1 passed, 0 failed, 1 skipped", 0)


def test_any_other_skip_is_a_failure_in_ci(tmp_path: Path) -> None:
    tests = TESTS + "def test_lazy(): pytest.skip('no podman')\n"
    text, status = run_all([Stage("s", "", (pytest_check(tmp_path, tests),))], STRICT)
    assert (text.splitlines()[-1], status) == ("1 passed, 1 failed, 1 skipped", 1)
    assert "test_lazy: skipped: no podman" in text


@pytest.mark.parametrize("text", [
    "x = 1\n", "this is no Python\n", "import os; os._exit(0)\n", "def test_x(): import os; os._exit(0)\n",
])
def test_pytest_that_runs_no_test_or_dies_is_a_failure(tmp_path: Path, text: str) -> None:
    shown, status = run_all([Stage("s", "", (pytest_check(tmp_path, text),))])
    assert status == 1
    assert shown.splitlines()[-1].startswith("0 passed, ")


def test_results_of_an_earlier_run_are_not_counted(tmp_path: Path) -> None:
    check = pytest_check(tmp_path, TESTS)
    run_all([Stage("s", "", (check,))])
    dead = Check(check.name, (sys.executable, "-c", ""), check.log, check.junit)
    text, status = run_all([Stage("s", "", (dead,))])
    assert (text.splitlines()[-1], status) == ("0 passed, 1 failed, 0 skipped", 1)


def test_a_failing_teardown_is_one_failed_test(tmp_path: Path) -> None:
    tests = "import pytest\n@pytest.fixture\ndef broken():\n    yield\n    assert False\ndef test_x(broken): assert False\n"
    text, _ = run_all([Stage("s", "", (pytest_check(tmp_path, tests),))])
    failed = int(text.splitlines()[-1].split()[2])
    assert failed in (1, 2)  # pytest before 8.4 wrote two entries


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_when_time_is_up_a_command_and_its_children_are_ended(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    done = run("slow", (sys.executable, "-c", code), tmp_path / "log", timeout_s=4)
    assert done.returncode is None
    assert not done.ok
    child = int(done.output().split()[0])
    assert any(ended(child) or time.sleep(0.1) for _ in range(100))  # the kernel takes its time


def test_checks_after_the_deadline_fail_without_being_run(tmp_path: Path) -> None:
    late = Rules(strict_skips=True, allowed_skips=(), deadline=time.monotonic() - 1)
    text, status = run_all([Stage("s", "", (command(tmp_path, "x", "open('ran', 'w')"),))], late)
    assert status == 1
    assert "x: no time left" in text
    assert not (tmp_path / "x.log").exists()


def test_a_heartbeat_shows_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = r"import time; print('\x1b[32mstep 7\x1b[0m\n\n', flush=True); time.sleep(1)"
    run("long", (sys.executable, "-c", code), tmp_path / "log", heartbeat_s=0.4)
    assert "step 7" in capsys.readouterr().out


def test_last_line_of_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    assert last_line(tmp_path / "log") == ""


@pytest.mark.parametrize(("text", "problem"), [
    ("PLAY RECAP ***\nmx1   : ok=3    changed=0\n", None),
    ("\x1b[0;32mmx1\x1b[0m   : \x1b[0;32mok=3\x1b[0m    changed=0\n", None),
    ("PLAY [x] ***\nskipping: no hosts matched\n\nPLAY RECAP ***\n", "no play ran on any host"),
    ("PLAY RECAP ***\nlocalhost   : ok=3    changed=0\n", "no play ran on any host"),
    ("PLAY RECAP ***\nmx1   : ok=0    changed=0\n", "no play ran on any host"),
])
def test_a_scenario_without_hosts_proves_nothing(tmp_path: Path, text: str, problem: str | None) -> None:
    check = command(tmp_path, "scenario", f"print({text!r})", problem=without_hosts)
    shown, status = run_all([Stage("molecule", "", (check,))])
    assert status == (1 if problem else 0)
    assert (problem or "passed") in shown


def test_every_scenario_of_the_tree_is_run(tmp_path: Path) -> None:
    for name in ("relay", "lab", "audit"):
        (tmp_path / "molecule" / name).mkdir(parents=True)
    for name in ("relay", "audit"):
        (tmp_path / "molecule" / name / "molecule.yml").touch()
    assert scenarios(tmp_path) == ["audit", "relay"]
    molecule = stages(tmp_path, full=False)[-1]
    assert [check.name for check in molecule.checks] == ["audit", "relay"]


def test_only_the_full_run_has_the_whole_matrix() -> None:
    sample, full = ({s.name: s for s in stages(ROOT, full)} for full in (False, True))
    assert "not full" in sample["unit"].checks[0].command
    assert "not full" not in full["unit"].checks[0].command
    assert full["integration"].checks[0].env == {"MTAUDIT_FULL": "1"}


def test_allowed_skips_are_read_without_comments(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# why\n\n no screen \n")
    assert allowed_skips(tmp_path / "list") == ["no screen"]
