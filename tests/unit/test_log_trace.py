"""Traces in logs recorded from Postfix 3.7 under rsyslog and Postfix 3.10 under journald, and the files they are read from."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.logs.outcome import Delivery, LoggedClient, Trace
from ansible.module_utils.mtaudit.logs.postfix import trace
from ansible.module_utils.mtaudit.logs.sources import read_files
from ansible.module_utils.mtaudit.logs.tracing import find_tokens, parse_since
from ansible.module_utils.mtaudit.runner import Replay

TOKEN = "tok4f9a2c7be1d0"

# A session over IPv6 that was refused twice, one over IPv4 that sent a message; queue id 31DA91C4A16 was used before for another
# message, and a session over IPv4 that only tried recipients and left no token.
RSYSLOG = b"""\
2026-11-21T21:14:21.171952+00:00 mx-d12 postfix/smtpd[442]: connect from mail.stranger.test[198.19.0.66]
2026-11-21T21:14:21.200399+00:00 mx-d12 postfix/smtpd[442]: 30BA61C4A16: client=mail.stranger.test[198.19.0.66]
2026-11-21T21:14:21.212417+00:00 mx-d12 postfix/smtpd[442]: disconnect from mail.stranger.test[198.19.0.66] ehlo=1 mail=3 rcpt=3
2026-11-21T21:14:21.264293+00:00 mx-d12 postfix/smtpd[449]: connect from mail.stranger.test[2001:db8:19::66]
2026-11-21T21:14:21.273503+00:00 mx-d12 postfix/smtpd[449]: NOQUEUE: reject: RCPT from mail.stranger.test[2001:db8:19::66]: \
454 4.7.1 <canary@canary.test>: Relay access denied; from=<tok4f9a2c7be1d0-a@stranger.test> to=<canary@canary.test> proto=ESMTP \
helo=<mtaudit-tok4f9a2c7be1d0.stranger.test>
2026-11-21T21:14:21.273878+00:00 mx-d12 postfix/smtpd[449]: NOQUEUE: reject: RCPT from mail.stranger.test[2001:db8:19::66]: \
454 4.7.1 <canary@canary.test>: Relay access denied; from=<> to=<canary@canary.test> proto=ESMTP \
helo=<mtaudit-tok4f9a2c7be1d0.stranger.test>
2026-11-21T21:14:21.419997+00:00 mx-d12 postfix/smtpd[449]: connect from mail.stranger.test[198.19.0.66]
2026-11-21T21:14:21.423317+00:00 mx-d12 postfix/smtpd[449]: 6736B1C4A17: client=mail.stranger.test[198.19.0.66]
2026-11-21T21:14:21.424125+00:00 mx-d12 postfix/cleanup[448]: 6736B1C4A17: message-id=<>
2026-11-21T21:14:21.427853+00:00 mx-d12 postfix/qmgr[434]: 6736B1C4A17: from=<tok4f9a2c7be1d0-c@stranger.test>, size=270, \
nrcpt=1 (queue active)
2026-11-21T21:14:21.535514+00:00 mx-d12 postfix/smtp[451]: 6736B1C4A17: to=<canary@canary.test>, \
relay=sink.canary.test[2001:db8:51::20]:25, delay=0.1, delays=0.01/0.04/0/0.05, dsn=2.0.0, status=sent (250 2.0.0 Ok: kept)
2026-11-21T21:14:21.535691+00:00 mx-d12 postfix/qmgr[434]: 6736B1C4A17: removed
"""
JOURNAL = b"""\
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/smtpd[253]: 5B00F1C4A17: client=mail.stranger.test[198.19.0.66]
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/cleanup[257]: 5B00F1C4A17: removed (canceled)
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/smtpd[259]: NOQUEUE: reject: RCPT from mail.stranger.test[2001:db8:19::66]: \
554 5.7.1 <canary@canary.test>: Relay access denied; from=<> to=<canary@canary.test> proto=ESMTP \
helo=<mtaudit-tok4f9a2c7be1d0.stranger.test>
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/smtpd[259]: 694CE1C4A19: client=mail.stranger.test[198.19.0.66]
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/qmgr[236]: 694CE1C4A19: from=<tok4f9a2c7be1d0-c@stranger.test>, size=270, \
nrcpt=1 (queue active)
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/smtp[261]: 694CE1C4A19: to=<canary@canary.test>, \
relay=sink.canary.test[198.51.100.20]:25, delay=0.11, delays=0.01/0.03/0.02/0.05, dsn=2.0.0, status=sent (250 2.0.0 Ok: kept)
2026-11-21T21:14:21+00:00 mx-d13.corp.test postfix/qmgr[236]: 694CE1C4A19: removed
"""
IPV6 = LoggedClient("2001:db8:19::66", "mail.stranger.test", refused=True)
IPV4 = LoggedClient("198.19.0.66", "mail.stranger.test")


def line(text: str, program: str = "postfix/smtpd", stamp: str = "2026-11-21T21:14:21.000000+00:00 mx") -> str:
    return f"{stamp} {program}[7]: {text}\n"


def one(*lines: str) -> Trace:
    return trace("".join(lines).encode(), [TOKEN])[0]


@pytest.mark.parametrize(("log", "queue_id"), [(RSYSLOG, "6736B1C4A17"), (JOURNAL, "694CE1C4A19")])
def test_recorded_logs(log: bytes, queue_id: str) -> None:
    found, missing = trace(log, [TOKEN, "tok0000notthere"])
    assert found.clients == (IPV6, IPV4)
    assert found.queue_ids == (queue_id,)
    assert [(d.recipient, d.status, d.dsn, d.text) for d in found.deliveries] == [
        ("canary@canary.test", "sent", "2.0.0", "250 2.0.0 Ok: kept")
    ]
    assert all(TOKEN in text or queue_id in text for text in found.lines) and not found.before_queue_filter
    assert missing == Trace("tok0000notthere") and not missing.found


def test_the_lines_come_in_any_order() -> None:
    lines = RSYSLOG.decode().splitlines(keepends=True)
    shuffled = "".join([*lines[:-3], lines[-2], lines[-3], lines[-1]]).encode()
    assert trace(shuffled, [TOKEN])[0].deliveries == trace(RSYSLOG, [TOKEN])[0].deliveries


def test_a_queue_id_that_is_used_again_is_another_message() -> None:
    before = line("6736B1C4A17: client=other.test[198.51.100.99]") + line(
        "6736B1C4A17: to=<x@other.test>, relay=none, delay=1, delays=1/0/0/0, dsn=5.0.0, status=bounced (no)", "postfix/smtp")
    after = line("6736B1C4A17: client=later.test[198.51.100.98]") + line(
        "6736B1C4A17: to=<y@other.test>, relay=none, delay=1, delays=1/0/0/0, dsn=5.0.0, status=bounced (no)", "postfix/smtp")
    found = trace(before.encode() + RSYSLOG + after.encode(), [TOKEN])[0]
    assert found.clients == (IPV6, IPV4) and len(found.deliveries) == 1


def test_a_content_filter_is_not_the_client() -> None:
    """The message comes back from the filter with another queue id and the filter's address."""
    found = one(
        line("AAAA11C4A17: client=mail.stranger.test[198.19.0.66]"),
        line(f"AAAA11C4A17: from=<{TOKEN}@stranger.test>, size=1, nrcpt=1 (queue active)", "postfix/qmgr"),
        line("BBBB21C4A17: client=localhost[127.0.0.1]"),
        line(f"BBBB21C4A17: from=<{TOKEN}@stranger.test>, size=1, nrcpt=1 (queue active)", "postfix/qmgr"),
        line("AAAA11C4A17: to=<canary@canary.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.0.0, "
             "status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as BBBB21C4A17)", "postfix/smtp"),
        line("BBBB21C4A17: to=<canary@canary.test>, relay=sink[198.51.100.20]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, "
             "status=sent (250 Ok)", "postfix/smtp"),
    )
    assert found.clients == (IPV4,)
    assert found.queue_ids == ("AAAA11C4A17", "BBBB21C4A17")
    assert found.deliveries[-1].relay == "sink[198.51.100.20]:25"


