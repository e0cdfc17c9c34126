"""The stages of `make test`: what is run, in which order, how many at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from progress import Done

GIB = 1024**3
LAB_TESTS = "tests/integration/test_lab.py"


@dataclass(frozen=True)
class Check:
    """One command. `junit`: where pytest writes its results; `problem` finds a reason to fail a command that ended well."""

    name: str
    command: tuple[str, ...]
    log: Path
    junit: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 1200.0
    problem: Callable[[Done], str | None] | None = None


@dataclass(frozen=True)
class Stage:
    """Checks that belong together."""

    name: str
    what: str
    checks: tuple[Check, ...]
    at_a_time: int = 1


def stages(root: Path, full: bool) -> list[Stage]:
    """Every stage, in order."""
    logs = root / ".cache/logs"
    return [
        _lint(root, logs), _unit(logs, full), _catalogue(root, logs),
        _lab(root, logs, full), _integration(logs, full), _molecule(root, logs),
    ]


def _tool(root: Path, name: str) -> str:
    return str(root / ".venv/bin" / name)


def _lint(root: Path, logs: Path) -> Stage:
    commands = {
        "ansible-lint": (_tool(root, "ansible-lint"), "--profile", "production", "--offline", "--strict", "--nocolor"),
        "yamllint": (_tool(root, "yamllint"), "--strict", "."),
        "ruff": (_tool(root, "ruff"), "check", "--no-cache"),
        "mypy-modules": (_tool(root, "mypy"), "--strict", "module_utils/mtaudit"),
        "mypy-tools": (_tool(root, "mypy"), "--strict", "tools"),
        "mypy-lab": (_tool(root, "mypy"), "--strict", "molecule/lab/lab.py", "molecule/lab/mtalab"),
    }
    checks = tuple(Check(name, command, logs / f"lint-{name}.log") for name, command in commands.items())
    return Stage("lint", "style and types of everything", checks, at_a_time=_cores())


def _pytest(name: str, logs: Path, full: bool, *words: str, timeout_s: float = 1200.0) -> Check:
    """One run of pytest. Tests of the whole matrix carry the marker `full`."""
    junit = logs / f"{name}.xml"
    select = () if full else ("-m", "not full")
    options = ("-q", "--color=no", "--durations=25", "--tb=short", f"--junit-xml={junit}")
    command = ("python", "-m", "pytest", *options, *select, *words)
    return Check(name, command, logs / f"{name}.log", junit, {"MTAUDIT_FULL": "1"} if full else {}, timeout_s)


def _unit(logs: Path, full: bool) -> Stage:
    check = _pytest("unit", logs, full, "tests/unit", "--ignore=tests/unit/test_catalogue.py", "-n", str(_cores()))
    return Stage("unit", "Python, without the lab", (check,))


def _catalogue(root: Path, logs: Path) -> Stage:
    checks = (
        _pytest("catalogue", logs, False, "tests/unit/test_catalogue.py"),
        Check("docs", (_tool(root, "python"), "tools/generate_docs.py", "--check"), logs / "catalogue-docs.log"),
    )
    return Stage("catalogue", "checks/ and the documentation made from it", checks)


def _lab(root: Path, logs: Path, full: bool) -> Stage:
    """Its tests stop and start hosts: nothing runs beside them."""
    up = Check("up", (_tool(root, "python"), "molecule/lab/lab.py", "up"), logs / "lab.log", timeout_s=2400.0)
    return Stage("lab", "images, networks and hosts of the lab", (up, _pytest("hosts", logs, full, LAB_TESTS)))


def _integration(logs: Path, full: bool) -> Stage:
    """Most of the time is waiting, so more tests run at once than there are cores; tests/integration/conftest.py says which."""
    words = ("tests/integration", f"--ignore={LAB_TESTS}", "-n", "3" if _free_bytes() > 6 * GIB else "1", "--dist", "loadgroup")
    check = _pytest("integration", logs, full, *words, timeout_s=14400.0 if full else 4500.0)
    return Stage("integration", "Python, against the lab", (check,))


def _molecule(root: Path, logs: Path) -> Stage:
    """One command per scenario: one that fails hides no other. The lab is not taken down between them."""
    # A directory of its own for each: molecule would let all scenarios, and all clones of one name, share theirs.
    checks = tuple(
        Check(name, (_tool(root, "molecule"), "test", "-s", name, "--destroy=never"), logs / f"molecule-{name}.log",
              env={"MOLECULE_EPHEMERAL_DIRECTORY": str(root / ".cache/molecule" / name), "MOLECULE_COMMAND_BORDERS": "false"},
              problem=without_hosts)
        for name in scenarios(root)
    )
    return Stage("molecule", "playbooks against the lab", checks, at_a_time=min(_cores(), 2) if _free_bytes() > 3 * GIB else 1)


def scenarios(root: Path) -> list[str]:
    """Names of the molecule scenarios."""
    return sorted(path.parent.name for path in root.glob("molecule/*/molecule.yml"))


def without_hosts(done: Done) -> str | None:
    """molecule calls a run successful whose plays found no host; it proves nothing. localhost alone is no host of the lab."""
    if re.search(r"^(?!localhost\s)\S+\s+: ok=[1-9]", done.output(), re.MULTILINE):
        return None
    return "no play ran on any host"


def _cores() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0))))


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
