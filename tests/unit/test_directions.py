"""What is said of the two directions of mail, where no recording of a host shows it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.directions import Onward, Others, Queue, _judged, _of_url
from ansible.module_utils.mtaudit.controls.exim_routes import next_hosts
from ansible.module_utils.mtaudit.finding import HOST, Evidence, Method, informational, passed
from ansible.module_utils.mtaudit.listeners import Listener, Server
from ansible.module_utils.mtaudit.readers import exim
from ansible.module_utils.mtaudit.readers.exim_expand import Doubt, Session
from ansible.module_utils.mtaudit.readers.postfix_syntax import next_hops

SHOWN = (Evidence(Method.CONFIG, "main.cf", "relayhost"),)
HERE = "/etc/postfix"
SERVERS = {
    "postfix": (Server("3.10", HERE, (Listener(25), Listener(10026, "127.0.0.1", loopback_only=True))),
                Server("3.10", "/etc/postfix-out", (Listener(10025, "127.0.0.1", loopback_only=True),))),
    "": (Server("", "", (Listener(2525),)),),
}  # fmt: skip
ACCOUNTS = Others("accounts (ports 587)", [], [ipaddress.ip_network("198.51.100.7")])


def status(*hosts: tuple[str, str], others: Others = ACCOUNTS, taking: Any = None, **more: Any) -> str:
    onward = Onward(SHOWN, hosts, **more)
    queue = Queue(["here.test"], [taking], [onward], ["mx.here.test", "here.test"])
    return _judged(queue, others, HERE, Site(servers=SERVERS)).status.value


@pytest.mark.parametrize(("hosts", "expected"), [
    ([], "fail"), ([("out.test", "")], "pass"), ([("198.51.100.8", "25")], "pass"), ([("198.51.100.7", "")], "fail"),
    ([("mx.here.test", "smtp")], "fail"), ([("127.0.0.1", "10025")], "pass"), ([("127.0.0.1", "10026")], "fail"),
    ([("localhost", "10025")], "pass"), ([("127.0.0.1", "2525")], "unknown"), ([("127.0.0.1", "10099")], "unknown"),
    ([("out.test", ""), ("localhost", "25")], "fail"),
])  # fmt: skip
def test_where_mail_goes_next(hosts: list[tuple[str, str]], expected: str) -> None:
    assert status(*hosts) == expected


def test_a_name_that_means_an_address_of_the_host() -> None:
    assert status(("mail.test", ""), known=(ipaddress.ip_address("198.51.100.7"),)) == "fail"
    assert status(("mail.test", ""), known=(ipaddress.ip_address("198.51.100.8"),)) == "pass"


def test_one_direction_only() -> None:
    assert status(others=Others("", [], [])) == "pass"
    assert status(taking=passed(HOST, "no stranger's mail is taken here")) == "pass"
    assert status(taking=informational(HOST, "strangers relay here")) == "informational"
    assert status(stays=True) == "pass"
    assert status(doubt="a table does not answer") == "unknown"


def test_one_queue_that_is_wanted() -> None:
    for onward, expected in ((Onward(SHOWN), "notapplicable"), (Onward(SHOWN, [("out.test", "")]), "pass")):
        queue = Queue(["here.test"], [None], [onward], [])
        found = _judged(queue, ACCOUNTS, HERE, Site(servers=SERVERS, tunables={"one_host_is_wanted": True}))
        assert found.status.value == expected and (found.reason or expected == "pass")


@pytest.mark.parametrize(("text", "expected"), [
    ("[out.test]:587", [("out.test", "587")]), ("out.test", [("out.test", "")]), ("[2001:db8::1]", [("2001:db8::1", "")]),
    ("a.test:26, [b.test]", [("a.test", "26"), ("b.test", "")]), ("", []),
    ("unix:/run/filter", [("unix:/run/filter", "")]),
])  # fmt: skip
def test_next_hops(text: str, expected: list[tuple[str, str]]) -> None:
    assert next_hops(text) == expected


@pytest.mark.parametrize(("url", "expected"), [
    ("smtp://out.test", ("out.test", "")), ("smtp+tls://label@[2001:db8::1]:26", ("2001:db8::1", "26")),
    ("smtps://out.test", ("out.test", "smtps")), ("out.test:587", ("out.test", "587")),
])  # fmt: skip
def test_relay_urls(url: str, expected: tuple[str, str]) -> None:
    assert _of_url(url) == expected


HEAD = '# Exim Configuration (4.96)\n# 1 "/etc/exim4/exim.conf"\ndomainlist local_domains = here.test\nbegin routers\n'
TRANSPORTS = "begin transports\nremote:\n driver = smtp\n port = 26\nfile:\n driver = appendfile\n" \
             "fixed:\n driver = smtp\n hosts = out.test\n hosts_override\n"
SMARTHOST = "smart:\n driver = manualroute\n domains = !+local_domains\n transport = remote\n route_list = "
DIRECT = "net:\n driver = dnslookup\n domains = !+local_domains\n transport = remote\n"


@pytest.mark.parametrize(("routers", "expected"), [
    (DIRECT, ("net", [])),
    (SMARTHOST + "* out.test byname\n" + DIRECT, ("smart", [("out.test", "26")])),
    (SMARTHOST + '* "a.test::587:b.test" randomize\n' + DIRECT, ("smart", [("a.test", "587"), ("b.test", "26")])),
    (SMARTHOST + "other.test out.test\n" + DIRECT, ("net", [])),
    (SMARTHOST + "other.test a.test ; *.test out.test\n", ("smart", [("out.test", "26")])),
    (SMARTHOST + "* $sender_address_domain\n", ("smart", [("here.test", "26")])),
    (SMARTHOST + "* out.test\n senders = *@elsewhere.test\n" + DIRECT, ("net", [])),
    (SMARTHOST + "* out.test\n verify_only\n" + DIRECT, ("net", [])),
    (SMARTHOST + "* out.test\n condition = ${if eq{$authenticated_id}{alice}}\n" + DIRECT, ("smart", [("out.test", "26")])),
    (DIRECT.replace("remote", "fixed"), ("net", [("out.test", "")])),
    ("lit:\n driver = ipliteral\n transport = remote\n", ("", [])),
    ("mine:\n driver = accept\n domains = +local_domains\n", ("", [])),
])  # fmt: skip
def test_the_router_of_a_message_for_elsewhere(routers: str, expected: tuple[str, list[tuple[str, str]]]) -> None:
    found = exim.parse(HEAD + routers + TRANSPORTS, "primary_hostname = mx.here.test\n")
    assert next_hosts(found, SESSION) == expected


SESSION = Session("198.51.100.1", sender="alice@here.test", recipient="probe@there.test", login="alice")


@pytest.mark.parametrize("routers", ["x:\n driver = queryprogram\n", DIRECT.replace("remote", "file"),
                                     "x:\n driver = dnslookup\n require_files = /etc/x\n"])
def test_routes_that_are_not_followed(routers: str) -> None:
    with pytest.raises(Doubt):
        next_hosts(exim.parse(HEAD + routers + TRANSPORTS, ""), SESSION)
