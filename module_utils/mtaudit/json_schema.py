"""Check data against a JSON Schema (draft 2020-12): the keywords that our own schemas use, and no others.

A schema that uses another keyword is refused, so that a rule is never ignored silently. The tests compare our verdicts with those
of the jsonschema package, which is not needed at run time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

Path = tuple[Union[str, int], ...]

_ANNOTATIONS = frozenset({"$schema", "$defs", "title", "description"})
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "boolean": (bool,),
}
_PLAIN_NAMES = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number",
                "boolean": "true or false"}


class SchemaError(Exception):
    """The schema itself cannot be used."""


@dataclass(frozen=True)
class Violation:
    """What is wrong and what to do. `path` leads to the value; `at_key` says that the key is meant, not its value."""

    path: Path
    message: str
    at_key: bool = False


def check_schema(root: Mapping[str, Any]) -> None:
    """Raises SchemaError when a definition uses what we do not understand, wherever it stands."""
    ahead: list[Any] = list(root.get("$defs", {}).values())
    while ahead:
        rules = ahead.pop()
        for keyword, rule in rules.items():
            if keyword == "$ref":
                _resolve(rule, root)
            elif keyword == "properties":
                ahead.extend(rule.values())
            elif keyword in ("items", "propertyNames", "additionalProperties"):
                ahead.extend([rule] if isinstance(rule, dict) else [])
            elif keyword not in _ANNOTATIONS | set(_OF_OBJECTS) | set(_OF_VALUES):
                raise SchemaError(f"the schema uses the keyword '{keyword}', which the loader does not know")


def check(data: Any, schema: Mapping[str, Any], definition: str) -> list[Violation]:
    """Every violation of `#/$defs/<definition>` by `data`. The schema is one that `check_schema` accepts."""
    return list(_check(data, {"$ref": f"#/$defs/{definition}"}, schema, ()))


def _check(data: Any, rules: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> Iterator[Violation]:
    for keyword, rule in rules.items():
        if keyword == "$ref":
            yield from _check(data, _resolve(rule, root), root, path)
        elif keyword in _OF_OBJECTS:
            if isinstance(data, dict):
                yield from _OF_OBJECTS[keyword](data, rule, rules, root, path)
        elif keyword == "items":
            if isinstance(data, list):
                for number, item in enumerate(data):
                    yield from _check(item, rule, root, (*path, number))
        elif keyword in _OF_VALUES:
            message = _OF_VALUES[keyword](data, rule)
            if message:
                yield Violation(path, message)


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    name = reference[len("#/$defs/"):]
    definitions: Mapping[str, Mapping[str, Any]] = root.get("$defs", {})
    if not reference.startswith("#/$defs/") or name not in definitions:
        raise SchemaError(f"the schema has no definition '{reference}'")
    return definitions[name]


def _required(
    data: dict[str, Any], rule: Any, rules: Mapping[str, Any], root: Mapping[str, Any], path: Path
) -> Iterator[Violation]:
    for name in rule:
        if name not in data:
            yield Violation(path, f"'{name}' is missing: add it")


def _properties(
    data: dict[str, Any], rule: Any, rules: Mapping[str, Any], root: Mapping[str, Any], path: Path
) -> Iterator[Violation]:
    for name, its_rules in rule.items():
        if name in data:
            yield from _check(data[name], its_rules, root, (*path, name))


def _additional(
    data: dict[str, Any], rule: Any, rules: Mapping[str, Any], root: Mapping[str, Any], path: Path
) -> Iterator[Violation]:
    known = rules.get("properties", {})
    for name in data:
        if name in known:
            continue
        if rule is False:
            yield Violation((*path, name), f"unknown key '{name}': remove it, or use one of {', '.join(sorted(known))}", True)
        else:
            yield from _check(data[name], rule, root, (*path, name))


def _property_names(
    data: dict[str, Any], rule: Any, rules: Mapping[str, Any], root: Mapping[str, Any], path: Path
) -> Iterator[Violation]:
    for name in data:
        for violation in _check(name, rule, root, (*path, name)):
            yield Violation(violation.path, f"key '{name}': {violation.message}", True)


_OF_OBJECTS: dict[str, Callable[..., Iterator[Violation]]] = {
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
}


def _is(data: Any, name: str) -> bool:
    # A Python bool is an int; in JSON they are two types.
    if isinstance(data, bool):
        return name == "boolean"
    return isinstance(data, _TYPES[name])


def _type(data: Any, rule: Any) -> str:
    names = [rule] if isinstance(rule, str) else rule
    if any(_is(data, name) for name in names):
        return ""
    return f"must be {' or '.join(_PLAIN_NAMES[n] for n in names)}, not {shown(data)}"


def shown(data: Any) -> str:
    """A value as a message quotes it: short, with its kind."""
    if isinstance(data, dict):
        return "a mapping"
    if isinstance(data, list):
        return "a list"
    if isinstance(data, bool) or data is None:
        return {True: "true", False: "false", None: "nothing"}[data]
    if isinstance(data, str):
        return f"the text '{data if len(data) <= 60 else data[:60] + '...'}'"
    return f"{data}"


def _enum(data: Any, rule: Any) -> str:
    if isinstance(data, str) and data in rule:
        return ""
    return f"must be one of {', '.join(rule)}, not {shown(data)}"


def _pattern(data: Any, rule: str) -> str:
    # `$` of JSON Schema (ECMA-262) is the very end; Python's also matches before a last line feed.
    if not isinstance(data, str) or re.search(re.sub(r"(?<!\\)\$$", r"\\Z", rule), data):
        return ""
    if not data.strip():
        return "is empty: say something, or remove it"
    return f"{shown(data)} does not have the form {rule}"


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _unique(data: Any, rule: bool) -> str:
    if not rule or not isinstance(data, list):
        return ""
    twice = [item for number, item in enumerate(data) if any(_same(item, earlier) for earlier in data[:number])]
    return f"lists {shown(twice[0])} twice: remove one" if twice else ""


def _size(kind: type, is_wrong: Callable[[int, int], bool], words: str) -> Callable[[Any, int], str]:
    def check_size(data: Any, rule: int) -> str:
        size = len(data) if isinstance(data, kind) else rule  # type: ignore[arg-type]
        return f"must have {words} {rule}, it has {size}" if is_wrong(size, rule) else ""

    return check_size


_OF_VALUES: dict[str, Callable[[Any, Any], str]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "uniqueItems": _unique,
    "minItems": _size(list, int.__lt__, "items, at least"),
    "minProperties": _size(dict, int.__lt__, "keys, at least"),
    "maxLength": _size(str, int.__gt__, "characters, at most"),
}
