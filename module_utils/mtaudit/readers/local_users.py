"""Read who has an account on the host: the names in /etc/passwd with their homes, and whether other sources may know more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..runner import ReadError, Runner
from ..text import printable

# A mailbox that no site has, and those that every domain must have (RFC 5321 4.5.1, RFC 2142 2).
NOBODY = "nobody-mtaudit-7f3a9c"
ROLES = ("postmaster", "abuse")

# Sources of nsswitch.conf(5) that know nobody beyond /etc/passwd but the processes of systemd.
_LOCAL = ("files", "compat", "db", "systemd")


@dataclass(frozen=True)
class LocalUsers:
    """`homes` maps names to home directories, `numbers` to user ids. `doubt` says why a name that is not among them may exist all
    the same."""

    homes: Mapping[str, str] = field(default_factory=dict)
    doubt: str = "/etc/passwd was not read"
    numbers: Mapping[str, int] = field(default_factory=dict)


def read(runner: Runner) -> LocalUsers:
    """Two files at most."""
    try:
        text = runner.read("/etc/passwd")
    except ReadError as exc:
        return LocalUsers(doubt=printable(str(exc)))
    homes, numbers = parse(text), ids(text)
    try:
        lines = runner.read("/etc/nsswitch.conf").splitlines()
    except ReadError:
        return LocalUsers(homes, "", numbers)  # without it the C library asks the files alone
    sources = [word for line in lines if line.startswith("passwd:") for word in line.split()[1:] if word.isalpha()]
    others = [source for source in sources if source not in _LOCAL]
    doubt = f"accounts may also come from {', '.join(others)} (/etc/nsswitch.conf)" if others else ""
    return LocalUsers(homes, doubt, numbers)


def parse(text: str) -> dict[str, str]:
    """passwd(5): name -> home. Lines without seven fields count for nobody."""
    return {row[0]: row[5] for row in _rows(text)}


def ids(text: str) -> dict[str, int]:
    """passwd(5): name -> user id."""
    return {row[0]: int(row[2]) for row in _rows(text) if row[2].isdigit()}


def _rows(text: str) -> list[list[str]]:
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) == 7 and row[0] and not row[0].startswith(("#", "+", "-"))]
