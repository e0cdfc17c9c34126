"""The commands that people type."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
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


def test_audit_says_what_the_probes_are_about_to_do(tmp_path: Path) -> None:
    """Minutes can pass for each vantage."""
    done = make("audit", "INVENTORY=inventories/lab", f"LIMIT={GOOD}", f"ARGS=-e mta_report_directory={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    head = r"Probe [1-9]\d* listeners from stranger, neighbour, inside, at most 900 s\]"
    lines = [rf"=> \(item={vantage}\)" for vantage in ("stranger", "neighbour", "inside")]
    assert re.search(".*".join([head, *lines]), done.stdout, re.S), done.stdout


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


class Podman:
    """Makes things, and removes them again by their exact names."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._made: list[list[str]] = []
        # As the lab's: where nobody has chosen a backend yet, podman 4 takes CNI once there are images.
        self._conf = archive.with_name("containers.conf")
        self._conf.write_text('[network]\nnetwork_backend = "netavark"\n', encoding="utf-8")
        with tarfile.open(archive, "w"):
            pass

    def run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(["podman", *words], env={**os.environ, "CONTAINERS_CONF": str(self._conf)},
                              capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def image(self, name: str, label: str) -> None:
        self._made.append(["rmi", name])
        # The message makes it an image of its own: equal contents would be one image with two names.
        self.run("import", "--change", f"LABEL={label}", "--message", name, str(self._archive), name)

    def network(self, name: str, *words: str) -> None:
        self._made.append(["network", "rm", name])
        self.run("network", "create", "--internal", *words, name)

    def container(self, name: str, of: str, *words: str) -> None:
        self._made.append(["rm", "--force", name])
        self.run("create", "--name", name, *words, of, "/none")

    def everything(self) -> set[str]:
        lists = (["ps", "--all", "--format", "{{.Names}}"], ["network", "ls", "--format", "{{.Name}}"],
                 ["images", "--format", "{{.Repository}}:{{.Tag}}"])
        return {name for words in lists for name in self.run(*words).split()}

    def clear(self) -> None:
        for words in reversed(self._made):
            self.run(*words, check=False)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    made = Podman(tmp_path / "empty.tar")
    yield made
    made.clear()


def test_clean_removes_the_lab_of_its_prefix_and_nothing_else(podman: Podman, tmp_path: Path) -> None:
    """In a copy of the tree whose lab has another prefix: its own things go; what others have, or have made of them, stays."""
    own, tree, state = f"t-clean-{uuid.uuid4().hex[:6]}", tmp_path / "tree", tmp_path / "state"
    shutil.copytree(ROOT / "molecule/lab", tree / "molecule/lab")
    shutil.copy(ROOT / "Makefile", tree)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    for path in (".cache/x", "reports/x", "library/__pycache__/x"):
        (tree / path).parent.mkdir(parents=True)
        (tree / path).touch()
    settings = tree / "molecule/lab/lab.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("prefix: mtaudit ", f"prefix: {own} "), encoding="utf-8")
    mark = f"mtaudit.lab={own}"
    podman.image(f"localhost/{own}/mx:1", mark)
    podman.image(f"localhost/{own}/used:1", mark)
    podman.image(f"localhost/{own}-other/mx:1", mark)  # built from the lab's: it inherits the label
    podman.image(f"localhost/{own}x/mx:1", f"{mark}x")
    podman.network(f"{own}-inet", "--label", mark)
    podman.network(f"{own}-their-net")
    in_the_lab = ["--label", "mtaudit.lab.host=mx"]
    podman.container(f"{own}-mx", f"localhost/{own}/mx:1", *in_the_lab, "--label", mark, "--network", f"{own}-inet")
    podman.container(f"{own}-theirs", f"localhost/{own}/used:1")
    podman.container(f"{own}x-mx", f"localhost/{own}x/mx:1", *in_the_lab, "--label", f"{mark}x")

    before = podman.everything()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MAKE"))}
    done = subprocess.run(["make", "--no-print-directory", "clean"], cwd=tree, env={**kept, "MTAUDIT_LAB_STATE": str(state)},
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # Only names with our random mark are compared: other tests make and remove their own meanwhile.
    ours = {name for name in before if own in name}
    assert len(ours) == 9
    assert ours - podman.everything() == {f"localhost/{own}/mx:1", f"{own}-inet", f"{own}-mx"}
    assert f"kept, as something else uses them: localhost/{own}/used:1" in done.stderr
    left = {str(path.relative_to(tree)) for path in tree.rglob("*") if "molecule" not in path.parts}
    assert left == {"Makefile", "reports", "reports/x", "library"}
    assert (ROOT / ".venv/bin/python").exists()
    assert {"mtaudit-inet", "mtaudit-dns"} <= podman.everything(), "the real lab"
