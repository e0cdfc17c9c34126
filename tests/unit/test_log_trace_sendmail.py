"""Traces in logs recorded from Sendmail: refusals, deliveries, logins joined by process, and clients who imitate log lines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.logs.outcome import Delivery, LoggedClient, Trace
from ansible.module_utils.mtaudit.logs.places import Program, installed
from ansible.module_utils.mtaudit.logs.sendmail import trace
from ansible.module_utils.mtaudit.logs.tracing import find_tokens
from ansible.module_utils.mtaudit.readers.sendmail import NAMES
from ansible.module_utils.mtaudit.runner import Replay

LOGS = Path(__file__).resolve().parents[1] / "fixtures" / "sendmail-log"
# A recipient refused, a local sender refused, a message to two (and one who is unknown), a session that was broken off, a sender
# and a Message-ID that go on as a log line, a message of a login.
D13 = (LOGS / "journal-8.18.log").read_bytes()
D12 = (LOGS / "rsyslog-8.17.log").read_bytes()  # the same sessions, in syslog's file
SINK = "sink.canary.test[2001:db8:51::20]"
STRANGER4 = LoggedClient("198.19.0.66", "mail.stranger.test")
STRANGER6 = LoggedClient("2001:db8:19::66", "mail.stranger.test")


def one(text: str, token: str = "toksys") -> Trace:
    return trace("".join(f"Nov 22 05:14:35 mx sm-mta[7]: {line}\n" for line in text.splitlines()).encode(), [token])[0]


@pytest.mark.parametrize(("log", "domain"), [(D13, "sendmail-d13.test"), (D12, "sendmail-d12.test")])
def test_refused_delivered_and_imitated(log: bytes, domain: str) -> None:
    found, missing = trace(log, ["toksys", "toknotthere"])
    # The third session's sender holds ", relay=evil.test [203.0.113.9]".
    assert found.clients == (LoggedClient("2001:db8:19::66", "mail.stranger.test", 0, True), STRANGER4)
    assert len(found.queue_ids) == 3
    assert found.deliveries == (
        Delivery(f"alice@{domain}", "sent", "none", "2.0.0", "Sent"),
        Delivery("canary@canary.test", "sent", SINK, "2.0.0", "Sent (Ok: kept)"),
    )
    assert "Relaying denied" in found.lines[0] and missing == Trace("toknotthere")


def test_a_sender_that_is_refused_is_one_of_our_sessions() -> None:
    (found,) = trace(D13, ["toklocal"])
    assert found.clients == (LoggedClient("198.19.0.66", "mail.stranger.test", 0, True),) and found.deliveries == ()


def test_a_session_that_was_broken_off_delivered_nothing() -> None:
    (found,) = trace(D13, ["tokaborted"])
    assert found.clients == (STRANGER4,) and found.deliveries == ()


def test_a_message_id_names_the_message_and_no_client() -> None:
    (found,) = trace(D13, ["tokinid"])
    assert found.clients == (STRANGER4,) and [d.relay for d in found.deliveries] == [SINK]


@pytest.mark.parametrize("log", [D13, D12])
def test_a_login_is_joined_by_its_process(log: bytes) -> None:
    (found,) = trace(log, ["toklogin"])
    assert found.clients == (STRANGER6,)
    assert "authid=alice" in found.lines[0] and "AUTH=server" in found.lines[0]
    assert "authid" not in "".join(trace(log, ["toksys"])[0].lines)


def test_a_login_of_an_earlier_process_of_that_number_is_not_ours() -> None:
    other = "AUTH=server, relay=u.test [198.19.0.9], authid=bob, mech=PLAIN, bits=0\n"
    found = one(other + "6AM5EjU3000007: from=<toksys@b>, size=1, class=0, nrcpts=1, proto=ESMTP, relay=x.test [198.19.0.1]")
    assert found.clients == (LoggedClient("198.19.0.1", "x.test"),) and "bob" not in "".join(found.lines)


def test_a_token_that_somebody_answers_with_is_not_our_session() -> None:
    found = one(
        "6AM5EjU3000007: from=<a@b>, size=1, class=0, nrcpts=1, relay=x.test [198.19.0.1]\n"
        "6AM5EjU3000007: to=<toksys@b>, delay=00:00:00, xdelay=00:00:00, mailer=local, pri=1, dsn=2.0.0, stat=Sent"
    )
    assert found.clients == () and found.deliveries == () and found.found


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("relay=[198.19.0.1]", LoggedClient("198.19.0.1")),
        ("relay=x.test [198.19.0.1] (may be forged)", LoggedClient("198.19.0.1", "x.test")),
        ("relay=x.test [IPv6:2001:db8:0:0:0:0:0:1]", LoggedClient("2001:db8::1", "x.test")),
    ],
)
def test_how_a_client_is_written(rest: str, expected: LoggedClient) -> None:
    found = one(f"6AM5EjU3000007: from=<toksys@b>, size=1, class=0, nrcpts=1, proto=SMTP, daemon=MTA, {rest}")
    assert found.clients == (expected,)


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("relay=h.test. [198.19.0.2], dsn=4.0.0, stat=Deferred: Connection refused by h.test.", "deferred"),
        ("relay=h.test. [198.19.0.2], dsn=5.1.1, reply=550 5.1.1 no, stat=User unknown", "bounced"),
        ("dsn=5.1.2, stat=Host unknown (Name server: h.test: host not found)", "bounced"),
        ("relay=h.test. [198.19.0.2], dsn=2.0.0, stat=Sent (ok)", "sent"),
    ],
)
def test_what_became_of_a_message(rest: str, status: str) -> None:
    found = one(
        "6AM5EjU3000007: from=<toksys@b>, size=1, class=0, nrcpts=1, relay=x.test [198.19.0.1]\n"
        f"6AM5EjU3000007: to=<c@d>, ctladdr=<a@b> (1/1), delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=3, {rest}"
    )
    assert [(d.recipient, d.status) for d in found.deliveries] == [("c@d", status)]


def test_a_message_that_comes_back_from_a_filter_is_no_second_client() -> None:
    found = one(
        "6AM5EjU3000007: from=<toksys@b>, size=1, class=0, nrcpts=1, relay=x.test [198.19.0.1]\n"
        "6AM5EjU3000007: to=<c@d>, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=3, "
        "relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent (6AM5EjU3000008 Message accepted for delivery)\n"
        "6AM5EjU3000008: from=<toksys@b>, size=1, class=0, nrcpts=1, relay=localhost [127.0.0.1]"
    )
    assert [c.address for c in found.clients] == ["198.19.0.1"] and len(found.queue_ids) == 2


def test_it_is_looked_for_in_syslogs_files(tmp_path: Path) -> None:
    file = tmp_path / "mail.log"
    file.write_bytes(D13)
    os.utime(file, (time.time(), time.time()))
    runner = Replay({"run": [], "read": {}, "stat": {}, "glob": {}, "which": {}})
    traced = find_tokens(runner, ["toksys"], time.time() - 60, [str(file)], programs=[Program("sendmail")])
    assert traced.source == str(file) and traced.traces[0].clients and not traced.reason


def test_sendmail_is_found_where_it_is_installed() -> None:
    there = {"exim4": None, "exim": None, "smtpctl": None, **dict.fromkeys(NAMES), NAMES[0]: "/usr/sbin/sendmail-mta"}
    runner = Replay({"run": [], "read": {}, "stat": {}, "glob": {}, "which": there})
    assert installed(runner) == [Program("postfix"), Program("sendmail")]
