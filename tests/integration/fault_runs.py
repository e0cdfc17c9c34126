"""Plant faults in copies of the lab's hosts, ask an independent oracle what they do, audit them; batch by batch."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402
from mtalab.config import Host  # noqa: E402
from mtalab.engine import LabError  # noqa: E402
from mtalab.faults import (  # noqa: E402
    Fault,
    Session,
    copy_name,
    plant,
    planted_inventory,
    published_address,
)

BIN = Path(sys.executable).parent
BATCH = 24  # copies at a time: about 2 GB
AT_ONCE = 6  # copies that the oracle asks: most of its time is their tarpits
# The clients of a fault's rows: which vantage, and over which family.
CLIENTS = {"stranger4": ("stranger", 4), "neighbour": ("neighbour", 4), "stranger6": ("stranger", 6)}


@dataclass
class Outcome:
    """What became of one fault: what the oracle saw, and what the audit found."""

    fault: Fault
    sees: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    shown: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    def failing(self) -> set[tuple[str, str]]:
        """The controls and subjects that fail."""
        return {(f["control"], f["subject"]["name"]) for f in self.findings if f["status"] == "fail"}


def run(lab: Lab, faults: Sequence[Fault], directory: Path) -> dict[str, Outcome]:
    """Every fault, planted in a copy of its base; by name."""
    outcomes: dict[str, Outcome] = {}
    for number, batch in enumerate(_batches(faults)):
        print(f"faults {len(outcomes) + 1} to {len(outcomes) + len(batch)} of {len(faults)}", file=sys.stderr, flush=True)
        outcomes.update(_batch(lab, batch, directory / str(number)))
    return outcomes


def _batches(faults: Sequence[Fault]) -> list[list[Fault]]:
    """At most BATCH at a time, and one of those behind the gateway, which publishes one host."""
    behind = [fault for fault in faults if fault.lan]
    others = [fault for fault in faults if not fault.lan]
    number = max(-(-len(others) // (BATCH - 1)), len(behind))
    return [behind[n : n + 1] + others[n::number] for n in range(number)]


def _batch(lab: Lab, faults: Sequence[Fault], directory: Path) -> dict[str, Outcome]:
    outcomes = {fault.name: Outcome(fault) for fault in faults}
    try:
        hosts = _plant(lab, outcomes)
        planted = {name: outcomes[name] for name in hosts}
        _ask_oracle(lab, hosts, planted)
        _ask_otherwise(lab, hosts, planted)
        _audit(lab, hosts, planted, directory)
    finally:
        lab.unpublish()
        lab.remove(*map(copy_name, faults))
    return outcomes


def _plant(lab: Lab, outcomes: dict[str, Outcome]) -> dict[str, Host]:
    """The copies, by fault; what cannot be planted says so in its own outcome."""
    lab.remove(*(copy_name(outcome.fault) for outcome in outcomes.values()))

    def one(outcome: Outcome) -> Host | None:
        for _ in range(2):  # a copy that did not come up well on a busy machine is made anew, once
            try:
                host = plant(lab, outcome.fault)
            except LabError as exc:
                outcome.problem = str(exc)
                lab.remove(copy_name(outcome.fault))
            else:
                outcome.problem = ""
                return host
        return None

    with ThreadPoolExecutor(3) as pool:
        hosts = dict(zip(outcomes, pool.map(one, outcomes.values()), strict=True))
    return {name: host for name, host in hosts.items() if host}


# The oracle: swaks, on the vantages


def _ask_oracle(lab: Lab, hosts: dict[str, Host], outcomes: dict[str, Outcome]) -> None:
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        list(pool.map(lambda client: _ask_as(client, lab, hosts, outcomes), CLIENTS))


def _ask_as(client: str, lab: Lab, hosts: dict[str, Host], outcomes: dict[str, Outcome]) -> None:
    vantage, family = CLIENTS[client]
    source = lab.host(vantage).ipv4 if family == 4 else lab.host(vantage).ipv6
    questions: list[tuple[dict[str, str], Outcome, str]] = []
    of_copy: dict[str, list[str]] = {}  # one after the other: some copies count sessions
    for name, outcome in outcomes.items():
        where = published_address(lab, outcome.fault, hosts[name], family)
        domain = hosts[name].mail_domain or ""
        for answers, expected, session in (
            (outcome.sees, outcome.fault.sees, outcome.fault.session.filled(domain, source)),
            (outcome.plain, outcome.fault.plain, Session()),
        ):
            if client in expected:
                command = f"{swaks(where, family, session)} > {len(questions)} 2>&1"
                of_copy.setdefault(name, []).append(command)
                questions.append((answers, outcome, "session" if answers is outcome.sees else "plain"))
    commands = "\n".join("; ".join(commands) for commands in of_copy.values())
    script = f"""set -e; cd $(mktemp -d)
