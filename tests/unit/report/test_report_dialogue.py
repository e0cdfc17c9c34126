"""Beside what a probe found stands the dialogue that shows it, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factory
import pytest

# Two connections of a pipelining probe, interleaved as the transcript keeps them.
LINES = [
    "1* connect to 198.51.100.41 port 25", "1S: 220 mx1.test ESMTP", "1C: MAIL FROM:<>", "1C: RCPT TO:<canary@sink.test>",
    "1S: 250 2.1.0 Ok", "1S: 454 4.7.1 <canary@sink.test>: Relay access denied", "2* connect to 198.51.100.41 port 25",
    "2S: 220 mx1.test ESMTP", "2C: MAIL FROM:<probe@stranger.test>", "1C: QUIT", "2C: RCPT TO:<canary@sink.test>",
    "1S: 221 2.0.0 Bye", "2S: 250 2.1.0 Ok", "2S: 250 2.1.5 Ok", "2C: DATA", "2S: 354 End data", "2C: (message of 440 bytes) .",
    "2S: 250 2.0.0 Ok: queued as 4F8A1",
]


def run(tmp_path: Path, reported: Any, verdict: str = "proven_open", name: str = "mx1", lines: Any = LINES) -> list[str]:
    """The dialogues that the report shows of RELAY-01 on mx1."""
    directory = factory.write_run(tmp_path, [factory.proven_open("mx1")])
    path = directory / "probes/stranger.json"
    data = json.loads(path.read_text())
    data["listeners"] = [{"name": name, "host": "198.51.100.41", "port": 25, "listener": "198.51.100.41:25", "verdict": verdict,
                          "source_address": "198.19.0.66", "dialogue": lines}]
    for finding in data["findings"]:
        finding["evidence"] = [{"method": "probe", "where": "198.51.100.41:25 from 198.19.0.66",
                                "text": "MAIL FROM:<probe@stranger.test> RCPT TO:<canary@sink.test> -> 250 2.1.5 Ok"}]
    path.write_text(json.dumps(data))
    (finding,) = [f for f in reported(directory).report.findings if f.control == "RELAY-01"]
    return [e.text for e in finding.evidence if e.where == "dialogue with 198.51.100.41:25 from 198.19.0.66 (stranger)"]


def test_the_connection_that_proves_it_is_shown_alone(tmp_path: Path, reported: Any) -> None:
    assert run(tmp_path, reported) == ["\n".join(line[1:] for line in LINES if line.startswith("2"))]


def test_the_dialogue_of_another_host_or_verdict_is_not(tmp_path: Path, reported: Any) -> None:
    assert run(tmp_path / "host", reported, name="mx2") == []
    assert run(tmp_path / "verdict", reported, verdict="closed") == []


def test_a_long_dialogue_is_cut(tmp_path: Path, reported: Any) -> None:
    (text,) = run(tmp_path, reported, lines=[*LINES, *(f"2S: 250-line {n}" for n in range(500))])
    assert len(text.splitlines()) == 46 and text.endswith("more lines]")


@pytest.mark.parametrize("lines", [[], None, "text", [None, 7], [["x"]], ["\x00\u202e"]])
def test_a_garbled_dialogue_is_no_obstacle(lines: Any, tmp_path: Path, reported: Any) -> None:
    assert len(run(tmp_path, reported, lines=lines)) <= 1
