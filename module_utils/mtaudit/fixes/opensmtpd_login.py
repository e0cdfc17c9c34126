"""How people log in to OpenSMTPD, what is written of them, and how much one message may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from ..config.opensmtpd import Wanted
from ..config.opensmtpd_text import statements
from ..control import Site
from ..controls.limits import RECIPIENTS, SIZE, most_of
from ..controls.opensmtpd_paths import Finder
from ..controls.opensmtpd_walk import Answer
from ..finding import Finding
from ..fix import fix
from ..listeners import SUBMISSION_PORTS
from ..readers.local_users import NOBODY
from ..readers.opensmtpd import OpenSmtpd, told_macros
from ..readers.opensmtpd_lexer import Token, written
from ..readers.opensmtpd_model import Port
from ..readers.opensmtpd_tables import Doubt, Table
from .opensmtpd_relay import failing, together

_ROLES = ("postmaster", "abuse")


def _lines(smtpd: OpenSmtpd, findings: Sequence[Finding]) -> list[Port]:
    """The lines behind the ports that fail, each once."""
    return list(dict.fromkeys(port for listener in failing(smtpd, findings) for port, _ in smtpd.ports_of(listener)))


def _name(port: Port) -> str:
    return f"{port.listen.on} port {port.number}"


@fix("AUTH-02", "opensmtpd")
def take_logins_where_they_belong(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Not on port 25, if there is another one where people can log in."""
    if not any(port.listen.auth and port.number in SUBMISSION_PORTS for port in smtpd.ports):
        return None
    off = {"auth": None, "auth-optional": None, "senders": None, "received-auth": None}
    return together(Wanted(options={_name(port): off}) for port in _lines(smtpd, findings) if port.listen.auth)


@fix("AUTH-03", "opensmtpd")
def ask_for_a_login(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """`auth` in place of `auth-optional`; where a line for submission has neither, with what other lines have."""
    other = next((port.listen for port in smtpd.ports if port.listen.auth and port.number in SUBMISSION_PORTS), None)
    found = []
    for port in _lines(smtpd, findings):
        source = port.listen if port.listen.auth else other
        if port.listen.auth == "auth" or source is None or not port.listen.tls or port.number not in SUBMISSION_PORTS:
            continue
        wanted: dict[str, Optional[str]] = {"auth-optional": None, "auth": _told(source.logins)}
        if not port.listen.senders and source.senders:
            wanted["senders"] = _told(source.senders)
        found.append(Wanted(options={_name(port): wanted}))
    return together(found)


def _told(table: Optional[Table]) -> str:
    return f"<{table.name}>" if table is not None and table.name else ""


@fix("SENDER-01", "opensmtpd")
@fix("RELAY-14", "opensmtpd")
def hold_logins_to_their_senders(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """With the table that other lines have for the same logins; in it, what stands for everybody's senders goes. Only the site
    knows whose sender is whose: without a table nothing is proposed."""
    return together(wanted for port in _lines(smtpd, findings) if port.listen.auth for wanted in _held(smtpd, site, port))


def _held(smtpd: OpenSmtpd, site: Site, port: Port) -> Iterator[Wanted]:
    senders, logins = port.listen.senders, port.listen.logins
    if senders is None:
        same = [each.listen.senders for each in smtpd.ports if each.listen.logins == logins]
        known = [table for table in same if table is not None and table.name]
        if known:
            yield Wanted(options={_name(port): {"senders": _told(known[0])}})
    elif senders.read_at_start and not senders.problem:
        domains = list(dict.fromkeys((*smtpd.local_domains, *site.local_domains)))
        for login, value in senders.entries:
            new = ", ".join(_owned(value, domains))
            if new and new != ", ".join(_words(value)):
                yield Wanted(tables={senders.path: {login: new}})


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _owned(value: str, domains: Sequence[str]) -> list[str]:
    """Without `@`, which is everybody; a star stands for the domains of the site."""
    found: list[str] = []
    for word in _words(value):
        user, _, domain = word.rpartition("@")
        found += [f"{user}@{own}" for own in domains] if user and domain == "*" else [] if word == "@" else [word]
    return list(dict.fromkeys(found))


@fix("LOG-02", "opensmtpd")
def name_the_account(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return together(Wanted(options={_name(p): {"received-auth": ""}}) for p in _lines(smtpd, findings)
                    if p.listen.auth and not p.listen.received_auth)  # fmt: skip


@fix("INFO-03", "opensmtpd")
def keep_back_where_people_are(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return together(Wanted(options={_name(p): {"mask-src": ""}}) for p in _lines(smtpd, findings)
                    if p.listen.auth and not p.listen.mask_src)  # fmt: skip


@fix("RATE-02", "opensmtpd")
def limit_a_message(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Down to what the site allows; what is not set has limits of its own."""
    limits, wanted = smtpd.config.limits, Wanted()
    recipients, size_mb = most_of(RECIPIENTS, site), most_of(SIZE, site)
    if limits.get("max-rcpt", 1000) > recipients:
        wanted = wanted.then(_limited(smtpd, ("smtp", "limit"), "max-rcpt", str(recipients)))
    if limits.get("max-message-size", 35 * 1024**2) > size_mb * 1024**2:
        wanted = wanted.then(_limited(smtpd, ("smtp",), "max-message-size", f"{size_mb}M"))
    return together([wanted])


def _limited(smtpd: OpenSmtpd, start: tuple[str, ...], name: str, value: str) -> Wanted:
    """The statement with its number changed; a new one above the first action where there is none."""
    found = list(statements(smtpd.file, smtpd.config.files, told_macros(smtpd)))
    for each in found:
        texts = [token.text for token in each.tokens]
        if tuple(texts[: len(start)]) == start and name in texts[len(start) : -1]:
            at = texts.index(name) + 1
            new = written([*each.tokens[:at], Token("word", value, ""), *each.tokens[at + 1 :]])
            return Wanted({written(each.tokens): new})
    above = next(written(each.tokens) for each in found if each.tokens[0].text in ("action", "match"))
    return Wanted(additions={" ".join([*start, name, value]): above})


@fix("RCPT-01", "opensmtpd")
def refuse_unknown_mailboxes(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The entries of a table of mailboxes that stand for every other address go; the addresses that every domain has to have
    (RFC 5321, 4.5.1; RFC 2142) keep what those gave them."""
    found = []
    for listener in failing(smtpd, findings):
        finder = Finder(smtpd, listener, site)
        for port, version in finder.ports:
            for domain in finder.local_domains:
                outcome = finder.outcome(port, finder.session(version, recipient=f"{NOBODY}@{domain}"))
                action = smtpd.config.actions.get(outcome.rule.action) if outcome.rule else None
                if outcome.answer is Answer.LOCAL and action and action.virtual:
                    found += list(_without_catch_all(action.virtual, domain))
    return together(found)


def _without_catch_all(virtual: Table, domain: str) -> Iterator[Wanted]:
    if not virtual.read_at_start:
        return
    try:
        known = {key: virtual.value(key) for key in (f"@{domain}", "@", *(f"{role}@{domain}" for role in _ROLES))}
    except Doubt:
        return
    for key in (f"@{domain}", "@"):
        target = known[key]
        if target is not None:
            roles = {f"{role}@{domain}": target for role in _ROLES if known[f"{role}@{domain}"] is None}
            yield Wanted(tables={virtual.path: {key: None, **roles}})
            return
