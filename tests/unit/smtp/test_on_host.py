"""What a host hands to sendmail(1), and how it waits for its own log."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.logs.places import Program
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.smtp.flow import Answer, Direction, Status
from ansible.module_utils.mtaudit.smtp.on_host import Order, confirm, hand_over

CANARY, KNOWN = "canary@sink.test", "root@good.test"
PROGRAM = '#!/bin/sh\necho "$@" >> {here}/arguments\ncat > {here}/message.$2\n{end}\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)
    return tmp_path


def hand(place: Path, end: str = "exit 0", name: str = "sendmail", **more: object) -> dict[str, Answer]:
    if end:
        (place / name).write_text(PROGRAM.format(here=place, end=end))
        (place / name).chmod(0o755)
        if name != "sendmail":
            (place / "sendmail").symlink_to(name)
    values = {"user": "root", "timeout_s": 5.0, "places": (str(place), "/usr/bin", "/bin"), **more}
    found = hand_over(Order("mx", CANARY, KNOWN, "mx.good.test", **values))  # type: ignore[arg-type]
    return {answer.direction.value: answer for answer in found}


def test_two_messages_are_handed_over(place: Path) -> None:
    found = hand(place)
    assert [a.status for a in found.values()] == [Status.ACCEPTED, Status.ACCEPTED]
    assert (place / "arguments").read_text().splitlines() == [f"-i {CANARY}", f"-i {KNOWN}"]
    text = (place / f"message.{KNOWN}").read_text()
    head = text.partition("\n\n")[0].splitlines()
    assert f"Message-ID: <{found['local'].token}@mx.good.test>" in head and f"To: <{KNOWN}>" in head
    assert not [line for line in head if line.startswith("From:")] and "\r" not in text


def test_opensmtpd_is_told_a_sender_with_the_token(place: Path) -> None:
    token = hand(place, name="smtpctl")["out"].token
    assert (place / "arguments").read_text().splitlines()[0] == f"-i -f root+{token}@mx.good.test {CANARY}"


@pytest.mark.parametrize(("end", "status", "detail"), [
    ("echo 'You may not' >&2; exit 77", Status.REFUSED, "sendmail(1) ended with status 77: You may not"),
    ("exit 75", Status.UNKNOWN, "sendmail(1) ended with status 75"),
    ("exec sleep 5", Status.UNKNOWN, "sendmail(1) did not end within 0.3 s"),
])  # fmt: skip
def test_what_sendmail_says(place: Path, end: str, status: Status, detail: str) -> None:
    answer = hand(place, end, timeout_s=0.3 if "sleep" in end else 5.0)["out"]
    assert (answer.status, answer.detail) == (status, detail)


def test_no_sendmail_and_nothing_declared(place: Path) -> None:
    found = hand(place, "", places=(str(place),))
    assert {(a.status, a.detail) for a in found.values()} == {(Status.NOT_SENT, "there is no sendmail(1)")}
    found = {a.direction.value: a for a in hand_over(Order("mx", "", "", "mx.good.test"))}
    assert (found["out"].detail, found["local"].detail) == ("no canary is declared", "no known recipient is declared")


def test_no_such_account(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    answer = hand(place, user="nobody-of-that-name")["out"]
    assert answer.status is Status.REFUSED and "there is no account nobody-of-that-name" in answer.detail


LINES = """\
{now} mx postfix/cleanup[9]: 4A3B2C1D4E5: message-id=<{token}@mx.good.test>
{now} mx postfix/local[9]: 4A3B2C1D4E5: to=<root@good.test>, relay=local, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, \
status={status} (delivered to mailbox)
"""


@pytest.mark.parametrize(("status", "found"), [("sent", Status.ARRIVED), ("bounced", Status.REFUSED)])
def test_the_log_is_waited_for(place: Path, status: str, found: Status) -> None:
    log = place / "mail.log"
    log.write_text("nothing yet\n")
    sent = Answer(Direction.LOCAL, "mx", "sendmail", Status.ACCEPTED, token="mtaudit-0a1b2c3d", at=time.time())
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    writer = threading.Timer(0.5, lambda: log.write_text(LINES.format(now=stamp, token=sent.token, status=status)))
    writer.start()
    begun = time.monotonic()
    (answer,) = confirm(LocalRunner(), [sent], [Program("postfix")], [str(log)], wait_s=10)
    assert answer.status is found and 0.5 <= time.monotonic() - begun < 3


def test_a_log_that_never_tells_leaves_it_accepted(place: Path) -> None:
    (place / "mail.log").write_text("other\n")
    sent = Answer(Direction.IN, "mx", "192.0.2.1:25", Status.ACCEPTED, token="mtaudit-0a1b2c3d", at=time.time())
    (answer,) = confirm(LocalRunner(), [sent], [Program("postfix")], [str(place / "mail.log")], wait_s=0.3)
    assert answer.status is Status.ACCEPTED and answer.detail.startswith("the log says nothing of this message (")


def test_nothing_is_read_when_all_is_known() -> None:
    known = [Answer(Direction.OUT, "mx", "sendmail", Status.ARRIVED, token="mtaudit-1")]
    assert confirm(LocalRunner(), known, [Program("exim")], wait_s=10) == known
