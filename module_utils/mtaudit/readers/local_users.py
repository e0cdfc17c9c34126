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
    """`homes` maps names to home directories. `doubt` says why a name that is not among them may exist all the same."""

    homes: Mapping[str, str] = field(default_factory=dict)
    doubt: str = "/etc/passwd was not read"


def read(runner: Runner) -> LocalUsers:
    """Two files at most."""
    try:
        homes = parse(runner.read("/etc/passwd"))
    except ReadError as exc:
        return LocalUsers(doubt=printable(str(exc)))
    try:
        lines = runner.read("/etc/nsswitch.conf").splitlines()
    except ReadError:
        return LocalUsers(homes, "")  # without it the C library asks the files alone
    sources = [word for line in lines if line.startswith("passwd:") for word in line.split()[1:] if word.isalpha()]
    others = [source for source in sources if source not in _LOCAL]
    return LocalUsers(homes, f"accounts may also come from {', '.join(others)} (/etc/nsswitch.conf)" if others else "")


def parse(text: str) -> dict[str, str]:
    """passwd(5): name -> home. Lines without seven fields count for nobody."""
    rows = (line.split(":") for line in text.splitlines())
    return {row[0]: row[5] for row in rows if len(row) == 7 and row[0] and not row[0].startswith(("#", "+", "-"))}
