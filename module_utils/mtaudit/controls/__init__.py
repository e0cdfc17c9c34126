"""Every control, by area. AnsiballZ ships only what is imported: each area is imported here."""

from __future__ import annotations

from . import relay, relay_dovecot, relay_exim

__all__ = ["relay", "relay_dovecot", "relay_exim"]