def test_a_filter_that_hands_the_client_on() -> None:
    found = one(
        line("NOQUEUE: client=mail.stranger.test[198.19.0.66]"),
        line("AAAA11C4A17: client=localhost[127.0.0.1], orig_client=mail.stranger.test[198.19.0.66]"),
        line(f"AAAA11C4A17: from=<{TOKEN}@stranger.test>, size=1, nrcpt=1 (queue active)", "postfix/qmgr"),
    )
    assert found.clients == (IPV4,) and found.before_queue_filter


def test_ports_postscreen_instances_and_long_queue_ids() -> None:
    tail = f"550 5.7.1 Service currently unavailable; from=<a@b.test>, to=<c@d.test>, proto=ESMTP, helo=<{TOKEN}>"
    found = one(
        line(f"NOQUEUE: reject: RCPT from [198.19.0.66]:40312: {tail}", "postfix/postscreen"),
        line(f"NOQUEUE: reject: RCPT from unknown[198.19.0.67]:40313: {tail}", "postfix-wide/submission/smtpd"),
        line("4bWqCj0Jx5z1w: client=unknown[198.19.0.68]:40314"),
        line(f"4bWqCj0Jx5z1w: from=<{TOKEN}@b.test>, size=1, nrcpt=1 (queue active)", "postfix/qmgr"),
    )
    ports = [(c.address, c.port) for c in found.clients]
    assert ports == [("198.19.0.66", 40312), ("198.19.0.67", 40313), ("198.19.0.68", 40314)]


