"""smtpd.conf edited in its text: statements found by what smtpd reads of them, everything else as it was written."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.opensmtpd import Wanted
from ansible.module_utils.mtaudit.config.opensmtpd_text import (
    Text,
    changed_table,
    listen_name,
    meaning,
    one_statement,
    statements,
)

CONF = """\
# ours
lan = "10.0.0.0"
table aliases file:/etc/aliases
listen on 0.0.0.0 port 25 tls pki mail filter { "a", "b" }  # outer
listen on :: \\
\tport submission tls-require pki mail auth <logins> \\
\tsenders <own> masquerade # inner
listen on socket
action "outside" relay
  # a comment that goes on \\
match from any for any action "outside"
match from src { $lan/8,
  192.168.0.0/16 } for any \\
  action "outside" # the lan
match from any for any action "outside"
"""
OPEN = "match from any for any action outside"


def edited(change: str, *words: object) -> str:
    """CONF after one edit of every statement that has the meaning of the first word, or the name of that line."""
    text = Text("/c", CONF)
    key, *more = words
    found = [s for s in statements("/c", {"/c": CONF}, {})
             if listen_name(s.tokens) == key or " " in str(key) and not listen_name(s.tokens)
             and str(key).startswith("match") and s.meaning == meaning(one_statement(str(key)))]  # fmt: skip
    assert found
    for each in found:
        getattr(text, change)(each, *more)
    return text.edited()


def test_the_statement_in_the_comment_is_none() -> None:
    found = [" ".join(t.text for t in s.tokens) for s in statements("/c", {"/c": CONF}, {})]
    assert found.count("match from any for any action outside") == 1
    assert "match from src { 10.0.0.0/8 , 192.168.0.0/16 } for any action outside" in found


def test_a_comment_behind_a_changed_statement_stays() -> None:
    lan = 'match from src { "10.0.0.0/8", 192.168.0.0/16 } for any action "outside"'
    new = edited("replace", lan, 'match from local for any action "outside"')
    assert new.endswith('match from local for any action "outside" # the lan\nmatch from any for any action "outside"\n')
    assert "192.168" not in new and new.startswith(CONF[: CONF.index("match from src")])


def test_every_line_of_a_statement_becomes_a_comment() -> None:
    lan = "match from src { 10.0.0.0/8, 192.168.0.0/16 } for any action outside"
    new = edited("comment_out", lan)
    assert "# match from src { $lan/8,\n#   192.168.0.0/16 } for any \\\n#   action \"outside\" # the lan\n" in new
    assert len(list(statements("/c", {"/c": new}, {}))) == len(list(statements("/c", {"/c": CONF}, {}))) - 1


def test_what_is_put_before_is_read_before() -> None:
    new = edited("put_before", OPEN, "match from any for local reject")
    place = CONF.rindex("match from any")
    assert new == CONF[:place] + "match from any for local reject\n" + CONF[place:]


@pytest.mark.parametrize(
    ("line", "wanted", "old", "new"),
    [("0.0.0.0 port 25", {"hostname": "mail.example.org"}, '"b" }  # outer', '"b" } hostname mail.example.org  # outer'),
     ("0.0.0.0 port 25", {"tls": None, "pki": None}, " tls pki mail filter", " filter"),
     ("0.0.0.0 port 25", {"filter": '{ a, "b" }', "pki": '"mail"'}, "", ""),
     ("0.0.0.0 port 25", {"filter": None, "auth": None}, ' filter { "a", "b" }', ""),
     (":: port 587", {"senders": "<own>"}, "senders <own> masquerade", "senders <own>"),
     (":: port 587", {"auth": None, "received-auth": ""}, " auth <logins> \\\n\tsenders <own> masquerade",
      " \\\n\tsenders <own> masquerade received-auth"),
     (":: port 587", {"protocols": '"tlsv1.2,tlsv1.3"'}, "masquerade #", 'masquerade protocols "tlsv1.2,tlsv1.3" #'),
     ("socket", {"mask-src": ""}, "on socket", "on socket mask-src")],
)  # fmt: skip
def test_options_of_a_line_that_listens(line: str, wanted: dict[str, str | None], old: str, new: str) -> None:
    assert edited("set_options", line, wanted) == CONF.replace(old, new)


def test_an_option_from_a_macro_is_left_to_people() -> None:
    conf = 'more = "auth"\nlisten on lo tls pki mail $more\n'
    (line,) = statements("/c", {"/c": conf}, {})
    with pytest.raises(ConfigError, match="comes from a macro"):
        Text("/c", conf).set_options(line, {"mask-src": ""})


@pytest.mark.parametrize("text", ["", "match from any\nmatch from all", "# comment", "x = y", 'match "from', 'include "/etc/x"'])
def test_what_is_no_statement_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        one_statement(text)


@pytest.mark.parametrize(
    ("text", "wanted", "after"),
    [("# nets\n10.0.0.1\n2001:db8::/32\n", {"2001:db8::/32": None, "10.0.0.2": ""}, "# nets\n10.0.0.1\n10.0.0.2\n"),
     ("alice\talice@a,  @\nbob bob@a", {"alice": "alice@a", "BOB": None, "carol": "carol@a"}, "alice\talice@a\ncarol\tcarol@a\n"),
     ("alice: alice@a\n", {"alice": "alice@a"}, "alice: alice@a\n"),
     ("# @list\n[IPv6:::1]\na:b\n", {"[ipv6:::1]": None}, "# @list\na:b\n"),
     ("[IPv6:::1] x\n", {"[IPv6:::1]": None}, "")],
)  # fmt: skip
def test_entries_of_a_table(text: str, wanted: dict[str, str | None], after: str) -> None:
    assert changed_table(text, wanted) == after


def test_a_later_wish_counts_for_what_an_earlier_one_puts_there() -> None:
    first = Wanted({OPEN: 'match auth from any for any action "outside"'}, {'match from any for rcpt-to "x" reject': OPEN})
    second = Wanted({"match auth from any for any action outside": "match auth from src <lan> for any action outside"},
                    {"match from any for any reject": 'match from any for rcpt-to "x" reject'})  # fmt: skip
    both = first.then(second)
    assert both.statements == {OPEN: "match auth from src <lan> for any action outside"}
    assert list(both.additions) == ['match from any for rcpt-to "x" reject', "match from any for any reject"]


def test_of_two_wishes_for_one_place_the_later_counts() -> None:
    both = Wanted({OPEN: None}, options={"socket": {"tag": "a", "mask-src": ""}}).then(
        Wanted({OPEN: "match from local for any action outside"}, options={"socket": {"tag": None}}))
    assert both.statements == {OPEN: "match from local for any action outside"}
    assert both.options == {"socket": {"tag": None, "mask-src": ""}}
