"""Values that a site may set for a control: what type they have, and whether a value fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .address import parse_network
from .json_schema import shown

# Labels of letters, digits and hyphens (RFC 1123 2.1); underscores occur in names of hosts and mail domains that exist.
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")


@dataclass(frozen=True)
class Tunable:
    """A tunable of the catalogue. `type` is bool, int, str, list (of text), networks or domains."""

    name: str
    type: str
    default: Any
    description: str
    minimum: Optional[int] = None
    maximum: Optional[int] = None

    @classmethod
    def from_entry(cls, data: Mapping[str, Any]) -> Tunable:
        """From the catalogue's own words, already checked against the schema."""
        return cls(data["name"], data["type"], data["default"], data["description"], data.get("minimum"), data.get("maximum"))

    def problem(self, value: Any) -> str:
        """Why the value does not fit, and what would; empty when it fits."""
        wrong = _CHECKS[self.type](value)
        if wrong:
            return f"{wrong}, not {shown(value)}" if not wrong.startswith("'") else wrong
        if self.minimum is not None and value < self.minimum:
            return f"must be {self.minimum} or more, not {value}"
        if self.maximum is not None and value > self.maximum:
            return f"must be {self.maximum} or less, not {value}"
        return ""


def typed(type_name: str, value: Any) -> Any:
    """A tunable's value as the controls get it: networks as a tuple of networks, lists and domains as tuples of text.

    `value` is the plain JSON data of the selection. Raises ValueError on a network that is none.
    """
    if type_name == "networks":
        return tuple(parse_network(item) for item in value)
    if type_name in ("list", "domains"):
        return tuple(value)
    return value


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


_CHECKS: dict[str, Callable[[Any], str]] = {
    "bool": _bool, "int": _int, "str": _str, "list": _list, "networks": _networks, "domains": _domains,
}
