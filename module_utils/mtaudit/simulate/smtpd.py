"""Talk to a stand-alone Postfix smtpd that never makes a queue file."""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..address import Address
from .session import Session

# What turns the service's own smtpd into one that answers questions and does nothing else; set after the service's own `-o`.
QUESTIONS_ONLY = (
    "smtpd_authorized_xclient_hosts=static:all",  # static: allows XCLIENT again after the first one
    "smtpd_discard_ehlo_keywords=",
    "smtpd_discard_ehlo_keyword_address_maps=",
    "smtpd_upstream_proxy_protocol=",  # else it waits for a PROXY header
    "smtpd_delay_reject=yes",  # else a client that is refused at once cannot be followed by another; the lists are the same
    "soft_bounce=no",  # it makes every refusal look like one for the moment only
    "smtpd_tls_security_level=none",
    "smtpd_tls_wrappermode=no",
    "smtpd_milters=",
    "smtpd_milter_maps=",
    # No queue file: smtpd opens the queue, or the filter in its place, only for an accepted recipient, and this filter cannot
    # be reached. (With `speed_adjust` smtpd makes a file in incoming/ and unlinks it: smtpd_proxy_replay_setup().)
    "smtpd_proxy_filter=unix:/dev/null/mtaudit",
    "smtpd_proxy_options=",
    "smtpd_delay_open_until_valid_rcpt=yes",
    "disable_vrfy_command=no",  # VRFY runs the recipient's restrictions and opens nothing: smtpd.c vrfy_cmd()
    "notify_classes=",  # else refusals are mailed to the postmaster: smtpd.c chat_reset()
    "address_verify_service_name=mtaudit-none",  # else verify(8) sends a probe message
    "smtpd_client_event_limit_exceptions=static:all",  # leave anvil's counters alone
    "smtpd_soft_error_limit=1000",
    "smtpd_hard_error_limit=1000",
    "smtpd_junk_command_limit=1000",
    "smtpd_error_sleep_time=0",
    "smtpd_reject_footer=",
    "smtpd_reject_footer_maps=",
    "syslog_name=mtaudit",
)


@dataclass(frozen=True)
class Listening:
    """A name as `*:25`, and who can reach it: `ipv4`, `ipv6`."""

    name: str
    families: tuple[str, ...] = ("ipv4", "ipv6")


@dataclass(frozen=True)
class SmtpdInvocation:
    """One smtpd service of one Postfix instance, as its master would start it, and where it can be reached.

    `options` are the service's own `-o name=value` from master.cf (of the `pass` service behind postscreen). `parameters` holds
    the effective values, with every `$name` expanded, of the restriction lists and restriction classes. `routing_gap` says why
    routing tricks cannot be tried wherever they might work. `named` are the invented clients that tables of the site may name.
    """

    listeners: tuple[Listening, ...]
    config_directory: str
    queue_directory: str
    daemon_directory: str
    mail_owner: str
    options: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    routing_gap: str = ""
    named: tuple[Address, ...] = ()

    @property
    def program(self) -> str:
        return os.path.join(self.daemon_directory, "smtpd")


def obstacle(invocation: SmtpdInvocation) -> str:
    """Why this smtpd cannot be asked, or an empty string. Costs no spawn."""
    if os.geteuid() != 0:
        return "not root: smtpd cannot be started as the mail owner"
    try:
        pwd.getpwnam(invocation.mail_owner)
    except KeyError:
        return f"there is no user {invocation.mail_owner} (mail_owner)"
    if not os.access(invocation.program, os.X_OK):
        return f"{invocation.program} is missing or not executable"
    return _rewrite_obstacle(invocation.queue_directory)


def _rewrite_obstacle(queue_directory: str) -> str:
    """smtpd asks trivial-rewrite about every recipient and waits for ever where nobody listens (measured on 3.7 and 3.10)."""
    path = os.path.join(queue_directory, "private", "rewrite")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return f"Postfix is not running: nobody listens on {path}"
        except OSError as exc:
            return f"Could not reach {path}: {exc}"
    return ""


def as_mail_owner(mail_owner: str) -> Callable[[], None]:
    """What the child does before it becomes smtpd.

    Real uid = mail owner: else smtpd takes us for a trusted local caller and skips its access controls (SMTPD_STAND_ALONE in
    smtpd.h). Effective uid 0: reads root-only tables and keys, as the real daemon does before it drops root.
    """
    uid = pwd.getpwnam(mail_owner).pw_uid
    return lambda: os.setresuid(uid, 0, 0)


class SmtpdSession(Session):
    """A running smtpd."""

    program = "smtpd"

    def __init__(self, invocation: SmtpdInvocation, overrides: Sequence[str], timeout_s: float) -> None:
        words = [word for option in (*invocation.options, *QUESTIONS_ONLY, *overrides) for word in ("-o", option)]
        super().__init__(
            [invocation.program, "-S", "-V", *words],  # -V: log to stderr too, which says why it dies
            time.monotonic() + timeout_s,
            {"MAIL_CONFIG": invocation.config_directory},
            as_mail_owner(invocation.mail_owner),
        )

    def reason(self, log: Sequence[str]) -> str:
        """The last complaint in its log, else its last line."""
        complaints = [line for line in log if any(word in line for word in ("fatal:", "panic:", "error:", "warning:"))]
        said = super().reason(complaints or log)
        return said.partition(": ")[2] or said
