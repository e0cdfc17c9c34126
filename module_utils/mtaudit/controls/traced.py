"""Controls on the header of mail that people submit: it names their account (LOG-02), and not where they are (INFO-03).

Each program's header is that of a session which is only thought of, so that both controls look at the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, Method, Subject, fail, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import SmtpService
from ..readers.sendmail import Sendmail
from ..readers.submitted import ADDRESSES, CLIENT, HELO, LOGIN, NAME, Written
from ..text import printable
from . import opensmtpd_ports, postfix_ports, sendmail_ports
from .inbound_postfix import filters
from .opensmtpd_login import NO_LOGIN, without_tls
from .opensmtpd_walk import RSPAMD
from .postfix_login import doubt, no_login, takes_logins
from .scanners import Called, Kind, called, milter_place
from .sendmail_login import clients, offers_login
from .sendmail_login import no_login as no_login_of_sendmail

Judge = Callable[[Subject, Sequence[Written], Sequence[Evidence], str], Finding]


def names_the_account(about: Subject, written: Sequence[Written], shown: Sequence[Evidence], stranger: str) -> Finding:
    """`stranger` says which filter may put more into the header; empty for none."""
    nameless = next((one for one in written if LOGIN not in one.text), None)
    said = "the header of what people send here does not name their account"
    return _judged(about, written, nameless, ("the header names the account", said), shown, stranger)


def hides_the_client(about: Subject, written: Sequence[Written], shown: Sequence[Evidence], stranger: str) -> Finding:
    """The same for a filter that may take something out."""
    telling = next((one for one in written if any(word in one.text for word in CLIENT)), None)
    told = "the header does not tell where people are"
    if telling is None:
        return _judged(about, written, None, (told, ""), shown, stranger)
    address = any(str(a) in telling.text for a in ADDRESSES.values())
    what = "the address" if address else "the name" if NAME in telling.text else "the HELO name"
    said = f"the header of what people send here tells {what} of where they are"
    return _judged(about, written, telling, (told, said), shown, stranger)


def _judged(
    about: Subject, written: Sequence[Written], bad: Optional[Written], texts: tuple[str, str], shown: Sequence[Evidence],
    stranger: str,
) -> Finding:  # fmt: skip
    open_question = next((one.doubt for one in written if one.doubt), "")
    if open_question:
        return unknown(about, "what the header tells of people could not be told", open_question, *shown)
    if bad is None:
        return passed(about, texts[0])
    line = Evidence(Method.CONFIG, "header of a message", printable(" ".join(bad.text.split()))[:300] or "(no Received line)")
    if stranger:
        return unknown(about, f"{texts[1]}, unless a filter changes it", stranger, line, *shown)
    return fail(about, texts[1], line, *shown)


def strange(milters: Iterable[Called]) -> str:
    """Why it is not known what a filter does to the header; rspamd and signers leave Received lines alone unless told."""
    return next((one.reason for one in milters if one.kind in (Kind.UNKNOWN, Kind.SILENT)), "")


def _postfix(smtp: SmtpService, site: Site, judge: Judge) -> Iterator[Finding]:
    smtpd, about = smtp.smtpd, postfix_ports.listener(smtp)
    if not takes_logins(smtpd):
        yield notapplicable(about, "no login here", no_login(smtpd))
        return
    written = smtpd.postfix.submitted.get(smtpd.label, ())
    names = dict.fromkeys(name.rpartition(" ")[2] for one in written for name in one.names)
    shown = [postfix_ports.setting(smtpd, name) for name in names if name != "check_sasl_access"]
    behind = next((name for name in ("smtpd_proxy_filter", "content_filter") if smtpd.value(name)), "")
    stranger = f"what {behind} = {smtpd.value(behind)} does to the header is not known" if behind else ""
    if doubt(smtpd):
        yield unknown(about, "whether this port takes logins could not be told", doubt(smtpd), *shown)
    else:
        yield judge(about, written, shown, stranger or strange(filters(smtp, site)))


@control("LOG-02", "postfix", scanner=True)
@postfix_ports.each_listener
def postfix_names_the_account(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    yield from _postfix(smtp, site, names_the_account)


@control("INFO-03", "postfix", scanner=True)
@postfix_ports.each_listener
def postfix_hides_the_client(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    yield from _postfix(smtp, site, hides_the_client)


def _opensmtpd(smtpd: OpenSmtpd, listener: Listener, judge: Judge) -> Iterator[Finding]:
    """The header of smtp_session.c (tried on 7.6): `received-auth` adds the account, `mask-src` leaves the client out."""
    about = opensmtpd_ports.subject(listener)
    ports = [(port, version) for port, version in smtpd.ports_of(listener) if port.listen.auth]
    if not ports:
        yield notapplicable(about, "no login here", NO_LOGIN)
        return
    written, stranger = [], ""
    for port, version in ports:
        address = f"IPv6:{ADDRESSES['ipv6']}" if version == 6 else str(ADDRESSES["ipv4"])
        source = "" if port.listen.mask_src else f"from {HELO} ({NAME} [{address}])"
        account = f" auth=yes user={LOGIN}" if port.listen.received_auth else ""
        written.append(Written(f"Received: {source}\n\tby {smtpd.hostname} (OpenSMTPD) with ESMTPSA id 1a2b3c4d{account}"))
        stranger = stranger or _program(smtpd, port.listen.filters)
    shown = [opensmtpd_ports.line(port) for port in dict.fromkeys(port for port, _ in ports)]
    yield without_tls(smtpd, listener, ports[0][0]) or judge(about, written, shown, stranger)


def _program(smtpd: OpenSmtpd, names: Sequence[str]) -> str:
    """A filter that is a program of its own, also within a chain. That of rspamd only adds to the header."""
    for name in names:
        found = smtpd.config.filters.get(name)
        inside = _program(smtpd, found.chain) if found else ""
        if inside or found and found.kind == "proc" and not RSPAMD.search(found.command):
            return inside or f"what the filter {name} does to the header is not known"
    return ""


@control("LOG-02", "opensmtpd")
@opensmtpd_ports.each_listener
def opensmtpd_names_the_account(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    yield from _opensmtpd(smtpd, listener, names_the_account)


@control("INFO-03", "opensmtpd")
@opensmtpd_ports.each_listener
def opensmtpd_hides_the_client(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    yield from _opensmtpd(smtpd, listener, hides_the_client)


def _sendmail(sendmail: Sendmail, port: Listener, site: Site, judge: Judge) -> Iterator[Finding]:
    about = sendmail_ports.subject(port)
    offered = [c for c in clients(sendmail, port, site) if c.features.doubt or offers_login(sendmail, port, c)]
    if not offered:
        yield notapplicable(about, "no login here", no_login_of_sendmail(sendmail, port))
        return
    written = [sendmail.submitted(family) for family in port.families]
    shown = [sendmail_ports.seen(name, text) for text, name in sendmail.added_headers]
    shown = shown or [sendmail_ports.seen(sendmail.file, "no HReceived")]
    unclear = next((c.features.doubt for c in offered if c.features.doubt), "")
    if unclear:
        yield unknown(about, "whether this port takes logins could not be told", unclear, *shown)
        return
    milters = [
        called(site, d.name, milter_place(d.fields.get("S", "")), sendmail_ports.seen(f"{sendmail.file}:{d.line}", d.name), True)
        for d in sendmail.cf.filters.values()
    ]
    yield judge(about, written, shown, strange(milters))


@control("LOG-02", "sendmail", scanner=True)
@sendmail_ports.each_listener
def sendmail_names_the_account(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    yield from _sendmail(sendmail, port, site, names_the_account)


@control("INFO-03", "sendmail", scanner=True)
@sendmail_ports.each_listener
def sendmail_hides_the_client(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    yield from _sendmail(sendmail, port, site, hides_the_client)
