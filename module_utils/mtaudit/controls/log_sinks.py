"""What becomes of a mail program's lines: each place that they go to, and why that does or does not keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..readers.journald import Limit
from ..readers.log_keeping import RSYSLOG, LogFile, Logs
from ..readers.log_places import Place
from ..readers.rsyslog_syntax import Action
from ..runner import ReadError

KEPT = "kept"  # every line, in a burst too
LOSSY = "lossy"  # not every line of a burst
LOST = "lost"  # no line, or none beyond the next start
UNSURE = "unsure"

_STARTING_S = 60.0
_LATE_S = 300.0  # what a file may be behind the journal: rsyslog writes at once, unless it is told otherwise


@dataclass(frozen=True)
class Sink:
    """A place that a program's lines go to. `meant`: somebody has set it up, so that it counts when it does not work."""

    name: str
    state: str
    why: str
    where: str
    meant: bool = True


def sinks(logs: Logs, place: Place, lines_per_second: int) -> Iterator[Sink]:
    """Every place that a program's lines go to."""
    for path in place.files:
        yield _own_file(logs.files[path], place)
    if not place.facility:
        return
    journald = logs.journal.running and logs.dev_log.startswith("/run/systemd/journal/")
    if journald:
        yield _journal(logs, place, lines_per_second)
    if logs.rsyslog_problem:
        yield Sink("rsyslog", UNSURE, logs.rsyslog_problem, "/etc/rsyslog.conf")
    elif logs.rsyslog is not None:
        yield from _rsyslog(logs, place, lines_per_second, journald)
    for daemon in logs.daemons:
        if daemon != RSYSLOG:
            yield Sink(daemon, UNSURE, f"{daemon} runs, and its rules are not read here", daemon)


def _own_file(file: LogFile, place: Place) -> Sink:
    if file.memory:
        return Sink(file.path, LOST, f"{file.path} is on a {file.memory}: it is gone at the next start", place.where)
    if file.stat is None and not file.copies:
        return Sink(file.path, LOST, f"{file.path} is not there: nothing has ever written it", place.where)
    return Sink(file.path, KEPT, f"{place.title} writes {file.path} itself", place.where)


def _journal(logs: Logs, place: Place, lines_per_second: int) -> Sink:
    journal, name = logs.journal, "the journal"
    if journal.problem:
        return Sink(name, UNSURE, journal.problem, "journald.conf")
    storage = journal.where("Storage")
    if not journal.directory:
        return Sink(name, LOST, "Storage=none keeps nothing", storage)
    if journal.directory.startswith("/run/") or logs.journal_memory:
        what = f"{journal.directory} is a {logs.journal_memory}" if logs.journal_memory else "it is kept in memory"
        return Sink(name, LOST, f"{what}: it is gone at the next start", storage, meant=False)
    limits: list[Limit] = []
    for unit in logs.units.get(place.title) or ("",):
        dropped = journal.drops_info(unit, "MaxLevelStore")
        if dropped:
            return Sink(name, LOST, f"{dropped} keeps out what tells of accepted and delivered messages", dropped)
        try:
            limits.append(journal.limit(unit))
        except ReadError as exc:
            return Sink(name, UNSURE, str(exc), "journald.conf")
    for limit in limits:
        if not limit.none and limit.lines_per_second < lines_per_second:
            text = f"it takes {limit.lines} lines in {limit.seconds:g} s from a service (on a large disk up to six times that)"
            return Sink(name, LOSSY, f"{text} and drops the rest", limit.where)
    return Sink(name, KEPT, f"{journal.directory} has no limit below {lines_per_second} lines a second", storage)


def _rsyslog(logs: Logs, place: Place, lines_per_second: int, journald: bool) -> Iterator[Sink]:
    ways = logs.ways.get(place.title, [])
    targets = {action.target: action for _, way in ways for action in _targets((*way.actions, *way.uncertain))}
    for message, way in [each for each in ways if each[1].dropped and not _targets(each[1].actions)][:1]:
        yield Sink("rsyslog", LOST, f"this rule throws away lines of {message.program}: {message.text[:60]}", way.dropped)
    for message, way in [each for each in ways if each[1].perhaps][:1]:
        text = f"a rule that cannot be followed here may throw away lines of {message.program}"
        yield Sink("rsyslog", UNSURE, text, way.perhaps)
    for problem in (logs.rsyslog.problems if logs.rsyslog else [])[:1]:
        yield Sink("rsyslog", UNSURE, f"not every rule was understood: {problem}", problem.partition(": ")[0])
    for action in targets.values():
        yield _written(logs, place, action, lines_per_second, journald)
    if not targets and not any(way.dropped or way.perhaps for _, way in ways):
        yield Sink("rsyslog", LOST, "no rule takes these lines", "/etc/rsyslog.conf", meant=False)


def _targets(actions: Iterable[Action]) -> list[Action]:
    """Those that keep a line: a rule may write to /dev/null, too."""
    return [action for action in actions if action.kind in ("file", "dynamic", "forward") and action.target != "/dev/null"]


