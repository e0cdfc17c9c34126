"""What the inventory declares is checked before a run, and every error names host and variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.address import parse_network
from ansible.module_utils.mtaudit.catalogue import Catalogue, load_catalogue
from ansible.module_utils.mtaudit.selection import InventoryError, check_run, for_report, refused_hosts
from ansible.module_utils.mtaudit.tunable import Tunable, typed

ROOT = Path(__file__).resolve().parents[2]

WAIVER = {"id": "RELAY-01", "reason": "the scanner moves in spring", "owner": "Ada", "expires": "2027-03-31"}
ANSWER = {"id": "RELAY-08", "status": "pass", "owner": "Ada", "expires": "2027-03-31"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(str(ROOT / "checks"))


def told(catalogue: Catalogue, declared: Any, known: tuple[str, ...] = ()) -> list[str]:
    """What is said about one host that declares this."""
    refused = refused_hosts(catalogue, {"mx1": declared}, known)
    return [f"host {name}: {text}" for name, texts in refused.items() for text in texts]


@pytest.mark.parametrize("declared", [
    {},
    {"kind": "", "waivers": [], "answers": [], "tunables": {}, "trusted_networks": [], "known_recipient": "", "ports": []},
    {"kind": "mx", "waivers": [WAIVER, {**WAIVER, "subject": "*:25"}], "answers": [ANSWER, {**ANSWER, "note": "looked"}]},
    {"tunables": {"RELAY-15": {"max_proof_age_days": 7}}, "profile": "strict"},
    {"trusted_networks": ["198.51.100.0/24", "2001:db8::/32", "198.51.100.9"], "proxies": ["[2001:db8::1]"], "ports": [25, 2525]},
    {"test_login": ["username", "password", "other_sender"]},
    {"local_domains": ["example.org", "xn--bcher-kva.example", "_mta.example.org"], "addresses": ["mx1.example.org"]},
])
def test_right_declarations_pass(catalogue: Catalogue, declared: dict[str, Any]) -> None:
    assert told(catalogue, declared) == []


@pytest.mark.parametrize(("declared", "message"), [
    ({"kind": "mailserver"}, "kind: must be one of mx, submission, "),
    ({"profile": "paranoid"}, "profile: there is no profile 'paranoid'; there are baseline, provider, strict"),
    ({"waivers": WAIVER}, "waivers: must be a list, not a mapping"),
    ({"waivers": ["RELAY-01"]}, "waivers[0]: must be a mapping, not the text 'RELAY-01'"),
    ({"waivers": [{**WAIVER, "id": "RELAY-77"}]}, "waivers[0].id: there is no control 'RELAY-77'"),
    ({"waivers": [{**WAIVER, "id": "relay-1"}]}, "waivers[0].id: the text 'relay-1' does not have the form"),
    ({"waivers": [WAIVER, {**WAIVER, "until": "2027-01-01"}]}, "waivers[1].until: unknown key 'until': remove it, or use "),
    ({"waivers": [{k: v for k, v in WAIVER.items() if k != "reason"}]}, "waivers[0]: 'reason' is missing: add it"),
    ({"waivers": [{**WAIVER, "owner": "  "}]}, "waivers[0].owner: is empty: say something, or remove it"),
    ({"waivers": [{**WAIVER, "expires": "2027-02-30"}]},
     "waivers[0].expires: '2027-02-30' is not a day of the calendar"),
    ({"waivers": [{**WAIVER, "expires": "31.03.2027"}]},
     "waivers[0].expires: the text '31.03.2027' does not have the form"),
    ({"answers": [{**ANSWER, "status": "fine"}]}, "answers[0].status: must be one of pass, fail, not the text 'fine'"),
    ({"answers": [{**ANSWER, "id": "RELAY-77"}]}, "answers[0].id: there is no control 'RELAY-77'"),
    ({"tunables": {"RELAY-77": {"a": 1}}}, "tunables.RELAY-77: there is no control 'RELAY-77'"),
    ({"tunables": {"RELAY-15": {"max_age": 1}}}, "tunables.RELAY-15.max_age: RELAY-15 has no tunable"),
    ({"tunables": {"RELAY-15": {"max_proof_age_days": "7"}}},
     "tunables.RELAY-15.max_proof_age_days: must be a whole number without quotes, not the text '7'"),
    ({"tunables": {"RELAY-15": {"max_proof_age_days": 0}}},
     "tunables.RELAY-15.max_proof_age_days: must be 1 or more, not 0"),
    ({"tunables": {"RELAY-15": 7}}, "tunables.RELAY-15: must be a mapping, not 7"),
    ({"tunables": [7]}, "tunables: must be a mapping, not a list"),
    ({"trusted_networks": "198.51.100.0/24"}, "trusted_networks: must be a list, not the text '198.51.100.0/24'"),
    ({"trusted_networks": ["198.51.100.1/24"]}, "trusted_networks: '198.51.100.1/24' is not a network such as "),
    ({"proxies": ["balancer"]}, "proxies: 'balancer' is not a network such as "),
    ({"local_domains": ["Example.org"]}, "local_domains: 'Example.org' is not a domain in lower case such as "),
    ({"ports": ["25"]}, "ports[0]: must be a whole number, not the text '25'"),
    ({"ports": [25, 70000]}, "ports[1]: 70000 is not a TCP port: 1 to 65535"),
    ({"test_login": ["username"]}, "test_login: a mapping with username and password: password missing"),
    ({"test_login": ["str"]}, "test_login: a mapping with username and password: username and password missing"),
    ({"test_login": ["username", "password", "user"]}, "test_login: unknown key 'user': remove it, or use one of username, "),
    ({"colour": "red"}, "colour: unknown key 'colour': remove it, or use one of addresses, "),
])
def test_a_wrong_declaration_is_told_once(catalogue: Catalogue, declared: dict[str, Any], message: str) -> None:
    found = told(catalogue, declared)
    assert len(found) == (2 if declared == {"test_login": ["str"]} else 1)
    assert found[0].startswith(f"host mx1: mta_audit_{message}")


def test_all_errors_of_the_run_at_once(catalogue: Catalogue) -> None:
    with pytest.raises(InventoryError) as caught:
        check_run(catalogue, "base", {"RELAY-15": {"x": 1}})
    assert [text.split(":")[0] for text in caught.value.problems] == ["mta_audit_profile", "mta_audit_tunables.RELAY-15.x"]
    assert str(caught.value) == "\n".join(caught.value.problems)


def test_a_wrong_host_does_not_stop_the_others(catalogue: Catalogue) -> None:
    hosts = {"mx1": {"kind": "x", "ports": [0]}, "mx2": {"waivers": [{"id": "RELAY-77"}]}, "mx3": "nothing", "mx4": {}}
    found = refused_hosts(catalogue, hosts)
    assert {host: len(problems) for host, problems in found.items()} == {"mx1": 2, "mx2": 4, "mx3": 1}


def test_a_misspelt_variable_is_told_with_the_right_name(catalogue: Catalogue) -> None:
    declared = {"variables": ["mta_audit_waiver", "mta_audit_kind", "mta_report_zzz"]}
    assert told(catalogue, declared, ("mta_audit_waivers", "mta_audit_kind")) == [
        "host mx1: mta_audit_waiver is not a variable of mtaudit: did you mean mta_audit_waivers?",
        "host mx1: mta_report_zzz is not a variable of mtaudit: remove it",
    ]
    assert told(catalogue, declared) == []


@pytest.mark.parametrize(("kind", "good", "bad"), [
    ("bool", [True, False], [1, "true", None]),
    ("int", [0, -3], [True, "3", 1.5, None]),
    ("str", ["", "x"], [1, ["x"], None]),
    ("list", [[], ["a"]], ["a", [1], {"a": 1}]),
    ("networks", [[], ["198.51.100.0/24", "::1"]], ["198.51.100.0/24", ["x"], ["198.51.100.9/24"], [1]]),
    ("domains", [[], ["example.org", "a-b.example"]], ["example.org", ["-a.example"], ["a..b"], ["a.example."], ["x" * 64], [1]]),
])
def test_a_tunable_takes_values_of_its_type_only(kind: str, good: list[Any], bad: list[Any]) -> None:
    tunable = Tunable("t", kind, None, "")
    assert [tunable.problem(value) for value in good] == [""] * len(good)
    assert all(tunable.problem(value) for value in bad)


def test_typed_values() -> None:
    assert typed("networks", ["198.51.100.0/24"]) == (parse_network("198.51.100.0/24"),)
    assert typed("domains", ["example.org"]) == ("example.org",)
    assert typed("int", 3) == 3


def test_the_report_gets_whole_entries_with_the_values_in_force(catalogue: Catalogue) -> None:
    written = for_report(catalogue, "strict", {"RELAY-15": {"max_proof_age_days": 5}}, "0.1.0")
    assert (written["digest"], written["profile"], written["version"]) == (catalogue.digest, "strict", "0.1.0")
    entry = next(c for c in written["controls"] if c["id"] == "RELAY-15")
    assert entry["tunables"] == {"max_proof_age_days": {"type": "int", "value": 5, "minimum": 1, "maximum": 366}}
    assert entry["components"]["os"]["advice"] and entry["rationale"] and entry["title"]
