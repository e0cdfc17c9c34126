"""Who guesses passwords is kept out: jails of fail2ban, and limits of Postfix."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Optional

from ..config import postfix as postfix_config
from ..config.files import ConfigError
from ..config.host import Wanted
from ..control import Site
from ..controls.guessing import allowed_per_day, covers, is_wide, login_ports, watches, weak
from ..controls.guessing_session import AUTH_RATE, auth_rate
from ..finding import Finding
from ..fix import fix
from ..readers.fail2ban import Fail2ban, Jail, tool_of
from ..readers.postfix import Postfix
from ..readers.system import Host
from ..readers.uses import DAEMONS
from .postfix_changes import failing, for_service, put_right, services, together

_DAY_S = 86_400
_ERRORS, _DEFAULT_ERRORS = "smtpd_hard_error_limit", 20
# The jails that fail2ban comes with for failed logins.
_JAILS = {"postfix": "postfix-sasl", "dovecot": "dovecot", "exim": "exim", "sendmail": "sendmail-auth"}
_LOOPBACK = ("127.0.0.0/8", "::1")
_MAXRETRY, _SHORTEST_S = 5, 600  # fail2ban's own


@fix("AUTH-06", "os")
def keep_out_who_guesses(host: Host, site: Site, findings: Sequence[Finding]) -> Wanted:
    """For each program that takes logins the jail that looks at them, as it is, with what it lacks."""
    guard = host.guard
    if not guard.installed:
        raise ConfigError("it needs fail2ban: name fail2ban, nftables and python3-systemd in mta_harden_install")
    jails: dict[str, Mapping[str, str]] = {}
    for program, ports in login_ports(site).items():
        jail = _jail(guard, program, site)
        name = jail.name if jail else _JAILS.get(program, "")
        if not name:
            raise ConfigError(f"fail2ban comes with no filter for failed logins of {program}: write one, and a jail for it")
        lacks = _lacks(jail, guard, program, ports, site) if jail else _begun(guard, program)
        if jail and not guard.running:  # it is named, so that what is started is what was meant
            lacks = {"enabled": "true", **lacks}
        never = [str(network) for network in site.tunables.get("never_banned", ())]
        if lacks and never:
            # Debian says nothing of it, and what nobody says cannot be referred to by %(known/ignoreip)s.
            kept = lacks.get("ignoreip", " ".join(guard.ignored.get(name, ()))).split() or _LOOPBACK
            lacks = {**lacks, "ignoreip": " ".join(dict.fromkeys([*kept, *never]))}
        if lacks:
            jails[name] = lacks
    return Wanted(jails=jails)


def _jail(guard: Fail2ban, program: str, site: Site) -> Optional[Jail]:
    """The best of those that look at logins of a program."""
    found = [jail for jail in guard.jails if watches(jail, program)]
    return min(found, key=lambda jail: len(list(weak(jail, program, guard, _most(site), site))), default=None)


def _most(site: Site) -> int:
    return int(site.tunables.get("max_guesses_per_day", 1000))


def _begun(guard: Fail2ban, program: str) -> dict[str, str]:
    return {"enabled": "true"} if guard.syslog or program == "exim" else {"enabled": "true", "backend": "systemd"}


def _lacks(jail: Jail, guard: Fail2ban, program: str, ports: set[int], site: Site) -> dict[str, str]:
    found: dict[str, str] = {}
    units = {unit for name in DAEMONS[program] for unit in guard.units.get(name, ())}
    if jail.backend != "systemd" and program != "exim" and not (guard.syslog and any(log.stat for log in jail.logs)):
        found["backend"] = "systemd"
    elif jail.backend == "systemd" and jail.units and units and not units & set(jail.units):
        found["journalmatch"] = " + ".join(f"_SYSTEMD_UNIT={unit}" for unit in sorted(units))
    tools = [tool for tool in map(tool_of, jail.actions) if tool]
    if not any(guard.tools.get(tool) for tool in tools):
        found.update({"banaction": "nftables-multiport", "banaction_allports": "nftables-allports"})
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
