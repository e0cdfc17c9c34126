"""What the log of a host says of accounts and passwords: lines of real daemons in, findings out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.finding import Finding, Method
from ansible.module_utils.mtaudit.logs import exim, opensmtpd, postfix, sendmail, survey
from ansible.module_utils.mtaudit.logs.passwords import leaks
from ansible.module_utils.mtaudit.readers.exim_model import Exim
from ansible.module_utils.mtaudit.runner import Completed, LocalRunner

POSTFIX = b"""\
2026-11-22T07:46:18.123301+00:00 full-d12 postfix/submission/smtpd[399]: 1C2B04540FE: client=mail.stranger.test[198.19.0.66], sasl_method=PLAIN, sasl_username=alice
2026-11-22T07:46:24.166663+00:00 full-d12 postfix/submission/smtpd[399]: warning: mail.stranger.test[198.19.0.66]: SASL PLAIN authentication failed: (reason unavailable), sasl_username=alice
2026-11-22T07:46:33.929466+00:00 full-d12 postfix/smtpd[435]: DFBD745414F: client=mail.stranger.test[198.19.0.66]
"""  # noqa: E501
EXIM = b"""\
2026-11-22 07:42:58 1xV2Dy-0000000007X-0aIu <= alice@exim-d13.test H=mail.stranger.test [198.19.0.66] P=esmtpsa X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256 CV=no A=login_server:alice S=509 id=20261122074257.003694@mail.stranger.test
2026-11-22 08:06:16 1xV2aW-0000I2-3B <= x@stranger.test H=mail.stranger.test [198.19.0.66] P=esmtp S=427 id=A=plain@mail.stranger.test
"""  # noqa: E501
SENDMAIL = b"""\
2026-11-22T07:47:01+00:00 sendmail-d13.corp.test sm-mta[262]: starting daemon (8.18.1): SMTP+queueing@00:10:00
2026-11-22T07:47:05+00:00 sendmail-d13.corp.test sm-mta[278]: AUTH=server, relay=mail.stranger.test [198.19.0.66], authid=alice, mech=PLAIN, bits=0
2026-11-22T07:47:05+00:00 sendmail-d13.corp.test sm-mta[278]: 6AM7l5vE000278: from=<alice@sendmail-d13.test>, size=278, class=0, nrcpts=1, msgid=<20261122074705.004221@mail.stranger.test>, proto=ESMTPSA, daemon=MSA, relay=mail.stranger.test [198.19.0.66]
2026-11-22T07:47:58+00:00 sendmail-d13.corp.test sm-mta[437]: 6AM7lwD6000437: from=<alice@sendmail-d13.test>, size=278, class=0, nrcpts=1, msgid=<20261122074758.004388@mail.stranger.test>, proto=ESMTPSA, daemon=MSA, relay=mail.stranger.test [198.19.0.66]
2026-11-22T07:47:59+00:00 sendmail-d13.corp.test sm-mta[440]: 6AM7lwhh000440: from=<x@stranger.test>, size=278, class=0, nrcpts=1, msgid=<, proto=ESMTPSA, relay=a [198.19.0.66]>, proto=ESMTP, daemon=MTA, relay=mail.stranger.test [198.19.0.66]
"""  # noqa: E501
OPENSMTPD = b"""\
Nov 22 07:42:15 opensmtpd-d13 smtpd[133]: 890342203739b4ad smtp connected address=198.19.0.66 host=mail.stranger.test
Nov 22 07:42:15 opensmtpd-d13 smtpd[133]: 890342203739b4ad smtp authentication user=alice result=ok
Nov 22 07:42:15 opensmtpd-d13 smtpd[133]: 890342203739b4ad smtp message msgid=a04cc666 size=478 nrcpt=1 proto=ESMTP
Nov 22 07:42:15 opensmtpd-d13 smtpd[133]: 890342203739b4ad smtp disconnected reason=quit
Nov 22 07:42:17 opensmtpd-d13 smtpd[133]: 8903422ab700ad42 smtp authentication user=alice result=permfail
Nov 22 07:42:17 opensmtpd-d13 smtpd[133]: 8903422ab700ad43 smtp message msgid=a04cc667 size=478 nrcpt=1 proto=ESMTP
"""


@pytest.mark.parametrize(("found", "accounts"), [
    (postfix.authenticated(POSTFIX), ["alice"]),
    (postfix.authenticated(POSTFIX.replace(b", sasl_username=alice\n2026-11-22T07:46:24", b"\n2026-11-22T07:46:24")), [""]),
    (exim.authenticated(EXIM), ["alice"]),
    (exim.authenticated(EXIM.replace(b"A=login_server:alice", b"A=login_server")), [""]),
    (exim.authenticated(EXIM.replace(b"A=login_server:alice", b"A=login_server:alice:bob@x.test")), ["alice:bob@x.test"]),
    (sendmail.authenticated(SENDMAIL), ["alice", ""]),
    (opensmtpd.authenticated(OPENSMTPD), ["alice"]),
])  # fmt: skip
def test_messages_of_people_who_logged_in_with_their_account(found: Sequence[object], accounts: list[str]) -> None:
    assert [getattr(sent, "account") for sent in found] == accounts  # noqa: B009


def test_another_client_of_the_same_process_id_is_somebody_else() -> None:
    other = SENDMAIL.replace(b"daemon=MSA, relay=mail.stranger.test [198.19.0.66]", b"daemon=MSA, relay=[198.19.0.67]", 1)
    assert [sent.account for sent in sendmail.authenticated(other)] == ["", ""]


def test_a_session_that_may_have_begun_before_the_log_does_is_not_judged() -> None:
    """Sendmail's login has a line of its own; where the log is cut it may stand in front of what was read."""
    without_start = SENDMAIL.partition(b"\n")[2]
    assert [sent.account for sent in sendmail.authenticated(without_start, cut=True)] == ["alice"]
    assert [sent.account for sent in sendmail.authenticated(SENDMAIL, cut=True)] == ["alice", ""]
    later = without_start.replace(b"T07:47:58", b"T08:47:58")
    assert [sent.account for sent in sendmail.authenticated(later, cut=True)] == ["alice", ""]


