"""AUTH-04 by configuration: whether what checks passwords lets somebody in whom nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.login_checks import nobody_gets_in_with_any_password
from ansible.module_utils.mtaudit.readers import dovecot, login_checks
from ansible.module_utils.mtaudit.readers.exim_model import Config, Exim
from ansible.module_utils.mtaudit.readers.login_checks import LoginCheck
from ansible.module_utils.mtaudit.readers.system import Host as Read
from test_password_tables import NEW, OLD, Host

COMMON = """auth [success=1 default=ignore] pam_unix.so nullok
auth requisite pam_deny.so
auth required pam_permit.so
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.put("/etc/pam.d/common-auth", COMMON)
    made.put("/etc/pam.d/other", "@include common-auth\n")
    return made


def said(host: Host, title: str, instance: Any) -> list[str]:
    """`open`, `doubt` or `closed` of each check."""
    found = login_checks.read(host, [(title, None, [instance])])
    return ["open" if each.open else "doubt" if each.doubt else "closed" for each in found]


@pytest.mark.parametrize(("stack", "answer"), [
    ("@include common-auth\n", "closed"),
    ("auth required pam_permit.so\n", "open"),
    ("auth required pam_env.so\nauth sufficient pam_permit.so\nauth required pam_deny.so\n", "open"),
    ("auth sufficient pam_unix.so\nauth optional pam_permit.so\n", "open"),  # nothing else is asked
    ("auth required pam_unix.so\nauth optional pam_permit.so\n", "closed"),
    ("auth [user_unknown=ignore default=die success=done] pam_unix.so\nauth required pam_permit.so\n", "open"),  # a stranger
    ("auth [auth_err=ignore default=die success=done] pam_unix.so\nauth required pam_permit.so\n", "open"),  # a wrong password
    ("auth sufficient pam_rootok.so\nauth required pam_unix.so\n", "doubt"),  # Dovecot asks as root, or not
    ("auth sufficient pam_script.so\nauth required pam_unix.so\n", "doubt"),
    ("auth required pam_script.so\nauth required pam_unix.so\n", "closed"),
    ("@include nowhere\nauth required pam_unix.so\n", "doubt"),
    ("account required pam_permit.so\nauth required pam_unix.so\n", "closed"),
    ("auth required pam_nologin.so\nauth sufficient pam_unix.so\n", "closed"),
    ("auth sufficient pam_localuser.so\nauth required pam_unix.so\n", "open"),
])  # fmt: skip
def test_pam_is_walked(host: Host, stack: str, answer: str) -> None:
    host.put("/etc/pam.d/dovecot", stack)
    assert said(host, "Dovecot", dovecot.parse(f"{OLD}passdb {{\n  driver = pam\n}}\n")) == [answer]


@pytest.mark.parametrize(("text", "expected"), [
    (f"{OLD}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n", ["closed"]),
    (f"{OLD}passdb {{\n  driver = static\n  args = nopassword=y\n}}\n", ["open"]),
    (f"{OLD}passdb {{\n  driver = static\n  args = nopassword=y proxy=y host=10.0.0.1\n}}\n", ["doubt"]),
    (f"{OLD}passdb {{\n  driver = static\n  args = password=x\n}}\n", ["closed"]),
    (f"{NEW}passdb static {{\n  fields {{\n    nopassword = yes\n  }}\n}}\n", ["open"]),
    (f"{OLD}passdb {{\n  driver = passwd-file\n  args = /u\n  result_failure = continue-ok\n}}\n", ["open"]),
    (f"{OLD}passdb {{\n  driver = ldap\n  args = /u\n  result_internalfail = return-ok\n}}\n", ["open"]),
    (f"{OLD}passdb {{\n  driver = ldap\n  args = /u\n}}\n", ["closed"]),
    (f"{OLD}passdb {{\n  driver = passwd-file\n  args = /u\n  override_fields = nopassword=y\n}}\n", ["open"]),
    (f"{OLD}passdb {{\n  driver = static\n  args = nopassword=y allow_nets=127.0.0.1/32\n}}\n", ["doubt"]),
    (f"{OLD}passdb {{\n  driver = lua\n  args = /u\n}}\n", ["doubt"]),
    (f"{OLD}passdb {{\n  driver = static\n  args = nopassword=y\n  deny = yes\n}}\n", []),
    (f"{OLD}passdb {{\n  driver = pam\n  args = *\n}}\n", ["closed"]),
    (f"{NEW}passdb pam {{\n  service_name = mail\n}}\n", ["closed"]),
])  # fmt: skip
def test_passdbs_of_dovecot(host: Host, text: str, expected: list[str]) -> None:
    assert said(host, "Dovecot", dovecot.parse(text)) == expected


@pytest.mark.parametrize(("condition", "answer"), [
    ("true", "open"), ("1", "open"), ("yes", "open"), ("false", "closed"), ("${if eq{$auth2}{}{no}{yes}}", "open"),
    ("${if pam{$auth2:${sg{$auth3}{:}{::}}}}", "closed"), ("${if !pam{$auth2:$auth3}}", "open"),
    ("${if or{{pam{$auth2:$auth3}}{eq{1}{1}}}}", "open"),
    ("${if crypteq{$auth3}{${extract{1}{:}{${lookup{$auth2}lsearch{/etc/exim4/passwd}{$value}{*:*}}}}}}", "closed"),
    ("${if crypteq{$auth3}{${lookup{$auth2}lsearch{/etc/exim4/passwd}{$value}fail}}}", "closed"),
    ("${if crypteq{$auth3}{${lookup{$auth2}lsearch{/etc/exim4/passwd}{$value}{*}}}}", "closed"),
    ("${if eq{$auth3}{${lookup{$auth2}lsearch{/etc/exim4/passwd}{$value}}}}", "open"),  # with an empty password
    ("${if and{{!eq{$auth3}{}}{eq{$auth3}{${lookup{$auth2}lsearch{/etc/exim4/passwd}{$value}}}}}}", "closed"),
    ("${if eq{$auth2}{$auth2}}", "open"),  # LOGIN's numbers in PLAIN
    ("${if saslauthd{{$auth2}{$auth3}}}", "doubt"),
    ("${lookup mysql{SELECT 1 FROM users WHERE name='${quote_mysql:$auth2}'}{yes}{no}}", "doubt"),
])  # fmt: skip
def test_authenticators_of_exim(host: Host, condition: str, answer: str) -> None:
    options = {"driver": "plaintext", "public_name": "PLAIN", "server_prompts": ":", "server_condition": condition}
    assert said(host, "Exim", Exim("/etc/exim.conf", Config(authenticators={"plain": options}))) == [answer]


def test_exim_asks_pam(host: Host) -> None:
    host.put("/etc/pam.d/exim", "auth required pam_permit.so\n")
    options = {"driver": "plaintext", "public_name": "LOGIN", "server_condition": "${if pam{$auth1:$auth2}}"}
    assert said(host, "Exim", Exim("/etc/exim.conf", Config(authenticators={"login": options}))) == ["open"]


@pytest.mark.parametrize(("checks", "status"), [
    ([], "notapplicable"), ([LoginCheck("Exim", "here")], "pass"),
    ([LoginCheck("Exim", "here"), LoginCheck("Dovecot", "there", doubt="why")], "unknown"),
    ([LoginCheck("Exim", "here", open="how"), LoginCheck("Dovecot", "there", doubt="why")], "fail"),
])  # fmt: skip
def test_verdicts(checks: list[LoginCheck], status: str) -> None:
    (found,) = nobody_gets_in_with_any_password(Read(login_checks=tuple(checks)), Site())
    assert found.status.value == status
