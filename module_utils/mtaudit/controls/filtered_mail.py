"""Controls on filters that mail really passes, for each program: strangers' mail, that of accounts, that of the host itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Optional, Union

from ..control import Evaluate, Site, control
from ..finding import HOST, Finding, Subject, notapplicable, passed
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Session
from ..readers.exim_syntax import Condition, Statement
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Listen
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.sendmail import Sendmail
from . import exim_ports, inbound_exim, inbound_postfix, opensmtpd_ports, postfix_ports, sendmail_filters, sendmail_ports
from .exim_login import each_port_with_logins
from .exim_paths import Finder
from .exim_walk import Answer, Trail, Verdict, Walk
from .filtering import LOCAL, LOGINS, STRANGERS, Judge, Way, enforced, judged, scanned
from .filters_opensmtpd import behind
from .opensmtpd_login import NO_LOGIN
from .opensmtpd_walk import filters_named
from .postfix_login import no_login, takes_logins
from .scanners import Called, Kind
from .sendmail_login import clients, offers_login

_SCANNED = re.compile(r"\bspam|\bacl")
Ways = Iterator[Union[Way, Finding]]


def _register(program: str, each_listener: Callable[[Any], Evaluate], strangers: Callable[..., Ways], outgoing: Evaluate) -> None:
    """`strangers` are the ways of a port that strangers' mail comes in by; they get what each_listener() gives, the Site last."""

    def inbound(judge: Judge) -> Evaluate:
        return each_listener(lambda *asked: judged(strangers(*asked), asked[-1], judge))

    for control_id, evaluate in (("INB-03", inbound(scanned)), ("INB-04", inbound(enforced)), ("OUT-01", outgoing)):
        control(control_id, program, scanner=True)(evaluate)


def _of_logins(each_listener: Callable[[Any], Evaluate], logins: Callable[..., Ways]) -> Evaluate:
    return each_listener(lambda *asked: judged(logins(*asked), asked[-1], scanned))


# Postfix


def _of_postfix(smtp: SmtpService, site: Site, what: str) -> Way:
    found = [*inbound_postfix.filters(smtp, site), *after_queue(smtp.smtpd)]
    return Way(postfix_ports.listener(smtp), what, found, [postfix_ports.setting(smtp.smtpd, "smtpd_milters")])


def after_queue(service: Service) -> Iterator[Called]:
    """amavis and its like: what they do is written in their own configuration."""
    for name in ("content_filter", "smtpd_proxy_filter"):
        value = service.value(name)
        if value:
            yield Called(value, postfix_ports.setting(service, name), Kind.UNKNOWN, f"what {value} does is not known to mtaudit")


def _strangers_of_postfix(smtp: SmtpService, site: Site) -> Ways:
    yield inbound_postfix.no_mail(smtp, site) or _of_postfix(smtp, site, STRANGERS)


def _logins_of_postfix(smtp: SmtpService, site: Site) -> Ways:
    about = postfix_ports.listener(smtp)
    logins = takes_logins(smtp.smtpd)
    yield _of_postfix(smtp, site, LOGINS) if logins else notapplicable(about, "no login here", no_login(smtp.smtpd))


def _outgoing_of_postfix(postfix: Postfix, site: Site) -> Iterator[Finding]:
    yield from _of_logins(postfix_ports.each_listener, _logins_of_postfix)(postfix, site)
    if postfix.problem:
        return
    if not postfix.main.value("authorized_submit_users"):
        yield passed(HOST, "no program hands mail over to this instance: authorized_submit_users is empty")
        return
    named = {s.entry.command: s for s in postfix.services() if s.entry}
    cleanup, pickup = named.get("cleanup", postfix.main), named.get("pickup", postfix.main)
    found = [*inbound_postfix.milters(cleanup, site, "non_smtpd_milters"), *after_queue(pickup)]
    yield from judged([Way(HOST, LOCAL, found, [postfix_ports.setting(cleanup, "non_smtpd_milters")])], site, scanned)


_register("postfix", postfix_ports.each_listener, _strangers_of_postfix, _outgoing_of_postfix)


# Exim


class _Found(Walk):
    """A message that the scanner does not like, and nothing else: the conditions on what it says are true."""

    def _statement(self, statement: Statement, trail: Trail, depth: int) -> Optional[Verdict]:
        if statement.verb in ("deny", "drop", "defer", "require", "discard") and not _SCANNED.search(str(statement)):
            return None
        return super()._statement(statement, trail, depth)

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        if condition.name == "spam" or condition.name == "condition" and "$spam_" in condition.value.replace("{", ""):
            return True
        return super()._plain(condition, verb, trail, depth)


class _Forged(Walk):
    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        return condition.name == "dmarc_status" or super()._plain(condition, verb, trail, depth)


def _of_exim(exim: Exim, site: Site, way: Way, session: Session, acl: str) -> Way:
    found = inbound_exim.scanners_of(exim, site, session, acl)
    outcome = _Found(exim, session).stage(acl)
    idle = "the ACL asks the scanner and refuses nothing" if found and outcome.answer is Answer.OK else ""
    forged = _Forged(exim, session).stage(acl)
    by_dmarc = str(forged) if forged.answer is Answer.REJECT and forged.statement is not None else ""
    doubt = outcome.doubt if found and outcome.answer is Answer.UNKNOWN else ""
    return replace(way, filters=found, idle=idle, doubt=doubt, by_dmarc=by_dmarc)


