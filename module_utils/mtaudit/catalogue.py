"""Load the catalogue in `checks/`, check all of it, and choose what a profile asks for.

Runs on the controller only (PyYAML). The form of the files is described once, in `checks/schema.json`; what a schema cannot say
(an id equals its file's name, a profile names controls that exist) is checked here. Every error is reported, not only the first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .json_schema import SchemaError, check, check_schema
from .located_yaml import Located, Problem, load
from .tunable import Tunable

NOT_AREAS = ("profiles", "mappings")
FILE_LIMIT_BYTES = 1024 * 1024

Settings = Mapping[str, Mapping[str, Any]]  # control id -> tunable's name -> value


class CatalogueError(Exception):
    """The catalogue cannot be used. `problems` holds all that is wrong with it, one line each in the text."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.message)))
        super().__init__("\n".join(str(p) for p in self.problems))


@dataclass(frozen=True)
class ComponentEntry:
    """One control for one program: the methods that prove it there, and what people are told to type."""

    methods: tuple[str, ...]
    manual_check: str
    advice: str
    activate: str
    traps: tuple[str, ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ComponentEntry:
        """From data of the schema's form."""
        return cls(tuple(data["methods"]), data["manual_check"], data["advice"], data["activate"], tuple(data["traps"]))


@dataclass(frozen=True)
class Entry:
    """One control, and what is said of it for each component. `data` is the whole entry."""

    id: str
    title: str
    severity: str
    area: str
    tags: tuple[str, ...]
    kinds: tuple[str, ...]
    components: Mapping[str, ComponentEntry]
    tunables: Mapping[str, Tunable]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Profile:
    """A selection of controls and the values that it gives to tunables, with those of the profiles that it extends."""

    id: str
    title: str
    description: str
    controls: tuple[str, ...]
    tunables: Settings


@dataclass(frozen=True)
class Mapped:
    """One requirement of a framework and the controls that answer it."""

    requirement: str
    title: str
    coverage: str
    controls: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Framework:
    """A standard or guide, and how its requirements map to controls."""

    id: str
    title: str
    version: str
    source: str
    requirements: tuple[Mapped, ...]


@dataclass(frozen=True)
class Catalogue:
    """All of `checks/`, valid. `digest` is that of the files' names and contents."""

    digest: str
    schema: Mapping[str, Any]
    controls: Mapping[str, Entry]
    profiles: Mapping[str, Profile]
    frameworks: Mapping[str, Framework]


@dataclass
class _Files:
    """The files of one definition of the schema. `valid` holds those that have its form, by the id that they declare."""

    definition: str
    files: list[Located] = field(default_factory=list)
    valid: dict[str, Located] = field(default_factory=dict)


def load_catalogue(directory: str) -> Catalogue:
    """The catalogue in this directory. Raises CatalogueError with everything that is wrong in it."""
    root = Path(directory)
    problems: list[Problem] = []
    digest = hashlib.sha256()
    schema = _schema(root, digest)
    controls = _Files("control")
    named: set[str] = set()
    for area in (p for p in _listed(root) if p.is_dir() and p.name not in NOT_AREAS):
        named.update(p.stem for p in _listed(area))
        controls.files.extend(_read_directory(root, area, problems, digest))
    profiles = _Files("profile", list(_read_directory(root, root / "profiles", problems, digest)))
    mappings = _Files("mapping", list(_read_directory(root, root / "mappings", problems, digest)))
    for group in (controls, profiles, mappings):
        _check_form(group, schema)
    if not named:
        problems.append(Problem(str(root), 0, "holds no control: is it the 'checks' directory of mtaudit?"))
    entries = {i: _entry(located) for i, located in sorted(controls.valid.items())}
    broken = frozenset(named - set(entries))
    resolver = _Profiles(profiles.valid, entries, broken)
    resolved = {name: resolver.resolve(name) for name in sorted(profiles.valid)}
    frameworks = {i: _framework(located, entries, broken) for i, located in sorted(mappings.valid.items())}
    # Last, because everything above adds to the problems of the files.
    problems.extend(p for group in (controls, profiles, mappings) for located in group.files for p in located.problems)
    if problems:
        raise CatalogueError(problems)
    usable = {name: profile for name, profile in resolved.items() if profile}
    return Catalogue(f"sha256:{digest.hexdigest()}", schema, entries, usable, frameworks)


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if not p.name.startswith("."))
    except OSError as exc:
        raise CatalogueError([Problem(str(directory), 0, f"cannot be read: {exc.strerror}")]) from exc


