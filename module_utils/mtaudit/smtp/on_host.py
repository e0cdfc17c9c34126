"""On the mail server itself: hand messages to sendmail(1) as a local user does, and see in the log what became of messages."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..logs.places import Program
from ..logs.sources import FILES
from ..logs.tracing import find_tokens
from ..runner import Runner
from ..text import decode, printable
from .flow import TO_THE_CANARY, Answer, Direction, Status, after_log
from .flow_probe import BODY, SUBJECT
from .message import composed

PLACES = ("/usr/sbin", "/usr/lib", "/usr/bin", "/usr/local/sbin")
EX_TEMPFAIL = 75  # sysexits.h: not now, but perhaps later
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0


@dataclass(frozen=True)
class Order:
    """What a host is to send. `user` is the local account that hands it over, `domain` that of the Message-ID."""

    target: str
    canary: str
    known_recipient: str
    domain: str
    user: str = "nobody"
    tag: str = "mtaudit"
    timeout_s: float = 30.0
    places: Sequence[str] = PLACES


def hand_over(order: Order) -> list[Answer]:
    """One message to the canary and one to the known recipient, as far as each is declared."""
    program = shutil.which("sendmail", path=os.pathsep.join(order.places))
    return [
        _handed(order, Direction.OUT, order.canary, "no canary is declared", program),
        _handed(order, Direction.LOCAL, order.known_recipient, "no known recipient is declared", program),
    ]


def _handed(order: Order, direction: Direction, recipient: str, undeclared: str, program: Optional[str]) -> Answer:
    begun, at = time.monotonic(), time.time()
    if not recipient or program is None:
        why = "there is no sendmail(1)" if recipient else undeclared
        return Answer(direction, order.target, "sendmail", Status.NOT_SENT, why)
    token = f"{order.tag}-{secrets.token_hex(8)}"
    content = composed(token, recipient, SUBJECT, [BODY, f"Server: {order.target}. Direction: {direction.value}."], order.domain)
    argv = [program, "-i", *_sender(program, order, token), recipient]
    status, detail = _run(argv, content.replace("\r\n", "\n"), order)
    return Answer(direction, order.target, "sendmail", status, detail, "", token, time.monotonic() - begun, at)


def _sender(program: str, order: Order, token: str) -> list[str]:
    """OpenSMTPD logs the sender of a message and not its Message-ID. The others take -f from accounts that they trust only."""
    if os.path.basename(os.path.realpath(program)) != "smtpctl":
        return []
    return ["-f", f"{order.user}+{token}@{order.domain}"]


def _run(argv: Sequence[str], stdin: str, order: Order) -> tuple[Status, str]:
    try:
        environment = {"PATH": os.pathsep.join((*order.places, "/bin")), "LC_ALL": "C", "HOME": "/", "LOGNAME": order.user}
        done = subprocess.run(
            list(argv), input=stdin.encode("ascii", "replace"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
            timeout=order.timeout_s, cwd="/", env=environment, **_as_user(order.user),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Status.UNKNOWN, f"sendmail(1) did not end within {order.timeout_s:g} s"
    except (OSError, KeyError) as exc:
        why = f"there is no account {order.user}" if isinstance(exc, KeyError) else exc.strerror
        return Status.REFUSED, f"{argv[0]} could not be run as {order.user}: {why}"
    said = printable(" ".join(decode(done.stderr).split()), 300)
    if done.returncode == 0:
        return Status.ACCEPTED, said
    status = Status.UNKNOWN if done.returncode == EX_TEMPFAIL else Status.REFUSED
    return status, f"sendmail(1) ended with status {done.returncode}{f': {said}' if said else ''}"


def _as_user(name: str) -> dict[str, Any]:
    """Whoever is not root stays who he is. Raises KeyError where there is no such account."""
    if os.geteuid():
        return {}
    account = pwd.getpwnam(name)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def confirm(
    runner: Runner, answers: Sequence[Answer], programs: Sequence[Program], files: Sequence[str] = FILES, wait_s: float = 20.0
) -> list[Answer]:
    """The answers with what this host's log says. Waits, while messages to mailboxes of the site are on their way."""
    pending = [answer for answer in answers if answer.pending]
    if not pending:
        return list(answers)
    tokens, since = [answer.token for answer in pending], min(answer.at for answer in pending)
    end, pause_s = time.monotonic() + wait_s, FIRST_PAUSE_S
    while True:
        traced = find_tokens(runner, tokens, since, files, programs=programs)
        traces = {trace.token: trace for trace in traced.traces}
        found = [after_log(a, traces[a.token], traced.reason) if a.token in traces else a for a in answers]
        if time.monotonic() >= end or not any(a.pending and a.direction not in TO_THE_CANARY for a in found):
            return [replace(answer, at=round(answer.at, 3)) for answer in found]
        time.sleep(min(pause_s, max(end - time.monotonic(), 0)))
        pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
