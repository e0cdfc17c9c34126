"""Listeners: the ports where SMTP is looked for, and the name under which a host lists what a probe connected to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMTP_PORTS = (25, 465, 587, 2525)


def listener_name(estate: Mapping[str, Any], address: str, port: str) -> str:
    """The name under which the host lists the listener at this address and port; empty when it lists none."""
    for listener in estate.get("listeners") or ():
        bind = str(listener.get("bind", "")).strip("[]")
        if str(listener.get("port")) == port and bind in ("*", address):
            return str(listener.get("name", ""))
    return ""