def _written(logs: Logs, place: Place, action: Action, lines_per_second: int, journald: bool) -> Sink:
    """A rule's target, when the rule is reached."""
    name, where = action.target, action.where
    if RSYSLOG not in logs.daemons:
        return Sink(name, LOST, "rsyslogd does not run", where)
    if action.kind == "forward":
        return _forwarded(action)
    if action.kind == "dynamic":
        return Sink(f"files named by the template {name}", UNSURE, "which files that makes is not worked out here", where)
    file = logs.files[name]
    if file.memory:
        return Sink(name, LOST, f"{name} is on a {file.memory}: it is gone at the next start", where)
    source = _source(logs, place, lines_per_second, journald)
    late = _late(logs, file, place)
    if source.state == LOST:
        return Sink(name, LOST, source.why, source.where)
    if late and all(name in [a.target for a in way.actions] for _, way in logs.ways[place.title]):
        return Sink(name, LOST, late, where)
    return Sink(name, source.state, source.why, source.where)


def _late(logs: Logs, file: LogFile, place: Place) -> str:
    """Why the file does not get what the journal gets, as its time tells; the mail facility's lines only are looked up."""
    newest = logs.journal.newest_mail_at
    # What is logged while rsyslogd starts, at boot, journald cannot pass on; how many lines, it says half a minute later.
    if place.facility != "mail" or newest < logs.rsyslog_at + _STARTING_S:
        return ""
    written = max((s.mtime_ns / 1e9 for s in (file.stat, *(copy.stat for copy in file.copies)) if s), default=0.0)
    if not written:
        return f"{file.path} is not there, and the journal has mail lines"
    if newest - written > _LATE_S:
        return f"{file.path} was last written {newest - written:.0f} s before the newest mail line of the journal"
    return ""


def _source(logs: Logs, place: Place, lines_per_second: int, journald: bool) -> Sink:
    """How the lines come to rsyslog: from the journal, passed on by journald, or straight from /dev/log."""
    modules = logs.rsyslog.modules if logs.rsyslog else {}
    settings = logs.rsyslog.settings if logs.rsyslog else {}
    if "imjournal" in modules:
        given = modules["imjournal"]
        seconds = _number(given.get("ratelimit.interval", settings.get("imjournalratelimitinterval", "600")))
        lines = _number(given.get("ratelimit.burst", settings.get("imjournalratelimitburst", "20000")))
        if seconds and lines / seconds < lines_per_second:
            text = f"imjournal takes {lines} lines in {seconds} s and drops the rest (Ratelimit.Interval, Ratelimit.Burst)"
            return Sink("imjournal", LOSSY, text, "/etc/rsyslog.conf imjournal")
        return _journal(logs, place, lines_per_second) if journald else Sink("imjournal", LOST, "journald does not run", "")
    off = modules.get("imuxsock", {}).get("syssock.use", "on") == "off" or settings.get("omitlocallogging") == "on"
    if off or "imuxsock" not in modules:
        text = "no input of rsyslog takes the lines of this host (imuxsock, imjournal)"
        return Sink("imuxsock", LOST, text, "/etc/rsyslog.conf")
    seconds = _number(modules["imuxsock"].get("syssock.ratelimit.interval", settings.get("systemlogratelimitinterval", "0")))
    lines = _number(modules["imuxsock"].get("syssock.ratelimit.burst", settings.get("systemlogratelimitburst", "200")))
    if seconds and lines / seconds < lines_per_second:
        text = f"imuxsock takes {lines} lines in {seconds} s from a process and drops the rest (SysSock.RateLimit)"
        return Sink("imuxsock", LOSSY, text, "/etc/rsyslog.conf imuxsock")
    if not journald:
        return Sink("imuxsock", KEPT, "rsyslog takes the lines from /dev/log itself", "/etc/rsyslog.conf")
    if not logs.journal.forwards:
        where = logs.journal.where("ForwardToSyslog")
        return Sink("imuxsock", LOST, "journald has /dev/log and passes nothing on (ForwardToSyslog)", where)
    for unit in logs.units.get(place.title) or ("",):
        dropped = logs.journal.drops_info(unit, "MaxLevelSyslog")
        if dropped:
            return Sink("imuxsock", LOST, f"{dropped} keeps back what tells of accepted and delivered messages", dropped)
    text = "journald passes lines on without waiting for rsyslog: in a burst some are missed"
    return Sink("imuxsock", LOSSY, text, logs.journal.where("ForwardToSyslog"))


def _forwarded(action: Action) -> Sink:
    """To another host: what comes of it is not to be seen here, only whether it waits for a host that is down."""
    given = action.options
    on_disk = given.get("queue.filename") or given.get("actionqueuefilename")
    for_ever = given.get("action.resumeretrycount", given.get("actionresumeretrycount", "0")) == "-1"
    name = f"the host {action.target}"
    if on_disk and for_ever:
        return Sink(name, UNSURE, "what another host keeps is not to be seen from here", action.where)
    text = "lines are lost while it is down: no queue on disk (queue.filename, action.resumeRetryCount=-1)"
    return Sink(name, LOSSY, text, action.where)


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
