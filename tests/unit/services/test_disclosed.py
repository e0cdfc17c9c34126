"""Greetings, as servers of these programs send them: does one tell a version?"""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.services.disclosed import disclosed_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("mx.test ESMTP Postfix (3.7.11)", "Postfix 3.7.11"),
        ("mx.test ESMTP Exim 4.98.2 Sun, 22 Nov 2026 04:10:00 +0000", "Exim 4.98.2"),
        ("mx.test ESMTP Exim 4.99-RC1 Sun, 22 Nov 2026 04:10:00 +0000", "Exim 4.99-RC1"),
        ("mx.test ESMTP Sendmail 8.17.1.9/8.17.1.9/Debian-2+deb12u2; Sun, 22 Nov 2026 04:10:00 GMT", "Sendmail 8.17.1.9"),
        ("mx-d12.corp.test ESMTP 3.7.11", "3.7.11"),
        ("mx.test ESMTP 8.18.1/8.18.1; Sun, 22 Nov 2026 04:10:00 GMT", "8.18.1"),
        ("mx.test Microsoft ESMTP MAIL Service, Version: 10.0.14393.2608 ready", "Microsoft 10.0.14393.2608"),
        ("2.0.0 This is sendmail version 8.17.1.9", "sendmail 8.17.1.9"),
        ("IMPLEMENTATION Cyrus timsieved v2.3.16", "Cyrus v2.3.16"),
        # None of these is a version.
        ("mx-d12.test ESMTP Postfix (Debian/GNU)", ""),
        ("mx.test ESMTP OpenSMTPD", ""),
        ("* OK [CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ STARTTLS LOGINDISABLED] Dovecot (Debian) ready.", ""),
        ("mx.test ESMTP ready; your address is 198.51.100.7", ""),
        ("mx.test ESMTP [198.51.100.41] Sun, 22 Nov 2026 04.10 GMT is not what this says", "04.10"),
        ("4.2.mx.test ESMTP", ""),
        ("host-1.2.3.4.example.test ESMTP", ""),
        ("mx.test at 198.51.100.41:25 speaks SMTP2.0", ""),
        ("", ""),
    ],
)
def test_version(text: str, version: str) -> None:
    assert disclosed_version(text, ("198.51.100.7",)) == version
