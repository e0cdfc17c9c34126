#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what is made from data: docs/controls.md, the roles that are named by an outcome, and the README of every role.

  tools/generate_docs.py            write what is outdated
  tools/generate_docs.py --check    write nothing; name what is outdated and end with 1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "module_utils"))

from mtaudit.catalogue import Catalogue, CatalogueError, ComponentEntry, Entry, load_catalogue  # noqa: E402
from mtaudit.fix import FIXES  # noqa: E402
from mtaudit.fixes import every  # noqa: E402, F401 - registers every fix
from mtaudit.questions import COMPONENT  # noqa: E402
from outcome_roles import controls_table, example, outcome_roles, role_files  # noqa: E402

GENERATED = "<!-- Made by tools/generate_docs.py; change the source and run `make docs`. -->"
SEVERITY_ORDER = ("critical", "high", "medium", "low")


def main(arguments: Iterable[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when something is outdated")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to work on")
    options = parser.parse_args(list(arguments))
    try:
        pages = dict(documents(options.root))
    except (CatalogueError, SpecError) as exc:
        print(exc, file=sys.stderr)
        return 1
    outdated = [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in outdated:
        name = path.relative_to(options.root)
        if options.check:
            print(f"{name} is outdated: run `make docs`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
            print(f"wrote {name}")
    return 1 if options.check and outdated else 0


def documents(root: Path) -> Iterator[tuple[Path, str]]:
    """Every generated file and its text. Raises CatalogueError or SpecError."""
    catalogue = load_catalogue(str(root / "checks"))
    yield root / "docs/controls.md", controls_page(catalogue)
    made = dict(role_files(catalogue, root / "roles"))
    yield from made.items()
    controls = outcome_roles(catalogue)
    for role in sorted(p for p in (root / "roles").glob("*") if p.is_dir()):
        specs = role / "meta/argument_specs.yml"
        page = role_page(role, yaml.safe_load(made[specs]) if specs in made else _yaml(specs))
        more = ""
        if role.name in controls:
            more = f"\n## Controls\n\n{controls_table(controls[role.name])}\n\n## Example\n\n{example(role.name)}"
        yield role / "README.md", page + more


# docs/controls.md

def controls_page(catalogue: Catalogue) -> str:
    """The table of all controls, the profiles and mappings, and a section for each control."""
    entries = list(catalogue.controls.values())
    parts = [
        f"{GENERATED}\n\n# Controls\n\n{len(entries)} controls. Each is described once, in `checks/<area>/<id>.yml`; "
        "how to add one: [CONTRIBUTING](../CONTRIBUTING.md).\n",
        "\n".join(_overview(catalogue)),
        "## Profiles\n\n" + "\n".join(_profiles(catalogue)),
        "## Requirements of other frameworks\n\n" + "\n".join(_frameworks(catalogue)),
        *(_section(catalogue, entry) for entry in entries),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _overview(catalogue: Catalogue) -> Iterator[str]:
    yield "| id | title | severity | profiles | proven by | fix |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for entry in catalogue.controls.values():
        methods = "; ".join(f"{name}: {', '.join(said.methods)}" for name, said in entry.components.items())
        yield (f"| [{entry.id}](#{entry.id.lower()}) | {_cell(entry.title)} | {entry.severity} "
               f"| {', '.join(_profiles_with(catalogue, entry.id))} | {methods} | {_fixed_by(catalogue, entry)} |")


def _fixed_by(catalogue: Catalogue, entry: Entry) -> str:
    """The class of its fix, and the role that applies it."""
    role = next((role for role, entries in outcome_roles(catalogue).items() if entry in entries), "")
    return f"{entry.data['fix']['class']}{f', [{role}](../roles/{role}/README.md)' if role else ''}"


def _profiles_with(catalogue: Catalogue, control_id: str) -> list[str]:
    return [profile.id for profile in catalogue.profiles.values() if control_id in profile.controls]


def _profiles(catalogue: Catalogue) -> Iterator[str]:
    for profile in catalogue.profiles.values():
        yield f"**{profile.id}**: {profile.title}. {len(profile.controls)} controls.\n\n{profile.description}\n"
        for control_id, values in profile.tunables.items():
            yield from (f"- {control_id} `{name}`: {_value(value)}" for name, value in values.items())
        yield ""


def _frameworks(catalogue: Catalogue) -> Iterator[str]:
    yield "| framework | requirement | coverage | controls |"
    yield "| --- | --- | --- | --- |"
    for framework in catalogue.frameworks.values():
        for r in framework.requirements:
            where = f"[{_cell(framework.title)}]({framework.source}), {_cell(framework.version)}"
            coverage = f"{r.coverage}: {_cell(r.note)}"
            yield f"| {where} | {_cell(r.requirement)} {_cell(r.title)} | {coverage} | {', '.join(r.controls)} |"


def _applied(entry: Entry) -> str:
    """The programs that playbooks/harden.yml applies it to."""
    named = [name for name in entry.components if (entry.id, name) in FIXES]
    return f", applied by `harden.yml` to {', '.join(named)}" if named else ""


def _section(catalogue: Catalogue, entry: Entry) -> str:
    data, fix = entry.data, entry.data["fix"]
    lines = [
        f"## {entry.id}", f"**{entry.title}**", data["description"],
        f"Severity: {entry.severity}. Profiles: {', '.join(_profiles_with(catalogue, entry.id)) or 'none'}. "
        f"Kinds of host: {', '.join(entry.kinds)}. Since {data['since']}.",
        f"*Why.* {data['rationale']}",
        *_tunables(entry),
        f"*Fix:* {fix['class']}, disruption {fix['disruption']}{_applied(entry)}. *What it may break.* {data['impact']}",
        *_traps(data["traps"]),
        "*References:* " + "; ".join(_reference(r) for r in data["references"]) + ".",
    ]
    for name, said in entry.components.items():
        lines.extend(_component(entry.id, name, said))
    return "\n\n".join(lines)


def _component(control_id: str, name: str, said: ComponentEntry) -> Iterator[str]:
    if name == COMPONENT:
        yield f"*The question, to be answered in the inventory (`mta_audit_answers`):* {said.manual_check}"
        yield f"*What to do:* {said.advice}"
        return
    yield f"### {control_id}: {name}"
    yield f"Proven by {', '.join(said.methods)}."
    yield f"*Look yourself:*\n\n```console\n{said.manual_check}\n```"
    yield f"*What to do* ({_activation(said.activate)}):\n\n{said.advice}"
    yield from _traps(said.traps)


def _traps(traps: Iterable[str]) -> Iterator[str]:
    listed = "\n".join(f"- {_indented(trap)}" for trap in traps)
    if listed:
        yield f"*What misleads a simple check:*\n\n{listed}"


def _activation(word: str) -> str:
    return {"none": "needs no reload", "reload": "needs a reload", "restart": "needs a restart"}[word]


def _tunables(entry: Entry) -> Iterator[str]:
    for tunable in entry.tunables.values():
        bounds = [f"{word} {n}" for word, n in (("at least", tunable.minimum), ("at most", tunable.maximum)) if n is not None]
        kind = ", ".join([tunable.type, f"default {_value(tunable.default)}", *bounds])
        yield f"*Tunable* `{tunable.name}` ({kind}). {tunable.description}"


def _value(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _reference(reference: Mapping[str, str]) -> str:
    name, section = reference["id"], reference.get("section", "")
    text = {
        "rfc": f"[RFC {name}](https://www.rfc-editor.org/rfc/rfc{name})",
        "man": f"`{name}`",
        "url": f"<{name}>",
    }[reference["type"]]
    if section:
        text += f" {section}" if reference["type"] == "rfc" else f" `{section}`"
    return text + (f" ({reference['note']})" if "note" in reference else "")


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# Roles

class SpecError(Exception):
    """A role's argument specification is missing or cannot be read. The text names the file."""


def role_page(role: Path, described: Mapping[str, Any]) -> str:
    """The README of a role, from what its meta/argument_specs.yml holds and its meta/main.yml."""
    specs = described.get("argument_specs") or {}
    if not specs:
        raise SpecError(f"{role / 'meta/argument_specs.yml'}: has no argument_specs: describe the role's variables there")
    galaxy = _yaml(role / "meta/main.yml").get("galaxy_info") or {}
    parts = [GENERATED, f"# {role.name}", f"{galaxy.get('description', '').rstrip('.')}."]
    for entry_point, spec in specs.items():
        if entry_point != "main":
            parts.append(f"## Entry point {entry_point}")
        parts.append(_paragraphs(spec.get("description") or spec.get("short_description") or ""))
        parts.extend(_variables(spec.get("options") or {}))
    return "\n\n".join(part for part in parts if part) + "\n"


def _variables(options: Mapping[str, Any]) -> Iterator[str]:
    if not options:
        return
    yield "## Variables"
    rows = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        rows.extend(_variable_rows(name, option))
    yield "\n".join(rows)


def _variable_rows(name: str, option: Mapping[str, Any]) -> Iterator[str]:
    kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
    default = "required" if option.get("required") else f"`{_plain(option['default'])}`" if "default" in option else ""
    text = _cell(_paragraphs(option.get("description") or ""))
    if option.get("choices"):
        text += " One of " + ", ".join(f"`{_plain(choice)}`" for choice in option["choices"]) + "."
    yield f"| `{name}` | {kind} | {default} | {text} |"
    for inner, suboption in (option.get("options") or {}).items():
        yield from _variable_rows(f"{name}.{inner}", suboption)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value).replace("|", "\\|")


def _paragraphs(text: Any) -> str:
    joined = " ".join(text) if isinstance(text, list) else str(text).strip()
    return re.sub(r"\b[CVOIB]\(([^)]*)\)", r"`\1`", joined)  # Ansible's own markup


def _yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SpecError(f"{path}: cannot be read: {exc.strerror}") from exc
    except yaml.YAMLError as exc:
        raise SpecError(f"{path}: not YAML: {exc}") from exc
    return data if isinstance(data, dict) else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
