"""Turn the arguments of `mta_mail_flow` into requests; what does not fit is named clearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arguments import canary_check_from, ports_from
from .flow import Answer, Direction
from .flow_probe import Request, Target
from .on_host import Order
from .values import ArgumentError, address, login_from, own_name, tag


def request_from(params: Mapping[str, Any]) -> Request:
    """What a vantage is to send. Raises ArgumentError."""
    for name in ("concurrency", "per_server", "timeout_s"):
        if not float(params[name]) > 0:
            raise ArgumentError(f"{name} must be greater than 0, not {params[name]}")
    logins = {str(login.get("target") or ""): login for login in params["auth"]}
    targets = tuple(_target(raw, index, logins) for index, raw in enumerate(params["targets"]))
    strangers = set(logins) - {target.name for target in targets}
    if strangers:
        raise ArgumentError(f"auth names {', '.join(sorted(strangers))}, which is no target")
    ask, reason = canary_check_from(params)
    return Request(
        targets,
        address(params["sender"], "sender"),
        address(params["canary"], "canary") if params["canary"] else "",
        params["helo"] or own_name(),
        ask,
        reason,
        answers_from(params["answers"], "answers"),
        tag(params["tag"]),
        float(params["canary_wait_s"]),
        float(params["put_off_s"]),
        int(params["concurrency"]),
        int(params["per_server"]),
        float(params["timeout_s"]),
    )


def _target(raw: Mapping[str, Any], index: int, logins: Mapping[str, Any]) -> Target:
    where = f"targets[{index}]"
    host = str(raw["host"]).strip()
    if not host:
        raise ArgumentError(f"{where}: host, a name or an address, is missing")
    name, known = raw["name"] or host, raw["known_recipient"]
    if known:
        address(known, f"{where}: known_recipient")
    ports, submission, wrapped = (ports_from(raw[key], f"{where}: {key}")
                                  for key in ("ports", "submission_ports", "implicit_tls_ports"))  # fmt: skip
    directions = tuple(Direction(each) for each in raw["directions"])
    return Target(name, host, known, login_from(logins[name], name, known, ()) if name in logins else None,
                  ports, submission, wrapped, directions)  # fmt: skip


def order_from(params: Mapping[str, Any]) -> Order:
    """What the host itself is to send. Raises ArgumentError."""
    for name in ("canary", "known_recipient"):
        if params[name] and address(params[name], name).startswith("-"):
            raise ArgumentError(f"{name}: '{params[name]}' would be an option for sendmail(1)")
    order = Order(params["target"], params["canary"], params["known_recipient"], own_name(), params["local_user"],
                  tag(params["tag"]))  # fmt: skip
    return order


def answers_from(raw: Sequence[Mapping[str, Any]], where: str) -> tuple[Answer, ...]:
    """Answers as this module gave them. Raises ArgumentError."""
    try:
        return tuple(Answer.from_dict(answer) for answer in raw)
    except (KeyError, TypeError, ValueError) as exc:
        raise ArgumentError(f"{where} takes what mta_mail_flow returned as answers: {exc}") from exc
