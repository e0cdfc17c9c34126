"""Certificates: names and dates from DER, against what the library `cryptography` reads; and bytes that are none."""

from __future__ import annotations

import datetime
import random

import pytest
from ansible.module_utils.mtaudit.certificate import matches, parse
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

UTC = datetime.UTC


def made(names: list[str], common: str = "mx.test", until: datetime.datetime | None = None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ä"), x509.NameAttribute(NameOID.COMMON_NAME, common)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.datetime(2020, 1, 2, tzinfo=UTC))
    builder = builder.not_valid_after(until or datetime.datetime(2031, 5, 6, tzinfo=UTC))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("until", [datetime.datetime(2031, 5, 6, tzinfo=UTC), datetime.datetime(2055, 5, 6, 7, 8, tzinfo=UTC)])
@pytest.mark.parametrize("names", [["a.test", "*.b.test"], []])
def test_names_and_dates(names: list[str], until: datetime.datetime) -> None:
    der = made(names, until=until)
    oracle = x509.load_der_x509_certificate(der)
    found = parse(der)
    assert found.names == tuple(names or ["mx.test"])
    assert (found.not_before, found.not_after) == (oracle.not_valid_before_utc, oracle.not_valid_after_utc)
    assert found.self_issued


def test_names_from_a_stranger_are_fit_for_a_report() -> None:
    (name,) = parse(made([], "\x1b[2Jevil")).names
    assert name.isprintable()


def test_bytes_that_are_no_certificate() -> None:
    good = made(["a.test"])
    chance = random.Random(7)
    for cut in range(0, len(good) - 1, 7):
        with pytest.raises(ValueError):
            parse(good[:cut])
    for _ in range(2000):
        broken = bytearray(good)
        for _byte in range(chance.randint(1, 8)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            parse(bytes(broken))
        except ValueError:
            continue
    with pytest.raises(ValueError):
        parse(b"\x30\x84\xff\xff\xff\xff" + b"x" * 100_000)


@pytest.mark.parametrize(
    ("pattern", "name", "same"),
    [
        ("mx.test", "MX.test.", True), ("*.test", "mx.test", True), ("*.test", "a.mx.test", False), ("*.test", "test", False),
        ("mx.test", "mx2.test", False), ("", "", False), ("*", "mx", False),
    ],
)  # fmt: skip
def test_a_star_is_one_label(pattern: str, name: str, same: bool) -> None:
    assert matches(pattern, name) is same
