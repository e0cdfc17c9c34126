"""Every control, by area. AnsiballZ ships only what is imported: each area is imported here."""

from __future__ import annotations

from . import files, relay, relay_dovecot, relay_exim

__all__ = ["files", "relay", "relay_dovecot", "relay_exim"]
