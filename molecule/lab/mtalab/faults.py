"""Faults: read faults/*.yml, plant one in a throw-away copy of a good host. Their README.md says what a row means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mtalab.config import Host
from mtalab.engine import LabError
from mtalab.inventory import host_variables

if TYPE_CHECKING:
    from lab import Lab

FAULTS = Path(__file__).resolve().parents[1] / "faults"
CHECKS = Path(__file__).resolve().parents[3] / "checks"
# Images of other programs than Postfix bring these along.
GREET = "/usr/local/lib/lab/greet"
# Without a terminal `postfix reload` fails in silence; its reason is in the log.
ACTIVATE = """
if [ -x /usr/local/lib/lab/activate ]; then /usr/local/lib/lab/activate; exit; fi
for attempt in 1 2 3 4 5; do postfix reload && exit 0; sleep 1; done
echo 'postfix reload failed:'; journalctl --no-pager -o cat -n 8; exit 1
"""
# A copy's sshd and Postfix answer before this; what a fault itself waits for counts too.
PLANT_S = 120.0  # some install packages


@dataclass(frozen=True)
class Session:
    """How the session that shows the fault differs from the plain one."""

    port: int = 25
    sender: str = "probe@stranger.test"
    recipient: str = "canary@canary.test"
    helo: str = "mail.stranger.test"
    xclient: str = ""
    proxy: str = ""

    def filled(self, domain: str, client: str) -> Session:
        """With the copy's mail domain and the client's address in their places."""
        texts = (self.sender, self.recipient, self.helo, self.xclient, self.proxy)
        return Session(self.port, *(text.format(domain=domain, client=client) for text in texts))


@dataclass(frozen=True)
class Fault:
    """One fault and what must come of it; `area` is the name of its file."""

    name: str
    area: str
    base: str
    plant: str
    control: str
    verdict: str
    sees: Mapping[str, str] = field(default_factory=dict)
    activate: str = ACTIVATE
    lan: bool = False
    site: Mapping[str, Any] = field(default_factory=dict)
    listener: str = "*:25"
    session: Session = Session()
    plain: Mapping[str, str] = field(default_factory=dict)
    shown: bool = False  # part of what `make audit` shows
    releases: Sequence[str] = ()  # where it comes to this, when not everywhere
    also: Sequence[str] = ()
    also_on: Sequence[str] = ()
    asks: str = ""
    where: str = "stranger"
    shows: str = ""

    @property
    def on_other_release(self) -> Fault:
        """The same on Debian 13."""
        return replace(self, name=f"{self.name}-d13", base=self.base.replace("d12", "d13"))

    def variables(self) -> dict[str, Any]:
        """The inventory variables that say what the site declares."""
        found = {f"mta_audit_{name}": value for name, value in self.site.items() if name not in ("tunables", "gateways")}
        if self.site.get("tunables"):
            found["mta_audit_tunables"] = {self.control: self.site["tunables"]}
        return found


def load(directory: Path = FAULTS) -> list[Fault]:
    """Every fault of the files. Raises TypeError on a key that no fault has, ValueError on a name used twice."""
    found = []
    for path in sorted(directory.glob("*.yml")):
        for data in yaml.safe_load(path.read_text(encoding="utf-8"))["faults"]:
            session = Session(**data.pop("with", {}))
            found.append(Fault(area=path.stem, **data, session=session))
    names = [fault.name for fault in found]
    if len(set(names)) != len(names):
        raise ValueError(f"{directory}: used twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    return found


def sample(faults: Sequence[Fault]) -> list[Fault]:
    """The first fault that fails: of each control, of critical ones with each program; and the good hosts as they are.
    A control on the host itself is the same for all programs."""
    entries = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CHECKS.glob("*/*-*.yml")]
    critical = (entry for entry in entries if entry["severity"] == "critical")
    with_each = {entry["id"] for entry in critical if set(entry.get("components", ())) != {"os"}}
    chosen: dict[tuple[str, str], Fault] = {}
    for fault in sorted(faults, key=lambda fault: fault.verdict != "fail"):
        program = re.sub(r"(mx|full)?-.*", "", fault.base) if fault.control in with_each else "any"
        chosen.setdefault((program, fault.control), fault)
    return [fault for fault in faults if fault in chosen.values() or not fault.plant]


def copy_name(fault: Fault) -> str:
    """The copy's name; unique for each fault and release, and a host name's length."""
    release = re.sub(r".*-", "", fault.base)
    return f"{release}-{fault.name.removesuffix('-d13')}"[:41].rstrip("-")


def plant(lab: Lab, fault: Fault) -> Host:
    """A copy of the fault's base with the fault in force. Raises LabError with what the shell said."""
    host = lab.clone(fault.base, copy_name(fault), fault.lan)
    if fault.lan:
        lab.publish(host.name, hide_clients=True)
    # A name of its own in the greeting: a prober takes servers of one name for one server, and spares it.
    name = lab.hosts.address_name(host)
    # Into force at once: what the row activates may be another program.
    banner = f"postconf -e 'smtpd_banner = {name} ESMTP'; postfix reload || {{ sleep 1; postfix reload; }}"
    greeting = f"if [ -x {GREET} ]; then {GREET} {name}; else {banner}; fi"
    script = f"set -e\n{greeting}\n{fault.plant}\n{fault.activate}\n"
    done = lab.execute(host.name, "sh", "-c", script, timeout_s=PLANT_S)
    if done.returncode != 0:
        raise LabError(f"{fault.name} could not be planted, status {done.returncode}: {done.stdout}{done.stderr}")
    return host


def published_address(lab: Lab, fault: Fault, host: Host, family: int) -> str:
    """Where clients reach the copy: its own address, or the gateway's where it is published there; empty when they cannot."""
    if fault.lan:
        return lab.host("gateway").ipv4 if family == 4 else ""
    return host.ipv4 if family == 4 else host.ipv6


def variables(lab: Lab, fault: Fault, host: Host) -> dict[str, Any]:
    """The inventory variables of a copy in which the fault was planted."""
    addresses = [published_address(lab, fault, host, family) for family in (4, 6)]
    usual, own = host_variables(lab.config, host), fault.variables()
    tunables = {**usual.get("mta_audit_tunables", {}), **own.get("mta_audit_tunables", {})}
    return {**usual, **own, "mta_audit_tunables": tunables, "mta_audit_addresses": [a for a in addresses if a]}


def plant_all(lab: Lab, faults: Sequence[Fault], at_a_time: int = 3) -> dict[str, Host]:
    """Every fault in a copy of its own, those of an earlier call made anew; by the fault's name."""
    lab.remove(*map(copy_name, faults))
    with ThreadPoolExecutor(at_a_time) as pool:
        hosts = list(pool.map(lambda fault: plant(lab, fault), faults))
    return {fault.name: host for fault, host in zip(faults, hosts, strict=True)}


def planted_inventory(lab: Lab, faults: Sequence[Fault], hosts: Mapping[str, Host]) -> dict[str, Any]:
    """A static inventory of the copies, to be used beside inventories/lab: group `planted`, below mail_servers."""
    listed = {hosts[fault.name].name: variables(lab, fault, hosts[fault.name]) for fault in faults}
    return {"mail_servers": {"children": {"planted": {"hosts": listed}}}}
