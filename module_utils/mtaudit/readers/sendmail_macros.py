"""Expand what sendmail.cf writes into a header, for a session that is only thought of.

`$?x text $| text $.` is a condition, anything else that begins with `$` a macro (Operation Guide, chapter 5, "D - Define Macro").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .sendmail_cf import Cf
from .submitted import ADDRESSES, HELO, LOGIN, NAME, Written

_WORD = re.compile(r"\$(?P<mark>[|.$])|\$(?P<kind>[?&]?)(?:\{(?P<long>\w+)\}|(?P<short>.))")
# What a session always has, or never tells of the client.
_USUAL = {
    "auth_type": "PLAIN", "auth_authen": LOGIN, "auth_ssf": "", "s": HELO, "client_name": NAME, "client_ptr": NAME,
    "client_resolve": "OK", "r": "ESMTPSA", "i": "6AMBKpd4000187", "u": "<probe@mtaudit.invalid>", "tls_version": "TLSv1.3",
    "cipher": "TLS_AES_256_GCM_SHA384", "cipher_bits": "256", "verify": "NO", "b": "Thu, 1 Jan 2026 00:00:00 GMT",
}  # fmt: skip


def of_login(lines: Sequence[str], cf: Cf, host_name: str, family: str) -> Written:
    """What these `H` lines give for the message of a login. In doubt where they name a macro that rules set."""
    address = f"IPv6:{ADDRESSES[family]}" if family == "ipv6" else str(ADDRESSES[family])
    own = {"j": host_name, "w": host_name, "client_addr": address, "_": f"{NAME} [{address}]"}
    macros = {**{name: value for name, (value, _) in cf.macros.items()}, **_USUAL, **own}
    text = "\n".join(lines)
    unset = [name for name in map(_name, _WORD.finditer(text)) if name and name not in macros]
    storing = next((m.name for m in cf.maps.values() if m.kind == "macro"), "")
    doubt = f"what ${{{unset[0]}}} holds is set by rules, through the map {storing}" if unset and storing else ""
    return Written(expanded(text, macros), doubt=doubt if _matters(unset, cf) else "")


def _matters(unset: Sequence[str], cf: Cf) -> bool:
    """Whether a rule really stores one of them: `$( storage {name} $@ value $)`."""
    rules = [rule.right for found in cf.rules.values() for rule in found]
    return any(f"{{{name}}}" in right for name in unset for right in rules)


def expanded(text: str, macros: Mapping[str, str]) -> str:
    """The text with its macros; one that is not set is empty."""
    found, at, open_ = "", 0, [True]
    for match in _WORD.finditer(text):
        found += text[at : match.start()] * all(open_)
        at = match.end()
        if match["mark"] == "|" and len(open_) > 1:
            open_[-1] = not open_[-1]
        elif match["mark"] == "." and len(open_) > 1:
            open_.pop()
        elif match["kind"] == "?":
            open_.append(bool(macros.get(_name(match), "")))
        elif match["mark"] is None:
            found += macros.get(_name(match), "") * all(open_)
    return found + text[at:] * all(open_)


def _name(match: re.Match[str]) -> str:
    return str(match["long"] or match["short"] or "")
