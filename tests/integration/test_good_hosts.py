"""One audit of every good host of the lab, with everything it has: no false alarm, and nothing that it could not find out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("gateway")]

GOOD = [f"{name}-{release}" for name in ("mx", "full", "exim", "sendmail", "opensmtpd") for release in ("d12", "d13")]
Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What an audit in the profile `strict` found, by host."""
    Lab().up(GOOD)
    directory = tmp_path_factory.mktemp("good")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", "-i", "inventories/lab_on_demand",
         "playbooks/audit.yml", "-e", f"mta_target={','.join(GOOD)}", "-e", "mta_audit_profile=strict",
         "-e", f"mta_report_directory={directory}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    (run,) = directory.glob("runs/*/findings.json")
    found: Found = {host: [] for host in GOOD}
    for finding in json.loads(run.read_text(encoding="utf-8"))["findings"]:
        if finding["host"] in found:
            found[finding["host"]].append(finding)
    return found


def bad(findings: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    # Neither Exim nor OpenSMTPD keeps when somebody logged in last, nor in their tables when a password was set.
    untold = [f for f in findings if f["control"] == "PASS-05" and "only Dovecot" in f.get("reason", "")]
    # Logins in a table of theirs are not set through PAM.
    untold += [f for f in findings if f["control"] == "PASS-01" and "are not set through PAM" in f.get("reason", "")]
    for f in findings:
        if f["status"] not in ("pass", "notapplicable", "informational", "notchecked") and f not in untold:
            yield f["control"], f["subject"]["name"], f["status"], f["message"], f.get("reason", "")


@pytest.mark.parametrize("host", GOOD)
def test_a_good_host_is_found_good(audited: Found, host: str) -> None:
    assert audited[host]
    assert list(bad(audited[host])) == []
