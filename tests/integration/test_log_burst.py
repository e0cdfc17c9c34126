"""A drill: a mail program logs 80,000 lines at once, and both places are counted.

What LOG-03 says of the configuration must be what comes of it: journald's limit drops lines of the journal, its forwarding misses
some of the file; without the limit the journal has every line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible.module_utils.mtaudit.control import Site
from capture_fixture import evaluate, record

if TYPE_CHECKING:
    from lab import Lab

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
LINES = 80_000
UNIT = "postfix@-.service"
# Sent from within the service, whose limit is to count.
SEND = f"""
group=$(systemctl show -P ControlGroup {UNIT})
for root in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
  [ ! -w "$root$group/cgroup.procs" ] || {{ echo $$ > "$root$group/cgroup.procs"; break; }}
done
exec python3 -c '
import sys, syslog
syslog.openlog("postfix/smtpd", 0, syslog.LOG_MAIL)
for number in range({LINES}):
    syslog.syslog(f"{{sys.argv[1]}}-{{number:06}}: client=drill, sasl_username=alice")' "$1"
"""
COUNT = """
for attempt in $(seq 60); do
  before=$(stat -c %s /var/log/mail.log); sleep 1
  [ "$before" != "$(stat -c %s /var/log/mail.log)" ] || break
done
journalctl --sync
echo "$(grep -c "$1-" /var/log/mail.log) $(journalctl -q -t postfix/smtpd | grep -c "$1-")"
journalctl -q --since "$2" -t systemd-journald -o cat
"""


@dataclass(frozen=True)
class Arrived:
    """How many lines of a burst the file and the journal have, and how many journald says that it missed and dropped."""

    file: int
    journal: int
    missed: int
    dropped: int


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[str]:
    """A copy of a good host with rsyslog and journald."""
    name = "drill-log-burst"
    lab.remove(name)
    lab.clone("mx-d12", name)
    yield name
    lab.remove(name)


def burst(lab: Lab, host: str, token: str) -> Arrived:
    since = lab.execute(host, "date", "+%F %T").stdout.strip()
    sent = lab.execute(host, "bash", "-c", SEND, "send", token, timeout_s=300)
    assert sent.returncode == 0, sent.stderr
    said = lab.execute(host, "bash", "-c", COUNT, "count", token, since, timeout_s=300).stdout
    file, journal = map(int, said.split("\n", 1)[0].split())
    missed = sum(map(int, re.findall(r"Forwarding to syslog missed (\d+) messages", said)))
    return Arrived(file, journal, missed, sum(map(int, re.findall(r"Suppressed (\d+) messages", said))))


def verdict(lab: Lab, host: str) -> tuple[str, str]:
    """What LOG-03 says of the host, and all that it shows for it."""
    programs, recording = record(["podman", "exec", "-i", lab.hosts.container_name(host)], ["LOG-03"])
    (finding,) = [f for f in evaluate(programs, recording, Site(kind="mx")) if f.control == "LOG-03"]
    return finding.status.value, "\n".join([finding.message, *(e.text for e in finding.evidence)])


def test_without_a_limit_the_journal_has_every_line(lab: Lab, host: str) -> None:
    assert verdict(lab, host)[0] == "pass"
    arrived = burst(lab, host, "whole")
    assert (arrived.journal, arrived.dropped) == (LINES, 0)
    assert 0 < arrived.file <= LINES


def test_with_a_limit_both_places_lose_lines_and_that_is_a_failure(lab: Lab, host: str) -> None:
    """A tenth of Debian's, so that a slow machine shows it too."""
    limit = "printf '[Journal]\\nRateLimitIntervalSec=30s\\nRateLimitBurst=1000\\n' > /etc/systemd/journald.conf.d/lab.conf"
    done = lab.execute(host, "sh", "-c", f"{limit} && systemctl restart systemd-journald rsyslog && sleep 1")
    assert done.returncode == 0, done.stderr
    arrived = burst(lab, host, "limited")
    assert 1000 <= arrived.journal < LINES
    # journald tells of what it dropped when the service logs again after the interval, if it does.
    assert arrived.dropped <= LINES - arrived.journal
    assert 0 < arrived.file <= LINES
    status, shown = verdict(lab, host)
    assert status == "fail"
    assert "1000 lines in 30 s" in shown
