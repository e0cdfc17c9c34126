"""RELAY-15 on a real host: a configuration that changed after the last probe was never tested, and says so until it is probed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from audited_copy import ROOT, Copy, throw_away_copy
from mtalab.inventory import audit_variables, host_variables

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A good host, with a stranger that probes it."""
    directory = tmp_path_factory.mktemp("proof")
    with throw_away_copy("mx-d13", "t-proof", directory) as copy:
        copy.lab.up(["stranger", "sink", "dns"])
        config = copy.lab.config
        stranger = host_variables(config, copy.lab.host("stranger"))
        vantages = {"mta_vantages": {"hosts": {"stranger": stranger}}}
        inventory = {"all": {"children": vantages, "vars": audit_variables(config)}}
        (directory / "inventory/vantages.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        yield copy


def relay_15(copy: Copy, reports: Path, **variables: Any) -> dict[str, Any]:
    """Audit once more, with the earlier runs' record at hand; the host's finding."""
    given = {"mta_report_directory": str(reports), **variables}
    copy.ansible("ansible-playbook", ROOT / "playbooks/audit.yml", "-e", json.dumps(given))
    newest = max(reports.glob("runs/*/findings.json"))
    findings = json.loads(newest.read_text(encoding="utf-8"))["findings"]
    (found,) = (f for f in findings if f["control"] == "RELAY-15")
    return dict(found)


def test_a_change_after_the_probe_fails_until_it_is_probed(copy: Copy, tmp_path: Path) -> None:
    without = {"mta_audit_canary": ""}
    assert relay_15(copy, tmp_path, **without)["status"] == "unknown"  # never probed
    assert relay_15(copy, tmp_path)["status"] == "pass"
    assert relay_15(copy, tmp_path, **without)["status"] == "pass"  # the record of the run before
    copy.shell("postconf -e 'smtpd_recipient_limit = 77' && postfix reload")
    changed = relay_15(copy, tmp_path, **without)
    assert changed["status"] == "fail"
    assert "the configuration changed since it was last probed" in changed["message"]
    assert changed["fix_hint"] and changed["methods"]["log"] == "fail"
    again = relay_15(copy, tmp_path)
    assert (again["status"], again["change"]) == ("fixed", "fixed")
