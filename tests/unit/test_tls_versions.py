"""Which versions of TLS a setting lets through; what was tried on real daemons says so."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit import tls_versions
from ansible.module_utils.mtaudit.readers import openssl

NEW = ["TLSv1.2", "TLSv1.3"]
TLS = ["TLSv1", "TLSv1.1", *NEW]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">=TLSv1", TLS),  # the default since 3.6, on Debian 12 and 13: TLS 1.0 is taken
        (">=TLSv1.2", NEW),
        (">=tlsv1.2, <=tlsv1.2", ["TLSv1.2"]),
        (">=0303", NEW),
        ("!SSLv2, !SSLv3", TLS),
        ("!SSLv2 !SSLv3 !TLSv1 !TLSv1.1", NEW),
        ("!SSLv2:!SSLv3:!TLSv1", ["TLSv1.1", *NEW]),
        ("TLSv1.2", ["TLSv1.2"]),
        ("TLSv1, TLSv1.3", ["TLSv1", "TLSv1.3"]),
        ("", ["SSLv3", *TLS]),
    ],
)
def test_postfix(text: str, expected: list[str]) -> None:
    assert tls_versions.of_postfix(text) == expected


@pytest.mark.parametrize("text", [">=TLSv9", "!TLSv1.4", "0303", "all"])
def test_what_postfix_does_not_know_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match="no version of TLS"):
        tls_versions.of_postfix(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Tried with Exim 4.96 and GnuTLS 3.7.9, asked by openssl in each version.
        ("", TLS),
        ("NORMAL:-VERS-TLS1.0:-VERS-TLS1.1", NEW),
        ("NORMAL:!VERS-TLS1.0:!VERS-TLS1.1", NEW),
        ("NORMAL:-VERS-TLS1.1", ["TLSv1", *NEW]),
        ("NORMAL:-VERS-ALL:+VERS-TLS1.3", ["TLSv1.3"]),
        ("NORMAL:-VERS-TLS-ALL:+VERS-TLS1.2", ["TLSv1.2"]),
        ("SECURE128:%SERVER_PRECEDENCE", TLS),
        ("PFS", TLS),
        ("LEGACY", TLS),
        ("PERFORMANCE", TLS),
        ("SECURE256", NEW),
    ],
)
def test_gnutls(text: str, expected: list[str]) -> None:
    assert tls_versions.of_gnutls(text) == expected


@pytest.mark.parametrize(
    "text", ["@SYSTEM", "SYSTEM", "HIGH:!aNULL", "NORMAL:-VERS-TLS1.9", "SECURE256:+SECURE128", "NONE:+AES-256-CBC"]
)
def test_what_gnutls_is_not_known_to_make_of_it_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match="not known to mtaudit"):
        tls_versions.of_gnutls(text)


def test_lists_of_both_libraries_are_told_apart() -> None:
    assert tls_versions.is_gnutls("normal:%COMPAT") and not tls_versions.is_gnutls("HIGH:!aNULL")
    assert not tls_versions.is_gnutls("")


def test_dovecot_and_openssl() -> None:
    assert tls_versions.of_dovecot("TLSv1.2") == NEW and tls_versions.of_dovecot("ANY")[0] == "SSLv3"
    assert tls_versions.old(tls_versions.of_dovecot("TLSv1")) == ["TLSv1", "TLSv1.1"]
    with pytest.raises(ValueError, match="no version of TLS"):
        tls_versions.of_dovecot("TLSv2")
    assert tls_versions.of_openssl_options("+no_sslv2 +no_sslv3 +no_tlsv1 +no_tlsv1_1") == NEW
    assert tls_versions.of_openssl_options("+no_sslv2 +no_sslv3") == TLS


@pytest.mark.parametrize(
    ("options", "least", "left"),
    [
        ("", "", ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        ("+SSL_OP_NO_TLSv1 SSL_OP_NO_TLSv1_1", "", ["TLSv1.2", "TLSv1.3"]),
        ("SSL_OP_NO_TLSv1,-SSL_OP_NO_TLSv1", "TLSv1.1", ["TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        ("SSL_OP_SINGLE_DH_USE", "TLSv1.2", ["TLSv1.2", "TLSv1.3"]),
    ],
)
def test_what_sendmail_leaves(options: str, least: str, left: list[str]) -> None:
    assert tls_versions.of_sendmail(options, least) == left


def test_a_number_is_not_evaluated() -> None:
    with pytest.raises(ValueError, match="0x10000000"):
        tls_versions.of_sendmail("0x10000000", "")


@pytest.mark.parametrize(
    ("texts", "level"),
    [(("", ""), 2), (("A:@SECLEVEL=0",), 0), (("ALL", "DEFAULT@SECLEVEL=1"), 1), (("A:@seclevel=1", "@SECLEVEL=0"), 1)],
)
def test_the_security_level_that_is_named_first(texts: tuple[str, ...], level: int) -> None:
    assert tls_versions.security_level(*texts) == level


def test_openssls_own_file_is_followed_to_the_section_in_force() -> None:
    chain = "openssl_conf = a\n[a]\nssl_conf = b\n[ b ]\nsystem_default = c\n[c]\nMinProtocol = TLSv1.2 # new\n"
    assert openssl.parse(chain) == {"minprotocol": "TLSv1.2"}
    assert openssl.parse(chain.replace("ssl_conf = b", "# ssl_conf = b")) == {}
    assert openssl.parse("[c]\nMinProtocol = TLSv1.2\n") == {}
