"""Set-up: what it installs where, and that it says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import pythons
import setup
from pythons import Python
from setup import LAB_TOOLS, TOOLS, Machine, SetupError, Tool

ROOT = Path(__file__).resolve().parents[2]
NOTHING_HERE = Tool("mtaudit-no-such-package", "is never there", ("mtaudit-no-such-program",))
ROOT_ON_DEBIAN = Machine(debian=True, apt=True, root=True)


def fake(directory: Path, name: str, text: str) -> Path:
    """A program of ours on a PATH of ours."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bin_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but the shell, and with no other place to look in."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("sh", "cat", "touch", "mkdir", "dirname", "pwd", "id"):
        found = shutil.which(name)
        assert found
        (path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(setup, "HELPER_PATHS", ())
    return path


@pytest.mark.parametrize(("machine", "words"), [
    (Machine(debian=True, apt=True, root=False), "sudo apt-get install --no-install-recommends mtaudit-no-such-package"),
    (Machine(debian=False, apt=True, root=True), "with: apt-get install --no-install-recommends mtaudit-no-such-package"),
    (Machine(debian=False, apt=False, root=True), "the names are Debian's"),
])
def test_elsewhere_it_names_what_is_missing_and_stops(
    tmp_path: Path, bin_only: Path, machine: Machine, words: str
) -> None:
    fake(bin_only, "apt-get", f"touch {tmp_path}/called")
    with pytest.raises(SetupError) as stopped:
        setup.install_packages([NOTHING_HERE], machine, tmp_path)
    assert words in str(stopped.value)
    assert "mtaudit-no-such-package is never there" in re.sub(" +", " ", str(stopped.value))
    assert not (tmp_path / "called").exists()


def test_as_root_on_debian_it_says_what_and_why_and_installs(
    tmp_path: Path, bin_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(bin_only, "apt-get", f'echo "$@" >> {tmp_path}/calls\n'
                              f'if [ "$1" = install ]; then cat {bin_only}/apt-get > {bin_only}/mtaudit-no-such-program; fi\n'
                              f"/bin/chmod 755 {bin_only}/mtaudit-no-such-program 2>/dev/null || true")
    setup.install_packages([NOTHING_HERE], ROOT_ON_DEBIAN, tmp_path)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("update")
    assert calls[1] == "install -q -y --no-install-recommends mtaudit-no-such-package"
    assert "mtaudit-no-such-package is never there" in re.sub(" +", " ", capsys.readouterr().out)


@pytest.mark.parametrize(("printed", "advice"), [
    ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (apt)", "Another program is using apt"),
    ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.", "run `dpkg --configure -a`"),
    ("E: You don't have enough free space in /var/cache/apt/archives/.", "The disk is full"),
    ("E: Unable to locate package netavark", "must hold Debian 12 or newer"),
    ("W: Failed to fetch http://mirror.example/x  Temporary failure resolving 'x'\nE: Unable to locate package podman",
     "were not reached"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
    ("WARNING: Retrying NewConnectionError: Failed to establish a new connection\nERROR: No matching distribution for x",
     "were not reached"),
    ("ERROR: something else", ""),
])
def test_a_failure_that_we_know_says_what_to_do(printed: str, advice: str, tmp_path: Path) -> None:
    last = setup.failure("apt-get install", tmp_path / "log", printed.splitlines()).splitlines()
    assert last[0] == f"apt-get install failed ({tmp_path}/log):"
    assert (advice in last[-1]) if advice else last[-1] == "  ERROR: something else"


def test_it_waits_while_another_program_uses_apt(
    tmp_path: Path, bin_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock of the package lists, which apt-get itself does not wait for."""
    fake(bin_only, "apt-get", f"if [ -e {tmp_path}/free ]; then cat > {bin_only}/mtaudit-no-such-program </dev/null; exit 0; fi\n"
                              "echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711'; exit 100")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            (tmp_path / "free").touch()
            fake(bin_only, "mtaudit-no-such-program", "exit 0")

    monkeypatch.setattr(setup, "sleep", sleep)
    setup.install_packages([NOTHING_HERE], ROOT_ON_DEBIAN, tmp_path)
    assert waits == [10, 10]
    assert "another program is using apt; trying again in 10 s" in capsys.readouterr().out


def test_it_does_not_wait_for_ever(tmp_path: Path, bin_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(bin_only, "apt-get", "echo 'E: Could not get lock /var/lib/apt/lists/lock.'; exit 100")
    waits: list[float] = []
    monkeypatch.setattr(setup, "sleep", waits.append)
    with pytest.raises(SetupError, match="Another program is using apt"):
        setup.install_packages([NOTHING_HERE], ROOT_ON_DEBIAN, tmp_path)
    assert len(waits) == setup.APT_LOCK_TRIES


def test_a_source_that_was_not_reached_is_told_only_when_the_install_fails(tmp_path: Path, bin_only: Path) -> None:
    warning = "W: Failed to fetch http://mirror.example/x  Temporary failure resolving 'mirror.example'"
    fake(bin_only, "apt-get", f'if [ "$1" = update ]; then echo "{warning}"; exit 0; fi\n'
                              "echo 'E: Unable to locate package mtaudit-no-such-package'; exit 100")
    with pytest.raises(SetupError) as failed:
        setup.install_packages([NOTHING_HERE], ROOT_ON_DEBIAN, tmp_path)
    lines = str(failed.value).splitlines()
    assert lines[0].startswith("apt-get install failed") and lines[1] == f"  {warning}"
    assert "were not reached" in lines[-1]


def test_a_failing_apt_get_is_shown(tmp_path: Path, bin_only: Path) -> None:
    fake(bin_only, "apt-get", "echo 'E: no network'; exit 100")
    with pytest.raises(SetupError, match="apt-get update failed(.|\n)*E: no network"):
        setup.install_packages([NOTHING_HERE], ROOT_ON_DEBIAN, tmp_path)


def test_an_apt_get_that_installs_nothing_is_noticed(tmp_path: Path, bin_only: Path) -> None:
    fake(bin_only, "apt-get", "exit 0")
    with pytest.raises(SetupError, match="not found: mtaudit-no-such-package"):
        setup.install_packages([NOTHING_HERE], ROOT_ON_DEBIAN, tmp_path)


def test_nothing_missing_calls_nothing(tmp_path: Path, bin_only: Path) -> None:
    fake(bin_only, "apt-get", "exit 100")
    fake(bin_only, "mtaudit-no-such-program", "exit 0")
    setup.install_packages(setup.missing([NOTHING_HERE]), ROOT_ON_DEBIAN, tmp_path)


def test_auditing_your_own_inventory_needs_no_container(bin_only: Path) -> None:
    assert [tool.package for tool in setup.missing(TOOLS["audit"])] == ["openssh-client"]
    assert {tool.package for tool in LAB_TOOLS} <= {tool.package for tool in setup.missing(TOOLS["lab"])}


def test_linters_and_unit_tests_need_no_container_and_no_browser() -> None:
    assert {tool.package for tool in TOOLS["dev"]} == {"git"}
    assert setup.REQUIREMENTS["dev"] == setup.REQUIREMENTS["test"]


@pytest.mark.parametrize("need", ["lab", "test"])
def test_without_root_one_message_says_all(need: str, tmp_path: Path, bin_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the lab needs root, the packages, and the one that makes the environment."""
    monkeypatch.setattr(setup, "newest_python", lambda: Python("/usr/bin/python3.11", (3, 11), False))
    fake(bin_only, "apt-get", f"touch {tmp_path}/called")
    with pytest.raises(SetupError) as stopped:
        setup.set_up(need, tmp_path / "venv", tmp_path / "cache", Machine(debian=True, apt=True, root=False))
    assert "the lab needs root" in str(stopped.value)
    (command,) = re.findall(r"sudo apt-get install (.*)", str(stopped.value))
    assert {tool.package for tool in LAB_TOOLS} | {"python3.11-venv"} <= set(command.split())
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("need", ["lab", "test"])
def test_without_root_the_lab_is_refused_even_when_nothing_is_missing(need: str) -> None:
    assert "needs root" in setup.refusal(need, [], Machine(debian=True, apt=True, root=False))
    assert setup.refusal(need, [], Machine(debian=False, apt=False, root=True)) == ""


@pytest.mark.parametrize("need", ["audit", "dev"])
def test_without_root_the_rest_works_once_nothing_is_missing(need: str) -> None:
    ordinary = Machine(debian=True, apt=True, root=False)
    assert setup.refusal(need, [], ordinary) == ""
    assert "needs root" not in setup.refusal(need, [NOTHING_HERE], ordinary)
    assert setup.refusal(need, [NOTHING_HERE], ROOT_ON_DEBIAN) == ""


@pytest.mark.parametrize(("python", "package"), [
    (Python("/usr/bin/python3.13", (3, 13), False), "python3.13-venv"),
    (Python("/opt/python/bin/python3.13", (3, 13), False), "python3-venv"),
    (Python("/usr/bin/python3.13", (3, 13), True), None),
    (None, "python3"),
])
def test_what_the_environment_needs(
    python: Python | None, package: str | None, tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "newest_python", lambda: python)
    found = [tool.package for tool in setup.missing_for_environment(tmp_path / "venv", requirements)]
    assert found == ([package] if package else [])


def test_what_makes_the_environment_is_installed_with_the_rest(
    tmp_path: Path, bin_only: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One apt-get install; whether venv is there then, its use shows."""
    monkeypatch.setattr(setup, "newest_python", lambda: Python("/usr/bin/python3.11", (3, 11), False))
    fake(bin_only, "apt-get", f'echo "$@" >> {tmp_path}/calls')
    fake(bin_only, "mtaudit-no-such-program", "exit 0")
    setup.install_packages(setup.missing_for_environment(tmp_path / "venv", requirements), ROOT_ON_DEBIAN, tmp_path)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["update -q", "install -q -y --no-install-recommends python3.11-venv"]


def test_every_tool_says_what_shows_that_it_is_there() -> None:
    for tool in TOOLS["test"]:
        assert tool.why
        assert tool.programs or tool.files, tool.package


@pytest.mark.parametrize(("text", "ids"), [
    ('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n', {"debian"}),
    ('NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\n', {"rocky"}),
    ("", {""}),
])
def test_distribution_is_read(tmp_path: Path, text: str, ids: set[str]) -> None:
    (tmp_path / "os-release").write_text(text)
    assert setup.os_ids(tmp_path / "os-release") == ids
    assert setup.os_ids(tmp_path / "none") == set()


@pytest.mark.parametrize(("offered", "taken"), [
    ([("a", (3, 9), True), ("b", (3, 11), True), ("c", (3, 13), True)], "c"),
    ([("a", (3, 13), False), ("b", (3, 11), True)], "b"),       # no venv module: Debian without python3-venv
    ([("a", (3, 12), False), ("b", (3, 11), False)], "a"),      # ... everywhere: the package is installed then
    ([("a", (3, 15), True), ("b", (3, 10), True)], None),       # too new, too old
    ([], None),
])
def test_newest_suitable_python(offered: list[tuple[str, tuple[int, int], bool]], taken: str | None) -> None:
    found = pythons.best(Python(*one) for one in offered)
    assert (found.path if found else None) == taken


def test_a_stub_of_a_version_manager_is_no_python(tmp_path: Path) -> None:
    stub = fake(tmp_path / "shims", "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    assert pythons.ask(str(stub)) is None
    assert pythons.ask("/nonexistent/python3") is None


def test_no_python_that_suits_stops_with_a_reason(tmp_path: Path, bin_only: Path) -> None:
    with pytest.raises(SetupError, match=r"no Python from 3\.11 to 3\.14"):
        setup.install_environment(tmp_path / "venv", ROOT / "requirements.txt", tmp_path)


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """Requirements that need no network: none."""
    (tmp_path / "base.txt").write_text("# nothing\n")
    (tmp_path / "more.txt").write_text("-r base.txt\n# and nothing more\n")
    return tmp_path / "more.txt"


def test_environment_is_made_once_and_again_only_for_a_reason(
    tmp_path: Path, requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    venv = tmp_path / "venv"

    def steps() -> list[str]:
        setup.install_environment(venv, requirements, tmp_path)
        return re.findall(r"set-up: (new environment|pip install)[^\n]* \.\.\.", capsys.readouterr().out)

    assert steps() == ["new environment", "pip install"]
    assert steps() == []
    assert setup.is_current(venv, tmp_path / "base.txt")        # what it includes is there as well
    (tmp_path / "base.txt").write_text("# changed\n")
    assert steps() == ["pip install"]
    moved = tmp_path / "moved"
    venv.rename(moved)
    shutil.copytree(moved, venv, symlinks=True)
    assert steps() == []                                        # the same place, the same content
    assert not setup.is_current(moved, requirements)            # its scripts name another place
    assert not setup.usable(moved)
    (venv / "bin/python").unlink()
    assert steps() == ["new environment", "pip install"]


def test_a_failing_pip_leaves_no_stamp(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("this is not a requirement\n")
    with pytest.raises(SetupError, match="pip install -r bad.txt failed"):
        setup.install_environment(tmp_path / "venv", tmp_path / "bad.txt", tmp_path)
    assert not setup.is_current(tmp_path / "venv", tmp_path / "bad.txt")


def test_what_an_interrupted_pip_leaves_is_made_anew(
    tmp_path: Path, requirements: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own failure before it installed anything changes nothing; an end in the middle of it does."""
    venv = tmp_path / "venv"
    setup.install_environment(venv, requirements, tmp_path)
    assert setup.is_current(venv, requirements)
    (tmp_path / "base.txt").write_text("this is not a requirement\n")
    with pytest.raises(SetupError):
        setup.install_environment(venv, requirements, tmp_path)
    assert setup.usable(venv)

    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "base.txt").write_text("# mended\n")
    monkeypatch.setattr(setup, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup.install_environment(venv, requirements, tmp_path)
    assert not setup.usable(venv)
    monkeypatch.undo()
    capsys.readouterr()
    setup.install_environment(venv, requirements, tmp_path)
    assert "new environment" in capsys.readouterr().out
    assert setup.is_current(venv, requirements) and setup.usable(venv)


@pytest.mark.parametrize(("need", "lab"), [("audit", False), ("dev", False), ("lab", True), ("test", True)])
def test_bootstrap_without_python_names_it(need: str, lab: bool, bin_only: Path) -> None:
    (bin_only / "id").unlink()
    fake(bin_only, "id", "echo 1000")
    done = subprocess.run(
        ["sh", str(ROOT / "tools/bootstrap.sh"), need], capture_output=True, text=True, check=False,
        env={"PATH": str(bin_only)}, executable=os.path.realpath(bin_only / "sh"),
    )
    assert done.returncode == 1
    assert "python3 (3.11 or newer, with venv) is missing" in done.stderr
    assert ("the lab needs root" in done.stderr) == lab


@pytest.mark.parametrize("python3", ["exit 1", "echo 'pyenv: python3: command not found' >&2; exit 127", None])
def test_bootstrap_takes_a_newer_python_when_python3_is_old_or_a_stub(python3: str | None, bin_only: Path) -> None:
    if python3:
        fake(bin_only, "python3", python3)
    fake(bin_only, "python3.12", 'case "$1" in -c) exit 0 ;; esac; echo "$0 $*"')
    done = subprocess.run(
        ["sh", str(ROOT / "tools/bootstrap.sh"), "dev"], capture_output=True, text=True, check=False,
        env={"PATH": str(bin_only)}, executable=os.path.realpath(bin_only / "sh"),
    )
    assert done.stdout.split() == [str(bin_only / "python3.12"), str(ROOT / "tools/setup.py"), "dev"], done.stderr


def make(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    program = shutil.which("make", path="/usr/bin:/usr/local/bin:" + kept.get("PATH", ""))
    assert program
    return subprocess.run([program, "--no-print-directory", *words], cwd=directory, env=kept, capture_output=True, text=True,
                          check=False)


@pytest.mark.parametrize(("target", "need"), [
    ("lint", "dev"), ("unit", "dev"), ("docs", "dev"), ("dev", "dev"), ("setup", "test"), ("test", "test"), ("test-full", "test"),
    ("lab", "lab"), ("audit", "lab"), ("audit INVENTORY=x", "audit"), ("lab-down", None), ("clean", None),
])
def test_each_target_installs_no_more_than_it_needs(target: str, need: str | None) -> None:
    done = make(ROOT, "-n", *target.split())
    assert done.returncode == 0, done.stderr
    assert re.findall(r"tools/bootstrap\.sh (\w+)", done.stdout) == ([need] if need else [])


def test_taking_down_a_lab_that_is_not_there(tmp_path: Path, bin_only: Path) -> None:
    """Without podman there is none; without an environment it cannot be taken down, and nothing is installed for it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = make(tmp_path, "lab-down")
    assert (done.returncode, done.stdout) == (0, "There is no lab: podman is not installed.\n")
    fake(bin_only, "podman", "exit 0")
    done = make(tmp_path, "lab-down")
    assert done.returncode != 0 and "run `make dev`" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_pytest_ansible_is_kept_out() -> None:
    """It and pytest-testinfra both register --ansible-inventory: pytest would not start."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if line.startswith("pytest-ansible")]


def test_set_up_installs_everything_that_the_lab_asks_for() -> None:
    sys.path.insert(0, str(ROOT / "molecule" / "lab"))
    from mtalab.engine import TOOLS as OF_THE_LAB

    assert set(OF_THE_LAB.values()) <= {tool.package for need in ("audit", "lab") for tool in TOOLS[need]}
