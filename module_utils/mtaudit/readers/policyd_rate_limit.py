"""Read what policyd-rate-limit is told: the policy service of Postfix that counts by the login.

The program's own code reads its file, in one spawn: `--get-config` says one parameter at a time, and as root makes directories.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..runner import ReadError, Runner
from ..text import printable
from . import network
from .rspamd import Socket, answers, unix_sockets

PROGRAM = "policyd-rate-limit"
OLD_FILE = "/etc/policyd-rate-limit.conf"  # Python code, which comes first and which reading would run
NAMES = ("config_file", "SOCKET", "limits", "limits_by_id", "limit_by_sasl", "limit_by_sender", "limit_by_ip", "limited_networks",
         "sql_limits_by_id", "fail_action", "success_action", "db_error_action", "report", "report_from", "report_to",
         "report_limits", "count_mode", "backend", "user")  # fmt: skip
# What a version does not know is null: count_mode came with 1.1.
_CODE = ("import json, sys; from policyd_rate_limit import utils; utils.config.setup(*sys.argv[2:]);"
         "print(json.dumps({n: getattr(utils.config, n, None) for n in sys.argv[1].split()}, default=str))")  # fmt: skip
# 10 messages in 60 seconds: (10, 60).
Limits = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PolicydRateLimit:
    """`said` is what NAMES are set to. `problem` says why nothing is known. `up`: whether something listens at its socket; None:
    that cannot be seen from here."""

    said: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    up: Optional[bool] = None

    @property
    def file(self) -> str:
        return str(self.said.get("config_file") or "")

    @property
    def socket(self) -> Socket:
        place = self.said.get("SOCKET")
        return Socket(str(place[0]), int(place[1])) if isinstance(place, list) else Socket(path=str(place))

    @property
    def counts_at_data(self) -> bool:
        """Else it counts each recipient at RCPT (count_mode 0, and always before 1.1)."""
        return self.said.get("count_mode") in (1, 2)

    @property
    def counts(self) -> str:
        return "messages" if self.said.get("count_mode") == 2 else "recipients"

    @property
    def limits(self) -> Limits:
        return _limits(self.said.get("limits"))

    @property
    def own_limits(self) -> Mapping[str, Limits]:
        """Of single logins, which the others do not hold for."""
        return {str(login): _limits(said) for login, said in (self.said.get("limits_by_id") or {}).items()}


def _limits(said: Any) -> Limits:
    return tuple((float(count), float(seconds)) for count, seconds in said or ())


def read(runner: Runner, file: str = "") -> Optional[PolicydRateLimit]:
    """With another configuration file, if one is named; None when it is not installed."""
    program = runner.which(PROGRAM)
    if program is None:
        return None
    if runner.stat(OLD_FILE) is not None and not file:
        return PolicydRateLimit(problem=f"{OLD_FILE} is a program, which is not run")
    try:
        first = re.match(rb"#!\s*(\S+)", runner.piece(program, 0, 200))
        if first is None:
            return PolicydRateLimit(problem=f"{program} names no interpreter")
        done = runner.run([first.group(1).decode(), "-B", "-c", _CODE, " ".join(NAMES), *([file] if file else [])])
    except ReadError as exc:
        return PolicydRateLimit(problem=printable(str(exc)))
    if done.returncode:
        return PolicydRateLimit(problem=f"{PROGRAM} cannot read its configuration: {printable(done.stderr.strip()[-200:])}")
    return parse(done.stdout, tuple(network.listening(runner)), unix_sockets(runner))


def parse(text: str, listening: Any = (), sockets: frozenset[str] = frozenset()) -> PolicydRateLimit:
    """What _CODE printed."""
    try:
        found = PolicydRateLimit(json.loads(text))
        found.own_limits, found.limits  # noqa: B018 - raises what is no limit
        return PolicydRateLimit(found.said, up=answers(found.socket, listening, sockets))
    except (ValueError, TypeError, AttributeError) as exc:
        return PolicydRateLimit(problem=f"what {PROGRAM} is told is not understood: {exc}")
