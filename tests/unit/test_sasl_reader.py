"""Reading Cyrus SASL: which mechanisms its library offers a program; and what srv_features of Sendmail says in letters."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers.sasl import Sasl, banned, read
from ansible.module_utils.mtaudit.readers.sendmail_ask import Told
from ansible.module_utils.mtaudit.readers.sendmail_features import features
from ansible.module_utils.mtaudit.runner import Replay

PLUGINS = [f"/usr/lib/x86_64-linux-gnu/sasl2/lib{name}.so" for name in ("plain", "login", "crammd5", "sasldb")]


def host(text: str | None, plugins: list[str], error: str = "") -> Replay:
    path = "/usr/lib/sasl2/Sendmail.conf"
    globs: dict[str, Any] = {f"{d}/Sendmail.conf": [] for d in ("/etc/sasl2", "/etc/sasl", "/usr/lib/*/sasl2", "/usr/lib/sasl2")}
    globs = {**globs, "/usr/lib/*/sasl2/lib*.so": plugins, "/usr/lib/sasl2/lib*.so": []}
    if text is not None or error:
        globs["/usr/lib/sasl2/Sendmail.conf"] = [path]
    return Replay({"run": [], "read": {path: {"error": error} if error else {"text": text}}, "glob": globs})


# Each was tried on Sendmail 8.17.1.9 and 8.18.1 with Cyrus SASL 2.1.28: what EHLO lists inside TLS.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\n", ["PLAIN", "LOGIN"]),
        ("mech_list: plain cram-md5\n", ["PLAIN", "CRAM-MD5"]),
        ("mech_list: PLAIN SCRAM-SHA-256\n", ["PLAIN"]),  # no such plug-in is installed
        ("pwcheck_method: auxprop\n", ["PLAIN", "LOGIN", "CRAM-MD5"]),
        ("# mech_list: PLAIN\n", ["PLAIN", "LOGIN", "CRAM-MD5"]),
        (None, ["PLAIN", "LOGIN", "CRAM-MD5"]),
    ],
)
def test_mech_list_else_every_plug_in(text: str | None, expected: list[str]) -> None:
    assert read(host(text, PLUGINS), "Sendmail").mechanisms == expected


def test_what_cannot_be_read_is_a_doubt_and_not_nothing() -> None:
    found = read(host(None, PLUGINS, "Could not read it: Permission denied"), "Sendmail")
    assert found.mechanisms is None
    assert found.doubt.endswith("Permission denied")
    strange = [*PLUGINS, "/usr/lib/x86_64-linux-gnu/sasl2/libown.so"]
    assert read(host("pwcheck_method: saslauthd\n", strange), "Sendmail").doubt
    assert read(host("mech_list: OWN PLAIN\n", strange), "Sendmail").mechanisms == ["OWN", "PLAIN"]


def test_security_options_take_mechanisms_away() -> None:
    assert banned(["PLAIN", "CRAM-MD5", "ANONYMOUS"], ["plaintext", "anonymous"]) == ["PLAIN", "ANONYMOUS"]
    assert Sasl().mechanisms == []


@pytest.mark.parametrize(
    ("said", "given", "not_given"),
    [
        ("$# O G", ["O", "G"], ["o", "U"]),
        ("$# U u2", ["u2"], ["U"]),
        ("$# L a", ["L", "a"], ["l"]),
        ("OK", [], ["O"]),
    ],
)
def test_letters_of_srv_features(said: str, given: list[str], not_given: list[str]) -> None:
    found = features(Told(True, said))
    assert not found.doubt
    assert all(found.given(letter) for letter in given)
    assert not any(found.given(letter) for letter in not_given)


def test_features_that_are_not_known_are_a_doubt() -> None:
    assert features(Told(True, "$# temp")).doubt
    assert features(Told(None, "", "it was not asked")).doubt == "it was not asked"
