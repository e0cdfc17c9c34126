"""Controls on the senders that people who logged in to Postfix may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, fail, notapplicable, passed, unknown
from ..readers.postfix import Service, SmtpService
from ..readers.postfix_samples import FOREIGN_DOMAINS, LABEL
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import PATTERNS, TableProblem
from .postfix_login import no_login, takes_logins
from .postfix_ports import each_listener, listener, setting
from .relay_logins import owners
from .relay_paths import stranger
from .relay_walk import Answer, Walk
from .senders import NOBODY, everybodys

_KEYS_LIMIT = 10


@control("SENDER-01", "postfix")
@each_listener
def logins_use_their_own_sender(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, listener(smtp)
    if not takes_logins(service):
        yield notapplicable(about, "no login here", no_login(service))
        return
    shown = [setting(service, name) for name in ("smtpd_sender_login_maps", "smtpd_sender_restrictions")]
    walk = Walk(service, service.postfix.resolver(service))
    for sender in _others(service, site):
        outcome = walk.outcome(stranger(smtp, site, login=NOBODY, sender=sender))
        if outcome.answer is Answer.OK:
            text = f"a login may send as other people, such as {sender}: nothing refuses a sender that it does not own"
            yield fail(about, text, *shown, conditions=("authenticated",))
            return
        if outcome.answer is Answer.UNKNOWN and outcome.rule:
            yield unknown(about, "which senders a login may use could not be evaluated", outcome.rule.doubt, *shown)
            return
    yield _by_the_maps(smtp, site, walk, shown)


def _by_the_maps(smtp: SmtpService, site: Site, walk: Walk, shown: list[Evidence]) -> Finding:
    """Whether the maps tell people apart; each check is there, but a map that gives all to all makes nothing of it."""
    about = listener(smtp)
    try:
        for login, sender, what in _generous(smtp.smtpd, site):
            if walk.outcome(stranger(smtp, site, login=login, sender=sender)).answer is Answer.OK:
                text = f"the maps give {login} {what}"
                return fail(about, text, *shown, conditions=("authenticated",))
    except TableProblem as exc:
        return unknown(about, "which senders a login may use could not be evaluated", str(exc), *shown)
    return passed(about, "a login is held to its own senders")


def _domains(service: Service, site: Site) -> list[str]:
    return list(dict.fromkeys((*site.local_domains, *service.postfix.local_domains)))


def _listed(service: Service) -> dict[str, str]:
    """The addresses that the maps name, with their logins, as far as they can be listed."""
    tables = [service.table(spec) for spec in words(service.value("smtpd_sender_login_maps"))]
    return {k: v for table in tables if not table.sampled for k, v in table.entries.items() if "@" in k.strip("@")}


def _others(service: Service, site: Site) -> list[str]:
    """Senders that belong to somebody: those that the maps name, else the mailboxes that every domain has (RFC 2142)."""
    named = list(_listed(service))[:_KEYS_LIMIT]
    return named or [f"postmaster@{domain}" for domain in _domains(service, site)[:_KEYS_LIMIT]] or [f"{NOBODY}@localhost"]


def somebody(service: Service, site: Site) -> tuple[str, str]:
    """A login and a sender of its own."""
    owned = ((words(value)[:1], key) for key, value in _listed(service).items())
    return next(((names[0], key) for names, key in owned if names), (NOBODY, _others(service, site)[0]))


def _generous(service: Service, site: Site) -> Iterator[tuple[str, str, str]]:
    """A login that owns what is not its own, one such sender, and what all it owns."""
    for login in _common(service, [f"{name}@{FOREIGN_DOMAINS[0]}" for name in (NOBODY, LABEL)]):
        yield login, f"{NOBODY}@{FOREIGN_DOMAINS[0]}", "every sender there is"
    patterns = any(service.table(spec).kind in PATTERNS for spec in words(service.value("smtpd_sender_login_maps")))
    for domain in _domains(service, site):
        shared = _common(service, [f"{name}@{domain}" for name in (NOBODY, LABEL)])
        # A table of patterns can only be asked for what was tried with it.
        shared = shared or (_common(service, [f"{name}@{domain}" for name in ("root", "postmaster")]) if patterns else [])
        if len(shared) > 1:  # one person's own domain is nobody else's
            sender = f"postmaster@{domain}" if patterns else f"{NOBODY}@{domain}"
            yield shared[0], sender, f"and others every sender of {domain}"
    owned = {key: words(value) for key, value in _listed(service).items()}
    found = everybodys(owned)
    if found:
        yield *found, f"and everybody else all addresses, such as {found[1]}"


def _common(service: Service, senders: list[str]) -> list[str]:
    """The logins that own all of these senders. Raises TableProblem."""
    owned: list[Optional[list[str]]] = [owners(service, sender) for sender in senders]
    return [login for login in owned[0] or () if all(login in (names or ()) for names in owned)]
