"""How much accounts may send through Postfix, Sendmail and OpenSMTPD: by rspamd where it is the filter, or policyd-rate-limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..config.files import ConfigError
from ..config.policyd_rate_limit import Wanted as WantedPolicyd
from ..config.postfix import Wanted
from ..control import Site
from ..controls import sendmail_filters
from ..controls.filters_opensmtpd import behind
from ..controls.inbound_postfix import filters
from ..controls.opensmtpd_walk import filters_of
from ..controls.rates import CLOSED, OPEN, Most, allowed, limits_of
from ..controls.rates_mta import policies, untold_by_postfix
from ..controls.rates_policy import HARMLESS, called_by, exempted, most_of, own_limits
from ..controls.scanners import Kind
from ..finding import Finding
from ..fix import fix
from ..readers.opensmtpd import OpenSmtpd
from ..readers.policyd_rate_limit import PolicydRateLimit
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_restrictions import POLICY
from ..readers.postfix_syntax import words
from ..readers.sendmail import Sendmail
from . import opensmtpd_relay, sendmail_changes
from .postfix_changes import as_written, failing, for_service, put_right, services, together
from .rates_scanner import limits

_AT_RCPT, _AT_DATA = "smtpd_recipient_restrictions", "smtpd_data_restrictions"
_NO_SCANNER = "it does not count logins itself, and rspamd, which does, is not the filter of every port where people log in"


@fix("RATE-01", "postfix")
def limit_accounts_of_postfix(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    ports = failing(postfix, findings)
    # rspamd counts nothing while its Redis does not answer.
    if site.tunables.get("when_down") == CLOSED or not all(_scanned(smtp, site) for smtp in ports):
        return _by_policyd(postfix, site, ports)
    name = "milter_mail_macros"
    deaf = [service for service in services(ports) if untold_by_postfix(service)]
    told = together(put_right(service, name, f"{service.value(name)} {{auth_authen}}") for service in deaf)
    return {"rspamd": limits(site), **({"postfix": told} if told else {})}


def _scanned(smtp: SmtpService, site: Site) -> bool:
    return any(called.kind is Kind.RSPAMD for called in filters(smtp, site))


@fix("RATE-01", "sendmail")
def limit_accounts_of_sendmail(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    ports = sendmail_changes.failing(sendmail, findings)
    found = [[called.kind for called in sendmail_filters.filters(sendmail, port, site)] for port in ports]
    return _by_scanner(site, all(Kind.RSPAMD in kinds for kinds in found))


@fix("RATE-01", "opensmtpd")
def limit_accounts_of_opensmtpd(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    ports = [port for listener in opensmtpd_relay.failing(smtpd, findings) for port, _ in smtpd.ports_of(listener)]
    procs = [[each for each in filters_of(smtpd, port) if each.kind == "proc"] for port in ports if port.listen.auth]
    found = [[behind(site, each).kind for each in listed] for listed in procs]
    return _by_scanner(site, all(Kind.RSPAMD in kinds for kinds in found))


def _by_scanner(site: Site, scanned: bool) -> Mapping[str, Any]:
    if not scanned:
        raise ConfigError(_NO_SCANNER)
    return {"rspamd": limits(site)}


def _by_policyd(postfix: Postfix, site: Site, ports: Sequence[SmtpService]) -> Mapping[str, Any]:
    policyd: PolicydRateLimit = site.policyd
    if policyd is None:
        raise ConfigError("Postfix does not count logins itself; policyd-rate-limit does and is not installed: "
                          "name it in mta_harden_install")  # fmt: skip
    asked = any(called_by(s.smtpd, policy, site) for s in postfix.smtp_services() for policy in policies(s))
    found = {"policyd_rate_limit": WantedPolicyd(_told(policyd, site, asked))}
    change = together(_asks(service, policyd, site) for service in services(ports))
    return {**found, "postfix": change} if change else found


def _asks(service: Service, policyd: PolicydRateLimit, site: Site) -> Wanted:
    """Where this version counts, before all else; and nowhere else."""
    place = _AT_DATA if policyd.counts_at_data else _AT_RCPT
    found = Wanted()
    for name in (_AT_RCPT, _AT_DATA):
        now = words(as_written(service, name))
        left = [word for n, word in enumerate(now) if not _is_it(service, site, now[max(0, n - 1):n + 1], now[n:n + 2])]
        new = ["check_policy_service", _address(service, policyd, site), *left] if name == place else left
        if new != now:
            found = found.then(for_service(service, name, " ".join(new) or None))
    return found


def _is_it(service: Service, site: Site, *pairs: Sequence[str]) -> bool:
    """Whether a word, with the one before or behind it, asks policyd-rate-limit."""
    return any(len(pair) == 2 and pair[0] in POLICY and called_by(service, pair[1], site) for pair in pairs)


def _address(service: Service, policyd: PolicydRateLimit, site: Site) -> str:
    socket, base = policyd.socket, service.value("queue_directory").rstrip("/") + "/"
    if socket.path and not socket.path.startswith(base):
        raise ConfigError(f"smtpd may not reach {socket} from its chroot: give policyd-rate-limit a SOCKET below {base}")
    where = f"unix:{socket.path[len(base):]}" if socket.path else f"inet:{socket}"
    action = "DUNNO" if site.tunables.get("when_down") == OPEN else "DEFER"
    return f"{{{where},default_action={action},timeout=10s}}"


def _told(policyd: PolicydRateLimit, site: Site, asked: bool) -> Mapping[str, Any]:
    """What nobody asked for before is no choice of the site's: the limits of the package hold back a message to eleven people."""
    wanted, said = allowed(site), policyd.said
    found: dict[str, Any] = {"limit_by_sasl": True}
    most = wanted.most
    if most.per_day == math.inf and any(account.max_per_day for account in wanted.accounts):
        most = replace(most, per_day=24 * most.per_hour)  # what is older than twice the longest of these, --clean forgets
    if not asked or not most_of(policyd.limits).within(most):
        found["limits"] = _pairs(most)
    known, good = own_limits(policyd), exempted(policyd, wanted)
    own = {login: limits for login, limits in (said.get("limits_by_id") or {}).items() if login not in known or login in good}
    for account in wanted.accounts:
        own.update((login, _pairs(limits_of(account))) for login in account.logins if login not in good)
    found["limits_by_id"] = own
    if HARMLESS.match(str(said.get("fail_action"))):
        found["fail_action"] = "defer_if_permit Rate limit reached, retry later"
    if wanted.when_down:
        found["db_error_action"] = "dunno" if wanted.when_down == OPEN else "defer_if_permit Rate limits cannot be looked up"
    if not said.get("report"):
        seconds = sorted({int(seconds) for _, seconds in found.get("limits", policyd.limits)})
        found.update(report=True, report_from="postmaster", report_to="postmaster", report_limits=seconds)
    return found


def _pairs(most: Most) -> list[list[int]]:
    return [[int(count), seconds] for count, seconds in ((most.per_hour, 3600), (most.per_day, 86400)) if count < math.inf]
