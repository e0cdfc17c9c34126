"""Secrets in text, and text that only looks like one."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.mtaudit.redact import redact

BLOB = base64.b64encode(b"\0probe\0Geheim-4711").decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:pa/ss@db/x", "postgresql://u:(redacted)@db/x"),
        ("mysql://u:p@ss@db", "mysql://u:(redacted)@db"),
        ("smtp://u@dom.test:pw@host", "smtp://u@dom.test:(redacted)@host"),
        ('password = "two words" # why', "password = (redacted) # why"),
        ("passwd='two words'; user = x", "passwd=(redacted); user = x"),
        ('password = "an \\"escaped\\" one" x', "password = (redacted) x"),
        ('password = "cut off', "password = (redacted)"),
        ('{"password": "abc", "user": "x"}', '{"password": (redacted), "user": "x"}'),
        ("password=plain", "password=(redacted)"),
        ("mysql_servers = db/exim/u/s/ecret:db2::3306/exim/u/pw", "mysql_servers = db/(redacted):db2::3306/(redacted)"),
        ("pgsql_servers = (/run/.s.PGSQL.5432)/exim/u/pw", "pgsql_servers = (/run/.s.PGSQL.5432)/(redacted)"),
        ("${lookup mysql,servers=a/b/u/pw; SELECT 1}", "${lookup mysql,servers=a/(redacted); SELECT 1}"),
        (f"AUTH PLAIN {BLOB}", "AUTH PLAIN (redacted)"),
        (f'5.5.1 Command unrecognized: "AUTH PLAIN {BLOB}"', '5.5.1 Command unrecognized: "AUTH PLAIN (redacted)"'),
        (f"unknown: auth login {BLOB[:7]}...", "unknown: auth login (redacted)"),
        (f"AUTH FANCY-1 {BLOB}", "AUTH FANCY-1 (redacted)"),
    ],
)
def test_secrets_are_masked(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "AUTH PLAIN LOGIN CRAM-MD5 DIGEST-MD5",
        "250-AUTH LOGIN PLAIN",
        "535 AUTH LOGIN failed, 503 AUTH PLAIN rejected.",
        "530 5.7.0 SMTP AUTH is required first",
        "auth required pam_unix.so",
        "smtpd_sasl_auth_enable = yes",
        "auth_mechanisms = plain login",
        "virtual_alias_maps = ldap:/etc/postfix/ldap.cf, proxy:mysql:/etc/postfix/m.cf",
        "dns_servers = 198.51.100.53",
        "see https://www.example.org/query?ip=198.51.100.7; from=<a@b.test>",
        "relayhost = [smtp.example.org]:587",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text
