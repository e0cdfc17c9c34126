"""Every control, by area. AnsiballZ ships only what is imported: each area is imported here."""

from __future__ import annotations

from . import (
    auth_dovecot,
    auth_exim,
    auth_postfix,
    files,
    info,
    info_exim,
    recipients,
    recipients_exim,
    relay,
    relay_dovecot,
    relay_exim,
    relay_opensmtpd,
    smuggling,
)

__all__ = [
    "auth_dovecot",
    "auth_exim",
    "auth_postfix",
    "files",
    "info",
    "info_exim",
    "recipients",
    "recipients_exim",
    "relay",
    "relay_dovecot",
    "relay_exim",
    "relay_opensmtpd",
    "smuggling",
]
