"""Turn the module's arguments into a request for the probe; what does not fit is named clearly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .budget import Budget, Candidate
from .defaults import VENDORS, defaults_for
from .findings import EXAMPLE
from .probe import Request
from .values import Service
from .visit import NAMELESS, Door, Order

SERVICES_LIMIT = 10_000
OPTIONS = {"http": ("path", "host", "protected"), "postgresql": ("database",)}  # what the clients read
LOCKOUT = "is the number of failed logins after which a client is shut out: with 1 none are tried, 0 for unknown"
CONSENT = f"says who agreed and on which day, such as '{EXAMPLE}'; it names no day"


class ArgumentError(Exception):
    """An argument that cannot be used; the text says which, and what fits."""


# By protocol, where it is usually found: the port, and whether TLS is there from the first byte.
Ports = Mapping[str, tuple[tuple[int, bool], ...]]
_Own = tuple[Candidate, str, tuple[str, ...]]


def request_from(params: Mapping[str, Any], ports: Ports) -> Request:
    """The request for the arguments of `mta_credential_probe`; `ports` are those of the protocols that are spoken. Raises
    ArgumentError."""
    for name in ("concurrency", "attempt_timeout_s", "timeout_s", "per_account", "per_service"):
        if not float(params[name]) > 0:
            raise ArgumentError(f"{name} must be greater than 0, not {params[name]}")
    if float(params["pause_s"]) < 0:
        raise ArgumentError(f"pause_s must not be less than 0, as {params['pause_s']} is")
    count = sum(len(target["services"] or ()) for target in params["targets"])
    if count > SERVICES_LIMIT:
        raise ArgumentError(f"{count} services are more than one call tries, which is {SERVICES_LIMIT}: split the inventory")
    own = list(_own(params["own"] or (), ports))
    orders = [_order(raw, f"targets[{index}]", own, ports) for index, raw in enumerate(params["targets"])]
    return Request(
        tuple(_merged(orders)),
        Budget(int(params["per_account"]), int(params["per_service"]), float(params["pause_s"])),
        params["vantage"],
        int(params["concurrency"]),
        float(params["attempt_timeout_s"]),
        float(params["timeout_s"]),
        params["state"],
        bool(params["dry"]),
    )


def is_consent(text: str) -> bool:
    """Whether it names a day; that there is none is told apart."""
    return not text.strip() or bool(re.search(r"\b\d{4}-\d{2}-\d{2}\b", text))


def service_problem(raw: Mapping[str, Any], ports: Ports) -> str:
    """What is wrong with a service as the inventory lists it; empty for nothing."""
    try:
        _door(raw, "host", "", [], ports)
    except ArgumentError as exc:
        return str(exc)
    return ""


def _own(listed: Iterable[Mapping[str, Any]], ports: Ports) -> Iterable[_Own]:
    """The site's own credentials, each with its password and the protocols that it is for."""
    seen = set()
    for index, raw in enumerate(listed):
        where, label = f"own[{index}]: ", str(raw.get("label") or "").strip()
        if not re.fullmatch(r"[\w .-]{1,60}", label):
            raise ArgumentError(f"{where}label, which stands for the password, is of letters, digits, blanks, '.', '_' and '-'")
        username = str(raw.get("username") or "")
        if (label, username) in seen:
            raise ArgumentError(f"{where}'{label}' with this user name is there twice: give each password a label of its own")
        seen.add((label, username))
        protocols = tuple(_protocol(str(each), where, ports) for each in raw.get("protocols") or ())
        candidate = Candidate(f"own/{label}/{username}", f"the site ({label})", username, "the site's own list")
        yield candidate, str(raw["password"]), protocols


def _protocol(text: str, where: str, ports: Ports) -> str:
    if text not in ports:
        raise ArgumentError(f"{where}protocol is one of {', '.join(sorted(ports))}, not '{text}'")
    return text


def _order(raw: Mapping[str, Any], where: str, own: list[_Own], ports: Ports) -> Order:
    host, consent = str(raw.get("host") or "").strip(), str(raw.get("consent") or "").strip()
    if not is_consent(consent):
        raise ArgumentError(f"{where}: consent {CONSENT}")
    lockout = int(raw.get("lockout") or 0)
    if lockout < 0:
        raise ArgumentError(f"{where}: lockout {LOCKOUT}")
    doors = tuple(
        _door(each, host, f"{where}.services[{index}]: ", own, ports) for index, each in enumerate(raw.get("services") or ())
    )
    return Order(str(raw.get("name") or host), doors, consent, lockout)


def _door(raw: Mapping[str, Any], host: str, where: str, own: list[_Own], ports: Ports) -> Door:
    protocol = _protocol(str(raw.get("protocol") or ""), where, ports)
    address, port = str(raw.get("address") or host), int(raw.get("port") or ports[protocol][0][0])
    tls = raw["tls"] if raw.get("tls") is not None else (port, True) in ports[protocol]
    if not 0 < port < 65536:
        raise ArgumentError(f"{where}port numbers are 1 to 65535")
    vendors = [str(vendor) for vendor in raw.get("vendors") or ()]
    for vendor in vendors:
        if vendor not in VENDORS:
            raise ArgumentError(f"{where}there is no vendor '{vendor}'; there are {', '.join(VENDORS)}")
    options = {str(key): str(value) for key, value in (raw.get("options") or {}).items()}
    for key in options:
        if key not in OPTIONS.get(protocol, ()):
            known = ", ".join(OPTIONS.get(protocol, ())) or "none"
            raise ArgumentError(f"{where}{protocol} has no option '{key}'; its options: {known}")
    passwords: dict[str, str] = {}
    candidates = []
    for default in defaults_for(protocol, vendors):
        candidates.append(Candidate(default.id, default.vendor, default.username, default.source))
        passwords[default.id] = default.password
    for candidate, password, protocols in own:
        if (not protocols or protocol in protocols) and bool(candidate.username) == (protocol not in NAMELESS):
            candidates.append(candidate)
            passwords[candidate.id] = password
    return Door(Service(protocol, address, port, bool(tls), options), tuple(candidates), passwords)


def _merged(orders: Iterable[Order]) -> Iterable[Order]:
    """Those of one name are one target: it has one budget, and one ban."""
    found: dict[str, Order] = {}
    for order in orders:
        before = found.get(order.target)
        if before is None:
            found[order.target] = order
            continue
        if before.consent != order.consent:
            raise ArgumentError(f"{order.target} is there twice, with different consents")
        lockout = min(filter(None, (before.lockout, order.lockout)), default=0)
        found[order.target] = Order(order.target, (*before.doors, *order.doors), order.consent, lockout)
    return found.values()
