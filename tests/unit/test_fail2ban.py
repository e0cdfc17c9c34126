"""fail2ban's files merged as it merges them: expected is what `fail2ban-client -d` of 1.0.2 and 1.1.0 printed for such files."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.controls.guessing import allowed_per_day
from ansible.module_utils.mtaudit.readers import fail2ban
from ansible.module_utils.mtaudit.readers.fail2ban import Jail, seconds
from ansible.module_utils.mtaudit.runner import LocalRunner

FILES = {
    "jail.conf": """\
[INCLUDES]
before = paths-debian.conf

[DEFAULT]
bantime  = 10m
findtime  = 10m
maxretry = 5
backend = auto
enabled = false
mode = normal
filter = %(__name__)s[mode=%(mode)s]
protocol = tcp
chain = <known/chain>
port = 0:65535
banaction = iptables-multiport
action_ = %(banaction)s[port="%(port)s", protocol="%(protocol)s", chain="%(chain)s"]
action_mw = %(action_)s
            %(mta)s-whois[sender="%(sender)s", dest="%(destemail)s"]
mta = sendmail
action = %(action_)s

[dovecot]
port    = pop3,pop3s,imap,imaps,submission,465,sieve
logpath = %(dovecot_log)s
backend = %(dovecot_backend)s

[exim]
port   = smtp,465,submission
logpath = %(exim_main_log)s

[postfix]
mode    = more
port    = smtp,465,submission
logpath = %(postfix_log)s

[postfix-sasl]
filter   = postfix[mode=auth]
port     = smtp,465,submission,imap,imaps,pop3,pop3s
logpath  = %(postfix_log)s
backend  = %(postfix_backend)s
""",
    "paths-debian.conf": """\
[INCLUDES]
before = paths-common.conf
after  = paths-overrides.local

[DEFAULT]
syslog_mail = /var/log/mail.log
syslog_mail_warn = %(syslog_mail)s
exim_main_log = /var/log/exim4/mainlog
""",
    "paths-common.conf": """\
[DEFAULT]
default_backend = %(default/backend)s
exim_main_log = /var/log/exim/mainlog
postfix_log = %(syslog_mail_warn)s
postfix_backend = %(default_backend)s
dovecot_log = %(syslog_mail_warn)s
dovecot_backend = systemd
""",
    "jail.local": """\
[DEFAULT]
bantime = 1h
ignoreip = 127.0.0.1/8 ::1 198.51.100.0/24 ; comment
[postfix-sasl]
enabled = true
maxretry = 7
findtime = 1d 2h
[dovecot]
enabled = true
port = %(known/port)s,2525
maxretry = 9
[exim]
enabled = yes
bantime = -1
action = %(action_mw)s
""",
    "jail.d/z.conf": "[dovecot]\nmaxretry = 3\n[postfix]\nenabled = false\n",
    "jail.d/a.local": "[dovecot]\nfindtime = 2m\n",
    "filter.d/postfix.conf": "[Definition]\nfailregex =\n[Init]\njournalmatch = _SYSTEMD_UNIT=postfix.service\n",
    "filter.d/dovecot.conf": """\
[Definition]
failregex =
journalmatch = _SYSTEMD_UNIT=dovecot.service _SYSTEMD_UNIT=dovecot@x.service
""",
}


@pytest.fixture
def jails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Jail]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(fail2ban, "DIRECTORY", str(tmp_path))
    runner = LocalRunner()
    config = fail2ban.load(runner, f"{tmp_path}/jail")
    return {name: fail2ban._jail(runner, config, name) for name in config.enabled()}


def test_enabled_jails(jails: dict[str, Jail]) -> None:
    assert sorted(jails) == ["dovecot", "exim", "postfix-sasl"]


def test_what_stands_later_wins_and_known_is_what_stood_before(jails: dict[str, Jail]) -> None:
    dovecot = jails["dovecot"]
    assert dovecot.ports == "pop3,pop3s,imap,imaps,submission,465,sieve,2525"
    assert (dovecot.maxretry, dovecot.findtime_s, dovecot.bantime_s) == (9, 120.0, 3600.0)  # jail.local comes after jail.d/*.conf


def test_includes_and_references(jails: dict[str, Jail]) -> None:
    assert [log.path for log in jails["exim"].logs] == ["/var/log/exim4/mainlog"]
    assert [log.path for log in jails["postfix-sasl"].logs] == ["/var/log/mail.log"]
    assert (jails["postfix-sasl"].backend, jails["dovecot"].backend) == ("auto", "systemd")
    assert jails["postfix-sasl"].ignored == ("127.0.0.1/8", "::1", "198.51.100.0/24")


def test_filters_modes_and_units(jails: dict[str, Jail]) -> None:
    assert [(j.filter, j.mode, j.filter_there) for j in (jails["postfix-sasl"], jails["exim"])] == [
        ("postfix", "auth", True), ("exim", "normal", False)]
    assert jails["dovecot"].units == ("dovecot.service", "dovecot@x.service")


def test_actions_and_ports(jails: dict[str, Jail]) -> None:
    assert jails["exim"].actions == ("iptables-multiport", "sendmail-whois")
    assert jails["exim"].ports == "smtp,465,submission"


@pytest.mark.parametrize(("text", "expected"), [
    ("600", 600), ("10m", 600), ("1d 2h", 93_600), ("1w", 604_800), ("-1", -1), ("30s", 30), ("", 600), ("1h", 3600),
])
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_guesses_in_a_day(jails: dict[str, Jail]) -> None:
    assert allowed_per_day(jails["postfix-sasl"]) == 168  # seven, and an hour of waiting
    assert allowed_per_day(jails["exim"]) == 576  # for ever: then rather every 150 s
