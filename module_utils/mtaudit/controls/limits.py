"""What one client may send at once: recipients of a message, its size, connections at a time; one answer for each port."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from ..control import Site
from ..finding import Evidence, Finding, Subject, fail, passed, unknown

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True)
class What:
    """What is measured: how a number of it is told, and that there is no limit."""

    name: str
    missing: str


RECIPIENTS = What("recipients a message", "the recipients of a message")
SIZE = What("MB a message", "the size of a message")
CONNECTIONS = What("connections a client", "the connections of a client")


@dataclass(frozen=True)
class Limit:
    """One limit in force: `value` is None where there is none, and `doubt` says why it is not known. `cannot`: the program has no
    such limit at all."""

    what: What
    value: Optional[int]
    shown: Evidence
    doubt: str = ""
    cannot: bool = False


def judged(subject: Subject, limits: Sequence[Limit], site: Site) -> Iterator[Finding]:
    """One finding for all limits of a port: what is missing or too high, else what is not known."""
    wrong = [(limit, text) for limit in limits for text in [_wrong(limit, site)] if text]
    doubtful = [limit for limit in limits if limit.doubt]
    if wrong:
        yield fail(subject, "; ".join(text for _, text in wrong), *(limit.shown for limit, _ in wrong))
    elif doubtful:
        text = f"how many {doubtful[0].what.name} are taken could not be told"
        yield unknown(subject, text, doubtful[0].doubt, doubtful[0].shown)
    else:
        told = ", ".join(f"{limit.value} {limit.what.name}" for limit in limits if not limit.cannot)
        beyond = "".join(f"; it has no limit of {limit.what.missing}" for limit in limits if limit.cannot)
        yield passed(subject, f"at most {told}{beyond}")


def _wrong(limit: Limit, site: Site) -> str:
    most = most_of(limit.what, site)
    if limit.doubt or limit.cannot:
        return ""
    if limit.value is None:
        return f"no limit of {limit.what.missing}"
    return f"{limit.value} {limit.what.name} are taken, more than {most}" if limit.value > most else ""


def most_of(what: What, site: Site) -> int:
    """What the site allows."""
    if what is RECIPIENTS:
        return int(site.tunables.get("max_recipients", 1000))
    return int(site.tunables.get("max_message_mb", 100) if what is SIZE else site.tunables.get("max_connections", 100))


def megabytes(size_bytes: Optional[int]) -> Optional[int]:
    """Rounded up; None stays no limit."""
    return None if size_bytes is None else -(-size_bytes // 1_048_576)


def number(text: str, nothing: str = "0") -> Optional[int]:
    """`100`, `50M`; None for what stands for no limit. Raises ValueError on anything else."""
    bare = text.strip().lower()
    if bare in ("", nothing):
        return None
    found = re.fullmatch(r"(\d+)\s*([kmg]?)b?", bare)
    if not found:
        raise ValueError(f"'{text.strip()}' is no number")
    return int(found.group(1)) * _UNITS[found.group(2)]
