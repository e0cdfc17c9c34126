"""The simulation against real Exim 4.96 and 4.98: right about a good host and a planted hole, and it leaves nothing behind."""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = pytest.mark.lab

CLOSED = {"RELAY-03": ["pass"], "SENDER-03": ["pass"], "RELAY-10": ["pass"]}
ACL = "/etc/exim4/conf.d/acl/30_exim4-config_check_rcpt"
STATE = "find /var/spool/exim4 /var/log/exim4 /etc/exim4 /var/lib/exim4 /run/exim4 -printf '%p %s %T@ %i\\n' | sort; pgrep exim4"
# Runs the real Exim and turns its answers about recipients round.
OPPOSITE = """#!/usr/bin/python3
import subprocess, sys, threading
real = subprocess.Popen(["/usr/sbin/exim4", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
asked = []
def forward():
    for line in sys.stdin.buffer:
        asked.append(line[:4])
        real.stdin.write(line); real.stdin.flush()
    real.stdin.close()
threading.Thread(target=forward, daemon=True).start()
for line in real.stdout:
    if line.startswith((b"250 Accepted", b"550 ")) and asked and asked[-1] == b"RCPT":
        line = b"550 relay not permitted\\r\\n" if line.startswith(b"250") else b"250 Accepted\\r\\n"
    sys.stdout.buffer.write(line); sys.stdout.buffer.flush()
"""
DRIVER = """
import json, sys
sys.path.insert(0, "/run/mtaudit-sim"); sys.dont_write_bytecode = True
from mtaudit.control import Site
from mtaudit.readers import exim, network
from mtaudit.runner import LocalRunner
from mtaudit.simulate import exim as simulation
from mtaudit.simulate.envelopes import Declared
if sys.argv[1:] == ["opposite"]:
    simulation.PROGRAMS = ("/run/mtaudit-sim/opposite",)
runner = LocalRunner()
declared = Declared("canary@canary.test", "probe@stranger.test")
answer = simulation.simulate_all(exim.read(runner), Site(), network.read(runner), declared)
print(json.dumps({"spawns": answer.spawns, "findings": [f.to_dict() for f in answer.findings]}))
"""


class Copy:
    """A throw-away copy of a good Exim host, with our code in it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self._name = name
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(ROOT / "module_utils" / "mtaudit", "mtaudit", filter=lambda i: None if "__pycache__" in i.name else i)
            for path, text in (("opposite", OPPOSITE), ("driver", DRIVER)):
                member = tarfile.TarInfo(path)
                member.mode, member.size = 0o755, len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        packed = base64.b64encode(buffer.getvalue()).decode()
        self.sh("mkdir -p /run/mtaudit-sim && base64 -d | tar -C /run/mtaudit-sim -xf -", packed)

    def sh(self, script: str, stdin: str | None = None) -> str:
        done = self._lab.execute(self._name, "sh", "-c", script, stdin=stdin)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def simulate(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sh(f"python3 -B /run/mtaudit-sim/driver {' '.join(arguments)}"))
        return found


@pytest.fixture(scope="module", params=["d12", "d13"])
def host(request: pytest.FixtureRequest) -> Iterator[Copy]:
    lab, name = Lab(), f"t-bh-{uuid.uuid4().hex[:8]}"
    lab.up([f"exim-{request.param}"])
    try:
        lab.clone(f"exim-{request.param}", name)
        yield Copy(lab, name)
    finally:
        lab.remove(name)


def said(answer: dict[str, Any], listener: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in answer["findings"]:
        if finding["subject"]["name"] == listener:
            found.setdefault(finding["control"], []).append(finding["status"])
    return found


def test_a_good_host_passes_and_nothing_is_touched(host: Copy) -> None:
    before = host.sh(STATE)
    answer = host.simulate()
    assert host.sh(STATE) == before
    assert [said(answer, name) for name in ("*:25", "*:465", "*:587")] == [CLOSED] * 3
    assert "550 relay not permitted" in str(answer) and 0 < answer["spawns"] <= 40


def test_another_program_flips_the_verdict(host: Copy) -> None:
    assert "fail" in said(host.simulate("opposite"), "*:25")["RELAY-03"]


def test_a_hole_on_one_port_only_is_seen_there_only(host: Copy) -> None:
    """Plain `exim -bh` does not see it: the local port is what -oMi says."""
    statement = "accept condition = ${if eq{$received_port}{2525}}"
    host.sh(f"cp -a /etc/exim4 /root/kept; sed -i '/^acl_check_rcpt:/a {statement}' {ACL}")
    try:
        host.sh("sed -i 's/^daemon_smtp_ports = .*/& : 2525/' /etc/exim4/conf.d/main/000_localmacros; update-exim4.conf")
        answer = host.simulate()
        assert said(answer, "*:25") == CLOSED and said(answer, "*:2525")["RELAY-03"] == ["fail"]
    finally:
        host.sh("rm -rf /etc/exim4; mv /root/kept /etc/exim4; update-exim4.conf")


def test_rate_limits_are_not_counted(host: Copy) -> None:
    statement = "warn ratelimit = 5 / 1h / strict"
    host.sh(f"cp -a /etc/exim4 /root/kept; sed -i '/^acl_check_rcpt:/a {statement}' {ACL}; update-exim4.conf")
    try:
        before = host.sh(STATE)
        answer = host.simulate()
        assert said(answer, "*:25")["RELAY-03"] == ["unknown"] and "ratelimit" in str(answer) and answer["spawns"] == 0
        assert host.sh(STATE) == before
    finally:
        host.sh("rm -rf /etc/exim4; mv /root/kept /etc/exim4; update-exim4.conf")
