"""Look for tokens in a host's mail log, wherever that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..runner import Runner
from .outcome import Trace, joined
from .places import Log, Program, logs
from .sources import DEFAULT_MAX_BYTES, DEFAULT_TIMEOUT_S, FILES, Reading, read_files, read_journal


@dataclass(frozen=True)
class Traced:
    """The traces, one per token; where they were looked for, in how many lines; and why some may be missing."""

    traces: tuple[Trace, ...]
    source: str
    lines_read: int
    reason: str = ""


def parse_since(text: str) -> float:
    """Seconds since the epoch from such a number, or from ISO 8601 (UTC unless it says otherwise). Raises ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    else:
        if not math.isfinite(seconds):
            raise ValueError(f"'{text}' is no point in time")
        return seconds
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def find_tokens(
    runner: Runner,
    tokens: Sequence[str],
    since: float,
    files: Sequence[str] = FILES,
    max_bytes: int = DEFAULT_MAX_BYTES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    programs: Sequence[Program] = (Program("postfix"),),
) -> Traced:
    """Look in the log of each program. `files` are syslog's."""
    if not tokens:
        return Traced((), "", 0, "there was no token to look for")
    found = [_in_log(runner, log, tokens, since, max_bytes, timeout_s) for log in logs(runner, programs, files)]
    if not found:
        names = ", ".join(program.name for program in programs)
        return Traced(tuple(map(Trace, tokens)), "", 0, f"the logs of {names} are not read")
    traces = tuple(joined(of_token) for of_token in zip(*(traced.traces for traced in found)))
    missing = sum(not trace.found for trace in traces)
    reasons = dict.fromkeys(traced.reason for traced in found if traced.reason)
    return Traced(
        traces,
        ", ".join(dict.fromkeys(traced.source for traced in found if traced.source)),
        sum(traced.lines_read for traced in found),
        _reason("; ".join(reasons), missing, len(traces)),
    )


def _in_log(runner: Runner, log: Log, tokens: Sequence[str], since: float, max_bytes: int, timeout_s: float) -> Traced:
    """Look in the log files; in the journal when they hold no token at all (no syslog daemon, or a stale file)."""
    reading = read_files(log.files, since, max_bytes)
    traces = log.trace(reading.log, tokens)
    lines_read = reading.log.count(b"\n")
    if log.syslog and not any(found.found for found in traces):
        journal = read_journal(runner, since, max_bytes, timeout_s)
        lines_read += journal.log.count(b"\n")
        traces = log.trace(journal.log, tokens)
        reading = journal if any(found.found for found in traces) else _both(reading, journal)
    return Traced(tuple(traces), reading.source, lines_read, "; ".join(filter(None, (log.reason, reading.reason))))


def _both(files: Reading, journal: Reading) -> Reading:
    return Reading(
        source=", ".join(source for source in (files.source, journal.source) if source),
        reason="; ".join(reason for reason in (files.reason, journal.reason) if reason),
    )


def _reason(reasons: str, missing: int, of: int) -> str:
    """HELO name and sender are logged only of refused recipients and of messages."""
    if not missing:
        return ""
    said = f"{missing} of {of} tokens are not in the log; a session that was neither refused nor sent a message leaves none there"
    return f"{reasons}; {said}" if reasons else said
