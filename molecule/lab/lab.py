#!/usr/bin/env python3
"""Bring up, look at and take down the lab: a small internet of mail servers in containers (described by lab.yml).

As a program: lab.py up | down | status | build | exec | clone | plant | remove | publish | unpublish | inventory | doctor | clean
As a module:  from lab import Lab; Lab().up()
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mtalab.config import Config, Host, load
from mtalab.engine import LabError, Podman, Result, allow_many_hosts, locked, missing_tools, say, state_directory, step
from mtalab.faults import load as load_faults
from mtalab.faults import plant_all, planted_inventory
from mtalab.hosts import LABEL_CLONE_OF, Hosts
from mtalab.images import Images
from mtalab.inventory import host_variables, inventory, static_inventory_text
from mtalab.networks import Networks, conflicts, look_at_machine

__all__ = ["Lab", "LabError"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")

STARTS_AT_ONCE = 4
INVENTORIES = Path(__file__).resolve().parents[2] / "inventories"
INVENTORY = INVENTORIES / "lab" / "hosts.yml"
ON_DEMAND_INVENTORY = INVENTORIES / "lab_on_demand" / "hosts.yml"


class Lab:
    """The lab on this machine."""

    def __init__(self, config: Config | None = None, state: Path | None = None) -> None:
        self.config = config or load()
        self.podman = Podman(state or state_directory())
        self.images = Images(self.config, self.podman)
        self.networks = Networks(self.podman, self.config.prefix, self.config.networks)
        self.hosts = Hosts(self.config, self.podman, self.images)
        self.podman.prepare()

    # Whole lab

    def up(self, names: Iterable[str] = (), again: bool = False) -> list[str]:
        """Have the standing hosts (or those named) running and answering; returns those that had to be made.

        With `again` they are made anew from their images, whatever was changed in them.
        """
        wanted = self._named(names) or self.config.standing()
        with locked(self.podman.state, "up"):
            self._ensure_key()
            allow_many_hosts()
            self.images.build({host.image for host in wanted})
            if self.networks.up():
                say("networks created: " + ", ".join(self.config.networks))
            with step(f"starting or checking {len(wanted)} hosts"):
                existing = {} if again else self.hosts.existing()
                made = self._parallel(lambda host: self.hosts.ensure(host, existing), wanted)
        changed = [host.name for host, was_made in zip(wanted, made, strict=True) if was_made]
        say(f"up; made: {', '.join(changed) or 'nothing, all were there'}")
        return changed

    def down(self, names: Iterable[str] = ()) -> None:
        """Remove the lab's containers and networks (by label), or only the hosts named; images stay."""
        named = [host.name for host in self._named(names)]
        with locked(self.podman.state, "up"):
            existing = [name for name in self.hosts.existing() if name in named or not named]
            self._parallel(self.hosts.remove, existing)
            if not named:
                self.networks.down()
        say(f"down; removed {len(existing)} hosts")

    def clean(self) -> None:
        """`down`, and remove the lab's images and saved base systems too. The ssh key stays."""
        self.down()
        with locked(self.podman.state, "up"):
            # Without --force, which would remove the containers that others have made of an image.
            done = {image: self.podman.run("rmi", image, check=False) for image in self.images.all_references()}
            # A nameless stage may be gone with its child, or be a layer of somebody's image.
            if kept := [image for image, result in done.items() if result.returncode and image.startswith("localhost/")]:
                say("kept, as something else uses them: " + ", ".join(kept))
            for tar in self.podman.state.glob("base-*.tar"):
                tar.unlink()

    def build(self, names: Iterable[str] = ()) -> list[str]:
        """Build the images that the standing hosts (or those named) miss; returns their names."""
        wanted = self._named(names) or self.config.standing()
        with locked(self.podman.state, "up"):
            return self.images.build({host.image for host in wanted})

    def status(self) -> list[tuple[str, str, str, str]]:
        """(host, state, addresses, image) of every host and clone; state: up, dead (listed, no answer), stopped, absent."""
        existing = self.hosts.existing()
        everyone = {**self.config.hosts, **self.hosts.clones()}

        def state(host: Host) -> str:
            container = existing.get(host.name)
            if container is None:
                return "absent"
            if not container.running:
                return "stopped"
            return "up" if self.hosts.answers(host) else "dead"

        states = self._parallel(state, list(everyone.values()))
        return [
            (host.name, word, " ".join(a for address in host.addresses for a in (address.ipv4, address.ipv6)), host.image)
            for host, word in zip(everyone.values(), states, strict=True)
        ]

    # One host

    def execute(self, host: str, *command: str, stdin: str | None = None, timeout_s: float = 120) -> Result:
        """Run a command in a host or clone: return code and output."""
        return self.hosts.execute(host, command, stdin, timeout_s)

    def clone(self, original: str, name: str, lan: bool = False) -> Host:
        """Start a throw-away copy of a good host at a free address; with `lan`, behind the gateway."""
        if not self.config.hosts.get(original) or not self.config.hosts[original].mail_domain:
            raise LabError(f"{original} is not a mail server of the lab")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
            raise LabError(f"{name!r} cannot be a host name: lower-case letters, digits and dashes")
        if self.images.missing({self.config.hosts[original].image}):
            self.build([original])
        with locked(self.podman.state, "addresses"):
            host = self.hosts.reserve_clone(original, name, "lan" if lan else "inet")
        self.hosts.start(host)
        return host

    def remove(self, *names: str) -> None:
        """Remove throw-away copies; names that do not exist are fine, good hosts are refused."""
        if kept := [name for name in names if name in self.config.hosts]:
            raise LabError(f"not a throw-away copy: {', '.join(kept)}")
        self._parallel(self.hosts.remove, list(names))

    def remove_clones(self) -> None:
        self.remove(*[name for name, found in self.hosts.existing().items() if LABEL_CLONE_OF in found.labels])

    def host(self, name: str) -> Host:
        """The description of a host or clone."""
        found = self.config.hosts.get(name) or self.hosts.clones().get(name)
        if not found:
            raise LabError(f"no host {name} in the lab")
        return found

    def mail_log(self, name: str) -> str:
        """The mail log of a host or clone: Exim's own, else the file on Debian 12 and the journal on Debian 13."""
        journal = "journalctl --facility=mail --no-pager --output=short-iso"
        script = (
            "for log in /var/log/exim4/mainlog /var/log/mail.log; do [ -f $log ] && exec cat $log; done; "
            f"exec {journal}"
        )
        return self.execute(name, "sh", "-c", script).stdout

    def set_record(self, zone: str, owner: str, kind: str, data: str) -> None:
        """Add a record to a zone while the DNS server runs, for 60 s TTL; lasts until that server is made again."""
        steps = (["zone-begin", zone], ["zone-set", zone, owner, "60", kind, data], ["zone-commit", zone])
        self._knot(zone, steps)

    def unset_record(self, zone: str, owner: str, kind: str) -> None:
        """Remove all records of that owner and kind."""
        self._knot(zone, (["zone-begin", zone], ["zone-unset", zone, owner, kind], ["zone-commit", zone]))

    def _knot(self, zone: str, steps: Iterable[Sequence[str]]) -> None:
        with locked(self.podman.state, "zones"):
            for words in steps:
                done = self.execute(self.config.dns_server, "knotc", "--blocking", *words)
                if done.returncode != 0:
                    self.execute(self.config.dns_server, "knotc", "zone-abort", zone)
                    raise LabError(f"dns: {' '.join(words)}: {done.stderr or done.stdout}")

    # The gateway's fault: a port forwarded inwards (RELAY-08)

    def publish(self, name: str, port: int = 25, hide_clients: bool = False) -> str:
        """Forward a port of the gateway's outer IPv4 address to a host on the lan; returns that outer address.

        With `hide_clients` the connection also gets the gateway's inner address as its source: the SNAT hole.
        One port of one host at a time.
        """
        gateway = self.config.hosts["gateway"].ipv4
        rules = publishing_rules(gateway, self.host(name).ipv4, port, hide_clients)
        done = self.execute("gateway", "nft", "-f", "-", stdin=rules)
        if done.returncode != 0:
            raise LabError(f"gateway: {done.stderr}")
        return gateway

    def unpublish(self) -> None:
        """Undo `publish`, also when there is nothing to undo."""
        self.execute("gateway", "nft", "delete", "table", "ip", "lab_publish")

    # Ansible

    def inventory(self) -> dict[str, Any]:
        """Hosts and running clones, as a static inventory; use it together with inventories/lab/group_vars."""
        return inventory(self.config, {**self.config.hosts, **self.hosts.clones()})

    def clone_inventory(self) -> dict[str, Any]:
        """Running clones only."""
        return inventory(self.config, self.hosts.clones())

    # Parts

    def _named(self, names: Iterable[str]) -> list[Host]:
        unknown = [name for name in names if name not in self.config.hosts]
        if unknown:
            raise LabError(f"no such host: {', '.join(unknown)}; there are: {', '.join(self.config.hosts)}")
        return [self.config.hosts[name] for name in names]

    def _ensure_key(self) -> None:
        key = self.podman.state / "ssh_key"
        if not key.exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mtaudit lab", "-f", str(key)]
            subprocess.run(words, check=True)

    @staticmethod
    def _parallel(work: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
        """Do `work` for each item, a few at a time; raises one LabError that holds every failure."""
        with ThreadPoolExecutor(max_workers=STARTS_AT_ONCE) as pool:
            jobs = [pool.submit(work, item) for item in items]
        failures = [str(job.exception()) for job in jobs if job.exception()]
        if failures:
            raise LabError("\n".join(failures))
        return [job.result() for job in jobs]


def publishing_rules(gateway: str, inner: str, port: int, hide_clients: bool) -> str:
    """nftables rules that forward a port of the gateway's outer address inwards."""
    hide = f'oifname "lan" ip daddr {inner} tcp dport {port} masquerade' if hide_clients else ""
    return f"""\
table ip lab_publish
delete table ip lab_publish
table ip lab_publish {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    iifname "inet" ip daddr {gateway} tcp dport {port} dnat to {inner}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat - 1;
    {hide}
  }}
}}
"""


def doctor() -> int:
    """Say what this machine has and what stands in the way; returns the number of problems."""
    problems = 0
    if missing := missing_tools():
        say("missing: apt-get install --no-install-recommends " + " ".join(missing))
        return 1
    lab = Lab()
    say(f"state in {lab.podman.state}; podman configuration {lab.podman.conf}")
    found = conflicts(lab.config.networks.values(), look_at_machine(frozenset(lab.networks.existing().values())))
    for text in found:
        say("conflict: " + text)
    problems += len(found)
    unbuilt = lab.images.missing({host.image for host in lab.config.standing()})
    say("images to build: " + (", ".join(unbuilt) or "none"))
    for name, state, _, _ in lab.status():
        if state not in {"up", "absent"}:
            say(f"{name} is {state}: `lab.py up` repairs it")
            problems += 1
    say("no problem found" if not problems else f"{problems} problems")
    return problems


def write_inventory(lab: Lab, check: bool) -> int:
    """Write the inventories of the standing hosts and of those on demand, or with `check` say whether they are current."""
    stale = 0
    for path, on_demand in ((INVENTORY, False), (ON_DEMAND_INVENTORY, True)):
        text = static_inventory_text(lab.config, on_demand)
        if not check:
            path.write_text(text, encoding="utf-8")
            continue
        current = path.exists() and path.read_text(encoding="utf-8") == text
        stale += not current
        say(f"{path.parent.name}/{path.name} is {'current' if current else 'out of date: run lab.py inventory --write'}")
    return min(stale, 1)


def plant_faults(lab: Lab, names: Sequence[str], shown: bool, inventory: Path | None) -> None:
    """Plant the named faults, and with `shown` those that are marked so."""
    known = {fault.name: fault for fault in load_faults()}
    if unknown := [name for name in names if name not in known]:
        raise LabError(f"no such fault in molecule/lab/faults: {', '.join(unknown)}")
    chosen = [fault for fault in known.values() if fault.name in names or (shown and fault.shown)]
    say(f"planting {len(chosen)} faults in copies of the good hosts ...")
    planted = planted_inventory(lab, chosen, plant_all(lab, chosen))
    if inventory:
        inventory.parent.mkdir(parents=True, exist_ok=True)
        inventory.write_text(json.dumps(planted, indent=2), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="have the standing hosts, or those named, running")
    up.add_argument("hosts", nargs="*", metavar="HOST")
    up.add_argument("--again", action="store_true", help="make them anew, whatever was changed in them")
    down = commands.add_parser("down", help="remove the lab's containers and networks, or only the hosts named")
    down.add_argument("hosts", nargs="*", metavar="HOST")
    commands.add_parser("clean", help="down, and remove its images and base systems")
    commands.add_parser("status", help="show every host").add_argument("--json", action="store_true")
    commands.add_parser("build", help="build the images that are missing").add_argument("hosts", nargs="*", metavar="HOST")
    run = commands.add_parser("exec", help="run a command in a host")
    run.add_argument("host")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="CMD")
    clone = commands.add_parser("clone", help="start a throw-away copy of a good host")
    clone.add_argument("original", metavar="GOODHOST")
    clone.add_argument("name", metavar="NAME")
    clone.add_argument("--lan", action="store_true", help="behind the gateway")
    planting = commands.add_parser("plant", help="start copies with planted faults (faults/*.yml)")
    planting.add_argument("faults", nargs="*", metavar="FAULT")
    planting.add_argument("--shown", action="store_true", help="those that `make audit` shows")
    planting.add_argument("--inventory", type=Path, metavar="FILE", help="write an inventory of the copies")
    remove = commands.add_parser("remove", help="remove throw-away copies")
    remove.add_argument("names", nargs="*", metavar="NAME")
    remove.add_argument("--all", action="store_true", help="every copy")
    publish = commands.add_parser("publish", help="forward a port of the gateway to a host on the lan")
    publish.add_argument("host")
    publish.add_argument("--port", type=int, default=25)
    publish.add_argument("--hide-clients", action="store_true", help="with the gateway as source: the SNAT hole")
    commands.add_parser("unpublish", help="undo publish")
    listing = commands.add_parser("inventory", help="print the inventory of hosts and clones as JSON")
    listing.add_argument("--clones", action="store_true", help="clones only")
    listing.add_argument("--write", action="store_true", help="write the inventories from lab.yml")
    listing.add_argument("--check", action="store_true", help="fail when they are out of date")
    commands.add_parser("doctor", help="say what stands in the way")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    try:
        return run_command(chosen)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def run_command(chosen: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit code."""
    if chosen.command == "doctor":
        return min(doctor(), 1)
    lab = Lab()
    match chosen.command:
        case "up":
            lab.up(chosen.hosts, chosen.again)
        case "down":
            lab.down(chosen.hosts)
        case "clean":
            lab.clean()
        case "build":
            say("built: " + (", ".join(lab.build(chosen.hosts)) or "nothing, all images are there"))
        case "status":
            rows = lab.status()
            if chosen.json:
                print(json.dumps([dict(zip(("host", "state", "addresses", "image"), row, strict=True)) for row in rows]))
            for row in [] if chosen.json else rows:
                print(f"{row[0]:<18} {row[1]:<8} {row[3]:<10} {row[2]}")
            absent_is_fine = {name for name, host in lab.config.hosts.items() if host.on_demand}
            return 0 if all(row[1] == "up" or (row[1] == "absent" and row[0] in absent_is_fine) for row in rows) else 1
        case "exec":
            return lab.hosts.interactive(chosen.host, chosen.words or ["bash"], sys.stdin.isatty())
        case "clone":
            print(json.dumps(host_variables(lab.config, lab.clone(chosen.original, chosen.name, chosen.lan))))
        case "plant":
            plant_faults(lab, chosen.faults, chosen.shown, chosen.inventory)
        case "remove":
            lab.remove(*chosen.names)
            if chosen.all:
                lab.remove_clones()
        case "publish":
            print(lab.publish(chosen.host, chosen.port, chosen.hide_clients))
        case "unpublish":
            lab.unpublish()
        case "inventory":
            if chosen.write or chosen.check:
                return write_inventory(lab, chosen.check)
            print(json.dumps(lab.clone_inventory() if chosen.clones else lab.inventory(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
