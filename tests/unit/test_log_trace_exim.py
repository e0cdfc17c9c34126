"""Traces in logs recorded from Exim 4.96 and 4.98: their own files, syslog's, the journal; and clients who imitate log lines."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.logs.exim import trace
from ansible.module_utils.mtaudit.logs.outcome import Delivery, LoggedClient, Trace
from ansible.module_utils.mtaudit.logs.places import Program, installed
from ansible.module_utils.mtaudit.logs.tracing import find_tokens
from ansible.module_utils.mtaudit.readers.sendmail import NAMES as SENDMAIL
from ansible.module_utils.mtaudit.runner import Replay

TOKEN = "toksys"
NAME = "mail.stranger.test"
EXIM = (Program("exim"),)
LOGS = Path(__file__).resolve().parents[1] / "fixtures" / "exim-log"

# A recipient refused, a message with five more: an alias to a pipe that Exim defers, a mailbox, an alias to the canary, one that
# the next server refuses, one whose server does not answer; and the bounce.
D12 = (LOGS / "mainlog-4.96.log").read_bytes()
ID12 = "1xUx7a-0000ZC-2O"
REFUSED = LoggedClient("198.19.0.66", NAME, 0, True)
ACCEPTED = LoggedClient("198.19.0.66", NAME)
REPLY = "SMTP error from remote mail server after RCPT TO:<no@hub.test>: 550 relay not permitted"
DELIVERED = (
    Delivery("outp@exim-d12.test", "deferred", "none", "", "defer (-30): pipe_transport unset in system_aliases router"),
    Delivery("alice@exim-d12.test", "sent", "maildir_home", "", ""),
    Delivery("fwd@exim-d12.test", "sent", "sink.canary.test[2001:db8:51::20]", "2.0.0", "250 2.0.0 Ok: kept"),
    Delivery("no@hub.test", "bounced", "198.51.100.101[198.51.100.101]", "", REPLY),
    Delivery("x@y.deaf.test", "deferred", "remote_smtp", "", "defer (111): Connection refused"),
)

# With log_selector = +all -arguments: milliseconds, process ids, ports, interfaces, connection ids, sessions without mail.
D13 = (LOGS / "mainlog-4.98-every-selector.log").read_bytes()
ID13 = "1xUx5M-000000000Nq-2dW0"

# The same program under rsyslog and under journald.
RSYSLOG = (LOGS / "rsyslog-4.96.log").read_bytes()
JOURNAL = (LOGS / "journal-4.98.log").read_bytes()

# With helo_accept_junk_hosts = *, recorded from 4.96: a HELO name that goes on as a log line, senders that do.
IMITATED = (LOGS / "imitated-4.96.log").read_bytes()
IN_THE_SENDER = (LOGS / "quoted-sender-4.96.log").read_bytes()


def one(*lines: str) -> Trace:
    return trace("".join(f"2026-11-22 02:18:00 {line}\n" for line in lines).encode(), [TOKEN])[0]


def test_a_log_of_4_96() -> None:
    found, missing = trace(D12, [TOKEN, "toknotthere"])
    assert found.clients == (REFUSED, ACCEPTED) and found.queue_ids == (ID12,) and not found.before_queue_filter
    assert found.deliveries == DELIVERED
    assert all(TOKEN in line or ID12 in line for line in found.lines) and len(found.lines) == 9
    assert missing == Trace("toknotthere")


def test_a_log_of_4_98_with_every_selector() -> None:
    found = trace(D13, [TOKEN])[0]
    assert found.queue_ids == (ID13,)
    assert [(c.address, c.port, c.refused) for c in found.clients] == [
        ("198.19.0.66", 36648, False), ("198.19.0.66", 42978, False), ("198.19.0.66", 42990, False)]  # fmt: skip
    assert [(d.recipient, d.status, d.relay, d.dsn, d.text) for d in found.deliveries] == [
        ("gone@nosuch.invalid", "bounced", "none", "", "Unrouteable address DT=0.000s"),
        ("alice@exim-d13.test", "sent", "maildir_home", "", ""),
        ("canary@canary.test", "sent", "sink.canary.test[2001:db8:51::20]:25", "2.0.0", "250 2.0.0 Ok: kept"),
    ]


@pytest.mark.parametrize(("log", "queue_id"), [(RSYSLOG, ID12), (JOURNAL, "1xUx7w-000000000ZG-2tA1")])
def test_lines_of_syslog_and_the_journal(log: bytes, queue_id: str) -> None:
    found = trace(log, [TOKEN])[0]
    assert found.clients == (REFUSED, ACCEPTED) and found.queue_ids == (queue_id,)
    assert [(d.status, d.relay) for d in found.deliveries] == [("sent", "sink.canary.test[2001:db8:51::20]")]


def test_old_stamps_zones_and_lines_in_pieces() -> None:
    said = "H=(toksys.test) [198.19.0.66] F=<a@b.test> rejected RCPT <c@d.test>: no\n"
    for front in ("Nov  1 02:16:02 mx exim[7]: ", "Nov 22 02:16:02 mx exim-out: [1/2] ", "2026-11-22 02:16:02 +0100 [77] "):
        assert trace((front + said).encode(), [TOKEN])[0].clients == (LoggedClient("198.19.0.66", "", 0, True),)


def test_a_line_of_postfix_is_none_of_exims() -> None:
    said = "Nov  1 02:16:02 mx postfix/smtpd[7]: H=(toksys.test) [198.19.0.66] F=<a@b.test> rejected RCPT <c@d.test>: no\n"
    assert not trace(said.encode(), [TOKEN])[0].found


def test_addresses_of_ipv6_and_helo_names_that_are_addresses() -> None:
    found = one(
        "H=mail.stranger.test (toksys.stranger.test) [2001:db8:19::66] F=<toksys@stranger.test> rejected RCPT <c@d.test>: no",
        "H=([198.19.0.9]) [198.19.0.67]:2525 F=<toksys@stranger.test> temporarily rejected RCPT <c@d.test>: later",
        'H=toksys.stranger.test [198.19.0.68] X=TLS:AES:256 CV=no DN="CN=x [1.2.3.4]" F=<> A=plain:alice rejected RCPT <c@d>',
        "1xUx8o-0000kq-0V H=(h) [198.19.0.69] F=<toksys@stranger.test> rejected after DATA: no",
    )  # fmt: skip
    assert [(c.address, c.refused) for c in found.clients] == [
        ("2001:db8:19::66", True), ("198.19.0.67", True), ("198.19.0.68", True), ("198.19.0.69", True)]  # fmt: skip


def test_a_sender_that_is_refused() -> None:
    """Recorded from 4.96, port 587; the field F= comes only after MAIL."""
    found = one(
        "H=mail.stranger.test [198.19.0.66] X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256 CV=no rejected MAIL "
        "<mtaudit+toksys@stranger.test>: authentication required"
    )
    assert found.clients == (REFUSED,)


def test_a_line_that_a_client_imitates_names_no_client() -> None:
    found = trace(IMITATED, [TOKEN])[0]
    assert found.clients == () and found.lines


def test_a_sender_that_imitates_fields_does_not_hide_the_client() -> None:
    assert trace(IN_THE_SENDER, [TOKEN])[0].clients == ()  # its copy behind the address could be the true end of a HELO name
    found = trace(IN_THE_SENDER.partition(b" from <")[0] + b"\n" + IN_THE_SENDER.partition(b"\n")[2], [TOKEN])[0]
    assert found.clients == (LoggedClient("198.19.0.66", NAME, 34968),)
    assert [(d.recipient, d.status, d.relay) for d in found.deliveries] == [("alice@exim-d12.test", "sent", "maildir_home")]


def test_who_answers_us_is_not_our_client() -> None:
    """A bounce to our sender, the question whether it exists, and a message that only speaks of us."""
    found = one(
        "H=mx.other.test [198.51.100.77] F=<> rejected RCPT <toksys@stranger.test>: Unrouteable address",
        '1xUx8o-0000kq-0V <= <> H=mx.other.test [198.51.100.77] S=9 id=b@other.test T="about toksys" for toksys@stranger.test',
        "1xUx8o-0000kq-0V => toksys@stranger.test R=dnslookup T=remote_smtp H=x [198.51.100.78] C=\"250 OK\"",
    )  # fmt: skip
    assert found.clients == () and found.deliveries == () and found.queue_ids == () and len(found.lines) == 3


def test_the_server_that_is_delivered_to_is_not_the_client() -> None:
    found = one(
        "1xUx8o-0000kq-0V <= a@b.test U=alice P=local S=1 id=toksys@stranger.test",
        "1xUx8o-0000kq-0V H=toksys.test [198.51.100.78]:25 Connection refused",
        "1xUx8o-0000kq-0V == c@d.test R=dnslookup T=remote_smtp H=toksys.test [198.51.100.78]:25 defer (-44): SMTP: 450 4.7.1 no",
    )
    assert found.clients == () and found.queue_ids == ("1xUx8o-0000kq-0V",)
    assert found.deliveries == (
        Delivery("c@d.test", "deferred", "toksys.test[198.51.100.78]:25", "4.7.1", "defer (-44): SMTP: 450 4.7.1 no"),)


def test_a_content_filter_is_not_the_client() -> None:
    found = one(
        "1xUx8o-0000kq-0V <= toksys@stranger.test H=(h) [198.19.0.66] P=esmtp S=1 id=toksys@stranger.test",
        "1xUx8p-0000kq-0V <= toksys@stranger.test H=localhost [127.0.0.1] P=esmtp S=1 id=toksys@stranger.test",
        '1xUx8o-0000kq-0V => c@d R=a T=a H=127.0.0.1 [127.0.0.1]:10024 C="250 from \\"MTA\\": 250 OK id=1xUx8p-0000kq-0V"',
        '1xUx8p-0000kq-0V -> c@d.test R=dnslookup T=remote_smtp H=mx.d.test [198.51.100.78] C="250 OK"',
    )
    assert [c.address for c in found.clients] == ["198.19.0.66"] and found.queue_ids == ("1xUx8o-0000kq-0V", "1xUx8p-0000kq-0V")
    assert [d.relay for d in found.deliveries] == ["127.0.0.1[127.0.0.1]:10024", "mx.d.test[198.51.100.78]"]
    assert found.deliveries[0].text == '250 from "MTA": 250 OK id=1xUx8p-0000kq-0V'


@pytest.mark.parametrize(
    ("line", "recipient", "status"),
    [
        ("=> /var/mail/x <c@d.test> R=r T=address_file", "c@d.test", "sent"),
        ('=> |/usr/bin/vacation "a <b>" c (list@d.test) <c@d.test> R=r T=pipe', "c@d.test", "sent"),
        (">> c@d.test R=dnslookup T=remote_smtp H=x [198.51.100.1] C=\"250 OK\"", "c@d.test", "sent"),
        ("*> c@d.test R=dnslookup T=remote_smtp", "c@d.test", "suppressed"),
        ("** c@d.test: Unrouteable address", "c@d.test", "bounced"),
        ('=> "a b"@[IPv6:2001:db8::1] R=r T=t', '"a b"@[IPv6:2001:db8::1]', "sent"),
    ],
)
def test_recipients(line: str, recipient: str, status: str) -> None:
    found = one("1xUx8o-0000kq-0V <= toksys@stranger.test H=(h) [198.19.0.66] P=esmtp S=1", f"1xUx8o-0000kq-0V {line}")
    assert [(d.recipient, d.status) for d in found.deliveries] == [(recipient, status)]


@pytest.mark.parametrize(
    "text", ['A="a"' * 2000, ' A="a"' * 1500 + ' "', " L.-" * 2000, '"' * 8000, "\\" * 8001, "x <" * 3000, ' <"' * 3000]
)
def test_hostile_lines_are_read_in_time_that_grows_with_their_length(text: str) -> None:
    message = "1xUx8o-0000kq-0V"
    for front in (f"H=toksys [1.2.3.4]{text}", f"{message} => |{text}", f"{message} => {text}", f"{message} <= {text} toksys"):
        before = time.process_time()
        one(f"{message} <= toksys@x H=(h) [198.19.0.66] P=esmtp", front)
        assert time.process_time() - before < 5  # a search that grows faster takes hours


def test_secrets_and_bytes_that_are_no_text() -> None:
    found = trace(b"\xff\0 toksys\n" + b"2026-11-22 02:18:00 toksys password=hunter2 \x1b\n" + D12, [TOKEN])[0]
    assert found.clients == (REFUSED, ACCEPTED) and "hunter2" not in found.lines[0] and "\x1b" not in found.lines[0]


# Where the log is


def asked(paths: str, globs: Mapping[str, Sequence[str]] = {}, more: Sequence[Mapping[str, object]] = ()) -> Replay:
    """A host whose exim4 logs there, without a journal."""
    answer = {"argv": ["exim4", "-bP", "log_file_path", "spool_directory"], "stdin": "", "env": {}, "returncode": 0,
              "stdout": f"log_file_path = {paths}\nspool_directory = /nowhere/spool\n", "stderr": ""}  # fmt: skip
    no_journal = {"argv": [], "stdin": "", "env": {}, "error": ["ToolMissing", "journalctl is not installed"]}
    which = {"exim4": "/usr/sbin/exim4", **dict.fromkeys(("exim", "smtpctl", *SENDMAIL))}
    return Replay({"run": [answer, *more, no_journal], "read": {}, "stat": {}, "glob": {**globs}, "which": which})


def look(runner: Replay, *files: Path, programs: Sequence[Program] = EXIM) -> tuple[str, Trace]:
    traced = find_tokens(runner, [TOKEN], time.time() - 3600, [str(file) for file in files], programs=programs)
    return traced.source, traced.traces[0]


def test_the_file_that_exim_names_and_its_rotated_copy(tmp_path: Path) -> None:
    half = D12.index(b"2026-11-22 02:16:02 1xUx7a-0000ZC-2O => alice")
    (tmp_path / "mainlog.1").write_bytes(D12[:half])
    (tmp_path / "mainlog").write_bytes(D12[half:])
    (tmp_path / "mail.log").write_bytes(b"")
    os.utime(tmp_path / "mainlog.1", (time.time() - 60, time.time() - 60))
    source, found = look(asked(f"{tmp_path}/%slog"), tmp_path / "mail.log")
    assert source == f"{tmp_path}/mainlog.1, {tmp_path}/mainlog" and found.deliveries == DELIVERED


def test_files_by_date(tmp_path: Path) -> None:
    (tmp_path / "mainlog-20261122").write_bytes(D12)
    pattern = f"{tmp_path}/mainlog-{'[0-9]' * 8}*"
    assert look(asked(f"{tmp_path}/%slog-%D", {pattern: [f"{tmp_path}/mainlog-20261122"]}))[1].deliveries == DELIVERED


def test_syslog_beside_a_file_and_alone(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(RSYSLOG)
    assert look(asked("syslog"), tmp_path / "mail.log")[1].clients == (REFUSED, ACCEPTED)
    assert look(asked(f"syslog : {tmp_path}/%slog"), tmp_path / "mail.log")[1].clients == (REFUSED, ACCEPTED)
    assert not look(asked(f"{tmp_path}/%slog"), tmp_path / "mail.log")[1].found


def test_a_path_with_a_variable_is_expanded(tmp_path: Path) -> None:
    (tmp_path / "mainlog").write_bytes(D12)
    expanded = {"argv": ["exim4", "-be", "$spool_directory/%slog"], "stdin": "", "env": {}, "returncode": 0,
                "stdout": f"{tmp_path}/%slog\n", "stderr": ""}  # fmt: skip
    assert look(asked("$spool_directory/%slog", more=[expanded]))[1].found


def test_an_exim_that_does_not_answer_is_said(tmp_path: Path) -> None:
    failed = {"argv": ["exim4", "-bP", "log_file_path", "spool_directory"], "stdin": "", "env": {}, "returncode": 1, "stdout": "",
              "stderr": "Exim configuration error\n"}  # fmt: skip
    (tmp_path / "mail.log").write_bytes(RSYSLOG)
    runner = Replay({"run": [failed], "read": {}, "stat": {}, "glob": {}, "which": {"exim4": "/usr/sbin/exim4"}})
    traced = find_tokens(runner, [TOKEN, "toknotthere"], time.time() - 60, [str(tmp_path / "mail.log")], programs=EXIM)
    assert "Could not ask Exim where it logs: Exim configuration error" in traced.reason and traced.traces[0].found


def test_two_programs_are_one_trace(tmp_path: Path) -> None:
    (tmp_path / "mainlog").write_bytes(D12)
    (tmp_path / "mail.log").write_bytes(
        b"2026-11-22T02:16:02+00:00 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from u[198.19.0.67]: 454 no; from=<toksys@b>\n"
    )
    both = [Program("postfix"), Program("exim")]
    source, found = look(asked(f"{tmp_path}/%slog"), tmp_path / "mail.log", programs=both)
    assert source == f"{tmp_path}/mainlog, {tmp_path}/mail.log"
    assert [c.address for c in found.clients] == ["198.19.0.66", "198.19.0.66", "198.19.0.67"]


def test_programs_without_a_reader_are_said_and_exim_is_found_where_it_is_installed() -> None:
    traced = find_tokens(asked(""), [TOKEN], 0, programs=[Program("qmail")])
    assert traced.reason.startswith("the logs of qmail are not read") and traced.traces == (Trace(TOKEN),)
    assert installed(asked("")) == [Program("postfix"), Program("exim")]
    nothing = dict.fromkeys(("exim4", "exim", "smtpctl", *SENDMAIL))
    assert installed(Replay({"run": [], "read": {}, "stat": {}, "glob": {}, "which": nothing})) == [
        Program("postfix")]  # fmt: skip
