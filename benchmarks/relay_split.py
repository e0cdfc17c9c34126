#!/usr/bin/env python3
"""How long mail of one direction takes while the queue of the other is full: one Postfix for both, and one for each.

Two copies of one good host, one of them parted by mta_relay_split. A third host takes connections and never greets to the end:
mail for it fills the active queue. Message by message in turns on both, so that what disturbs the machine disturbs both. Needs
the lab, as root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))

from audited_copy import Copy, throw_away_copy  # noqa: E402

SESSIONS = 90  # of the flood: below Postfix's limit of processes
TARPIT = """
systemctl stop postfix postfix@- 2>/dev/null
cat > /root/tarpit.py <<'END'
import asyncio
async def hold(reader, writer):
    while True:
        writer.write(b"220-one moment\\r\\n")
        await writer.drain()
        await asyncio.sleep(60)
async def main():
    async with await asyncio.start_server(hold, None, 25) as server:
        await server.serve_forever()
asyncio.run(main())
END
nohup python3 /root/tarpit.py >/dev/null 2>&1 &
"""
# Without filters, which would be measured; a domain of the site whose mailboxes are on the host that never greets.
SERVER = """
postconf -e 'smtpd_milters =' 'relay_domains = stuck.test' 'transport_maps = inline:{{ {{stuck.test = smtp:[{tarpit}]}} }}'
systemctl reload postfix
"""
SEND = """
import json, smtplib, time
sent = {{}}
for token in {tokens}:
    begun = time.time()
    try:
        with smtplib.SMTP("127.0.0.1", {port}, timeout={wait_s}) as client:
            client.sendmail("alice@{domain}", ["{to}".replace("TOKEN", token)], "Subject: %s\\r\\n\\r\\nhello\\r\\n" % token)
        sent[token] = begun
    except OSError:
        pass
print(json.dumps(sent))
"""
# A message is there when it has its name: the time of its directory entry.
IN_MAILBOX = """
import glob, json, os, re
found = {}
for path in glob.glob("/home/alice/Maildir/new/*"):
    token = re.search(r"(?m)^Subject: (b[0-9a-f]{32})$", open(path, errors="replace").read())
    if token:
        found[token[1]] = os.stat(path).st_ctime
print(json.dumps(found))
"""
AT_THE_SINK = """
import glob, json, os
print(json.dumps({path.split("/")[4]: os.stat(path).st_ctime for path in glob.glob("/var/lib/sink/b*/*.json")}))
"""


class Server:
    """A copy; `out_port` takes mail of the host's own that leaves, `out` is the queue of that."""

    def __init__(self, name: str, copy: Copy, out_port: int, out: str) -> None:
        self.name, self.copy, self.out_port, self.out = name, copy, out_port, out
        self.domain = copy.lab.host(copy.name).mail_domain

    def flood(self, number: int, port: int, to: str) -> float:
        """Seconds that it took."""
        begun = time.monotonic()
        flood = f"smtp-source -s {SESSIONS} -m {number} -l 1000 -f alice@{self.domain} -t {to} 127.0.0.1:{port}"
        done = self.copy.lab.execute(self.copy.name, "sh", "-c", flood, timeout_s=3600)
        assert done.returncode == 0, done.stdout + done.stderr
        return time.monotonic() - begun

    def waiting(self, directory: str) -> str:
        count = "for q in incoming active deferred; do echo $q $(find $q -type f | wc -l); done | xargs"
        return str(self.copy.shell(f"cd $(postconf -c {directory} -h queue_directory); {count}"))

    def send(self, token: str, direction: str, wait_s: float) -> Optional[float]:
        """When the message was begun, of one that was taken."""
        port, to = (25, f"alice@{self.domain}") if direction == "in" else (self.out_port, "canary+TOKEN@canary.test")
        sent = self.copy.python(SEND.format(tokens=[token], port=port, wait_s=wait_s, domain=self.domain, to=to))
        return sent.get(token)

    def arrived(self, direction: str) -> dict[str, float]:
        if direction == "in":
            return dict(self.copy.python(IN_MAILBOX))
        return dict(json.loads(self.copy.lab.execute("sink", "python3", "-", stdin=AT_THE_SINK).stdout))

    def empty(self) -> None:
        """With the queue managers anew: they hold the messages that they had taken up."""
        for directory in {"/etc/postfix", self.out}:
            self.copy.shell(f"postsuper -c {directory} -d ALL 2>&1 || true")
        units = "systemctl list-units --plain --no-legend 'postfix@*' postfix.service | cut -d' ' -f1"
        self.copy.shell(f"systemctl restart $({units})")


