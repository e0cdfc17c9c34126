"""Reading OpenSMTPD: smtpd.conf cut as smtpd cuts it, tables, listeners, the running daemon; and what is a doubt."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.address import parse_address
from ansible.module_utils.mtaudit.readers import network, opensmtpd
from ansible.module_utils.mtaudit.readers.opensmtpd_lexer import Lexer, SyntaxProblem
from ansible.module_utils.mtaudit.readers.opensmtpd_model import OpenSmtpd
from ansible.module_utils.mtaudit.readers.opensmtpd_syntax import Config, Filter, parse
from ansible.module_utils.mtaudit.readers.opensmtpd_tables import (
    Doubt,
    Table,
    file_entries,
    found_in,
    matches_domain,
    matches_mailbox,
    matches_network,
    matches_pattern,
    network_of,
)
from ansible.module_utils.mtaudit.runner import ReadError, Replay

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
START = 'listen on 127.0.0.1\naction "r" relay\naction "m" mbox\n'


def read_config(text: str, macros: dict[str, str] | None = None, **files: str) -> Config:
    texts = {"/c": text, **{f"/{name}": content for name, content in files.items()}}

    def load(path: str) -> str:
        if path not in texts:
            raise ReadError(f"Could not read {path}")
        return texts[path]

    return parse("/c", load, macros or {}, lambda table: table)


def recorded(name: str = "RELAY-03/pass-opensmtpd-untouched") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / name / "recording.json").read_text())
    return found


def read_with(change: Callable[[dict[str, Any]], Any]) -> OpenSmtpd:
    recording = copy.deepcopy(recorded())
    change(recording)
    (found,) = opensmtpd.read(Replay(recording))
    return found


# What smtpd 6.8 and 7.6 take and refuse was asked of `smtpd -n`.


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("match from src 10.0.0.0/8 # all", ["match", "from", "src", "10.0.0.0/8"]),
        ("table t { a, b\n  c }", ["table", "t", "{", "a", ",", "b", "c", "}"]),
        ("listen on eth0 \\\n port 25", ["listen", "on", "eth0", "port", "25"]),
        ('a "b \\" c" \'d\'', ["a", 'b " c', "d"]),
        ('a "b\\.c"', ["a", "b\\.c"]),
        ("!from any", ["!", "from", "any"]),
        ("{ a => b }", ["{", "a", "=", "b", "}"]),
        ('"a\nb"', ["ab"]),
        ("a#b", ["a"]),
    ],
)
def test_a_line_is_cut_as_smtpd_cuts_it(text: str, tokens: list[str]) -> None:
    lines = list(Lexer("/c", lambda path: text, {}).lines())
    assert [[token.text for token in line] for line in lines] == [tokens]


def test_a_comment_goes_on_behind_a_backslash() -> None:
    config = read_config(START + '# nobody \\\nmatch from any for any reject\nmatch from any for any action "r"\n')
    assert [str(rule) for rule in config.rules] == ['match from any for any action "r"']
    assert config.rules[0].where == "/c:6"


def test_macros_stand_for_their_text() -> None:
    config = read_config('n = "{ 10.0.0.0"\n' + START + 'match from src $n/8 } for any action "r"\n')
    assert str(config.rules[0]) == 'match from src 10.0.0.0/8 for any action "r"'
    given = read_config("where = lo\nlisten on $where\n", {"where": "eth9"})
    assert given.listens[0].on == "eth9"  # smtpd -D: the command line wins


def test_a_macro_in_a_macro_is_none() -> None:
    config = read_config('a = "x"\nb = "$a"\ntable t { "$b" }\n')
    assert config.tables["t"].keys == ["$b"]
    with pytest.raises(SyntaxProblem, match="'c' not defined"):
        read_config("table t { $c }\n")


def test_included_files_stand_in_their_place() -> None:
    config = read_config(START + 'include "/more"\nmatch from any for any reject\n', more='match from any for any action "r"')
    assert [(str(rule), rule.where) for rule in config.rules] == [
        ('match from any for any action "r"', "/more:1"), ("match from any for any reject", "/c:5"),
    ]  # fmt: skip
    with pytest.raises(ReadError, match="/nope"):
        read_config('include "/nope"\n')
    with pytest.raises(SyntaxProblem, match="includes itself"):
        read_config('include "/c"\n')
    with pytest.raises(SyntaxProblem, match="more than 100 files"):
        read_config('include "/c"')


@pytest.mark.parametrize("text", ["match from", "match from any for any action", 'a "b', "match any", "match for x reject",
                                  'match from any for any action "nowhere"', "match from src <gone> for any reject"])  # fmt: skip
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        read_config(text)


def test_what_is_not_said_is_local() -> None:
    config = read_config(START + 'match action "m"\nmatch auth from any action "m"\nmatch from mail-from "@x" for any reject\n')
    assert [str(rule) for rule in config.rules] == [
        'match from local for local action "m"', 'match for local auth from any action "m"',
        'match from any mail-from "@x" for any reject',
    ]  # fmt: skip


def test_a_listen_line() -> None:
    config = read_config('table l { a = b }\nlisten on :: port 587 tls-require verify ca own pki mail auth <l> senders <l> '
                         'masquerade tag T hostname h filter { "a", "b" } proxy-v2 mask-src inet6\n')  # fmt: skip
    (listen,) = config.listens
    assert (listen.on, listen.port, listen.tls, listen.verify, listen.ca) == ("::", "587", "tls-require", True, "own")
    assert (listen.auth, listen.tag, listen.hostname, listen.filters) == ("auth", "T", "h", ("a", "b"))
    assert (listen.proxy, listen.mask_src, listen.family) == (True, True, "ipv6")
    assert listen.logins and listen.senders and listen.logins.name == listen.senders.name == "l"
    assert read_config("listen on lo auth-optional tag x\n").listens[0].logins is None


def test_filters() -> None:
    config = read_config(
        'filter f1 phase connect match !rdns disconnect "550 no"\nfilter f2 proc-exec "x -y"\nfilter f3 chain { f1, f2 }\n'
        'filter f4 phase mail-from match mail-from regex { "a", "b" } junk\n'
    )
    assert [str(c) for c in config.filters["f1"].criteria] == ["!rdns"]
    assert (config.filters["f1"].does, config.filters["f2"].kind, config.filters["f4"].does) == ("disconnect", "proc", "junk")
    assert config.filters["f3"] == Filter("f3", "chain", "/c:3", chain=("f1", "f2"))


# Tables


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("# c\n\n10.0.0.1\n 2001:db8::/32 \n", [("10.0.0.1", ""), ("2001:db8::/32", "")]),
        ("a@b.test\tx, y\nc: z\n", [("a@b.test", "x, y"), ("c", "z")]),
        ("# @list\n2001:db8::/32\nuser name\n", [("2001:db8::/32", ""), ("user name", "")]),
        ("[2001:db8::1] mail.test\n", [("[2001:db8::1]", "mail.test")]),
    ],
)
def test_a_table_in_a_file(text: str, entries: list[tuple[str, str]]) -> None:
    assert list(file_entries(text)) == entries


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("198.19", "198.19.0.0/24"), ("198.19.0", "198.19.0.0/24"), ("10", "10.0.0.0/8"), ("0/0", "0.0.0.0/0"),
        ("172.16", "172.16.0.0/16"),
        ("198.51.100.7", "198.51.100.7/32"), ("198.51.100.7/24", "198.51.100.0/24"), ("::/0", "::/0"), ("[::1]", "::1/128"),
        ("IPv6:2001:db8::/32", "2001:db8::/32"), ("[IPv6:2001:db8::1]", "2001:db8::1/128"),
        ("300.1.1.1", None), ("10/33", None), ("*", None), ("mail.test", None), ("fe80::1%eth0", None),
    ],
)  # fmt: skip
def test_a_network(text: str, expected: str | None) -> None:
    found = network_of(text)
    assert (str(found) if found else None) == expected


def test_a_client_is_in_a_network() -> None:
    def held(address: str, *keys: str) -> str | None:
        return matches_network(address, Table(entries=tuple((key, "") for key in keys)))

    assert held("198.19.0.66", "10.0.0.1", "198.19") == "198.19" and held("198.19.1.66", "198.19") is None
    assert held("local", "LOCAL") == "local" and held("local", "0.0.0.0/0") is None
    assert held("2001:db8::1", "0.0.0.0/0", "mail.test", "2001:db8::/32") == "2001:db8::/32"


def test_a_long_table_is_a_doubt() -> None:
    table = Table("t", entries=tuple((f"h{n}.test", "") for n in range(30000)))
    with pytest.raises(Doubt, match="30000 entries"):
        found_in(table, "domain", "a.test")


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a.test", "*", True), ("a.test", "*.test", True), ("b.a.test", "*.test", False), ("b.a.test", "*.a.test", True),
        ("a.test", "A.Test", True), ("", "*", False), ("a.test", "a.*", True), ("a.test", "**.test", True),
        ("a.testx", "*.test", False),
    ],
)  # fmt: skip
def test_a_star_never_goes_back(name: str, pattern: str, expected: bool) -> None:
    assert matches_domain(name, pattern) is expected


@pytest.mark.parametrize(
    ("mailbox", "pattern", "expected"),
    [
        ("a@b.test", "@", True), ("@", "@", True), ("@", "@*", False), ("a@b.test", "@b.test", True),
        ("a+x@b.test", "a@b.test", True),
        ("a+x@b.test", "a+y@b.test", False), ("postmaster@b.test", "postmaster", True), ("A@B.test", "a@b.TEST", True),
        ("c@b.test", "a", False),
    ],
)  # fmt: skip
def test_a_mailbox(mailbox: str, pattern: str, expected: bool) -> None:
    assert matches_mailbox(mailbox, pattern) is expected


def test_patterns() -> None:
    assert matches_pattern("198.19.0.66", "^198[.]19[.]") and matches_pattern("x9", "^[[:alpha:]][[:digit:]]$")
    assert matches_pattern("ABC", "(?i)abc") and not matches_pattern("abc", "(")
    assert matches_pattern("a\\b", r"[\]b")  # a backslash in brackets is itself
    for pattern in (r"\<a", r"\w", r"(a)\1", "[[.hyphen.]]", "(a+)+", "(?:a)", "x" * 300):
        with pytest.raises(Doubt):
            matches_pattern("a", pattern)


def test_a_doubt_counts_only_where_nothing_else_matches() -> None:
    table = Table(entries=((r"\<x", ""), ("^198", "")))
    assert found_in(table, "pattern", "198.19.0.66") == "^198"
    with pytest.raises(Doubt):
        found_in(table, "pattern", "10.0.0.1")
    with pytest.raises(Doubt, match="<t>: gone"):
        found_in(Table("t", problem="gone"), "text", "a")


# The host


def test_a_host_without_opensmtpd() -> None:
    found = {"smtpd": "/usr/bin/smtpd", "smtpctl": None}  # Python has one of that name
    nothing: dict[str, Any] = {"run": [], "read": {}, "stat": {}, "glob": {}, "which": found}
    assert opensmtpd.read(Replay(nothing)) == []


def test_the_good_host() -> None:
    replay = Replay(recorded())
    (smtpd,) = opensmtpd.read(replay)
    assert (smtpd.file, smtpd.version, smtpd.problem, smtpd.stale, smtpd.running) == ("/etc/smtpd.conf", "6.8.0p2", "", "", True)
    assert replay.spawns == 2
    described = opensmtpd.describe(smtpd)
    assert [(x.name, x.families) for x in described.listeners] == [("*:25", ("ipv4", "ipv6"))]
    assert (described.local_domains, described.trusted, described.helo) == (("opensmtpd-d12.test",), (), "opensmtpd-d12.test")


def test_the_good_host_with_logins() -> None:
    (smtpd,) = opensmtpd.read(Replay(recorded("RELAY-03/pass-opensmtpd-untouched-d13")))
    assert [(x.name, x.tls_wrapper) for x in smtpd.listeners] == [("*:25", False), ("*:465", True), ("*:587", False)]
    assert smtpd.version == "7.6.0"
    assert "logins" in smtpd.config.tables and not smtpd.config.tables["logins"].entries  # passwords are not read
    assert smtpd.config.tables["own_senders"].value("alice") == "alice@opensmtpd-d13.test, postmaster@opensmtpd-d13.test"


def test_no_passwords_are_read() -> None:
    assert "/etc/smtpd/logins" not in recorded("RELAY-03/pass-opensmtpd-untouched-d13")["read"]


def test_a_refused_file_is_a_problem() -> None:
    def refuse(recording: dict[str, Any]) -> None:
        recording["run"][1].update(returncode=1, stderr="/etc/smtpd.conf:7: no such dispatcher: nosuch\n")

    smtpd = read_with(refuse)
    assert "no such dispatcher" in smtpd.problem and smtpd.listeners == ()


def test_an_unreadable_file_is_a_problem() -> None:
    said = "Could not read /etc/smtpd.conf: Permission denied"
    smtpd = read_with(lambda r: r["read"].update({"/etc/smtpd.conf": {"error": said}}))
    assert "Permission denied" in smtpd.problem


def test_the_daemons_own_file_is_read() -> None:
    def other_file(recording: dict[str, Any]) -> None:
        (path,) = recording["glob"]["/proc/[0-9]*/cmdline"]
        recording["read"][path] = {"text": "/usr/sbin/smtpd\0-D\0nets=10.0.0.1\0-f/etc/other.conf\0"}
        recording["read"]["/etc/other.conf"] = {"text": START + 'match from src $nets for any action "r"\n'}
        recording["stat"]["/etc/other.conf"] = None
        recording["run"][1]["argv"] = ["smtpd", "-n", "-f", "/etc/other.conf", "-D", "nets=10.0.0.1"]

    smtpd = read_with(other_file)
    assert smtpd.file == "/etc/other.conf" and str(smtpd.config.rules[0]) == 'match from src 10.0.0.1 for any action "r"'


def test_a_file_that_was_changed_after_the_start() -> None:
    def later(recording: dict[str, Any]) -> None:
        recording["stat"]["/etc/smtpd.conf"]["mtime_ns"] += 10**9 * 10**7

    smtpd = read_with(later)
    assert smtpd.stale == "/etc/smtpd.conf"
    assert opensmtpd.digest([smtpd]) != opensmtpd.digest(opensmtpd.read(Replay(recorded())))


def test_changed_aliases_are_no_matter() -> None:
    def later(recording: dict[str, Any]) -> None:
        recording["stat"]["/etc/aliases"] = {**recording["stat"]["/etc/smtpd.conf"], "mtime_ns": 10**9 * 10**10}

    assert read_with(later).stale == ""


def test_a_table_of_another_program_is_a_doubt() -> None:
    def program(recording: dict[str, Any]) -> None:
        text = 'table t ldap:/etc/ldap.conf\n' + START + 'match from src <t> for any action "r"\n'
        recording["read"]["/etc/smtpd.conf"] = {"text": text}

    table = read_with(program).config.rules[0].criteria[0].table
    assert table is not None and "another program (table-ldap)" in table.problem


def test_listeners_by_interface_and_name() -> None:
    config = read_config("listen on eth0\nlisten on localhost port 2525\nlisten on mail.test port 26\nlisten on lo port smtps\n"
                         "listen on socket\nlisten on eth0 port 27 inet4\n")  # fmt: skip
    addresses = tuple(map(parse_address, ("198.51.100.9", "2001:db8::9")))
    smtpd = OpenSmtpd("/c", config, interfaces={"eth0": addresses, "lo": tuple(map(parse_address, ("127.0.0.1", "::1")))},
                      listening=((parse_address("198.51.100.9"), 26),))  # fmt: skip
    assert [x.name for x in smtpd.listeners] == [
        "198.51.100.9:25", "[2001:db8::9]:25", "198.51.100.9:26", "198.51.100.9:27", "127.0.0.1:465", "[::1]:465",
        "127.0.0.1:2525", "[::1]:2525",
    ]  # fmt: skip
    assert [x.loopback_only for x in smtpd.listeners] == [False] * 4 + [True] * 4


def test_the_addresses_of_interfaces() -> None:
    found = network.interfaces(Replay(recorded()))
    assert {str(a) for a in found["lo"]} == {"127.0.0.1", "::1"}
    assert {a.version for a in found["eth0"]} == {4, 6} and not any(a.is_link_local for a in found["eth0"])