def test_between_two_logins_of_one_daemon_the_line_of_a_login_was_lost() -> None:
    """Seen once under load, of 154 messages. A daemon that does not write such lines writes none at all."""
    start, login, named, nameless, _other = SENDMAIL.splitlines(keepends=True)
    next_login = login.replace(b"sm-mta[278]", b"sm-mta[501]")
    assert [sent.account for sent in sendmail.authenticated(start + login + named + nameless + next_login)] == ["alice"]
    again = start.replace(b"sm-mta[262]", b"sm-mta[400]")
    assert [sent.account for sent in sendmail.authenticated(login + named + again + nameless)] == ["alice", ""]
    assert [sent.account for sent in sendmail.authenticated(login + nameless + again + next_login)] == [""]
    assert [sent.account for sent in sendmail.authenticated(start + nameless + login + named)] == ["", "alice"]


EXIM_LEAK = (
    b'2026-11-22 07:42:54 SMTP protocol error in "AUTH PLAIN AGFsaWNlAFdyZW4tQ29wcGVyLUxhbnRlcm4tNTg=" H=mail.stranger.test (x) '
    b"[198.19.0.66] AUTH command used when not advertised\n"
)
OPENSMTPD_LEAK = (
    b"2026-11-22T07:43:39+00:00 opensmtpd-d13.corp.test smtpd[133]: 8903422c22706790 smtp failed-command command="
    b'"AUTH PLAIN AGFsaWNlAFdyZW4tQ29wcGVyLUxhbnRlcm4tNTg=" result="503 5.5.1 Invalid command: Command not supported"\n'
)
POSTFIX_LEAK = (
    b"2026-11-22T07:46:48.637485+00:00 full-d12 postfix/submission/smtpd[484]: < mail.stranger.test[198.19.0.66]: AUTH PLAIN "
    b"AGFsaWNlAFdyZW4tQ29wcGVyLUxhbnRlcm4tNTg=\n2026-11-22T07:46:48.637753+00:00 full-d12 postfix/submission/smtpd[484]: "
    b"xsasl_dovecot_server_first: sasl_method PLAIN, init_response AGFsaWNlAFdyZW4tQ29wcGVyLUxhbnRlcm4tNTg=\n"
)
POSTFIX_LOGIN = (
    b"2026-11-22T07:46:48.6+00:00 full-d12 postfix/smtpd[484]: > mail.stranger.test[198.19.0.66]: 334 UGFzc3dvcmQ6\n"
    b"2026-11-22T07:46:48.6+00:00 full-d12 postfix/smtpd[485]: < other.test[198.19.0.67]: QUIT\n"
    b"2026-11-22T07:46:48.6+00:00 full-d12 postfix/smtpd[484]: < mail.stranger.test[198.19.0.66]: "
    b"V3Jlbi1Db3BwZXItTGFudGVybi01OA==\n"
)
SENDMAIL_LEAK = (
    b"2026-11-22T07:48:53+00:00 sendmail-d13.corp.test sm-mta[593]: 6AM7mrCG000593: <-- AUTH PLAIN "
    b"AGFsaWNlAFdyZW4tQ29wcGVyLUxhbnRlcm4tNTg=\n"
)
DOVECOT_DEBUG = (
    b"2026-11-22T07:51:01.415279+00:00 full-d12 dovecot: auth: Debug: client in: AUTH#0113#011PLAIN#011service=smtp#011nologin"
    b"#011lip=198.51.100.128#011rip=198.19.0.66#011secured#011resp=AGFsaWNlAFdyZW4tQ29wcGVyLUxhbnRlcm4tNTg= (previous base64 "
    b"data may contain sensitive data)\n"
)
DOVECOT_GIVEN = (
    b"Nov 22 07:51:01 h dovecot: auth: passwd-file(al,198.19.0.66): Password mismatch (given password: Wren-Copper-58)\n"
)