def latencies(servers: list[Server], direction: str, messages: int, wait_s: float) -> dict[str, list[Optional[float]]]:
    """Seconds from the connection to the mailbox, by server; None for what had not arrived `wait_s` after the last was sent."""
    begun: dict[str, dict[str, Optional[float]]] = {server.name: {} for server in servers}
    for _ in range(messages):
        for server in servers:
            token = f"b{uuid.uuid4().hex}"
            begun[server.name][token] = server.send(token, direction, wait_s)
    end = time.monotonic() + wait_s
    found: dict[str, list[Optional[float]]] = {}
    while True:
        for server in servers:
            at = server.arrived(direction)
            of = begun[server.name].items()
            found[server.name] = [at[token] - then if then and token in at else None for token, then in of]
        if all(None not in seconds for seconds in found.values()) or time.monotonic() > end:
            return found
        time.sleep(1)


def told(seconds: list[Optional[float]]) -> dict[str, Any]:
    """Median and 95th percentile; None where that message did not arrive."""
    ordered = sorted(float("inf") if value is None else value for value in seconds)
    figures = {"median_s": statistics.median_high(ordered), "p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]}
    arrived = sum(value is not None for value in seconds)
    return {**{name: None if value == float("inf") else round(value, 3) for name, value in figures.items()},
            "arrived": arrived, "of": len(seconds)}  # fmt: skip


def measure(servers: list[Server], tarpit: str, number: int, messages: int, wait_s: float) -> Iterator[Mapping[str, Any]]:
    for direction, flooded in (("in", "outbound"), ("out", "inbound")):
        before = latencies(servers, direction, messages, wait_s)
        for server in servers:
            out = flooded == "outbound"
            took = server.flood(number, server.out_port if out else 25, f"nobody@[{tarpit}]" if out else "nobody@stuck.test")
            waiting = server.waiting(server.out if out else "/etc/postfix")
            print(f"{server.name}: {waiting.strip()}; sent in {took:.0f} s", file=sys.stderr, flush=True)
        during = latencies(servers, direction, messages, wait_s)
        for server in servers:
            row = {"mail": direction, "flooded": flooded, "server": server.name}
            yield {**row, "before": told(before[server.name]), "during": told(during[server.name])}
            server.empty()


def shown(row: Mapping[str, Any], wait_s: float) -> str:
    def figures(about: Mapping[str, Any]) -> str:
        values = [f"> {wait_s:g}" if about[name] is None else f"{about[name]:.3f}" for name in ("median_s", "p95_s")]
        return f"{values[0]} | {values[1]} | {about['arrived']}/{about['of']}"

    was, now = row["before"]["median_s"], row["during"]["median_s"]
    longer = f"{now / was:.2f} x" if was and now else f"> {wait_s / was:.0f} x" if was else ""
    about = (row["mail"], row["flooded"], row["server"], figures(row["before"]), figures(row["during"]), longer)
    return f"| {' | '.join(about)} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--base", default="full-d12")
    options.add_argument("--flood", type=int, default=20_000, help="messages that cannot be delivered")
    options.add_argument("--messages", type=int, default=30, help="messages that are timed, for each server")
    options.add_argument("--wait-s", type=float, default=60, help="how long to wait for them")
    given = options.parse_args()
    with ExitStack() as stack:
        one, two, tarpit = (
            stack.enter_context(throw_away_copy(given.base, name, Path(stack.enter_context(tempfile.TemporaryDirectory()))))
            for name in ("bench-one", "bench-two", "bench-tarpit")
        )
        address = str(tarpit.lab.host(tarpit.name).ipv4)
        tarpit.shell(TARPIT)
        for copy in (one, two):
            copy.shell(SERVER.format(tarpit=address))
        two.ansible("ansible", two.name, "-m", "mta_relay_split", "-a", "action=split", timeout_s=900)
        servers = [Server("one queue", one, 25, "/etc/postfix"), Server("two queues", two, 10587, "/etc/postfix-out")]
        print("| mail | flooded | server | median s | p95 s | arrived | median s, flood | p95 s, flood | arrived | longer |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for row in measure(servers, address, given.flood, given.messages, given.wait_s):
            print(shown(row, given.wait_s), flush=True)
    subprocess.run(["uptime"], stdout=sys.stderr, check=False)


if __name__ == "__main__":
    main()
