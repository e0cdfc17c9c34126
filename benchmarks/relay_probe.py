#!/usr/bin/env python3
"""Time the relay probe against nmap's smtp-open-relay on the same targets, whole process against whole process.

    benchmarks/relay_probe.py one ADDRESS [--port 25] [--domain DOMAIN]   one closed Postfix
    benchmarks/relay_probe.py many [--listeners 500] [--delay-ms 40]      a sink of our own with an emulated round trip
    benchmarks/relay_probe.py overhead HOST ADDRESS --inventory FILE      the same probe as a task of Ansible, for comparison

Product and peer run in turns; the figure is the median of the ratios of the pairs. A ratio is void when the 16 verdicts differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs import in_turns, median, ratio

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "benchmarks/relay_probe_engine.py"
FULL, SAME, PEER = "mtaudit, whole battery", "mtaudit, nmap's 16 forms", "nmap"
SENDER, CANARY, SINK_PORT = "probe@stranger.test", "canary@canary.test", 2525


@dataclass
class Outcome:
    """One run of one tool: seconds of the whole process; by address, the numbers of nmap's forms that passed."""

    wall_s: float
    cpu_s: float
    passed: dict[str, tuple[int, ...]]
    answered: dict[str, int]

    def __str__(self) -> str:
        return f"{self.wall_s:.3f} s, {self.cpu_s:.3f} s CPU"


def timed(command: Sequence[str]) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds and output of a command. Raises RuntimeError when it fails."""
    before, start = os.times(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - start, os.times()
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return wall, after.children_user + after.children_system - before.children_user - before.children_system, done.stdout


def product(addresses: Sequence[str], port: int, domain: str, concurrency: int, battery: str) -> Outcome:
    """The engine as a process of its own, with our whole battery (`full`) or with nmap's 16 forms only (`nmap`)."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(
            {
                "addresses": list(addresses),
                "port": port,
                "domain": domain,
                "concurrency": concurrency,
                "battery": battery,
                "sender": SENDER,
                "canary": CANARY,
            },
            file,
        )
        file.flush()
        wall, cpu, text = timed([sys.executable, "-I", str(ENGINE), file.name])
    passed, answered = {}, {}
    for listener in json.loads(text):
        forms = listener["forms"]
        passed[listener["host"]] = tuple(sorted(number for number, meaning in forms if meaning == "accepted"))
        answered[listener["host"]] = len(forms)
    return Outcome(wall, cpu, passed, answered)


def nmap(addresses: Sequence[str], port: int) -> Outcome:
    """nmap with the same canary, without name look-ups, and with its faster timing."""
    local, _at, domain = CANARY.rpartition("@")
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(addresses))
        file.flush()
        wall, cpu, text = timed(
            [
                "nmap",
                "-n",
                "-Pn",
                "-T4",
                "-vv",
                "-p",
                str(port),
                "--script",
                "+smtp-open-relay",
                "--script-args",
                f"smtp-open-relay.domain={domain},smtp-open-relay.to={local},smtp-open-relay.from=probe",
                "-iL",
                file.name,
                "-oN",
                "-",
            ]
        )
    passed, answered = {}, {}
    for part in text.split("Nmap scan report for ")[1:]:
        address = part.split()[0]
        finished = "smtp-open-relay:" in part and ("all tests failed" in part or "is an open relay" in part)
        answered[address] = 16 if finished else 0
        passed[address] = tuple(
            sorted(_number(line, local, domain) for line in re.findall(r"MAIL FROM:<.*> -> RCPT TO:<.*>", part))
        )
    return Outcome(wall, cpu, passed, answered)


def _number(line: str, local: str, domain: str) -> int:
    """Which of nmap's 16 forms an envelope is."""
    sender, _arrow, recipient = line.partition(" -> ")
    sender, recipient = sender[11:-1], recipient[9:-1]
    shape = (
        re.sub(r"\[[^\]]*\]", "[I]", recipient)
        .replace(f"{local}@{domain}", "T")
        .replace(f"{local}%{domain}", "P")
        .replace(f"{domain}!{local}", "B")
    )
    if shape == "T":
        return 1 if not sender else 2 if sender.endswith(f"@{domain}") else 4 if "[" in sender else 3
    shape = re.sub(r"(?<=@)[\w.-]+\Z|(?<=@)[\w.-]+(?=:)", "S", shape)
    return {
        "P@[I]": 5,
        "P@S": 6,
        '"T"': 7,
        '"P"': 8,
        "T@[I]": 9,
        '"T"@[I]': 10,
        "T@S": 11,
        "@[I]:T": 12,
        "@S:T": 13,
        "B": 14,
        "B@[I]": 15,
        "B@S": 16,
    }[shape]


