"""The same tree works in every way that people run it, and says the same about the same hosts.

Each test runs the real playbook against a good mail server of the lab, and reads the findings that it wrote. In molecule the
scenarios run it. No probe is sent: that is tested elsewhere, and takes longer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import setup
import yaml
from pythons import NEWEST, OLDEST, Python, ask, find_python

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = pytest.mark.lab

GOOD = "mx-d12"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
NOT_COPIED = (".git", ".venv*", ".cache", "reports", "build", "__pycache__", ".ansible", ".*_cache")


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    """The lab's good mail server, up. Without podman this fails; it never skips."""
    Lab().up([GOOD])


@dataclass
class Desk:
    """Somebody's place of work: an inventory, a directory for reports, an environment with Ansible in it."""

    directory: Path
    bin: Path = Path(sys.executable).parent

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    @property
    def reports(self) -> Path:
        return self.directory / "reports"

    def list_hosts(self, more: Mapping[str, Any] | None = None, directory: Path | None = None) -> None:
        """Write an inventory of the good mail server, reached as the lab's own inventory says, and of `more`."""
        target = directory or self.inventory
        (target / "group_vars").mkdir(parents=True)
        for file in (ROOT / "inventories/lab/group_vars").glob("*.yml"):
            shutil.copy(file, target / "group_vars/mail_servers.yml" if file.stem == "all" else target / "group_vars")
        lab = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text(encoding="utf-8"))
        good = lab["all"]["children"]["mail_servers"]["hosts"][GOOD]
        groups = {"mail_servers": {"hosts": {GOOD: good}}, "others": {"hosts": dict(more or {})}}
        (target / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")

    def run(self, command: str, *words: str | Path, cwd: Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a program of the environment, with no setting of Ansible but our own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", os.defpath)])
        environment = {**kept, "PATH": path, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DEPRECATION_WARNINGS": "1"}
        return subprocess.run([str(self.bin / command), *map(str, words)], cwd=cwd, env=environment, input=stdin,
                              capture_output=True, check=False, timeout=600)

    def audit(self, root: Path, cwd: Path, *words: str) -> str:
        """Run the playbook of a tree; returns what was printed."""
        done = self.run("ansible-playbook", "-i", self.inventory, root / "playbooks/audit.yml",
                        "-e", f"mta_report_directory={self.reports}", *words, cwd=cwd)
        printed = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert done.returncode == 0, printed
        assert "DEPRECATION WARNING" not in printed
        return printed

    def report(self) -> dict[str, Any]:
        """The findings of the one run that was kept."""
        (file,) = self.reports.glob("runs/*/findings.json")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def statuses(report: Mapping[str, Any], host: str) -> dict[str, set[str]]:
    """What was found on a host: statuses by control."""
    found: dict[str, set[str]] = {}
    for finding in report["findings"]:
        if finding["host"] == host:
            found.setdefault(finding["control"], set()).add(finding["status"])
    return found


def assert_good_host_was_audited(report: Mapping[str, Any]) -> None:
    """The good mail server was read and simulated, in full, and nothing on it lets a stranger send."""
    assert [host["status"] for host in report["hosts"] if host["name"] == GOOD] == ["ok"]
    found = statuses(report, GOOD)
    assert len(found) > 10
    assert found["RELAY-01"] == {"pass"}
    assert found["RELAY-03"] == {"pass"}
    assert not {"fail", "error"} & found["SENDER-03"]
    methods = {method for finding in report["findings"] if finding["host"] == GOOD for method in finding.get("methods", {})}
    assert {"config", "simulation"} <= methods


def copy_of_the_tree(target: Path) -> Path:
    shutil.copytree(ROOT, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    return target


def test_from_the_root(desk: Desk) -> None:
    desk.list_hosts()
    desk.audit(ROOT, ROOT)
    assert_good_host_was_audited(desk.report())


def test_from_another_directory(desk: Desk) -> None:
    desk.list_hosts()
    desk.audit(ROOT, desk.directory)
    assert_good_host_was_audited(desk.report())


def test_in_a_world_writable_copy(desk: Desk) -> None:
    """Ansible ignores ansible.cfg there, as happens in AWX."""
    desk.list_hosts()
    tree = copy_of_the_tree(desk.directory / "tree")
    tree.chmod(0o777)
    assert "world writable" in " ".join(desk.audit(tree, tree).split())
    assert_good_host_was_audited(desk.report())


def test_in_a_copy_without_git(desk: Desk) -> None:
    desk.list_hosts()
    tree = copy_of_the_tree(desk.directory / "tree")
    assert not (tree / ".git").exists()
    desk.audit(tree, tree)
    assert_good_host_was_audited(desk.report())


def test_with_an_inventory_that_lists_localhost_and_uses_become(desk: Desk) -> None:
    """The controller's own tasks run there too, without becoming anybody."""
    desk.list_hosts({"localhost": {**LOCAL, "ansible_become": True, "ansible_become_method": "ansible.builtin.su"}})
    desk.audit(ROOT, ROOT, "--become")
    report = desk.report()
    assert_good_host_was_audited(report)
    assert [host["status"] for host in report["hosts"] if host["name"] == "localhost"] == ["ok"]
    if shutil.which("postconf", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
        assert statuses(report, "localhost")["RELAY-01"] == {"notapplicable"}


def test_with_a_localhost_whose_python_is_broken(desk: Desk) -> None:
    """The controller's tasks use Ansible's own Python; only what is said about that host is an error."""
    desk.list_hosts({"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "/nonexistent/python3"}})
    desk.audit(ROOT, ROOT)
    report = desk.report()
    assert_good_host_was_audited(report)
    assert [host["status"] for host in report["hosts"] if host["name"] == "localhost"] == ["failed"]
    assert "pass" not in set().union(*statuses(report, "localhost").values())


def private_data_directory(desk: Desk) -> Path:
    """What ansible-runner wants to be given; what AWX makes."""
    made = desk.directory / "runner"
    copy_of_the_tree(made / "project")
    desk.list_hosts(directory=made / "inventory")
    (made / "env").mkdir()
    (made / "env/extravars").write_text(json.dumps({"mta_report_directory": str(desk.reports)}), encoding="utf-8")
    return made


def ran(done: subprocess.CompletedProcess[bytes]) -> bytes:
    assert done.returncode == 0, (done.stdout[-8000:] + done.stderr[-8000:]).decode("utf-8", "replace")
    return done.stdout


def test_through_ansible_runner(desk: Desk) -> None:
    made = private_data_directory(desk)
    ran(desk.run("ansible-runner", "run", made, "-p", "playbooks/audit.yml", cwd=desk.directory))
    assert_good_host_was_audited(desk.report())


def test_through_ansible_runner_transmit_worker_process(desk: Desk) -> None:
    """As AWX does it with a remote node: the tree travels as a stream, links and all."""
    made = private_data_directory(desk)
    sent = ran(desk.run("ansible-runner", "transmit", made, "-p", "playbooks/audit.yml", cwd=desk.directory))
    work = desk.directory / "worker"
    work.mkdir()
    shutil.rmtree(made / "project")
    answer = ran(desk.run("ansible-runner", "worker", "--private-data-dir", work, cwd=work, stdin=sent))
    ran(desk.run("ansible-runner", "process", desk.directory / "back", cwd=desk.directory, stdin=answer))
    (status,) = (desk.directory / "back/artifacts").rglob("status")
    assert status.read_text() == "successful"
    assert_good_host_was_audited(desk.report())


def test_a_scenario_runs_it_in_molecule() -> None:
    files = list(ROOT.glob("molecule/*/*.yml"))
    assert [file for file in files if "/playbooks/audit.yml" in file.read_text(encoding="utf-8")]


def environment(python: Python) -> Path:
    """Where Ansible is, as requirements.txt takes it on this Python: in our own environment, or in one in the cache."""
    own = ask(sys.executable)
    if own and own.version == python.version:
        return Path(sys.executable).parent
    cache = ROOT / ".cache"
    venv = cache / f"venv-{python.version[0]}.{python.version[1]}"
    requirements = ROOT / "requirements.txt"
    if not setup.is_current(venv, requirements):
        commands: Sequence[Sequence[str]] = (
            (python.path, "-m", "venv", "--clear", str(venv)),
            (str(venv / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements)),
        )
        for command in commands:
            subprocess.run(command, check=True, cwd="/")
        setup.stamp(venv, requirements).write_text(setup.digest(requirements, venv) + "\n", encoding="utf-8")
    return venv / "bin"


def core_version(desk: Desk) -> tuple[int, int]:
    first = ran(desk.run("ansible", "--version", cwd=desk.directory)).decode().split("]")[0]
    major, minor = first.split()[-1].split(".")[:2]
    return int(major), int(minor)


def test_on_the_oldest_ansible_core_with_the_oldest_python(desk: Desk) -> None:
    python = find_python(OLDEST[1])
    if python is None:
        pytest.skip("no Python 3.11 on this machine")
    desk.bin = environment(python)
    assert core_version(desk) == (2, 19)
    desk.list_hosts()
    desk.audit(ROOT, ROOT)
    assert_good_host_was_audited(desk.report())


def test_on_the_newest_ansible_core_with_the_newest_python(desk: Desk) -> None:
    newer = range(NEWEST[1], sys.version_info.minor, -1)
    found = [python for minor in newer if (python := find_python(minor)) and python.has_venv]
    if not found:
        pytest.skip("no Python newer than that of the environment on this machine")
    desk.bin = environment(found[0])
    assert core_version(desk) > (2, 19)
    desk.list_hosts()
    desk.audit(ROOT, ROOT)
    assert_good_host_was_audited(desk.report())