def test_old_time_stamps() -> None:
    found = one(line(f"NOQUEUE: reject: RCPT from u[198.19.0.66]: 454 4.7.1 no; from=<{TOKEN}@b.test> to=<c@d.test> helo=<x>",
                     stamp="Nov  1 21:14:21 mx"))
    assert [c.address for c in found.clients] == ["198.19.0.66"]


def test_our_own_simulation_is_no_session() -> None:
    said = f"NOQUEUE: reject: RCPT from unknown[192.0.2.66]: 454 4.7.1 no; from=<{TOKEN}@b.test> to=<c@d.test> helo=<x>"
    assert not one(line(said, "mtaudit/smtpd"), line("NOQUEUE: client=x[192.0.2.1]", "mtaudit/smtpd")).found


def test_secrets_and_control_characters_stay_out() -> None:
    found = one(line(f"warning: {TOKEN} password=hunter2 \x1b[31m"))
    assert "hunter2" not in found.lines[0] and "\x1b" not in found.lines[0]


def test_bytes_that_are_no_text() -> None:
    found = trace(b"\xff\xfe\0 garbage " + TOKEN.encode() + b"\n" + RSYSLOG, [TOKEN])[0]
    assert found.clients == (IPV6, IPV4)


def test_traces_survive_json() -> None:
    found = trace(RSYSLOG, [TOKEN])[0]
    assert Trace.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert found.deliveries[0] == Delivery("canary@canary.test", "sent", "sink.canary.test[2001:db8:51::20]:25", "2.0.0",
                                           "250 2.0.0 Ok: kept")


# Where the log is read from


def nothing() -> Replay:
    """A host without journalctl."""
    answers = [{"argv": argv, "stdin": "", "env": {}, "error": ["ToolMissing", "journalctl is not installed"]} for argv in ([],)]
    return Replay({"run": answers, "read": {}, "stat": {}, "glob": {}, "which": {}})


def journal(since: int, lines: int, stdout: str, returncode: int = 0, stderr: str = "") -> Replay:
    bounds = [f"--lines={lines}", f"--since=@{since}"]
    argv = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", *bounds, "SYSLOG_FACILITY=2"]
    answer = {"argv": argv, "stdin": "", "env": {}, "returncode": returncode, "stdout": stdout, "stderr": stderr}
    return Replay({"run": [answer]})