def _strangers_of_exim(exim: Exim, port: Listener, site: Site) -> Ways:
    session = inbound_exim.strangers_message(exim, port, site)
    about = exim_ports.subject(port)
    none = inbound_exim.no_mail(exim, port, site)
    if none or session is None:
        yield none or passed(about, "no stranger's mail is taken here")
    else:
        way = Way(about, STRANGERS, (), [exim_ports.option(exim, "acl_smtp_data")])
        yield _of_exim(exim, site, way, session, "acl_smtp_data")


@each_port_with_logins
def _logins_of_exim(exim: Exim, port: Listener, site: Site, methods: Any) -> Iterator[Finding]:
    way = Way(exim_ports.subject(port), LOGINS, (), [exim_ports.option(exim, "acl_smtp_data")])
    session = Finder(exim, port, site).session(tls=True, login="mtaudit", method=methods[0])
    yield from judged([_of_exim(exim, site, way, session, "acl_smtp_data")], site, scanned)


def _outgoing_of_exim(exim: Exim, site: Site) -> Iterator[Finding]:
    yield from _logins_of_exim(exim, site)
    if not exim.problem:
        way = Way(HOST, LOCAL, (), [exim_ports.option(exim, "acl_not_smtp")])
        yield from judged([_of_exim(exim, site, way, Session("", login="root"), "acl_not_smtp")], site, scanned)


_register("exim", exim_ports.each_listener, _strangers_of_exim, _outgoing_of_exim)


# Sendmail


def _of_sendmail(sendmail: Sendmail, port: Listener, site: Site, what: str) -> Way:
    _, where = sendmail_filters.named(sendmail, port)
    return Way(sendmail_ports.subject(port), what, sendmail_filters.filters(sendmail, port, site), [where])


def strangers_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Ways:
    if sendmail.login_required(sendmail.daemon_of(port)):
        yield passed(sendmail_ports.subject(port), "nothing is accepted before a login")
    else:
        yield _of_sendmail(sendmail, port, site, STRANGERS)


def _logins_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Ways:
    if any(offers_login(sendmail, port, client) for client in clients(sendmail, port, site)):
        yield _of_sendmail(sendmail, port, site, LOGINS)
    else:
        yield notapplicable(sendmail_ports.subject(port), "no login here", "AUTH is not offered on this port")


def _outgoing_of_sendmail(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
    """Programs of the host hand mail over to port 25 of it (submit.cf), as everybody does."""
    yield from _of_logins(sendmail_ports.each_listener, _logins_of_sendmail)(sendmail, site)
    own = next((port for port in sendmail.listeners if port.port == 25), None)
    if own and not sendmail.problem:
        yield from judged([replace(_of_sendmail(sendmail, own, site, LOCAL), subject=HOST)], site, scanned)


_register("sendmail", sendmail_ports.each_listener, strangers_of_sendmail, _outgoing_of_sendmail)


# OpenSMTPD


def _of_opensmtpd(smtpd: OpenSmtpd, about: Subject, listens: Sequence[Listen], site: Site, what: str) -> Iterator[Way]:
    """What the filters of each `listen` line are."""
    for listen in listens:
        found = [behind(site, each) for each in filters_named(smtpd, listen.filters) if each.kind == "proc"]
        yield Way(about, what, found, [opensmtpd_ports.seen(listen.where, listen.text)])


def strangers_of_opensmtpd(smtpd: OpenSmtpd, port: Listener, site: Site) -> Ways:
    about = opensmtpd_ports.subject(port)
    open_ = [p.listen for p, _ in smtpd.ports_of(port) if p.listen.auth != "auth" and not p.listen.verify]
    if open_:
        yield from _of_opensmtpd(smtpd, about, open_, site, STRANGERS)
    else:
        yield passed(about, "nothing is accepted before a login")


def _logins_of_opensmtpd(smtpd: OpenSmtpd, port: Listener, site: Site) -> Ways:
    about = opensmtpd_ports.subject(port)
    taking = [p.listen for p, _ in smtpd.ports_of(port) if p.listen.auth]
    if taking:
        yield from _of_opensmtpd(smtpd, about, taking, site, LOGINS)
    else:
        yield notapplicable(about, "no login here", NO_LOGIN)


def _outgoing_of_opensmtpd(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    yield from _of_logins(opensmtpd_ports.each_listener, _logins_of_opensmtpd)(smtpd, site)
    if not smtpd.problem:
        socket = [listen for listen in smtpd.config.listens if listen.on == "socket"]
        ways = _of_opensmtpd(smtpd, HOST, socket, site, LOCAL)
        plain = Way(HOST, LOCAL, (), [opensmtpd_ports.seen(smtpd.file, "no filter on the socket")])
        yield from judged(ways if socket else [plain], site, scanned)


_register("opensmtpd", opensmtpd_ports.each_listener, strangers_of_opensmtpd, _outgoing_of_opensmtpd)
