"""The closed loop: a planted fault, the audit, the hardening, an independent oracle, a second run, the way back, the audit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fault_runs import BIN, ROOT, Lab, Outcome, _ask_oracle, _ask_otherwise, _plant
from mtalab.config import Host
from mtalab.faults import Fault, copy_name, load, planted_inventory

BATCH = 12
# What is said once a fault is mended, and what is not any more; by the fault's own command, or by that of another one.
AFTERWARDS = {
    "INFO-03": (r"arrived Received", r"arrived Received.*198\.19\.0\.66"),
    "LOG-05": ("", r"told [1-9L]"),
    "PASS-04": ("Authentication failure", r"uid=\d+\(|currently not available"),
    "PASS-01": (r"BAD PASSWORD", r"updated successfully"),
    "policy-forgets": ("(?s)updated successfully.*Password has been already used", "(?s)(updated successfully.*){2}"),
    **dict.fromkeys(("policy-of-a-scheme-that-is-fast", "policy-of-the-scheme-of-login-defs"), (r"dora:\$y\$", r"dora:\$1\$")),
    "policy-password-from-before-the-day": ("You are required to change your password immediately", r"uid=\d+\("),
    **dict.fromkeys(("web-exim-hands-in", "web-exim-hands-in-d13", "web-exim-of-one-file"),
                    (r"(?s)www-data 1\n.*alice 0\n.*root 0\n.*batch 2\n", "250 Accepted")),
    "web-exim-acl-for-programs": (r"sendmail 1\n", r"250 Accepted"),
    "guard-without-any-jail": (r"refused\nkept out: \[Errno 111\]", r"(refused\n){6}"),
    **dict.fromkeys(("guard-without-a-jail-for-exim", "guard-without-a-jail-for-exim-d13", "guard-without-a-jail-for-sendmail",
                     "guard-without-a-filter-for-opensmtpd"), (r"refused\nkept out: ", r"(refused\n){6}")),
    **dict.fromkeys(("guard-watches-what-dovecot-left", "guard-does-not-know-dovecots-lines",
                     "guard-reads-a-journal-that-dovecot-left"), (r"refused\nkept out: ", r"(refused\n){4}")),
    **dict.fromkeys(("guard-reads-what-postfix-left", "guard-reads-what-postfix-left-d13"),
                    (r"refused\ntold [1-9]\d* (told 0 )?told [1-9]", r"refused\ntold [1-9]\d* (told 0 )+$")),
    "session-rate-is-not-limited": (r"(?s)535 .*535 .*450 4\.7\.1 .*too many AUTH commands", r"(<~\* 535 .*\n){3}"),
}
ASKED_AS = {"guard-without-any-jail": "guessing-source-is-banned"}
PLUGINS = Path(__file__).parent / "callback_plugins"
# Everything that configures a host: contents, owners, modes, times and link targets; but for what Debian's init script of
# Sendmail makes anew at each start.
STATE = r"""
cd / && find etc -xdev \( -path etc/resolv.conf -o -path etc/mail/Makefile -o -path etc/mail/databases \
  -o -path etc/mail/sendmail.conf -o -path etc/cron.d/sendmail \) -prune -o -printf '%p %y %m %U %G %l' \
  \( -type d -printf '\n' -o -printf ' %T@\n' \) | sort
find etc -xdev -type f ! -path etc/mail/Makefile ! -path etc/mail/databases ! -path etc/mail/sendmail.conf \
  ! -path etc/cron.d/sendmail -print0 | sort -z | xargs -0 sha256sum
