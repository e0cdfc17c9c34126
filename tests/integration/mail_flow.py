"""Run mta_mail_flow as the role does: on a copy of a lab host, and on the stranger against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

CANARY = "canary@canary.test"
PROGRAMS = {"mx": "postfix", "full": "postfix", "exim": "exim", "sendmail": "sendmail", "opensmtpd": "opensmtpd"}


class FlowingHost:
    """A copy of a good host, and what flows there."""

    def __init__(self, lab: Lab, base: str, name: str, directory: Path) -> None:
        self.lab, self.base, self.name, self.directory = lab, base, name, directory
        self.about = lab.host(name)
        self.known = f"bob@{self.about.mail_domain}"
        self.program = PROGRAMS[base.partition("-")[0]]

    def shell(self, script: str) -> str:
        done = self.lab.execute(self.name, "sh", "-c", script)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def module(self, where: str, **arguments: Any) -> dict[str, Any]:
        """What the module answers, over ssh."""
        inventory = self.directory / "hosts.json"
        inventory.write_text(json.dumps(self.lab.clone_inventory()))
        environment = {**os.environ, "ANSIBLE_LIBRARY": str(ROOT / "library"), "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils")}
        command = [sys.executable, "-m", "ansible", "adhoc", "-i", str(ROOT / "inventories/lab"), "-i", str(inventory), where]
        done = subprocess.run([*command, "-m", "mta_mail_flow", "-a", json.dumps(arguments)], cwd=self.directory, env=environment,
                              capture_output=True, text=True, check=False)  # fmt: skip
        _, arrow, said = done.stdout.partition(" => ")
        assert arrow, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(said)
        assert "answers" in answer, answer
        return answer

    def run(self, before: list[dict[str, Any]] | None = None, login: bool = True, **more: Any) -> dict[str, Any]:
        """All directions; `more` are arguments of the vantage's call."""
        handed = self.module(self.name, action="hand_over", target=self.name, canary=CANARY, known_recipient=self.known)
        auth = [{"target": self.name, "username": "alice", "password": "Wren-Copper-Lantern-58"}]
        targets = [{"name": self.name, "host": self.about.ipv4, "known_recipient": self.known}]
        arguments = {
            "action": "send", "targets": targets, "auth": auth if login else [], "sender": "probe@stranger.test",
            "canary": CANARY, "canary_check": {"url": f"http://{self.lab.host('sink').ipv4}:8025/token/{{token}}"},
            "helo": "mail.stranger.test", "answers": handed["answers"], "canary_wait_s": 10, "put_off_s": 5, **more,
        }  # fmt: skip
        sent = self.module("stranger", **arguments)
        compared = {} if before is None else {"before": before}
        return self.module(self.name, action="confirm", answers=sent["answers"], programs=[{"name": self.program}],
                           log_wait_s=10 if before is None else 5, **compared)  # fmt: skip


def arrived(answer: dict[str, Any]) -> set[str]:
    """`in 25`, `submission 587`, `out`, `local`: what arrived, as the module says."""
    named = {f"{a['direction']} {a['where'].rpartition(':')[2]}".replace(" sendmail", ""): a for a in answer["answers"]}
    return {name for name, a in named.items() if a["status"] == "arrived"}


@contextmanager
def flowing_host(lab: Lab, base: str, directory: Path) -> Iterator[FlowingHost]:
    """A copy that is gone afterwards."""
    name = f"t-flow-{uuid.uuid4().hex[:6]}"
    lab.up(["router", "dns", "sink", "stranger"])
    lab.clone(base, name)
    try:
        yield FlowingHost(lab, base, name, directory)
    finally:
        lab.remove(name)