def _schema(root: Path, digest: Any) -> Mapping[str, Any]:
    path = root / "schema.json"
    try:
        raw = path.read_bytes()
        schema = json.loads(raw)
        if not isinstance(schema, dict):
            raise ValueError("not a JSON object")
        check_schema(schema)
    except OSError as exc:
        raise CatalogueError([Problem(str(path), 0, f"cannot be read: {exc.strerror}")]) from exc
    except SchemaError as exc:
        raise CatalogueError([Problem(str(path), 0, str(exc))]) from exc
    except ValueError as exc:
        raise CatalogueError([Problem(str(path), getattr(exc, "lineno", 0), f"not a JSON schema: {exc}")]) from exc
    digest.update(b"schema.json\0" + raw)
    return schema


def _read_directory(root: Path, directory: Path, problems: list[Problem], digest: Any) -> Iterator[Located]:
    for path in _listed(directory):
        if path.suffix != ".yml":
            problems.append(Problem(str(path), 0, "is not read: rename it to end in .yml, or remove it"))
            continue
        try:
            with open(path, "rb") as file:
                raw = file.read(FILE_LIMIT_BYTES + 1)
            if len(raw) > FILE_LIMIT_BYTES:
                problems.append(Problem(str(path), 0, f"is larger than {FILE_LIMIT_BYTES // 1024} KiB: no file of checks/ is"))
                continue
            text = raw.decode("utf-8")
        except OSError as exc:
            problems.append(Problem(str(path), 0, f"cannot be read: {exc.strerror}"))
            continue
        except UnicodeDecodeError as exc:
            line = raw[: exc.start].count(b"\n") + 1
            problems.append(Problem(str(path), line, "is not UTF-8: save the file as UTF-8"))
            continue
        digest.update(f"{path.relative_to(root)}\0{len(raw)}\0".encode() + raw)
        yield load(text, str(path))


def _check_form(group: _Files, schema: Mapping[str, Any]) -> None:
    for located in group.files:
        if located.data is None:
            continue
        violations = check(located.data, schema, group.definition)
        for violation in violations:
            located.complain(violation.path, violation.message, violation.at_key)
        if violations or not isinstance(located.data, dict):
            continue
        name = located.data["id"]
        if Path(located.file).stem != name:
            located.complain(("id",), f"is '{name}', but the file is named {Path(located.file).name}: make them the same")
        elif name in group.valid:
            located.complain(("id",), f"'{name}' is already the id of {group.valid[name].file}: ids are unique")
        else:
            group.valid[name] = located


def _entry(located: Located) -> Entry:
    data = located.data
    area = Path(located.file).parent.name
    if data["area"] != area:
        located.complain(("area",), f"is '{data['area']}', but the file is in {area}/: make them the same")
    tunables: dict[str, Tunable] = {}
    for number, declared in enumerate(data["tunables"]):
        tunable = Tunable.from_entry(declared)
        if tunable.name in tunables:
            located.complain(("tunables", number, "name"), f"'{tunable.name}' is declared twice: remove one")
        if tunable.type != "int" and (tunable.minimum is not None or tunable.maximum is not None):
            located.complain(("tunables", number), "only an int has a minimum or a maximum: remove it")
            continue
        wrong = tunable.problem(tunable.default)
        if wrong:
            located.complain(("tunables", number, "default"), wrong)
        tunables[tunable.name] = tunable
    return Entry(
        id=data["id"],
        title=data["title"],
        severity=data["severity"],
        area=area,
        tags=tuple(data["tags"]),
        kinds=tuple(data["kinds"]),
        components={name: ComponentEntry.of(said) for name, said in data["components"].items()},
        tunables=tunables,
        data=data,
    )


