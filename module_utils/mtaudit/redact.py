"""Keep secrets on the host: blank them out of text before it becomes evidence."""

from __future__ import annotations

import re

MASK = "(redacted)"

_ASSIGNMENT = re.compile(
    r"(?i)\b([\w.-]*(?:passw(?:or)?d|passwd|secret|api_?key|private_?key|token_?key|bindpw|dnpass)[\w.-]*\s*[=:]\s*)(\S+)"
)
_URL_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
_AUTH_COMMAND = re.compile(r"(?im)^(\s*AUTH\s+\S+)[ \t]+\S+")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def redact(text: str) -> str:
    """The text without passwords in assignments and URLs, SMTP AUTH initial responses (RFC 4954, 4) and private keys."""
    text = _PEM.sub(MASK, text)
    text = _URL_USERINFO.sub(rf"\g<1>{MASK}@", text)
    text = _AUTH_COMMAND.sub(rf"\g<1> {MASK}", text)
    return _ASSIGNMENT.sub(rf"\g<1>{MASK}", text)
