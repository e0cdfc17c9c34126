"""Controls on logs, in the states that a lab cannot take: months gone by, full disks, clocks of real machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.kernel import Clock
from ansible.module_utils.mtaudit.readers.exim import Exim
from ansible.module_utils.mtaudit.readers.journald import Journal, Setting
from ansible.module_utils.mtaudit.readers.log_keeping import Copy, LogFile, Logs
from ansible.module_utils.mtaudit.readers.log_places import Place, place_of
from ansible.module_utils.mtaudit.readers.logrotate import Rotation, Stanza
from ansible.module_utils.mtaudit.readers.system import Host, Seen
from ansible.module_utils.mtaudit.readers.uses import SECRET, UsedFile
from ansible.module_utils.mtaudit.runner import FileStat, Space

DAY = 86_400.0
NOW = 400 * DAY
PATH = "/var/log/exim4/mainlog"
STAT = FileStat(0, 0, 0o640, 1000, int(NOW * 1e9), "file")
GIB = 1024**3
ROOM = Space(100 * GIB, 50 * GIB)
EXIM = Place("Exim", "", (PATH,))
MAIL = Place("Sendmail", "mail")


def stat(days_ago: float) -> FileStat:
    return replace(STAT, mtime_ns=int((NOW - days_ago * DAY) * 1e9))


def with_file(copies: tuple[float, ...] = (), space: Space = ROOM, **more: Any) -> Logs:
    stanza = Stanza((PATH,), {"when": "daily", "rotate": "35"}, "/etc/logrotate.d/exim4-base:9")
    rotation = Rotation([stanza], True, "/etc/systemd/system/timers.target.wants/logrotate.timer", NOW - DAY / 2)
    file = LogFile(PATH, True, STAT, "", tuple(Copy(f"{PATH}.{n}", stat(days)) for n, days in enumerate(copies, 1)), space)
    return replace(Logs([EXIM], rotation=rotation, files={PATH: file}, now=NOW, started_at=NOW - 100 * DAY), **more)


def with_journal(age_days: float, whole: bool, used_bytes: int = GIB, settings: dict[str, str] | None = None) -> Logs:
    given = {name: Setting(value, "/etc/x") for name, value in (settings or {}).items()}
    oldest_at = NOW - age_days * DAY
    journal = Journal(True, given, directory="/var/log/journal", used_bytes=used_bytes, oldest_at=oldest_at, whole=whole)
    return Logs([MAIL], journal=journal, journal_space=ROOM, now=NOW, started_at=NOW - 100 * DAY)


def answer(control: str, host: Host, **tunables: Any) -> Finding:
    (finding,) = REGISTRY[(control, "os")].evaluate(host, Site(tunables=tunables))
    return finding


def kept(logs: Logs, **tunables: Any) -> Finding:
    return answer("LOG-04", Host(logs=logs), **tunables)


@pytest.mark.parametrize(("logs", "status", "says"), [
    (with_file(), "pass", "kept for 35 days (daily, rotate 35)"),
    (with_file(tuple(float(n) for n in range(1, 36))), "pass", "35 days"),
    (with_file(tuple(n / 5 for n in range(1, 36))), "fail", "the oldest of 35 copies of /var/log/exim4/mainlog ends 7 days ago"),
    (with_file(space=Space(100 * GIB, 200 * 1024**2)), "fail", "the disk is nearly full (200 MiB free, 0 %)"),
    (with_file(space=Space(4 * GIB, GIB // 2)), "pass", "35 days"),
])
def test_files(logs: Logs, status: str, says: str) -> None:
    finding = kept(logs)
    assert finding.status.value == status
    assert says in finding.message


@pytest.mark.parametrize(("change", "status", "says"), [
    ({"last_run_at": NOW - 9 * DAY}, "fail", "logrotate ran last 9 days ago"),
    ({"last_run_at": 0.0}, "unknown", ""),
    ({"scheduled": ""}, "fail", "nothing starts logrotate"),
    ({"installed": False}, "fail", "logrotate is not installed"),
    ({"stanzas": []}, "fail", "no configuration of logrotate names it"),
    ({"problem": "Could not read it"}, "unknown", ""),
])
def test_whether_logrotate_does_it(change: dict[str, Any], status: str, says: str) -> None:
    logs = with_file()
    finding = kept(replace(logs, rotation=replace(logs.rotation, **change)))
    assert finding.status.value == status
    assert says in finding.message
    assert status != "unknown" or finding.reason


def test_a_host_that_has_just_started_has_rotated_nothing_yet() -> None:
    logs = with_file(started_at=NOW - DAY)
    assert kept(replace(logs, rotation=replace(logs.rotation, last_run_at=0.0))).status.value == "pass"


@pytest.mark.parametrize(("max_days", "status"), [(0, "pass"), (36, "pass"), (35, "fail"), (30, "fail")])
def test_the_law_may_limit_it(max_days: int, status: str) -> None:
    assert kept(with_file(), max_days=max_days, min_days=7).status.value == status


@pytest.mark.parametrize(("logs", "status", "says"), [
    (with_journal(45, False), "pass", "begins 45 days ago"),
    (with_journal(45, True), "pass", "begins 45 days ago"),
    (with_journal(12, False), "fail", "what was older is deleted"),
    (with_journal(12, True), "pass", "has room for 48 days"),
    (with_journal(12, True, 3 * GIB), "fail", "16 days at this rate"),
    (with_journal(0.2, True), "pass", "room for 4096 MiB"),
    (with_journal(0.2, True, settings={"SystemMaxUse": "100M"}), "unknown", ""),
    (with_journal(45, False, settings={"MaxRetentionSec": "2week"}), "fail", "older than 14 days"),
    (with_journal(45, False, settings={"MaxRetentionSec": "60day"}), "pass", ""),
    (with_journal(45, False, settings={"SystemMaxUse": "much"}), "unknown", ""),
])
def test_the_journal_where_it_is_the_only_place(logs: Logs, status: str, says: str) -> None:
    finding = kept(logs)
    assert finding.status.value == status
    assert says in finding.message


def test_the_journal_may_be_limited_by_the_law_too() -> None:
    assert kept(with_journal(45, False), max_days=60).status.value == "fail"
    assert kept(with_journal(45, False, settings={"MaxRetentionSec": "60day"}), max_days=60).status.value == "pass"


def read_by(mode: int) -> Host:
    seen = Seen(UsedFile(PATH, SECRET, "a mail log"), PATH, replace(STAT, mode=mode), (("/var/log", replace(STAT, mode=0o755)),))
    return Host(log_files=[seen])


@pytest.mark.parametrize(("clock", "daemons", "container", "status", "says"), [
    (Clock(True, 500), (), "", "pass", "the kernel's clock is synchronised"),
    (Clock(False, 16_000_000), (), "", "fail", "not synchronised: nothing here sets it"),
    (Clock(False, 16_000_000), ("systemd-timesyn",), "", "fail", "systemd-timesyn runs, but has no time yet"),
    (Clock(False, 16_000_000), ("chronyd",), "", "unknown", "rtcsync"),
    (None, (), "", "unknown", "not permitted"),
    (Clock(False, 16_000_000), (), "/run/systemd/container", "pass", "is not judged here"),
    (Clock(True, 500), (), "/run/systemd/container", "pass", "is not judged here"),
])
def test_the_clock(clock: Clock | None, daemons: tuple[str, ...], container: str, status: str, says: str) -> None:
    host = read_by(0o640)
    host.logs = Logs(clock=clock, clock_problem="" if clock else "not permitted", time_daemons=daemons, container=container)
    host.accounts = replace(host.accounts, users={0: "root"})
    finding = answer("LOG-05", host)
    assert finding.status.value == status
    assert says in f"{finding.message} {finding.reason}"


@pytest.mark.parametrize(("mode", "status"), [(0o640, "pass"), (0o644, "fail"), (0o666, "fail"), (0o600, "pass")])
def test_the_mode_of_a_log(mode: int, status: str) -> None:
    host = read_by(mode)
    host.logs = Logs(clock=Clock(True, 500))
    host.accounts = replace(host.accounts, users={0: "root"})
    assert answer("LOG-05", host).status.value == status


def test_where_a_program_logs_whose_configuration_is_refused_is_not_known() -> None:
    place = place_of("Exim", Exim("/etc/exim4/exim4.conf", problem="'exim -bP config' failed"))
    assert kept(Logs([place], now=NOW, started_at=NOW - 100 * DAY)).status.value == "unknown"
    logs = Logs([place], now=NOW, started_at=NOW - 100 * DAY)
    assert answer("LOG-03", Host(logs=logs)).status.value == "unknown"
