"""The floors of module_utils/mtaudit: who may import whom, and nothing that a managed host may lack.

Managed hosts have Python 3.9 or newer, and nothing but its standard library. AnsiballZ ships what is imported by name, so
every import is a plain statement.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pythons import find_python

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "module_utils/mtaudit"
FILES = sorted(PACKAGE.rglob("*.py"))

# The first part of a module's name below mtaudit, by floor: docs/architecture.md.
FLOORS = {
    4: {"audit", "audit_arguments", "hardening",
        "exported", "join", "truth", "attribution", "proof", "questions", "seen", "run_directory", "service_targets",
        "report", "transaction", "respond"},
    3: {"components", "controls", "fixes", "detect"},
    2: {"readers", "smtp", "dns", "firewall", "passwords", "logs", "queue", "feedback", "simulate", "config",
        "services", "credentials", "catalogue", "selection", "waivers"},
    1: {"finding", "joined", "control", "fix", "kernel", "runner", "text", "redact", "address", "listeners", "mechanisms",
        "tunable", "certificate", "tls_versions", "located_yaml", "json_schema", "retention", "zipped",
        "sqlite_file", "sql_client"},
}
FLOOR = {part: floor for floor, parts in FLOORS.items() for part in parts}

# Only on the controller, which has these libraries: the readers of checks/, and the report.
ON_THE_CONTROLLER = {"catalogue": {"yaml"}, "located_yaml": {"yaml"}, "report": {"jinja2"}}
# On a vantage, where it may be missing: imported where it is used, and nowhere else.
ON_THE_VANTAGE = {"credentials": {"paramiko"}}
NEWER_THAN_3_9 = {"tomllib", "compression", "annotationlib", "string.templatelib"}
STDLIB = set(sys.stdlib_module_names) - NEWER_THAN_3_9


def part(path: Path) -> str:
    """`readers/postfix.py` is part `readers`, `audit.py` is part `audit`; the package's own __init__ is ''."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


@functools.cache
def relative_targets(path: Path) -> tuple[tuple[int, Path], ...]:
    """Line and file of everything that a file imports from mtaudit, also within functions."""
    return tuple(_relative_targets(path))


def _relative_targets(path: Path) -> Iterator[tuple[int, Path]]:
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1]
        module = base.joinpath(*(node.module or "").split(".")) if node.module else base
        if module.with_suffix(".py").is_file():
            yield node.lineno, module.with_suffix(".py")
            continue
        for alias in node.names:
            inner = module / alias.name
            found = [path for path in (inner.with_suffix(".py"), inner / "__init__.py") if path.is_file()]
            yield node.lineno, found[0] if found else module / "__init__.py"


def absolute_imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""


def reach(path: Path) -> set[Path]:
    """The files that a file imports, and those that they import, and so on; itself only when there is a circle."""
    found: set[Path] = set()
    ahead = [path]
    while ahead:
        new = {target for _, target in relative_targets(ahead.pop())} - found
        found |= new
        ahead += new
    return found


def needs_the_controller(path: Path) -> bool:
    """Whether a file needs a library of the controller, itself or through what it imports."""
    return any(module in ("yaml", "jinja2") for file in {path, *reach(path)} for _, module in absolute_imports(file))


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_part_has_a_floor(path: Path) -> None:
    assert part(path) == "" or part(path) in FLOOR, f"{name(path)}: which floor does it stand on?"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_only_from_floors_below(path: Path) -> None:
    for line, target in relative_targets(path):
        where = f"{name(path)}:{line} imports {target.relative_to(ROOT / 'module_utils')}"
        assert target.exists(), f"{where}, which is not there"
        own, other = part(path), part(target) if target.is_relative_to(PACKAGE) else None
        assert other is not None, f"{where}: outside of mtaudit"
        if other in ("", own) or own == "" or not {own, other} <= set(FLOOR):
            continue
        assert FLOOR[other] <= FLOOR[own], f"{where}, from a floor above"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_file_imports_itself_by_way_of_others(path: Path) -> None:
    """Within a floor a file may use another, but never in a circle, not even one that an import within a function hides."""
    assert path not in reach(path)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_nothing_but_the_standard_library(path: Path) -> None:
    allowed = STDLIB | ON_THE_CONTROLLER.get(part(path), set()) | ON_THE_VANTAGE.get(part(path), set())
    for line, module in absolute_imports(path):
        top = module.split(".")[0]
        assert top in allowed and module not in NEWER_THAN_3_9, f"{name(path)}:{line} imports {module}"
        by_name = name(path) == "zipped.py"  # which is how the others, imported by name, come out of the zip
        assert top != "importlib" or by_name, f"{name(path)}:{line}: AnsiballZ ships only what is imported by name"


