"""Controls on how much an account may send through Postfix, Sendmail and OpenSMTPD: none of them counts by the login itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, Status, fail, notapplicable, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import Service, SmtpService
from ..readers.postfix_restrictions import POLICY, all_statements, statements
from ..readers.postfix_syntax import words
from ..readers.sendmail import Sendmail
from . import opensmtpd_ports, postfix_ports, sendmail_filters, sendmail_ports
from .filters_opensmtpd import behind
from .inbound_postfix import HARMLESS_POLICIES, filters
from .opensmtpd_login import NO_LOGIN, without_tls
from .opensmtpd_walk import filters_of
from .postfix_login import no_login, takes_logins
from .rates import CLOSED, OPEN, while_down
from .rates_policy import by_policyd, called_by, down_of
from .rates_scanner import NONE, UNTOLD, by_scanner
from .relay_paths import stranger
from .relay_walk import Answer, Walk
from .sender_postfix import somebody
from .sendmail_login import clients, offers_login
from .sendmail_login import no_login as no_login_to_sendmail

_LATER = ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")


@control("RATE-01", "postfix", scanner=True)
@postfix_ports.each_listener
def accounts_of_postfix(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, postfix_ports.listener(smtp)
    if not takes_logins(service):
        yield notapplicable(about, "no login here", no_login(service))
        return
    milters = " ".join(words(service.value("smtpd_milters")))
    action = next(iter(re.findall(r"default_action\s*=\s*(\w+)", milters)), service.value("milter_default_action"))
    shown = [postfix_ports.setting(service, name) for name in ("smtpd_milters", "smtpd_recipient_restrictions")]
    down = OPEN if action.lower() == "accept" else CLOSED
    found = by_scanner(about, site, filters(smtp, site), shown, untold_by_postfix(service), down)
    by_policy = [_by_policy(smtp, site, policy, shown) for policy in policies(smtp)]
    yield min((*by_policy, found), key=lambda each: ("pass", "unknown", "fail").index(each.status.value))


def _by_policy(smtp: SmtpService, site: Site, policy: str, shown: Sequence[Evidence]) -> Finding:
    about, down = postfix_ports.listener(smtp), down_of(smtp.smtpd, policy)

    def asked(at_data: bool) -> bool:
        return _asked(smtp, policy, "smtpd_data_restrictions") if at_data else _asked_at_rcpt(smtp, site, policy)

    policyd = called_by(smtp.smtpd, policy, site)
    if policyd:
        return by_policyd(about, site, policyd, asked, down)
    if any(_asked(smtp, policy, name) for name in _LATER) or asked(False):
        reason = f"what the policy service {policy} counts is known to it alone; {while_down(down, 'it')}"
        return unknown(about, UNTOLD, reason, *shown)
    return fail(about, f"{NONE}: the policy service {policy} stands behind what accepts logins", *shown)


def untold_by_postfix(service: Service) -> str:
    """Why milters are not told who logged in; empty when they are."""
    return "" if "{auth_authen}" in service.value("milter_mail_macros") else "milter_mail_macros has no {auth_authen}"


def policies(smtp: SmtpService) -> list[str]:
    """The policy services that may count."""
    found = [argument for word, argument in all_statements(smtp.smtpd) if word in POLICY]
    found += [argument for name in _LATER for word, argument in statements(words(smtp.smtpd.value(name)), name) if word in POLICY]
    return [policy for policy in dict.fromkeys(found) if not any(name in policy.lower() for name in HARMLESS_POLICIES)]


def _asked(smtp: SmtpService, policy: str, name: str) -> bool:
    """Whether it is asked in a list that is walked behind the recipients."""
    for word, argument in statements(words(smtp.smtpd.value(name)), name):
        if word.startswith("permit"):
            break
        if argument == policy:
            return True
    return False


def _asked_at_rcpt(smtp: SmtpService, site: Site, policy: str) -> bool:
    """Whether its "no" would refuse a recipient of somebody who logged in."""
    walk, (login, sender) = Walk(smtp.smtpd, smtp.smtpd.postfix.resolver(smtp.smtpd)), somebody(smtp.smtpd, site)
    session = stranger(smtp, site, login=login, sender=sender, blocked=frozenset((word, policy) for word in POLICY))
    return walk.outcome(session).answer is not Answer.OK


@control("RATE-01", "sendmail", scanner=True)
@sendmail_ports.each_listener
def accounts_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    nobody = no_login_of_sendmail(sendmail, port, site)
    if nobody:
        yield nobody
        return
    named, where = sendmail_filters.named(sendmail, port)
    # Without T, R or 4 mail passes (Operation Guide, 5.11).
    flags = "".join(sendmail.cf.filters[name].flags for name in named if name in sendmail.cf.filters)
    down = CLOSED if set(flags) & set("TR4") else OPEN
    found = sendmail_filters.filters(sendmail, port, site)
    yield by_scanner(sendmail_ports.subject(port), site, found, [where], untold_by_sendmail(sendmail), down)


def no_login_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Optional[Finding]:
    """None where strangers can log in, or that is not known."""
    strangers = next(iter(clients(sendmail, port, site)), None)
    if strangers and not strangers.features.doubt and not offers_login(sendmail, port, strangers):
        return notapplicable(sendmail_ports.subject(port), "no login here", no_login_to_sendmail(sendmail, port))
    return None


def untold_by_sendmail(sendmail: Sendmail) -> str:
    """As untold_by_postfix()."""
    heard = "{auth_authen}" in sendmail.cf.option("Milter.macros.envfrom")
    return "" if heard else "Milter.macros.envfrom has no {auth_authen}"


@control("RATE-01", "opensmtpd", scanner=True)
@opensmtpd_ports.each_listener
def accounts_of_opensmtpd(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    about = opensmtpd_ports.subject(listener)
    for port in [port for port, _ in smtpd.ports_of(listener) if port.listen.auth]:
        found = [behind(site, each) for each in filters_of(smtpd, port) if each.kind == "proc"]
        finding = by_scanner(about, site, found, [opensmtpd_ports.line(port)], "", CLOSED)
        if finding.status is not Status.PASS:
            yield finding
            return
        last = without_tls(smtpd, listener, port) or finding
    if not any(port.listen.auth for port, _ in smtpd.ports_of(listener)):
        yield notapplicable(about, "no login here", NO_LOGIN)
    else:
        yield last
