"""What a server's refusal means: read from its code, its enhanced code and its words."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from .reply import Reply


class Meaning(str, Enum):
    """What one reply to an envelope says about relaying."""

    ACCEPTED = "accepted"
    RELAY_DENIED = "relay_denied"  # says in words that it does not relay: conclusive without a positive control
    AUTH_REQUIRED = "auth_required"  # says that a login is needed: conclusive as well
    TLS_REQUIRED = "tls_required"
    BLOCKED = "blocked"  # the client itself is refused: says nothing about relaying
    OVERLOADED = "overloaded"
    TEMPORARY = "temporary"
    REFUSED = "refused"  # any other permanent refusal


# Names of blocklists and of what they do. "Client host rejected" alone is not among them: a submission service says it to everybody.
_BLOCKED = re.compile(
    r"\b(?:dnsbl|dnswl|rbl|rbls|uribl|blocklist(?:ed|s)?|blacklist(?:ed|s)?|block[- ]list(?:ed)?|black[- ]list(?:ed)?|denylist(?:ed)?"
    r"|spamhaus|spamcop|sorbs|barracuda\w*|uceprotect\w*|abusix|invaluement|psbl|mailspike|zen|pbl|xbl|sbl|senderscore)\b"
    r"|\bblocked (?:using|by|due)\b|\blisted (?:at|in|on|by)\b|\b(?:poor|bad|low) reputation\b|\bip (?:address )?(?:is )?(?:banned|blocked)\b"
    r"|\b(?:banned|blocked) (?:ip|address|host)\b",
    re.I,
)
_TLS_REQUIRED = re.compile(r"\bstarttls\b|\b(?:tls|ssl|encrypt(?:ion|ed)?)\b.{0,40}\b(?:required|needed|first|must)\b|\brequires? (?:tls|encryption)", re.I)
_AUTH_REQUIRED = re.compile(
    r"\bauth(?:entication|enticate|enticated|orization)?\b.{0,60}\b(?:required|needed|necessary|first|must|mandatory)\b"
    r"|\b(?:requires?|need|must|please|issue an?)\b.{0,40}\b(?:auth(?:entication|enticate|enticated)?|log ?in)\b|\bnot (?:logged in|authenticated)\b|\bunauthenticated\b",
    re.I,
)
# Postfix "Relay access denied", Exim "relay not permitted", Sendmail and Courier "Relaying denied", Exchange "Unable to relay",
# qmail "not in my list of allowed rcpthosts", Haraka "I cannot deliver mail for", CommuniGate "relaying prohibited",
# Domino "Relay rejected for policy reasons", hMailServer "Delivery is not allowed to this address", IceWarp "we do not relay".
_RELAY_DENIED = re.compile(
    r"\brelay(?:ing|ed)?\b.{0,40}\b(?:denied|not (?:permitted|allowed|supported|authorized|authorised)|prohibited|rejected|refused|forbidden|disallowed|disabled|blocked)\b"
    r"|\b(?:unable to|cannot|can't|can not|do(?:es)? not|don't|won't|will not|no|not (?:permitted|allowed|authorized) to|refus\w+ to)\b.{0,15}\brelay\b"
    r"|\bnot (?:an? )?(?:open )?relay\b|\brcpthosts\b|\bcannot deliver mail for\b|\bdelivery is not allowed to this address\b|\bnon-?local (?:recipient|domain|user|address)"
    r"|\bwe do not relay\b|\b(?:recipient|domain) (?:is )?not (?:hosted|local|handled) (?:here|by)\b|\bnot a gateway\b",
    re.I,
)
_OVERLOADED = re.compile(r"\btoo (?:many|much)\b|\brate limit|\btoo busy\b|\boverload|\bthrottl|\bload average|\bresources? (?:temporarily )?unavailable", re.I)


def meaning(reply: Reply) -> Meaning:
    """Read a reply to MAIL, RCPT, DATA or the message itself.

    What stands in angle brackets is what we sent, repeated: a canary called rbl@... must not look like a blocklist.
    """
    if reply.accepted or reply.code == 354:
        return Meaning.ACCEPTED
    return _refusal(reply.code, re.sub(r"<[^<>]*>", "<>", reply.text))


@lru_cache(maxsize=1024)
def _refusal(code: int, text: str) -> Meaning:
    if _BLOCKED.search(text):
        return Meaning.BLOCKED
    if code == 421:
        return Meaning.OVERLOADED
    if code in (530, 538, 523) and _TLS_REQUIRED.search(text) or re.search(r"\bmust issue a starttls\b|\bstarttls (?:is )?(?:required|first)", text, re.I):
        return Meaning.TLS_REQUIRED
    # 454 4.7.1 "Relay access denied" is the permanent answer of Debian's Postfix (defer_unauth_destination), not greylisting.
    if _RELAY_DENIED.search(text):
        return Meaning.RELAY_DENIED
    # 530 is "Authentication required" (RFC 4954, 6); 550, 553 and 503 are used with the same words.
    if code >= 500 and (code == 530 or _AUTH_REQUIRED.search(text)):
        return Meaning.AUTH_REQUIRED
    if code < 500:
        return Meaning.OVERLOADED if _OVERLOADED.search(text) else Meaning.TEMPORARY
    return Meaning.REFUSED
