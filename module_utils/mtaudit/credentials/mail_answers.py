"""What a refusal of a mail service says besides no: IMAP (RFC 5530), POP3 (RFC 2449, RFC 3206), ManageSieve (RFC 5804)."""

from __future__ import annotations

import re

from .values import Outcome

# Codes that say "not now"; SYS/PERM is no better than SYS/TEMP.
NOT_NOW = r"\[(?:UNAVAILABLE|LIMIT|INUSE|SYS/TEMP|SYS/PERM|LOGIN-DELAY)\]|\bTRYLATER\b"
_NOT_NOW = re.compile(rf"(?i){NOT_NOW}")
# The password was right: the maildrop is locked by another session (RFC 2449, 8.1.2), or the name may not act as itself.
_RIGHT = re.compile(r"(?i)\[(?:IN-USE|AUTHORIZATIONFAILED)\]")
# About the way, or about the server, not about the password: a command or mechanism that is not known, one that wants TLS first,
# saslauthd that is down. [EXPIRED] leaves open whether the password was looked at.
_NOT_SO = re.compile(
    r"(?i)^BAD\b|\[(?:PRIVACYREQUIRED|ENCRYPT-NEEDED|EXPIRED)\]|\bplain ?text\b|\bcleartext\b|\b(?:TLS|SSL|STLS)\b"
    r"|\bgeneric failure\b|\bmechanism\b|\b(?:unknown|unrecogni[sz]ed|invalid|unsupported) command\b"
)


def of_refusal(text: str) -> Outcome:
    """What a refusal comes to; `text` without the tag of IMAP."""
    if _RIGHT.search(text):
        return Outcome.ACCEPTED
    if _NOT_NOW.search(text):
        return Outcome.PUT_OFF
    return Outcome.UNASKED if _NOT_SO.search(text) else Outcome.REFUSED
