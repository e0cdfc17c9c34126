"""Read a Postfix smtpd's refusals: which of them say something about relaying."""

from __future__ import annotations

import re

from ..smtp.reply import Reply
from .verdict import no_verdict

# Unknown command, syntax, bad sequence (RFC 5321 4.2.2): our dialogue went wrong, nobody was judged.
NO_POLICY = (500, 501, 502, 503, 504)

_BAD_ADDRESS = ("5.1.3", "5.1.7")  # 501: this way to write an address is refused
_UNKNOWN_USER = re.compile(r"(?i)recipient address rejected: (user unknown|undeliverable)")

_CLIENT_REJECTED = re.compile(r"(?i)\bclient host rejected:")

# Refusals that hold whatever their first digit: `access_map_reject_code` and its like may be 4xx (postconf(5)).
_FINAL = re.compile(r"(?i)\brejected: access denied\b")

# Refusals that say nothing about relaying, and what they say instead; the words are those of Postfix's smtpd_check.c.
_UNDECIDED = (
    (re.compile(r"(?i)server configuration error"), "server configuration error"),
    (re.compile(r"(?i)temporary lookup failure"), "a table could not be looked up"),
    (re.compile(r"(?i)cannot find your (reverse )?(hostname|address)"), "clients without a host name are refused first"),
    (re.compile(r"(?i)sender address rejected: domain not found"), "the foreign sender's domain does not resolve"),
    (re.compile(r"(?i)recipient address rejected: domain not found"), "the foreign recipient's domain does not resolve"),
    (re.compile(r"(?i)helo command rejected: host not found"), "the HELO name does not resolve"),
    (_UNKNOWN_USER, "the foreign recipient's domain is treated as a local one"),
    (re.compile(r"(?i)sender address rejected: (user unknown|undeliverable|unverified)"), "the spoofed sender does not exist"),
    (re.compile(r"(?i)session encryption is required"), "encryption is demanded, which the simulation does not use"),
)


def would_queue(reply: Reply) -> bool:
    """Whether a recipient was accepted up to the queue, which our options keep closed (smtpd.c mail_open_stream())."""
    return (reply.code, reply.enhanced, reply.text) == (451, "4.3.0", "Error: queue file write error")


def names_the_client(reply: Reply) -> bool:
    """Whether the client's address or name was refused, whatever its message: the words of every check on clients."""
    return not reply.accepted and bool(_CLIENT_REJECTED.search(reply.text))


def undecided(reply: Reply, recipient_is_local: bool = False) -> str:
    """Why a refusal says nothing about relaying; empty when it is a clear no.

    Where `recipient_is_local` (a routing trick at a local domain) "User unknown" is a clear no: the local part was not re-routed.
    """
    if reply.code in NO_POLICY and reply.enhanced not in _BAD_ADDRESS:
        return "smtpd did not understand the dialogue"
    if recipient_is_local and _UNKNOWN_USER.search(reply.text):
        return ""
    for pattern, reason in _UNDECIDED:
        if pattern.search(reply.text):
            return reason
    return "" if _FINAL.search(reply.text) else no_verdict(reply, "smtpd")
