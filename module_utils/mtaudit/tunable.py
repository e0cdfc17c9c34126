"""Values that a site may set for a control: what type they have, and whether a value fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Optional

from .address import parse_network
from .json_schema import shown

# Labels of letters, digits and hyphens (RFC 1123 2.1); underscores occur in names of hosts and mail domains that exist.
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")


@dataclass(frozen=True)
class Account:
    """Logins that a limit is another one for, or None at all: None. `expired`: today it counts no more."""

    logins: tuple[str, ...]
    max_per_hour: Optional[int]
    max_per_day: Optional[int]
    expired: bool = False


@dataclass(frozen=True)
class WebLogin:
    """What mail of a web application is sent with: the pool of php-fpm (or the interface of PHP) that it runs in, the login, the
    address that it may send as, and the file on the host that holds its password."""

    pool: str
    login: str
    sender: str
    password_file: str


@dataclass(frozen=True)
class Tunable:
    """A tunable of the catalogue. `type` is bool, int, str, list (of text), networks, domains, or accounts: a list of
    `{logins, max_per_hour, max_per_day, owner, expires}`, of which the two limits may be missing; or web_logins: a list of
    `{pool, login, sender, password_file}`. A str may have `choices`."""

    name: str
    type: str
    default: Any
    description: str
    minimum: Optional[int] = None
    maximum: Optional[int] = None
    choices: tuple[str, ...] = ()

    @classmethod
    def from_entry(cls, data: Mapping[str, Any]) -> Tunable:
        """From the catalogue's own words, already checked against the schema."""
        return cls(data["name"], data["type"], data["default"], data["description"], data.get("minimum"), data.get("maximum"),
                   tuple(data.get("choices", ())))  # fmt: skip

    @classmethod
    def from_shipped(cls, name: str, data: Mapping[str, Any]) -> Tunable:
        """From what `shipped` made."""
        return cls(name, data["type"], None, "", data.get("minimum"), data.get("maximum"), tuple(data.get("choices", ())))

    def shipped(self, value: Any) -> dict[str, Any]:
        """As a host gets it: its type and value, and what limits there are to other values."""
        limits = {"minimum": self.minimum, "maximum": self.maximum, "choices": list(self.choices) or None}
        return {"type": self.type, "value": value, **{name: limit for name, limit in limits.items() if limit is not None}}

    def problem(self, value: Any) -> str:
        """Why the value does not fit, and what would; empty when it fits."""
        wrong = _CHECKS[self.type](value)
        if wrong:
            return f"{wrong}, not {shown(value)}" if not wrong.startswith("'") else wrong
        if self.minimum is not None and value < self.minimum:
            return f"must be {self.minimum} or more, not {value}"
        if self.maximum is not None and value > self.maximum:
            return f"must be {self.maximum} or less, not {value}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {shown(value)}"
        return ""


def typed(type_name: str, value: Any) -> Any:
    """A tunable's value as the controls get it: networks and accounts as tuples of such, lists and domains as tuples of text.

    `value` is the plain JSON data of the selection. Raises ValueError on a network that is none.
    """
    if type_name == "networks":
        return tuple(parse_network(item) for item in value)
    if type_name in ("list", "domains"):
        return tuple(value)
    if type_name == "accounts":
        return tuple(_account(entry) for entry in value)
    if type_name == "web_logins":
        return tuple(WebLogin(**entry) for entry in value)
    return value


def _account(entry: Mapping[str, Any]) -> Account:
    expired = date.fromisoformat(entry["expires"]) < date.today()
    return Account(tuple(map(str.lower, entry["logins"])), entry.get("max_per_hour"), entry.get("max_per_day"), expired)


def _bool(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _int(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return ""
    return "must be a whole number without quotes" if isinstance(value, str) else "must be a whole number"


def _str(value: Any) -> str:
    return "" if isinstance(value, str) else "must be text"


def _list(value: Any) -> str:
    if not isinstance(value, list):
        return "must be a list of texts"
    wrong = [item for item in value if not isinstance(item, str)]
    return f"'{wrong[0]}' must be text: put it in quotes" if wrong else ""


def _networks(value: Any) -> str:
    wrong = _list(value)
    if wrong:
        return wrong
    for item in value:
        try:
            parse_network(item)
        except ValueError as exc:
            return f"'{item}' is not a network such as 198.51.100.0/24 or 2001:db8::/32: {exc}"
    return ""


def _domains(value: Any) -> str:
    wrong = _list(value)
    if wrong:
        return wrong
    bad = [item for item in value if not _DOMAIN.match(item)]
    return f"'{bad[0]}' is not a domain in lower case such as example.org" if bad else ""


_ACCOUNT = {"logins", "owner", "expires"}
_LOGIN = re.compile(r"[\w.+@=-]+\Z")  # as it can stand in every program's list


def _accounts(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return "must be a list of dictionaries with logins, owner and expires, and max_per_hour or max_per_day"
    return next((wrong for wrong in map(_entry, value) if wrong), "")


def _entry(entry: Mapping[str, Any]) -> str:
    limits = {key: entry[key] for key in ("max_per_hour", "max_per_day") if key in entry}
    if set(entry) - set(limits) != _ACCOUNT:
        return "every entry must have logins, owner and expires, and may have max_per_hour and max_per_day"
    names = entry["logins"]
    if _list(names) or not names or not all(map(_LOGIN.match, names)):
        return "logins must be a list of names such as newsletter@example.org"
    if any(_int(limit) or limit < 2 for limit in limits.values()):
        return "max_per_hour and max_per_day must be whole numbers from 2 on"
    try:
        date.fromisoformat(str(entry["expires"]))
    except ValueError:
        return f"expires must be a day such as 2027-01-31, not {shown(entry['expires'])}"
    return "" if isinstance(entry["owner"], str) and entry["owner"] else "owner must be somebody's name"


# Each part as it can stand in msmtp's file and in PHP's.
_WEB_LOGIN = {
    "pool": (re.compile(r"[\w.-]+\Z", re.ASCII), "www"), "login": (_LOGIN, "shop@example.org"),
    "sender": (re.compile(r"[\w.+=-]+@[\w.-]+\Z", re.ASCII), "shop@example.org"),
    "password_file": (re.compile(r"/[\w.+@/-]+\Z", re.ASCII), "/etc/shop/mail-password"),
}  # fmt: skip


def _web_logins(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(entry, dict) and set(entry) == set(_WEB_LOGIN) for entry in value):
        return f"must be a list of dictionaries with {', '.join(_WEB_LOGIN)}"
    for entry in value:
        for name, (form, example) in _WEB_LOGIN.items():
            if not isinstance(entry[name], str) or not form.match(entry[name]):
                return f"{name} must be such as {example}"
    return ""


_CHECKS: dict[str, Callable[[Any], str]] = {
    "bool": _bool, "int": _int, "str": _str, "list": _list, "networks": _networks, "domains": _domains,
    "accounts": _accounts, "web_logins": _web_logins,
}
