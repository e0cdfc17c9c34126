"""What `make` would run, without running it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def planned(*words: str) -> str:
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_two_audits_at_once_keep_logs_of_their_own() -> None:
    """`make audit` finds its run in its log: with one log for all, it would show another's report as its own."""
    logs = [set(re.findall(r"\.cache/logs/audit-[^ *]+\.log", planned("audit", "INVENTORY=x"))) for _ in range(2)]
    assert [len(names) for names in logs] == [1, 1]
    assert logs[0] != logs[1]


def test_an_own_inventory_needs_no_lab() -> None:
    own, lab = planned("audit", "INVENTORY=mine", "LIMIT=mx1", "PROFILE=strict"), planned("audit")
    assert "lab.py" not in own and "bootstrap.sh audit" in own
    assert "-i 'mine' playbooks/audit.yml" in own and "--limit 'mx1'" in own and "mta_audit_profile='strict'" in own
    assert "lab.py up" in lab and "bootstrap.sh lab" in lab
