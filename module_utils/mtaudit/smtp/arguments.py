"""Turn the module's arguments into a request for the probe; what does not fit is named clearly."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Optional

from .canary import canary_from
from .listener import Login, Mission, Target
from .probe import Order, Request

VANTAGES = ("stranger", "neighbour", "inside", "local")
_TARGET_FIELDS = {
    "name", "host", "ports", "implicit_tls_ports", "known_recipient", "local_domains", "helo_name", "protect_local_recipients",
}  # fmt: skip
_LOGIN_FIELDS = {"target", "username", "password", "sender", "other_sender", "cleartext"}


class ArgumentError(ValueError):
    """An argument does not fit. The text names it and says what is wanted."""


def request_from(params: Mapping[str, Any]) -> Request:
    """The request for the arguments of `mta_relay_probe`. Raises ArgumentError."""
    sender = _address(params["sender"], "sender")
    canary = _address(params["canary"], "canary")
    _numbers(params)
    logins = {str(login.get("target") or ""): login for login in params.get("auth") or ()}
    orders = [_order(raw, index, logins) for index, raw in enumerate(params["targets"])]
    strangers = set(logins) - {order.target.name for order in orders}
    if strangers:
        raise ArgumentError(f"auth names {', '.join(sorted(map(str, strangers)))}, which is no target")
    ask, reason = None, "deliver is false"
    if params["deliver"]:
        ask, reason = _canary(_given(params.get("canary_check")))
    mission = Mission(sender, canary, params.get("helo") or own_name(), _tag(params["tag"]), float(params["retry_after_s"]))
    return Request(
        tuple(orders),
        mission,
        params["vantage"],
        ask,
        reason,
        float(params["canary_wait_s"]),
        int(params["concurrency"]),
        int(params["per_server"]),
        float(params["timeout_s"]),
        float(params["target_timeout_s"]),
        bool(params["allow_foreign_senders"]),
    )


def own_name() -> str:
    """The name to say in EHLO: the host's, if it is fully qualified."""
    name = socket.getfqdn()
    return name if "." in name and not name.startswith("localhost") else f"{socket.gethostname().partition('.')[0]}.invalid"


def _given(check: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Without what Ansible fills in for options that are not set."""
    given = {key: value for key, value in (check or {}).items() if value is not None}
    if isinstance(given.get("imap"), Mapping):
        given["imap"] = {key: value for key, value in given["imap"].items() if value is not None}
    return given


def _canary(check: Mapping[str, Any]) -> tuple[Any, str]:
    if not check:
        return None, "canary_check is not set"
    try:
        return canary_from(check), ""
    except ValueError as exc:
        raise ArgumentError(str(exc)) from exc


def _address(text: Any, name: str) -> str:
    local, at, domain = str(text or "").rpartition("@")
    clean = str(text or "").isascii() and str(text or "").isprintable() and not set(str(text or "")) & set('<> "\\{}')
    if not (at and local and "." in domain and clean):
        raise ArgumentError(f"{name} is not a mail address: '{text}'. An address on a domain that you own is needed.")
    return str(text)


def _numbers(params: Mapping[str, Any]) -> None:
    for name in ("concurrency", "per_server", "timeout_s", "target_timeout_s"):
        if not float(params[name]) > 0:
            raise ArgumentError(f"{name} must be greater than 0, not {params[name]}")
    for name in ("retry_after_s", "canary_wait_s"):
        if float(params[name]) < 0:
            raise ArgumentError(f"{name} must not be negative")
    if int(params["per_server"]) > 2:
        raise ArgumentError("per_server is at most 2: more connections at a time can put a small server under stress")


def _tag(text: str) -> str:
    if not text or len(text) > 20 or not (text.isascii() and text.replace("-", "").isalnum()):
        raise ArgumentError(f"tag takes 1 to 20 letters, digits and hyphens, not '{text}'")
    return text


def _order(raw: Mapping[str, Any], index: int, logins: Mapping[str, Any]) -> Order:
    where = f"targets[{index}]"
    unknown = set(raw) - _TARGET_FIELDS
    if unknown:
        raise ArgumentError(
            f"{where} does not know {', '.join(sorted(map(str, unknown)))}; it takes {', '.join(sorted(_TARGET_FIELDS))}"
        )
    host = raw.get("host")
    if not isinstance(host, str) or not host.strip():
        raise ArgumentError(f"{where}: host, a name or an address, is missing")
    name = str(raw.get("name") or host)
    known = str(raw.get("known_recipient") or "")
    if known:
        _address(known, f"{where}: known_recipient")
    domains = _texts(raw.get("local_domains"), f"{where}: local_domains")
    ports = _ports(raw.get("ports"), f"{where}: ports") or (25,)
    tls = raw.get("implicit_tls_ports")
    wrapped = (465,) if tls is None else _ports(tls, f"{where}: implicit_tls_ports")
    login = _login(logins[name], name, known, domains) if name in logins else None
    protects = bool(raw.get("protect_local_recipients"))
    target = Target(name, known, domains, str(raw.get("helo_name") or ""), login, protects)
    return Order(target, host.strip(), ports, wrapped)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(v, str) and v and v.isascii() and not set(v) & set("<> \r\n{}@") for v in value
    ):
        raise ArgumentError(f"{where} takes a list of domain names")
    return tuple(value)


def _ports(value: Any, where: str) -> tuple[int, ...]:
    if value is None:
        return ()
    try:
        ports = tuple(dict.fromkeys(int(port) for port in value))
    except (TypeError, ValueError):
        raise ArgumentError(f"{where} takes a list of port numbers, not '{value}'") from None
    if any(not 0 < port < 65536 for port in ports):
        raise ArgumentError(f"{where}: port numbers are 1 to 65535")
    return ports


def _login(raw: Any, name: str, known: str, domains: tuple[str, ...]) -> Optional[Login]:
    if not isinstance(raw, Mapping) or not raw.get("username") or not raw.get("password"):
        raise ArgumentError(f"auth: the login for {name} takes username and password")
    unknown = set(raw) - _LOGIN_FIELDS
    if unknown:
        raise ArgumentError(f"auth: the login for {name} does not know {', '.join(sorted(map(str, unknown)))}")
    username = str(raw["username"])
    domain = known.rpartition("@")[2] or next(iter(domains), "")
    sender = str(raw.get("sender") or (username if "@" in username else f"{username}@{domain}" if domain else ""))
    _address(sender, f"auth: the own sender of {username} at {name}")
    other = str(raw.get("other_sender") or "")
    if other:
        _address(other, f"auth: other_sender of {name}")
    return Login(username, str(raw["password"]), sender, other, bool(raw.get("cleartext")))
