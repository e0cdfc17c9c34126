"""Controls on guessing passwords within one session: the mail server itself cuts it off, or slows it down."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, fail, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.dovecot_model import Dovecot, Port
from ..readers.exim import Exim
from ..readers.exim_syntax import Condition
from ..readers.postfix import Service, SmtpService
from . import dovecot_ports, exim_ports, postfix_login
from .exim_paths import Finder
from .exim_walk import Answer, Trail, Walk
from .postfix_ports import each_listener, listener, setting

_UNITS = {"": 1.0, "s": 1.0, "secs": 1.0, "sec": 1.0, "msecs": 0.001, "ms": 0.001, "mins": 60.0, "min": 60.0, "m": 60.0}


AUTH_RATE = "smtpd_client_auth_rate_limit"
_NOT_KNOWN = "how many passwords one session may try is not known"


def _limit(site: Site) -> int:
    return int(site.tunables.get("max_guesses_per_session", 25))


@control("AUTH-06", "postfix")
@each_listener
def postfix_cuts_off_who_guesses(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    """A refused AUTH is an error; after smtpd_hard_error_limit of them smtpd hangs up (tried on 3.7 and 3.10)."""
    service, about = smtp.smtpd, listener(smtp)
    name = "smtpd_hard_error_limit"
    # What holds while nothing presses: under stress the default is 1.
    value = service.value(name).strip() or "20"
    if not postfix_login.takes_logins(service):
        yield passed(about, f"no login here: {postfix_login.no_login(service)}")
    elif not value.isdigit():
        yield unknown(about, _NOT_KNOWN, f"{name} is not a number", setting(service, name))
    elif int(value) > _limit(site):
        text = f"one session may try {value} passwords before it is cut off; at most {_limit(site)} are allowed"
        yield fail(about, text, setting(service, name))
    else:
        rate, most = auth_rate(service), int(site.tunables.get("max_auth_rate", 0))
        if most and not 0 < rate <= most:
            text = f"one address may send {rate or 'any number of'} AUTH commands in {service.value('anvil_rate_time_unit')}"
            yield fail(about, f"{text}; at most {most} are allowed (max_auth_rate)", setting(service, AUTH_RATE))
            return
        more = f", and {rate} AUTH commands in a unit of time are the most" if rate else ""
        yield passed(about, f"a session is cut off after {value} errors{more}")


def auth_rate(service: Service) -> int:
    """How many AUTH commands an address may send in a unit of time; 0 for any number."""
    value = service.value(AUTH_RATE)
    return int(value) if value.isdigit() else 0


class _Guessing(Walk):
    """A session that has guessed too often: every limit is exceeded."""

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        return condition.name == "ratelimit" or super()._plain(condition, verb, trail, depth)


@control("AUTH-06", "exim")
@exim_ports.each_listener
def exim_cuts_off_who_guesses(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    """Each AUTH but the first counts as a command that is about no mail (smtp_in.c); 0 ends the session at the second (tried)."""
    about, name = exim_ports.subject(port), "smtp_accept_max_nonmail"
    value, hosts = exim.options.get(name, ""), exim.options.get(f"{name}_hosts", "")
    shown = [exim_ports.option(exim, name), exim_ports.option(exim, f"{name}_hosts")]
    low = value.isdigit() and int(value) <= _limit(site)
    if not exim.takes_logins:
        yield notapplicable(about, "no login here", "no authenticator has a server side")
        return
    if low and hosts == "*":
        yield passed(about, f"a session is cut off after {value} commands that are about no mail, AUTH among them")
        return
    named = exim.options.get("acl_smtp_auth", "")
    over = _Guessing(exim, Finder(exim, port, site).session(tls=True)).stage("acl_smtp_auth") if "$" not in named else None
    if over and over.answer is Answer.UNKNOWN:
        yield unknown(about, _NOT_KNOWN, f"acl_smtp_auth: {over.doubt}", *shown)
    elif over and over.answer is Answer.REJECT:
        yield passed(about, f"attempts are limited by the ACL for AUTH ({over.statement.where if over.statement else named})")
    elif "$" in named:
        yield unknown(about, _NOT_KNOWN, "acl_smtp_auth is an expansion", *shown)
    elif not value.isdigit() or low and hosts:
        reason = f"{name}_hosts names some clients only, which were not compared with strangers"
        yield unknown(about, _NOT_KNOWN, reason, *shown)
    else:
        text = f"one session may try {value if hosts else 'any number of'} passwords"
        yield fail(about, f"{text}; at most {_limit(site)} are allowed", *shown)


@control("AUTH-06", "dovecot")
@dovecot_ports.each_port
def dovecot_slows_who_guesses(dovecot: Dovecot, port: Port, site: Site) -> Iterator[Finding]:
    """It answers a wrong password late; the next ones from the same address later (auth-penalty in the anvil service)."""
    about = dovecot_ports.subject(port)
    if port.listener.protocol == "lmtp":
        yield notapplicable(about, "no login here", "LMTP takes mail, no logins")
        return
    shown = dovecot_ports.setting(dovecot.scopes("")[0], "auth_failure_delay")
    found = re.fullmatch(r"([\d.]+)\s*(\w*)", dovecot.value("auth_failure_delay"))
    if not found or found.group(2) not in _UNITS:
        yield unknown(about, "whether wrong passwords are answered late is not known", "auth_failure_delay is no time", shown)
    elif float(found.group(1)) * _UNITS[found.group(2)] < 1:
        yield fail(about, "a wrong password is answered at once", shown)
    else:
        yield passed(about, f"a wrong password is answered after {found.group(0)}, the next ones later")
