"""Read fail2ban's effective jails, as it merges its files (jail.conf(5)), and whether its server runs. No spawn.

Order: jail.conf, jail.d/*.conf, jail.local, jail.d/*.local; INCLUDES of each file around it. What stands later wins.
"""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from ..runner import FileStat, ReadError, Runner
from ..text import printable
from .log_places import Place
from .uses import DAEMONS, Around

DIRECTORY = "/etc/fail2ban"
_DEPTH = 10  # as deep as fail2ban lets values refer to each other
_VALUE = re.compile(r"%\(([^)]+)\)s")
_TIME = re.compile(r"([\d.]+)\s*([a-z]*)")
# str2seconds() in server/mytime.py of 1.0 and 1.1
_SECONDS = (("mo", 2_629_800), ("mi", 60), ("mm", 60), ("ms", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800),
            ("y", 31_557_600))  # fmt: skip
_MAIL = re.compile(r"postfix|sasl|dovecot|exim|sendmail|smtpd|mail|imap|pop3|sieve", re.IGNORECASE)


@dataclass(frozen=True)
class Log:
    """A file that a jail watches: what stands there, None for nothing; `real` is its path without symbolic links."""

    path: str
    stat: Optional[FileStat]
    real: str = ""


@dataclass(frozen=True)
class Jail:
    """An enabled jail. `mode` is the filter's; `units` are those whose lines it reads in the journal, empty for every line;
    `actions` are the names of what is done with a source; times in seconds, -1 for ever."""

    name: str
    filter: str
    filter_there: bool
    mode: str
    backend: str
    logs: tuple[Log, ...]
    units: tuple[str, ...]
    ports: str
    ignored: tuple[str, ...]
    maxretry: int
    findtime_s: float
    bantime_s: float
    actions: tuple[str, ...]
    failregex: str = ""  # what it adds to its filter's


@dataclass
class Fail2ban:
    """`tools` says of each program that a ban needs whether it is there; `units` which units the mail daemons run in, by process
    name; `ignored` what each jail, enabled or not, leaves alone; `banaction` how jails ban that do not say it themselves; `stuck`
    the enabled jails of other services whose file is not there, with which fail2ban does not start. `others` are running programs
    of the same kind. `places` are where the instances of each mail program log, by its name in the catalogue, the files without
    symbolic links; `files` are those of them that are there; `filters` what the failed logins of filters look like, where it
    is asked whether they know a line. `problem`: why the jails are not known."""

    installed: bool = False
    running: bool = False
    jails: list[Jail] = field(default_factory=list)
    ignored: dict[str, tuple[str, ...]] = field(default_factory=dict)
    banaction: str = ""
    stuck: tuple[str, ...] = ()
    actions: dict[str, str] = field(default_factory=dict)  # name: its file, empty when there is none
    tools: dict[str, bool] = field(default_factory=dict)
    units: dict[str, set[str]] = field(default_factory=dict)
    syslog: bool = False
    journal_module: bool = False
    others: tuple[str, ...] = ()
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    filters: dict[str, str] = field(default_factory=dict)
    problem: str = ""


TOOLS = {"iptables": "iptables", "nftables": "nft", "ufw": "ufw", "firewallcmd": "firewall-cmd", "shorewall": "shorewall",
         "route": "ip"}  # fmt: skip
_SYSLOGS = ("rsyslogd", "syslog-ng", "syslogd")
_OTHERS = ("crowdsec", "sshguard", "wforce")
_DAEMONS = {name for names in DAEMONS.values() for name in names}
_UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)


def tool_of(action: str) -> str:
    """The program that an action of fail2ban bans with; empty for one that is not known to ban."""
    return next((tool for start, tool in TOOLS.items() if action.startswith(start)), "")


def read(around: Around, places: Mapping[str, Sequence[Place]]) -> Fail2ban:
    """`places` as in Fail2ban. What could not be read is said in `problem`."""
    runner = around.runner
    found = Fail2ban(installed=bool(runner.which("fail2ban-server")))
    names = {process.name for process in around.processes}
    found.running = "fail2ban-server" in names
    found.syslog = bool(names & set(_SYSLOGS))
    found.others = tuple(name for name in _OTHERS if name in names)
    if found.installed:
        try:
            _read_jails(around, found)
            _read_places(runner, found, places)
        except (ReadError, configparser.Error) as exc:
            found.problem = printable(" ".join(str(exc).split()))
    return found


