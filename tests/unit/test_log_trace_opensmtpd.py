"""Traces in logs recorded from OpenSMTPD 6.8 (rsyslog) and 7.6 (journal): refused and accepted, relayed, delivered, bounced."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.logs.opensmtpd import trace
from ansible.module_utils.mtaudit.logs.outcome import Delivery, LoggedClient, Trace
from ansible.module_utils.mtaudit.logs.places import Program, installed
from ansible.module_utils.mtaudit.logs.tracing import find_tokens
from ansible.module_utils.mtaudit.readers.sendmail import NAMES as SENDMAIL
from ansible.module_utils.mtaudit.runner import Replay

TOKEN = "toksys"
LOGS = Path(__file__).resolve().parents[1] / "fixtures" / "opensmtpd-log"
# A message for the canary, a mailbox, an alias of the canary and a domain that does not exist; then a refused recipient.
RECORDED = {"rsyslog-6.8.log": ("opensmtpd-d12.test", "d475939f"), "journal-7.6.log": ("opensmtpd-d13.test", "1c2875df")}
ACCEPTED = LoggedClient("198.19.0.66", "mail.stranger.test")
REFUSED = LoggedClient("198.19.0.66", "mail.stranger.test", 0, True)
SINK = "sink.canary.test[2001:db8:51::20]"
ID, OTHER = "c0608769da931c74", "c0608771bdee24f0"
CONNECTED = "smtp connected address=198.19.0.66 host=mail.stranger.test"


def one(*lines: str, token: str = TOKEN) -> Trace:
    log = "".join(f"2026-11-22T05:13:40+00:00 mx smtpd[7]: {line}\n" for line in lines)
    return trace(log.encode(), [token])[0]


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_log(name: str) -> None:
    domain, message = RECORDED[name]
    found, missing = trace((LOGS / name).read_bytes(), [TOKEN, "toknotthere"])
    assert found.clients == (ACCEPTED, REFUSED) and found.queue_ids == (message,)
    assert set(found.deliveries) == {
        Delivery("canary@canary.test", "sent", SINK, "2.0.0", "250 2.0.0 Ok: kept"),
        Delivery(f"alice@{domain}", "sent", "local", "", "Delivered"),
        Delivery(f"fwd@{domain}", "sent", SINK, "2.0.0", "250 2.0.0 Ok: kept"),
        Delivery("x@deaf.test", "bounced", "deaf.test", "", "Domain does not exist"),
    }
    assert any("failed-command" in line for line in found.lines) and missing == Trace("toknotthere")


@pytest.mark.parametrize("command", ["RCPT TO:<mtaudit-toksys@mx.test>", "rcpt TO: <mtaudit-toksys@mx.test>"])
def test_a_session_by_its_refused_random_mailbox(command: str) -> None:
    refused = f'{ID} smtp failed-command command="{command}" result="550 Invalid recipient: <x>"'
    found = one(f"{ID} {CONNECTED}", refused)
    assert found.clients == (REFUSED,) and found.deliveries == ()


def test_an_answer_to_us_is_no_session_of_ours() -> None:
    bounce = f"{ID} smtp envelope evpid=54ecce7c91aa582d from=<> to=<probe+mtaudit-toksys@stranger.test>"
    back = f'{OTHER} smtp failed-command command="RCPT TO:<probe+mtaudit-toksys@mx.test>" result="550 Invalid recipient"'
    found = one(f"{ID} smtp connected address=local host=mx.test", bounce, f"{OTHER} {CONNECTED}", back)
    assert found.clients == () and found.queue_ids == () and len(found.lines) == 2


def test_ipv6_and_no_reverse_name() -> None:
    refused = f'{ID} smtp failed-command command="MAIL FROM:<probe+toksys@x.test> SIZE=9" result="530 5.5.1 Must issue"'
    found = one(f"{ID} smtp connected address=[2001:db8:19::66] host=<unknown>", refused)
    assert found.clients == (LoggedClient("2001:db8:19::66", "", 0, True),)


def test_what_a_filter_hands_back_is_not_counted_again() -> None:
    to = "from=<p+toksys@x.test> to=<a@y.test>"
    found = one(
        f"{ID} {CONNECTED}", f"{ID} smtp envelope evpid=11112222aaaabbbb {to}",
        f"{OTHER} smtp connected address=127.0.0.1 host=localhost", f"{OTHER} smtp envelope evpid=33334444aaaabbbb {to}",
        f'0123456789abcdef mta delivery evpid=11112222aaaabbbb {to} rcpt=<-> source="127.0.0.1" relay="127.0.0.1 (localhost)" '
        'delay=0s result="Ok" stat="250 2.0.0 33334444 Message accepted for delivery"',
    )  # fmt: skip
    assert found.clients == (ACCEPTED,) and found.queue_ids == ("11112222", "33334444")
    assert found.deliveries[0].relay == "localhost[127.0.0.1]"


@pytest.mark.parametrize("said", [
    f'{ID} smtp failed-command command="FROB toksys smtp connected address=1.2.3.4 host=x" result="500 5.5.1 Invalid command"',
    f'{ID} smtp failed-command command="MAIL FROM:<a>\\" smtp connected address=1.2.3.4 host=toksys" result="553 5.1.0 No"',
    f"{ID} smtp connected address=1.2.3.4 extra host=toksys",
    f"{ID} smtp envelope evpid=11112222aaaabbbb from=<a@x.test> to=<toksys> from=<toksys> to=<b>",
])  # fmt: skip
def test_nobody_imitates_a_line(said: str) -> None:
    assert one(f"{OTHER} {CONNECTED}", said).clients == ()


def test_other_programs_lines_are_passed_over() -> None:
    log = f"Nov 22 05:13:40 mx postfix/smtpd[7]: {ID} {CONNECTED}\nNov 22 05:13:40 mx x[7]: {ID} smtp envelope toksys\n"
    assert trace(log.encode(), [TOKEN])[0] == Trace(TOKEN)


def test_tokens_are_kept_apart() -> None:
    first, second = trace(
        f"Nov 22 05:13:40 mx smtpd[7]: {ID} {CONNECTED}\n"
        f"Nov 22 05:13:40 mx smtpd[7]: {ID} smtp envelope evpid=11112222aaaabbbb from=<tok1@x.test> to=<a@y.test>\n"
        f"Nov 22 05:13:40 mx smtpd[7]: {ID} smtp envelope evpid=33334444aaaabbbb from=<tok2@x.test> to=<b@y.test>\n"
        'Nov 22 05:13:41 mx smtpd[7]: 0123456789abcdef mda delivery evpid=33334444aaaabbbb from=<tok2@x.test> to=<b@y.test> '
        "rcpt=<b@y.test> user=b delay=0s result=TempFail stat=Error (mail.maildir: full)\n".encode(),
        ["tok1", "tok2"],
    )
    assert first.queue_ids == ("11112222",) and first.deliveries == ()
    assert second.deliveries == (Delivery("b@y.test", "deferred", "local", "", "Error (mail.maildir: full)"),)


def test_it_is_found_by_itself_and_its_log_is_read(tmp_path: Path) -> None:
    which = {**dict.fromkeys(("exim", "exim4", *SENDMAIL)), "smtpctl": "/usr/sbin/smtpctl"}
    runner = Replay({"run": [], "read": {}, "stat": {}, "glob": {}, "which": which})
    assert Program("opensmtpd") in installed(runner)
    file = tmp_path / "mail.log"
    file.write_bytes((LOGS / "rsyslog-6.8.log").read_bytes())
    found = find_tokens(runner, [TOKEN], time.time() - 60, [str(file)], programs=[Program("opensmtpd", "/etc/smtpd.conf")])
    assert found.traces[0].clients == (ACCEPTED, REFUSED) and found.source == str(file)
