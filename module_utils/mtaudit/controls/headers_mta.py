"""Control on the From header of people who logged in to Postfix, Sendmail or OpenSMTPD: a filter has to look at it."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, Status, informational, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import SmtpService
from ..readers.sendmail import Sendmail
from . import opensmtpd_ports, postfix_ports, sendmail_filters, sendmail_ports
from .filtered_mail import after_queue
from .filters_opensmtpd import behind
from .headers_scanner import OWN, UNTOLD, headers_by_scanner
from .inbound_postfix import filters, open_to_strangers
from .opensmtpd_login import NO_LOGIN, without_tls
from .opensmtpd_walk import filters_of
from .postfix_login import no_login, takes_logins
from .rates_mta import no_login_of_sendmail, untold_by_postfix, untold_by_sendmail


@control("SENDER-02", "postfix", scanner=True)
@postfix_ports.each_listener
def headers_of_postfix(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    """header_checks(5) sees a line of the header and no login; `Authenticated sender` in Received is nothing that people see."""
    service, about = smtp.smtpd, postfix_ports.listener(smtp)
    if not takes_logins(service):
        yield notapplicable(about, "no login here", no_login(service))
    elif open_to_strangers(smtp, site):
        yield informational(about, "what takes this mail asks for no login, and relays for strangers: see there")
    else:
        found = [*filters(smtp, site), *after_queue(service)]
        shown = [postfix_ports.setting(service, "smtpd_milters")]
        yield headers_by_scanner(about, site, found, shown, untold_by_postfix(service))


@control("SENDER-02", "sendmail", scanner=True)
@sendmail_ports.each_listener
def headers_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    nobody = no_login_of_sendmail(sendmail, port, site)
    if nobody:
        yield nobody
        return
    _, where = sendmail_filters.named(sendmail, port)
    found = sendmail_filters.filters(sendmail, port, site)
    finding = headers_by_scanner(sendmail_ports.subject(port), site, found, [where], untold_by_sendmail(sendmail))
    looking = sendmail.cf.looking("From")
    if finding.status is Status.FAIL and looking:
        ruleset, line = looking
        shown = sendmail_ports.seen(f"{sendmail.file}:{line} H", f"$>{ruleset}")
        yield unknown(finding.subject, UNTOLD, f"what the rule set {ruleset} makes of a From header was not asked", shown)
    else:
        yield finding


@control("SENDER-02", "opensmtpd", scanner=True)
@opensmtpd_ports.each_listener
def headers_of_opensmtpd(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    """`senders` looks at the envelope only; with `masquerade` that sender is put into the header (tried on 7.6)."""
    last = notapplicable(opensmtpd_ports.subject(listener), "no login here", NO_LOGIN)
    for port in [port for port, _ in smtpd.ports_of(listener) if port.listen.auth]:
        if port.listen.masquerade:
            last = without_tls(smtpd, listener, port) or passed(last.subject, f"{OWN} is replaced by its sender (masquerade)")
            continue
        found = [behind(site, each) for each in filters_of(smtpd, port) if each.kind == "proc"]
        finding = headers_by_scanner(last.subject, site, found, [opensmtpd_ports.line(port)], "")
        if finding.status is not Status.PASS:
            yield finding
            return
        last = without_tls(smtpd, listener, port) or finding
    yield last
