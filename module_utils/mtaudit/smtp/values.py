"""Values that the modules of the probes take: checked, and named where they do not fit."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from .login import Login

VANTAGES = ("stranger", "neighbour", "inside", "local")
_LOGIN_FIELDS = {"target", "username", "password", "sender", "other_sender", "cleartext"}


class ArgumentError(ValueError):
    """An argument does not fit. The text names it and says what is wanted."""


def own_name() -> str:
    """The name to say in EHLO: the host's, if it is fully qualified."""
    name = socket.getfqdn()
    return name if "." in name and not name.startswith("localhost") else f"{socket.gethostname().partition('.')[0]}.invalid"


def address(text: Any, name: str) -> str:
    local, at, domain = str(text or "").rpartition("@")
    clean = str(text or "").isascii() and str(text or "").isprintable() and not set(str(text or "")) & set('<> "\\{}')
    if not (at and local and "." in domain and clean):
        raise ArgumentError(f"{name} is not a mail address: '{text}'. An address on a domain that you own is needed.")
    return str(text)


def tag(text: str) -> str:
    if not text or len(text) > 20 or not (text.isascii() and text.replace("-", "").isalnum()):
        raise ArgumentError(f"tag takes 1 to 20 letters, digits and hyphens, not '{text}'")
    return text


def texts(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(v, str) and v and v.isascii() and not set(v) & set("<> \r\n{}@") for v in value
    ):
        raise ArgumentError(f"{where} takes a list of domain names")
    return tuple(value)


def login_from(raw: Any, name: str, known: str, domains: tuple[str, ...]) -> Login:
    if not isinstance(raw, Mapping) or not raw.get("username") or not raw.get("password"):
        raise ArgumentError(f"auth: the login for {name} takes username and password")
    unknown = set(raw) - _LOGIN_FIELDS
    if unknown:
        raise ArgumentError(f"auth: the login for {name} does not know {', '.join(sorted(map(str, unknown)))}")
    username = str(raw["username"])
    domain = known.rpartition("@")[2] or next(iter(domains), "")
    sender = str(raw.get("sender") or (username if "@" in username else f"{username}@{domain}" if domain else ""))
    address(sender, f"auth: the own sender of {username} at {name}")
    other = str(raw.get("other_sender") or "")
    if other:
        address(other, f"auth: other_sender of {name}")
    return Login(username, str(raw["password"]), sender, other, bool(raw.get("cleartext")))
