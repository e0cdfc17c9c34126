# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles that are named by an outcome: each applies the fixes of its controls, and its variables are their tunables.

Which control belongs to which role stands in the catalogue (`fix: {role: ...}`). Written by hand is a role's meta/main.yml alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from mtaudit.catalogue import Catalogue, Entry
from mtaudit.fix import FIXES
from mtaudit.fixes import every  # noqa: F401 - registers every fix
from mtaudit.selection import role_variables

HEAD = "---\n# Made by tools/generate_docs.py; change the control's entry in checks/ and run `make docs`.\n"
_ACCOUNT = {
    "logins": {"type": "list", "elements": "str", "required": True, "description": "Their names."},
    "max_per_hour": {"type": "int", "description": "What each may send within an hour."},
    "max_per_day": {"type": "int", "description": "What each may send within a day."},
    "owner": {"type": "str", "required": True, "description": "Who answers for it."},
    "expires": {"type": "str", "required": True, "description": "The last day on which it counts, as 2027-01-31."},
}
_WEB_LOGIN = {
    "pool": {"type": "str", "required": True, "description": "The pool of php-fpm, or C(apache2) or C(cgi) for those."},
    "login": {"type": "str", "required": True, "description": "What it logs in as; it exists already."},
    "sender": {"type": "str", "required": True, "description": "The address that its mail is from."},
    "password_file": {
        "type": "str", "required": True,
        "description": "The file on the host that holds the password alone, readable for the pool's account and nobody else.",
    },
}
_TYPES: Mapping[str, Mapping[str, Any]] = {
    "int": {"type": "int"}, "bool": {"type": "bool"}, "str": {"type": "str"},
    **dict.fromkeys(("list", "networks", "domains"), {"type": "list", "elements": "str"}),
    "accounts": {"type": "list", "elements": "dict", "options": _ACCOUNT},
    "web_logins": {"type": "list", "elements": "dict", "options": _WEB_LOGIN},
}  # fmt: skip


def outcome_roles(catalogue: Catalogue) -> dict[str, list[Entry]]:
    """The controls of each role, as far as mtaudit has a fix for a program."""
    fixed = {control for control, _ in FIXES}
    found: dict[str, list[Entry]] = {}
    for entry in catalogue.controls.values():
        role = entry.data["fix"].get("role")
        if role and entry.id in fixed:
            found.setdefault(role, []).append(entry)
    return found


def role_files(catalogue: Catalogue, roles: Path) -> Iterator[tuple[Path, str]]:
    """Every generated file of those that there are, but their READMEs."""
    for role, entries in outcome_roles(catalogue).items():
        if not (roles / role).is_dir():
            continue
        yield roles / role / "tasks/main.yml", _tasks(role)
        yield roles / role / "defaults/main.yml", _defaults(catalogue, role)
        yield roles / role / "meta/argument_specs.yml", _specs(catalogue, role, entries)


def controls_table(entries: Sequence[Entry]) -> str:
    """For a role's README: what it mends, and where."""
    rows = ["| control | is so afterwards | in | class | disruption |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        programs = ", ".join(name for control, name in FIXES if control == entry.id)
        fix = entry.data["fix"]
        link = f"[{entry.id}](../../docs/controls.md#{entry.id.lower()})"
        rows.append(f"| {link} | {entry.title} | {programs} | {fix['class']} | {fix['disruption']} |")
    return "\n".join(rows)


def example(role: str) -> str:
    """For a role's README: how it is run, alone."""
    return textwrap.dedent(f"""\
        ```yaml
        - hosts: mail_servers
          gather_facts: false
          serial: 1 # a change is proven before the next host is touched
          roles:
            - {role}
        ```

        `--check --diff` shows what it would change, with `-e mta_harden_confirmed=true` also what may cut mail off. Without a
        play of your own:

        ```console
        $ ansible-playbook -i inventories/mine playbooks/harden.yml --check --diff -e '{{"mta_harden_only": ["{role}"]}}'
        ```
        """)


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _tasks(role: str) -> str:
    return HEAD + textwrap.dedent(f"""\
        - name: Mend and prove
          ansible.builtin.include_role:
            name: mta_harden
            tasks_from: outcome
          vars:
            mta_harden_only: [{role}]
        """)


def _of(catalogue: Catalogue, role: str) -> Iterator[tuple[str, Entry, str]]:
    for variable, (control, tunable) in role_variables(catalogue).items():
        entry = catalogue.controls[control]
        if entry.data["fix"]["role"] == role:
            yield variable, entry, tunable


def _defaults(catalogue: Catalogue, role: str) -> str:
    parts = [HEAD + "# A variable that is not set is what mta_audit_tunables or the profile says."]
    for variable, entry, name in _of(catalogue, role):
        said = entry.tunables[name]
        text = f"{entry.id}: {_sentence(said.description)}. The catalogue's: {said.default}"
        comment = textwrap.fill(text, 140, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
        parts.append(f"{comment}\n{variable}: null")
    return "\n\n".join(parts) + "\n"


def _specs(catalogue: Catalogue, role: str, entries: Sequence[Entry]) -> str:
    options: dict[str, Any] = {}
    for variable, entry, name in _of(catalogue, role):
        said = entry.tunables[name]
        choices = {"choices": list(said.choices)} if said.choices else {}
        options[variable] = {**_TYPES[said.type], **choices, "description": f"{_sentence(said.description)} ({entry.id})."}
    ids = ", ".join(entry.id for entry in entries)
    main = {
        "short_description": f"Mend {ids}",
        "description": [
            f"Audits the host, mends what fails of {ids}, and proves it, with the role C(mta_harden): its variables, and those "
            "of C(mta_audit), hold here.",
            "A variable that is not set is what C(mta_audit_tunables) or the profile says. Set in the inventory, it "
            "holds for the audit, too.",
        ],
        "options": options,
    }
    return HEAD + yaml.dump({"argument_specs": {"main": main}}, Dumper=_Indented, sort_keys=False, width=140)


class _Indented(yaml.SafeDumper):
    """Lists stand deeper than the key that they belong to."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
