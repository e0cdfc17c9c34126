"""Tell the postmaster which logins went over their limit of Exim: a timer that looks once a day, and writes if there was one."""

from __future__ import annotations

import glob
import re

from ..config.files import NewFile
from ..config.host import Wanted
from ..readers.exim import Exim
from ..readers.exim_syntax import items

# What a limit tells the log. The login comes last, since it may hold anything; senders may hold what looks like it, but the line
# does not end there.
LOGGED = "over the limit: $sender_rate in $sender_rate_period, allowed $sender_rate_limit, login '${lc:$authenticated_id}'"
_TIMER = "mtaudit-send-limits.timer"
_SCRIPT = "/etc/mtaudit/send-limits.py"
_PROGRAM = r'''# Written by mtaudit.
"""Tell the postmaster which logins Exim put off on a day because of their limit: yesterday, if no day is given."""

import datetime
import email.message
import glob
import gzip
import os
import re
import socket
import subprocess
import sys

LINE = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(?:(?! F=<).)* A=.* temporarily rejected DATA: "
                  r"over the limit: (\d+\.?\d*) in (\w+), allowed (\d+\.?\d*), login '(.*)'$")


def journal(name, day):
    """A rejection is there as a notice and, unless syslog_duplication is off, as information, too."""
    next_day = str(datetime.date.fromisoformat(day) + datetime.timedelta(1))
    for priority in ("5..5", "6..6"):
        shown = ["journalctl", "-q", "-o", "short-iso", "-t", name, "-p", priority, "-S", day, "-U", next_day]
        said = subprocess.run(shown, stdout=subprocess.PIPE, check=True).stdout.decode("utf-8", "replace")
        found = [line for line in said.splitlines() if LINE.match(line)]
        if found:
            return found
    return []


def lines(log, day):
    if log.startswith("journal:"):
        yield from journal(log[len("journal:"):], day)
        return
    begin = datetime.datetime.fromisoformat(day).timestamp()
    for path in glob.glob(log):
        if os.path.isfile(path) and os.stat(path).st_mtime >= begin:
            with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", errors="replace") as file:
                yield from file


def report(log, day):
    found = {}
    for line in lines(log, day):
        match = LINE.match(line.rstrip("\n"))
        if match and match[1] == day:
            _, time, rate, period, allowed, login = match.groups()
            found.setdefault((login, period, allowed), []).append((time, float(rate)))
    for (login, period, allowed), times in sorted(found.items()):
        most, first, last = max(rate for _, rate in times), min(times)[0], max(times)[0]
        name = "".join(c if c.isprintable() else "?" for c in login)
        yield f"{name}: put off {len(times)} times, from {first} to {last}; {most:.0f} recipients in {period}, allowed {allowed}"


log, day = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else str(datetime.date.today() - datetime.timedelta(1))
told = list(report(log, day))
if told:
    message = email.message.EmailMessage()
    message["To"] = "postmaster"
    message["Subject"] = f"Over the limit of mail on {socket.getfqdn()}: {len(told)} on {day}"
    message["Auto-Submitted"] = "auto-generated"
    head = f"These logins wanted to send more than they may on {day}. Ask their owners whether it was them.\n\n"
    message.set_content(head + "\n".join(told) + "\n", cte="8bit")
    # -odf: what delivers in the background, systemd would end with the service.
    subprocess.run(["/usr/sbin/sendmail", "-oi", "-odf", "-t"], input=message.as_bytes(), check=True)
'''
_SERVICE = """\
# Written by mtaudit.
[Unit]
Description=Tell the postmaster which logins went over their limit of mail

[Service]
Type=oneshot
ExecStart=/usr/bin/env python3 -I {script} "{log}"
{zone}"""
_DAILY = """\
# Written by mtaudit.
[Unit]
Description=Tell the postmaster every day which logins went over their limit of mail

[Timer]
OnCalendar=*-*-* 00:10:00
Persistent=true

[Install]
WantedBy=timers.target
"""


def telling(exim: Exim) -> Wanted:
    """The program, its service and its timer."""
    zone = exim.options.get("timezone", "")
    service = _SERVICE.format(script=_SCRIPT, log=_main_log(exim).replace("%", "%%"),
                              zone=f"Environment=TZ={zone}\n" * bool(zone))  # fmt: skip
    units = "/etc/systemd/system/"
    texts = {_SCRIPT: _PROGRAM, f"{units}{_TIMER.replace('.timer', '.service')}": service, f"{units}{_TIMER}": _DAILY}
    return Wanted(texts={path: NewFile(path, text.encode(), 0o644) for path, text in texts.items()}, told={_TIMER: "start"})


def _main_log(exim: Exim) -> str:
    """A pattern of its files, copies and packed ones too, or the name in the journal where syslog alone has it (specification,
    "Log files")."""
    built_in = f"{exim.options.get('spool_directory', '')}/log/%slog"
    paths = [item.strip() or built_in for item in items(exim.options.get("log_file_path", ""))] or [built_in]
    file = next((path for path in paths if path != "syslog"), "")
    if not file:
        return f"journal:{exim.options.get('syslog_processname', '') or 'exim'}"
    dated = re.sub(r"[-.]?%[DM]", "*", glob.escape(file).replace("%s", "main"))
    return dated if dated.endswith("*") else f"{dated}*"
