"""Fixes of guessing passwords, asked about recordings of real hosts that fail; and what is written of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.config import host, host_files, postfix
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.host import Wanted
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.fixes.guessing import _seldom, keep_out_who_guesses
from ansible.module_utils.mtaudit.listeners import Server
from ansible.module_utils.mtaudit.readers.fail2ban import Fail2ban, Jail, Log
from ansible.module_utils.mtaudit.readers.system import Host
from ansible.module_utils.mtaudit.runner import LocalRunner
from test_host_fixes import proposed
from test_postfix_inbound_fixes import proposed as of_postfix

NFT = {"banaction": "nftables-multiport", "banaction_allports": "nftables-allports"}
ON = {"enabled": "true"}
BEGUN = {**ON, "port": "25,110,143,465,587,993,995,4190"}


def journal(unit: str) -> dict[str, str]:
    return {"backend": "systemd", "journalmatch": f"_SYSTEMD_UNIT={unit}.service"}


@pytest.mark.parametrize(
    ("name", "jails"),
    [("stopped", {"postfix-sasl": ON, "dovecot": ON}), ("without-a-jail-for-dovecot", {"dovecot": BEGUN}),
     ("watches-refusals-not-logins", {"postfix-sasl": BEGUN}),
     ("watches-a-frozen-file", {"postfix-sasl": journal("postfix@-"), "dovecot": journal("dovecot")}),
     ("reads-another-units-journal", {"postfix-sasl": journal("postfix@-")}),
     ("bans-with-a-missing-program", {"postfix-sasl": NFT, "dovecot": NFT}),
     ("bans-from-other-ports", {"postfix-sasl": {"port": "smtp,465,587"}}),
     ("allows-a-thousand-guesses",
      {name: {"maxretry": "5", "findtime": "3600", "bantime": "600"} for name in ("postfix-sasl", "dovecot")})],
)  # fmt: skip
def test_a_jail_gets_what_it_lacks(name: str, jails: dict[str, dict[str, str]]) -> None:
    found = proposed("AUTH-06", f"guard-{name}")
    assert found == Wanted(jails=jails)


def test_strangers_are_not_let_alone_and_who_is_to_be_stays() -> None:
    found = proposed("AUTH-06", "guard-ignores-a-wide-network", never_banned=("198.51.100.30",))
    assert found and {options["ignoreip"] for options in found.jails.values()} == {"127.0.0.0/8 198.51.100.30"}


@pytest.mark.parametrize(
    ("ignored", "kept"),
    [({"dovecot": ("10.0.0.0/8",)}, "10.0.0.0/8"), ({"dovecot": ()}, "127.0.0.0/8 ::1")],  # Debian's jail.conf says nothing of it
)
def test_a_jail_that_is_begun_keeps_what_it_would_leave_alone(ignored: dict[str, tuple[str, ...]], kept: str) -> None:
    site = Site(servers={"dovecot": (Server("1", "/etc/x", logins=(993,)),)}, tunables={"never_banned": ("198.51.100.30",)})
    found = keep_out_who_guesses(Host(guard=Fail2ban(installed=True, running=True, ignored=ignored)), site, [])
    assert found.jails["dovecot"]["ignoreip"] == f"{kept} 198.51.100.30"


def test_what_the_recorded_host_leaves_alone_stays() -> None:
    found = proposed("AUTH-06", "guard-without-a-jail-for-dovecot", never_banned=("10.9.8.7",))
    assert found and found.jails["dovecot"]["ignoreip"].startswith("127.0.0.0/8 ::1 198.51.100.253 ")
    assert found.jails["dovecot"]["ignoreip"].endswith(" 10.9.8.7")


LOGS = (Log("/var/log/mail.log", None),)
JAIL = Jail("dovecot", "dovecot", True, "normal", "auto", LOGS, (), "imap,imaps", (), 5, 600.0, 600.0, ())


@pytest.mark.parametrize(
    ("jail", "most", "options"),
    [(replace(JAIL, maxretry=100), 1000, {"maxretry": "5", "findtime": "600", "bantime": "600"}),
     (replace(JAIL, maxretry=3), 100, {"maxretry": "3", "findtime": "2592", "bantime": "2592"}),
     (replace(JAIL, findtime_s=1.0, bantime_s=-1.0), 1000, {"maxretry": "5", "findtime": "600"})],
)  # fmt: skip
def test_how_seldom_an_address_may_guess(jail: Jail, most: int, options: dict[str, str]) -> None:
    assert _seldom(jail, most) == options


def begun(program: str, guard: Fail2ban, port: int = 587) -> Wanted:
    site = Site(servers={program: (Server("1", "/etc/x", logins=(port,)),)})
    return keep_out_who_guesses(Host(guard=guard), site, [])


@pytest.mark.parametrize(
    ("guard", "why"),
    [(Fail2ban(), "fail2ban, nftables and python3-systemd in mta_harden_install"),
     (Fail2ban(installed=True, stuck=("sshd", "nginx")), "does not start with its jail nginx")],
)  # fmt: skip
def test_what_is_not_here_is_said(guard: Fail2ban, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        begun("postfix", guard)


WHERE_IT_RUNS = {"master": {"postfix@-.service"}, "smtpd": {"opensmtpd.service"}, "exim4": {"exim4.service"}}
HERE = Fail2ban(installed=True, banaction="nftables", tools={"nftables": True, "nft": True}, units=WHERE_IT_RUNS)


def test_a_jail_that_is_begun_bans_from_every_port_of_mail_and_reads_what_is_written() -> None:
    assert begun("exim", HERE, 2525).jails == {"exim": {**ON, "port": "25,110,143,465,587,993,995,2525,4190"}}
    assert begun("postfix", replace(HERE, syslog=True)).jails == {"postfix-sasl": BEGUN}
    assert begun("postfix", HERE).jails == {"postfix-sasl": {**BEGUN, **journal("postfix@-")}}
    missing = replace(HERE, syslog=True, banaction="iptables-multiport", tools={"iptables": False})
    assert begun("postfix", missing).jails == {"postfix-sasl": {**BEGUN, **NFT}}


def test_opensmtpd_gets_a_filter() -> None:
    found = begun("opensmtpd", replace(HERE, running=True))
    assert found.jails == {"opensmtpd": {**BEGUN, "filter": "mtaudit-opensmtpd", **journal("opensmtpd")}}
    ((path, file),) = found.texts.items()
    assert path == file.path == "/etc/fail2ban/filter.d/mtaudit-opensmtpd.conf"
    assert (file.content or b"").startswith(b"# Written by mtaudit: ") and b"<HOST>" in (file.content or b"")


def test_sshs_jail_does_not_keep_fail2ban_from_its_start() -> None:
    assert begun("exim", replace(HERE, stuck=("sshd",))).jails["sshd"] == {"backend": "systemd"}
    assert "sshd" not in begun("exim", replace(HERE, stuck=("sshd",), running=True)).jails


def test_jails_are_written_beside_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zz-mtaudit.local"
    monkeypatch.setattr(host_files, "JAILS", str(path))
    (file,) = host_files.jails(LocalRunner(), {"dovecot": ON})
    assert (file.content, file.planned_on) == (b"# Written by mtaudit.\n[dovecot]\nenabled = true\n\n", "")
    path.write_bytes(file.content or b"")
    assert host_files.jails(LocalRunner(), {"dovecot": ON}) == []
    (file,) = host_files.jails(LocalRunner(), {"exim": {"ignoreip": "%(known/ignoreip)s 198.51.100.30"}})
    assert b"[dovecot]\nenabled = true\n\n[exim]\nignoreip = %(known/ignoreip)s 198.51.100.30\n" in (file.content or b"")
    path.write_text("enabled = true\n")
    with pytest.raises(ConfigError, match="no section headers"):
        host_files.jails(LocalRunner(), {"dovecot": ON})


@pytest.mark.parametrize(
    ("guard", "why"),
    [(Fail2ban(jails=[replace(JAIL, backend="systemd")]), "dovecot needs python3-systemd"),
     (Fail2ban(jails=[replace(JAIL, actions=("iptables-multiport",))], tools={"iptables": False}), "dovecot needs nftables")],
)  # fmt: skip
def test_a_jail_that_could_not_work_is_not_begun(guard: Fail2ban, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.fail2ban, "read", lambda around, places: guard)
    runner: Any = LocalRunner()
    monkeypatch.setattr(runner, "which", lambda name: None)
    with pytest.raises(ConfigError, match=why):
        host._guarded(runner, {"dovecot": ON}, {})


def test_postfix_hangs_up_after_its_own_number_of_errors() -> None:
    name = "session-may-guess-on"
    limit = "smtpd_hard_error_limit"
    assert of_postfix("AUTH-06", name, max_guesses_per_session=25, max_auth_rate=0) == postfix.Wanted(
        options={"submission/inet": {limit: None}})  # fmt: skip
    found = of_postfix("AUTH-06", name, max_guesses_per_session=10, max_auth_rate=5)
    assert found and found.options["submission/inet"] == {limit: "10", "smtpd_client_auth_rate_limit": "5"}
