"""What an IceWarp's exports say, and what they cannot say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.address import parse_network
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.exported import answer
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.readers import icewarp
from ansible.module_utils.mtaudit.report.shapes import is_sound_estate
from ansible.module_utils.mtaudit.run_directory import targets
from ansible.module_utils.mtaudit.runner import LocalRunner

GOOD = """C_Mail_Security_Relay_RelayMode: 1
C_Mail_Security_Relay_IPList: 127.0.0.1;198.51.100.0/28
C_Mail_Security_Relay_POPSMTP: 0
C_Mail_Security_Relay_RejectLocalUnauth: 1
C_Mail_Security_Protection_LocalDomain: 1
C_Accounts_Policies_Pass_Enable: 1
"""


def findings(tmp_path: Path, control: str, variables: str | None, passwords: str | None = None) -> Finding:
    paths = []
    for name, text in (("variables", variables), ("passwords", passwords)):
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        paths.append(str(tmp_path / name) if text is not None else "")
    reading = icewarp.read(LocalRunner(), *paths)
    (finding,) = REGISTRY[(control, "icewarp")].evaluate(reading, Site(trusted_networks=(parse_network("198.51.100.0/24"),)))
    return finding


@pytest.mark.parametrize(("old", "new", "status", "says"), [
    ("", "", "pass", ""),
    ("RelayMode: 1", "RelayMode: 0", "fail", "relays for everybody"),
    ("RelayMode: 1", "RelayMode: 2", "fail", "relays for everybody"),
    ("POPSMTP: 0", "POPSMTP: 1", "fail", "POP before SMTP"),
    ("POPSMTP: 0", "POPSMTP: true", "fail", "POP before SMTP"),
    ("RejectLocalUnauth: 1", "RejectLocalUnauth: 0", "fail", "local senders"),
    ("LocalDomain: 1", "LocalDomain: False", "fail", "other domains"),
    ("198.51.100.0/28", "198.18.0.0/16", "fail", "198.18.0.0/16"),
    ("198.51.100.0/28", "198.51.*.*", "fail", "198.51.*.*"),
    ("198.51.100.0/28", "0.0.0.0/0", "fail", "0.0.0.0/0"),
    ("C_Mail_Security_Relay_RelayMode: 1\n", "", "unknown", "mail.security.relay.relaymode is not in the export"),
    ("RelayMode: 1", "RelayMode: closed", "unknown", "mail.security.relay.relaymode is not in the export"),
    ("POPSMTP: 0", "POPSMTP is 0", "unknown", "variables:3: not of the form"),
])
def test_relaying(tmp_path: Path, old: str, new: str, status: str, says: str) -> None:
    finding = findings(tmp_path, "ICEWARP-01", GOOD.replace(old, new, 1))
    assert finding.status.value == status
    assert says in f"{finding.message} {finding.reason} {' '.join(e.text for e in finding.evidence)}"


def test_the_names_of_the_console_mean_the_same(tmp_path: Path) -> None:
    text = "\ufeff" + GOOD.lower().replace("c_", "").replace("_", ".").replace("\n", "\r\n")
    assert "mail.security.relay.relaymode: 1" in text
    assert findings(tmp_path, "ICEWARP-01", text).status.value == "pass"


@pytest.mark.parametrize("text", ["", "\n", "<html>", "\0\0", "error: access denied\n" + GOOD, "x" * 100_000])
def test_what_is_no_export_is_unknown(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, "ICEWARP-01", text).status.value == "unknown"
    assert findings(tmp_path, "ICEWARP-02", text).status.value == "unknown"


def test_without_an_export_nothing_is_known(tmp_path: Path) -> None:
    for control in ("ICEWARP-01", "ICEWARP-02"):
        finding = findings(tmp_path, control, None)
        assert (finding.status.value, "mta_audit_exports" in finding.reason) == ("unknown", True)


@pytest.mark.parametrize(("variables", "passwords", "status"), [
    (GOOD.replace("Pass_Enable: 1", "Pass_Enable: 0"), None, "fail"),
    (GOOD, "## check ##\nalice@corp.example\nbob@corp.example: too short\n", "fail"),
    (GOOD, "## check ##\n", "unknown"),
    (GOOD, "", "unknown"),
    (GOOD, "Access denied\n", "unknown"),
    (GOOD, "alice@corp.example, bob@corp.example\n", "unknown"),
    (None, "alice@corp.example\n", "fail"),
])
def test_passwords(tmp_path: Path, variables: str | None, passwords: str | None, status: str) -> None:
    """A pass would have to know what the tool prints when all is well."""
    assert findings(tmp_path, "ICEWARP-02", variables, passwords).status.value == status


@pytest.mark.parametrize("program", ["icewarp", "exchange"])
def test_the_answer_for_the_host(tmp_path: Path, program: str) -> None:
    """As a host's own: its estate is sound, and the probes get its declared addresses and the usual ports."""
    export = tmp_path / "variables.txt"
    export.write_text(GOOD.replace("RelayMode: 1", "RelayMode: 0"), encoding="utf-8")
    catalogue = tmp_path / "catalogue.json"
    entries = [{"id": "ICEWARP-01", "components": {"icewarp": {}}, "tunables": {}},
               {"id": "RELAY-03", "components": {"postfix": {}}, "tunables": {}}]  # fmt: skip
    catalogue.write_text(json.dumps({"controls": entries}), encoding="utf-8")
    declared: dict[str, Any] = {
        "program": program, "exports": {"variables": str(export)}, "addresses": ["198.51.100.77"], "kind": "mx",
        "local_domains": ["corp.example"], "trusted_networks": ["198.51.100.0/24"],
    }  # fmt: skip
    found = answer(LocalRunner(), "iw1", declared, catalogue)
    assert [(f["control"], f["status"]) for f in found["findings"]] == ([("ICEWARP-01", "fail")] if program == "icewarp" else [])
    assert is_sound_estate(found["estate"])
    (target,) = targets({"iw1": found["estate"]}, {"iw1": declared})
    assert (target["host"], target["ports"][0], target["local_domains"]) == ("198.51.100.77", 25, ["corp.example"])