def _read_jails(around: Around, found: Fail2ban) -> None:
    runner = around.runner
    config = load(runner, f"{DIRECTORY}/jail")
    of_mail = {name: bool(_MAIL.search(name + config.get(name, "filter"))) for name in config.enabled()}
    found.jails = [_jail(runner, config, name) for name, watched in of_mail.items() if watched]
    found.stuck = tuple(name for name, watched in of_mail.items() if not watched and _without_a_file(runner, config, name))
    found.banaction = config.get("DEFAULT", "banaction")
    found.ignored = {name: _ignored(config, name) for name in config.sections}
    actions = {action for jail in found.jails for action in jail.actions}
    for action in actions:
        paths = [f"{DIRECTORY}/action.d/{action}.{end}" for end in ("conf", "local")]
        found.actions[action] = next((path for path in paths if runner.stat(path)), "")
    for tool in filter(None, {tool_of(action) for action in (*actions, found.banaction)}):
        found.tools[tool] = runner.which(tool) is not None
    if not found.syslog or any(jail.backend == "systemd" for jail in found.jails):
        found.journal_module = bool(runner.glob("/usr/lib/python3/dist-packages/systemd/_reader*.so"))
        for process in around.processes:
            if process.name in _DAEMONS:
                units = _UNIT.findall(around.text(f"/proc/{process.pid}/cgroup"))
                found.units.setdefault(process.name, set()).update(units[-1:])


def _read_places(runner: Runner, found: Fail2ban, places: Mapping[str, Sequence[Place]]) -> None:
    found.places = {name: [replace(place, files=tuple(map(runner.resolve, place.files))) for place in each]
                    for name, each in places.items()}  # fmt: skip
    files = {path for each in found.places.values() for place in each for path in place.files}
    found.files = frozenset(path for path in files if runner.stat(path))
    if files:
        found.jails = [replace(jail, logs=tuple(replace(log, real=runner.resolve(log.path)) for log in jail.logs))
                       for jail in found.jails]  # fmt: skip
    for name in (name for name, each in found.places.items() if any(place.failed for place in each)):
        for file in {name, *(jail.filter for jail in found.jails if name in jail.filter)}:
            found.filters[file] = load(runner, f"{DIRECTORY}/filter.d/{file}").get("Definition", "failregex")


class Config:
    """The merged files: sections with their options, and what each option was before the last file that set it (`known/`)."""

    def __init__(self) -> None:
        self.sections: dict[str, dict[str, str]] = {"DEFAULT": {}}
        self.known: dict[str, dict[str, str]] = {}

    def merge(self, parsed: configparser.RawConfigParser) -> None:
        self.sections["DEFAULT"].update(parsed.defaults())
        for name in parsed.sections():
            own = dict(parsed._sections[name])  # type: ignore[attr-defined] # without what DEFAULT gives
            if name in self.sections:
                self.known.setdefault(name, {}).update({k: v for k, v in self.sections[name].items() if k in own})
            self.sections.setdefault(name, {}).update(own)

    def enabled(self) -> Iterator[str]:
        for name in self.sections:
            if name not in ("DEFAULT", "INCLUDES") and self.get(name, "enabled").lower() in ("true", "yes", "on", "1"):
                yield name

    def get(self, section: str, option: str) -> str:
        """The value, with `%(other)s` filled in; empty when there is none."""
        return self._filled(section, self._raw(section, option), _DEPTH).strip()

    def _raw(self, section: str, option: str) -> str:
        own = self.sections.get(section, {})
        if option == "__name__":
            return section
        if option == "fail2ban_confpath":
            return DIRECTORY
        place, slash, name = option.partition("/")
        if slash and place.lower() == "known":
            return self.known.get(section, {}).get(name, self.sections["DEFAULT"].get(name, ""))
        if slash:
            other = {} if place.lower() == "default" else self.sections.get(place, {})
            return other.get(name, self.sections["DEFAULT"].get(name, ""))
        return own.get(option, self.sections["DEFAULT"].get(option, ""))

    def _filled(self, section: str, text: str, depth: int) -> str:
        if depth == 0 or "%(" not in text:
            return text
        return _VALUE.sub(lambda m: self._filled(section, self._raw(section, m.group(1).lower()), depth - 1), text)


def load(runner: Runner, stem: str) -> Config:
    """`stem`.conf and all that overrides it. Raises ReadError or configparser.Error."""
    config = Config()
    directory = stem if posixpath.dirname(stem).endswith(".d") else f"{stem}.d"
    paths = [f"{stem}.conf", *runner.glob(f"{directory}/*.conf"), f"{stem}.local", *runner.glob(f"{directory}/*.local")]
    for path in paths:
        if runner.stat(path):
            for parsed in _with_includes(runner, path, ()):
                config.merge(parsed)
    return config


