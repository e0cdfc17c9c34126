"""Which versions of TLS a setting lets through, in each program's own words. TLS older than 1.2 is not to be used (RFC 8996)."""

from __future__ import annotations

import re
from collections.abc import Iterable

VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_NEW = ("TLSv1.2", "TLSv1.3")
_NAMES = {name.lower(): name for name in VERSIONS}
_NUMBERS = {"0300": "SSLv3", "0301": "TLSv1", "0302": "TLSv1.1", "0303": "TLSv1.2", "0304": "TLSv1.3"}
# Of GnuTLS's sets of algorithms (gnutls_priority_init(3)) these let all versions through (tried with 3.7.9); the stronger ones
# have no cipher for the old.
_GNUTLS_ALL = ("normal", "performance", "pfs", "secure128", "legacy")
_GNUTLS_NEW = ("secure192", "secure256", "suiteb128", "suiteb192")
_GNUTLS = {"ssl3.0": "SSLv3", "tls1.0": "TLSv1", "tls1.1": "TLSv1.1", "tls1.2": "TLSv1.2", "tls1.3": "TLSv1.3"}
_OPENSSL_OPTIONS = {"no_sslv3": "SSLv3", "no_tlsv1": "TLSv1", "no_tlsv1_1": "TLSv1.1"}


def old(versions: Iterable[str]) -> list[str]:
    """Those below TLS 1.2."""
    return [version for version in versions if version not in _NEW]


def of_postfix(text: str) -> list[str]:
    """smtpd_tls_protocols: `>=TLSv1.2`, `<=0304`, `!SSLv3`, or the versions themselves (postconf(5)). Raises ValueError."""
    lowest, highest = 0, len(VERSIONS) - 1
    without: set[str] = set()
    named: set[str] = set()
    for word in re.split(r"[\s,:]+", text.strip()):
        bare = re.sub(r"\A(?:[<>]=|!)", "", word).lower()
        if not bare or bare == "sslv2":
            continue
        version = _NAMES.get(bare) or (_NUMBERS.get(bare) if word[0] in "<>" else None)
        if version is None:
            raise ValueError(f"'{word}' is no version of TLS that Postfix knows")
        if word.startswith(">="):
            lowest = VERSIONS.index(version)
        elif word.startswith("<="):
            highest = VERSIONS.index(version)
        else:
            (without if word.startswith("!") else named).add(version)
    return [v for v in VERSIONS[lowest : highest + 1] if v not in without and (not named or v in named)]


def of_dovecot(text: str) -> list[str]:
    """ssl_min_protocol: a version, ANY or LATEST. Raises ValueError."""
    word = text.strip().lower()
    if word in ("any", "latest"):
        return list(VERSIONS if word == "any" else VERSIONS[-1:])
    if word not in _NAMES:
        raise ValueError(f"'{text}' is no version of TLS that mtaudit knows")
    return list(VERSIONS[VERSIONS.index(_NAMES[word]) :])


def is_gnutls(text: str) -> bool:
    """Whether a list of ciphers is a priority string of GnuTLS: OpenSSL has none of its sets."""
    return re.split(r"[:,\s]", text.strip().lower())[0] in (*_GNUTLS_ALL, *_GNUTLS_NEW, "none")


def of_gnutls(text: str) -> list[str]:
    """A priority string such as `NORMAL:-VERS-TLS1.0`; without one NORMAL holds. Raises ValueError."""
    first, *more = [word.strip().lower() for word in (text.strip() or "NORMAL").split(":")]
    if not is_gnutls(first):
        raise ValueError(f"what GnuTLS makes of '{first}' is not known to mtaudit")
    found = set(_NEW if first in _GNUTLS_NEW else VERSIONS[1:] if first in _GNUTLS_ALL else ())
    for word in filter(None, more):
        name = word[6:]
        if not word[1:].startswith("vers-"):
            if word.startswith("+") and first in ("none", *_GNUTLS_NEW):
                raise ValueError(f"whether '{word}' has ciphers for old versions is not known to mtaudit")
            continue
        if name not in (*_GNUTLS, "all", "tls-all") or word[0] not in "+-!":
            if not name.startswith("dtls"):
                raise ValueError(f"what GnuTLS makes of '{word}' is not known to mtaudit")
            continue
        meant = {_GNUTLS[name]} if name in _GNUTLS else set(VERSIONS[1:])
        found = found | meant if word[0] == "+" else found - meant
    return [version for version in VERSIONS if version in found]


def of_openssl_options(text: str) -> list[str]:
    """Exim's openssl_options: what `+no_tlsv1` and its like leave; OpenSSL itself may leave less."""
    words = text.lower().split()
    without = {version for option, version in _OPENSSL_OPTIONS.items() if f"+{option}" in words}
    return [version for version in VERSIONS if version not in without]


def security_level(*texts: str) -> int:
    """Of lists of ciphers for OpenSSL the first that says `@SECLEVEL=`; Debian's default is 2."""
    named = (re.findall(r"@seclevel=(\d)", text.lower()) for text in texts)
    return int(next((found[-1] for found in named if found), "2"))


def of_sendmail(options: str, least: str) -> list[str]:
    """ServerSSLOptions, such as `+SSL_OP_NO_TLSv1 SSL_OP_NO_TLSv1_1` (`-` takes one back), and OpenSSL's MinProtocol. There is no
    SSL 3 in it any more. Raises ValueError for numbers."""
    without: set[str] = set()
    for word in options.lower().replace(",", " ").split():
        if word.lstrip("+-")[:1].isdigit():
            raise ValueError(f"what the number {word} in ServerSSLOptions stands for is not evaluated")
        meant = {version for option, version in _OPENSSL_OPTIONS.items() if word.lstrip("+-") == f"ssl_op_{option}"}
        without = without - meant if word.startswith("-") else without | meant
    first = VERSIONS.index(_NAMES.get(least.lower(), "TLSv1"))
    return [version for version in VERSIONS[max(first, 1) :] if version not in without]
