"""What stands in the header of people's mail, as far as it takes no program to tell."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.readers.postfix_headers import _applied, _behind
from ansible.module_utils.mtaudit.readers.sendmail_cf import parse_cf
from ansible.module_utils.mtaudit.readers.sendmail_macros import expanded, of_login
from ansible.module_utils.mtaudit.readers.submitted import HELO, LOGIN, NAME

HEADER = "Received: from a (b [198.51.100.7])\n\tby c"


@pytest.mark.parametrize(
    ("action", "leaves"),
    [("IGNORE", ""), ("STRIP why", ""), ("REPLACE Received: by c\n\tid 1", "Received: by c\n\tid 1"), ("DUNNO", HEADER),
     ("PREPEND X-Account: alice", f"X-Account: alice\n{HEADER}"), ("WARN seen", HEADER), ("ignore", "")],
)  # fmt: skip
def test_what_an_action_of_header_checks_leaves(action: str, leaves: str) -> None:
    assert _applied(action, HEADER) == leaves


def test_each_header_gets_its_own_answer() -> None:
    other = HEADER.replace("198.51.100.7", "IPv6:2001:db8::7")
    answer = f"{HEADER}\tREPLACE Received: by c\n\tid 1\n{other}\tIGNORE\n"
    assert _behind(answer, HEADER, [HEADER, other]) == "REPLACE Received: by c\n\tid 1"
    assert _behind(answer, other, [HEADER, other]).strip() == "IGNORE"
    assert _behind("", HEADER, [HEADER, other]) == ""
    assert _behind(answer, "", ["", other]) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [("$?sfrom $s$.", "from x"), ("$?{no}a$|b$.", "b"), ("$?s$?{no}a$|b$.$|c$.", "b"), ("by $j, ${no}$&s", "by host, x"),
     ("$?{no}$?sa$.$|z$.", "z")],
)  # fmt: skip
def test_conditions_of_sendmail(text: str, value: str) -> None:
    assert expanded(text, {"s": "x", "j": "host"}) == value


def test_the_default_of_sendmail_tells_where_and_not_who() -> None:
    default = (
        "HReceived: $?sfrom $s $.$?_($?s$|from $.$_)\n\t$.$?{auth_type}(authenticated$?{auth_ssf} bits=${auth_ssf}$.)\n"
        "\t$.by $j ($v/$Z)$?r with $r$. id $i\nH?D?Date: $a\nHSubject: $>CheckSubject\n"
    )
    cf = parse_cf(default)
    text = of_login([line for line, _ in cf.headers], cf, "mail.example.org", "ipv4").text
    assert len(cf.headers) == 1
    assert HELO in text and NAME in text and LOGIN not in text and "(authenticated)" in text


def test_what_rules_store_is_not_known() -> None:
    cf = parse_cf("Kstorage macro\n"
                  "HReceived: from $?{kept}${kept}$. by $j\nSLocal_check_mail\nR$*\t$: $(storage {kept} $@ x $)\n")
    assert "${kept}" in of_login([line for line, _ in cf.headers], cf, "mail.example.org", "ipv6").doubt
    bare = parse_cf("Kstorage macro\nHReceived: from $?{kept}${kept}$. by $j\n")
    assert not of_login([line for line, _ in bare.headers], bare, "mail.example.org", "ipv6").doubt
