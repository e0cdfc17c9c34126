"""What counts as a listing, in the words of each program, and which lists are no more."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.blocklists import (
    ADDRESS_LISTS,
    CLOSED,
    Zone,
    complaints,
    exim_zone,
    left_out,
    matches,
    missing,
    no_answer,
    postfix_zone,
)
from ansible.module_utils.mtaudit.controls.inbound import Use, of_addresses
from ansible.module_utils.mtaudit.controls.scanners import Called, Kind, milter_place
from ansible.module_utils.mtaudit.finding import HOST, Evidence, Method
from ansible.module_utils.mtaudit.readers.resolver import Resolver, parse
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd, Socket

PUBLIC_RESOLVER = "127.255.255.254"


@pytest.mark.parametrize(("pattern", "answer", "fits"), [
    ("127.0.0.2", "127.0.0.2", True), ("127.0.0.2", "127.0.0.3", False), ("127.0.0.[2..11]", "127.0.0.11", True),
    ("127.0.0.[2..11]", PUBLIC_RESOLVER, False), ("127.0.[0;1].[2;4..9]", "127.0.1.5", True),
    ("127.0.0.[2;4]", "127.0.0.3", False),
    ("127.[0..255].[0..255].[0..255]", PUBLIC_RESOLVER, True), ("127.0.0", "127.0.0.2", False), ("nonsense", "127.0.0.2", False),
])  # fmt: skip
def test_reply_filters_of_postfix(pattern: str, answer: str, fits: bool) -> None:
    assert matches(pattern, answer) is fits


@pytest.mark.parametrize(("text", "errors"), [
    ("zen.spamhaus.org", 3), ("zen.spamhaus.org=127.0.0.[2..11]", 0), ("key.zen.dq.spamhaus.net", 3),
    ("zen.spamhaus.org=127.[0..255].[0..255].[0..255]", 3), ("bl.spamcop.net", 0),
    ("dbl.spamhaus.org", 4), ("dbl.spamhaus.org=127.0.1.[2..99]", 0), ("dbl.spamhaus.org=127.0.1.[2..255]", 1),
])  # fmt: skip
def test_errors_that_count_as_listings(text: str, errors: int) -> None:
    assert len(postfix_zone(text).errors) == errors


@pytest.mark.parametrize(("text", "name", "key", "errors"), [
    ("zen.spamhaus.org", "zen.spamhaus.org", "", 3),
    ("zen.spamhaus.org=127.0.0.2,127.0.0.4", "zen.spamhaus.org", "", 0),
    ("zen.spamhaus.org=127.0.0.2, 127.255.255.254", "zen.spamhaus.org", "", 1),
    ("zen.spamhaus.org!=127.255.255.252,127.255.255.254,127.255.255.255", "zen.spamhaus.org", "", 0),
    ("zen.spamhaus.org==127.0.0.2", "zen.spamhaus.org", "", 0),
    ("zen.spamhaus.org&0.0.0.2", "zen.spamhaus.org", "", 2),  # .254 and .255 have that bit, .252 has not
    ("dbl.spamhaus.org=127.0.1.2/$sender_address_domain", "dbl.spamhaus.org", "$sender_address_domain", 0),
    ("dbl.spamhaus.org/$sender_helo_name", "dbl.spamhaus.org", "$sender_helo_name", 4),
])
def test_lists_of_exim(text: str, name: str, key: str, errors: int) -> None:
    zone, of = exim_zone(text)
    assert (zone.name, of, len(zone.errors)) == (name, key, errors)


@pytest.mark.parametrize(("zones", "lacks"), [
    (["zen.spamhaus.org"], False), (["abc123.zen.dq.spamhaus.net"], False), (["bl.spamcop.net"], True), ([], True),
    (["sbl.spamhaus.org", "xbl.spamhaus.org", "pbl.spamhaus.org"], False), (["sbl-xbl.spamhaus.org", "pbl.spamhaus.org"], False),
    (["sbl.spamhaus.org", "pbl.spamhaus.org"], True), (["notzen.spamhaus.org"], True),
])  # fmt: skip
def test_what_a_list_must_hold(zones: list[str], lacks: bool) -> None:
    assert missing([Zone(name) for name in zones], ADDRESS_LISTS) is lacks


PBL = ("127.0.0.10", "127.0.0.11")


@pytest.mark.parametrize(("asked", "gaps"), [
    (["zen.spamhaus.org=127.0.0.[2..11]"], ()), (["zen.spamhaus.org=127.0.0.[2;3;4;10;11]"], ()),
    (["zen.spamhaus.org=127.0.0.[2..9]", "bl.spamcop.net"], PBL), (["key.zen.dq.spamhaus.net=127.0.0.[2..9]"], PBL),
    (["zen.spamhaus.org=127.0.0.[2..4]", "zen.spamhaus.org=127.0.0.[10;11]"], ()),  # postscreen may weigh them apart
])  # fmt: skip
def test_which_listings_of_zen_refuse_nobody(asked: list[str], gaps: tuple[str, ...]) -> None:
    zones, shown = [postfix_zone(text) for text in asked], Evidence(Method.CONFIG, "main.cf", "reject_rbl_client")
    assert left_out(zones) == gaps and missing(zones, ADDRESS_LISTS) is bool(gaps)
    (found,) = of_addresses(HOST, [Use(zone, shown) for zone in zones], [], Site(), [])
    assert found.message.endswith(f"of which some listings refuse nobody: {', '.join(gaps)}") is bool(gaps)
    assert found.status.value == ("fail" if gaps else "pass")


def test_lists_that_are_closed_are_named_with_what_became_of_them() -> None:
    assert [text for _, text in complaints([Zone("dnsbl.sorbs.net"), Zone("notsorbs.net")])] == [
        "dnsbl.sorbs.net is asked, a list that is no more: closed on 2024-06-05 by Proofpoint"
    ]
    assert all(name == name.lower() and why for name, why in CLOSED.items())


@pytest.mark.parametrize(("text", "places"), [
    ("inet:127.0.0.1:11332", [Socket("127.0.0.1", 11332)]), ("inet:11332@localhost", [Socket("localhost", 11332)]),
    ("inet6:[::1]:11332", [Socket("::1", 11332)]), ("inet:11332", [Socket("127.0.0.1", 11332)]),
    ("unix:rspamd/m.sock", [Socket(path="/var/spool/postfix/rspamd/m.sock")]),
    ("unix:/rspamd/m.sock", [Socket(path="/rspamd/m.sock"), Socket(path="/var/spool/postfix/rspamd/m.sock")]),
    ("inet:localhost:milter", []),
])  # fmt: skip
def test_where_a_milter_is(text: str, places: list[Socket]) -> None:
    assert milter_place(text, "/var/spool/postfix") == places

UNANSWERED = "this host's resolver has no answer for 2.0.0.127.zen.spamhaus.org, which is always listed"


@pytest.mark.parametrize(("answers", "own", "status", "why"), [
    ({"zen.spamhaus.org": ("127.0.0.2", "127.0.0.4")}, False, "pass", ""),
    ({"zen.spamhaus.org": (PUBLIC_RESOLVER,)}, False, "fail", ""),
    ({}, False, "unknown", UNANSWERED),
    (None, False, "pass", ""),  # nobody asked it
    ({}, True, "pass", ""),  # rspamd asks another
])  # fmt: skip
def test_a_list_that_the_resolver_does_not_hear_refuses_nobody(
    answers: dict[str, tuple[str, ...]] | None, own: bool, status: str, why: str
) -> None:
    lists = {"rbl": {"rbls": {"zen": {"rbl": "zen.spamhaus.org", "checks": ["from"]}}},
             "options": {"dns": {"nameserver": ["127.0.0.1"]}} if own else {}}  # fmt: skip
    site = Site(rspamd=Rspamd(lists), resolver=None if answers is None else Resolver(answers))
    shown = Evidence(Method.CONFIG, "main.cf", "smtpd_milters")
    scanner = [Called("inet:127.0.0.1:11332", shown, Kind.RSPAMD)]
    (found,) = of_addresses(HOST, [] if own else [Use(Zone("zen.spamhaus.org", no_answer), shown)], scanner, site, [])
    assert (found.status.value, found.reason) == (status, why)


def test_a_list_of_ones_own_needs_no_resolver_of_theirs() -> None:
    shown = Evidence(Method.CONFIG, "main.cf", "reject_rbl_client")
    uses = [Use(Zone(name, no_answer), shown) for name in ("zen.spamhaus.org", "key.zen.dq.spamhaus.net")]
    (found,) = of_addresses(HOST, uses, [], Site(resolver=Resolver()), [])
    assert found.status.value == "pass"


def test_what_getent_prints() -> None:
    text = ("127.0.0.2       STREAM 2.0.0.127.zen.spamhaus.org\n127.0.0.2       DGRAM  \n127.0.0.4       STREAM \n"
            "127.255.255.254 STREAM dbltest.com.dbl.spamhaus.org\n127.255.255.254 RAW    \n")  # fmt: skip
    assert parse(text) == {"zen.spamhaus.org": ("127.0.0.2", "127.0.0.4"), "dbl.spamhaus.org": (PUBLIC_RESOLVER,)}
    assert parse("") == {}
