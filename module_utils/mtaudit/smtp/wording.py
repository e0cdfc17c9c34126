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


_ADDRESS = re.compile(r"<[^<>]*>|\S+@\S+")


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.I)


# Names of blocklists and of what they do. "Client host rejected" is not among them: submission services say it to everybody.
_BLOCKED = _any_of(
    r"\b(?:dnsbl|dnswl|rbls?|uribl|(?:block|black|deny)[- ]?list(?:ed|s)?)\b",
    r"\b(?:spamhaus|spamcop|sorbs|barracuda\w*|uceprotect\w*|abusix|invaluement|psbl|mailspike|pbl|xbl|sbl|senderscore)\b",
    r"\bblocked (?:using|by|due)\b",
    r"\blisted (?:at|in|on|by)\b",
    r"\b(?:poor|bad|low) reputation\b",
    r"\bip (?:address )?(?:is )?(?:banned|blocked)\b",
    r"\b(?:banned|blocked) (?:ip|address|host)\b",
)
_TLS_REQUIRED = _any_of(
    r"\bstarttls\b",
    r"\b(?:tls|ssl|encrypt(?:ion|ed)?)\b.{0,40}\b(?:required|needed|first|must)\b",
    r"\brequires? (?:tls|encryption)",
)
_STARTTLS_FIRST = _any_of(r"\bmust issue a starttls\b", r"\bstarttls (?:is )?(?:required|first)")
_AUTH_REQUIRED = _any_of(
    r"\bauth(?:entication|enticate|enticated|orization)?\b.{0,60}\b(?:required|needed|necessary|first|must|mandatory)\b",
    r"\b(?:requires?|need|must|please|issue an?)\b.{0,40}\b(?:auth(?:entication|enticate|enticated)?|log ?in)\b",
    r"\bnot (?:logged in|authenticated)\b",
    r"\bunauthenticated\b",
)
# Postfix "Relay access denied", Exim "relay not permitted", Sendmail and Courier "Relaying denied", Exchange "Unable to relay",
# qmail "not in my list of allowed rcpthosts", Haraka "I cannot deliver mail for", CommuniGate "relaying prohibited",
# Domino "Relay rejected for policy reasons", hMailServer "Delivery is not allowed to this address", IceWarp "we do not relay".
_RELAY_DENIED = _any_of(
    r"\brelay(?:ing|ed)?\b.{0,40}\b(?:denied|prohibited|rejected|refused|forbidden|disallowed|disabled|blocked"
    r"|not (?:permitted|allowed|supported|authori[sz]ed))\b",
    r"\b(?:unable to|can(?:no|')t|can not|do(?:es)? not|don't|won't|will not|no|not (?:permitted|allowed|authori[sz]ed) to"
    r"|refus\w+ to)\b.{0,15}\brelay\b",
    r"\bnot (?:an? )?(?:open )?relay\b",
    r"\brcpthosts\b",
    r"\bcannot deliver mail for\b",
    r"\bdelivery is not allowed to this address\b",
    r"\bnon-?local (?:recipient|domain|user|address|e-?mail)",
    r"\b(?:recipient|domain) (?:is )?not (?:hosted|local|handled) (?:here|by)\b",
    r"\bnot a gateway\b",
)
_OVERLOADED = _any_of(
    r"\btoo (?:many|much|busy)\b",
    r"\brate limit",
    r"\boverload",
    r"\bthrottl",
    r"\bload average",
    r"\bresources? (?:temporarily )?unavailable",
)


def meaning(reply: Reply) -> Meaning:
    """Read a reply to MAIL, RCPT, DATA or the message itself.

    Addresses and what stands in angle brackets are what we sent, repeated: a canary at rbl.example is not a blocklist.
    """
    if reply.accepted or reply.code == 354:
        return Meaning.ACCEPTED
    return _refusal(reply.code, _ADDRESS.sub("<>", reply.text))


@lru_cache(maxsize=1024)
def _refusal(code: int, text: str) -> Meaning:
    if _BLOCKED.search(text):
        return Meaning.BLOCKED
    if code == 421:
        return Meaning.OVERLOADED
    if (code in (523, 530, 538) and _TLS_REQUIRED.search(text)) or _STARTTLS_FIRST.search(text):
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
