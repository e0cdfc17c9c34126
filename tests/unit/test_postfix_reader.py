"""Reading Postfix: configuration syntax, expansion, match lists, tables, services; compared with what real Postfix says."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers import postfix
from ansible.module_utils.mtaudit.readers.postfix_match import parse_list
from ansible.module_utils.mtaudit.readers.postfix_model import Postfix
from ansible.module_utils.mtaudit.readers.postfix_samples import examples, pattern_lines
from ansible.module_utils.mtaudit.readers.postfix_syntax import expand, main_cf, master_cf, words
from ansible.module_utils.mtaudit.readers.postfix_tables import Table, TableProblem, cidr_rules, inline_entries
from ansible.module_utils.mtaudit.runner import Completed, ReadError, Replay, ToolMissing, ToolTimeout

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
# What Postfix sets while it runs: only the daemon concerned knows the value.
AT_RUN_TIME = {"default_rbl_reply", "forward_path", "postscreen_reject_footer", "process_id", "process_name"}

MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
2525      inet  n       -       y       -       -       smtpd
  -o mynetworks=0.0.0.0/0
# a comment in between
  -o { smtpd_relay_restrictions = permit_mynetworks, reject }
  -o smtpd_client_restrictions=$mua_client
[::1]:10025 inet n      -       y       -       -       smtpd -o smtpd_tls_wrappermode=yes
"""


def instance(main: str, master: str = MASTER, **parameters: str) -> Postfix:
    defaults = {"inet_interfaces": "all", "inet_protocols": "all", "mail_version": "3.7.11", **parameters}
    given = {name: value for name, (value, _) in main_cf(main).items()}
    settings = "".join(f"{name} = {value}\n" for name, value in {**defaults, **given}.items())
    return postfix.parse("/etc/postfix", settings, master, main, master)


# Syntax


def test_continuation_lines_comments_and_the_last_of_two_lines() -> None:
    text = "a = 1\nmynetworks = 127.0.0.0/8,\n# comment\n\n  198.51.100.0/24\n\t[::1]/128\na = 2\n"
    assert main_cf(text) == {"a": ("2", 7), "mynetworks": ("127.0.0.0/8, 198.51.100.0/24 [::1]/128", 2)}


def test_lists_split_at_commas_and_whitespace_but_not_inside_braces() -> None:
    assert words("a, b\tc,,d { x = 1, y } inline:{a=b, c=d}") == ["a", "b", "c", "d", "{ x = 1, y }", "inline:{a=b, c=d}"]


def test_master_cf_overrides_in_all_forms_with_their_lines() -> None:
    smtp, second, third = master_cf(MASTER)
    assert (smtp.name, smtp.type, smtp.command, smtp.overrides) == ("smtp", "inet", "smtpd", ())
    assert dict(second.overrides) == {
        "mynetworks": "0.0.0.0/0",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtpd_client_restrictions": "$mua_client",
    }
    assert dict(second.lines) == {"mynetworks": 4, "smtpd_relay_restrictions": 6, "smtpd_client_restrictions": 7}
    assert dict(third.overrides) == {"smtpd_tls_wrappermode": "yes"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$a", "1"),
        ("${a}x$(b)", "1x2"),
        ("$$a", "$a"),
        ("${a?yes}${empty?no}", "yes"),
        ("${a:no}${empty:yes}", "yes"),
        ("${a?{y}:{n}}${empty?{y}:{n}}", "yn"),
        ("${{$a} == {1} ? {same} : {other}}", "same"),
        ("${{$level} <level {3.6} ? {old} : {new}}", "new"),
        ("${{3.10} >level {3.6} ? {new} : {old}}", "new"),
        ("${{10} > {9} ? {number} : {text}}", "number"),
        ("$nested $undefined.", "2 ."),
    ],
)
def test_expansion(text: str, value: str) -> None:
    known = {"a": "1", "b": "2", "empty": "", "nested": "$b", "level": "3.6"}
    assert expand(text, known.get) == value


@pytest.mark.parametrize("text", ["$loop", "${a", "$ ", "${{a} ~ {b} ? {c}}"])
def test_expansion_that_postfix_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        expand(text, {"loop": "x$loop"}.get)