def _with_includes(runner: Runner, path: str, above: tuple[str, ...]) -> list[configparser.RawConfigParser]:
    """A file after those that it names as `before`, and before those of `after`; missing ones are passed over, as by fail2ban."""
    parsed = configparser.RawConfigParser(inline_comment_prefixes=";")
    parsed.read_string(runner.read(path), path)
    around: Mapping[str, list[configparser.RawConfigParser]] = {"before": [], "after": []}
    for option, files in around.items():
        listed = parsed.get("INCLUDES", option, fallback="").split("\n") if parsed.has_section("INCLUDES") else []
        for name in filter(None, listed):
            inner = posixpath.join(posixpath.dirname(path), name)
            # A file that is included brings its .local with it (_expandConfFilesWithLocal()).
            for each in dict.fromkeys((inner, posixpath.splitext(inner)[0] + ".local")):
                if each not in above and each != path and runner.stat(each):
                    files += _with_includes(runner, each, (*above, path))
    return [*around["before"], parsed, *around["after"]]


def _jail(runner: Runner, config: Config, name: str) -> Jail:
    head = re.match(r"([\w.:/-]*)(?:\[(.*)\])?", config.get(name, "filter"), re.DOTALL)
    file, options = (head.group(1), head.group(2) or "") if head else ("", "")
    mode = re.search(r"\bmode\s*=\s*[\"']?(\w+)", options)
    there = any(runner.stat(f"{DIRECTORY}/filter.d/{file}.{end}") for end in ("conf", "local"))
    actions = re.findall(r"(?m)^\s*([\w.-]+)(?=\[|\s*$)", _without_options(config.get(name, "action")))
    backend = config.get(name, "backend").lower()
    matched = config.get(name, "journalmatch")
    if backend.startswith("systemd") and there and not matched:
        matched = _journalmatch(runner, file)
    maxretry, found, banned = (config.get(name, option) for option in ("maxretry", "findtime", "bantime"))
    return Jail(
        name=name,
        filter=file,
        filter_there=there,
        mode=mode.group(1) if mode else config.get(name, "mode") or "normal",
        backend=backend.partition("[")[0],
        logs=_logs(runner, config, name),
        units=tuple(re.findall(r"_SYSTEMD_UNIT=(\S+)", matched)),
        ports=_port(config, name),
        ignored=_ignored(config, name),
        maxretry=int(maxretry) if maxretry.isdigit() else 5,
        findtime_s=seconds(found),
        bantime_s=seconds(banned),
        actions=tuple(dict.fromkeys(actions)),
        failregex=config.get(name, "failregex"),
    )


def _without_a_file(runner: Runner, config: Config, name: str) -> bool:
    """Whether a jail watches files of which none is there."""
    logs = _logs(runner, config, name)
    return bool(logs) and not config.get(name, "backend").lower().startswith("systemd") and not any(log.stat for log in logs)


def _logs(runner: Runner, config: Config, name: str) -> tuple[Log, ...]:
    paths = [word for line in config.get(name, "logpath").split("\n") for word in line.split()[:1]]
    return tuple(Log(path, runner.stat(path)) for pattern in paths for path in runner.glob(pattern) or [pattern])


def _ignored(config: Config, name: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[\s,]+", config.get(name, "ignoreip"))))


def _journalmatch(runner: Runner, file: str) -> str:
    config = load(runner, f"{DIRECTORY}/filter.d/{file}")
    return config.get("Init", "journalmatch") or config.get("Definition", "journalmatch")


def _without_options(actions: str) -> str:
    """`nftables[type=multiport, port="1,2"]` without what stands in brackets, which may go over lines."""
    return re.sub(r"\[[^\]]*\]", "", actions)


def _port(config: Config, name: str) -> str:
    """The ports of a ban; those that the action names itself come first, and one for all ports needs none."""
    action = config.get(name, "action")
    own = re.search(r"\bport\s*=\s*\"?([^\"\]]+?)\"?\s*(?:,\s*\w+\s*=|\])", action)
    if "allports" in action:
        return "0:65535"
    return own.group(1) if own else config.get(name, "port")


def seconds(text: str) -> float:
    """`600`, `10m`, `1d 12h`; 600, fail2ban's own default, where nothing is said; -1 for ever."""
    if text.startswith("-"):
        return -1.0
    total = 0.0
    for number, unit in _TIME.findall(text.lower()):
        total += float(number) * next((seconds for start, seconds in _SECONDS if unit.startswith(start)), 1)
    return total if text else 600.0
