"""Talk to the lab's servers and ask its sink what arrived. swaks is the oracle: none of our own code speaks here."""

from __future__ import annotations

import json
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab, LabError  # noqa: E402

__all__ = ["CANARY", "ROOT", "Lab", "LabError", "arrivals", "dialogues", "eventually", "login", "send", "swaks"]

CANARY = "canary@canary.test"
Found = TypeVar("Found")


def eventually(look: Callable[[], Found | None], seconds: float = 10) -> Found:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def swaks(lab: Lab, vantage: str, server: str, *words: str) -> str:
    """A dialogue as swaks shows it."""
    return lab.execute(vantage, *_swaks(server, *words)).stdout


def _swaks(server: str, *words: str) -> list[str]:
    return ["swaks", "--server", server, "--timeout", "20", "--helo", "probe.stranger.test", *words]


def dialogues(lab: Lab, vantage: str, server: str, each: Sequence[Sequence[str]]) -> list[str]:
    """Several dialogues as swaks shows them, four side by side, for one start of a command in the vantage."""
    end = f"=== end {uuid.uuid4().hex}"
    lines = ["d=$(mktemp -d)"]
    for number, words in enumerate(each):
        lines.append(f"{shlex.join(_swaks(server, *words))} > $d/{number} 2>&1 &")
        lines += ["wait"] if number % 4 == 3 else []
    lines += ["wait", f"for n in $(seq 0 {len(each) - 1}); do cat $d/$n; echo '{end}'; done", "rm -r $d"]
    return lab.execute(vantage, "sh", "-c", "\n".join(lines)).stdout.split(end)[:-1]


def send(lab: Lab, vantage: str, server: str, recipient: str, sender: str = "probe@stranger.test", *words: str) -> str:
    return swaks(lab, vantage, server, "--from", sender, "--to", recipient, *words)


def login(lab: Lab, user: str = "alice") -> list[str]:
    return ["--auth", "PLAIN", "--auth-user", user, "--auth-password", lab.config.logins[user]]


def arrivals(lab: Lab, token: str) -> list[dict[str, object]]:
    """What the sink tells a vantage over HTTP; empty while it answers 404."""
    script = (
        "import sys, urllib.request, urllib.error\n"
        "try: print(urllib.request.urlopen(sys.argv[1]).read().decode())\n"
        "except urllib.error.HTTPError as error: print(error.read().decode() if error.code == 404 else 'broken')\n"
    )
    url = f"http://{lab.host('sink').ipv4}:8025/token/{token}"
    found: list[dict[str, object]] = json.loads(lab.execute("stranger", "python3", "-c", script, url).stdout)
    return found
