"""RELAY-15: the relay test was run against the configuration that is in force.

Every run hands on, per host, the digest of the configuration that a stranger's probe last looked at. A configuration that changed
since then was never tested; one that was tested long ago may face another network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from .finding import HOST, Evidence, Finding, Method, Status
from .report.run import HostRun, RunData

CONTROL = "RELAY-15"
DEFAULT_MAX_AGE_DAYS = 31


@dataclass(frozen=True)
class Proof:
    """The last complete probe of a host: digest of the configuration at that time, and when (ISO 8601, UTC)."""

    digest: str
    at: str


def parse_proofs(data: Any) -> dict[str, Proof]:
    """What an earlier run handed on: `{host: {"digest": ..., "at": ...}}`. Entries that are not that are left out."""
    if not isinstance(data, dict):
        return {}
    found = {}
    for host, entry in data.items():
        if isinstance(entry, dict) and entry.get("digest"):
            try:
                _time(str(entry.get("at")))
            except ValueError:
                continue
            found[str(host)] = Proof(str(entry["digest"]), str(entry["at"]))
    return found


def proofs_of(run: RunData, earlier: Mapping[str, Proof]) -> dict[str, Proof]:
    """What this run hands on: its own proofs, else the earlier ones."""
    found = dict(earlier)
    for host in run.hosts:
        digest = str(host.estate.get("config_digest") or "")
        if digest and is_complete(run, host):
            found[host.name] = Proof(digest, run.started)
    return found


def is_complete(run: RunData, host: HostRun) -> bool:
    """Whether a stranger's probe came to a verdict on every port that the host offers to others, at every address it tried."""
    verdicts: dict[int, set[str]] = {}
    for answer in run.probes.values():
        if answer.get("vantage") == "stranger":
            for listener in answer.get("listeners") or ():
                if listener.get("name") == host.name:
                    verdicts.setdefault(int(listener.get("port") or 0), set()).add(str(listener.get("verdict") or "unknown"))
    wanted = public_ports(host)
    return bool(wanted) and all("unknown" not in verdicts.get(port, {"unknown"}) for port in wanted)


def public_ports(host: HostRun) -> set[int]:
    """The SMTP ports that the host offers to others."""
    return {int(listener["port"]) for listener in host.estate.get("listeners", ()) if not listener.get("loopback_only")}


def findings(run: RunData, proofs: Mapping[str, Proof]) -> Iterator[tuple[str, Finding]]:
    """One finding of RELAY-15 for every host that said what it is configured to do."""
    if CONTROL not in run.controls:
        return
    for host in run.hosts:
        digest = str(host.estate.get("config_digest") or "")
        if not digest:
            continue
        if public_ports(host):
            yield host.name, _judged(digest, proofs.get(host.name), run.started, _max_age_days(run, host))
        else:
            reason = "no SMTP listener that others can reach"
            yield host.name, Finding(CONTROL, HOST, Status.NOTAPPLICABLE, "nothing to probe", reason=reason)


def _max_age_days(run: RunData, host: HostRun) -> int:
    """The host's own value, else the run's."""
    own = (host.declared.get("tunables") or {}).get(CONTROL) or {}
    tunable = (run.entry(CONTROL).data.get("tunables") or {}).get("max_proof_age_days") or {}
    for given in (own.get("max_proof_age_days"), tunable.get("value")):
        if isinstance(given, int):
            return given
    return DEFAULT_MAX_AGE_DAYS


def _judged(digest: str, proof: Optional[Proof], now: str, max_age_days: int) -> Finding:
    if proof is None:
        reason = "no stranger's probe has come to a verdict on every port of this host yet"
        return Finding(CONTROL, HOST, Status.UNKNOWN, "never probed completely from outside", Method.LOG, reason=reason)
    digests = f"{digest} now, {proof.digest} when it was last probed on {proof.at}"
    seen = Evidence(Method.CONFIG, "effective configuration", digests)
    if proof.digest != digest:
        return _finding(Status.FAIL, f"the configuration changed since it was last probed on {proof.at[:10]}", seen)
    try:
        age_days = _days(proof.at, now)
    except ValueError:
        reason = f"the run's own start, '{now}', is no time"
        return Finding(CONTROL, HOST, Status.UNKNOWN, "the age of the last probe is not known", Method.LOG, reason=reason)
    if age_days > max_age_days:
        return _finding(Status.FAIL, f"last probed {age_days} days ago, {max_age_days} are allowed", seen)
    return _finding(Status.PASS, f"this configuration was probed on {proof.at[:10]}")


def _finding(status: Status, message: str, *evidence: Evidence) -> Finding:
    return Finding(CONTROL, HOST, status, message, Method.LOG, evidence)  # the record that earlier runs left


def _days(since: str, now: str) -> int:
    return (_time(now) - _time(since)).days


def _time(text: str) -> datetime:
    # Python 3.9's fromisoformat does not know the Z of RFC 3339.
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
