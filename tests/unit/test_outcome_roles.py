"""The roles that are named by an outcome: which there are, and whom their variables reach."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from ansible.module_utils.mtaudit.audit import InputError
from ansible.module_utils.mtaudit.audit import selection as on_the_host
from ansible.module_utils.mtaudit.catalogue import load_catalogue
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.hardening.wishes import wishes
from ansible.module_utils.mtaudit.selection import fixes, role_variables, selection
from tracked import ROOT

CATALOGUE = load_catalogue(str(ROOT / "checks"))


def test_every_fix_belongs_to_a_role_that_is_there() -> None:
    roles = {control: CATALOGUE.controls[control].data["fix"].get("role") for control, _ in FIXES}
    assert all(role and (ROOT / "roles" / role / "meta/main.yml").is_file() for role in roles.values()), roles


def test_a_variable_is_a_tunable() -> None:
    variables = role_variables(CATALOGUE)
    assert variables["mta_send_limits_max_per_hour"] == ("RATE-01", "max_per_hour")
    assert variables["mta_recipients_max_recipients"] == ("RATE-02", "max_recipients")


def test_two_tunables_of_one_role_have_two_names() -> None:
    entry = CATALOGUE.controls["RATE-01"]
    data = {**entry.data, "fix": {**entry.data["fix"], "role": "mta_recipients"}}
    tunables = {"max_recipients": next(iter(entry.tunables.values()))}
    controls = {**CATALOGUE.controls, "RATE-01": replace(entry, data=data, tunables=tunables)}
    with pytest.raises(ValueError, match="both have a tunable max_recipients, and both belong to mta_recipients"):
        role_variables(replace(CATALOGUE, controls=controls))


def test_a_role_stands_for_its_controls() -> None:
    found = wishes(fixes(CATALOGUE, "strict"), ["mta_recipients", "RELAY-01"], "high", confirmed=True)
    assert {wish.id for wish in found} == {"RELAY-01", "RCPT-01", "INFO-01", "RATE-02"}


@pytest.mark.parametrize(("control", "tunable", "value", "why"), [
    ("RATE-02", "max_recipients", "50", "must be a whole number without quotes"),
    ("RATE-01", "max_per_hour", 0, "must be 1 or more, not 0"),
    ("RATE-01", "when_down", "closd", "must be one of .*closed.*, not the text 'closd'"),
])  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_by_name(control: str, tunable: str, value: object, why: str) -> None:
    with pytest.raises(InputError, match=f"the tunable {tunable} of {control} {why}"):
        on_the_host(selection(CATALOGUE, "strict", {}), {control: {tunable: value}})


def test_misspelt_variables_of_every_role_are_noticed() -> None:
    known = yaml.safe_load((ROOT / "roles/mta_audit/vars/main.yml").read_text(encoding="utf-8"))["__mta_audit_roles"]
    assert known == sorted(path.name for path in (ROOT / "roles").iterdir())
