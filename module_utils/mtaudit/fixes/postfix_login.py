"""How people log in to Postfix: inside TLS, on the ports for it, by good mechanisms, with their own senders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..config.postfix import Wanted
from ..control import Site
from ..controls.postfix_login import takes_logins
from ..finding import Finding
from ..fix import fix
from ..mechanisms import weak
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_syntax import words
from .postfix_changes import as_written, everywhere, failing, for_service, put_right, services, set_here, together

_SUBMISSION = {587: "submission", 465: "submissions"}
_SENDERS = "smtpd_sender_restrictions"
_HIDES = "smtpd_hide_client_session"
_OWN_SENDER = "reject_authenticated_sender_login_mismatch"

fix("AUTH-01", "postfix")(everywhere("smtpd_tls_auth_only", "yes"))


@fix("AUTH-02", "postfix")
def take_logins_where_they_belong(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """AUTH off for all but the ports for submission, if there is one where people can log in."""
    ports = [s for s in postfix.smtp_services() if s.port in _SUBMISSION and takes_logins(s.smtpd) and not s.loopback_only]
    if not ports:
        return None
    name = "smtpd_sasl_auth_enable"
    wrong = services(failing(postfix, findings))
    off = [put_right(service, name, "no") for service in wrong]
    if not any(name in wanted.parameters for wanted in off):
        return together(off)
    others = [s for s in services(postfix.smtp_services()) if takes_logins(s) and s.label not in {one.label for one in wrong}]
    on = [for_service(service, name, "yes") for service in others if name not in service.overrides]
    return together([*on, *off])


@fix("AUTH-03", "postfix")
def open_submission(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """A port for those who log in, and for nobody else; only where passwords can be checked at all."""
    ports = [s for s in failing(postfix, findings) if s.port in _SUBMISSION]
    able = [s.smtpd for s in postfix.smtp_services() if takes_logins(s.smtpd)]
    if not ports and not able:
        return None
    if not ports:
        entry = "submission inet n - y - - smtpd"
        options = {"syslog_name": "postfix/submission", "smtpd_tls_security_level": "encrypt", **_for_logins()}
        return Wanted(services={"submission/inet": entry}, options={"submission/inet": options})
    return together(_closed_to_strangers(smtp) for smtp in ports)


def _for_logins() -> dict[str, Optional[str]]:
    return {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_client_restrictions": "permit_sasl_authenticated,reject",
        "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
    }


def _closed_to_strangers(smtp: SmtpService) -> Wanted:
    if not takes_logins(smtp.smtpd):
        return for_service(smtp.smtpd, "smtpd_sasl_auth_enable", "yes")
    return for_service(smtp.smtpd, "smtpd_client_restrictions", "permit_sasl_authenticated,reject")


@fix("AUTH-05", "postfix")
def offer_good_mechanisms(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What is weak is taken out of the offer: anonymous logins by option, others by filter where this version has one."""
    found = []
    for service in services(failing(postfix, findings)):
        for name in ("smtpd_sasl_security_options", "smtpd_sasl_tls_security_options"):
            options = words(service.value(name).lower())
            if "noanonymous" not in options:
                found.append(put_right(service, name, " ".join(["noanonymous", *options])))
        names = _weak(site, service)
        if names and service.knows("smtpd_sasl_mechanism_filter"):
            filtered = [f"!{name.lower()}" for name in names]
            rest = [w for w in words(service.value("smtpd_sasl_mechanism_filter")) if w.lower() not in map(str.lower, names)]
            found.append(put_right(service, "smtpd_sasl_mechanism_filter", ", ".join([*filtered, *rest])))
    return together(found)


def _weak(site: Site, service: Service) -> list[str]:
    cyrus = service.postfix.sasl.get(service.label)
    names = cyrus.mechanisms if cyrus else [n for s in site.servers.get("dovecot", ()) for n in s.mechanisms]
    return weak([name.upper() for name in names or ()])


@fix("SENDER-01", "postfix")
@fix("RELAY-14", "postfix")
def hold_logins_to_their_senders(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The check comes before everything that permits. Only the site knows whose sender is whose: without the maps nothing is
    proposed."""
    found = []
    for service in services(failing(postfix, findings)):
        value = words(as_written(service, _SENDERS))
        if not service.value("smtpd_sender_login_maps") or value[:1] == [_OWN_SENDER]:
            continue
        found.append(set_here(service, _SENDERS, " ".join([_OWN_SENDER, *(word for word in value if word != _OWN_SENDER)])))
    return together(found)


@fix("LOG-02", "postfix")
def name_the_account(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Where the session is hidden (from 3.10 on), the account is, too: where people are, header checks hide."""
    found = []
    for service in services(failing(postfix, findings)):
        own = service.entry is not None and service.entry.name in _SUBMISSION.values()
        change = for_service if own else put_right
        found.append(change(service, "smtpd_sasl_authenticated_header", "yes"))
        if service.knows(_HIDES) and service.on(_HIDES):
            found.append(put_right(service, _HIDES, "no"))
    return together(found)
