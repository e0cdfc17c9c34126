"""Fixes of Postfix that are a parameter or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..config.postfix import Wanted
from ..control import Site
from ..controls.postfix_login import encrypts
from ..finding import Finding
from ..fix import fix
from ..readers.postfix import Postfix, Service
from .postfix_changes import everywhere, failing, put_right, services, together

_TLS = ">=TLSv1.2"
_OLD_TLS = "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"  # before 3.6

fix("INFO-01", "postfix")(everywhere("disable_vrfy_command", "yes"))
fix("INFO-02", "postfix")(everywhere("smtpd_banner", "$myhostname ESMTP"))
fix("MILTER-01", "postfix")(everywhere("milter_default_action", "tempfail"))


@fix("PATCH-02", "postfix")
def refuse_bare_newlines(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    found = []
    for service in services(failing(postfix, findings)):
        wanted = {"smtpd_forbid_bare_newline": "yes", "smtpd_forbid_bare_newline_exclusions": "$mynetworks",
                  "smtpd_forbid_unauth_pipelining": "yes"}  # fmt: skip
        found += _each(service, {name: value for name, value in wanted.items() if service.knows(name)})
    return together(found)


def _each(service: Service, wanted: Mapping[str, Optional[str]]) -> list[Wanted]:
    """What is not so already."""
    return [put_right(service, name, value) for name, value in wanted.items()
            if value is None and service.explicit(name) or value is not None and service.raw(name) != value]


@fix("RATE-02", "postfix")
def limit_clients(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What is above the limits becomes the limit; what exempts clients goes."""
    megabytes = int(site.tunables["max_message_mb"])
    limits: dict[str, int] = {
        "smtpd_recipient_limit": int(site.tunables["max_recipients"]),
        "message_size_limit": megabytes * 1024 * 1024,
        "smtpd_client_connection_count_limit": int(site.tunables["max_connections"]),
        "postscreen_client_connection_count_limit": int(site.tunables["max_connections"]),
    }
    found = []
    for smtp in failing(postfix, findings):
        for service in {smtp.front.label: smtp.front, smtp.smtpd.label: smtp.smtpd}.values():
            over = {name: str(limit) for name, limit in limits.items() if not 0 < _number(service, name) <= limit}
            found += _each(service, {**over, "smtpd_client_event_limit_exceptions": None})
    return together(found)


def _number(service: Service, name: str) -> int:
    value = service.value(name)
    return int(value) if value.isdigit() else 0


@fix("RCPT-01", "postfix")
def know_the_recipients(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Postfix's own defaults know who is here. Which recipients a relayed domain has, only the site knows."""
    names = ("local_recipient_maps", "luser_relay", "smtpd_reject_unlisted_recipient", "unknown_local_recipient_reject_code",
             "unknown_virtual_mailbox_reject_code", "unknown_virtual_alias_reject_code", "unknown_relay_recipient_reject_code")
    found: list[Wanted] = []
    for service in services(failing(postfix, findings)):
        found += _each(service, dict.fromkeys(names))
    return together(found)


@fix("LOG-06", "postfix")
def do_not_log_dialogues(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without `-v` in master.cf, and nobody in debug_peer_list."""
    found = [Wanted(parameters={"debug_peer_list": None})] if "debug_peer_list" in postfix.lines else []
    verbose = tuple(service.label for service in postfix.services() if service.entry and service.entry.verbose)
    return together([*found, Wanted(quiet=verbose)])


@fix("TLS-01", "postfix")
def speak_tls_1_2(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The protocols alone: a certificate is somebody's to give."""
    found = []
    for smtp in failing(postfix, findings):
        name = "smtpd_tls_mandatory_protocols" if encrypts(smtp) else "smtpd_tls_protocols"
        value = _TLS if _since_3_6(postfix) else _OLD_TLS
        if smtp.smtpd.raw(name) != value:
            found.append(put_right(smtp.smtpd, name, value))
    return together(found)


def _since_3_6(postfix: Postfix) -> bool:
    numbers: list[Any] = [int(n) if n.isdigit() else 0 for n in postfix.version.split(".")[:2]]
    return numbers >= [3, 6]
