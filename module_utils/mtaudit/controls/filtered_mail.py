"""Controls on filters that mail really passes, for each program: strangers' mail, that of accounts, that of the host itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Optional, Union

from ..control import Evaluate, Site, control
from ..finding import HOST, Finding, Subject, notapplicable, passed
from ..listeners import Listener
from ..readers.clamav import places
from ..readers.exim import Exim
from ..readers.exim_expand import Session
from ..readers.exim_lists import Matched
from ..readers.exim_syntax import Condition, Statement, items
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Listen
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.sendmail import Sendmail
from . import exim_ports, inbound_exim, inbound_postfix, opensmtpd_ports, postfix_ports, sendmail_filters, sendmail_ports
from .antivirus import Scanner, by_clamd, looked_into
from .exim_login import methods
from .exim_paths import Finder
from .exim_walk import Answer, Open, Outcome, Trail, Verdict, Walk
from .filtering import LOCAL, LOGINS, QUARANTINED, REFUSED, STRANGERS, THROWN_AWAY, Judge, Way, enforced, judged, scanned
from .filters_opensmtpd import behind
from .opensmtpd_login import NO_LOGIN
from .opensmtpd_walk import filters_named
from .postfix_login import no_login, takes_logins
from .scanners import Called, Kind
from .sendmail_login import clients, offers_login

_REFUSING = ("deny", "drop", "defer", "require", "discard")
_SCANNED = re.compile(r"\bspam|\bacl")
Ways = Iterator[Union[Way, Finding]]


def _register(
    program: str, each_listener: Callable[[Any], Evaluate], strangers: Callable[..., Ways], logins: Callable[..., Ways],
    outgoing: Evaluate,
) -> None:  # fmt: skip
    """The ways of a port that mail of strangers and of accounts comes in by get what each_listener() gives, the Site last."""

    def inbound(judge: Judge) -> Evaluate:
        return each_listener(lambda *asked: judged(strangers(*asked), asked[-1], judge))

    def of_both(*asked: Any) -> Iterator[Finding]:
        ways = [*strangers(*asked), *logins(*asked)]
        return judged(sorted(ways, key=lambda way: isinstance(way, Finding)), asked[-1], looked_into)

    for control_id, evaluate in (
        ("INB-03", inbound(scanned)), ("INB-04", inbound(enforced)), ("OUT-01", outgoing), ("AV-01", each_listener(of_both)),
    ):  # fmt: skip
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


def logins_of_postfix(smtp: SmtpService, site: Site) -> Ways:
    about = postfix_ports.listener(smtp)
    logins = takes_logins(smtp.smtpd)
    yield _of_postfix(smtp, site, LOGINS) if logins else notapplicable(about, "no login here", no_login(smtp.smtpd))


def _outgoing_of_postfix(postfix: Postfix, site: Site) -> Iterator[Finding]:
    yield from _of_logins(postfix_ports.each_listener, logins_of_postfix)(postfix, site)
    if postfix.problem:
        return
    if not postfix.main.value("authorized_submit_users"):
        yield passed(HOST, "no program hands mail over to this instance: authorized_submit_users is empty")
        return
    named = {s.entry.command: s for s in postfix.services() if s.entry}
    cleanup, pickup = named.get("cleanup", postfix.main), named.get("pickup", postfix.main)
    found = [*inbound_postfix.milters(cleanup, site, "non_smtpd_milters"), *after_queue(pickup)]
    yield from judged([Way(HOST, LOCAL, found, [postfix_ports.setting(cleanup, "non_smtpd_milters")])], site, scanned)


_register("postfix", postfix_ports.each_listener, _strangers_of_postfix, logins_of_postfix, _outgoing_of_postfix)


# Exim


def _freezing(statement: Statement) -> Optional[Condition]:
    """`control = freeze`, of a message that is taken."""
    found = (c for c in statement.conditions if c.name == "control" and c.value.startswith("freeze"))
    return next(found, None) if statement.verb in ("accept", "warn") else None


class _Found(Walk):
    """A message that the scanner does not like, and nothing else: the conditions on what it says are true."""

    about = _SCANNED
    frozen: Optional[Condition] = None
    unsure = ""  # whether it is frozen

    def _met(
        self, statement: Statement, matched: list[tuple[Condition, Matched]], doubt: Optional[Open], trail: Trail
    ) -> Optional[Verdict]:
        if _freezing(statement):
            self.frozen, self.unsure = _freezing(statement), doubt.reason if doubt else ""
        return super()._met(statement, matched, doubt, trail)

    def _statement(self, statement: Statement, trail: Trail, depth: int) -> Optional[Verdict]:
        if statement.verb in _REFUSING and not self.about.search(str(statement)):
            return None
        return super()._statement(statement, trail, depth)

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        if condition.name == "spam" or condition.name == "condition" and "$spam_" in condition.value.replace("{", ""):
            return True
        return super()._plain(condition, verb, trail, depth)


class _Infected(_Found):
    """A message with a virus, and nothing else."""

    about = re.compile(r"malware|\bacl")

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        if condition.name == "malware" and "$" not in condition.value:
            return condition.value.split("/")[0].strip().lower() not in ("0", "false", "")
        return Walk._plain(self, condition, verb, trail, depth)


class _Forged(Walk):
    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        return condition.name == "dmarc_status" or super()._plain(condition, verb, trail, depth)


def _of_exim(exim: Exim, site: Site, way: Way, session: Session, acl: str) -> Way:
    found = inbound_exim.scanners_of(exim, site, session, acl)
    walk = _Found(exim, session)
    outcome = walk.stage(acl)
    idle = "the ACL asks the scanner and refuses nothing" if found and outcome.answer is Answer.OK and not walk.frozen else ""
    forged = _Forged(exim, session).stage(acl)
    by_dmarc = str(forged) if forged.answer is Answer.REJECT and forged.statement is not None else ""
    doubt = (outcome.doubt or walk.unsure) if found and outcome.answer is not Answer.REJECT else ""
    harmless = Walk(exim, session)
    harmless.stage(acl)
    by_action = [str(s) for s, _ in harmless.reached if (s.verb in _REFUSING or _freezing(s)) and "spam_action" in str(s)]
    fate = "" if doubt or idle or not found else _fate(exim, outcome, walk.frozen)
    tells = exim.options.get("freeze_tell", "") if walk.frozen and "no_tell" not in walk.frozen.value else ""
    return replace(way, filters=found, idle=idle, doubt=doubt, by_dmarc=by_dmarc, malware=_malware(exim, site, session, acl),
                   by_score=not by_action, fate=fate, quarantines=any("quarantine" in text for text in by_action),
                   tells=tells if fate == QUARANTINED else "")  # fmt: skip


def _fate(exim: Exim, outcome: Outcome, frozen: Optional[Condition]) -> str:
    if outcome.answer is Answer.REJECT:
        return THROWN_AWAY if outcome.statement is not None and outcome.statement.verb == "discard" else REFUSED
    thaws = exim.options.get("auto_thaw", "")
    return f"frozen, and let go after auto_thaw = {thaws}" if re.search("[1-9]", thaws) else QUARANTINED if frozen else ""


def _malware(exim: Exim, site: Site, session: Session, acl: str) -> list[Scanner]:
    """What `malware` asks: av_scanner, `clamd:/run/clamav/clamd.ctl`, `clamd:127.0.0.1 3310`."""
    walk = _Infected(exim, session)
    outcome = walk.stage(acl)
    asked = [(s, c) for s, c in walk.reached if c.name == "malware"]
    if not asked:
        return []
    shown = exim_ports.seen(f"{exim.file} {asked[0][0].where}", f"{asked[0][0].verb} {asked[0][1]}")
    kind, *servers = items(exim.options.get("av_scanner", "sophie:/var/run/sophie"))
    wrong, doubt = "", f"av_scanner is {kind}, of which mtaudit reads nothing"
    if kind == "clamd":
        texts = [":".join(server.split()[:2]) for server in servers if server != "local"]
        wrong, doubt = by_clamd(site, [place for text in texts for place in places(text)])
    if outcome.answer is Answer.UNKNOWN:
        doubt = outcome.doubt
    elif outcome.answer is Answer.OK:
        wrong = "the ACL asks the virus scanner and refuses nothing"
    return [Scanner(f"{kind}, asked by Exim,", shown, wrong, doubt)]


def _strangers_of_exim(exim: Exim, port: Listener, site: Site) -> Ways:
    session = inbound_exim.strangers_message(exim, port, site)
    about = exim_ports.subject(port)
    none = inbound_exim.no_mail(exim, port, site)
    if none or session is None:
        yield none or passed(about, "no stranger's mail is taken here")
    else:
        way = Way(about, STRANGERS, (), [exim_ports.option(exim, "acl_smtp_data")])
        yield _of_exim(exim, site, way, session, "acl_smtp_data")


def logins_of_exim(exim: Exim, port: Listener, site: Site) -> Ways:
    usable = methods(exim, port, site)
    if isinstance(usable, Finding):
        yield usable
    else:
        way = Way(exim_ports.subject(port), LOGINS, (), [exim_ports.option(exim, "acl_smtp_data")])
        session = Finder(exim, port, site).session(tls=True, login="mtaudit", method=usable[0])
        yield _of_exim(exim, site, way, session, "acl_smtp_data")


def _outgoing_of_exim(exim: Exim, site: Site) -> Iterator[Finding]:
    yield from _of_logins(exim_ports.each_listener, logins_of_exim)(exim, site)
    if not exim.problem:
        way = Way(HOST, LOCAL, (), [exim_ports.option(exim, "acl_not_smtp")])
        yield from judged([_of_exim(exim, site, way, Session("", login="root"), "acl_not_smtp")], site, scanned)


_register("exim", exim_ports.each_listener, _strangers_of_exim, logins_of_exim, _outgoing_of_exim)


# Sendmail


def _of_sendmail(sendmail: Sendmail, port: Listener, site: Site, what: str) -> Way:
    _, where = sendmail_filters.named(sendmail, port)
    return Way(sendmail_ports.subject(port), what, sendmail_filters.filters(sendmail, port, site), [where])


def strangers_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Ways:
    if sendmail.login_required(sendmail.daemon_of(port)):
        yield passed(sendmail_ports.subject(port), "nothing is accepted before a login")
    else:
        yield _of_sendmail(sendmail, port, site, STRANGERS)


def logins_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Ways:
    if any(offers_login(sendmail, port, client) for client in clients(sendmail, port, site)):
        yield _of_sendmail(sendmail, port, site, LOGINS)
    else:
        yield notapplicable(sendmail_ports.subject(port), "no login here", "AUTH is not offered on this port")


def _outgoing_of_sendmail(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
    """Programs of the host hand mail over to port 25 of it (submit.cf), as everybody does."""
    yield from _of_logins(sendmail_ports.each_listener, logins_of_sendmail)(sendmail, site)
    own = next((port for port in sendmail.listeners if port.port == 25), None)
    if own and not sendmail.problem:
        yield from judged([replace(_of_sendmail(sendmail, own, site, LOCAL), subject=HOST)], site, scanned)


_register("sendmail", sendmail_ports.each_listener, strangers_of_sendmail, logins_of_sendmail, _outgoing_of_sendmail)


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


def logins_of_opensmtpd(smtpd: OpenSmtpd, port: Listener, site: Site) -> Ways:
    about = opensmtpd_ports.subject(port)
    taking = [p.listen for p, _ in smtpd.ports_of(port) if p.listen.auth]
    if taking:
        yield from _of_opensmtpd(smtpd, about, taking, site, LOGINS)
    else:
        yield notapplicable(about, "no login here", NO_LOGIN)


def _outgoing_of_opensmtpd(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    yield from _of_logins(opensmtpd_ports.each_listener, logins_of_opensmtpd)(smtpd, site)
    if not smtpd.problem:
        socket = [listen for listen in smtpd.config.listens if listen.on == "socket"]
        ways = _of_opensmtpd(smtpd, HOST, socket, site, LOCAL)
        plain = Way(HOST, LOCAL, (), [opensmtpd_ports.seen(smtpd.file, "no filter on the socket")])
        yield from judged(ways if socket else [plain], site, scanned)


_register("opensmtpd", opensmtpd_ports.each_listener, strangers_of_opensmtpd, logins_of_opensmtpd, _outgoing_of_opensmtpd)
