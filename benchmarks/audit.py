#!/usr/bin/env python3
"""How fast the audit is: against the same questions as one task each, through testinfra, and against plain ssh as the floor.

Hosts are ports of one lab copy, each with connections of its own, reached over ssh from within the lab's network. All ways run
in turns, each from a cold start. A run is void when a way read anything else than the audit did. Needs the lab, as root.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "molecule/lab"))

import audit_questions  # noqa: E402
import pairs  # noqa: E402
from audit_ways import Target, Way, Ways, clean  # noqa: E402
from lab import Lab  # noqa: E402

COPY, VANTAGE, FIRST_PORT, PORTS_PER_SSHD = "bench-audit", "neighbour", 2201, 12  # sshd takes 16 sockets
PR_SET_CHILD_SUBREAPER = 36
PRODUCT, SIMULATING = "audit, no simulation", "audit"
SLOW = ("one task each", "testinfra")
FIGURES = ("wall_s", "controller_cpu_s", "target_cpu_s")


@dataclass(frozen=True)
class Cost:
    """What a run took. `complete` is false when it was stopped at the time limit: then the figures are lower bounds."""

    wall_s: float
    controller_cpu_s: float
    target_cpu_s: float
    complete: bool = True

    def __str__(self) -> str:
        text = f"wall {self.wall_s:.2f} s, CPU controller {self.controller_cpu_s:.2f} s, target {self.target_cpu_s:.2f} s"
        return text if self.complete else text + ", STOPPED at the limit"


class Meter:
    """Measures a command: all processes it leaves behind on this machine, and the container that it asks (`used`: its CPU s)."""

    def __init__(self, cgroup: str, limit_s: float) -> None:
        self.used = _usage_reader(cgroup)
        self._limit_s = limit_s
        # ssh's masters leave their parent; as subreaper we inherit them, end them, and so get their processor time as well.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def measure(self, way: Way) -> Cost:
        """Run it; raises RuntimeError when it fails or has read something else than the audit."""
        used, start, target = _children_cpu_s(), time.monotonic(), self.used()
        with open(way.directory / "output", "wb") as output:
            process = subprocess.Popen(way.command, cwd=ROOT, env=dict(way.environment), stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                status: Optional[int] = process.wait(self._limit_s)
            except subprocess.TimeoutExpired:
                status = None
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        wall = time.monotonic() - start
        _end_children()
        cost = Cost(wall, _children_cpu_s() - used, self.used() - target, status is not None)
        if status not in (0, None):
            raise RuntimeError(f"{way.command}: {(way.directory / 'output').read_text(errors='replace')[-3000:]}")
        if status is not None and (complaints := way.complaints()):
            raise RuntimeError("void, the answers differ: " + "; ".join(complaints[:5]))
        clean(way)
        return cost


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_children() -> None:
    """End what the command left to us, by number, and wait for it."""
    while left := [int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]:
        for pid in left:
            os.kill(pid, signal.SIGTERM)
        os.wait()


def _usage_reader(cgroup: str) -> Callable[[], float]:
    """Reads the CPU seconds that a control group has used, in version 1 or 2."""
    old = Path(f"/sys/fs/cgroup/cpuacct{cgroup}/cpuacct.usage")
    if old.exists():
        return lambda: int(old.read_text()) / 1e9
    new = Path(f"/sys/fs/cgroup{cgroup}/cpu.stat")
    return lambda: int(dict(line.split() for line in new.read_text().splitlines())["usage_usec"]) / 1e6


def prepare(lab: Lab, hosts: int) -> tuple[str, Target]:
    """A copy with an sshd on many ports. Returns its control group, and where its hosts are."""
    lab.up(["mx-d12", VANTAGE])
    lab.remove(COPY)
    address = lab.clone("mx-d12", COPY).ipv4
    ports = list(range(FIRST_PORT, FIRST_PORT + hosts))
    for first in range(0, hosts, PORTS_PER_SSHD):
        listen = [word for port in ports[first:first + PORTS_PER_SSHD] for word in ("-p", str(port))]
        options = ["-o", "AddressFamily=inet", "-o", "MaxStartups=300", "-o", "PidFile=none"]
        done = lab.execute(COPY, "/usr/sbin/sshd", *options, *listen)
        if done.returncode:
            raise RuntimeError(f"sshd: {done.stderr}")
    return _inspect(lab, COPY, "CgroupPath"), Target(address, ports, lab.podman.state / "ssh_key", _network(lab))


def _network(lab: Lab) -> list[str]:
    return ["nsenter", f"--net=/proc/{_inspect(lab, VANTAGE, 'Pid')}/ns/net", "--"]


def _inspect(lab: Lab, host: str, what: str) -> str:
    return str(lab.podman.run("inspect", "--format", "{{.State." + what + "}}", lab.hosts.container_name(host)).stdout.strip())


def compare(meter: Meter, ways: Ways, rounds: int, slow_rounds: int) -> dict[str, list[Optional[Cost]]]:
    """Everything in turns, after one warm-up of the product and of the floor."""
    makers: dict[str, Callable[[], Way]] = {
        PRODUCT: lambda: ways.audit(False), SIMULATING: lambda: ways.audit(True),
        SLOW[0]: ways.tasks, SLOW[1]: ways.testinfra, "ssh 'postconf -x'": ways.ssh,
    }
    for warm_up in (ways.audit(True), ways.ssh()):
        meter.measure(warm_up)
    runs = {name: (lambda make=make: meter.measure(make())) for name, make in makers.items()}
    return pairs.in_turns(runs, rounds, dict.fromkeys(SLOW, slow_rounds))


def rows(hosts: int, found: dict[str, list[Optional[Cost]]]) -> list[dict[str, Any]]:
    """A row for each way: medians, and how many times more than the audit without simulation it took."""
    result = []
    for name, costs in found.items():
        row: dict[str, Any] = {"hosts": hosts, "way": name, "runs": [asdict(cost) for cost in costs if cost]}
        row["complete"] = all(run["complete"] for run in row["runs"])
        for figure in FIGURES:
            mine, ours = ([getattr(cost, figure) if cost else None for cost in side] for side in (costs, found[PRODUCT]))
            row[figure], row[f"{figure}_ratio"] = pairs.median(mine), pairs.ratio(mine, ours)
        result.append(row)
    return result


def table(found: Sequence[dict[str, Any]]) -> str:
    titles = ["hosts", "way", "wall s", "controller CPU ms/host", "target CPU ms/host", "wall", "controller CPU", "target CPU"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in found:
        per_host = [f"{1000 * row[figure] / row['hosts']:.0f}" for figure in FIGURES[1:]]
        more = "" if row["complete"] else ">= "
        ratios = [f"{more}{row[f'{figure}_ratio']}" for figure in FIGURES]
        lines.append("| " + " | ".join([str(row["hosts"]), row["way"], f"{more}{row['wall_s']:.2f}", *per_host, *ratios]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", default="1,10,50", help="numbers of hosts, at most 150 (default 1,10,50)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the quick ways")
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds of one task each and of testinfra")
    parser.add_argument("--parallel", type=int, default=10, help="forks of Ansible, -n of pytest, -P of xargs")
    parser.add_argument("--limit-s", type=float, default=1800, help="a run that takes longer is stopped, and a lower bound")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    chosen = parser.parse_args()
    numbers = [int(word) for word in chosen.hosts.split(",")]
    lab, load = Lab(), os.getloadavg()[0]
    try:
        cgroup, everyone = prepare(lab, max(numbers))
        questions = audit_questions.record(lab, COPY, {})
        print(f"{len(questions.commands)} questions a host; {os.cpu_count()} cores; load {load:.1f}", file=sys.stderr)
        found: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(prefix="mta-") as directory:
            for hosts in numbers:
                target = Target(everyone.address, everyone.ports[:hosts], everyone.key, everyone.network)
                ways = Ways(target, questions, chosen.parallel, Path(directory))
                found += rows(hosts, compare(Meter(cgroup, chosen.limit_s), ways, chosen.rounds, chosen.slow_rounds))
                print(table(found), file=sys.stderr)
    finally:
        lab.remove(COPY)
    print(table(found))
    if chosen.json:
        facts = {"questions": len(questions.commands), "cores": os.cpu_count(), "load": [load, os.getloadavg()[0]],
                 "parallel": chosen.parallel, "rows": found}
        chosen.json.write_text(json.dumps(facts, indent=1, default=asdict) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
