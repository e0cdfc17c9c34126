"""The m4 source of a sendmail.cf edited in its text, and the text files beside it."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.sendmail import Wanted
from ansible.module_utils.mtaudit.config.sendmail_mc import Source, calls, changed_lines, changed_map, daemon_name

MC = """\
divert(-1)dnl
# Ours (all of it). It's not Debian's: define(`confLOG_LEVEL', `1')
divert(0)dnl
define(`confLOG_LEVEL', `10')dnl  # ours
dnl define(`confLOG_LEVEL', `2')dnl
define(`confRECEIVED_HEADER', `$?sfrom $s $.$?_($?s$|from $.$_)
\t$.by $j; $|; ')dnl
FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl
FEATURE(promiscuous_relay)dnl
DAEMON_OPTIONS(`Family=inet6, Name=MTA, Port=smtp, M=A')dnl
INPUT_MAIL_FILTER(`rspamd', `S=inet:11332@127.0.0.1')dnl
ifdef(`_TLS_', `define(`confSERVER_CERT', `/x')')dnl
define(`confOLD', `1')dnl
undefine(`confOLD')dnl
MAILER_DEFINITIONS
MAILER(`local')dnl
LOCAL_RULESETS
SLocal_check_rcpt
R$*\t\t\t$# OK
"""


def edited(method: str, *words: object) -> str:
    source = Source("/etc/mail/sendmail.mc", MC)
    getattr(source, method)(*words)
    return source.text


def test_calls_are_those_that_m4_makes_of_the_first_level() -> None:
    found = [(c.macro, c.arguments[0]) for c in calls(MC)]
    assert found == [
        ("divert", "-1"), ("divert", "0"), ("define", "confLOG_LEVEL"), ("define", "confRECEIVED_HEADER"),
        ("FEATURE", "access_db"), ("FEATURE", "promiscuous_relay"), ("DAEMON_OPTIONS", "Family=inet6, Name=MTA, Port=smtp, M=A"),
        ("INPUT_MAIL_FILTER", "rspamd"), ("ifdef", "_TLS_"), ("define", "confOLD"), ("undefine", "confOLD"), ("MAILER", "local"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "words", "old", "new"),
    [("define", ("confLOG_LEVEL", "14"), "`10')dnl  # ours", "`14')dnl  # ours"),
     ("define", ("confLOG_LEVEL", "10"), "", ""),
     ("define", ("confLOG_LEVEL", None), "define(`confLOG_LEVEL', `10')", "dnl define(`confLOG_LEVEL', `10')"),
     ("define", ("confRECEIVED_HEADER", None), "define(`confRECEIVED_HEADER', `$?sfrom $s $.$?_($?s$|from $.$_)\n\t$.by",
      "dnl define(`confRECEIVED_HEADER', `$?sfrom $s $.$?_($?s$|from $.$_)\ndnl \t$.by"),
     ("define", ("confNEW", "a, b"), "MAILER_DEFINITIONS", "define(`confNEW', `a, b')dnl\nMAILER_DEFINITIONS"),
     ("define", ("confOLD", "1"), "MAILER_DEFINITIONS", "define(`confOLD', `1')dnl\nMAILER_DEFINITIONS"),
     ("feature", ("promiscuous_relay", None), "FEATURE(promiscuous_relay)", "dnl FEATURE(promiscuous_relay)"),
     ("feature", ("access_db", "`hash -T<TMPF> /etc/mail/access'"), "", ""),
     ("feature", ("conncontrol", "`', `terminate'"), "MAILER_DEFINITIONS",
      "FEATURE(`conncontrol', `', `terminate')dnl\nMAILER_DEFINITIONS"),
     ("daemon", ("MTA", "Name=MTA, M=A"), "`Family=inet6, Name=MTA, Port=smtp, M=A'", "`Name=MTA, M=A'"),
     ("daemon", ("MSA", "Name=MSA"), "MAILER_DEFINITIONS", "DAEMON_OPTIONS(`Name=MSA')dnl\nMAILER_DEFINITIONS"),
     ("daemon", ("MSA", None), "", ""),
     ("mail_filter", ("rspamd", "S=inet:11332@127.0.0.1, F=T"), "@127.0.0.1'", "@127.0.0.1, F=T'"),
     ("line", ("R$* $# OK", None), "R$*\t\t\t$# OK", "dnl R$*\t\t\t$# OK"),
     ("line", ("R$* $# TWO", None), "", ""),
     ("line", ("R$* $# OK", "R$*\t$# NO\nRx\t$: x"), "R$*\t\t\t$# OK", "R$*\t$# NO\nRx\t$: x")],
)  # fmt: skip
def test_an_edit_changes_one_place(method: str, words: tuple[object, ...], old: str, new: str) -> None:
    first = edited(method, *words)
    assert first == MC.replace(old, new, 1)
    again = Source("/etc/mail/sendmail.mc", first)
    getattr(again, method)(*words)
    assert again.text == first


@pytest.mark.parametrize(
    ("method", "words", "says"),
    [("define", ("confSERVER_CERT", "/y"), "sets it within ifdef"), ("define", ("confNEW", "it's"), "do not nest"),
     ("line", ("R$* nowhere", "x"), "it is not there"), ("line", ("R$* $# OK", "y"), "")],
)  # fmt: skip
def test_what_cannot_be_changed_is_said(method: str, words: tuple[object, ...], says: str) -> None:
    if says:
        with pytest.raises(ConfigError, match=says):
            edited(method, *words)
    else:
        with pytest.raises(ConfigError, match="2 times"):
            Source("/x.mc", MC + "R$*\t$# OK\n").line(*words)  # type: ignore[arg-type]


def test_two_calls_on_a_line_are_left_to_people() -> None:
    with pytest.raises(ConfigError, match="more than one call"):
        Source("/x.mc", "FEATURE(`a')FEATURE(`b')dnl\n").feature("a", None)


@pytest.mark.parametrize("text", ["define(`a', `b", "define(`a'", "define(a, b\n"])
def test_what_m4_would_not_end_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="does not (end|close)"):
        list(calls(text))


def test_sections_are_added_once() -> None:
    source = Source("/x.mc", "MAILER(`smtp')dnl")
    source.section("LOCAL_RULESETS", "Sx\nR$*\t$: $1")
    assert source.text == "MAILER(`smtp')dnl\n\nLOCAL_RULESETS\nSx\nR$*\t$: $1\n"
    source.section("LOCAL_RULESETS", "Sx\nR$*\t$: $1")
    assert source.text.count("Sx") == 1


@pytest.mark.parametrize(
    ("text", "wanted", "after"),
    [("# ours\nConnect:198\tRELAY\nTo:x.test  OK\n", {"connect:198": None}, "# ours\nTo:x.test  OK\n"),
     ("Connect:198 RELAY", {"Connect:198": "RELAY", "To:y": "OK"}, "Connect:198 RELAY\nTo:y\tOK\n"),
     ("a\tb c\n", {"a": "d e"}, "a\td e\n")],
)  # fmt: skip
def test_entries_of_a_map(text: str, wanted: dict[str, str | None], after: str) -> None:
    assert changed_map(text, wanted) == after


def test_lines_of_a_class() -> None:
    assert changed_lines("# ours\n198.19\nx.test", {"198.19": False, "y.test": True}) == "# ours\nx.test\ny.test\n"


def test_a_daemon_is_called_by_its_name() -> None:
    assert daemon_name("Family=inet6, N=MTA, Port=25") == "MTA" and daemon_name("Port=25") == ""


def test_of_two_wishes_for_one_place_the_later_counts() -> None:
    one = Wanted(maps={"/etc/mail/access": {"a": "b"}}, words={"/c": {"x": False}})
    both = one.then(Wanted(maps={"/etc/mail/access": {"c": None}}, words={"/c": {"x": True}}))
    assert both.maps == {"/etc/mail/access": {"a": "b", "c": None}} and both.words == {"/c": {"x": True}}