@pytest.mark.parametrize("path", [path for path in FILES if part(path) in ON_THE_VANTAGE], ids=name)
def test_what_a_vantage_may_lack_is_imported_in_a_try(path: Path) -> None:
    tried = {inner for node in ast.walk(tree(path)) if isinstance(node, ast.Try) for inner in node.body}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import) and {alias.name for alias in node.names} & ON_THE_VANTAGE[part(path)]:
            assert node in tried, f"{name(path)}:{node.lineno}"


def too_new(node: ast.AST) -> str | None:
    """What in a piece of code Python 3.9 cannot run, as far as the code alone tells."""
    if isinstance(node, (ast.Match, ast.TryStar)):
        return "match or except*"
    if isinstance(node, ast.Call):
        words = {keyword.arg for keyword in node.keywords}
        called = ast.unparse(node.func)
        if called.split(".")[-1] == "dataclass" and words & {"slots", "kw_only"}:
            return "dataclass(slots=, kw_only=)"
        if called == "zip" and "strict" in words:
            return "zip(strict=)"
        if called in ("isinstance", "issubclass") and isinstance(node.args[1], ast.BinOp):
            return f"{called} with X | Y"
    if isinstance(node, ast.ImportFrom) and node.module == "asyncio" and {a.name for a in node.names} & {"timeout", "TaskGroup"}:
        return "asyncio.timeout, TaskGroup"
    if isinstance(node, ast.Attribute) and ast.unparse(node) in ("asyncio.timeout", "asyncio.TaskGroup", "datetime.UTC"):
        return ast.unparse(node)
    return None


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_syntax_or_call_that_is_newer_than_python_3_9(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (what := too_new(node)), f"{name(path)}:{getattr(node, 'lineno', 0)}: {what}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_annotations_are_not_evaluated(path: Path) -> None:
    module = tree(path)
    futures = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    if any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.AnnAssign)) for node in ast.walk(module)):
        assert any(alias.name == "annotations" for node in futures for alias in node.names), name(path)


@pytest.mark.parametrize(("code", "found"), [
    ("match x:\n    case 1: pass", True), ("@dataclass(slots=True)\nclass A: pass", True), ("zip(a, b, strict=True)", True),
    ("isinstance(x, int | str)", True), ("async def f():\n    async with asyncio.timeout(3): pass", True),
    ("@dataclass(frozen=True)\nclass A: pass", False), ("isinstance(x, (int, str))", False), ("a | b", False),
])
def test_the_look_for_newer_code_finds_it(code: str, found: bool) -> None:
    assert any(too_new(node) for node in ast.walk(ast.parse(code))) is found


def test_every_module_can_be_imported_by_python_3_9() -> None:
    """The real thing: catches what no look at the code can, such as X | Y evaluated at run time."""
    python = find_python(9)
    if python is None:
        pytest.skip("no Python 3.9 on this machine")
    modules = [
        ".".join(("mtaudit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES if not needs_the_controller(path)  # the controller has Python 3.11
    ]
    code = f"import importlib, sys\nsys.path.insert(0, {str(PACKAGE.parent)!r})\nfor m in {modules!r}: importlib.import_module(m)"
    done = subprocess.run([python.path, "-B", "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
