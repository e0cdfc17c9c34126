"""Who can log in to OpenSMTPD, and as whom: only lines with `auth` or `auth-optional`, and only inside TLS.

smtpd refuses to start with such a line without TLS, and knows the mechanisms PLAIN and LOGIN only (parse.y, smtp_session.c).
"""

from __future__ import annotations

from typing import Optional

from ..finding import Finding, informational
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_model import Port
from ..readers.opensmtpd_tables import Table
from .opensmtpd_ports import line, subject
from .senders import NOBODY

LOGINS_LIMIT = 1000  # of a table
NO_LOGIN = "the listen line has neither auth nor auth-optional"


def logins(smtpd: OpenSmtpd, port: Port) -> list[str]:
    """Logins to try: those of the `senders` table, else those that rules name, else anybody's. Raises Doubt."""
    if port.listen.senders is not None:
        return port.listen.senders.keys[:LOGINS_LIMIT]
    tables: list[Optional[Table]] = [c.table for rule in smtpd.config.rules for c in rule.criteria if c.name == "auth"]
    return [NOBODY, *(key for table in tables if table and not table.problem for key in table.keys[:LOGINS_LIMIT])]


def without_tls(smtpd: OpenSmtpd, listener: Listener, port: Port) -> Optional[Finding]:
    """What is to be said instead of a pass where TLS does not work; None where it does."""
    if not smtpd.version.startswith("6.8."):
        return None
    text = "nobody can log in: OpenSMTPD 6.8 as Debian 12 has it fails every TLS handshake"
    return informational(subject(listener), text, line(port))