def compare(addresses: Sequence[str], port: int, domain: str, rounds: int, concurrency: int) -> dict[str, Any]:
    """Our whole battery with control envelopes, nmap's 16 forms by our engine, and nmap, in turns after a warm-up."""
    ways = {
        FULL: lambda: product(addresses, port, domain, concurrency, "full"),
        SAME: lambda: product(addresses, port, "", concurrency, "nmap"),
        PEER: lambda: nmap(addresses, port),
    }
    product(addresses[:1], port, domain, concurrency, "full")
    found = in_turns(ways, rounds, {})
    peer = [outcome for outcome in found[PEER] if outcome]
    figures: dict[str, Any] = {"listeners": len(addresses), "load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
    figures[PEER] = f"{median(outcome.wall_s for outcome in peer):.2f} s"
    for way in (FULL, SAME):
        ours = [outcome for outcome in found[way] if outcome]
        void = [problem for mine, theirs in zip(ours, peer) if (problem := differences(addresses, mine, theirs))]
        faster = "void: " + void[0] if void else str(ratio([o.wall_s for o in peer], [o.wall_s for o in ours]))
        wall, cpu = median(o.wall_s for o in ours), median(o.cpu_s for o in ours)
        figures[way] = f"{wall:.3f} s, {cpu:.3f} s CPU; nmap takes {faster}"
    return figures


def differences(addresses: Sequence[str], ours: Outcome, theirs: Outcome) -> str:
    """Why a pair does not count; empty when all 16 verdicts of every address are there and the same."""
    for address in addresses:
        if ours.answered.get(address) != 16 or theirs.answered.get(address) != 16:
            return f"{address} has {ours.answered.get(address, 0)} and {theirs.answered.get(address, 0)} of 16 verdicts"
        if ours.passed[address] != theirs.passed[address]:
            return f"{address}: forms {ours.passed[address]} against {theirs.passed[address]} passed"
    return ""


class Sink(asyncio.Protocol):
    """A closed server that answers each piece of input after a delay: the round trip of a distant host."""

    delay_s = 0.04

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.rest, self.name = b"", "h" + transport.get_extra_info("sockname")[0].replace(".", "-") + ".bench.test"
        self.later(f"220 {self.name} ESMTP\r\n".encode())

    def later(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, data)

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        self.later(b"".join(self.reply(line) for line in lines))
        if b"QUIT" in lines:
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.close)

    def reply(self, line: bytes) -> bytes:
        if line.startswith(b"EHLO"):
            return f"250-{self.name}\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n".encode()
        if line.startswith(b"RCPT") and b"<postmaster@bench.test>" not in line:
            return b"554 5.7.1 Relay access denied\r\n"
        return b"221 2.0.0 Bye\r\n" if line == b"QUIT" else b"250 2.1.0 Ok\r\n"


async def sink(listeners: int, delay_ms: float) -> None:
    """Serve until ended. Says `ready` when all addresses listen."""
    Sink.delay_s = delay_ms / 1000
    await asyncio.get_running_loop().create_server(Sink, addresses_of(listeners), SINK_PORT, backlog=200)
    print("ready", flush=True)
    await asyncio.Event().wait()


def addresses_of(listeners: int) -> list[str]:
    """Loopback addresses: every one of 127.0.0.0/8 is there without being configured (Linux)."""
    return [f"127.77.{n // 250}.{n % 250 + 1}" for n in range(listeners)]


def many(listeners: int, delay_ms: float, rounds: int) -> dict[str, Any]:
    """The probe and nmap against a sink in a process of its own."""
    command = [sys.executable, __file__, "sink", str(listeners), str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout and server.stdout.readline() == "ready\n", "the sink did not start"
            return {"delay_ms": delay_ms, **compare(addresses_of(listeners), SINK_PORT, "bench.test", rounds, listeners)}
        finally:
            server.terminate()


def overhead(host: str, address: str, inventory: str, domain: str, rounds: int) -> dict[str, Any]:
    """The whole `ansible` command with the probe as its task, for the share that is Ansible's."""
    target = {
        "host": address,
        "known_recipient": f"postmaster@{domain}" if domain else "",
        "local_domains": [domain] if domain else [],
    }
    arguments = json.dumps({"targets": [target], "sender": SENDER, "canary": CANARY, "deliver": False})
    os.environ.update(ANSIBLE_LIBRARY=str(ROOT / "library"), ANSIBLE_MODULE_UTILS=str(ROOT / "module_utils"))
    ansible = shutil.which("ansible", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "ansible"
    walls = [timed([ansible, host, "-i", inventory, "-m", "mta_relay_probe", "-a", arguments])[0] for _round in range(rounds)]
    return {"ansible_wall_s": round(statistics.median(walls), 2), "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one_parser = commands.add_parser("one", help="one closed server")
    one_parser.add_argument("address")
    one_parser.add_argument("--port", type=int, default=25)
    many_parser = commands.add_parser("many", help="many listeners with an emulated round trip")
    many_parser.add_argument("--listeners", type=int, default=500)
    many_parser.add_argument("--delay-ms", type=float, default=40)
    overhead_parser = commands.add_parser("overhead", help="the probe as a task of Ansible")
    overhead_parser.add_argument("host")
    overhead_parser.add_argument("address")
    overhead_parser.add_argument("--inventory", required=True)
    for each, rounds in ((one_parser, 5), (many_parser, 3), (overhead_parser, 3)):
        each.add_argument("--rounds", type=int, default=rounds)
        each.add_argument("--domain", default="", help="a domain local to the server, with a postmaster, for the control probes")
    sink_parser = commands.add_parser("sink", help="only the sink, until it is ended")
    sink_parser.add_argument("listeners", type=int)
    sink_parser.add_argument("delay_ms", type=float)
    options = parser.parse_args()
    if options.command == "sink":
        return asyncio.run(sink(options.listeners, options.delay_ms))
    if options.command == "overhead":
        figures = overhead(options.host, options.address, options.inventory, options.domain, options.rounds)
    elif not shutil.which("nmap"):
        sys.exit("nmap is not installed: nothing to compare with")
    elif options.command == "one":
        figures = compare([options.address], options.port, options.domain, options.rounds, 10)
    else:
        figures = many(options.listeners, options.delay_ms, options.rounds)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
