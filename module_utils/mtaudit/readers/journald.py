"""Read how systemd-journald is set, what it holds, and for which services process 1 told it other limits. No spawn."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from ..runner import ReadError, Runner
from ..text import printable
from .journal_file import Line, header, last_lines

_DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_UNITS = "/run/systemd/units"
PERSISTENT, VOLATILE = "/var/log/journal", "/run/log/journal"
_SECONDS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0,
            "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0,
            "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0, "month": 2629800.0,
            "months": 2629800.0, "M": 2629800.0, "y": 31557600.0, "year": 31557600.0, "years": 31557600.0}  # fmt: skip
_BYTES = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_INFO = _LEVELS.index("info")  # what mail programs tell of accepted and delivered messages
_SUPPRESSED = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e"  # sd-messages(3): SD_MESSAGE_JOURNAL_DROPPED
_MISSED = "MESSAGE_ID=0027229ca0644181a76c4e92458afa2e"  # SD_MESSAGE_FORWARD_SYSLOG_MISSED
_MAIL = "SYSLOG_FACILITY=2"
_FILES_LIMIT = 12


@dataclass(frozen=True)
class Limit:
    """At most `lines` in `seconds` from one service; `where` says so. None of either: no limit."""

    lines: int
    seconds: float
    where: str

    @property
    def none(self) -> bool:
        return self.lines <= 0 or self.seconds <= 0

    @property
    def lines_per_second(self) -> float:
        return self.lines / self.seconds


@dataclass(frozen=True)
class Setting:
    """A setting of journald.conf and the file that has it; `origin` is empty for the default."""

    value: str
    origin: str = ""


@dataclass
class Journal:
    """`directory` is where it is kept, empty when it is not. `oldest_at` is when its first line was written, and `whole` whether
    nothing was deleted before it; `newest_mail_at` is 0 where no line of the mail facility was found. `lost` are its own lines
    on what it dropped or did not pass on. `units` are the limits and levels that process 1 sets. `problem` says why it could not
    be read, `content_problem` why its files could not."""

    running: bool = False
    settings: Mapping[str, Setting] = field(default_factory=dict)
    units: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    directory: str = ""
    files: tuple[str, ...] = ()
    used_bytes: int = 0
    oldest_at: float = 0.0
    whole: bool = False
    newest_mail_at: float = 0.0
    lost: tuple[Line, ...] = ()
    problem: str = ""
    content_problem: str = ""

    def value(self, name: str, default: str) -> str:
        return self.settings[name].value if name in self.settings else default

    def where(self, name: str) -> str:
        origin = self.settings[name].origin if name in self.settings else ""
        return f"{origin} {name}" if origin else f"{name} (default)"

    def limit(self, unit: str) -> Limit:
        """What holds for a service: its own limit where process 1 has told one (0 in a unit is no setting), else journald's."""
        own = self.units.get(unit, {})
        seconds, lines = span(self.value("RateLimitIntervalSec", "30s")), number(self.value("RateLimitBurst", "10000"))
        where = self.where("RateLimitBurst") if "RateLimitBurst" in self.settings else self.where("RateLimitIntervalSec")
        if own.keys() & {"log-rate-limit-interval", "log-rate-limit-burst"}:
            where = f"LogRateLimitIntervalSec, LogRateLimitBurst of {unit}"
        seconds = own["log-rate-limit-interval"] / 1e6 if "log-rate-limit-interval" in own else seconds
        return Limit(own.get("log-rate-limit-burst", lines), seconds, where)

    def drops_info(self, unit: str, name: str) -> str:
        """What keeps lines of level info out (MaxLevelStore, MaxLevelSyslog, a unit's LogLevelMax); empty when nothing does."""
        if level(self.value(name, "debug")) < _INFO:
            return f"{self.where(name)}={self.value(name, '')}"
        most = self.units.get(unit, {}).get("log-level-max", _INFO)
        return f"LogLevelMax={_LEVELS[most]} of {unit}" if 0 <= most < _INFO else ""

    @property
    def forwards(self) -> bool:
        return self.value("ForwardToSyslog", "no").lower() in ("1", "yes", "y", "true", "t", "on")


def read(runner: Runner, units: Sequence[str], running: bool) -> Journal:
    """What cannot be read is said in `problem`."""
    found = Journal(running)
    try:
        found.settings = _settings(runner)
        found.units = {unit: _of_unit(runner, unit) for unit in units}
        found.directory = _directory(runner, found.value("Storage", "auto").lower())
    except ReadError as exc:
        found.problem = printable(str(exc))
        return found
    try:
        _look_into(runner, found)
    except ReadError as exc:
        found.content_problem = printable(str(exc))
    return found


