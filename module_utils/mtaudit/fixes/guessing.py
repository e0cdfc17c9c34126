"""Who guesses passwords is kept out: jails of fail2ban, and limits of Postfix."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Optional

from ..config import postfix as postfix_config
from ..config.files import ConfigError, NewFile
from ..config.host import Wanted
from ..control import Site
from ..controls.guessing import allowed_per_day, covers, is_wide, login_ports, unseen, watches, weak
from ..controls.guessing_session import AUTH_RATE, auth_rate
from ..finding import Finding
from ..fix import fix
from ..readers.fail2ban import DIRECTORY, Fail2ban, Jail, Log, tool_of
from ..readers.postfix import Postfix
from ..readers.system import Host
from ..readers.uses import DAEMONS
from .postfix_changes import failing, for_service, put_right, services, together

_DAY_S = 86_400
_ERRORS, _DEFAULT_ERRORS = "smtpd_hard_error_limit", 20
# The jails that fail2ban comes with for failed logins.
_JAILS = {"postfix": "postfix-sasl", "dovecot": "dovecot", "exim": "exim", "sendmail": "sendmail-auth", "opensmtpd": "opensmtpd"}
# Who is banned may not go on with another program: a jail that is begun bans from every port of mail.
_PORTS = frozenset({25, 110, 143, 465, 587, 993, 995, 4190})
_NFTABLES = {"banaction": "nftables-multiport", "banaction_allports": "nftables-allports"}
# fail2ban comes with none. The address and the failure are lines of one session; the reply is one more line of the same failure.
_OPENSMTPD = "mtaudit-opensmtpd"
_FILTER = f"{DIRECTORY}/filter.d/{_OPENSMTPD}.conf"
_OPENSMTPD_FILTER = r"""
# Written by mtaudit: failed logins of OpenSMTPD.
[INCLUDES]
before = common.conf

[Definition]
_daemon = smtpd
prefregex = ^%(__prefix_line)s<F-MLFID>[0-9a-f]{16}</F-MLFID> smtp <F-CONTENT>.+</F-CONTENT>$
failregex = ^connected <F-NOFAIL>address=<HOST></F-NOFAIL>
            ^authentication user=<F-USER>\S*</F-USER> (?:address=\S+ host=\S+ )?result=permfail$
ignoreregex =
journalmatch = _SYSTEMD_UNIT=opensmtpd.service
"""
# Dovecot 2.4's line, which the filter of fail2ban 1.1.0 does not know (later ones do).
_LOGIN_ABORTED = (r"^Login aborted: [^(]*\(auth failed, \d+ attempts(?: in \d+ secs)?\) \(\w+\):(?: user=<[^>]*>,)?"
                  r"(?: method=\S+,)? rip=<HOST>,[^<>]*(?:, session=<[^<>\s]*>)?\s*$")  # fmt: skip
_LOOPBACK = ("127.0.0.0/8", "::1")
_MAXRETRY, _SHORTEST_S = 5, 600  # fail2ban's own


@fix("AUTH-06", "os")
def keep_out_who_guesses(host: Host, site: Site, findings: Sequence[Finding]) -> Wanted:
    """For each program that takes logins the jail that looks at them, as it is, with what it lacks."""
    guard = host.guard
    if not guard.installed:
        raise ConfigError("it needs fail2ban: name fail2ban, nftables and python3-systemd in mta_harden_install")
    jails: dict[str, Mapping[str, str]] = {}
    texts: dict[str, NewFile] = {}
    if not guard.running:
        jails.update(dict.fromkeys(_stuck(guard), {"backend": "systemd"}))
    for program, ports in login_ports(site).items():
        jail = _jail(guard, program, site)
        name = jail.name if jail else _JAILS[program]
        lacks = _lacks(jail, guard, program, ports, site) if jail else _begun(guard, program, ports)
        if not jail and program == "opensmtpd":
            texts[_FILTER] = NewFile(_FILTER, _OPENSMTPD_FILTER.lstrip().encode())
        if jail and not guard.running:  # it is named, so that what is started is what was meant
            lacks = {"enabled": "true", **lacks}
        never = [str(network) for network in (*site.tunables.get("never_banned", ()), *site.proxies)]
        if lacks and never:
            # Debian says nothing of it, and what nobody says cannot be referred to by %(known/ignoreip)s.
            kept = lacks.get("ignoreip", " ".join(guard.ignored.get(name, ()))).split() or _LOOPBACK
            lacks = {**lacks, "ignoreip": " ".join(dict.fromkeys([*kept, *never]))}
        if lacks:
            jails[name] = lacks
    return Wanted(jails=jails, texts=texts)


def _stuck(guard: Fail2ban) -> tuple[str, ...]:
    """sshd's jail, which the package switches on and which keeps Debian 12's fail2ban down where no syslog daemon writes."""
    others = [name for name in guard.stuck if name != "sshd"]
    if others:
        raise ConfigError(f"fail2ban does not start with its jail {others[0]}: no file is there that it should watch")
    return guard.stuck


def _jail(guard: Fail2ban, program: str, site: Site) -> Optional[Jail]:
    """The best of those that look at logins of a program."""
    found = [jail for jail in guard.jails if watches(jail, program)]
    return min(found, key=lambda jail: len(list(weak(jail, program, guard, _most(site), site))), default=None)


def _most(site: Site) -> int:
    return int(site.tunables.get("max_guesses_per_day", 1000))


def _begun(guard: Fail2ban, program: str, ports: set[int]) -> dict[str, str]:
    found = {"enabled": "true", "port": ",".join(map(str, sorted(_PORTS | ports)))}
    if program == "opensmtpd":
        found.update({"filter": _OPENSMTPD, **_journal(_units(guard, program))})
    else:
        if _files(guard, program) or program != "exim" and not guard.syslog:
            found.update(_log(guard, program, []))
        found.update(_failregex(guard, program, guard.filters.get(_JAILS[program], "")))
    return found if guard.tools.get(tool_of(guard.banaction)) else {**found, **_NFTABLES}


def _units(guard: Fail2ban, program: str) -> set[str]:
    return {unit for name in DAEMONS[program] for unit in guard.units.get(name, ())}


def _journal(units: set[str]) -> dict[str, str]:
    match = " + ".join(f"_SYSTEMD_UNIT={unit}" for unit in sorted(units))
    return {"backend": "systemd", "journalmatch": match} if match else {"backend": "systemd"}


def _files(guard: Fail2ban, program: str) -> list[str]:
    return [path for place in guard.places.get(program, ()) for path in place.files]


def _log(guard: Fail2ban, program: str, watched: Sequence[Log]) -> dict[str, str]:
    """What a jail is to read: the program's own files beside those that it watches, else the journal."""
    own = _files(guard, program)
    missing = [path for path in own if path not in guard.files]
    if missing:
        raise ConfigError(f"{program} is told to write to {missing[0]}, which is not there: fail2ban does not start without it")
    if own:
        kept = [log.path for log in watched if log.stat and log.real not in own]
        return {"backend": "auto", "logpath": "\n".join([*kept, *own])}
    if program == "exim" and guard.places.get(program):
        text = "Exim writes to syslog alone, which fail2ban's filter does not know"
        raise ConfigError(f"{text}: let log_file_path name its own file, too")
    return _journal(_units(guard, program))


