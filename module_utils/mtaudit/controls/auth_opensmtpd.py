"""Controls on how clients log in to OpenSMTPD, and on the senders that they may then use."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Finding, fail, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_model import Port
from ..readers.opensmtpd_tables import Doubt
from ..text import printable
from .opensmtpd_login import NO_LOGIN, logins, without_tls
from .opensmtpd_paths import Finder
from .opensmtpd_ports import decided, each_listener, line, subject
from .opensmtpd_walk import Answer
from .senders import NOBODY, everybodys

_DOMAINS_LIMIT = 10
_MAILBOXES = ("postmaster", "root")  # what every domain has, and nobody's login


@control("AUTH-02", "opensmtpd")
def port_25_takes_no_logins(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    findings = list(each_listener(_port_25)(smtpd, site))
    if smtpd.listeners and not findings:
        findings = [notapplicable(HOST, "OpenSMTPD does not listen on port 25", f"no listen line of {smtpd.file} names it")]
    yield from findings


def _port_25(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    if listener.port != 25:
        return
    taking = [port for port, _ in smtpd.ports_of(listener) if port.listen.auth]
    if taking:
        text = f"port 25 takes logins inside TLS: its listen line has {taking[0].listen.auth}"
        yield fail(subject(listener), text, line(taking[0]))
    else:
        yield passed(subject(listener), "no login here")


@control("SENDER-01", "opensmtpd")
@each_listener
def logins_use_their_own_sender(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(smtpd, listener, site)
    ports = [(port, version) for port, version in finder.ports if port.listen.auth]
    if not ports:
        yield notapplicable(subject(listener), "no login here", NO_LOGIN)
        return
    doubtful = "which senders a login may use could not be evaluated"
    for port, version in ports:
        try:
            tried = list(_others(smtpd, finder, port))
        except Doubt as exc:
            yield unknown(subject(listener), doubtful, str(exc), line(port))
            return
        for login, sender in tried:
            outcome = finder.outcome(port, finder.session(version, login=login, sender=sender, certificate=True))
            if outcome.answer is Answer.RELAY:
                who = "a login" if login == NOBODY else f"the login {printable(login)}"
                text = f"{who} may send as other people, such as {printable(sender)}: nothing refuses a sender of others"
                yield fail(subject(listener), text, line(port), *decided(outcome), conditions=("authenticated",))
                return
            if outcome.answer is Answer.UNKNOWN:
                yield unknown(subject(listener), doubtful, outcome.doubt, line(port), *decided(outcome))
                return
    yield without_tls(smtpd, listener, ports[0][0]) or passed(subject(listener), "a login is held to its own senders")


def _others(smtpd: OpenSmtpd, finder: Finder, port: Port) -> Iterator[tuple[str, str]]:
    """Logins with senders that are somebody else's. Raises Doubt."""
    domains = (finder.local_domains or [smtpd.hostname or "localhost"])[:_DOMAINS_LIMIT]
    mailboxes = [f"{name}@{domain}" for domain in domains for name in _MAILBOXES]
    if port.listen.senders is None:
        for login in logins(smtpd, port):
            yield from ((login, sender) for sender in mailboxes if sender.partition("@")[0] != login.partition("@")[0])
        return
    values = {login.lower(): value for login, value in port.listen.senders.entries}
    owned = {login: [word.strip() for word in values[login].split(",") if word.strip()] for login in logins(smtpd, port)}
    yield from _by_the_table(owned, mailboxes[0])


def _by_the_table(owned: dict[str, list[str]], mailbox: str) -> Iterator[tuple[str, str]]:
    """Logins that the `senders` table gives everything, a domain that others write from, or, as all others, all addresses."""
    addresses: dict[str, list[str]] = {}
    domains: dict[str, list[str]] = {}
    for login, patterns in owned.items():
        for pattern in patterns:
            user, _, domain = pattern.rpartition("@") if "@" in pattern else (pattern, "", "")
            domains.setdefault(domain, []).append(login)
            if user and domain:
                addresses.setdefault(pattern, []).append(login)
    for login, patterns in owned.items():
        for pattern in patterns:
            if pattern == "@":
                yield login, mailbox
            elif pattern.startswith("@"):  # one person's own domain is nobody else's
                others = [a for a, names in addresses.items() if login not in names and a.rpartition("@")[2] == pattern[1:]]
                shared = set(domains[pattern[1:]]) - {login}
                yield from ((login, sender) for sender in others[:1] or [f"{NOBODY}{pattern}"] * bool(shared))
    found = everybodys(addresses)
    if found:
        yield found
