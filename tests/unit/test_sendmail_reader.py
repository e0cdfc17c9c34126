"""Reading Sendmail: sendmail.cf, classes, compiled maps, ports, the questions in test mode, and what is a doubt."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers import sendmail
from ansible.module_utils.mtaudit.readers.sendmail_ask import Question, answers, in_tag, script, spaced, told
from ansible.module_utils.mtaudit.readers.sendmail_cf import given_options, parse_cf
from ansible.module_utils.mtaudit.readers.sendmail_model import Entry, Sendmail, Table, network_of, parse_table
from ansible.module_utils.mtaudit.readers.sendmail_questions import questions
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import restore

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def recorded(fixture: str = "RELAY-03/pass-sendmail-untouched") -> dict[str, Any]:
    return restore(json.loads((FIXTURES / fixture / "recording.json").read_text()))


def read_with(change: Any = None, fixture: str = "RELAY-03/pass-sendmail-untouched") -> list[Sendmail]:
    recording = recorded(fixture)
    if change:
        change(recording)
    return sendmail.read(Replay(recording))


# What each key matches was asked of Sendmail 8.17 with `check_rcpt` in test mode.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("198", "198.0.0.0/8"),
        ("198.19", "198.19.0.0/16"),
        ("198.19.0.66", "198.19.0.66/32"),
        ("[198.19.0.66]", "198.19.0.66/32"),
        ("IPv6:2001:db8", "2001:db8::/32"),
        ("ipv6:2001:db8:19:0:0:0:0:66", "2001:db8:19::66/128"),
    ],
)
def test_keys_are_whole_octets_or_words(key: str, expected: str) -> None:
    assert network_of(key) == ipaddress.ip_network(expected)


@pytest.mark.parametrize("key", ["198.19.0.0/16", "stranger.test", "300.1", "IPv6:", "IPv6:zz", "test", ""])
def test_what_is_no_address(key: str) -> None:
    assert network_of(key) is None


def test_entries_of_the_access_map() -> None:
    text = "connect:198.19\tRELAY\nipv6:2001:db8\tRELAY\nto:partner.test\trelay\n198.19.0.1\tOK\ncertissuer:/O=a:b\tRELAY\n"
    found = parse_table(text)
    assert [(e.tag, e.key, e.relays) for e in found] == [
        ("connect", "198.19", True), ("", "ipv6:2001:db8", True), ("to", "partner.test", True), ("", "198.19.0.1", False),
        ("certissuer", "/O=a:b", True),
    ]  # fmt: skip


def test_addresses_and_flags_as_the_macros_hold_them() -> None:
    assert in_tag(ipaddress.ip_address("2001:db8::c9")) == "IPv6:2001:db8:0:0:0:0:0:c9"
    assert in_tag(ipaddress.ip_address("198.19.0.1")) == "198.19.0.1"
    assert spaced("Ea") == "EE a"


CF = """\
# a comment
#O LogLevel=9
O LogLevel=10
O LogLevel=12
O DaemonPortOptions=Family=inet, Name=A, Port=smtp, Addr=127.0.0.1
O DaemonPortOptions=Family=inet6, Name=B, Port=2525, M=Ea
Djmx.example.org
Cwlocalhost
Fw-o /etc/mail/names
Kaccess hash -T<TMPF> /etc/mail/access
SLocal_check_rcpt
Scheck_rcpt
R$*\t\t\t$: $1 $| $>"Local_check_rcpt" $1
R$* $|
\t$#*\t$#$2
SLocal_check_rcpt
R$*\t$: $(access $1 $)\tcomment
"""


def test_a_configuration_file() -> None:
    cf = parse_cf(CF)
    assert cf.option("LogLevel") == "12" and cf.line_of("LogLevel") == 4
    assert cf.class_words == {"w": ["localhost"]} and cf.class_files == {"w": ["/etc/mail/names"]}
    assert [str(rule) for rule in cf.rules["Local_check_rcpt"]] == ["R$*\t$: $(access $1 $)"]
    assert [m.path for m in cf.maps_of(cf.checks())] == ["/etc/mail/access"]


def test_ports() -> None:
    found = Sendmail("/etc/mail/sendmail.cf", cf=parse_cf(CF))
    assert [(o.name, o.families, o.loopback_only) for o in found.listeners] == [
        ("127.0.0.1:25", ("ipv4",), True), ("*:2525", ("ipv4", "ipv6"), False),
    ]  # fmt: skip
    assert [daemon.login_required for daemon in found.daemons] == [False, True]
    assert [o.name for o in Sendmail("", cf=parse_cf("")).listeners] == ["*:25"]
    assert [o.families for o in Sendmail("", cf=parse_cf(CF), only_ipv6=True).listeners][1] == ("ipv6",)


@pytest.mark.parametrize(("words", "level"), [("-O LogLevel=8", "8"), ("-OLogLevel=8", "8"), ("-oL8", "8"), ("-ox8", "10")])
def test_options_of_the_command_line_overrule_the_file(words: str, level: str) -> None:
    cf = parse_cf("O LogLevel=10\n")
    given_options(sendmail._given(("sendmail", "-bd", *words.split())), cf)
    assert cf.option("LogLevel") == level


def test_a_question_holds_nothing_that_ends_its_line() -> None:
    entries = (Entry("connect", "198.19\n/quit", "RELAY"), Entry("from", "a b@c", "RELAY"), Entry("from", "x\n=M", "RELAY"))
    found = Sendmail("", cf=parse_cf(CF), tables={"access": Table("access", "/etc/mail/access", entries)})
    text = script(questions(found))
    assert "/quit" not in text and "=M" not in text and "a b" not in text
    starts = (".D", "${mtaudit}", "Local_check_mail <", "check_mail <", "check_rcpt <", "canonify,parse ")
    assert all(line.startswith(starts) for line in text.splitlines())


def test_answers_stand_between_marks() -> None:
    asked = [Question("198.19.0.1", "a@b."), Question("198.19.0.2", "a@b."), Question("198.19.0.3", "a@b.")]
    refused = 'check_rcpt       returns: $# error $@ 5 . 7 . 1 $: "550 Relaying denied"\n'
    output = f"> > mtaudit-answer\n> {refused}> mtaudit-answer\n> check_rcpt returns: RELAY\n> mtaudit-answer\n> check_rcpt ret"
    found = answers(output, asked)
    assert [found[q].allowed for q in asked[:2]] == [False, True]
    assert asked[2] not in found  # cut off: nothing is known


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("check_rcpt returns: RELAY", True),
        ("check_rcpt returns: $# OK", True),
        ("check_rcpt returns: $# discard $: discard", False),
        ('check_rcpt returns: $# error $@ 5 . 7 . 1 $: "550 Relaying denied"', False),
        ('check_rcpt returns: $# error $@ 4 . 3 . 0 $: "451 Temporary system failure. Please try again later."', None),
        ('check_mail returns: $# error $@ 5 . 7 . 1 $: "550 no"\ncheck_rcpt returns: RELAY', False),
        ('check_mail returns: $# error $: "553 Domain of sender address a@b does not exist"\ncheck_rcpt returns: RELAY', None),
        ("Undefined ruleset check_rcpt", None),
    ],
)
def test_what_an_answer_says(text: str, allowed: Any) -> None:
    assert told(text).allowed is allowed


def test_a_host_without_sendmail_has_none() -> None:
    def gone(recording: dict[str, Any]) -> None:
        recording["which"] = dict.fromkeys(sendmail.NAMES)

    assert read_with(gone) == []


def test_a_real_host() -> None:
    (found,) = read_with()
    assert (found.version, found.file, found.problem) == ("8.17.1.9", "/etc/mail/sendmail.cf", "")
    server = sendmail.describe(found)
    assert [listener.name for listener in server.smtp] == ["*:25", "*:587"]
    assert server.helo == "sendmail-d12.corp.test" and "sendmail-d12.test" in server.local_domains
    assert [str(network) for network in server.trusted] == ["127.0.0.0/8"]
    assert all(q in found.answers for q in questions(found))


def test_a_configuration_that_cannot_be_read_is_a_problem() -> None:
    def unreadable(recording: dict[str, Any]) -> None:
        recording["read"]["/etc/mail/sendmail.cf"] = {"error": "Could not read /etc/mail/sendmail.cf: Permission denied"}

    assert read_with(unreadable)[0].problem.endswith("Permission denied")


def test_a_program_that_does_not_answer_is_a_doubt_and_no_pass() -> None:
    def silent(recording: dict[str, Any]) -> None:
        entry = next(e for e in recording["run"] if e["argv"][-1] == "-bt" and "-d0.1" not in e["argv"])
        entry["error"] = ["ToolTimeout", "'sendmail-mta -bt' did not end within 20 s"]

    (found,) = read_with(silent)
    assert not found.answers
    assert found.told(questions(found)[0]).allowed is None
    assert "did not end" in found.told(questions(found)[0]).reason


def test_the_digest_is_that_of_what_decides() -> None:
    usual = sendmail.digest(read_with())
    assert usual == sendmail.digest(read_with())
    for other in ("RELAY-01/fail-sendmail-class-r-network", "RELAY-01/fail-sendmail-access-text-is-clean",
                  "RELAY-03/fail-sendmail-local-check-accepts"):  # fmt: skip
        assert sendmail.digest(read_with(fixture=other)) != usual


def test_a_daemon_with_another_file_is_an_instance_of_its_own() -> None:
    first, second = read_with(fixture="RELAY-06/fail-sendmail-second-daemon-open")
    assert (second.file, second.primary) == ("/etc/mail/other.cf", first)
    assert [listener.port for listener in second.listeners] == [2525]