class _Profiles:
    """Resolves profiles, each with what it extends, and notes what is wrong where it stands."""

    def __init__(self, files: Mapping[str, Located], entries: Mapping[str, Entry], broken: frozenset[str]) -> None:
        self._files = files
        self._entries = entries
        self._broken = broken  # ids of controls that have problems of their own: naming them is no further one

    def resolve(self, name: str, below: tuple[str, ...] = ()) -> Optional[Profile]:
        """None when its base cannot be used."""
        located = self._files[name]
        data = located.data
        # A base is resolved once for each profile that extends it; its problems are noted when it is resolved itself.
        complain = _ignore if below else located.complain
        base = None
        parent = data.get("extends")
        if parent:
            if parent in (name, *below):
                # Each profile of the circle is resolved once from the start, and says so then.
                if parent == (*below, name)[0]:
                    way = " extends ".join([*below, name, parent])
                    self._files[parent].complain(("extends",), f"goes round in a circle ({way}): remove one link")
            elif parent not in self._files:
                complain(("extends",), f"there is no usable profile '{parent}'; there are {_names(self._files)}")
            else:
                base = self.resolve(parent, (*below, name))
        own: Settings = data.get("tunables", {})
        for path, message in settings_problems(own, self._entries):
            if path[0] not in self._broken:
                complain(("tunables", *path), message)
        chosen = set(base.controls if base else ()) | self._chosen("select", located, complain)
        chosen -= self._chosen("exclude", located, complain)
        if parent and base is None:
            return None
        if not chosen:
            complain((), "selects no control: give it 'select', or 'extends'")
        tunables = merged(base.tunables if base else {}, own)
        return Profile(name, data["title"], data["description"], tuple(sorted(chosen)), tunables)

    def _chosen(self, key: str, located: Located, complain: Callable[..., None]) -> set[str]:
        rules = located.data.get(key, {})
        chosen: set[str] = set()
        for number, control_id in enumerate(rules.get("ids", ())):
            if control_id in self._entries:
                chosen.add(control_id)
            elif control_id not in self._broken:
                complain((key, "ids", number), unknown_id(control_id))
        for number, tag in enumerate(rules.get("tags", ())):
            tagged = {e.id for e in self._entries.values() if tag in e.tags}
            if not tagged and not self._broken:
                tags = {t for e in self._entries.values() for t in e.tags}
                complain((key, "tags", number), f"no control has the tag '{tag}'; there are {_names(tags)}")
            chosen |= tagged
        return chosen | {e.id for e in self._entries.values() if e.severity in rules.get("severities", ())}


def _ignore(path: tuple[Any, ...], message: str) -> None:
    """Takes a problem that is noted elsewhere."""


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def unknown_id(control_id: str) -> str:
    """What to say about an id that the catalogue lacks."""
    return f"there is no control '{control_id}': correct the id (docs/controls.md lists them), or remove it"


def settings_problems(settings: Settings, entries: Mapping[str, Entry]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with values for tunables: the path to each and a message."""
    for control_id, values in settings.items():
        entry = entries.get(control_id)
        if entry is None:
            yield (control_id,), unknown_id(control_id)
            continue
        for name, value in values.items():
            tunable = entry.tunables.get(name)
            if tunable is None:
                yield (control_id, name), f"{control_id} has no tunable '{name}'; it has {_names(entry.tunables)}"
            elif tunable.problem(value):
                yield (control_id, name), tunable.problem(value)


def merged(lower: Settings, upper: Settings) -> Settings:
    """Both settings; where both give a value, the upper one's."""
    return {i: {**lower.get(i, {}), **upper.get(i, {})} for i in sorted({*lower, *upper})}


def _framework(located: Located, entries: Mapping[str, Entry], broken: frozenset[str]) -> Framework:
    data = located.data
    for number, requirement in enumerate(data["requirements"]):
        for position, control_id in enumerate(requirement["controls"]):
            if control_id not in entries and control_id not in broken:
                located.complain(("requirements", number, "controls", position), unknown_id(control_id))
    requirements = tuple(
        Mapped(r["requirement"], r["title"], r["coverage"], tuple(r["controls"]), r["note"]) for r in data["requirements"]
    )
    return Framework(data["id"], data["title"], data["version"], data["source"], requirements)