@pytest.mark.parametrize("version", ["3.7.11", "3.10.13"])
def test_every_parameter_expands_as_postconf_x_says(version: str) -> None:
    settings = (FIXTURES / f"postconf-{version}.txt").read_text()
    reading = postfix.parse("/etc/postfix", settings, "", "", "")
    told = (line.partition(" =") for line in (FIXTURES / f"postconf-x-{version}.txt").read_text().splitlines())
    said = {name: value for name, _, value in told if name not in AT_RUN_TIME}
    assert len(said) > 900
    # postconf -x prints a list without the gaps that empty parameters leave.
    assert {n: words(reading.main.value(n)) for n in said} == {n: words(value) for n, value in said.items()}


def test_latin1_bytes_in_a_value_do_no_harm() -> None:
    assert instance("smtpd_banner = caf\ufffd\nmynetworks = 127.0.0.1\n").main.value("smtpd_banner") == "caf\ufffd"


# Services


def test_effective_value_and_origin_of_a_service() -> None:
    reading = instance("# first\nmynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = $list\nlist = reject\n")
    smtp, second = (s.smtpd for s in reading.smtp_services()[:2])
    assert smtp.value("mynetworks") == "127.0.0.0/8"
    assert smtp.value("smtpd_relay_restrictions") == "reject"
    assert smtp.origin("mynetworks") == "/etc/postfix/main.cf:2 mynetworks"
    assert second.value("mynetworks") == "0.0.0.0/0"
    assert second.origin("mynetworks") == "/etc/postfix/master.cf:4 2525/inet -o mynetworks"
    assert smtp.origin("smtpd_helo_restrictions") == "smtpd_helo_restrictions (default)"


def test_an_override_of_a_custom_parameter_reaches_what_refers_to_it() -> None:
    master = "smtp inet n - y - - smtpd\n587 inet n - y - - smtpd -o list=permit\n"
    reading = instance("smtpd_relay_restrictions = $list\nlist = reject\n", master)
    assert [s.smtpd.value("smtpd_relay_restrictions") for s in reading.smtp_services()] == ["reject", "permit"]


@pytest.mark.parametrize(
    ("settings", "name", "listeners"),
    [
        ({}, "smtp", [("*:25", ("ipv4", "ipv6"))]),
        ({"inet_protocols": "ipv4"}, "submission", [("*:587", ("ipv4",))]),
        ({"inet_interfaces": "loopback-only"}, "smtp", [("127.0.0.1:25", ("ipv4",)), ("[::1]:25", ("ipv6",))]),
        ({"inet_interfaces": "loopback-only", "inet_protocols": "ipv4"}, "smtp", [("127.0.0.1:25", ("ipv4",))]),
        ({"inet_interfaces": "198.51.100.11, localhost"}, "smtps",
         [("198.51.100.11:465", ("ipv4",)), ("127.0.0.1:465", ("ipv4",)), ("[::1]:465", ("ipv6",))]),
        ({"inet_interfaces": "loopback-only"}, "[2001:db8:51::11]:2525", [("[2001:db8:51::11]:2525", ("ipv6",))]),
        ({"inet_interfaces": "loopback-only"}, "0.0.0.0:26", [("*:26", ("ipv4",))]),
    ],
)
def test_listeners(settings: dict[str, str], name: str, listeners: list[tuple[str, tuple[str, ...]]]) -> None:
    reading = instance("", f"{name} inet n - y - - smtpd\n", **settings)
    assert [(s.listener, s.families) for s in reading.smtp_services()] == listeners


def test_postscreen_is_judged_by_the_smtpd_behind_it() -> None:
    master = "smtp inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd -o mynetworks=10.0.0.0/8\nother unix - - y - - smtpd\n"
    (service,) = instance("mynetworks = 127.0.0.1\n", master, smtpd_service_name="smtpd").smtp_services()
    assert (service.listener, service.postscreen, service.smtpd.value("mynetworks")) == ("*:25", True, "10.0.0.0/8")


@pytest.mark.parametrize("disabled", ["inet", "2525/inet", "2525.inet"])
def test_disabled_services_do_not_listen(disabled: str) -> None:
    assert "*:2525" not in [s.listener for s in instance("", MASTER, master_service_disable=disabled).smtp_services()]


