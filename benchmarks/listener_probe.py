#!/usr/bin/env python3
"""Time the listener probe against nmap's scripts and against openssl s_client, whole process against whole process.

    benchmarks/listener_probe.py ADDRESS ... [--services 25,465/tls,587,143/imap,993/imap/tls] [--domain DOMAIN] [--rounds 5]

All run in turns; the figure is the median of the ratios of the pairs. What all of them find out is compared: until when the
certificate is valid, and whether TLS 1.1 or older is spoken. A round in which that differs makes the ratio void. Nothing is sent.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pairs import in_turns, median, ratio

ENGINE = Path(__file__).with_name("listener_probe_engine.py")
OURS, NMAP, OPENSSL = "mtaudit", "nmap", "openssl s_client"
SCRIPTS = "smtp-commands,imap-capabilities,pop3-capabilities,ssl-cert,ssl-enum-ciphers"
AT_ONCE = 10
STARTTLS = {"smtp": "smtp", "imap": "imap", "pop3": "pop3", "sieve": "sieve"}


@dataclass(frozen=True)
class Place:
    """A listener and what is spoken there."""

    address: str
    port: int
    protocol: str
    tls: bool


Fact = tuple[str, str]  # the certificate's last second in UTC as 20361119T080219, or empty; old TLS: taken, refused or unknown


@dataclass
class Outcome:
    """One run of one way: seconds of the whole process, and what it says of each listener."""

    wall_s: float
    cpu_s: float
    facts: dict[tuple[str, int], Fact]

    def __str__(self) -> str:
        return f"{self.wall_s:.3f} s, {self.cpu_s:.3f} s CPU"


def clocked(work: Callable[[], dict[tuple[str, int], Fact]]) -> Outcome:
    before, start = os.times(), time.monotonic()
    facts = work()
    wall, after = time.monotonic() - start, os.times()
    return Outcome(wall, after.children_user + after.children_system - before.children_user - before.children_system, facts)


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout + done.stderr


def ours(places: Sequence[Place], domain: str) -> dict[tuple[str, int], Fact]:
    """The engine behind the module, from the start of Python to the last byte of the result."""
    targets = [
        {
            "host": address,
            "local_domains": [domain] if domain else [],
            "known_recipient": f"postmaster@{domain}" if domain else "",
            "services": [{"port": p.port, "protocol": p.protocol, "tls": p.tls} for p in places if p.address == address],
        }
        for address in dict.fromkeys(place.address for place in places)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as job:
        json.dump({"targets": targets, "sender": "probe@stranger.test", "helo": "probe.stranger.test"}, job)
        job.flush()
        text = run([sys.executable, "-I", str(ENGINE), job.name])
    found = {}
    for listener in json.loads(text):
        until = listener["tls"]["not_after"]
        stamp = datetime.fromisoformat(until).strftime("%Y%m%dT%H%M%S") if until else ""
        found[listener["host"], listener["port"]] = stamp, listener["tls"]["old"]
    return found


def nmap(places: Sequence[Place], _domain: str) -> dict[tuple[str, int], Fact]:
    """Its scripts for the same questions; ssl-enum-ciphers lists every cipher of each version as well."""
    ports = ",".join(str(port) for port in sorted({place.port for place in places}))
    addresses = list(dict.fromkeys(place.address for place in places))
    text = run(["nmap", "-n", "-Pn", "-T4", "-p", ports, "--script", SCRIPTS, "-oN", "-", *addresses])
    found = {}
    for report in text.split("Nmap scan report for ")[1:]:
        for part in re.split(r"(?m)^(?=\d+/tcp)", report)[1:]:
            until = re.search(r"Not valid after: +(\S+)", part)
            stamp = re.sub(r"[-:]", "", until.group(1)) if until else ""
            old = "taken" if re.search(r"(?m)^\|   TLSv1\.[01]:", part) else "refused" if "TLSv1." in part else "unknown"
            found[report.split()[0], int(part.split("/")[0])] = stamp, old
    return found


def openssl(places: Sequence[Place], _domain: str) -> dict[tuple[str, int], Fact]:
    """Two runs for each listener, ten at a time: today's TLS with its certificate, and TLS 1.1."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip([(place.address, place.port) for place in places], pool.map(_two_handshakes, places)))


def _two_handshakes(place: Place) -> Fact:
    host = f"[{place.address}]" if ":" in place.address else place.address
    how = ["-connect", f"{host}:{place.port}", *([] if place.tls else ["-starttls", STARTTLS[place.protocol]])]
    shown = run(["openssl", "s_client", *how])
    until = re.search(r"NotAfter: (.+? GMT)", shown)
    stamp = datetime.strptime(until.group(1), "%b %d %H:%M:%S %Y %Z").strftime("%Y%m%dT%H%M%S") if until else ""
    old = run(["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", *how])
    return stamp, "taken" if re.search(r"(?m)^New, (?!\(NONE\))", old) else "refused"


def compare(places: Sequence[Place], domain: str, rounds: int) -> dict[str, Any]:
    ways = {OURS: ours, NMAP: nmap, OPENSSL: openssl}
    ours(places[:1], domain)
    found = in_turns({name: lambda way=way: clocked(lambda: way(places, domain)) for name, way in ways.items()}, rounds, {})
    done = {name: [outcome for outcome in outcomes if outcome] for name, outcomes in found.items()}
    figures: dict[str, Any] = {"listeners": len(places), "load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
    for name, outcomes in done.items():
        wall, cpu = median(o.wall_s for o in outcomes), median(o.cpu_s for o in outcomes)
        figures[name] = f"{wall:.3f} s, {cpu:.3f} s CPU"
        if name != OURS:
            void = [text for mine, theirs in zip(done[OURS], outcomes) if (text := differences(places, mine, theirs))]
            times = [ratio([get(o) for o in outcomes], [get(o) for o in done[OURS]]) for get in (_wall, _cpu)]
            figures[name] += f"; void: {void[0]}" if void else f"; takes {times[0]} the time, {times[1]} the CPU"
    return figures


def _wall(outcome: Outcome) -> float:
    return outcome.wall_s


def _cpu(outcome: Outcome) -> float:
    return outcome.cpu_s


def differences(places: Sequence[Place], mine: Outcome, theirs: Outcome) -> str:
    """Why a pair does not count; empty when both say the same of every listener, and something."""
    for place in places:
        ours_said, theirs_said = (outcome.facts.get((place.address, place.port)) for outcome in (mine, theirs))
        if ours_said != theirs_said or not ours_said or not ours_said[0]:
            return f"{place.address}:{place.port}: {ours_said} against {theirs_said}"
    return ""


def places_of(addresses: Sequence[str], services: str) -> list[Place]:
    """`993/imap/tls`: port, protocol (smtp when left out), tls from the first byte."""
    parts = [word.split("/") for word in services.split(",")]
    spoken = [(int(p[0]), next((w for w in p[1:] if w != "tls"), "smtp"), "tls" in p) for p in parts]
    return [Place(address, *each) for address in addresses for each in spoken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--services", default="25,465/tls,587,143/imap,993/imap/tls")
    parser.add_argument("--domain", default="", help="a domain local to the servers, with a postmaster")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missing = [name for name in ("nmap", "openssl") if not shutil.which(name)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; there is nothing to compare with")
    figures = compare(places_of(options.addresses, options.services), options.domain, options.rounds)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
