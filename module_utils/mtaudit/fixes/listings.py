"""Which blocklist is asked: the first of which it is known which answers are listings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..config.files import ConfigError
from ..controls import blocklists

_WITH_A_KEY = re.compile(r"(?:zen|dbl)\.dq\.spamhaus\.net")  # a name that nobody may ask as it is


def kind_of(name: str) -> str:
    """`zen`, `dbl`; empty for a list whose answers are not known, or that nobody may ask by this name."""
    return "" if _WITH_A_KEY.fullmatch(name) else blocklists.kind_of(name)


def answers_of(name: str) -> tuple[str, ...]:
    """Those that are listings."""
    return blocklists.ANSWERS[kind_of(name)]


def first_known(names: Sequence[str]) -> str:
    """The list to ask. Raises ConfigError."""
    found = next((name for name in names if kind_of(name)), "")
    if not found:
        raise ConfigError(f"Could not ask a blocklist: which answers of {', '.join(names)} are listings is not known")
    return found