def test_style_in_an_override_is_computed_from_the_interfaces() -> None:
    reading = instance("", "26 inet n - y - - smtpd -o mynetworks_style=class\n", mynetworks="127.0.0.0/8")
    reading.addresses = (ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("198.51.100.11"))
    (service,) = reading.smtp_services()
    assert service.smtpd.value("mynetworks").split() == ["127.0.0.0/8", "[::1]/128", "10.0.0.0/8", "198.51.100.0/24"]


# Match lists


def trusted(value: str, tables: dict[str, Table] | None = None, files: dict[str, str] | None = None) -> list[str]:
    return [str(network) for network, _ in parse_list(value, tables or {}, files or {}, {}).trusted().networks]


def test_first_match_decides() -> None:
    assert trusted("!198.19.0.0/17 198.19.0.0/16") == ["198.19.128.0/17"]
    assert trusted("198.19.0.0/16 !198.19.0.0/17") == ["198.19.0.0/16"]
    assert trusted("!0.0.0.0/0 198.19.0.0/16") == []


def test_included_files_are_negated_as_a_whole() -> None:
    files = {"/etc/not": "# no\n198.19.0.66\n!198.19.0.67\n"}
    assert set(trusted("!/etc/not 198.19.0.66/31", files=files)) == {"198.19.0.67/32"}


def test_a_pattern_with_host_bits_stops_the_evaluation() -> None:
    found = parse_list("127.0.0.0/8 198.51.100.7/24 198.19.0.0/16", {}, {}, {}).trusted()
    assert [str(n) for n, _ in found.networks] == ["127.0.0.0/8"]
    assert "198.51.100.7/24" in found.doubts[0][0]


def test_ipv6_without_brackets_is_a_table_that_does_not_exist() -> None:
    assert parse_list("2001:db8::/32", {}, {}, {}).trusted().doubts


def test_a_hash_table_in_mynetworks_matches_full_addresses_only() -> None:
    table = Table("hash:/t", "hash", {"198.19.0": "OK", "198.19.0.66": "OK"})
    matches = parse_list("hash:/t", {"hash:/t": table}, {}, {})
    assert trusted("hash:/t", {"hash:/t": table}) == ["198.19.0.66/32"]
    assert matches.match_client("unknown", "198.19.0.66") and not matches.match_client("unknown", "198.19.0.65")


def test_subdomains_match_by_parent_or_by_leading_dot() -> None:
    assert parse_list("example", {}, {}, {}, parents=True).match_domain("victim.example")
    assert not parse_list("example", {}, {}, {}).match_domain("victim.example")
    assert parse_list(".example", {}, {}, {}).match_domain("victim.example")
    assert not parse_list(".example", {}, {}, {}, parents=True).match_domain("victim.example")
    assert not parse_list("ample", {}, {}, {}, parents=True).match_domain("victim.example")


# Tables


def test_cidr_tables_with_negation_and_if() -> None:
    text = "# c\n!198.19.0.0/16 REJECT\nif 198.19.0.0/16\n198.19.1.0/24 OK\n  and more\nendif\n2001:db8::/32\tOK\n"
    table = Table("cidr:/t", "cidr", rules=tuple(cidr_rules(text)))
    assert [table.get(a) for a in ("198.18.0.1", "198.19.1.1", "198.19.2.1", "2001:db8::1", "name.test")] == [
        "REJECT", "OK and more", None, "OK", None]
    assert table.where("198.19.1.1") == "cidr:/t:4"


def test_inline_tables() -> None:
    assert dict(inline_entries("{ a=OK, { B = REJECT no mail } }")) == {"a": "OK", "b": "REJECT no mail"}


def test_examples_of_patterns_match_them() -> None:
    assert pattern_lines("# x\n/^info@(ours|theirs)\\.test$/i OK\nif !/x/\n") == ["^info@(ours|theirs)\\.test$", "x"]
    assert "info@ours.test" in examples(r"^info@(ours|theirs)\.test$")
    assert "probe@partner.test" in examples(r"@partner\.test$")


