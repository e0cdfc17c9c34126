"""Read a YAML file into plain data that remembers the line of everything in it. Controller only: needs PyYAML.

Stricter than YAML: keys are text and stand once, and there are no anchors, aliases, merge keys or dates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from .json_schema import Path

# The C parser is about eight times faster; not every PyYAML is built with it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")}


@dataclass(frozen=True)
class Problem:
    """What is wrong in a file and what to do about it. Lines count from 1; 0 means the file as a whole."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass
class Located:
    """The data of one file. `lines` maps the path to a value to the line it begins at, `key_lines` to the line of its key."""

    file: str
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Path, int] = field(default_factory=dict)
    key_lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path, at_key: bool = False) -> int:
        """The line of a value; that of what holds it, when the value itself is not there."""
        if at_key and path in self.key_lines:
            return self.key_lines[path]
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def complain(self, path: Path, message: str, at_key: bool = False) -> None:
        """Note a problem at a place in this file."""
        where = ".".join(str(step) for step in path)
        text = message if at_key or not where else f"{where}: {message}"
        self.problems.append(Problem(self.file, self.line(path, at_key), text))


def load(text: str, file: str) -> Located:
    """The data of a YAML text. What is wrong stands in `problems`; `data` is None when the text is not YAML."""
    located = Located(file)
    loader = None
    try:
        loader = _Loader(text)  # Python's own refuses control characters here, the C one later
        node = loader.get_single_node()
        if node is None:
            located.complain((), "the file is empty")
        else:
            located.data = _Builder(located, loader).build(node, ())
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
        what = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "cannot be read"
        located.problems.append(Problem(file, mark.line + 1 if mark else 1, f"not YAML: {what}"))
    except RecursionError:
        located.data = None
        located.problems.append(Problem(file, 1, "is nested too deeply"))
    finally:
        if loader is not None:
            loader.dispose()
    return located


class _Builder:
    """Turns the nodes of one document into data."""

    def __init__(self, located: Located, loader: Any) -> None:
        self._located = located
        self._loader = loader
        self._seen: set[int] = set()

    def build(self, node: Any, path: Path) -> Any:
        self._located.lines[path] = node.start_mark.line + 1
        # An alias is the very same node once more: one could hold itself, or grow without end.
        if id(node) in self._seen:
            self._located.lines[path] = self._located.key_lines.get(path, self._located.line(path[:-1]))
            self._located.complain(path, "YAML aliases (*name) are not allowed: write the value out")
            return None
        self._seen.add(id(node))
        if node.tag not in _PLAIN_TAGS:
            self._located.complain(path, f"YAML reads this as {node.tag}: put it in quotes, or remove the tag")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, number)) for number, item in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            self._located.complain(path, f"'{node.value}' is no value of {node.tag}: put it in quotes, or remove the tag")
            return None

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                self._problem(line, f"the key '{key}' is not plain text: put it in quotes, or rename it"
                              if isinstance(key, str) else "a key must be plain text")
                continue
            place = (*path, key)
            if key in data:
                self._problem(line, f"'{key}' is already on line {self._located.key_lines[place]}: keep one of the two")
                continue
            self._located.key_lines[place] = line
            data[key] = self.build(value_node, place)
        return data

    def _problem(self, line: int, message: str) -> None:
        self._located.problems.append(Problem(self._located.file, line, message))
