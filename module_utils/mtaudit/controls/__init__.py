"""Every control, by area. AnsiballZ ships only what is imported: each area is imported here."""

from __future__ import annotations

from . import relay

__all__ = ["relay"]
