"""Change the host around the mail programs: owners and modes, the tables that tell where mail for its people goes, what journald,
logrotate, fail2ban and PHP are told, and whole files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

from ..readers import fail2ban, journald, logrotate, password_policy, php, role_mail
from ..readers.log_places import Place
from ..readers.password_tables import shadow
from ..readers.uses import Around
from ..readers.web import msmtp_files
from ..runner import ReadError, Runner
from . import exim, host_files, opensmtpd, postfix, sendmail
from . import password_policy as policy
from .files import Candidate, ConfigError, NewFile
from .overlay import Overlay

_PROGRAMS: Mapping[str, Callable[..., Candidate]] = {
    "Postfix": postfix.candidate, "Exim": exim.candidate, "Sendmail": sendmail.candidate, "OpenSMTPD": opensmtpd.candidate,
}  # fmt: skip
_ROTATES = ("logrotate", "-d", logrotate.FILE)


@dataclass(frozen=True)
class Wanted:
    """`files`: permission bits, and the number of the owner where that changes, by path. `programs`: what is wanted of the tables
    of a program, by its number among those that the host was read with. `journald`: settings of it. `rotations`: how many copies
    logrotate keeps, by the place of the stanza. `jails`: options of fail2ban's, by name. `php`: settings by file of conf.d;
    `pools`: by file and pool. `secrets` must be there, each for one account alone. `texts`: whole files, by path. `told`:
    what the units that read those do (reload, restart, start), by name; `checks` must succeed with the texts in place. `kept_out`
    are accounts whose mail sendmail(1) does not take any more, which is a change of its program; `closed` the accounts and ports
    that the packet filter stops with the texts. `quality`: settings of pam_pwquality, which asks for so much at least, and
    `remember` how many earlier passwords an account may not take again. `locked` are accounts that nobody logs in to with a
    password any more, `renewed` those that have to set another first."""

    files: Mapping[str, tuple[int, Optional[int]]] = field(default_factory=dict)
    programs: Mapping[int, Any] = field(default_factory=dict)
    journald: Mapping[str, str] = field(default_factory=dict)
    rotations: Mapping[str, int] = field(default_factory=dict)
    jails: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    php: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pools: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    secrets: tuple[tuple[str, str], ...] = ()
    texts: Mapping[str, NewFile] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[tuple[str, ...], ...] = ()
    kept_out: tuple[str, ...] = ()
    closed: frozenset[tuple[str, int]] = frozenset()
    quality: Mapping[str, int] = field(default_factory=dict)
    locked: tuple[str, ...] = ()
    remember: int = 0
    renewed: tuple[str, ...] = ()

    def then(self, later: Wanted) -> Wanted:
        """This, and that afterwards."""
        programs = dict(self.programs)
        for number, wanted in later.programs.items():
            programs[number] = programs[number].then(wanted) if number in programs else wanted
        return Wanted({**self.files, **later.files}, programs, {**self.journald, **later.journald},
                      {**self.rotations, **later.rotations}, _each(self.jails, later.jails), _each(self.php, later.php),
                      _each(self.pools, later.pools), (*self.secrets, *later.secrets), {**self.texts, **later.texts},
                      {**self.told, **later.told}, (*self.checks, *later.checks), (*self.kept_out, *later.kept_out),
                      self.closed | later.closed, {**self.quality, **later.quality},
                      (*self.locked, *later.locked), max(self.remember, later.remember),
                      (*self.renewed, *later.renewed))  # fmt: skip


def _each(settings: Mapping[str, Mapping[str, str]], later: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    return {**settings, **{place: {**settings.get(place, {}), **values} for place, values in later.items()}}


def candidate(runner: Runner, live: Any, wanted: Wanted, scratch: Path) -> Candidate:
    """What changes, and the host as it would be read then. Raises ConfigError."""
    made = _of_programs(runner, live, wanted, scratch)
    journal = host_files.journald(runner, wanted.journald) if wanted.journald else []
    rotated = host_files.rotations(runner, wanted.rotations)
    of_php = [file for path, values in wanted.php.items()
              for file in host_files.settings(runner, path, values, "; Written by mtaudit.\n")]  # fmt: skip
    of_php += host_files.pools(runner, wanted.pools)
    host_files.refuse_open_secrets(runner, wanted.secrets)
    jails = host_files.jails(runner, wanted.jails) if wanted.jails else []
    whole = list(wanted.texts.values())
    of_programs = [file for each in made.values() for file in each.files]
    asked, trials = policy.files(runner, wanted.quality, wanted.remember, scratch) if wanted.quality else ([], [])
    changes = wanted.locked or wanted.renewed
    people = host_files.accounts_changed(runner, wanted.locked, wanted.renewed) if changes else []
    files = (*_closed(wanted.files), *of_programs, *journal, *rotated, *jails, *of_php, *whole, *asked, *people)
    if not files and not wanted.kept_out:
        return Candidate()
    told = [(each.units, each.activate) for each in made.values() if each.activate != "none"]
    told += [(("systemd-journald",), "restart")] if journal else []
    told += [(("fail2ban",), "start")] if jails else []
    told += [((unit,), activate) for unit, activate in wanted.told.items()] if of_php or whole else []
    (units, activate), *more = dict.fromkeys(told) or [((), "none")]
    checks = [check for each in made.values() for check in each.checks] + [*wanted.checks, *trials]
    if rotated and _is_content(runner):
        checks.append(_ROTATES)
    if jails:
        checks.append(("fail2ban-client", "-t"))
    texts = {file.path: (file.content or b"").decode("utf-8", "replace") for file in files if not file.stays}
    reading = _read(Overlay(runner, texts, lambda argv: argv), live, wanted, made)
    return Candidate(files, activate, units, tuple(dict.fromkeys(checks)), reading, tuple(more))


def _closed(files: Mapping[str, tuple[int, Optional[int]]]) -> list[NewFile]:
    return [NewFile(path, None, mode, owner, stays=True) for path, (mode, owner) in files.items()]


def _of_programs(runner: Runner, live: Any, wanted: Wanted, scratch: Path) -> dict[int, Candidate]:
    found = {}
    for number, each in wanted.programs.items():
        title, instance = live.roles.instances[number]
        directory = scratch / str(number)
        directory.mkdir(mode=0o700)
        made = _PROGRAMS[title](runner, instance, each, directory)
        if made.files:
            found[number] = made
    return found


def _is_content(runner: Runner) -> bool:
    """Whether logrotate has nothing against its files now: else it says nothing of a change."""
    try:
        return runner.run(_ROTATES).returncode == 0
    except ReadError:
        return False


def _read(changed: Runner, live: Any, wanted: Wanted, made: Mapping[int, Candidate]) -> Any:
    """The host as it would be, as far as something is wanted of it."""
    files, log_files = ([_with(seen, *wanted.files[seen.path]) if seen.path in wanted.files else seen for seen in each]
                        for each in (live.files, live.log_files))  # fmt: skip
    roles, logs, web = live.roles, live.logs, live.web
    if made:
        instances = [(title, made[number].reading if number in made else instance)
                     for number, (title, instance) in enumerate(roles.instances)]  # fmt: skip
        roles = role_mail.read(changed, [(title, None, [instance]) for title, instance in instances])
    try:
        if wanted.journald:
            journal = journald.told_anew(changed, logs.journal)
            if journal.directory != logs.journal.directory:  # which file system it will be on, the change shows
                logs = replace(logs, journal_memory="", journal_space=None)
            logs = replace(logs, journal=journal)
        if wanted.rotations:
            rotation = logrotate.read(changed, systemd=False, cron=False)
            logs = replace(logs, rotation=replace(logs.rotation, stanzas=rotation.stanzas, problem=rotation.problem))
        if wanted.php or wanted.pools:
            places = php.read(changed)
            web = replace(web, places=places, msmtp=msmtp_files(changed, places))
        asked = password_policy.read(changed) if wanted.quality else live.policy
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc
    passwords = live.passwords
    if wanted.locked or wanted.renewed:
        accounts = shadow(changed)
        passwords = replace(passwords, tables=tuple(accounts if t.kind == accounts.kind else t for t in passwords.tables))
    guard = _guarded(changed, wanted.jails, live.guard.places) if wanted.jails else live.guard
    handed = [replace(each, allowed=False, trusted=None) if each.account in wanted.kept_out else each for each in web.handed]
    stopped = replace(web.filter, closed=web.filter.closed | wanted.closed)
    web = replace(web, handed=handed, filter=stopped)
    return replace(live, files=files, log_files=log_files, roles=roles, logs=logs, guard=guard, web=web, policy=asked,
                   passwords=passwords)  # fmt: skip


def _guarded(changed: Runner, jails: Collection[str], places: Mapping[str, Sequence[Place]]) -> fail2ban.Fail2ban:
    """fail2ban once it has been started with its files. Raises ConfigError where a jail needs what is not installed."""
    guard = fail2ban.read(Around(changed), places)
    for jail in (jail for jail in guard.jails if jail.name in jails):
        lacks = "python3-systemd" if jail.backend == "systemd" and not guard.journal_module else ""
        banning = [tool for tool in map(fail2ban.tool_of, jail.actions) if tool]
        if banning and not any(guard.tools[tool] for tool in banning) and not changed.which("nft"):
            lacks = "nftables"
        if lacks:
            raise ConfigError(f"the jail {jail.name} needs {lacks}, which is not installed: name it in mta_harden_install")
    return replace(guard, running=True)


def _with(seen: Any, mode: int, owner: Optional[int]) -> Any:
    return replace(seen, stat=replace(seen.stat, mode=mode, uid=seen.stat.uid if owner is None else owner))
