"""Which services the vantages look at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.run_directory import targets, tunables_of
from ansible.module_utils.mtaudit.service_targets import credential_targets, service_targets

SMTP = {"name": "*:25", "port": 25, "bind": "*", "families": ["ipv4", "ipv6"], "loopback_only": False, "protocol": "smtp"}
IMAP = {**SMTP, "name": "*:143", "port": 143, "protocol": "imap", "tls_wrapper": False}
IMAPS = {**IMAP, "name": "198.51.100.7:993", "port": 993, "bind": "198.51.100.7", "tls_wrapper": True}
LMTP = {**IMAP, "name": "*:24", "port": 24, "protocol": "lmtp"}
INNER = {**IMAP, "name": "127.0.0.1:4190", "port": 4190, "bind": "127.0.0.1", "protocol": "sieve", "loopback_only": True}
ESTATE = {
    "listeners": [SMTP],
    "mailbox_listeners": [IMAP, IMAPS, LMTP, INNER],
    "addresses": ["198.51.100.7", "2001:db8::7"],
    "helo": "mx.test",
}


def planned(estate: dict, **declared) -> list[dict]:
    estates, about = ({"mx1": estate} if estate else {}), {"mx1": declared}
    return service_targets(targets(estates, about), estates, about, None)


def spoken(found: list[dict]) -> list[tuple[str, list[tuple[int, str, bool]]]]:
    return [(t["host"], [(s["port"], s["protocol"], s["tls"]) for s in t["services"]]) for t in found]


def test_every_service_that_others_can_reach() -> None:
    imap, imaps = (143, "imap", False), (993, "imap", True)
    expected = [("198.51.100.7", [(25, "smtp", False), imap, imaps]), ("2001:db8::7", [(25, "smtp", False), imap])]
    assert spoken(planned(ESTATE)) == expected


def test_a_host_that_only_gives_people_their_mail() -> None:
    (target,) = planned({**ESTATE, "listeners": [], "addresses": ["198.51.100.7"]})
    assert [s["port"] for s in target["services"]] == [143, 993] and target["helo_name"] == "mx.test"


def test_declared_ports_speak_what_is_usual_there() -> None:
    found = spoken(planned({}, addresses=["198.51.100.7"], ports=[25, 465, 993, 4190]))
    assert found == [("198.51.100.7", [(25, "smtp", False), (465, "smtp", True), (993, "imap", True), (4190, "sieve", False)])]


@pytest.mark.parametrize(("own", "expected"), [({}, 30), ({"TLS-01": {"min_days_left": 3}}, 3)])
def test_what_the_site_says_of_certificates(tmp_path: Path, own: dict, expected: int) -> None:
    entry = {"id": "TLS-01", "tunables": {"min_days_left": {"type": "int", "value": 30}}}
    (tmp_path / "catalogue.json").write_text(json.dumps({"controls": [entry]}))
    estates, about = {"mx1": {**ESTATE, "addresses": ["198.51.100.7"]}}, {"mx1": {"tunables": own}}
    (target,) = service_targets(targets(estates, about), estates, about, tunables_of(tmp_path, "TLS-01"))
    assert target["certificate_days"] == expected
    assert tunables_of(tmp_path, "TLS-02") is None


def test_logins_are_tried_where_the_inventory_says_and_nowhere_else() -> None:
    ssh = {"protocol": "ssh", "vendors": ["mikrotik"]}
    declared = {
        "mx1": {"credentials": [ssh], "credentials_consent": "J. Doe, 2026-11-23"}, "mx2": {},
        "router": {"program": "device", "addresses": ["198.51.100.1"], "credentials": [ssh], "credentials_lockout": 3},
    }  # fmt: skip
    estates = {"mx1": {**ESTATE, "lockout": 5}, "mx2": ESTATE}
    found = credential_targets(estates, declared)
    assert [(t["name"], t["host"], t["consent"], t["lockout"]) for t in found] == [
        ("mx1", "198.51.100.7", "J. Doe, 2026-11-23", 5), ("router", "198.51.100.1", "", 3),
    ]  # fmt: skip
    assert found[0]["services"] == [ssh]
    assert [target["name"] for target in targets(estates, declared)] == ["mx1", "mx1", "mx2", "mx2"]
