"""Turn the module's arguments into a request for the probe; what does not fit is named clearly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .canary import Ask, canary_from
from .listener import Mission, Target
from .probe import Order, Request
from .values import ArgumentError, address, login_from, own_name, tag, texts

_TARGET_FIELDS = {
    "name", "host", "ports", "implicit_tls_ports", "known_recipient", "local_domains", "helo_name", "protect_local_recipients",
}  # fmt: skip


def request_from(params: Mapping[str, Any]) -> Request:
    """The request for the arguments of `mta_relay_probe`. Raises ArgumentError."""
    sender = address(params["sender"], "sender")
    canary = address(params["canary"], "canary")
    _numbers(params)
    logins = {str(login.get("target") or ""): login for login in params.get("auth") or ()}
    orders = [_order(raw, index, logins) for index, raw in enumerate(params["targets"])]
    strangers = set(logins) - {order.target.name for order in orders}
    if strangers:
        raise ArgumentError(f"auth names {', '.join(sorted(map(str, strangers)))}, which is no target")
    ask, reason = None, "deliver is false"
    if params["deliver"]:
        ask, reason = canary_check_from(params)
    mission = Mission(sender, canary, params.get("helo") or own_name(), tag(params["tag"]), float(params["retry_after_s"]))
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


def _given(check: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Without what Ansible fills in for options that are not set."""
    given = {key: value for key, value in (check or {}).items() if value is not None}
    if isinstance(given.get("imap"), Mapping):
        given["imap"] = {key: value for key, value in given["imap"].items() if value is not None}
    return given


def canary_check_from(params: Mapping[str, Any]) -> tuple[Optional[Ask], str]:
    """How the canary is asked, or why it is not. Raises ArgumentError."""
    check = _given(params.get("canary_check"))
    if not check:
        return None, "canary_check is not set"
    try:
        return canary_from(check), ""
    except ValueError as exc:
        raise ArgumentError(str(exc)) from exc


def _numbers(params: Mapping[str, Any]) -> None:
    for name in ("concurrency", "per_server", "timeout_s", "target_timeout_s"):
        if not float(params[name]) > 0:
            raise ArgumentError(f"{name} must be greater than 0, not {params[name]}")
    for name in ("retry_after_s", "canary_wait_s"):
        if float(params[name]) < 0:
            raise ArgumentError(f"{name} must not be negative")
    if int(params["per_server"]) > 2:
        raise ArgumentError("per_server is at most 2: more connections at a time can put a small server under stress")


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
        address(known, f"{where}: known_recipient")
    domains = texts(raw.get("local_domains"), f"{where}: local_domains")
    ports = ports_from(raw.get("ports"), f"{where}: ports") or (25,)
    tls = raw.get("implicit_tls_ports")
    wrapped = (465,) if tls is None else ports_from(tls, f"{where}: implicit_tls_ports")
    login = login_from(logins[name], name, known, domains) if name in logins else None
    protects = bool(raw.get("protect_local_recipients"))
    target = Target(name, known, domains, str(raw.get("helo_name") or ""), login, protects)
    return Order(target, host.strip(), ports, wrapped)


def ports_from(value: Any, where: str) -> tuple[int, ...]:
    """Port numbers. Raises ArgumentError that says `where`."""
    if value is None:
        return ()
    try:
        ports = tuple(dict.fromkeys(int(port) for port in value))
    except (TypeError, ValueError):
        raise ArgumentError(f"{where} takes a list of port numbers, not '{value}'") from None
    if any(not 0 < port < 65536 for port in ports):
        raise ArgumentError(f"{where}: port numbers are 1 to 65535")
    return ports