def told_anew(runner: Runner, journal: Journal) -> Journal:
    """The journal with its settings read again. Raises ReadError."""
    found = replace(journal, settings=_settings(runner))
    return replace(found, directory=_directory(runner, found.value("Storage", "auto").lower()))


def _settings(runner: Runner) -> dict[str, Setting]:
    """The first journald.conf of the directories, then every drop-in by its name: journald.conf(5), systemd.unit(5)."""
    paths = [path for path in (f"{directory}/journald.conf" for directory in _DIRECTORIES) if runner.stat(path)][:1]
    texts = [(path, runner.read(path)) for path in paths]
    found: dict[str, Setting] = {}
    # What was built in stands in it as a comment: Debian 12 forwards, systemd itself does not.
    default = re.search(r"(?m)^#ForwardToSyslog=(\S+)", texts[0][1]) if texts else None
    if default:
        found["ForwardToSyslog"] = Setting(default.group(1))
    named: dict[str, str] = {}
    for directory in reversed(_DIRECTORIES):
        named.update({posixpath.basename(path): path for path in runner.glob(f"{directory}/journald.conf.d/*.conf")})
    for path in (named[name] for name in sorted(named)):
        if not runner.resolve(path).startswith("/dev/null"):
            texts.append((path, runner.read(path)))
    for path, text in texts:
        section = ""
        for line in text.splitlines():
            head = re.match(r"\s*\[(.+)\]\s*\Z", line)
            given = re.match(r"\s*(\w+)\s*=\s*(.*?)\s*\Z", line)
            section = head.group(1) if head else section
            if given and section == "Journal":
                if given.group(2):
                    found[given.group(1)] = Setting(given.group(2), path)
                else:
                    found.pop(given.group(1), None)
    return found


def _of_unit(runner: Runner, unit: str) -> dict[str, int]:
    """What process 1 has told journald of a service: links below /run/systemd/units that lead to a number (exported by systemd's
    core/unit.c). A limit of 0 is not told."""
    found, literal = {}, re.sub(r"([*?[])", r"[\1]", unit)
    for name in ("log-rate-limit-interval", "log-rate-limit-burst", "log-level-max"):
        for path in runner.glob(f"{_UNITS}/{name}:{literal}"):
            text = posixpath.basename(runner.resolve(path))
            if text.isdigit():
                found[name] = int(text)
    return found


def _directory(runner: Runner, storage: str) -> str:
    if storage == "none":
        return ""
    if storage != "volatile" and (storage == "persistent" or runner.stat(PERSISTENT)):
        return PERSISTENT
    return VOLATILE


def _look_into(runner: Runner, found: Journal) -> None:
    machine = runner.read("/etc/machine-id").strip() if found.directory else ""
    paths = runner.glob(f"{found.directory}/{machine}/system*.journal") if machine else []
    files = sorted((header(runner, path) for path in paths), key=lambda file: -file.last_at)
    files = [file for file in files if file.entries]
    found.files = tuple(paths)
    for path in paths:
        stat = runner.stat(path)
        found.used_bytes += stat.size_bytes if stat else 0
    if files:
        oldest = min(files, key=lambda file: file.first_at)
        found.oldest_at, found.whole = oldest.first_at, oldest.first_number == 1
    lost: list[Line] = []
    for file in files[:_FILES_LIMIT]:
        if not found.newest_mail_at:
            found.newest_mail_at = max((line.at for line in last_lines(runner, file, _MAIL)), default=0.0)
        lost += [line for field_ in (_SUPPRESSED, _MISSED) for line in last_lines(runner, file, field_, 10)]
    found.lost = tuple(sorted(lost, key=lambda line: -line.at))


def span(text: str) -> float:
    """systemd.time(7): `1min 30s` in seconds; infinity is 0. Raises ReadError."""
    if text.strip() == "infinity":
        return 0.0
    parts = re.findall(r"([\d.]+)\s*([A-Za-z]*)", text)
    if not parts or any(unit not in _SECONDS for _, unit in parts):
        raise ReadError(f"Could not read the time span '{printable(text)}'")
    return float(sum(float(value) * _SECONDS[unit] for value, unit in parts))


def number(text: str) -> int:
    if not text.strip().isdigit():
        raise ReadError(f"Could not read the number '{printable(text)}'")
    return int(text)


def size(text: str) -> Optional[int]:
    """Bytes of `500M`; None when nothing is set."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([KMGTB]?)\s*", text)
    if not text.strip():
        return None
    if not found:
        raise ReadError(f"Could not read the size '{printable(text)}'")
    return int(float(found.group(1)) * _BYTES[found.group(2)])


def level(text: str) -> int:
    word = text.strip().lower()
    if word.isdigit():
        return int(word)
    return _LEVELS.index(word) if word in _LEVELS else len(_LEVELS) - 1
