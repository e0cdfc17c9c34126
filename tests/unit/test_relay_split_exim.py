"""Two queues of an Exim: what each side keeps, gets back, and what is refused."""

from __future__ import annotations

import ipaddress

import pytest
from ansible.module_utils.mtaudit.config import exim_split
from ansible.module_utils.mtaudit.config.exim import Wanted
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.split import Split
from ansible.module_utils.mtaudit.readers import exim
from ansible.module_utils.mtaudit.readers.exim import Exim

CONFIG = """\
# Exim Configuration (4.98)
# 1 "/etc/exim4/exim4.conf"
domainlist local_domains = @ : example.org
domainlist relay_to_domains = example.net
hostlist relay_from_hosts = : 127.0.0.1 : ::::1 : 198.51.100.0/24
begin acl
acl_mail:
accept
acl_rcpt:
require
domains = +local_domains
begin authenticators
plain:
driver = plaintext
server_condition = yes
begin routers
local:
driver = accept
"""
OPTIONS = """\
acl_smtp_data_prdr = accept
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
auth_advertise_hosts = *
daemon_smtp_ports = 25 : 465 : submission : 2525
local_interfaces =
spool_directory = /var/spool/exim4
"""
WANTED = Split("exim-out", listen=("198.51.100.7:26",))


def server(config: str = CONFIG, options: str = OPTIONS, *command: str) -> Exim:
    found = exim.parse(config, options)
    found.command, found.addresses = command, (ipaddress.ip_address("198.51.100.7"),)
    return found


def test_the_inbound_side_loses_clients_and_gives_on_what_leaves() -> None:
    inbound = exim_split._inbound(server(), WANTED)
    assert inbound.options == {"local_interfaces": "<; ::0 ; 0.0.0.0 ; [127.0.0.1]:10588", "daemon_smtp_ports": "25 : 2525",
                               "auth_advertise_hosts": ""}  # fmt: skip
    assert inbound.lists == {"hostlist relay_from_hosts": "<; ; 127.0.0.1 ; ::1"}
    assert inbound.drivers["routers/handover"]["domains"] == "! +local_domains : ! +relay_to_domains"  # type: ignore[index]
    assert inbound.drivers["transports/handover"]["port"] == "10587"  # type: ignore[index]
    assert [change.acl for change in inbound.statements] == ["acl_mail", "acl_rcpt", "acl_rcpt", "acl_rcpt"]


def test_the_outbound_side_takes_no_strangers_and_keeps_its_logins() -> None:
    outbound = exim_split._outbound(server(), server(), WANTED)
    assert outbound.options == {"local_interfaces": "<; ::0 ; 0.0.0.0 ; [198.51.100.7]:26 ; [127.0.0.1]:10587",
                                "daemon_smtp_ports": "465 : submission"}  # fmt: skip
    assert not outbound.lists and outbound.drivers["routers/handover"]["domains"] == "+local_domains : +relay_to_domains"  # type: ignore[index]
    assert "!authenticated = *" in next(c.new for c in outbound.statements if c.acl == "acl_rcpt"), "the last is put in first"
    clients = server(CONFIG.replace("server_condition", "client_send"))
    none = exim_split._outbound(clients, clients, WANTED)
    assert none.options == {"local_interfaces": "<; [198.51.100.7]:26 ; [127.0.0.1]:10587"}, "no logins: no ports for them"


def test_a_domain_that_comes_later_is_the_other_sides_too() -> None:
    later = server(CONFIG.replace("example.org", "example.org : example.com"))
    assert exim_split._domains(server(), later).lists == {"domainlist local_domains": "@ : example.org : example.com"}
    assert not exim_split._domains(server(), server()).lists


def after(wanted: Wanted, transport: str) -> Exim:
    """A reading as it would be with some of what is wanted."""
    found = server(CONFIG + f"begin transports\nhandover:\ndriver = smtp\nport = {transport}\n")
    found.options = {**found.options, **{name: value or "" for name, value in wanted.options.items()}}
    return found


@pytest.mark.parametrize("addresses", [(), ("198.51.100.8",)])
def test_both_together_are_what_there_was(addresses: tuple[str, ...]) -> None:
    wanted = Split("exim-out", listen=WANTED.listen, inbound_addresses=addresses)
    inbound, outbound = exim_split._inbound(server(), wanted), exim_split._outbound(server(), server(), wanted)
    joined = exim_split._joined(after(inbound, "10587"), after(outbound, "10588"))
    assert joined.options == {"local_interfaces": None, "daemon_smtp_ports": "25 : 2525 : 465 : submission",
                              "auth_advertise_hosts": None}  # fmt: skip
    assert joined.lists["hostlist relay_from_hosts"].endswith("198.51.100.0/24")
    assert {change.old for change in joined.statements} == {change.new for change in inbound.statements}
    assert joined.drivers == {"routers/handover": None, "transports/handover": None} and joined.retries == {"127.0.0.1 *": None}


def test_hosts_of_the_other_side() -> None:
    wanted = Split(other=("198.51.100.8", "2001:db8::8"), acknowledged=True)
    inbound = exim_split._inbound(server(), wanted)
    assert inbound.drivers["routers/handover"]["route_list"] == '* "198.51.100.8 : 2001::db8::::8"'  # type: ignore[index]
    assert set(inbound.retries) == {"198.51.100.8 *", "2001:db8::8 *"}
    assert "hosts = <; 198.51.100.8 ; 2001:db8::8" in "".join(change.new for change in inbound.statements)
    assert list(exim_split._comes_in_vain(server(), True, wanted))[-1] == "what 198.51.100.0/24 sends"


@pytest.mark.parametrize(
    ("reading", "why"),
    [(server(CONFIG, OPTIONS, "-oX", "25:587"), "the daemon is told its ports by -oX"),
     (server(CONFIG.replace("local_domains", "domains")), "no domainlist local_domains"),
     (server(CONFIG, OPTIONS.replace("acl_rcpt", "${acl}")), "acl_smtp_rcpt names no ACL of the configuration")],
)  # fmt: skip
def test_what_cannot_be_parted_is_refused(reading: Exim, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        exim_split._refuse_shapes(reading)
