"""Put the SMTP dialogue beside what a probe found: the connection that proves it, from the transcripts that the vantages kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Optional

from ..finding import Evidence, Method, Status
from ..joined import JoinedFinding
from ..listeners import listener_name
from .run import HostRun, RunData

LINES = 45
_LINE = re.compile(r"(\d*)([CS]: .*|\* .*)", re.DOTALL)
_ENVELOPE = re.compile(r"MAIL FROM:<[^>]*>|RCPT TO:<[^>]*>")
_SHOWN = (Status.FAIL, Status.WAIVED, Status.UNKNOWN)

Transcripts = Mapping[tuple[str, str], list[Mapping[str, Any]]]  # by host and listener, what each vantage kept


def with_dialogues(run: RunData, findings: Iterable[JoinedFinding]) -> Iterator[JoinedFinding]:
    """The findings; those that a probe's verdict speaks for have the dialogue as their last evidence."""
    transcripts = _transcripts(run)
    for finding in findings:
        verdict = finding.methods.get(Method.PROBE.value)
        if verdict in (None, "closed") or finding.status not in _SHOWN:
            yield finding
            continue
        kept = [t for t in transcripts.get((finding.host, finding.subject.name), ()) if t.get("verdict") == verdict]
        shown = _evidence(finding, kept[0]) if kept else ()
        yield replace(finding, evidence=(*finding.evidence, *shown))


def _transcripts(run: RunData) -> Transcripts:
    hosts = {host.name: host for host in run.hosts}
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for vantage, answer in sorted(run.probes.items(), key=_strangers_first):
        listed = answer.get("listeners")
        for result in listed if isinstance(listed, list) else ():
            if isinstance(result, dict) and isinstance(result.get("dialogue"), list):
                host = hosts.get(str(result.get("name")))
                kept = {**result, "vantage": str(answer.get("vantage") or vantage)}
                found.setdefault((str(result.get("name")), _listener(host, result)), []).append(kept)
    return found


def _strangers_first(item: tuple[str, Mapping[str, Any]]) -> tuple[bool, str]:
    vantage, answer = item
    return answer.get("vantage") != "stranger", vantage


def _listener(host: Optional[HostRun], result: Mapping[str, Any]) -> str:
    """The listener's name as the host itself uses it, which is the subject of joined findings."""
    own = listener_name(host.estate, str(result.get("host", "")), str(result.get("port", ""))) if host else ""
    return own or str(result.get("listener", ""))


def _evidence(finding: JoinedFinding, kept: Mapping[str, Any]) -> Iterator[Evidence]:
    connections: dict[str, list[str]] = {}
    for line in kept["dialogue"]:
        number, text = _parted(str(line))
        connections.setdefault(number, []).append(text)
    lines = _telling(finding, list(connections.values()))
    if lines:
        where = f"dialogue with {kept.get('listener', '')} from {kept.get('source_address', '')} ({kept['vantage']})"
        cut = [*lines[:LINES], f"[{len(lines) - LINES} more lines]"] if len(lines) > LINES else lines
        yield Evidence(Method.PROBE, where, "\n".join(cut))


def _parted(line: str) -> tuple[str, str]:
    """`3S: 250 Ok` is connection 3 and `S: 250 Ok`: pipelined sessions are interleaved in the transcript."""
    match = _LINE.match(line)
    return (match.group(1), match.group(2)) if match else ("", line)


def _telling(finding: JoinedFinding, connections: list[list[str]]) -> list[str]:
    """The connection in which the accepted envelope was used, best one with a message; else the last one, which failed."""
    wanted = {e for evidence in finding.evidence if evidence.method is Method.PROBE
              for e in _ENVELOPE.findall(evidence.text.split(" -> ")[0])}
    used = [c for c in connections if wanted and all(f"C: {envelope}" in c for envelope in wanted)]
    sent = [c for c in connections if "C: DATA" in c]
    for candidates in ([c for c in used if c in sent], sent, used, connections[-1:]):
        if candidates:
            return candidates[0]
    return []
