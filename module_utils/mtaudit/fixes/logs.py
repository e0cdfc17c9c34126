"""Logs of mail programs are kept, for as long as is wanted, and administrators alone read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Optional

from ..config.files import ConfigError
from ..config.host import Wanted
from ..control import Site
from ..controls.files import wrongly_open
from ..controls.log_sinks import KEPT, LOST, UNSURE, sinks
from ..finding import Evidence, Finding
from ..fix import fix
from ..readers import journald
from ..readers.log_keeping import Logs
from ..readers.log_places import Place
from ..readers.logrotate import Stanza
from ..readers.system import Host, Seen

_DAY_S = 86_400.0
_BY_EVERYBODY, _WRITE_BY_GROUP = 0o007, 0o020
_OF_JOURNALD = {"Storage", "MaxLevelStore", "MaxLevelSyslog", "ForwardToSyslog"}


@fix("LOG-03", "os")
def let_the_journal_keep_every_line(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What journald is told alone: a rule that throws lines away, or a daemon that is down, is somebody's doing."""
    logs, least = host.logs, int(site.tunables.get("lines_per_second", 2000))
    wanted: dict[str, str] = {}
    for place in logs.places:
        found = [] if place.problem else list(sinks(logs, place, least))
        dead = [sink for sink in found if sink.state == LOST and sink.meant]
        if not dead and any(sink.state in (KEPT, UNSURE) for sink in found) or place.problem:
            continue
        for sink in dead:
            if not _OF_JOURNALD & set(re.findall(r"\w+", sink.where)):
                raise ConfigError(f"{sink.name} does not get or keep the lines of {place.title}: {sink.why} ({sink.where}); "
                                  "whether that is wanted, somebody has to say")  # fmt: skip
        wanted.update(_settings(logs, place, least))
    return Wanted(journald=wanted) if wanted else None


def _settings(logs: Logs, place: Place, least: int) -> Iterator[tuple[str, str]]:
    journal = logs.journal
    on_disk = journal.directory == journald.PERSISTENT
    if not journal.running or on_disk and logs.journal_memory:
        return
    if not on_disk:
        yield "Storage", "persistent"
    takes = logs.rsyslog is not None and "imuxsock" in logs.rsyslog.modules
    if takes and not journal.forwards and "ForwardToSyslog" in journal.settings:
        yield "ForwardToSyslog", "yes"
    for name in ("MaxLevelStore", *(("MaxLevelSyslog",) if takes else ())):
        if name in journal.settings and journal.drops_info("", name):
            yield name, "debug"
    if any(0 < limit.lines_per_second < least for limit in _limits(logs, place) if not limit.none):
        yield "RateLimitIntervalSec", "0"


def _limits(logs: Logs, place: Place) -> list[journald.Limit]:
    return [logs.journal.limit(unit) for unit in logs.units.get(place.title) or ("",)]


@fix("LOG-04", "os")
def keep_logs_as_long_as_is_wanted(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    logs = host.logs
    least, most = int(site.tunables.get("min_days", 30)), int(site.tunables.get("max_days", 0))
    rotations: dict[str, int] = {}
    for file in {file.path: file for place in logs.places for file in logs.files_of(place)}.values():
        stanza = logs.rotation.of(file.path)
        copies = _copies(stanza, least, most) if stanza else None
        if stanza and copies is not None:
            rotations[stanza.where] = max(copies, rotations.get(stanza.where, 0))
    days = journald.span(logs.journal.value("MaxRetentionSec", "0")) / _DAY_S
    alone = any(place.facility and not logs.files_of(place) for place in logs.places)
    retention = {}
    if alone and 0 < days < least:
        retention = {"MaxRetentionSec": f"{least}day"}
    elif alone and most and not 0 < days <= most:
        retention = {"MaxRetentionSec": f"{most}day"}
    return Wanted(journald=retention, rotations=rotations) if retention or rotations else None


def _copies(stanza: Stanza, least: int, most: int) -> Optional[int]:
    """How many copies make that many days; None where they do already, or their number does not decide. What is kept for ever is
    deleted by nobody who was not told for how long it may be kept."""
    days, period = stanza.days, stanza.period_days
    if days is None or not period or "maxage" in stanza.options:
        return None
    if 0 <= days < least:
        return math.ceil(least / period)
    if most and (days < 0 or days + period > most):
        copies = int(most // period) - 1
        return copies if copies >= 1 and copies * period >= least else None
    return None


@fix("LOG-05", "os")
def close_logs(host: Host, site: Site, findings: Sequence[Finding]) -> Wanted:
    """Everybody's rights go, and a group's to write. Owner and group stay: whoever writes the log may be among them."""
    administrators = frozenset(str(name) for name in site.tunables.get("administrators", ()))

    def wrong(seen: Seen) -> list[Evidence]:
        return list(wrongly_open(seen, host.accounts, administrators))

    wanted: dict[str, tuple[int, Optional[int]]] = {}
    stays: list[Evidence] = []
    for seen in filter(wrong, host.log_files):
        closed, tight = (replace(seen, stat=replace(seen.stat, mode=seen.stat.mode & ~bits))
                         for bits in (_BY_EVERYBODY, _BY_EVERYBODY | _WRITE_BY_GROUP))  # fmt: skip
        after = tight if wrong(closed) else closed
        stays += wrong(after)
        if after.stat.mode != seen.stat.mode:
            wanted[seen.path] = after.stat.mode, None
    if wanted:
        return Wanted(wanted)
    raise ConfigError(f"{stays[0].where}: {stays[0].text}; who owns, is listed or belongs to a group, somebody has to say"
                      if stays else "what keeps the clock right, somebody has to choose")  # fmt: skip
