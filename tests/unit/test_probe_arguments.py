"""Both probe modules take the same logins and limits: AnsiballZ ships a module alone, so each says them itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

LIBRARY = Path(__file__).resolve().parents[2] / "library"
MODULES = ("mta_relay_probe", "mta_listener_probe")
COMMON = {"targets", "sender", "canary", "deliver", "vantage", "auth", "helo", "concurrency", "per_server", "timeout_s",
          "target_timeout_s", "tag"}  # fmt: skip
# Without a canary nothing can be proven to relay; a look at a service goes without.
REQUIRED_BY_ONE = {"canary"}
# How many things are asked at a time, and for how long, is each probe's own.
OWN_DEFAULTS = {"concurrency", "timeout_s", "target_timeout_s"}


def tree(module: str) -> ast.Module:
    return ast.parse((LIBRARY / f"{module}.py").read_text(encoding="utf-8"))


def constant(module: str, name: str) -> ast.expr:
    """What a module assigns to a name."""
    return next(n.value for n in tree(module).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name)


def options(module: str) -> dict[str, dict[str, str]]:
    """The argument spec, option by option, each of its words as it is written."""
    calls = (node for node in ast.walk(tree(module)) if isinstance(node, ast.Call))
    spec = next(k.value for call in calls for k in call.keywords if k.arg == "argument_spec")
    assert isinstance(spec, ast.Dict)
    found: dict[str, dict[str, str]] = {}
    for name, words in zip(spec.keys, spec.values, strict=True):
        assert isinstance(name, ast.Constant) and isinstance(words, ast.Dict)
        found[name.value] = {ast.literal_eval(k): ast.unparse(v) for k, v in zip(words.keys, words.values, strict=True) if k}
    return found


def documented(module: str) -> dict[str, Any]:
    text = ast.literal_eval(constant(module, "DOCUMENTATION"))
    found: dict[str, Any] = yaml.safe_load(text)["options"]
    return found


def test_logins_are_the_same() -> None:
    specs = [ast.literal_eval(constant(module, "LOGIN")) for module in MODULES]
    assert specs[0] == specs[1]
    said = [documented(module)["auth"]["suboptions"] for module in MODULES]
    forms = [{name: {k: v for k, v in words.items() if k != "description"} for name, words in each.items()} for each in said]
    assert forms[0] == forms[1] and set(forms[0]) == set(specs[0])


@pytest.mark.parametrize("name", sorted(COMMON))
def test_what_both_take_is_the_same(name: str) -> None:
    first, second = (options(module)[name] for module in MODULES)
    ignored = {"options"} if name == "targets" else {"default"} if name in OWN_DEFAULTS else set()
    ignored |= {"required", "default"} if name in REQUIRED_BY_ONE else set()
    assert {k: v for k, v in first.items() if k not in ignored} == {k: v for k, v in second.items() if k not in ignored}


def test_nothing_else_is_common() -> None:
    assert set(options(MODULES[0])) & set(options(MODULES[1])) == COMMON
