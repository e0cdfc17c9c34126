"""Read what an administrator exported from an IceWarp server: its API variables, and the accounts that break its password policy.

Two text files. The variables as the server's `tool display system ...` prints them, one a line,
`C_Mail_Security_Relay_RelayMode: 1`, or by the names of the API console, `mail.security.relay.relaymode: 1`; their meaning is
that of apiconst.pas, which comes with the server. The other is what `tool check account "*@*" passpolicy` printed. No form but
these is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ..runner import ReadError, Runner
from ..text import printable

_VARIABLE = re.compile(r"(?:c_)?([a-z][a-z0-9]*(?:[._][a-z0-9]+)+)\s*[:=]\s?(.*)", re.IGNORECASE)
_BANNER = re.compile(r"##.*##")  # what the tool prints before and after a list
_ACCOUNT = re.compile(r"[^\s@<>,;:\"]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class IceWarp:
    """`variables` by their names in small letters, as in `mail_security_relay_relaymode`. `weak` are the accounts that break the
    password policy, None when that was not exported or not understood. The problems say why something is not known."""

    variables: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    weak: Optional[tuple[str, ...]] = None
    weak_problem: str = ""

    def number(self, name: str) -> Optional[int]:
        """A variable that is a number or a switch; None when it was not exported, or is something else."""
        value = {"true": "1", "false": "0"}.get(self.variables.get(name, "").lower(), self.variables.get(name, ""))
        return int(value) if value.isdigit() else None


def read(runner: Runner, variables: str, accounts: str) -> IceWarp:
    """The files by their paths on the controller; empty for one that there is not."""
    found, problem = _variables(runner, variables)
    weak, weak_problem = _accounts(runner, accounts)
    return IceWarp(found, problem, weak, weak_problem)


def _variables(runner: Runner, path: str) -> tuple[dict[str, str], str]:
    if not path:
        return {}, "its API variables were not exported (mta_audit_exports, variables)"
    found: dict[str, str] = {}
    try:
        lines = runner.read(path).lstrip("\ufeff").splitlines()
    except ReadError as exc:
        return {}, printable(str(exc))
    for number, line in enumerate(lines, 1):
        given = _VARIABLE.fullmatch(line.strip())
        if given:
            found[given.group(1).lower().replace(".", "_")] = given.group(2).strip()
        elif line.strip() and not _BANNER.fullmatch(line.strip()):
            return {}, f"{printable(path)}:{number}: not of the form 'name: value'"
    return found, "" if found else f"{printable(path)} names no variable"


def _accounts(runner: Runner, path: str) -> tuple[Optional[tuple[str, ...]], str]:
    if not path:
        return None, "its check of passwords was not exported (mta_audit_exports, passwords)"
    try:
        lines = runner.read(path).lstrip("\ufeff").splitlines()
    except ReadError as exc:
        return None, printable(str(exc))
    found = []
    for number, line in enumerate(lines, 1):
        named = _ACCOUNT.findall(line)
        if len(named) == 1:
            found.append(named[0])
        elif line.strip() and not _BANNER.fullmatch(line.strip()):
            return None, f"{printable(path)}:{number}: a line that names no account, or more than one"
    return tuple(dict.fromkeys(found)), ""
