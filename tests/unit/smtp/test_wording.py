"""A refusal is read by what it says."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.smtp.reply import ReplyParser
from ansible.module_utils.mtaudit.smtp.wording import Meaning, meaning

WORDS = {
    "250 2.1.5 Ok": Meaning.ACCEPTED,
    "251 User not local; will forward to <x@y.test>": Meaning.ACCEPTED,
    "354 go on": Meaning.ACCEPTED,
    "454 4.7.1 <a@b.test>: Relay access denied": Meaning.RELAY_DENIED,
    "554 5.7.1 <a@b.test>: Relay access denied": Meaning.RELAY_DENIED,
    "550 relay not permitted": Meaning.RELAY_DENIED,
    "550-5.7.1 Relaying denied": Meaning.RELAY_DENIED,
    "550 5.7.1 Unable to relay for a@b.test": Meaning.RELAY_DENIED,
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)": Meaning.RELAY_DENIED,
    "553 5.7.1 sorry, relaying denied from your location": Meaning.RELAY_DENIED,
    "550 Relaying is not allowed": Meaning.RELAY_DENIED,
    "554 Relay rejected for policy reasons.": Meaning.RELAY_DENIED,
    "550 5.1.1 <a@rbl.test>: Recipient address rejected: User unknown": Meaning.REFUSED,
    "550 5.1.1 relay@rbl.test unknown user": Meaning.REFUSED,
    "501 5.1.3 Bad recipient address syntax": Meaning.REFUSED,
    "553 5.1.8 Domain of sender address does not exist": Meaning.REFUSED,
    "550 Invalid recipient": Meaning.REFUSED,
    "530 5.7.0 Must issue a STARTTLS command first": Meaning.TLS_REQUIRED,
    "530 5.7.0 Encryption required": Meaning.TLS_REQUIRED,
    "538 5.7.11 Encryption required for requested authentication mechanism": Meaning.TLS_REQUIRED,
    "530 5.7.0 Authentication required": Meaning.AUTH_REQUIRED,
    "530 no": Meaning.AUTH_REQUIRED,
    "550 SMTP AUTH is required, please log in": Meaning.AUTH_REQUIRED,
    "554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using zen.spamhaus.org": Meaning.BLOCKED,
    "553 5.3.0 <a@b.test>... Blocked by PBL": Meaning.BLOCKED,
    "450 4.7.1 Client host rejected: listed by psbl.surriel.com": Meaning.BLOCKED,
    "550 5.7.606 Access denied, banned sending IP [1.2.3.4]. blocked by policy": Meaning.BLOCKED,
    "421 4.7.0 mx Error: too many errors": Meaning.OVERLOADED,
    "450 4.7.1 Error: too much mail from 1.2.3.4": Meaning.OVERLOADED,
    "450 4.2.0 Greylisted, please try again in 300 seconds": Meaning.TEMPORARY,
    "451 4.3.5 Server configuration error": Meaning.TEMPORARY,
    "450 relay 530 250": Meaning.TEMPORARY,
    "554 5.7.1 <unknown[1.2.3.4]>: Client host rejected: Access denied": Meaning.REFUSED,
}


@pytest.mark.parametrize("line", WORDS)
def test_meaning(line: str) -> None:
    (reply,) = ReplyParser().feed(line.replace("550-", "550 ").encode() + b"\r\n")
    assert meaning(reply) is WORDS[line]
