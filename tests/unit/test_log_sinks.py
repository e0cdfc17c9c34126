"""Where lines of a mail program end up, as far as no recording shows it."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.controls.log_sinks import sinks
from ansible.module_utils.mtaudit.readers.journald import Journal
from ansible.module_utils.mtaudit.readers.log_keeping import LogFile, Logs
from ansible.module_utils.mtaudit.readers.log_places import Place
from ansible.module_utils.mtaudit.readers.rsyslog import Config, Message, Way
from ansible.module_utils.mtaudit.readers.rsyslog_syntax import Action
from ansible.module_utils.mtaudit.runner import FileStat

START, FILE, PLACE = 1_800_000_000.0, "/var/log/mail.log", Place("OpenSMTPD", "mail")


@pytest.mark.parametrize(("newest", "said"), [
    (START + 5000, "last written 6000 s before"),
    (START + 61, "last written 1061 s before"),
    (START + 2, ""),  # logged at boot: journald could not pass it on, and says so only later
    (0.0, ""),
])  # fmt: skip
def test_a_line_from_rsyslogds_start_does_not_make_a_file_late(newest: float, said: str) -> None:
    way = Way([Action("file", FILE, "/etc/rsyslog.conf:1")])
    logs = Logs(journal=Journal(running=True, newest_mail_at=newest), rsyslog=Config(modules={"imuxsock": {}}), rsyslog_at=START,
                ways={PLACE.title: [(Message("mail", "info", "smtpd", "x"), way)]}, daemons=("rsyslogd",),
                files={FILE: LogFile(FILE, False, FileStat(0, 4, 0o640, 100, int((START - 1000) * 1e9), "file"))})  # fmt: skip
    (why,) = (sink.why for sink in sinks(logs, PLACE, 1) if sink.name == FILE)
    assert said in why and ("last written" in why) == bool(said)
