"""Find the version of a program in what a server says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A number with a dot that stands apart, also behind a v or a slash: 4.96, 8.17.1.9, v2.3.19.1, 3.10-rc1.
_VERSION = re.compile(r"(?<![\w.:@+-])v?(\d{1,5}(?:\.\d{1,5}){1,4})(?:[a-z]\d{0,3})?(?:[-+~][\w.+~-]{1,40})?(?![\w.:@]*\w)", re.I)
_NAMED = re.compile(
    r"\b(postfix|exim|sendmail|opensmtpd|dovecot|pigeonhole|cyrus|courier|microsoft|icewarp|kerio|haraka|qmail)\b", re.I
)
_ENHANCED = re.compile(r"^[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")
_PROTOCOL = re.compile(r"\b(?:(?:IMAP4?(?:rev\d)?|POP3?|HTTP|TLS|SSL|ManageSieve)[ /]?|E?SMTPS?)v?\d[\d.]*", re.I)
_ADDRESS_LITERAL = re.compile(r"\[[^\[\]]{2,60}\]")
TEXT_LIMIT = 2000


def disclosed_version(text: str, known: Iterable[str] = ()) -> str:
    """The version in a text, with its program where one is named; empty without. `known` are addresses that are no version."""
    own = set(known)
    text = _PROTOCOL.sub(" ", _ADDRESS_LITERAL.sub(" ", _ENHANCED.sub("", text[:TEXT_LIMIT])))
    name = _NAMED.search(text)
    for found in _VERSION.finditer(re.sub(r"[/(;,]", " ", text)):
        if found.group(1) not in own:
            return f"{name.group(1)} {found.group(0)}" if name else found.group(0)
    return ""
