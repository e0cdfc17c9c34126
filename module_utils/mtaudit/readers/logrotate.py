"""Read logrotate's configuration: for which files it keeps how many copies of which age, and when it ran last."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ..runner import ReadError, Runner
from ..text import printable

FILE = "/etc/logrotate.conf"
_PERIODS = {"hourly": 1 / 24, "daily": 1.0, "weekly": 7.0, "monthly": 30.0, "yearly": 365.0}
_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")
_TABOO = (".bak", ".swp", ".disabled", ".dpkg-bak", ".dpkg-del", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-tmp",
          ".cfsaved", ".orig", ".rhn-cfg-tmp-*", ".rpmnew", ".rpmorig", ".rpmsave", ".ucf-*", ",v", "~")  # fmt: skip
_STATES = ("/var/lib/logrotate/status", "/var/lib/logrotate.status", "/var/lib/logrotate/logrotate.status")
_STAMP = "/var/lib/systemd/timers/stamp-logrotate.timer"  # of a timer with Persistent= (systemd.timer(5))
_TIMERS = tuple(f"{place}/systemd/system/timers.target.wants/logrotate.timer" for place in ("/etc", "/usr/lib"))
_MASKED = "/etc/systemd/system/logrotate.timer"
_CRON = "/etc/cron.daily/logrotate"


@dataclass(frozen=True)
class Stanza:
    """What is done with some files. `copies` is -1 for all of them, `period_days` None where only the size decides."""

    patterns: tuple[str, ...]
    options: Mapping[str, str]
    where: str

    @property
    def copies(self) -> int:
        return int(self.options.get("rotate", "0"))

    @property
    def period_days(self) -> Optional[float]:
        return _PERIODS.get(self.options.get("when", "weekly"))

    @property
    def early(self) -> str:
        """The option that rotates before the time is over; empty when none does."""
        name = "size" if self.options.get("when") == "size" else "maxsize"
        return f"{name} {self.options[name]}" if name in self.options else ""

    @property
    def days(self) -> Optional[float]:
        """For how many days a line is there, at least; None when that hangs on how much is written, -1 when for ever."""
        if self.early or self.period_days is None:
            return None
        most = float(self.options["maxage"]) if self.options.get("maxage", "").isdigit() else -1.0
        if self.copies < 0:
            return most
        kept = self.copies * self.period_days
        return min(kept, most) if most >= 0 else kept

    def __str__(self) -> str:
        parts = [self.options.get("when", "weekly"), f"rotate {self.copies}"]
        names = ("maxage", "size" if self.options.get("when") == "size" else "", "maxsize")
        parts += [f"{name} {self.options[name]}" for name in names if name in self.options]
        return ", ".join(part for part in parts if part != "size")


@dataclass
class Rotation:
    """`scheduled` is what starts it, empty when nothing does; `last_run_at` is 0 when nothing tells of a run. `installed` is
    whether the program is there."""

    stanzas: list[Stanza] = field(default_factory=list)
    installed: bool = False
    scheduled: str = ""
    last_run_at: float = 0.0
    problem: str = ""

    def of(self, path: str) -> Optional[Stanza]:
        """The stanza of a file: the first that names it, as logrotate refuses a second."""
        for stanza in self.stanzas:
            if any(_matches(path, pattern) for pattern in stanza.patterns):
                return stanza
        return None


def read(runner: Runner, systemd: bool, cron: bool) -> Rotation:
    """What cannot be read is said in `problem`."""
    found = Rotation(installed=runner.which("logrotate") is not None)
    try:
        if runner.stat(FILE):
            _read_file(runner, FILE, {}, found.stanzas, 0)
        masked = runner.stat(_MASKED) is not None and runner.resolve(_MASKED) == "/dev/null"
        timers = [path for path in _TIMERS if not masked and runner.stat(path)]
        # Debian's job does nothing where systemd is process 1.
        jobs = [path for path in (_CRON,) if cron and runner.stat(path)] if not systemd else []
        found.scheduled = next(iter((*timers, *jobs)), "")
        stats = [runner.stat(path) for path in (*_STATES, _STAMP)]
        found.last_run_at = max((stat.mtime_ns / 1e9 for stat in stats if stat), default=0.0)
    except ReadError as exc:
        found.problem = printable(str(exc))
    return found


def _read_file(runner: Runner, path: str, options: dict[str, str], stanzas: list[Stanza], depth: int) -> None:
    """Options outside of stanzas hold for those that follow, in included files, too."""
    lines = re.sub(r"\\\n", " ", runner.read(path)).splitlines()
    patterns: list[str] = []
    own: Optional[dict[str, str]] = None
    script = False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if script:
            script = line != "endscript"
            continue
        if not line or line.startswith("#"):
            continue
        if own is None and line.startswith(("/", '"', "'", "~")) or own is None and patterns:
            before, brace, behind = line.partition("{")
            patterns += _words(before)
            if not brace:
                continue
            own, line = dict(options), behind.strip()
        elif own is None and line.startswith("{"):
            own, line = dict(options), line[1:].strip()
        body, closed, _ = line.partition("}")
        for option in filter(None, [body.strip()]):
            script = option.split()[0] in _SCRIPTS
            if option.split()[0] == "include" and own is None and depth < 5:
                _include(runner, option.partition(" ")[2].strip(), options, stanzas, depth)
            elif not script:
                _take(option, options if own is None else own)
        if closed and own is not None:
            stanzas.append(Stanza(tuple(patterns), own, f"{path}:{number}"))
            patterns, own = [], None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _take(option: str, options: dict[str, str]) -> None:
    name, _, value = re.sub(r"\s*=\s*|\s+", " ", option).partition(" ")
    value = value.split("#")[0].strip()
    if name in _PERIODS:
        options["when"] = name
    elif name == "size":
        options["when"] = "size"  # with the time it is the last one that counts (logrotate(8))
        options[name] = value
    elif name in ("rotate", "maxage", "maxsize", "minsize", "olddir"):
        if name != "rotate" or re.fullmatch(r"-?\d+", value):
            options[name] = value
    elif name == "nomaxsize":
        options.pop("maxsize", None)


def _include(runner: Runner, path: str, options: dict[str, str], stanzas: list[Stanza], depth: int) -> None:
    stat = runner.stat(path)
    paths = runner.glob(f"{path}/*") if stat and stat.kind == "directory" else [path]
    for each in paths:
        name = each.rpartition("/")[2]
        if stat and stat.kind == "directory":
            part = runner.stat(each)
            if part is None or part.kind != "file" or any(fnmatch.fnmatch(name, f"*{ending}") for ending in _TABOO):
                continue
        _read_file(runner, each, options, stanzas, depth + 1)


def _matches(path: str, pattern: str) -> bool:
    """glob(7): `*` stays within a directory."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatch.fnmatchcase(part, want) for part, want in zip(parts, wanted))
