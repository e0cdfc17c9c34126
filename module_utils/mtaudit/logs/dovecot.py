"""Read who logged in to Dovecot from its log: in the journal, in syslog's files, in files of its own."""

from __future__ import annotations

import re

from ..readers.dovecot_model import Dovecot
from .outcome import Taken, lines_with

# `imap-login: Login: user=<alice>, method=PLAIN, rip=198.51.100.7, ..., TLS, session=<...>`; 2.4 writes `Logged in:`.
_LOGIN = re.compile(rb"-login: (?:Info: )?(?:Login|Logged in): ")
_ACCOUNT, _CLIENT = re.compile(r"\buser=<([^>]*)>"), re.compile(r"\brip=([0-9A-Fa-f.:]+)")
_INSIDE_TLS = re.compile(r", TLS(?:,|\s*$)")
# `secured` stands there for those of login_trusted_networks without TLS, too (tried on 2.3.19 and 2.4.1).
_OWN = ("127.", "::1")


def tells_tls(dovecot: Dovecot) -> bool:
    """Whether each line of a login says so where it came inside TLS."""
    return any(word in dovecot.value("login_log_format_elements") for word in ("%c", "%{secured"))


def taken(log: bytes) -> list[Taken]:
    """The logins. Those of the host itself are as good as inside TLS."""
    found = []
    for line in lines_with(log, _LOGIN):
        account, client = _ACCOUNT.search(line), _CLIENT.search(line)
        address = client[1] if client else ""
        inside = bool(_INSIDE_TLS.search(line)) or address.startswith(_OWN)
        found.append(Taken(line, address, account[1] if account else "", tls=inside))
    return found
