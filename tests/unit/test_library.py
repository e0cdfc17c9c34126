"""Every module says of itself what is true: header, documentation, argument specification, check mode."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "library").glob("mta_*.py"))
SECRET = re.compile(r"pass(word|wd|phrase)|secret|token|credential|^auth$")


class Made(Exception):
    """Stops main() once the module object is asked for."""


@pytest.fixture(params=MODULES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def source(name: str) -> str:
    return (ROOT / "library" / f"{name}.py").read_text(encoding="utf-8")


def page(name: str, which: str) -> Any:
    """DOCUMENTATION, EXAMPLES or RETURN, parsed."""
    for node in ast.parse(source(name)).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == which:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{name} has no {which}")


def call(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What main() gives to AnsibleModule."""
    module = importlib.import_module(name)
    given: dict[str, Any] = {}

    def stop(argument_spec: dict[str, Any], **more: Any) -> None:
        given.update(more, argument_spec=argument_spec)
        raise Made

    monkeypatch.setattr(module, "AnsibleModule", stop)
    with pytest.raises(Made):
        module.main()
    return given


def compare(documented: dict[str, Any], spec: dict[str, Any], where: str) -> None:
    """Documented options and argument specification, field by field, to the bottom."""
    assert set(documented) == set(spec), where
    for option, text in documented.items():
        here, real = f"{where}.{option}", spec[option]
        assert text.get("description"), f"{here}: no description"
        assert text.get("type", "str") == real.get("type", "str"), f"{here}: type"
        for field in ("default", "choices", "elements"):
            assert text.get(field) == real.get(field), f"{here}: {field}"
        assert bool(text.get("required")) == bool(real.get("required")), f"{here}: required"
        if SECRET.search(option):
            assert "no_log" in real, f"{here}: say whether it is to be logged"
        compare(text.get("suboptions") or {}, real.get("options") or {}, here)


def test_header(name: str) -> None:
    head = source(name).splitlines()[:20]
    assert head[0] == "#!/usr/bin/python"
    assert any("GNU General Public License v3.0+" in line for line in head)
    assert any("SPDX-License-Identifier: GPL-3.0-or-later" in line for line in head)


def test_documentation_is_complete(name: str) -> None:
    text = page(name, "DOCUMENTATION")
    assert text["module"] == name
    for field in ("short_description", "description", "author", "version_added", "attributes"):
        assert text.get(field), field
    assert text["attributes"]["check_mode"]["support"] in ("full", "partial", "none")


def test_options_are_those_that_the_module_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(page(name, "DOCUMENTATION").get("options") or {}, call(name, monkeypatch)["argument_spec"], name)


def test_check_mode_is_as_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    supported = page(name, "DOCUMENTATION")["attributes"]["check_mode"]["support"] != "none"
    assert bool(call(name, monkeypatch).get("supports_check_mode")) == supported


def test_examples_use_the_module_with_options_that_it_has(name: str) -> None:
    options = set(page(name, "DOCUMENTATION").get("options") or {})
    uses = [task[name] for task in page(name, "EXAMPLES") if name in task]
    assert uses
    for task in page(name, "EXAMPLES"):
        assert task.get("name"), "an example without a name"
    for use in uses:
        assert set(use or {}) <= options


def test_return_values_are_described(name: str) -> None:
    for key, text in page(name, "RETURN").items():
        assert key.isidentifier() and not hasattr(dict, key), f"{key} cannot be read as result.{key}"
        assert text.get("description") and text.get("returned") and text.get("type"), key


def test_only_modules_import_ansible() -> None:
    for path in (ROOT / "module_utils").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) ansible", path.read_text(encoding="utf-8"), re.MULTILINE), path