@pytest.mark.parametrize(("log", "accounts"), [
    (EXIM_LEAK, ["alice"]), (OPENSMTPD_LEAK, ["alice"]), (POSTFIX_LEAK, ["alice", "alice"]), (POSTFIX_LOGIN, [""]),
    (SENDMAIL_LEAK, ["alice"]), (DOVECOT_DEBUG, ["alice"]), (DOVECOT_GIVEN, [""]),
    (DOVECOT_GIVEN.replace(b"given password: Wren", b"SHA1 of given password: 0123456789abcdef"), [""]),
])  # fmt: skip
def test_a_password_in_the_log_is_found_and_not_repeated(log: bytes, accounts: list[str]) -> None:
    found = list(leaks(log))
    assert [leak.account for leak in found] == accounts
    for leak in found:
        assert "(redacted)" in leak.line
        assert not any(word in leak.line for word in ("AGFsaWNl", "V3Jlb", "Wren", "0123456789"))


@pytest.mark.parametrize("log", [
    POSTFIX, EXIM, SENDMAIL, OPENSMTPD, b"x AUTH PLAIN LOGIN\n", b"250-AUTH PLAIN LOGIN CRAM-MD5\n",
    b'x smtp failed-command command="AUTH PLAIN (...)" result="535 Authentication failed"\n',
    b"x AUTH PLAIN YWJjZGVmZ2g=\n",  # no PLAIN response: nothing between NULs
    b"x dovecot: auth: client in: AUTH 1 PLAIN service=smtp resp=<hidden>\n",
    b"x dovecot: auth: pam(alice): Password mismatch (SHA1 of given password: 1a2b3c)\n",
    b"x postfix/smtpd[484]: > h[198.19.0.66]: 334 UGFzc3dvcmQ6\n",
])  # fmt: skip
def test_what_only_looks_like_a_password_is_none(log: bytes) -> None:
    assert list(leaks(log)) == []


