"""What a refusal of a mail service says besides no: IMAP (RFC 5530), POP3 (RFC 2449, RFC 3206), ManageSieve (RFC 5804), SMTP
(RFC 4954, section 6; the enhanced codes of IANA's registry, RFC 5248)."""

from __future__ import annotations

import re

from .values import Outcome

# Codes that say "not now"; SYS/PERM is no better than SYS/TEMP.
NOT_NOW = r"\[(?:UNAVAILABLE|SERVERBUG|LIMIT|INUSE|SYS/TEMP|SYS/PERM|LOGIN-DELAY)\]|\bTRYLATER\b"
_NOT_NOW = re.compile(rf"(?i){NOT_NOW}")
# The password was right: the maildrop is locked by another session (RFC 2449, 8.1.2), the name may not act as itself, or its
# account is disabled (X.7.13: "after a successful authentication").
_RIGHT = re.compile(r"(?i)\[(?:IN-USE|AUTHORIZATIONFAILED)\]|^525\b|^\d{3}[ -][45]\.7\.13\b")
# About the way, or about the server, not about the password: a command or mechanism that is not known, one that wants TLS or
# another mechanism first, saslauthd that is down. [EXPIRED] leaves open whether the password was right: "Either authentication
# succeeded or the server no longer had the necessary data" (RFC 5530, section 3).
_NOT_SO = re.compile(
    r"(?i)^BAD\b|\[(?:PRIVACYREQUIRED|EXPIRED|CONTACTADMIN|CLIENTBUG)\]"
    r"|\((?:ENCRYPT-NEEDED|TRANSITION-NEEDED|AUTH-TOO-WEAK)\)"
    r"|\bplain ?text\b|\bcleartext\b|\b(?:TLS|SSL|STLS)\b"
    r"|\bgeneric failure\b|\bmechanism\b|\b(?:unknown|unrecogni[sz]ed|invalid|unsupported) command\b"
)
# 432: a password transition is needed. Of what is for good, only these answer the login; 530, 534 and 538 want something else
# first, and 50x do not know AUTH, or not this one.
_TRANSITION, _ABOUT_THE_LOGIN = 432, (525, 535, 550, 554)


def of_refusal(text: str) -> Outcome:
    """What a refusal comes to; `text` without the tag of IMAP."""
    if _RIGHT.search(text):
        return Outcome.ACCEPTED
    if _NOT_NOW.search(text):
        return Outcome.PUT_OFF
    return Outcome.UNASKED if _NOT_SO.search(text) else Outcome.REFUSED


def of_reply(code: int, text: str) -> Outcome:
    """What SMTP's reply to a login comes to; `text` begins with the code."""
    if code == 235:
        return Outcome.ACCEPTED
    if code < 500 and code != _TRANSITION:
        return Outcome.PUT_OFF
    return of_refusal(text) if code in _ABOUT_THE_LOGIN else Outcome.UNASKED
