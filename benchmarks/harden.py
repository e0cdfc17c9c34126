#!/usr/bin/env python3
"""What it costs to harden a host with nothing to mend: against an audit of it, and against dev-sec's os_hardening in check mode.

  benchmarks/harden.py HOST --inventory FILE [--rounds 5] [--dev-sec DIRECTORY --dev-sec-ansible PLAYBOOK_COMMAND] [-e VARIABLES]

DIRECTORY holds ansible_collections/ with devsec.hardening and what it depends on; PLAYBOOK_COMMAND is an ansible-playbook whose
own collections (ansible.posix, community.general) it needs. Whole processes, in turns; without probes, as the peer has none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pairs import in_turns, median, ratio

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# What dev-sec would install from Debian is not in every archive, and is no control.
PEER = {"os_auditd_enabled": False, "os_auth_pam_passwdqc_enable": False, "os_modprobe_enabled": False}


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds, the controller's CPU seconds, and what it answered: controls, or the peer's tasks that ran."""

    wall_s: float
    cpu_s: float
    answered: int

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, {self.cpu_s:.2f} s of CPU, {self.answered} answered"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("--inventory", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dev-sec", type=Path)
    parser.add_argument("--dev-sec-ansible", default="ansible-playbook")
    parser.add_argument("-e", dest="variables", default="{}", help="more variables of ours, as JSON")
    given = parser.parse_args()
    ways: dict[str, Callable[[], Cost]] = {name: lambda name=name: _ours(given, name) for name in ("audit", "harden")}
    if given.dev_sec:
        ways["dev-sec"] = lambda: _peer(given)
    costs = {name: [cost for cost in found if cost] for name, found in in_turns(ways, given.rounds, {}).items()}
    print("| way | wall s | CPU s | answered | wall ms for each |\n|---|---|---|---|---|")
    for name, found in costs.items():
        each = [1000 * cost.wall_s / cost.answered for cost in found]
        print(f"| {name} | {median(c.wall_s for c in found):.2f} | {median(c.cpu_s for c in found):.2f} | {found[0].answered} "
              f"| {median(each):.1f} |")  # fmt: skip
    walls = {name: [cost.wall_s for cost in found] for name, found in costs.items()}
    print(f"\nharden takes {ratio(walls['harden'], walls['audit'])} of an audit")
    if given.dev_sec:
        each = {name: [cost.wall_s / cost.answered for cost in found] for name, found in costs.items()}
        print(f"dev-sec takes {ratio(each['dev-sec'], each['harden'])} for each of its tasks, to one of our controls")
    return 0


def _ours(given: argparse.Namespace, playbook: str) -> Cost:
    with tempfile.TemporaryDirectory() as directory:
        variables = {"mta_target": given.host, "mta_audit_canary": "", "mta_audit_vantages": [], "mta_harden_unproven": True,
                     "mta_harden_confirmed": True, "mta_report_directory": directory, **json.loads(given.variables)}  # fmt: skip
        book = ROOT / f"playbooks/{playbook}.yml"
        command = [str(BIN / "ansible-playbook"), "-i", given.inventory, str(book), "-e", json.dumps(variables)]
        cost, printed = _timed(command)
        if not re.search(rf"^{re.escape(given.host)} .*\bchanged=0\b.*\bfailed=0\b", printed, re.M):
            raise SystemExit(f"{given.host} is no host with nothing to mend:\n{printed[-2000:]}")
        (report,) = Path(directory).glob("runs/*/findings.json")
        findings = json.loads(report.read_text(encoding="utf-8"))["findings"]
        return Cost(*cost, len({f["control"] for f in findings if f["host"] == given.host and f["status"] != "notchecked"}))


def _peer(given: argparse.Namespace) -> Cost:
    with tempfile.TemporaryDirectory() as directory:
        book = Path(directory) / "play.json"
        book.write_text(json.dumps([{"hosts": given.host, "roles": ["devsec.hardening.os_hardening"]}]), encoding="utf-8")
        cost, printed = _timed([given.dev_sec_ansible, "-i", given.inventory, str(book), "--check", "-e", json.dumps(PEER)],
                               {"ANSIBLE_COLLECTIONS_PATH": str(given.dev_sec), "ANSIBLE_PIPELINING": "true"})  # fmt: skip
        recap = re.search(rf"^{re.escape(given.host)} .*\bok=(\d+)\b.*\bfailed=0\b", printed, re.M)
        if not recap:
            raise SystemExit(f"dev-sec did not come to its end:\n{printed[-2000:]}")
        return Cost(*cost, int(recap.group(1)))


def _timed(command: list[str], environment: dict[str, str] | None = None) -> tuple[tuple[float, float], str]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    full = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=full, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
