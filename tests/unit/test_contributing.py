"""CONTRIBUTING.md is true: a test takes its steps in a copy of the tree, word for word."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\w+ (file|append|change)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED = ("checks", "module_utils", "library", "roles", "docs", "tools", "molecule/lab", "pyproject.toml", "tests/conftest.py",
          "tests/unit/test_catalogue.py", "tests/unit/test_floors.py", "tests/unit/test_statements.py", "tests/fixtures/RCPT-01")
ABOUT_THE_DAEMON = r"""
from mtaudit.controls import every
from mtaudit.control import REGISTRY, Site
from mtaudit.readers.postfix import Postfix
from mtaudit.readers.postfix_syntax import MasterEntry
evaluate = REGISTRY[("BOUNCE-01", "postfix")].evaluate
for value in ("no", "yes"):
    entry = MasterEntry("smtp", "inet", "smtpd", 12, (("smtpd_reject_unlisted_recipient", value),), ())
    postfix = Postfix("/etc/postfix", parameters={"inet_interfaces": "all", "inet_protocols": "all"}, entries=(entry,))
    print(*(f"{f.control} {f.subject.name} {f.status.value}" for f in evaluate(postfix, Site())))
"""


ABOUT_THE_FIX = r"""
from mtaudit.fix import FIXES
from mtaudit.fixes import every
main = {"inet_interfaces": "all", "inet_protocols": "all", "smtpd_reject_unlisted_recipient": "no"}
live = Postfix("/etc/postfix", parameters=main, entries=(MasterEntry("smtp", "inet", "smtpd", 12, (), ()),))
print(dict(FIXES[("BOUNCE-01", "postfix")].propose(live, Site(), list(evaluate(live, Site()))).parameters))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the steps taken, and the documentation made of them."""
    copy = with_steps_taken(tmp_path_factory.mktemp("tree"))
    before = python(copy, "tools/generate_docs.py", "--check")
    assert before.returncode == 1 and "docs/controls.md is outdated" in before.stderr
    assert python(copy, "tools/generate_docs.py").returncode == 0
    return copy


def with_steps_taken(copy: Path) -> Path:
    """A copy of the tree with the files of CONTRIBUTING.md's steps."""
    for name in COPIED:
        source = ROOT / name
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    steps = BLOCK.findall(TEXT)
    assert [name for _, name, _ in steps] == [
        "checks/bounce/BOUNCE-01.yml", "checks/ids.txt", "module_utils/mtaudit/controls/bounce.py",
        "module_utils/mtaudit/controls/every.py", "molecule/lab/faults/postfix.yml",
        "molecule/lab/faults/statements/BOUNCE-01.yml", "module_utils/mtaudit/fixes/bounce.py",
        "module_utils/mtaudit/fixes/every.py"]
    for how, name, text in steps:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(changed(copy / name, how, text), encoding="utf-8")
    return copy


def changed(path: Path, how: str, text: str) -> str:
    """The file with the step taken. A change shows new lines below the one that each follows."""
    old = path.read_text(encoding="utf-8") if how != "file" else ""
    if how != "change":
        return old + text
    lines = old.splitlines()
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if "bounce" in line:
            assert before in lines, f"{path.name} has no line '{before}'"
            lines.insert(lines.index(before) + 1, line)
    old = "\n".join(lines) + "\n"
    return old


def python(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-B", *words], cwd=tree, capture_output=True, text=True, check=False)


def test_the_new_control_is_documented_and_accepted(tree: Path) -> None:
    assert "BOUNCE-01" in (tree / "docs/controls.md").read_text(encoding="utf-8")
    # What concerns the new files; how the loader tells of errors is tested in the tree itself.
    which = "(catalogue and not jsonschema and not error_is_told) or bounce"
    done = python(tree, "-m", "pytest", "-q", "tests/unit/test_catalogue.py", "tests/unit/test_floors.py",
                  "tests/unit/test_statements.py", "-k", which)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_new_control_answers(tree: Path) -> None:
    done = python(tree, "-c", f"import sys; sys.path.insert(0, 'module_utils')\n{ABOUT_THE_DAEMON}")
    assert done.stdout.split("\n")[:2] == ["BOUNCE-01 *:25 fail", "BOUNCE-01 *:25 pass"], done.stderr


def test_the_new_control_is_mended(tree: Path) -> None:
    done = python(tree, "-c", f"import sys; sys.path.insert(0, 'module_utils')\n{ABOUT_THE_DAEMON}{ABOUT_THE_FIX}")
    assert done.stdout.split("\n")[2] == "{'smtpd_reject_unlisted_recipient': None}", done.stderr
    assert "BOUNCE-01" in (tree / "roles/mta_recipients/README.md").read_text(encoding="utf-8")


def test_the_new_fault_is_one_of_the_lab(tree: Path) -> None:
    code = "import sys; sys.path.insert(0, 'molecule/lab'); from mtalab.faults import load; print(*(f.control for f in load()))"
    assert "BOUNCE-01" in python(tree, "-c", code).stdout.split()


def test_a_step_left_out_is_noticed(tree: Path) -> None:
    ids = tree / "checks/ids.txt"
    whole = ids.read_text(encoding="utf-8")
    ids.write_text((ROOT / "checks/ids.txt").read_text(encoding="utf-8"), encoding="utf-8")
    done = python(tree, "-m", "pytest", "-q", "tests/unit/test_catalogue.py", "-k", "ids_once_given")
    ids.write_text(whole, encoding="utf-8")
    assert done.returncode == 1 and "BOUNCE-01" in done.stdout


def test_every_path_and_command_that_is_named_exists() -> None:
    for target in re.findall(r"`make ([a-z-]+)`", TEXT):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target
    for name in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / name).exists(), name
