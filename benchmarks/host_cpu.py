#!/usr/bin/env python3
"""What an audit costs the host that is audited, in CPU for each thing checked: against Lynis and OpenSCAP on the same host.

The three check different things; each cost is divided by the number of its own checks that answered. The audit comes over ssh, as
people run it, with the start of Ansible's module; the others run on the host itself. Needs the lab, as root, and a directory with
Debian 12's packages lynis, openscap-scanner, ssg-debian and what they need.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import audit
import pairs
from audit_questions import record
from audit_ways import Way, Ways
from lab import Lab

# ssg-debian has nothing for Debian 12: without this every rule says that it is not applicable.
DEBIAN_11 = ("sed -i -e 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' -e s/bookworm/bullseye/ /etc/os-release "
             "&& echo 11.9 >/etc/debian_version")
LYNIS = "lynis audit system --quick --no-colors"
OPENSCAP = ("oscap xccdf eval --profile xccdf_org.ssgproject.content_profile_anssi_np_nt28_high "
            "/usr/share/xml/scap/ssg/content/ssg-debian11-ds.xml; [ $? -ne 1 ]")
PRODUCT = "mtaudit"


@dataclass(frozen=True)
class Answer:
    """CPU seconds of the host, and how many checks answered."""

    cpu_s: float
    checks: int

    def __str__(self) -> str:
        return f"{self.cpu_s:.2f} s for {self.checks} checks, {1000 * self.cpu_s / self.checks:.1f} ms each"


def controls_answered(work: Path) -> int:
    """Entries of the catalogue with a verdict other than that they do not apply."""
    (file,) = work.glob("reports/runs/*/hosts/*.json")
    findings = json.loads(file.read_text(encoding="utf-8"))["findings"]
    return len({f["control"] for f in findings if f["status"] not in ("notapplicable", "notchecked")})


def tests_performed(output: str) -> int:
    found = re.search(r"Tests performed\s*:\s*(\d+)", output)
    if found is None:
        raise RuntimeError(f"Lynis says no number of tests: {output[-500:]}")
    return int(found.group(1))


def rules_answered(output: str) -> int:
    return len(re.findall(r"^Result\s+(?:pass|fail)$", output, flags=re.M))


def measured(lab: Lab, packages: Path, rounds: int) -> dict[str, list[Answer]]:
    cgroup, target = audit.prepare(lab, 1)
    shell(lab, "mkdir /root/peers")
    for file in packages.glob("*.deb"):
        lab.podman.run("cp", str(file), f"{lab.hosts.container_name(audit.COPY)}:/root/peers/")
    shell(lab, f"dpkg -i --skip-same-version /root/peers/*.deb && {DEBIAN_11}")
    meter = audit.Meter(cgroup, 600)
    with tempfile.TemporaryDirectory(prefix="mta-") as directory:
        ways = Ways(target, record(lab, audit.COPY, {}), 1, Path(directory))

        def ours() -> Answer:
            counted: list[int] = []
            way = ways.audit(False, "strict")

            def count() -> list[str]:
                counted.append(controls_answered(way.directory))
                return way.complaints()

            cost = meter.measure(Way(way.command, way.environment, count, way.directory))
            return Answer(cost.target_cpu_s, counted[0])

        def peer(command: str, checks: Callable[[str], int]) -> Callable[[], Answer]:
            def run() -> Answer:
                before = meter.used()
                output = shell(lab, command)
                return Answer(meter.used() - before, checks(output))

            return run

        runs = {PRODUCT: ours, "Lynis": peer(LYNIS, tests_performed), "OpenSCAP": peer(OPENSCAP, rules_answered)}
        ours()  # warm-up
        return {name: [a for a in answers if a] for name, answers in pairs.in_turns(runs, rounds, {}).items()}


def shell(lab: Lab, command: str) -> str:
    done = lab.execute(audit.COPY, "sh", "-c", command, timeout_s=600)
    if done.returncode:
        raise RuntimeError(f"{command}: {(done.stdout + done.stderr)[-1000:]}")
    return str(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", type=Path, help="directory with the .deb files")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    lab, load = Lab(), os.getloadavg()[0]
    try:
        found = measured(lab, chosen.packages, chosen.rounds)
    finally:
        lab.remove(audit.COPY)
    print(f"load {load:.1f} to {os.getloadavg()[0]:.1f}", file=sys.stderr)
    print("| way | checks | CPU s | CPU ms a check | peer / mtaudit, a check |\n|---|---|---|---|---|")
    ours = [1000 * a.cpu_s / a.checks for a in found[PRODUCT]]
    for name, answers in found.items():
        each = [1000 * a.cpu_s / a.checks for a in answers]
        print(f"| {name} | {answers[0].checks} | {pairs.median(a.cpu_s for a in answers):.2f} | {pairs.median(each):.1f} "
              f"| {pairs.ratio(each, ours)} |")


if __name__ == "__main__":
    main()
