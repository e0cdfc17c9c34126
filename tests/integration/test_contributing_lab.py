"""CONTRIBUTING.md, step 5: the new control is proven on a real server, with the very commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))

from test_contributing import TEXT, with_steps_taken  # noqa: E402

pytestmark = pytest.mark.lab

NAME = "try-bounce"


def test_fixtures_are_recorded_as_described(tmp_path: Path) -> None:
    tree = with_steps_taken(tmp_path / "tree")
    blocks = [b for b in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) if NAME in b]
    assert len(blocks) == 1
    lab = [sys.executable, str(ROOT / "molecule/lab/lab.py")]
    subprocess.run([*lab, "up"], check=True, capture_output=True)
    try:
        for line in blocks[0].splitlines():
            # The scripts' first line finds Python in the environment, as a person's shell does.
            words = [word.replace("molecule/lab/lab.py", f"{sys.executable} molecule/lab/lab.py") for word in shlex.split(line)]
            command = [sys.executable, *shlex.split(line)[:1], *words[1:]]
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}: {done.stderr}"
    finally:
        subprocess.run([*lab, "remove", NAME], check=False, capture_output=True)
    kept = sorted(path.name for path in (tree / "tests/fixtures/BOUNCE-01").iterdir())
    assert kept == ["fail-unlisted-accepted", "pass-untouched"]
    for name in kept:
        expect = json.loads((tree / "tests/fixtures/BOUNCE-01" / name / "expect.json").read_text(encoding="utf-8"))
        assert {finding["status"] for finding in expect["findings"]} == {name.split("-")[0]}
