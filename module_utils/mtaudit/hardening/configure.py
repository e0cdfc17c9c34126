"""Who makes the candidate of each program's configuration: (runner, instance, what is wanted, empty directory) -> Candidate.

Apart from components.py, so that an audit does not carry it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ..config import dovecot, exim, host, opensmtpd, policyd_rate_limit, postfix, rspamd, sendmail

# Each raises ConfigError.
CONFIGURE: Mapping[str, Callable[..., Any]] = {
    "postfix": postfix.candidate,
    "exim": exim.candidate,
    "opensmtpd": opensmtpd.candidate,
    "sendmail": sendmail.candidate,
    "dovecot": dovecot.candidate,
    "rspamd": rspamd.candidate,
    "policyd_rate_limit": policyd_rate_limit.candidate,
    "os": host.candidate,
}
