"""Who owns a sender address by smtpd_sender_login_maps, and whom reject_*_sender_login_mismatch therefore refuses."""

from __future__ import annotations

from typing import Optional

from ..readers.postfix import Service
from ..readers.postfix_syntax import words


def refuses_login(name: str, service: Service, login: str, sender: str) -> bool:
    """Whether the restriction refuses the sender of this login, empty for a client without one. Raises TableProblem.

    Without SASL Postfix ignores these restrictions with a warning. By empty maps nobody owns a sender: every login is refused.
    """
    if not service.on("smtpd_sasl_auth_enable") or not sender:
        return False
    authenticated = name in ("reject_authenticated_sender_login_mismatch", "reject_known_sender_login_mismatch")
    unauthenticated = name in ("reject_unauthenticated_sender_login_mismatch", "reject_known_sender_login_mismatch")
    if not (authenticated if login else unauthenticated):
        return False
    logins = owners(service, sender)
    if not login:
        return logins is not None
    if logins is None:
        return name != "reject_known_sender_login_mismatch"
    return login.lower() not in (owner.lower() for owner in logins)


def owners(service: Service, sender: str) -> Optional[list[str]]:
    """The logins that own a sender address, None when nobody does. Raises TableProblem."""
    local_part, _, domain = sender.partition("@")
    for spec in words(service.value("smtpd_sender_login_maps")):
        table = service.table(spec)
        for key in (sender, local_part if domain in words(service.value("mydestination")) else "", f"@{domain}"):
            value = table.get(key) if key and (key == sender or table.partial_keys) else None
            if value is not None:
                return words(value)
    return None
