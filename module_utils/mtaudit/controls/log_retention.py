"""Controls on for how long the logs of mail programs are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers import journald
from ..readers.log_keeping import LogFile, Logs
from ..readers.logrotate import Stanza
from ..readers.system import Host
from ..runner import ReadError, Space
from ..text import printable

_DAY_S = 86_400.0
_SETTLED_DAYS = 2.0  # a host that started later may not have rotated anything yet
_OVERDUE_DAYS = 3.0  # logrotate is started once a day
_JOURNAL_DEFAULT_BYTES = 4 * 1024**3  # SystemMaxUse: a tenth of the file system, at most this (journald.conf(5))
_JOURNAL_ENOUGH_BYTES = 256 * 1024**2  # for a journal that is too young to tell how much a day takes
_NEARLY_FULL = 0.05
_ENOUGH_BYTES = 1024**3


@dataclass(frozen=True)
class Wanted:
    """How many days of log there are to be: at least, and at most (0: no such limit)."""

    least: int
    most: int


@control("LOG-04", "os")
def logs_are_there_long_enough_and_end(host: Host, site: Site) -> Iterator[Finding]:
    logs = host.logs
    wanted = Wanted(int(site.tunables.get("min_days", 30)), int(site.tunables.get("max_days", 0)))
    said: list[tuple[str, str, str]] = []  # fail, unknown or pass; where; what
    files = {file.path: file for place in logs.places for file in logs.files_of(place)}
    for file in files.values():
        said += _file(logs, file, wanted)
    if files:
        said += _rotated(logs)
    if any(place.facility and not logs.files_of(place) for place in logs.places):
        said += _journal(logs, wanted)
    said += [("unknown", place.where, f"{place.title}: {place.problem}") for place in logs.places if place.problem]
    said += [("unknown", "", problem) for problem in logs.problems]
    wrong = [Evidence(Method.CONFIG, printable(where), printable(text)) for state, where, text in said if state == "fail"]
    doubts = [text for state, _, text in said if state == "unknown"]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].text}{more}", *wrong)
    elif not said:
        yield notapplicable(HOST, "nothing is kept here", "no file and no journal here holds lines of a mail program")
    elif doubts:
        yield unknown(HOST, "for how long logs are there is not known", printable(doubts[0]))
    else:
        yield passed(HOST, printable("; ".join(text for _, _, text in said)))


def _file(logs: Logs, file: LogFile, wanted: Wanted) -> Iterator[tuple[str, str, str]]:
    rotation, stanza = logs.rotation, logs.rotation.of(file.path)
    if file.stat is not None:
        yield from _full(file.path, file.space)
    if rotation.problem:
        yield "unknown", "logrotate", rotation.problem
    elif stanza is None or not rotation.installed:
        why = "logrotate is not installed" if not rotation.installed else "no configuration of logrotate names it"
        if file.stat is not None or file.own:
            yield "fail", file.path, f"{file.path} grows without end: {why}"
    else:
        yield from _kept(logs, file, stanza, wanted)


def _kept(logs: Logs, file: LogFile, stanza: Stanza, wanted: Wanted) -> Iterator[tuple[str, str, str]]:
    days, path = stanza.days, file.path
    if days is None:
        yield "fail", stanza.where, f"{path} is rotated by its size ({stanza}): much mail, and older lines are gone in no time"
    elif days < 0:
        yield "fail", stanza.where, f"every rotated copy of {path} is kept for ever ({stanza})"
    elif days < wanted.least:
        yield "fail", stanza.where, f"{path} is kept for {days:g} days ({stanza}); {wanted.least} are wanted (min_days)"
    elif 0 < wanted.most < days + (stanza.period_days or 0):
        text = f"{path} is kept for {days + (stanza.period_days or 0):g} days ({stanza}); {wanted.most} are allowed (max_days)"
        yield "fail", stanza.where, text
    else:
        yield from _as_found(logs, file, stanza, days)


def _as_found(logs: Logs, file: LogFile, stanza: Stanza, days: float) -> Iterator[tuple[str, str, str]]:
    """Whether the copies that there are say the same: a full set whose oldest is young was rotated faster."""
    stamps = sorted(copy.stat.mtime_ns / 1e9 for copy in file.copies)
    span = (logs.now - stamps[0]) / _DAY_S if stamps else 0.0
    if stanza.copies > 0 and len(stamps) >= stanza.copies and span < days - 2 * (stanza.period_days or 0) - 1:
        text = f"the oldest of {len(stamps)} copies of {file.path} ends {span:.0f} days ago; {stanza} is to keep {days:g} days"
        yield "fail", stanza.where, text
    else:
        yield "pass", stanza.where, f"{file.path} is kept for {days:g} days ({stanza})"


def _rotated(logs: Logs) -> Iterator[tuple[str, str, str]]:
    """Whether something starts logrotate, and whether it does."""
    rotation = logs.rotation
    if not rotation.installed or rotation.problem:
        return
    age = (logs.now - rotation.last_run_at) / _DAY_S
    up = (logs.now - logs.started_at) / _DAY_S
    if not rotation.scheduled:
        yield "fail", "logrotate.timer", "nothing starts logrotate: its timer is off, and no cron job does it"
    elif rotation.last_run_at and age > _OVERDUE_DAYS and up > _SETTLED_DAYS:
        yield "fail", rotation.scheduled, f"logrotate ran last {age:.0f} days ago: its files grow, and what is old stays"
    elif not rotation.last_run_at and up > _SETTLED_DAYS:
        yield "unknown", rotation.scheduled, "no state of logrotate tells that it has ever run"


def _journal(logs: Logs, wanted: Wanted) -> Iterator[tuple[str, str, str]]:
    """Only where lines go to no file: it keeps as much as it has room for, so what it holds decides."""
    journal = logs.journal
    if journal.problem or journal.content_problem:
        yield "unknown", "journald.conf", journal.problem or journal.content_problem
        return
    if not journal.directory or logs.journal_memory:
        what = "is in memory, and gone at the next start" if journal.directory else "keeps nothing"
        yield "unknown", journal.where("Storage"), f"the only place is the journal, which {what}: that is LOG-03's to say"
        return
    yield from _full(journal.directory, logs.journal_space)
    try:
        most_days = journald.span(journal.value("MaxRetentionSec", "0")) / _DAY_S
        room = _room(logs)
    except ReadError as exc:
        yield "unknown", "journald.conf", str(exc)
        return
    where, age = journal.where("MaxRetentionSec"), (logs.now - journal.oldest_at) / _DAY_S if journal.oldest_at else 0.0
    if 0 < most_days < wanted.least:
        yield "fail", where, f"the journal deletes what is older than {most_days:g} days; {wanted.least} are wanted (min_days)"
    elif wanted.most and not 0 < most_days <= wanted.most:
        held = f"MaxRetentionSec is {most_days:g} days" if most_days else "MaxRetentionSec is not set"
        yield "fail", where, f"the journal may hold more than {wanted.most} days (max_days): {held}"
    elif age >= wanted.least:
        yield "pass", where, f"the journal begins {age:.0f} days ago"
    elif not journal.whole:
        text = f"the journal begins {age:.1f} days ago: what was older is deleted; {wanted.least} days are wanted (min_days)"
        yield "fail", journal.where("SystemMaxUse"), text
    else:
        yield from _young(logs, wanted, age, room)


def _young(logs: Logs, wanted: Wanted, age: float, room: int) -> Iterator[tuple[str, str, str]]:
    """Nothing was deleted yet: is there room for as many days as are wanted, at the rate of those so far?"""
    where, megabytes = logs.journal.where("SystemMaxUse"), room // 1024**2
    if age < 1.0:
        if room < _JOURNAL_ENOUGH_BYTES:
            text = f"the journal is {age * 24:.0f} hours old, with room for {megabytes} MiB: how many days that makes shows later"
            yield "unknown", where, text
        else:
            yield "pass", where, f"the journal is {age * 24:.0f} hours old, deleted nothing yet and has room for {megabytes} MiB"
        return
    days = room / (logs.journal.used_bytes / age) if logs.journal.used_bytes else float(wanted.least)
    if days < wanted.least:
        text = f"the journal has room for {megabytes} MiB, {days:.0f} days at this rate; {wanted.least} are wanted (min_days)"
        yield "fail", where, text
    else:
        yield "pass", where, f"the journal deleted nothing in {age:.0f} days and has room for {days:.0f} days at this rate"


def _room(logs: Logs) -> int:
    """How much the journal may hold. Raises ReadError."""
    journal = logs.journal
    name = "RuntimeMaxUse" if journal.directory.startswith("/run/") else "SystemMaxUse"
    limit = journald.size(journal.value(name, ""))
    space = logs.journal_space
    if limit is None and space is None:
        raise ReadError("Could not see how much the journal may hold")
    tenth = min(space.size_bytes // 10, _JOURNAL_DEFAULT_BYTES) if space else 0
    limit = tenth if limit is None else limit
    return min(limit, space.free_bytes + journal.used_bytes) if space else limit


def _full(path: str, space: Optional[Space]) -> Iterator[tuple[str, str, str]]:
    if space and space.free_bytes < min(_ENOUGH_BYTES, space.size_bytes * _NEARLY_FULL):
        share = 100 * space.free_bytes / max(space.size_bytes, 1)
        text = f"{path}: the disk is nearly full ({space.free_bytes // 1024**2} MiB free, {share:.0f} %): soon nothing is logged"
        yield "fail", path, text
