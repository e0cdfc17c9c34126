"""Faults: read faults.yml, plant one in a throw-away copy of a good host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mtalab.config import Host
from mtalab.engine import LabError

if TYPE_CHECKING:
    from lab import Lab

FAULTS = Path(__file__).resolve().parents[1] / "faults.yml"
ACTIVATE = "postfix reload"
# A copy's sshd and Postfix answer before this; what a fault itself waits for counts too.
PLANT_S = 60.0


@dataclass(frozen=True)
class Session:
    """How the session that shows the fault differs from the plain one; see the head of faults.yml."""

    port: int = 25
    sender: str = "probe@stranger.test"
    recipient: str = "canary@canary.test"
    helo: str = "mail.stranger.test"
    xclient: str = ""
    proxy: str = ""

    def filled(self, domain: str, client: str) -> Session:
        """With the copy's mail domain and the client's address in their places."""
        return Session(
            self.port,
            *(text.format(domain=domain, client=client) for text in (self.sender, self.recipient, self.helo, self.xclient, self.proxy)),
        )


@dataclass(frozen=True)
class Fault:
    """One fault and what must come of it; see the head of faults.yml."""

    name: str
    base: str
    plant: str
    control: str
    verdict: str
    sees: Mapping[str, str]
    activate: str = ACTIVATE
    lan: bool = False
    site: Mapping[str, Any] = field(default_factory=dict)
    listener: str = "*:25"
    session: Session = Session()
    plain: Mapping[str, str] = field(default_factory=dict)
    shown: bool = False  # part of what `make audit` shows

    def variables(self) -> dict[str, Any]:
        """The inventory variables that say what the site declares."""
        found = {f"mta_audit_{name}": value for name, value in self.site.items() if name not in ("tunables", "gateways")}
        if self.site.get("tunables"):
            found["mta_audit_tunables"] = {self.control: self.site["tunables"]}
        return found


def load(path: Path = FAULTS) -> list[Fault]:
    """Every fault of the file. Raises TypeError on a key that no fault has, ValueError on a name used twice."""
    found = []
    for data in yaml.safe_load(path.read_text(encoding="utf-8"))["faults"]:
        session = Session(**data.pop("with", {}))
        found.append(Fault(**data, session=session))
    names = [fault.name for fault in found]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: used twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    return found


def copy_name(fault: Fault, base: str = "") -> str:
    """The copy's name; unique for each fault and base, and a host name's length."""
    release = re.sub(r".*-", "", base or fault.base)
    return f"{release}-{fault.name}"[:41].rstrip("-")


def plant(lab: Lab, fault: Fault, base: str = "") -> Host:
    """A copy of the fault's base (or of another release's) with the fault in force. Raises LabError with what the shell said."""
    host = lab.clone(base or fault.base, copy_name(fault, base), fault.lan)
    if fault.lan:
        lab.publish(host.name, hide_clients=True)
    script = f"set -e\n{fault.plant}\n{fault.activate}\n"
    done = lab.execute(host.name, "sh", "-c", script, timeout_s=PLANT_S)
    if done.returncode != 0:
        raise LabError(f"{fault.name} could not be planted: {done.stdout}{done.stderr}")
    return host