def test_a_table_with_a_problem_answers_nothing() -> None:
    with pytest.raises(TableProblem):
        Table("hash:/t", "hash", problem="no such file").get("x")


# The whole reading


class Answers:
    """A runner with canned answers, to see what the reader makes of tools that fail."""

    def __init__(
        self, run: dict[str, Any], tools: tuple[str, ...] = ("postconf", "postfix"), files: dict[str, str] | None = None
    ) -> None:
        self.spawns, self._run, self._tools = 0, run, tools
        self._files = {"/etc/postfix/main.cf": "", "/etc/postfix/master.cf": ""} if files is None else files

    def run(self, argv: Any, stdin: str = "", timeout_s: float = 20.0, env: Any = None) -> Completed:
        answer = self._run[" ".join(argv)]
        if isinstance(answer, Exception):
            raise answer
        return Completed(*answer) if isinstance(answer, tuple) else Completed(0, answer, "")

    def read(self, path: str) -> str:
        if path not in self._files:
            raise ReadError(f"Could not read {path}: No such file or directory")
        return self._files[path]

    def stat(self, path: str) -> Any:
        return object() if path in self._files else None

    def glob(self, pattern: str) -> list[str]:
        return []

    def which(self, name: str) -> str | None:
        return f"/usr/sbin/{name}" if name in self._tools else None


def test_no_postfix_is_no_instance() -> None:
    assert postfix.read(Answers({}, tools=(), files={})) == []


def test_missing_postconf_is_an_error() -> None:
    with pytest.raises(ToolMissing):
        postfix.read(Answers({}, tools=("postfix",)))


@pytest.mark.parametrize(
    "answer",
    [(1, "", "postconf: fatal: open /etc/postfix/main.cf: Permission denied"), ToolTimeout("'postconf' did not end within 20 s")],
)
def test_an_instance_that_cannot_be_read_says_why(answer: Any) -> None:
    (reading,) = postfix.read(Answers({"postconf": answer}))
    assert "Permission denied" in reading.problem or "did not end" in reading.problem


def test_a_second_instance_that_fails_leaves_the_first_alone() -> None:
    first = "config_directory = /etc/postfix\nmulti_instance_directories = /etc/postfix-out\n"
    answers = {"postconf": first, "postconf -M": MASTER, "postconf -c /etc/postfix-out": (1, "", "fatal: gone")}
    found = postfix.read(Answers(answers))
    assert [bool(p.problem) for p in found] == [False, True]
    assert found[1].primary is found[0]


def test_a_table_that_is_slow_is_a_problem_of_that_table_only() -> None:
    settings = "config_directory = /etc/postfix\nrelay_domains = tcp:198.51.100.250:1027\nmynetworks = 127.0.0.1\n"
    slow = "postmap -c /etc/postfix -q - tcp:198.51.100.250:1027"
    answers = {"postconf": settings, "postconf -M": MASTER, slow: ToolTimeout("did not end within 10 s")}
    (reading,) = postfix.read(Answers(answers))
    assert reading.problem == ""
    assert "did not end" in reading.tables["tcp:198.51.100.250:1027"].problem


def test_the_digest_is_stable_and_sees_every_kind_of_change() -> None:
    def read(main: str, master: str = MASTER, process: str = "1") -> str:
        return postfix.digest([instance(main, master, process_id=process)])

    first = read("mynetworks = 127.0.0.1\n")
    assert first == read("# comment\nmynetworks = 127.0.0.1\n", process="2")
    assert first != read("mynetworks = 127.0.0.2\n")
    assert first != read("mynetworks = 127.0.0.1\n", MASTER.replace("0.0.0.0/0", "10.0.0.0/8"))


def test_replay_of_a_real_host() -> None:
    import json

    from capture_fixture import restore

    recording = restore(json.loads((FIXTURES / "RELAY-06" / "fail-second-instance" / "recording.json").read_text()))
    first, second = postfix.read(Replay(recording))
    assert (first.version, second.config_directory) == ("3.7.11", "/etc/postfix-out")
    assert [s.listener for s in second.smtp_services()] == ["*:2528"]
    assert first.local_domains == ("mx-d12.test", first.main.value("myhostname"))