def test_the_file_and_its_rotated_copy(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    half = RSYSLOG.index(b"2026-11-21T21:14:21.535514")
    (tmp_path / "mail.log.1").write_bytes(RSYSLOG[:half])
    log.write_bytes(RSYSLOG[half:])
    os.utime(tmp_path / "mail.log.1", (time.time() - 60, time.time() - 60))
    traced = find_tokens(nothing(), [TOKEN], time.time() - 3600, [str(log)])
    assert traced.source == f"{log}.1, {log}" and traced.reason == "" and traced.lines_read == 12
    assert traced.traces[0].deliveries and traced.traces[0].clients == (IPV6, IPV4)


def test_packed_and_dated_copies(tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    log.write_bytes(b"")
    with gzip.open(tmp_path / "maillog-20261121.gz", "wb") as packed:
        packed.write(RSYSLOG)
    assert find_tokens(nothing(), [TOKEN], time.time() - 3600, [str(log)]).traces[0].found


def test_old_files_are_not_read(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(RSYSLOG)
    os.utime(log, (1000, 1000))
    reading = read_files([str(log)], time.time(), 1000)
    assert reading.log == b"" and reading.reason == "no mail log file was written to since then"


def test_the_newest_bytes_count(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(line("connect from x[198.51.100.1]").encode() * 1000 + RSYSLOG)
    reading = read_files([str(log)], 0, 4000)
    assert len(reading.log) <= 4000 and reading.log.startswith(b"2026-") and reading.log.endswith(b"removed\n")
    assert "only the last" in reading.reason
    traced = find_tokens(nothing(), [TOKEN], 0, [str(log)], max_bytes=4000)
    assert traced.traces[0].found


def test_directories_and_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mail").mkdir()
    assert read_files([str(tmp_path / "mail")], 0, 1000).reason == "no mail log file was written to since then"
    log = tmp_path / "mail.log"
    log.write_bytes(RSYSLOG)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert read_files([str(log)], 0, 1000).reason == f"Could not read {log}: Permission denied"


def test_the_journal_when_there_is_no_file(tmp_path: Path) -> None:
    traced = find_tokens(journal(700, 50, JOURNAL.decode()), [TOKEN], 1000, [str(tmp_path / "none")], max_bytes=10000)
    assert traced.source == "journal" and traced.traces[0].clients == (IPV6, IPV4) and traced.lines_read == 7


def test_the_journal_when_the_file_is_stale(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(line("connect from x[198.51.100.1]").encode())
    traced = find_tokens(journal(0, 50, JOURNAL.decode()), [TOKEN], 0, [str(tmp_path / "mail.log")], max_bytes=10000)
    assert traced.source == "journal" and traced.traces[0].found


def test_nothing_found_is_said_with_the_reasons(tmp_path: Path) -> None:
    traced = find_tokens(journal(700, 50, "", 1, "No journal files were found."), [TOKEN], 1000, [str(tmp_path / "x")], 10000)
    assert "no mail log file was written to" in traced.reason and "No journal files were found" in traced.reason
    assert "1 of 1 tokens are not in the log" in traced.reason and not traced.traces[0].found


def test_no_tokens_no_reading() -> None:
    assert find_tokens(nothing(), [], 0).reason == "there was no token to look for"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1795295661.5", 1795295661.5), ("2026-11-21T21:14:21Z", 1795295661.0), ("2026-11-21T21:14:21+00:00", 1795295661.0),
     ("2026-11-21T21:14:21", 1795295661.0), ("2026-11-21 22:14:21+01:00", 1795295661.0)],
)
def test_since(text: str, seconds: float) -> None:
    assert parse_since(text) == seconds


def test_since_that_is_no_time() -> None:
    with pytest.raises(ValueError):
        parse_since("yesterday")


def test_a_damaged_rotated_file_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "mail.log", tmp_path / "mail.log.1.gz"
    whole.write_bytes(b"now\n")
    damaged.write_bytes(gzip.compress(os.urandom(5000))[:2000])
    reading = read_files([str(whole)], 0.0, 1000)
    assert reading.log == b"now\n" and f"Could not read {damaged}" in reading.reason


def test_of_a_long_rotated_file_the_newest_lines_are_read(tmp_path: Path) -> None:
    packed = tmp_path / "mail.log.1.gz"
    packed.write_bytes(gzip.compress(b"".join(b"line %d\n" % n for n in range(50000))))
    reading = read_files([str(tmp_path / "mail.log")], 0.0, 1000)
    assert reading.log.endswith(b"line 49999\n") and len(reading.log) <= 1000 and reading.log.startswith(b"line ")
    assert "only the last" in reading.reason


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "soon"])
def test_what_is_no_point_in_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_since(text)
