"""Mail of web applications: who hands it in, what relays for it, and what is shown of the command that PHP sends it with."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.listeners import Listener, Server
from ansible.module_utils.mtaudit.readers import web
from ansible.module_utils.mtaudit.readers.accounts import Accounts
from ansible.module_utils.mtaudit.readers.php import Place, Value
from ansible.module_utils.mtaudit.readers.system import Host
from ansible.module_utils.mtaudit.readers.web import Handed, Web


@pytest.mark.parametrize("password", ["-apWren-Copper", "-ap Wren-Copper", "--pass=Wren-Copper", "Wren-Copper"])
def test_no_password_on_the_command_line_is_shown(password: str) -> None:
    values = {"sendmail_path": Value(f"/usr/sbin/ssmtp -t -auwww {password}", "/etc/php/8.2/fpm/php.ini:1")}
    host = Host(web=Web(places=[Place("8.2", "fpm", "www", "www-data", values)]))
    (finding,) = REGISTRY[("WEB-02", "os")].evaluate(host, Site())
    assert finding.status.value == "fail" and "sendmail_path = /usr/sbin/ssmtp -t" in finding.message
    assert "Wren" not in str(finding.to_dict())


@pytest.mark.parametrize(
    ("acl", "mode", "allowed"),
    [("", 0o4755, True), ("", 0o4750, False), ("acl_programs", 0o4755, None), ("acl_programs", 0o4750, False)],
)
def test_who_hands_in_mail_to_exim(acl: str, mode: int, allowed: bool | None) -> None:
    """Everybody who may run sendmail(1), unless an ACL is asked, which is not walked."""
    runner = SimpleNamespace(resolve=lambda path: path, stat=lambda path: SimpleNamespace(mode=mode, gid=0))
    exim = SimpleNamespace(problem="", options={"acl_not_smtp": acl}, origin=lambda name: f"/etc/exim4/exim.conf {name}")
    handed = web._handed(SimpleNamespace(runner=runner), {"Exim": exim}, Accounts(), "www-data")
    assert handed.allowed is allowed and (allowed is not None or "was not walked" in handed.reason)


@pytest.mark.parametrize(
    ("program", "trusted", "status"),
    [
        ("postfix", "127.0.0.0/8", "unknown"),  # a packet filter may close it
        ("postfix", "198.51.100.7/32", "pass"),
        ("exim", "198.51.100.7/32", "pass"),
        ("opensmtpd", "198.51.100.7/32", "unknown"),  # `from local` is no network
        ("sendmail", "198.51.100.7/32", "unknown"),  # so is what Sendmail finds out for itself
    ],
)
def test_where_loopback_relays(program: str, trusted: str, status: str) -> None:
    server = Server("1.0", "/etc/program", listeners=(Listener(25, "*"),), trusted=(ip_network(trusted),))
    closed = Web(places=[Place("8.2", "fpm", "www", "www-data")], handed=[Handed("www-data", False, "/usr/sbin/sendmail")])
    (finding,) = REGISTRY[("WEB-01", "os")].evaluate(Host(web=closed), Site(servers={program: (server,)}))
    assert finding.status.value == status
