"""The closed loop: a planted fault, the audit, the hardening, an independent oracle, a second run, the way back, the audit again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_runs import BIN, ROOT, Lab, Outcome, _ask_oracle, _plant
from mtalab.config import Host
from mtalab.faults import Fault, copy_name, planted_inventory

BATCH = 12
# Everything that configures a host: contents, owners, modes, times and link targets. What the programs write by themselves is left out.
STATE = r"""
cd / && find etc -xdev \( -path etc/.updated -o -path etc/mtab -o -path etc/resolv.conf \) -prune -o -printf '%p %y %m %U %G %l' \
  \( -type d -printf '\n' -o -printf ' %T@\n' \) | sort
find etc -xdev -type f -print0 | sort -z | xargs -0 sha256sum
"""


@dataclass
class Loop:
    """What became of one fault. `hardened` is what the plan said, `changed` what each run of the hardening changed."""

    fault: Fault
    problem: str = ""
    before: set[tuple[str, str]] = field(default_factory=set)
    plan: dict[str, Any] = field(default_factory=dict)
    changed: list[bool] = field(default_factory=list)
    told: str = ""
    sees: dict[str, str] = field(default_factory=dict)
    flows: str = ""
    after: set[tuple[str, str]] = field(default_factory=set)
    state: dict[str, str] = field(default_factory=dict)
    again: set[tuple[str, str]] = field(default_factory=set)


def run(lab: Lab, faults: Sequence[Fault], directory: Path) -> dict[str, Loop]:
    """Every fault, planted in a copy of its base; by name."""
    loops: dict[str, Loop] = {}
    number = max(1, -(-len(faults) // BATCH))
    for n in range(number):
        batch = faults[n::number]
        print(f"closed loop {len(loops) + 1} to {len(loops) + len(batch)} of {len(faults)}", file=sys.stderr, flush=True)
        loops.update(_Batch(lab, batch, directory / str(n)).run())
    return loops


class _Batch:
    def __init__(self, lab: Lab, faults: Sequence[Fault], directory: Path) -> None:
        self.lab, self.faults, self.directory = lab, faults, directory
        self.loops = {fault.name: Loop(fault) for fault in faults}
        self.hosts: dict[str, Host] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, Loop]:
        try:
            self._go()
        finally:
            self.lab.remove(*map(copy_name, self.faults))
        return self.loops

    def _go(self) -> None:
        outcomes = {fault.name: Outcome(fault) for fault in self.faults}
        self.hosts = _plant(self.lab, outcomes)
        for name, outcome in outcomes.items():
            self.loops[name].problem = outcome.problem
        planted = planted_inventory(self.lab, [self.loops[name].fault for name in self.hosts], self.hosts)
        self.inventory = self.directory / "planted.json"
        self.inventory.write_text(json.dumps(planted), encoding="utf-8")
        self._state("before")
        self._audit("before")
        self._harden("first")
        self._audit("after")
        asked = {name: outcomes[name] for name in self.hosts}
        _ask_oracle(self.lab, self.hosts, asked)
        for name, outcome in asked.items():
            self.loops[name].sees = dict(outcome.sees)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(self._flows, self.hosts))
        self._harden("second")
        self._playbook("rollback", "rollback.yml", "-e", "mta_rollback_serial=100%")
        self._state("back")
        self._audit("again")

    def _playbook(self, phase: str, name: str, *more: str) -> dict[str, Any]:
        """What each task answered, by host."""
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "inventories/lab", "-i", str(self.inventory), f"playbooks/{name}",
             "-e", "mta_target=planted", "-e", "mta_audit_profile=strict", "-e", "mta_audit_canary=",
             "-e", '{"mta_audit_vantages": []}', "-e", f"mta_report_directory={self.directory / phase}", *more],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
                 "ANSIBLE_FORKS": "6"},
        )  # fmt: skip
        (self.directory / f"{phase}.json").write_text(done.stdout + done.stderr, encoding="utf-8")
        try:
            told: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        except ValueError:
            raise AssertionError(f"{name} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}") from None
        return told

    def _audit(self, phase: str) -> None:
        self._playbook(phase, "audit.yml")
        found = sorted((self.directory / phase).glob("runs/*/findings.json"))
        by_host = {host.name: self.loops[name] for name, host in self.hosts.items()}
        for finding in json.loads(found[-1].read_text(encoding="utf-8"))["findings"] if found else []:
            if finding["host"] in by_host and finding["status"] == "fail":
                getattr(by_host[finding["host"]], phase).add((finding["control"], finding["subject"]["name"]))

    def _harden(self, phase: str) -> None:
        told = self._playbook(
            phase, "harden.yml", "-e", "mta_harden_confirmed=true", "-e", "mta_harden_max_disruption=high",
            "-e", "mta_harden_unproven=true", "-e", "mta_harden_serial=100%",
        )  # fmt: skip
        by_host = {host.name: self.loops[name] for name, host in self.hosts.items()}
        for loop in by_host.values():
            loop.changed.append(False)
        for task in (task for play in told["plays"] for task in play["tasks"]):
            for host, answer in task["hosts"].items():
                if host in by_host:
                    _keep(by_host[host], task["task"]["name"], answer, phase)

    def _flows(self, name: str) -> None:
        """Whether a stranger's mail for a mailbox is taken."""
        host, fault = self.hosts[name], self.loops[name].fault
        port = "587" if fault.listener.endswith(":587") and fault.base.startswith("sub") else "25"
        said = self.lab.execute(
            "neighbour", "swaks", "--server", str(host.ipv4), "--port", port, "--from", "probe@stranger.test",
            "--to", f"alice@{host.mail_domain}", "--helo", "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "20",
        )  # fmt: skip
        self.loops[name].flows = said.stdout

    def _state(self, phase: str) -> None:
        def look(name: str) -> None:
            self.loops[name].state[phase] = self.lab.execute(self.hosts[name].name, "sh", "-c", STATE).stdout

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(look, self.hosts))


def _keep(loop: Loop, task: str, answer: dict[str, Any], phase: str) -> None:
    if answer.get("failed"):
        loop.told += f"{phase}: {task}: {answer.get('msg')}\n"
    if task.endswith("Plan what to mend") and phase == "first" and "plan" in answer:
        loop.plan = answer["plan"]
    if task.endswith(" Change") or task == "Change":
        loop.changed[-1] = bool(answer.get("changed"))
