"""Control on submission: ports of its own, with a login for everything."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, fail, notapplicable, passed, unknown
from ..listeners import SUBMISSION_PORTS as PORTS
from ..listeners import Listener
from ..readers.dovecot_model import Dovecot, Port
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import Postfix, SmtpService
from . import dovecot_ports, exim_ports, opensmtpd_ports, opensmtpd_walk, postfix_ports
from .exim_login import offers, usable
from .exim_paths import Finder
from .exim_walk import Answer as EximAnswer
from .opensmtpd_login import NO_LOGIN, without_tls
from .opensmtpd_paths import Finder as OpenSmtpdFinder
from .postfix_login import no_login, takes_logins
from .relay_paths import stranger
from .relay_walk import Answer, Walk

_DOMAINS_LIMIT = 3


def elsewhere(site: Site, shown: Evidence) -> Finding:
    """What is to be said of a program that has none of the ports."""
    for program, servers in site.servers.items():
        for port in (p for server in servers for p in server.smtp if p.port in PORTS and not p.loopback_only):
            if program:
                reason = f"{program.title()} listens on {port.name}"
                return notapplicable(HOST, "submission is not with this program", reason)
            return unknown(HOST, "who takes submission could not be told", f"something that was not read listens on {port.name}")
    if site.kind != "submission":
        reason = f"a host of kind {site.kind or '(unknown)'} need not take mail from its users"
        return notapplicable(HOST, "no port for submission", reason)
    return fail(HOST, "no port for submission: nothing listens on 587 or 465", shown)


@control("AUTH-03", "postfix")
def submission_of_postfix(postfix: Postfix, site: Site) -> Iterator[Finding]:
    if postfix.problem or any(s.port in PORTS and not s.loopback_only for s in postfix.smtp_services()):
        yield from postfix_ports.each_listener(_postfix_port)(postfix, site)
    else:
        services = [s.name for s in postfix.smtp_services()]
        yield elsewhere(site, postfix_ports.seen(f"{postfix.config_directory}/master.cf", ", ".join(services) or "no smtpd"))


def _postfix_port(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, postfix_ports.listener(smtp)
    if smtp.port not in PORTS:
        return
    if not takes_logins(service):
        shown = postfix_ports.setting(service, "smtpd_sasl_auth_enable")
        yield fail(about, f"nobody can log in on this port: {no_login(service)}", shown)
        return
    walk = Walk(service, service.postfix.resolver(service))
    names = ("smtpd_client_restrictions", "smtpd_relay_restrictions", "smtpd_recipient_restrictions")
    shown_lists = [postfix_ports.setting(service, name) for name in names]
    for domain in dict.fromkeys((*site.local_domains, *service.postfix.local_domains[:_DOMAINS_LIMIT])):
        outcome = walk.outcome(stranger(smtp, site, recipient=f"postmaster@{domain}"))
        if outcome.answer is Answer.OK:
            yield fail(about, f"mail for {domain} is taken without a login, as on port 25", *shown_lists)
            return
        if outcome.answer is Answer.UNKNOWN and outcome.rule:
            text = f"whether mail for {domain} is taken without a login could not be told"
            yield unknown(about, text, outcome.rule.doubt, *shown_lists)
            return
    yield passed(about, "only for those who log in")


@control("AUTH-03", "exim")
def submission_of_exim(exim: Exim, site: Site) -> Iterator[Finding]:
    if exim.problem or any(port.port in PORTS and not port.loopback_only for port in exim.listeners):
        yield from exim_ports.each_listener(_exim_port)(exim, site)
    else:
        yield elsewhere(site, exim_ports.option(exim, "daemon_smtp_ports"))


def _exim_port(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    about = exim_ports.subject(port)
    if port.port not in PORTS:
        return
    try:
        methods = [offer for offer in offers(exim, port, site, tls=True) if usable(exim, offer)]
    except Doubt as exc:
        yield unknown(about, "whether this port takes logins could not be told", str(exc))
        return
    if not methods:
        shown = exim_ports.option(exim, "auth_advertise_hosts")
        yield fail(about, "nobody can log in on this port: no authenticator is offered inside TLS", shown)
        return
    finder = Finder(exim, port, site)
    for domain in finder.local_domains[:_DOMAINS_LIMIT]:
        outcome = finder.outcome(finder.session(tls=True, recipient=f"postmaster@{domain}"))
        evidence = exim_ports.decided(exim, outcome) or [exim_ports.option(exim, "acl_smtp_rcpt")]
        if outcome.answer is EximAnswer.OK:
            yield fail(about, f"mail for {domain} is taken without a login, as on port 25", *evidence)
            return
        if outcome.answer is EximAnswer.UNKNOWN:
            text = f"whether mail for {domain} is taken without a login could not be told"
            yield unknown(about, text, outcome.doubt, *evidence)
            return
    yield passed(about, "only for those who log in")


@control("AUTH-03", "opensmtpd")
def submission_of_opensmtpd(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    if smtpd.problem or any(port.port in PORTS and not port.loopback_only for port in smtpd.listeners):
        yield from opensmtpd_ports.each_listener(_opensmtpd_port)(smtpd, site)
    else:
        listens = ", ".join(listener.name for listener in smtpd.listeners) or "nothing"
        yield elsewhere(site, opensmtpd_ports.seen(smtpd.file, f"listens on {listens}"))


def _opensmtpd_port(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    about = opensmtpd_ports.subject(listener)
    if listener.port not in PORTS:
        return
    finder, answers = OpenSmtpdFinder(smtpd, listener, site), opensmtpd_walk.Answer
    for port, version in finder.ports:
        shown = opensmtpd_ports.line(port)
        if not port.listen.auth:
            yield fail(about, f"nobody can log in on this port: {NO_LOGIN}", shown)
            return
        for domain in finder.local_domains[:_DOMAINS_LIMIT]:
            outcome = finder.outcome(port, finder.session(version, recipient=f"postmaster@{domain}"))
            evidence = (shown, *opensmtpd_ports.decided(outcome))
            if outcome.answer in (answers.LOCAL, answers.RELAY):
                yield fail(about, f"mail for {domain} is taken without a login, as on port 25", *evidence)
                return
            if outcome.answer is answers.UNKNOWN:
                text = f"whether mail for {domain} is taken without a login could not be told"
                yield unknown(about, text, outcome.doubt, *evidence)
                return
    yield without_tls(smtpd, listener, finder.ports[0][0]) or passed(about, "only for those who log in")


@control("AUTH-03", "dovecot")
def submission_of_dovecot(dovecot: Dovecot, site: Site) -> Iterator[Finding]:
    ports = [port for port in dovecot.ports() if port.protocol == "submission"]
    if not ports and not set(site.servers) - {"", "dovecot"}:  # else the other programs answer
        yield notapplicable(HOST, "no mail is taken here", f"protocols = {dovecot.value('protocols')}, and no other mail program")
    for port in ports:
        if not port.listener.loopback_only:
            yield _dovecot_port(dovecot, port)


def _dovecot_port(dovecot: Dovecot, port: Port) -> Finding:
    """Its login comes first, always; then it is a proxy for submission_relay_host, and no server by itself (tried on 2.3.19 and
    2.4.1: after a good login every command gets 451 4.3.5)."""
    about, name = dovecot_ports.subject(port), "submission_relay_host"
    if all(scope.value(name) for scope in dovecot.scopes(port.protocol)):
        return passed(about, "only for those who log in")
    shown = [dovecot_ports.setting(scope, name) for scope in dovecot.scopes(port.protocol) if not scope.value(name)]
    return fail(about, "takes logins and then no mail: it passes mail on to nobody", *shown)
