"""Where lines of a mail program end up, as far as no recording shows it."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.controls.log_sinks import sinks
from ansible.module_utils.mtaudit.readers.journal_file import Line
from ansible.module_utils.mtaudit.readers.journald import Journal
from ansible.module_utils.mtaudit.readers.log_keeping import LogFile, Logs
from ansible.module_utils.mtaudit.readers.log_places import Place
from ansible.module_utils.mtaudit.readers.rsyslog import Config, Message, Way
from ansible.module_utils.mtaudit.readers.rsyslog_syntax import Action
from ansible.module_utils.mtaudit.runner import FileStat

BOOT, FILE, PLACE = 1_800_000_000.0, "/var/log/mail.log", Place("OpenSMTPD", "mail")


@pytest.mark.parametrize(("missed_at", "said"), [
    (None, "last written 1000 s before"),
    (BOOT - 60, "last written 1000 s before"),  # of an earlier burst: the line after it should be in the file
    (BOOT + 29, ""),  # rsyslogd started after the mail server, and journald says so at the next line that it passes on
])  # fmt: skip
def test_lines_that_journald_missed_to_pass_on_do_not_make_a_file_late(missed_at: float | None, said: str) -> None:
    lost = () if missed_at is None else (Line(missed_at, "Forwarding to syslog missed 62 messages."),)
    way = Way([Action("file", FILE, "/etc/rsyslog.conf:1")])
    logs = Logs(journal=Journal(running=True, newest_mail_at=BOOT, lost=lost), rsyslog=Config(modules={"imuxsock": {}}),
                ways={PLACE.title: [(Message("mail", "info", "smtpd", "x"), way)]}, daemons=("rsyslogd",),
                files={FILE: LogFile(FILE, False, FileStat(0, 4, 0o640, 100, int((BOOT - 1000) * 1e9), "file"))})  # fmt: skip
    (why,) = (sink.why for sink in sinks(logs, PLACE, 1) if sink.name == FILE)
    assert said in why and ("last written" in why) == bool(said)
