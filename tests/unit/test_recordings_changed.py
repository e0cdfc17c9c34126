"""Recordings of real hosts with lines of their configuration changed: one line, and the control that it is about turns."""

from __future__ import annotations

from typing import Any

import pytest
from capture_fixture import evaluate, site_from
from test_relay_controls import FIXTURES, load

Lines = list[tuple[str, str]]
RECIPIENTS = "smtpd_recipient_restrictions = reject_unlisted_recipient"
UNLIMITED = ("smtp_accept_max_nonmail = 10", "smtp_accept_max_nonmail = 100000")
LIMIT = "deny\n    ratelimit = 3 / 1h / strict / per_cmd\n    message = TLS first"
NO_TLS = "deny\n    !encrypted = *\n    message = TLS first"
READ_ONLY = ("/ per_rcpt / strict /", "/ per_rcpt / readonly /")
DEFERS = "defer\n    authenticated = *\n    ratelimit = 4"
COUNTS = "warn\n    ratelimit = 4 / 1h / per_rcpt / user-${lc:$authenticated_id}"
OPEN_BY_ACL = "AUTH-01/pass-exim-login-in-clear-refused-by-the-acl"
CONDITION = "server_advertise_condition = ${if def:tls_in_cipher}"
CLIENTS = "-o smtpd_client_restrictions=permit_sasl_authenticated,reject"
RELAY = "-o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
ONE_LIST = "-o smtpd_recipient_restrictions="


def changed(found: Any, old: str, new: str) -> Any:
    if isinstance(found, str):
        return found.replace(old, new)
    if isinstance(found, dict):
        return {key: changed(value, old, new) for key, value in found.items()}
    return [changed(value, old, new) for value in found] if isinstance(found, list) else found


def said(control: str, recorded: str, lines: Lines, subject: str) -> str:
    recording, expected = load(FIXTURES / recorded)
    for old, new in lines:
        assert changed(recording, old, new) != recording, old
        recording = changed(recording, old, new)
    findings = evaluate(expected["programs"], recording, site_from(expected["site"]))
    (found,) = [f for f in findings if f.control == control and str(f.subject) == f"listener {subject}"]
    return found.status.value


@pytest.mark.parametrize(
    ("recorded", "lines", "status"),
    [
        ("pass-unlisted-asked-for-by-name", [], "pass"),
        # Something accepts before the restriction has its turn.
        ("pass-unlisted-asked-for-by-name",
         [(RECIPIENTS, RECIPIENTS.replace("reject", "check_client_access static:OK, reject"))], "fail"),
        ("pass-unlisted-asked-for-by-name",
         [("receive_override_options =\n", "receive_override_options = no_unknown_recipient_checks\n")], "fail"),
        ("pass-unlisted-asked-for-by-name", [(RECIPIENTS, f"{RECIPIENTS}, permit")], "pass"),
    ],
)  # fmt: skip
def test_who_gets_mail(recorded: str, lines: Lines, status: str) -> None:
    assert said("RCPT-01", f"RCPT-01/{recorded}", lines, "*:25") == status


@pytest.mark.parametrize(
    ("recorded", "lines", "status"),
    [
        ("AUTH-06/pass-exim-session-in-exim-is-cut-off", [], "pass"),
        (OPEN_BY_ACL, [("smtp_accept_max_nonmail = 10", "smtp_accept_max_nonmail = 0")], "pass"),  # at the second attempt
        (OPEN_BY_ACL, [("smtp_accept_max_nonmail_hosts = *", "smtp_accept_max_nonmail_hosts = ")], "fail"),
        (OPEN_BY_ACL, [UNLIMITED], "fail"),
        (OPEN_BY_ACL, [UNLIMITED, (NO_TLS, LIMIT)], "pass"),
        (OPEN_BY_ACL, [UNLIMITED, (NO_TLS, f"accept\n    encrypted = *\n    {LIMIT}")], "fail"),
    ],
)
def test_how_often_a_session_of_exim_may_guess(recorded: str, lines: Lines, status: str) -> None:
    assert said("AUTH-06", recorded, lines, "*:587") == status


@pytest.mark.parametrize(
    ("recorded", "lines", "status"),
    [
        ("pass-exim-rates-are-kept", [READ_ONLY], "fail"),
        ("pass-exim-rates-are-kept", [READ_ONLY, (DEFERS, f"{COUNTS}\n    {DEFERS}")], "pass"),
        ("pass-exim-rates-are-kept", [(DEFERS, DEFERS.replace("defer", "warn"))], "fail"),
        ("pass-exim-rates-are-kept", [("/ per_rcpt / strict /", "/ strict /")], "pass"),  # messages, as the finding says
        ("pass-exim-rates-are-kept", [("/ per_rcpt / strict /", "/ per_rcpt / leaky /")], "pass"),
        ("pass-sendmail-rates-are-kept", [("{auth_authen}, {auth_ssf}", "{auth_ssf}")], "fail"),
        ("fail-rates-none", [("smtpd_client_message_rate_limit = 0", "smtpd_client_message_rate_limit = 4")], "fail"),
    ],
)
def test_what_an_account_may_send(recorded: str, lines: Lines, status: str) -> None:
    assert said("RATE-01", f"RATE-01/{recorded}", lines, "*:587") == status