"""


@dataclass
class Loop:
    """What became of one fault. `fails` are the controls and subjects that fail, by phase; `changed` the phases in which the
    hardening changed something; `told` what failed of the run itself."""

    fault: Fault
    problem: str = ""
    fails: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    told: str = ""
    sees: dict[str, str] = field(default_factory=dict)
    flows: str = ""
    said: str = ""
    state: dict[str, str] = field(default_factory=dict)


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
        # Copies of their own, and told apart when their names are cut: other tests plant the same faults.
        self.lab, self.directory = lab, directory
        self.names = {f"m{n}-{fault.name}": fault.name for n, fault in enumerate(faults)}
        self.faults = [replace(fault, name=name) for fault, name in zip(faults, self.names, strict=True)]
        self.loops = {fault.name: Loop(fault) for fault in self.faults}
        self.hosts: dict[str, Host] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, Loop]:
        try:
            self._go()
        finally:
            self.lab.remove(*map(copy_name, self.faults))
        return {self.names[name]: loop for name, loop in self.loops.items()}

    def _go(self) -> None:
        outcomes = {fault.name: Outcome(fault) for fault in self.faults}
        self.hosts = _plant(self.lab, outcomes)
        for name, outcome in outcomes.items():
            self.loops[name].problem = outcome.problem
        planted = planted_inventory(self.lab, [self.loops[name].fault for name in self.hosts], self.hosts)
        self.inventory = self.directory / "planted.json"
        self.inventory.write_text(json.dumps(planted), encoding="utf-8")
        self._state("before")
        self._harden("before")
        asked = {name: outcomes[name] for name in self.hosts}
        _ask_oracle(self.lab, self.hosts, asked)
        for name, outcome in asked.items():
            self.loops[name].sees = dict(outcome.sees)
        self._ask_afterwards()
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(self._flows, self.hosts))
        self._harden("after")
        self._playbook("rollback", "rollback.yml", "-e", "mta_rollback_serial=100%")
        self._state("back")
        self._harden("again", "--check")

    def _ask_afterwards(self) -> None:
        known, telling = {fault.name: fault for fault in load()}, {}
        for name in self.hosts:
            fault = self.loops[name].fault
            asking = known.get(ASKED_AS.get(self.names[name], ""), fault)
            if {self.names[name], fault.control} & set(AFTERWARDS):
                telling[name] = Outcome(replace(fault, asks=asking.asks, where=asking.where))
        _ask_otherwise(self.lab, self.hosts, telling)
        for name, outcome in telling.items():
            self.loops[name].said = outcome.shown

    def _playbook(self, phase: str, name: str, *more: str) -> list[dict[str, Any]]:
        """What each task answered: host, task, failed, answer."""
        answers = self.directory / f"{phase}.jsonl"
        answers.touch()
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "inventories/lab", "-i", str(self.inventory), f"playbooks/{name}",
             "-e", "mta_target=planted", "-e", "mta_audit_profile=strict", "-e", "mta_audit_canary=",
             "-e", '{"mta_audit_vantages": []}', "-e", f"mta_report_directory={self.directory / phase}", *more],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSWERS": str(answers), "ANSIBLE_FORKS": "6",
                 "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS), "ANSIBLE_CALLBACKS_ENABLED": "answers"},
        )  # fmt: skip
        (self.directory / f"{phase}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        told = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
        assert told, f"{name} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
        return told

    def _harden(self, phase: str, *more: str) -> None:
        """The audit that it begins with tells what fails in this phase."""
        told = self._playbook(
            phase, "harden.yml", "-e", "mta_harden_confirmed=true", "-e", "mta_harden_max_disruption=high",
            "-e", "mta_harden_unproven=true", "-e", "mta_harden_serial=100%",
            "-e", '{"mta_harden_acknowledged": ["PASS-04"]}', *more,
        )  # fmt: skip
        by_host = {host.name: self.loops[name] for name, host in self.hosts.items()}
        for line in told:
            if line["host"] in by_host:
                _keep(by_host[line["host"]], line, phase)

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


def _keep(loop: Loop, line: dict[str, Any], phase: str) -> None:
    task, answer = line["task"].rpartition(" : ")[2], line["answer"]
    if line["failed"]:
        loop.told += f"{phase}: {task}: {answer.get('msg')}\n"
    if task == "Audit the hosts":
        failing = [f for f in answer.get("findings", ()) if f["status"] == "fail"]
        loop.fails.setdefault(phase, {(f["control"], f["subject"]["name"]) for f in failing})
    if task == "Plan what to mend" and phase == "before":
        loop.plan = answer.get("plan", {})
    if task == "Change" and answer.get("changed"):
        loop.changed.append(phase)