xargs -d '\\n' -P {AT_ONCE} -n 1 sh -c <<'COMMANDS' || true
{commands}
COMMANDS
for n in $(seq 0 {len(questions) - 1}); do echo "=== $n"; cat "$n"; done; rm -r "$PWD"
"""
    done = lab.execute(vantage, "sh", stdin=script, timeout_s=900)
    for text, (answers, outcome, which) in zip(re.split(r"^=== \d+\n", done.stdout, flags=re.M)[1:], questions, strict=False):
        answers[client] = verdict(text)
        outcome.said[f"{client} {which}"] = text


def _ask_otherwise(lab: Lab, hosts: dict[str, Host], outcomes: dict[str, Outcome]) -> None:
    """What a fault's own command says, on the stranger or in the copy, and what the copy then has in its journal."""

    def ask(name: str) -> None:
        fault, copy = outcomes[name].fault, hosts[name].name
        command = fault.asks.replace("{address}", published_address(lab, fault, hosts[name], 4))
        said = lab.execute({"copy": copy}.get(fault.where, fault.where), "bash", "-c", command, timeout_s=60)
        logged = lab.execute(copy, "journalctl", "--no-pager", "--output=cat", timeout_s=60)
        outcomes[name].shown = said.stdout + said.stderr + logged.stdout

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, (name for name, outcome in outcomes.items() if outcome.fault.asks)))


def swaks(where: str, family: int, session: Session) -> str:
    """The command that asks one RCPT and stops."""
    words = ["timeout", "25", "swaks", f"-{family}", "--server", where, "--port", str(session.port), "--timeout", "15"]
    words += ["--from", session.sender or "<>", "--to", session.recipient, "--helo", session.helo, "--quit-after", "RCPT"]
    if session.xclient:
        words += ["--xclient", session.xclient]
    if session.proxy:
        words += ["--proxy", session.proxy.removeprefix("PROXY ")]  # swaks says that word itself
    return shlex.join(words)


def verdict(text: str) -> str:
    """What swaks' transcript says: open, closed, unknown, or down when there was no banner."""
    rcpt = re.search(r"^\s*-> RCPT TO:.*\n((?:.*\n)*)", text, re.M)
    replies = re.findall(r"^<(?:-|\*\*) +(\d{3})[ -](.*)$", rcpt.group(1), re.M) if rcpt else []
    # swaks waits for no answer to PROXY; a server that knows no such command gives one, and every other comes one line late.
    if re.search(r"^\s*-> PROXY .*\n<-  220 .*\n\s*-> EHLO .*\n<\*\* 500", text, re.M):
        replies = replies[1:]
    if replies and replies[0][0].startswith("2"):
        return "open"
    if replies:
        permanent = replies[0][0].startswith("5") or "Relay access denied" in replies[0][1]
        return "closed" if permanent else "unknown"
    if "did not advertise XCLIENT" in text or "XCLIENT not advertised" in text:
        return "closed"
    if not re.search(r"^<-  220", text, re.M):
        return "down"
    refused = re.search(r"^<\*\* (\d)", text, re.M)
    return "closed" if refused and refused.group(1) == "5" else "unknown"


# The product


def _audit(lab: Lab, hosts: dict[str, Host], outcomes: dict[str, Outcome], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    inventory = directory / "planted.json"
    planted = planted_inventory(lab, [outcome.fault for outcome in outcomes.values()], hosts)
    inventory.write_text(json.dumps(planted), encoding="utf-8")
    command = [
        str(BIN / "ansible-playbook"), "-i", "inventories/lab", "-i", str(inventory), "playbooks/audit.yml",
        "-e", "mta_target=planted", "-e", "mta_audit_profile=strict", "-e", f"mta_report_directory={directory}",
        "-e", "mta_audit_probe_canary_wait_s=8", "-e", "mta_audit_probe_retry_after_s=1",
        "-e", "mta_audit_probe_target_timeout_s=240",
        "-e", '{"mta_audit_vantages": ["stranger", "neighbour"]}',
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    )
    (directory / "ansible.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    found = sorted(directory.glob("runs/*/findings.json"))
    by_host = {host.name: name for name, host in hosts.items()}
    if done.returncode != 0 or not found:
        for outcome in outcomes.values():
            outcome.problem = f"the audit ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"
    for finding in json.loads(found[-1].read_text(encoding="utf-8"))["findings"] if found else []:
        if finding["host"] in by_host:  # the questions for people are about the site
            outcomes[by_host[finding["host"]]].findings.append(finding)
