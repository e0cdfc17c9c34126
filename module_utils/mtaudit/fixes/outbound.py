"""Somebody is told of suspect mail of accounts that the scanner stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..config.rspamd import Wanted
from ..control import Site
from ..finding import Finding
from ..fix import fix
from ..readers.rspamd import Rspamd

# Line ends that every program takes; Sendmail refuses those of rspamd's own template.
_LINES = ("From: Rspamd <$mail_from>", "To: $mail_to", "Subject: Suspect outgoing mail", "Date: $date",
          "Message-ID: <$our_message_id>", "", "Login: $user", "Client: $ip", "Sender: $from", "Recipients: $rcpt",
          "Message-ID: $message_id", "Score: $score")  # fmt: skip
_RULE = {
    "backend": "send_mail", "selector": "is_reject_authed", "formatter": "email_alert", "smtp": "127.0.0.1", "helo": "localhost",
    "mail_from": "postmaster@localhost", "mail_to": "postmaster@localhost",
    "email_template": "".join(f"{line}\\r\\n" for line in _LINES),
}  # fmt: skip


def tell_somebody(reading: Any, site: Site, findings: Sequence[Finding]) -> Optional[Mapping[str, Any]]:
    """The site's postmaster, by a rule of rspamd's exporter. What is stopped and how stays the site's choice."""
    if not any("nobody is told" in finding.message for finding in findings):
        return None
    rspamd: Rspamd = site.rspamd
    on = {} if rspamd.enabled("metadata_exporter") else {"enabled": "true"}
    rule = {f"rules mtaudit_stopped {key}": f'"{value}"' for key, value in _RULE.items()}
    return {"rspamd": Wanted({"metadata_exporter": {**on, **rule, "rules mtaudit_stopped smtp_port": "25"}})}


for _component in ("postfix", "exim", "sendmail", "opensmtpd"):
    fix("OUT-02", _component)(tell_somebody)
