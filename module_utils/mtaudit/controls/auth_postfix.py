"""Controls on how clients log in to Postfix: in the clear, on port 25, with weak mechanisms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, fail, notapplicable, passed, unknown
from ..mechanisms import PLAIN, upper, weak, why_weak
from ..readers.postfix import Postfix, Service, SmtpService
from . import postfix_login
from .postfix_ports import each_listener, listener, seen, setting


@control("AUTH-01", "postfix")
@each_listener
def passwords_only_inside_tls(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, listener(smtp)
    protects = postfix_login.only_in_tls(smtp)
    if not postfix_login.takes_logins(service):
        yield passed(about, f"no login here: {postfix_login.no_login(service)}")
    elif protects:
        yield passed(about, f"no login before TLS: {protects} = {service.value(protects)}")
    elif not postfix_login.permitted(service, PLAIN, tls=False):
        yield passed(about, "no mechanism that sends the password is offered before TLS")
    elif postfix_login.doubt(service):
        yield unknown(about, "whether a login before TLS is answered could not be told", postfix_login.doubt(service))
    else:
        hidden = service.value("smtpd_sasl_exceptions_networks")
        text = "passwords are taken without TLS"
        # It leaves AUTH out of the EHLO reply and nothing more: the command is answered (tried on 3.7 and 3.10).
        text += ", though smtpd_sasl_exceptions_networks hides AUTH from some clients" if hidden else ""
        yield fail(about, text, *_clear(service))


def _clear(service: Service) -> list[Evidence]:
    names = ["smtpd_sasl_auth_enable", "smtpd_tls_auth_only", postfix_login.level_parameter(service)]
    return [setting(service, name) for name in names]


@control("AUTH-02", "postfix")
def port_25_takes_no_logins(postfix: Postfix, site: Site) -> Iterator[Finding]:
    findings = list(each_listener(_port_25)(postfix, site))
    if postfix.smtp_services() and not findings:
        findings = [notapplicable(HOST, "Postfix does not listen on port 25", "no service of master.cf has that port")]
    yield from findings


def _port_25(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, listener(smtp)
    if smtp.port != 25:
        return
    if not postfix_login.takes_logins(service):
        yield passed(about, f"no login here: {postfix_login.no_login(service)}")
    elif postfix_login.doubt(service):
        yield unknown(about, "whether AUTH is answered here could not be told", postfix_login.doubt(service))
    else:
        only_tls = ", after STARTTLS" if postfix_login.only_in_tls(smtp) else ""
        yield fail(about, f"port 25 takes logins{only_tls}", setting(service, "smtpd_sasl_auth_enable"))


@control("AUTH-05", "postfix")
@each_listener
def only_good_mechanisms(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, listener(smtp)
    if not postfix_login.takes_logins(service):
        yield notapplicable(about, "no login here", postfix_login.no_login(service))
        return
    names, source, reason = _offered(service, site)
    if names is None:
        yield unknown(about, "which mechanisms are offered could not be told", reason, setting(service, "smtpd_sasl_type"))
        return
    if not names and service.label in service.postfix.sasl:
        reason = "Cyrus SASL has no mechanism for it: smtpd ends at every connection"  # tried on 3.7
        yield notapplicable(about, "no login here", reason)
        return
    states = [True] if postfix_login.only_in_tls(smtp) else [False, True]
    offered = list(dict.fromkeys(n for tls in states for n in postfix_login.permitted(service, names, tls)))
    bad = weak(offered)
    if bad:
        text = f"{', '.join(bad)} offered: {bad[0]} {why_weak(bad[0])}"
        filters = ("smtpd_sasl_security_options", "smtpd_sasl_tls_security_options", "smtpd_sasl_mechanism_filter")
        yield fail(about, text, *source, *(setting(service, name) for name in filters))
    else:
        yield passed(about, f"offered: {', '.join(offered) or 'nothing'}")


def _offered(service: Service, site: Site) -> tuple[Optional[list[str]], list[Evidence], str]:
    """The mechanisms of whoever checks the passwords, where that is written, and why they are not known."""
    kind = service.value("smtpd_sasl_type").lower()
    path = service.value("smtpd_sasl_path")
    cyrus = service.postfix.sasl.get(service.label)
    if cyrus:
        return cyrus.mechanisms, [seen(cyrus.origin, " ".join(cyrus.mechanisms or ()) or "(nothing)")], cyrus.doubt
    if kind != "dovecot":
        return None, [], f"smtpd_sasl_type is {kind}, which mtaudit does not know"
    if path.startswith("inet:") and not path.startswith(("inet:127.", "inet:localhost")):
        return None, [], f"another host checks the passwords: smtpd_sasl_path = {path}"
    servers = site.servers.get("dovecot", ())
    if not servers:
        return None, [], "Dovecot, which checks the passwords, was not read on this host"
    names = upper(name for server in servers for name in server.mechanisms)
    return names, [seen("doveconf auth_mechanisms", " ".join(names))], ""
