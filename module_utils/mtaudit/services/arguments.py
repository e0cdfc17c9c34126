"""Turn the module's arguments into a request for the probe; what does not fit is named clearly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ..smtp.login import Login
from ..smtp.values import ArgumentError, address, login_from, own_name, tag, texts
from .probe import Order, Request
from .seen import Mission, Service, Target

PROTOCOLS = ("smtp", "imap", "pop3", "sieve")


def request_from(params: Mapping[str, Any]) -> Request:
    """The request for the arguments of `mta_listener_probe`. Raises ArgumentError."""
    sender = address(params["sender"], "sender")
    foreign = canary = str(params.get("canary") or "")
    reason = "" if canary else "no canary is declared"
    if canary:
        address(canary, "canary")
    if canary and not params["deliver"]:
        canary, reason = "", "deliver is false"
    for name in ("concurrency", "per_server", "timeout_s", "target_timeout_s"):
        if not float(params[name]) > 0:
            raise ArgumentError(f"{name} must be greater than 0, not {params[name]}")
    if int(params["per_server"]) > 2:
        raise ArgumentError("per_server is at most 2: more connections at a time can put a small server under stress")
    logins = {str(login.get("target") or ""): login for login in params.get("auth") or ()}
    orders = tuple(_order(raw, index, logins) for index, raw in enumerate(params["targets"]))
    strangers = set(logins) - {order.target.name for order in orders}
    if strangers:
        raise ArgumentError(f"auth names {', '.join(sorted(strangers))}, which is no target")
    return Request(
        orders,
        Mission(sender, params.get("helo") or own_name(), canary, reason, tag(params["tag"]), foreign=foreign),
        params["vantage"],
        int(params["concurrency"]),
        int(params["per_server"]),
        float(params["timeout_s"]),
        float(params["target_timeout_s"]),
    )


def _order(raw: Mapping[str, Any], index: int, logins: Mapping[str, Any]) -> Order:
    where = f"targets[{index}]"
    host = str(raw.get("host") or "").strip()
    if not host:
        raise ArgumentError(f"{where}: host, a name or an address, is missing")
    name = str(raw.get("name") or host)
    known = str(raw.get("known_recipient") or "")
    if known:
        address(known, f"{where}: known_recipient")
    domains = texts(raw.get("local_domains"), f"{where}: local_domains")
    target = Target(
        name,
        known,
        domains,
        str(raw.get("helo_name") or ""),
        texts(raw.get("certificate_names"), f"{where}: certificate_names"),
        _login(logins.get(name), name, known, domains),
        int(raw.get("certificate_days", 14)),
        bool(raw.get("untrusted_certificate_fails", True)),
    )
    return Order(target, host, tuple(_service(each, where) for each in raw.get("services") or ()))


def _login(raw: Any, name: str, known: str, domains: tuple[str, ...]) -> Optional[Login]:
    return None if raw is None else login_from(raw, name, known, domains)


def _service(raw: Mapping[str, Any], where: str) -> Service:
    port, protocol = int(raw.get("port") or 0), str(raw.get("protocol") or "smtp")
    if not 0 < port < 65536:
        raise ArgumentError(f"{where}: port numbers are 1 to 65535")
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"{where}: protocol is one of {', '.join(PROTOCOLS)}, not '{protocol}'")
    return Service(port, protocol, bool(raw.get("tls")))