def _failregex(guard: Fail2ban, program: str, known: str) -> dict[str, str]:
    """Where PAM tells syslog as well, each failed login would count twice."""
    asked = any(place.failed and place.failed not in known for place in guard.places.get(program, ()) if not place.pam)
    return {"failregex": _LOGIN_ABORTED} if asked else {}


def _lacks(jail: Jail, guard: Fail2ban, program: str, ports: set[int], site: Site) -> dict[str, str]:
    found: dict[str, str] = {}
    units = _units(guard, program)
    journal = jail.backend == "systemd"
    if unseen(jail, program, guard) or not journal and not any(log.stat for log in jail.logs):
        known = guard.filters.get(jail.filter, "") + jail.failregex
        found.update(_failregex(guard, program, known))
        if not found or unseen(replace(jail, failregex=known + found["failregex"]), program, guard):
            found.update(_log(guard, program, () if journal else jail.logs))
    elif journal and jail.units and units and not units & set(jail.units):
        found.update(_journal(units))
    tools = [tool for tool in map(tool_of, jail.actions) if tool]
    if not any(guard.tools.get(tool) for tool in tools):
        found.update(_NFTABLES)
    narrow = [text for text in jail.ignored if not is_wide(text, site)]
    if len(narrow) < len(jail.ignored):
        found["ignoreip"] = " ".join(narrow)
    if allowed_per_day(jail) > _most(site):
        found.update(_seldom(jail, _most(site)))
    missing = sorted(port for port in ports if not covers(jail.ports, port))
    if missing:
        found["port"] = ",".join(filter(None, [re.sub(r"\s+", "", jail.ports), *map(str, missing)]))
    return found


def _seldom(jail: Jail, most: int) -> dict[str, str]:
    retries = min(jail.maxretry, _MAXRETRY)
    seconds = max(_SHORTEST_S, math.ceil(retries * _DAY_S / most))
    found = {"maxretry": str(retries), "findtime": str(max(round(jail.findtime_s), seconds))}
    return found if jail.bantime_s < 0 else {**found, "bantime": str(max(round(jail.bantime_s), seconds))}


@fix("AUTH-06", "postfix")
def cut_off_who_guesses(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[postfix_config.Wanted]:
    """Postfix's own number of errors; and a rate, where the site asks for one, on the ports for logins alone."""
    errors, rate = int(site.tunables["max_guesses_per_session"]), int(site.tunables["max_auth_rate"])
    found = []
    for service in services(failing(postfix, findings)):
        value = service.value(_ERRORS)
        if value.isdigit() and int(value) > errors:
            own = put_right(service, _ERRORS, None) if errors >= _DEFAULT_ERRORS else for_service(service, _ERRORS, str(errors))
            found.append(own)
        if rate and not 0 < auth_rate(service) <= rate:
            found.append(for_service(service, AUTH_RATE, str(rate)))
    return together(found)