@pytest.mark.parametrize(
    ("recorded", "lines", "status"),
    [
        ("pass-exim-untouched", [("message_size_limit = 50M", "message_size_limit = 0")], "fail"),
        ("pass-exim-untouched", [("\nsmtp_accept_max = 20\n", "\nsmtp_accept_max = 0\n")], "fail"),
        ("pass-exim-untouched", [("\nrecipients_max_reject\n", "\nno_recipients_max_reject\n")], "pass"),  # they are put off
        ("pass-sendmail-limits-are-counted", [("O MaxMessageSize=52428800", "#O MaxMessageSize=0")], "fail"),
        ("pass-sendmail-limits-are-counted",
         [("clientconn:\t2\n", ""), ("#O ConnectionRateThrottle=0", "O ConnectionRateThrottle=20")], "fail"),
        ("pass-sendmail-limits-are-counted",
         [("clientconn:\t2\n", ""), ("O MaxDaemonChildren=0", "O MaxDaemonChildren=40")], "pass"),
        ("pass-opensmtpd-untouched", [("max-rcpt 100\n", "max-rcpt 100\nsmtp max-message-size 200M\n")], "fail"),
    ],
)  # fmt: skip
def test_what_a_client_may_do_at_once(recorded: str, lines: Lines, status: str) -> None:
    assert said("RATE-02", f"RATE-02/{recorded}", lines, "*:25") == status


def test_clients_of_mynetworks_are_not_counted_and_nobody_is_accused() -> None:
    line = [("smtpd_client_message_rate_limit = 0", "smtpd_client_message_rate_limit = 2")]
    assert said("RATE-02", "RATE-02/pass-limits-connections-are-counted", line, "*:25") == "pass"


@pytest.mark.parametrize(
    ("control", "recorded", "lines", "status"),
    [
        # One authenticator has its condition, and the other not; then both.
        ("AUTH-01", "AUTH-01/fail-exim-login-in-clear",
         [("server_set_id = $auth2", f"server_set_id = $auth2\n    {CONDITION}")], "fail"),
        ("AUTH-01", "AUTH-01/fail-exim-login-in-clear",
         [(f"server_set_id = $auth{n}", f"server_set_id = $auth{n}\n    {CONDITION}") for n in (1, 2)], "pass"),
        ("AUTH-03", "AUTH-03/pass-untouched", [(f"{CLIENTS} ", ""), (f"{CLIENTS}\n", "\n")], "pass"),
        ("AUTH-03", "AUTH-03/pass-untouched",
         [(CLIENTS, "-o syslog_name=x"), (RELAY, "-o syslog_name=x"),
          (ONE_LIST, f"{ONE_LIST}permit_sasl_authenticated,reject")], "pass"),
        ("AUTH-03", "AUTH-03/pass-untouched", [(CLIENTS, "-o syslog_name=x"), (RELAY, "-o syslog_name=x")], "fail"),
        ("AUTH-03", "AUTH-03/pass-sendmail-untouched", [], "pass"),
        ("AUTH-03", "AUTH-03/pass-sendmail-untouched", [("\nO ServerCertFile", "\n#O ServerCertFile")], "fail"),
        ("AUTH-03", "AUTH-03/pass-sendmail-untouched", [("M=Ea", "M=EA")], "fail"),
        ("AUTH-05", "AUTH-05/pass-sendmail-untouched",
         [("C{TrustAuthMech}LOGIN PLAIN", "C{TrustAuthMech}LOGIN PLAIN CRAM-MD5")], "pass"),
        ("AUTH-05", "AUTH-05/pass-sendmail-untouched",
         [("O AuthMechanisms=LOGIN PLAIN", "O AuthMechanisms=LOGIN PLAIN ANONYMOUS"),
          ("O AuthOptions=A p y", "O AuthOptions=A p"), ("mech_list: PLAIN LOGIN", "mech_list: PLAIN LOGIN ANONYMOUS")], "fail"),
    ],
)  # fmt: skip
def test_how_people_log_in(control: str, recorded: str, lines: Lines, status: str) -> None:
    assert said(control, recorded, lines, "*:587") == status


@pytest.mark.parametrize(("version", "status"), [("3.12.1", "fail"), ("3.8.4", "pass"), ("4.1.1", "pass"), ("", "unknown")])
@pytest.mark.parametrize(("control", "subject"), [("OUT-02", "*:587"), ("SENDER-02", "*:587")])
def test_what_some_versions_of_rspamd_forget_to_quarantine(control: str, subject: str, version: str, status: str) -> None:
    lines = [("Rspamadm 3.12.1\n", version and f"Rspamadm {version}\n")] if version != "3.12.1" else []
    assert said(control, "OUT-02/fail-quarantine-that-is-forgotten", lines, subject) == status


def test_no_whole_address_is_listed() -> None:
    assert said("INB-02", "INB-02/pass-exim-untouched", [("/$sender_address_domain", "/$sender_address")], "*:25") == "fail"