def test_a_long_log_of_almost_passwords_is_read_in_time() -> None:
    log = b"x[1]: 334 UGFzc3dvcmQ6\n" * 20_000 + b"AUTH PLAIN " * 50_000
    assert list(leaks(log)) == []


# The survey: where the log is, and what is said when there is nothing

class Journal(LocalRunner):
    """A host whose journal is this text."""

    def __init__(self, text: str = "", returncode: int = 0) -> None:
        super().__init__()
        self.text, self.returncode = text, returncode

    def run(self, argv: Sequence[str], *more: object, **named: object) -> Completed:  # type: ignore[override]
        assert argv[0] == "journalctl"
        self.spawns += 1
        return Completed(self.returncode, self.text, "no journal files were found" if self.returncode else "")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only file that syslog writes."""
    path = tmp_path / "mail.log"
    monkeypatch.setattr(survey, "FILES", (str(path),))
    return path


def by_control(found: Sequence[Finding]) -> dict[str, Finding]:
    assert all(finding.method is Method.LOG for finding in found)
    return {finding.control: finding for finding in found}


BOTH = {"LOG-01", "LOG-06"}


def test_the_file_comes_first_and_costs_no_spawn(file: Path) -> None:
    file.write_bytes(POSTFIX)
    runner = Journal()
    found = by_control(survey.survey(runner, {"postfix": ["any"]}, BOTH))
    assert {i: f.status.value for i, f in found.items()} == {"LOG-01": "pass", "LOG-06": "pass"}
    assert runner.spawns == 0


def test_without_a_file_the_journal_is_read_once(file: Path) -> None:
    runner = Journal((SENDMAIL + SENDMAIL_LEAK).decode())
    found = by_control(survey.survey(runner, {"sendmail": ["any"], "dovecot": []}, BOTH))
    assert found["LOG-01"].status.value == "fail" and found["LOG-06"].status.value == "fail"
    assert "of 2 authenticated messages in the log 1 name no account" in found["LOG-01"].message
    assert "alice" in found["LOG-06"].message
    assert runner.spawns == 1
    for finding in found.values():
        assert finding.evidence and all("AGFsa" not in e.text and e.where == "journal" for e in finding.evidence)


def test_nothing_is_said_of_what_nobody_asks() -> None:
    assert survey.survey(Journal(), {"postfix": ["any"]}, {"RELAY-01"}) == []
    assert survey.survey(Journal(), {}, BOTH) == []


def test_no_log_at_all_concerns_nobody_and_an_unreadable_one_is_unknown(file: Path) -> None:
    found = by_control(survey.survey(Journal(), {"postfix": ["any"]}, BOTH))
    assert {f.status.value for f in found.values()} == {"notapplicable"}
    assert all(f.reason for f in found.values())
    found = by_control(survey.survey(Journal(returncode=1), {"postfix": ["any"]}, BOTH))
    assert {f.status.value for f in found.values()} == {"unknown"}
    assert all("journalctl failed" in f.reason for f in found.values())


def test_exims_own_files_are_those_of_its_configuration(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mainlog").write_bytes(EXIM + EXIM_LEAK)
    instance = Exim("/etc/exim.conf", options={"log_file_path": f"{tmp_path}/%slog"})
    runner = Journal()
    found = by_control(survey.survey(runner, {"exim": [instance]}, BOTH))
    assert found["LOG-01"].status.value == "pass" and found["LOG-06"].status.value == "fail"
    assert runner.spawns == 0


def test_only_the_end_of_a_long_log_is_read_and_old_ones_are_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_BYTES", 2000)
    file.write_bytes(POSTFIX_LEAK + POSTFIX * 20)
    found = by_control(survey.survey(Journal(), {"postfix": ["any"]}, BOTH))
    assert found["LOG-06"].status.value == "pass"  # the leak stands in front of what was read
    old = time.time() - 9 * 86_400
    os.utime(file, (old, old))
    found = by_control(survey.survey(Journal(), {"postfix": ["any"]}, BOTH))
    assert {f.status.value for f in found.values()} == {"notapplicable"}
