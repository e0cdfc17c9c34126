"""Read a certificate: DER bytes or PEM text in, the names that it is for and the time that it is good for out (RFC 5280, 4.1).

`ssl` shows a certificate only after it was verified; those that are not trusted are the ones to look at. No more is read than the
names and dates; whether the chain is trusted is OpenSSL's answer, not ours.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .text import printable

_SEQUENCE, _OCTETS, _OID = 0x30, 0x04, 0x06
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS = 0xA0, 0xA3  # [0] and [3] of TBSCertificate
_DNS_NAME = 0x82  # [2] of GeneralName
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")
NAMES_LIMIT = 100
CERTIFICATE_LIMIT_BYTES = 64 * 1024
_CHAIN_LIMIT = 10
_PEM = re.compile(r"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END")


@dataclass(frozen=True)
class Certificate:
    """`names` are those of subjectAltName, or the common name where there are none (RFC 6125, 6.4.4)."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    self_issued: bool


def parse(der: bytes) -> Certificate:
    """Raises ValueError on anything that is not a certificate."""
    if len(der) > CERTIFICATE_LIMIT_BYTES:
        raise ValueError(f"a certificate of more than {CERTIFICATE_LIMIT_BYTES} bytes")
    outer = _only(der, _SEQUENCE)
    fields = list(_elements(_only_first(outer, _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    if len(fields) < 6:
        raise ValueError("a certificate without its fields")
    issuer, validity, subject = fields[2][1], fields[3][1], fields[4][1]
    dates = [_time(tag, value) for tag, value in _elements(validity)]
    if len(dates) != 2:
        raise ValueError("a certificate without dates")
    names = list(_alternative_names(fields[6:])) or list(_common_names(subject))
    return Certificate(tuple(printable(name, 255) for name in names[:NAMES_LIMIT]), dates[0], dates[1], issuer == subject)


def chain(pem: str) -> list[Certificate]:
    """The certificates of a file in the order that they stand in, the server's own first (RFC 7468, 5.1); a private key may stand
    among them. Raises ValueError."""
    blocks = [base64.b64decode(text) for text in _PEM.findall(pem)[:_CHAIN_LIMIT]]
    return [parse(block) for block in blocks]


def date_problem(certificate: Certificate, now: datetime, days_left: int) -> str:
    """Why a certificate is not good today and for some days more; empty when it is."""
    if certificate.not_after < now:
        return f"expired on {certificate.not_after:%Y-%m-%d}"
    if certificate.not_before > now:
        return f"is not good before {certificate.not_before:%Y-%m-%d}"
    if certificate.not_after < now + timedelta(days=days_left):
        return f"expires on {certificate.not_after:%Y-%m-%d}, within {days_left} days"
    return ""


def name_problem(certificate: Certificate, names: Iterable[str], domains: Iterable[str]) -> str:
    """Why clients cannot know the server by this certificate: it carries none of the server's names, and none in a domain that it
    serves. Empty when it does, or when nothing is known to compare with."""
    known = [name for name in names if "." in name]
    served = [domain.lower() for domain in domains]
    if any(matches(name, own) for name in certificate.names for own in known):
        return ""
    if any(name.lower() == domain or name.lower().endswith(f".{domain}") for name in certificate.names for domain in served):
        return ""
    wanted = [*known, *served]
    return f"is for {', '.join(certificate.names[:4]) or 'nobody'}, not for {wanted[0]}" if wanted else ""


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element (X.690, 8.1), one level deep."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("a DER element that is cut short")
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            if not 0 < size <= 4:
                raise ValueError("a DER length that no certificate has")
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("a DER element that is cut short")
        yield tag, data[at : at + length]
        at += length


def _only_first(data: bytes, wanted: int) -> bytes:
    tag, content = next(_elements(data), (0, b""))
    if tag != wanted:
        raise ValueError("not a certificate")
    return content


def _only(data: bytes, wanted: int) -> bytes:
    found = list(_elements(data))
    if len(found) != 1:
        raise ValueError("not a certificate")
    return _only_first(data, wanted)


def _time(tag: int, value: bytes) -> datetime:
    """RFC 5280, 4.1.2.5: always in UTC and with seconds; years of two digits below 50 are of this century."""
    text = value.decode("ascii", "replace")
    if tag == _UTC_TIME and re.fullmatch(r"\d{12}Z", text, re.ASCII):
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("a date that is none")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _common_names(subject: bytes) -> Iterator[str]:
    for _tag, relative in _elements(subject):
        for _tag, attribute in _elements(relative):
            parts = list(_elements(attribute))
            if len(parts) == 2 and parts[0] == (_OID, _COMMON_NAME):
                yield parts[1][1].decode("utf-8", "replace")


def _alternative_names(fields: list[tuple[int, bytes]]) -> Iterator[str]:
    for tag, content in fields:
        if tag != _EXTENSIONS:
            continue
        for _tag, extension in _elements(_only(content, _SEQUENCE)):
            parts = list(_elements(extension))
            if parts and parts[0] == (_OID, _SUBJECT_ALT_NAME) and parts[-1][0] == _OCTETS:
                for kind, value in _elements(_only(parts[-1][1], _SEQUENCE)):
                    if kind == _DNS_NAME:
                        yield value.decode("ascii", "replace")


def matches(pattern: str, name: str) -> bool:
    """Whether a name of a certificate is this host name; a star is one whole label, the first (RFC 6125, 6.4.3)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        _label, dot, parent = name.partition(".")
        return bool(dot) and parent == pattern[2:]
    return bool(name) and pattern == name
