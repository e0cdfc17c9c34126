"""Whether and how an smtpd takes logins: what the client can do before TLS, and by which mechanisms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Optional

from ..readers.postfix import Service, SmtpService
from ..readers.postfix_syntax import words

# Levels that mean encrypt to an smtpd; it warns about the last three (smtpd.c, pre_jail_init()).
_ENFORCED = ("encrypt", "secure", "verify", "fingerprint")
# What the mechanisms are to smtpd_sasl_security_options, as Dovecot tells Postfix (auth/mech-*.c).
_FLAGS = {
    "PLAIN": {"plaintext"}, "LOGIN": {"plaintext"}, "ANONYMOUS": {"anonymous"},
    "CRAM-MD5": {"dictionary", "active"}, "DIGEST-MD5": {"dictionary", "active"}, "NTLM": {"dictionary", "active"},
    "APOP": {"dictionary", "active"}, "SKEY": {"active"}, "OTP": {"active"},
}  # fmt: skip


def takes_logins(service: Service) -> bool:
    """Whether AUTH is answered at all, hidden or not."""
    if not service.on("smtpd_sasl_auth_enable"):
        return False
    # What is left out of the EHLO reply by this parameter is refused, too (tried on 3.7 and 3.10: 503). A table by address
    # comes before it, so that others may be offered what it leaves out.
    discarded = "auth" in words(service.value("smtpd_discard_ehlo_keywords").lower())
    return not discarded or bool(service.value("smtpd_discard_ehlo_keyword_address_maps"))


def no_login(service: Service) -> str:
    """Why nobody can log in here."""
    on = service.on("smtpd_sasl_auth_enable")
    return "smtpd_discard_ehlo_keywords switches AUTH off" if on else "smtpd_sasl_auth_enable = no"


def doubt(service: Service) -> str:
    """Why it cannot be told whether AUTH is answered; empty when it can."""
    discarded = "auth" in words(service.value("smtpd_discard_ehlo_keywords").lower())
    if discarded and service.value("smtpd_discard_ehlo_keyword_address_maps"):
        return "smtpd_discard_ehlo_keyword_address_maps, which is not evaluated, says whom AUTH is offered"
    return ""


def only_in_tls(smtp: SmtpService) -> str:
    """The parameter that keeps AUTH from a session without TLS; empty when none does."""
    service = smtp.smtpd
    if smtp.tls_wrapper:
        return "smtpd_tls_wrappermode"
    if service.on("smtpd_tls_auth_only"):
        return "smtpd_tls_auth_only"  # with TLS switched off, nobody can log in (tried: 503)
    return level_parameter(service) if service.tls_level in _ENFORCED else ""


def encrypts(smtp: SmtpService) -> bool:
    """Whether nothing but STARTTLS is taken before TLS, or TLS comes first."""
    return smtp.tls_wrapper or smtp.smtpd.tls_level in _ENFORCED


def level_parameter(service: Service) -> str:
    """The parameter that sets the level."""
    if service.value("smtpd_tls_security_level"):
        return "smtpd_tls_security_level"
    return "smtpd_enforce_tls" if service.on("smtpd_enforce_tls") else "smtpd_use_tls"


def options(service: Service, tls: bool) -> list[str]:
    """smtpd_sasl_security_options, or those for a session with TLS."""
    return words(service.value("smtpd_sasl_tls_security_options" if tls else "smtpd_sasl_security_options").lower())


def permitted(service: Service, names: Iterable[str], tls: bool) -> list[str]:
    """Those of the mechanisms that the security options and the filter leave."""
    banned = {option[2:] for option in options(service, tls) if option.startswith("no")}
    kept = [name for name in names if not _FLAGS.get(name, set()) & banned]
    return [name for name in kept if _filtered(words(service.value("smtpd_sasl_mechanism_filter")), name) is not False]


def _filtered(items: Sequence[str], name: str) -> Optional[bool]:
    """Whether smtpd_sasl_mechanism_filter lets a mechanism through; None when a table that is not read decides.

    The first item that fits decides, and none means no (string_list_match(); the default is `!external, static:rest`).
    """
    if not items:
        return True
    for item in items:
        bare = item.lstrip("!")
        if re.match(r"static:", bare) or bare.lower() == name.lower():
            return (len(item) - len(bare)) % 2 == 0
        if ":" in bare or bare.startswith("/"):
            return None
    return False
