"""Keep secrets on the host: blank them out of text before it becomes evidence."""

from __future__ import annotations

import re

MASK = "(redacted)"

# Names are looked for at the beginning of a word only: from every point in it, a hostile line of dots would take a second.
# The value ends where its quotes do; the end of a cut text ends it, too. What is masked stays as it is.
_VALUE = r"""(?:\(redacted\)(?![^\s,;}\])])|"(?:\\.|[^"\\\n])*"?[^\s,;}\])]*|'(?:\\.|[^'\\\n])*'?[^\s,;}\])]*|\S+)"""
_ASSIGNMENT = re.compile(
    r"""(?i)(?<![\w.-])([\w.-]*(?:passw(?:or)?d|passwd|secret|api_?key|private_?key|token_?key|bindpw|dnpass)[\w.-]*["']?\s*[=:]\s*)"""
    + _VALUE
)
# A password may hold "/" and "@" although RFC 3986, 3.2.1 wants them encoded: it ends at the last "@".
_URL_USERINFO = re.compile(r"""(?i)(?<![a-z0-9+.-])([a-z0-9+.-]*://[^\s/:]*:)(?:[^\s<>"]+|[^\s/@]+)@""")
_MECHANISM = (
    r"(?:PLAIN|LOGIN|(?:CRAM|DIGEST)-MD5|SCRAM-SHA-[\w-]+|X?OAUTH(?:2|BEARER)?|NTLM|GSSAPI|GSS-SPNEGO|GS2-[\w-]+|EXTERNAL"
    r"|ANONYMOUS|KERBEROS_V4|OTP|SRP|X-[\w-]+)"
)
# Words of a sentence ("AUTH LOGIN failed") and the mechanisms of an EHLO reply are no response.
_NO_RESPONSE = rf"(?!(?:[A-Z]?[a-z]+|(?i:{_MECHANISM}))(?![\w+/=-]))"
_AUTH_COMMAND = re.compile(
    rf"\b((?i:AUTH)[ \t]+(?:(?i:{_MECHANISM})[ \t]+{_NO_RESPONSE}(?=[^\s\"']*\w)"
    rf"|[\w-]+[ \t]+{_NO_RESPONSE}(?=[A-Za-z0-9+/]{{8}})))[^\s\"']+"
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Exim's servers of a data base: host/name/user/password, a colon between two, also in a lookup (spec.txt 9.22).
_SERVERS = re.compile(r"(?i)\b((?:(?:mysql|pgsql|oracle|redis)_)?servers\s*=)([^\n;]*)")


def redact(text: str) -> str:
    """The text without passwords in assignments and URLs, SMTP AUTH initial responses (RFC 4954, 4), private keys, and what
    Exim logs in to data bases with."""
    text = _PEM.sub(MASK, text)
    text = _URL_USERINFO.sub(rf"\g<1>{MASK}@", text)
    text = _SERVERS.sub(_without_logins, text)
    text = _AUTH_COMMAND.sub(rf"\g<1>{MASK}", text)
    return _ASSIGNMENT.sub(rf"\g<1>{MASK}", text)


def _without_logins(found: re.Match[str]) -> str:
    kept = []
    for server in re.split("(?<!:):(?!:)", found[2]):
        host, slash, login = server.partition(")/" if server.lstrip().startswith("(") else "/")
        kept.append(host + slash + (MASK if login else ""))
    return found[1] + ":".join(kept)
