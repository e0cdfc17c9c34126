"""Control on TLS: which versions the listeners of each program take.

Other servers would send in clear instead (RFC 7435): what their ports take beside new TLS is told, and does not fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import tls_versions
from ..control import Site, control
from ..finding import Evidence, Finding, Subject, fail, notapplicable, passed, unknown
from ..listeners import Listener, for_people
from ..readers import openssl
from ..readers.dovecot_model import Dovecot, Port
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure
from ..readers.postfix import SmtpService
from ..readers.sendmail import Sendmail
from . import dovecot_ports, exim_ports, postfix_ports, sendmail_ports
from .exim_paths import Finder
from .postfix_login import encrypts, level_parameter

_NOT_TOLD = "which versions of TLS are taken could not be told"


def _judged(about: Subject, people: bool, versions: Sequence[str], setting: str, *evidence: Evidence) -> Finding:
    old = tls_versions.old(versions)
    if not old:
        return passed(about, "TLS 1.2 or newer only")
    if not people:
        return passed(about, f"other servers may use {old[0]}, and would send in clear without it")
    return fail(about, f"{setting} allows {', '.join(old)}", *evidence)


@control("TLS-01", "postfix")
@postfix_ports.each_listener
def versions_of_postfix(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    """Postfix asks OpenSSL for no security level of its own: one of two parameters decides (tried on 3.7 and 3.10)."""
    service, about = smtp.smtpd, postfix_ports.listener(smtp)
    if service.tls_level == "none" and not smtp.tls_wrapper:
        yield notapplicable(
            about, "offers no TLS", f"{level_parameter(service)} says so; what goes over it in clear is AUTH-01's"
        )
        return
    name = "smtpd_tls_mandatory_protocols" if encrypts(smtp) else "smtpd_tls_protocols"
    evidence = [postfix_ports.setting(service, name), postfix_ports.setting(service, level_parameter(service))]
    try:
        versions = tls_versions.of_postfix(service.value(name))
    except ValueError as exc:
        yield unknown(about, _NOT_TOLD, str(exc), *evidence)
        return
    yield _judged(about, for_people("smtp", smtp.port), versions, name, *evidence)


@control("TLS-01", "exim")
@exim_ports.each_listener
def versions_of_exim(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    about, name, people = exim_ports.subject(port), "tls_require_ciphers", for_people("smtp", port.port)
    if not port.tls_wrapper and not exim.offers_tls:
        yield notapplicable(about, "offers no TLS", "tls_advertise_hosts names nobody; what goes over it in clear is AUTH-01's")
        return
    if not exim.options.get("tls_certificate"):  # tried on 4.96 and 4.98
        why = "Exim makes a certificate of its own, which is good for two hours and which nobody can trust"
        yield fail(about, f"no tls_certificate is named: {why}", exim_ports.option(exim, "tls_certificate"))
        return
    evidence = [exim_ports.option(exim, name), exim_ports.option(exim, "openssl_options")]
    try:
        ciphers = Expander(exim.known(), Finder(exim, port, site).session()).expand(exim.options.get(name, "")).strip()
        if tls_versions.is_gnutls(ciphers) or not ciphers and _is_debian(exim):
            setting = f"{name} = {ciphers or '(unset)'}"
            yield _judged(about, people, tls_versions.of_gnutls(ciphers), setting, evidence[0])
            return
    except (Doubt, ForcedFailure, ValueError) as exc:
        yield unknown(about, _NOT_TOLD, str(exc) or f"{name} fails to expand", *evidence)
        return
    versions = tls_versions.of_openssl_options(exim.options.get("openssl_options", ""))
    if tls_versions.old(versions) and people:
        reason = "openssl_options leaves it to the TLS library of this Exim, which was not asked"
        yield unknown(about, _NOT_TOLD, reason, *evidence)
    else:
        yield _judged(about, people, versions, "openssl_options", *evidence)


def _is_debian(exim: Exim) -> bool:
    """Debian's program is called exim4, and built with GnuTLS (README.Debian, "TLS")."""
    return exim.options.get("exim_path", "").endswith("/exim4")


@control("TLS-01", "sendmail")
@sendmail_ports.each_listener
def versions_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    """OpenSSL 3 takes old ones at its security level 0 only. CipherList comes before what OpenSSL's own file says of ciphers, and
    MinProtocol of that file before both (tried on 8.17 and 8.18)."""
    about, cf = sendmail_ports.subject(port), sendmail.cf
    if "STARTTLS" not in sendmail.compiled or not cf.option("ServerCertFile"):
        yield notapplicable(about, "offers no TLS", "no ServerCertFile is named; what goes over it in clear is AUTH-01's")
        return
    names = ("CipherList", "ServerSSLOptions")
    evidence = [sendmail_ports.seen(sendmail.origin(name), cf.option(name, "(unset)")) for name in names]
    if sendmail.openssl:
        evidence.append(sendmail_ports.seen(openssl.FILE, ", ".join(f"{k} = {v}" for k, v in sendmail.openssl.items())))
    level = tls_versions.security_level(cf.option("CipherList"), sendmail.openssl.get("cipherstring", ""))
    versions: list[str] = []
    doubt = sendmail.openssl_problem if "@seclevel" not in cf.option("CipherList").lower() else ""
    try:
        versions = tls_versions.of_sendmail(cf.option("ServerSSLOptions"), sendmail.openssl.get("minprotocol", ""))
    except ValueError as exc:
        doubt = doubt or ("" if level else str(exc))
    if doubt:
        yield unknown(about, _NOT_TOLD, doubt, *evidence)
    else:
        old = [] if level else versions
        yield _judged(about, for_people("smtp", port.port), old, "security level 0 of OpenSSL", *evidence)


@control("TLS-01", "dovecot")
@dovecot_ports.each_port
def versions_of_dovecot(dovecot: Dovecot, port: Port, site: Site) -> Iterator[Finding]:
    about, name = dovecot_ports.subject(port), "ssl_min_protocol"
    people = for_people(port.listener.protocol, port.listener.port)
    findings = []
    for scope in dovecot.scopes(port.protocol):
        if scope.value("ssl") == "no" and not port.listener.tls_wrapper:
            reason = f"ssl = no in {scope.where}; what goes over it in clear is AUTH-01's"
            findings.append(notapplicable(about, "offers no TLS", reason))
            continue
        shown = dovecot_ports.setting(scope, name)
        try:
            findings.append(_judged(about, people, tls_versions.of_dovecot(scope.value(name)), name, shown))
        except ValueError as exc:
            findings.append(unknown(about, _NOT_TOLD, str(exc), shown))
    worst = ("fail", "unknown", "pass", "notapplicable")
    yield min(findings, key=lambda finding: worst.index(finding.status.value))
