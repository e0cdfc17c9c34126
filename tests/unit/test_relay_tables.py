"""Long access tables are read to their end or not passed, and findings say which clients a path is open to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls.relay_clients import CLIENTS_LIMIT, listed_clients
from ansible.module_utils.mtaudit.finding import Finding, Status
from ansible.module_utils.mtaudit.readers.postfix import parse
from ansible.module_utils.mtaudit.readers.postfix_samples import FOREIGN_SENDER, keys
from ansible.module_utils.mtaudit.readers.postfix_tables import Table, cidr_rules

SITE = Site(local_domains=("local.test",))
MASTER = "smtp inet n - y - - smtpd\n"
LENGTHS = (10, 40, 41, 200, 5000)
Found = dict[str, list[Finding]]


def audit(restrictions: str, *tables: Table, controls: tuple[str, ...] = ("RELAY-03",), site: Site = SITE, **more: str) -> Found:
    settings = {
        "config_directory": "/etc/postfix", "mail_version": "3.7.11", "mydestination": "local.test", "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": f"permit_mynetworks, {restrictions}, reject_unauth_destination",
        "smtpd_recipient_restrictions": "", "inet_interfaces": "all", "inet_protocols": "all", "relay_domains": "",
        "smtpd_sasl_auth_enable": "no", "parent_domain_matches_subdomains": "smtpd_access_maps", **more,
    }
    text = "".join(f"{name} = {value}\n" for name, value in settings.items())
    postfix = parse("/etc/postfix", text, MASTER, text, MASTER)
    postfix.tables = {table.spec: table for table in tables}
    return {control: list(REGISTRY[(control, "postfix")].evaluate(postfix, site)) for control in controls}


def cidr(text: str, spec: str = "cidr:/c") -> Table:
    return Table(spec, "cidr", rules=tuple(cidr_rules(text)))


def hashed(entries: Mapping[str, str], spec: str = "hash:/h") -> Table:
    return Table(spec, "hash", entries=dict(entries))


def private(count: int) -> list[str]:
    return [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


@pytest.mark.parametrize("count", LENGTHS)
def test_a_foreign_network_behind_many_harmless_ones(count: int) -> None:
    text = "".join(f"{address} OK\n" for address in private(count))
    clients = "check_client_access cidr:/c"
    (harmless,) = audit(clients, cidr(text))["RELAY-03"]
    assert harmless.status is Status.PASS
    (opened,) = audit(clients, cidr(text + "185.12.0.0/16 OK\n"))["RELAY-03"]
    assert (opened.status, opened.clients) == (Status.FAIL, ("185.12.0.0/16",))


@pytest.mark.parametrize("count", LENGTHS)
def test_a_foreign_address_in_a_hash_table_behind_many_harmless_ones(count: int) -> None:
    table = hashed({**dict.fromkeys(private(count), "OK"), "185.12.7.9": "OK"})
    (opened,) = audit("check_client_access hash:/h", table)["RELAY-03"]
    assert (opened.status, opened.clients) == (Status.FAIL, ("185.12.7.9/32",))


@pytest.mark.parametrize("count", LENGTHS)
def test_a_foreign_recipient_behind_many_local_ones(count: int) -> None:
    local = {f"user{n}@local.test": "OK" for n in range(count)}
    (harmless,) = audit("check_recipient_access hash:/h", hashed(local))["RELAY-03"]
    assert harmless.status is Status.PASS
    (opened,) = audit("check_recipient_access hash:/h", hashed({**local, "partner.test": "OK"}))["RELAY-03"]
    assert (opened.status, opened.conditions, opened.clients) == (Status.FAIL, ("recipient",), ())


@pytest.mark.parametrize(
    ("word", "entries", "status"),
    [
        # A class that opens nothing, for more keys than are tried: one of them could still be the one that matters.
        ("check_client_access", {f"185.12.{n >> 8}.{n & 255}": "harmless" for n in range(5000)}, Status.UNKNOWN),
        ("check_client_access", {f"host{n}.partner.test": "harmless" for n in range(5000)}, Status.UNKNOWN),
        ("check_sender_access", {f"user{n}@partner.test": "harmless" for n in range(5000)}, Status.UNKNOWN),
        ("check_helo_access", {f"host{n}.partner.test": "harmless" for n in range(5000)}, Status.UNKNOWN),
        ("check_recipient_access", {f"user{n}@partner.test": "harmless" for n in range(5000)}, Status.UNKNOWN),
        ("check_sender_access", {f"user{n}@partner.test": "harmless" for n in range(900)}, Status.PASS),
        ("check_sender_access", {f"user{n}@partner.test": "REJECT" for n in range(5000)}, Status.PASS),
    ],
)
def test_what_was_cut_is_no_pass(word: str, entries: dict[str, str], status: Status) -> None:
    more = {"smtpd_restriction_classes": "harmless", "harmless": "reject_unauth_destination"}
    (finding,) = audit(f"{word} hash:/h", hashed(entries), **more)["RELAY-03"]
    assert finding.status is status
    if status is Status.UNKNOWN:
        assert "hash:/h has 5000 entries" in finding.reason and "1000" in finding.reason
    # One entry of another kind is tried whatever its place.
    key = {"check_client_access": "45.67.89.11"}.get(word, "other.test")
    (finding,) = audit(f"{word} hash:/h", hashed({**entries, key: "OK"}), **more)["RELAY-03"]
    assert finding.status is Status.FAIL


def test_too_many_local_senders_are_the_doubt_of_their_own_control() -> None:
    entries = {f"user{n}@local.test": "harmless" for n in range(5000)}
    more = {"smtpd_restriction_classes": "harmless", "harmless": "reject_unauth_destination"}
    found = audit("check_sender_access hash:/h", hashed(entries), controls=("RELAY-03", "SENDER-03"), **more)
    assert [f.status for f in found["RELAY-03"]] == [Status.PASS]
    assert [f.status for f in found["SENDER-03"]] == [Status.UNKNOWN] and "5000" in found["SENDER-03"][0].reason


def test_a_long_table_that_opens_names_all_its_clients() -> None:
    text = "".join(f"185.{n >> 8}.{n & 255}.0/24 OK\n" for n in range(0, 2600, 2))
    (opened,) = audit("check_client_access cidr:/c", cidr(text))["RELAY-03"]
    assert opened.status is Status.FAIL and len(opened.clients) <= CLIENTS_LIMIT
    networks = [ipaddress.ip_network(n) for n in opened.clients]
    for number in range(0, 2600, 2):
        address = ipaddress.ip_address(f"185.{number >> 8}.{number & 255}.7")
        assert any(address in network for network in networks)


def test_mynetworks_without_its_exclusions() -> None:
    (opened,) = audit("reject_unauth_destination", controls=("RELAY-01",), mynetworks="!185.12.0.0/17 185.12.0.0/16")["RELAY-01"]
    assert (opened.status, opened.clients) == (Status.FAIL, ("185.12.128.0/17",))
    many = " ".join(f"185.12.{n}.0/24" for n in range(0, 200, 2))
    (opened,) = audit("reject_unauth_destination", controls=("RELAY-01",), mynetworks=many)["RELAY-01"]
    assert all(any(ipaddress.ip_address(f"185.12.{n}.7") in ipaddress.ip_network(c) for c in opened.clients)
               for n in range(0, 200, 2))


@pytest.mark.parametrize(
    ("control", "mynetworks", "clients"),
    [
        ("RELAY-01", "0.0.0.0/1 128.0.0.0/1", ("0.0.0.0/0",)),
        ("RELAY-09", "127.0.0.0/8 [2a00::]/12", ("2a00::/12",)),
        ("RELAY-08", "127.0.0.0/8 198.51.100.254", ("198.51.100.254/32",)),
    ],
)
def test_other_controls_name_their_clients(control: str, mynetworks: str, clients: tuple[str, ...]) -> None:
    site = Site(local_domains=("local.test",), gateways=("198.51.100.254",))
    (opened,) = audit("reject_unauth_destination", controls=(control,), site=site, mynetworks=mynetworks)[control]
    assert (opened.status, opened.clients) == (Status.FAIL, clients)


def test_pop_before_smtp_names_the_addresses_in_its_table() -> None:
    table = hashed({"185.12.7.9": "OK", "10.0.0.1": "OK"}, "hash:/etc/postfix/popauth")
    (opened,) = audit("check_client_access hash:/etc/postfix/popauth", table, controls=("RELAY-13",))["RELAY-13"]
    assert (opened.status, opened.clients) == (Status.FAIL, ("185.12.7.9/32",))


def test_senders_that_some_clients_may_use_name_these_clients() -> None:
    text = "".join(f"{address} by_sender\n" for address in private(50)) + "185.12.0.0/16 by_sender\n185.99.0.0/16 by_sender\n"
    more = {"smtpd_restriction_classes": "by_sender", "by_sender": "check_sender_access hash:/h, reject"}
    found = audit("check_client_access cidr:/c", cidr(text), hashed({"partner.test": "OK"}), **more)["RELAY-03"]
    assert [(f.status, f.conditions, f.clients) for f in found] == [
        (Status.FAIL, ("sender",), ("185.12.0.0/16", "185.99.0.0/16")),
    ]


def test_few_networks_are_listed_as_they_are() -> None:
    assert listed_clients([]) == ()
    assert listed_clients(["10.0.0.0/24", "2001:db8::/32", "10.0.1.0/24"]) == ("10.0.0.0/23", "2001:db8::/32")


def test_many_networks_are_widened_and_none_is_lost() -> None:
    networks = [f"{n}.7.0.0/16" for n in range(1, 200, 2)] + [f"2001:db8:{n:x}::/48" for n in range(0, 1000, 2)]
    listed = [ipaddress.ip_network(n) for n in listed_clients(networks)]
    assert 2 <= len(listed) <= CLIENTS_LIMIT
    for network in map(ipaddress.ip_network, networks):
        assert any(n.version == network.version and network.subnet_of(n) for n in listed)  # type: ignore[arg-type]


def test_the_owner_of_foreign_senders_is_tried_among_many_logins() -> None:
    owners = {f"user{n}@local.test": f"user{n}" for n in range(30)}
    more = {"smtpd_sasl_auth_enable": "yes", "smtpd_sender_login_maps": "pcre:/owners",
            "smtpd_sender_restrictions": "reject_sender_login_mismatch"}
    for entries, status in ((owners, Status.PASS), ({**owners, FOREIGN_SENDER: "admin"}, Status.FAIL)):
        table = Table("pcre:/owners", "pcre", entries=entries, sampled=True)
        (finding,) = audit("permit_sasl_authenticated", table, controls=("RELAY-14",), **more)["RELAY-14"]
        assert finding.status is status


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        (r"[.]test$", Status.FAIL),  # every domain of a top level
        (r".", Status.FAIL),
        (r"[.]local\.test$", Status.PASS),  # names below the site's own domain
        (r"[.]lan$", Status.PASS),  # which the public DNS does not have
        (r"^(.+)@(.+)$", Status.PASS),  # addresses, and no domain
    ],
)
@pytest.mark.parametrize(("control", "name"), [("RELAY-04", "relay_domains"), ("RELAY-05", "virtual_alias_domains")])
def test_a_pattern_for_the_domains_of_others(control: str, name: str, pattern: str, status: Status) -> None:
    entries = {key: "x" for key in keys(["local.test"], [pattern]) if re.search(pattern, key)}
    table = Table("regexp:/r", "regexp", entries=entries, sampled=True)
    findings = audit("reject_unknown_sender_domain", table, controls=(control,), **{name: "regexp:/r"})[control]
    assert {finding.status for finding in findings} == {status}
