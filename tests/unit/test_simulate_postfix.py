"""The simulation of Postfix on dialogues recorded from real smtpd 3.7 and 3.10, and on programs that misbehave."""

from __future__ import annotations

import ipaddress
import json
import os
import pwd
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.finding import Finding, Method, Status
from ansible.module_utils.mtaudit.readers.postfix_model import Postfix
from ansible.module_utils.mtaudit.readers.postfix_syntax import master_cf
from ansible.module_utils.mtaudit.readers.postfix_tables import Table, cidr_rules
from ansible.module_utils.mtaudit.simulate import envelopes as envelopes_module
from ansible.module_utils.mtaudit.simulate import smtpd
from ansible.module_utils.mtaudit.simulate.envelopes import Client, Declared, clients, envelopes
from ansible.module_utils.mtaudit.simulate.postfix import _by_smtpd, _envelopes, from_services, simulate, simulate_all
from ansible.module_utils.mtaudit.simulate.refusals import undecided, would_queue
from ansible.module_utils.mtaudit.simulate.restrictions import Outside, deciders, rewritten
from ansible.module_utils.mtaudit.simulate.session import Budget
from ansible.module_utils.mtaudit.simulate.verdict import Answer
from ansible.module_utils.mtaudit.simulate.verdict import findings as verdicts
from ansible.module_utils.mtaudit.smtp.battery import Hole
from ansible.module_utils.mtaudit.smtp.reply import Reply

RECORDED = Path(__file__).with_name("simulation")
VERSIONS = ("3.7", "3.10")
address, network = ipaddress.ip_address, ipaddress.ip_network

# The surroundings and names of the recordings.
OWN = [address("198.51.100.11"), address("2001:db8:51::11")]
LINKS = [network("198.51.100.0/24"), network("2001:db8:51::/64")]
GATEWAYS = [address("198.51.100.254")]
CLIENTS = clients(OWN, LINKS, GATEWAYS)
ENVELOPES = envelopes(Declared("canary@canary.test", "probe@stranger.test"), ["mx.test"])

Ask = Callable[..., list[Finding]]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[smtpd.SmtpdInvocation]:
    """An smtpd service whose program is the stand-in, with somebody who listens on private/rewrite. Needs no root."""
    monkeypatch.setattr(smtpd.os, "geteuid", lambda: 0)
    monkeypatch.setattr(smtpd, "as_mail_owner", lambda mail_owner: None)
    for directory in ("etc", "sbin", "queue/private"):
        (tmp_path / directory).mkdir(parents=True)
    shutil.copy(RECORDED / "smtpd", tmp_path / "sbin" / "smtpd")
    monkeypatch.chdir(tmp_path / "queue" / "private")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as rewrite:
        rewrite.bind("rewrite")
        rewrite.listen()
        yield smtpd.SmtpdInvocation(
            listeners=(smtpd.Listening("*:25"),),
            config_directory=str(tmp_path / "etc"),
            queue_directory=os.path.relpath(tmp_path / "queue"),
            daemon_directory=str(tmp_path / "sbin"),
            mail_owner=pwd.getpwuid(os.getuid()).pw_name,
        )


@pytest.fixture
def ask(service: smtpd.SmtpdInvocation) -> Ask:
    """Simulate with a recording and a behaviour; `more` goes to simulate()."""

    def run(recording: str = "", behaviour: str = "", budget: Budget | None = None, **more: object) -> list[Finding]:
        directory = Path(service.config_directory)
        (directory / "behaviour").write_text(behaviour)
        if recording:
            shutil.copy(RECORDED / f"postfix-{recording}.json", directory / "dialogue.json")
        return list(simulate(service, CLIENTS, ENVELOPES, budget or Budget(1), **{"timeout_s": 20, **more}))  # type: ignore[arg-type]

    return run


def said(findings: list[Finding]) -> dict[str, tuple[str, ...]]:
    return {f.control: (f.status.value, *f.conditions) for f in findings}


CLOSED = {"RELAY-03": ("pass",), "SENDER-03": ("pass",), "RELAY-10": ("pass",)}
ALL_UNKNOWN = dict.fromkeys(CLOSED, ("unknown",))


def gone(service: smtpd.SmtpdInvocation) -> bool:
    """Whether the process that was started has ended and was reaped."""
    try:
        os.kill(int((Path(service.config_directory) / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ("closed", CLOSED),
        ("open", {"RELAY-03": ("fail",), "SENDER-03": ("fail", "local_sender"), "RELAY-10": ("unknown",)}),
        ("sender", {**CLOSED, "SENDER-03": ("fail", "local_sender")}),
        ("broken", ALL_UNKNOWN),
        ("table", ALL_UNKNOWN),
    ],
)
def test_recorded_dialogues(ask: Ask, version: str, recording: str, expected: dict[str, tuple[str, ...]]) -> None:
    findings = ask(f"{version}-{recording}")
    assert said(findings) == expected
    assert all(f.method is Method.SIMULATION and str(f.subject) == "listener *:25" for f in findings)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_programs_own_words_are_quoted(ask: Ask, version: str) -> None:
    closed, opened = ask(f"{version}-closed")[0], ask(f"{version}-open")[0]
    denied = "454 4.7.1 <canary@canary.test>: Relay access denied" if version == "3.7" else "554 5.7.1"
    assert denied in closed.evidence[0].text and closed.verdict == "closed"
    assert "RCPT TO:<canary@canary.test>: 252 2.0.0 <canary@canary.test>" in opened.evidence[0].text
    assert "192.0.2.66" in opened.message and "192.0.2.66" in opened.evidence[0].where and opened.verdict == "accepts"


@pytest.mark.parametrize("version", VERSIONS)
def test_another_program_flips_the_verdict(ask: Ask, version: str) -> None:
    assert said(ask(f"{version}-closed", "opposite"))["RELAY-03"] == ("fail",)


@pytest.mark.parametrize(
    ("recording", "behaviour", "reason"),
    [
        ("3.7-broken", "", "smtpd does not start: fatal: in parameter smtpd_relay_restrictions"),
        ("3.7-table", "", "server configuration error"),
        ("", "", "smtpd does not start: no reason given, exit status 1"),
        ("3.7-closed", "dies at RCPT", "smtpd died at RCPT: fatal: out of memory"),
        ("3.7-closed", "RCPT: 503 5.5.1 Error: MAIL transaction in progress", "did not understand the dialogue"),
        ("3.7-closed", "RCPT: 421 4.3.2 overloaded", "overloaded"),
        ("3.7-closed", "RCPT: 450 4.2.0 <c@canary.test>: Recipient address rejected: Greylisted", "for the moment only"),
        ("3.7-closed", "RCPT: 554 5.7.1 Service unavailable; Client host [192.0.2.66] blocked using bl.test", "blocklist"),
        ("3.10-closed", "garbage", "is no SMTP"),
        ("3.10-closed", "endless", "is no SMTP"),
    ],
)
def test_what_decides_nothing_is_unknown(
    ask: Ask, service: smtpd.SmtpdInvocation, recording: str, behaviour: str, reason: str
) -> None:
    findings = ask(recording, behaviour)
    assert said(findings)["RELAY-03"] == ("unknown",)
    assert reason in findings[0].reason
    assert gone(service)


@pytest.mark.parametrize("behaviour", ["deaf", "deaf at RCPT"])
def test_silence_ends_in_time_and_the_process_is_killed(ask: Ask, service: smtpd.SmtpdInvocation, behaviour: str) -> None:
    findings = ask("3.7-closed", behaviour, timeout_s=2)
    assert said(findings) == ALL_UNKNOWN
    assert all("in time" in f.reason for f in findings)
    assert gone(service)


def test_what_was_answered_before_the_end_counts(ask: Ask) -> None:
    """An open relay stays one, although the dialogue stopped later; the rest is unknown and never a pass."""
    assert said(ask("3.7-open", "dies at VRFY")) == ALL_UNKNOWN
    findings = ask("3.7-open", "dies at RSET")
    assert findings[0].status is Status.FAIL
    assert {f.status for f in findings[1:]} == {Status.UNKNOWN}


def test_a_flood_of_log_lines_does_no_harm(ask: Ask) -> None:
    assert said(ask("3.7-closed", "chatty")) == CLOSED


def test_the_budget_is_kept(ask: Ask) -> None:
    budget = Budget(1)
    assert said(ask("3.7-closed", budget=budget)) == CLOSED
    findings = ask("3.7-closed", budget=budget)
    assert said(findings) == ALL_UNKNOWN and "budget of 1" in findings[0].reason
    assert budget.used == 1


def test_how_it_is_started(ask: Ask, service: smtpd.SmtpdInvocation) -> None:
    ask("3.7-closed")
    started = json.loads((Path(service.config_directory) / "argv.json").read_text())
    assert started["argv"][:2] == ["-S", "-V"]
    options = started["argv"][3::2]
    assert set(smtpd.QUESTIONS_ONLY) <= set(options)
    assert started["environment"]["MAIL_CONFIG"] == service.config_directory
    dialogue = json.loads((RECORDED / "postfix-3.7-closed.json").read_text())["dialogue"]
    xclients = [command for command, _ in dialogue if command.startswith("XCLIENT")]
    assert xclients and all(" NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] " in command for command in xclients)


def test_obstacles_cost_no_process(service: smtpd.SmtpdInvocation, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(5)

    def reasons(changed: smtpd.SmtpdInvocation) -> set[str]:
        findings = list(simulate(changed, CLIENTS, ENVELOPES, budget))
        assert said(findings) == ALL_UNKNOWN
        return {f.reason for f in findings}

    assert "mail_owner" in reasons(replace(service, mail_owner="no-such-user-here")).pop()
    assert "missing" in reasons(replace(service, daemon_directory="/nonexistent")).pop()
    assert "Postfix is not running" in reasons(replace(service, queue_directory="/nonexistent")).pop()
    os.rename("rewrite", "was-rewrite")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind("rewrite")  # the file is there, but nobody listens
    assert "Postfix is not running" in reasons(service).pop()
    monkeypatch.setattr(smtpd.os, "geteuid", lambda: 1000)
    assert "not root" in reasons(service).pop()
    assert budget.used == 0


# Whom it pretends to be


def test_clients_of_an_ordinary_host() -> None:
    assert [str(c) for c in CLIENTS] == [
        "stranger 192.0.2.66", "stranger 2001:db8:ffff::66", "neighbour 198.51.100.253",
        "neighbour 2001:db8:51:0:ffff:ffff:ffff:fffe", "gateway 198.51.100.254", "local 127.0.0.1",
    ]


def test_a_stranger_is_never_near_nor_trusted() -> None:
    found = clients(OWN, [network("192.0.2.0/24")], [], trusted=[network("203.0.113.0/24"), network("2001:db8::/32")])
    strangers = [c.address for c in found if c.vantage == "stranger"]
    assert strangers == [address("198.51.100.66"), address("3fff:fff::66")]


def test_a_neighbour_is_neither_the_host_nor_trusted() -> None:
    link = network("198.51.100.0/29")
    found = clients([address("198.51.100.6")], [link], [address("198.51.100.5")], trusted=[network("198.51.100.4/32")])
    assert [str(c.address) for c in found if c.vantage == "neighbour"] == ["198.51.100.3"]
    assert [c for c in clients(OWN, [network("198.51.100.11/32")], []) if c.vantage == "neighbour"] == []


def test_ranges_of_mynetworks_get_a_client_of_their_own() -> None:
    ranges = [network(n) for n in ("127.0.0.0/8", "10.0.0.0/8", "16.0.0.0/4", "192.0.2.0/24")]
    extra = [c for c in clients(OWN, LINKS, [], mynetworks=ranges) if c.network]
    assert [(str(c.address), c.conditions) for c in extra] == [("16.0.0.66", ("network:16.0.0.0/4",))]
    many = [network(f"20.{i}.0.0/16") for i in range(100)]
    assert len([c for c in clients(OWN, LINKS, [], mynetworks=many) if c.network]) == envelopes_module.MAX_RANGES


def test_conditions() -> None:
    assert Client("stranger", address("192.0.2.66")).conditions == ()
    assert Client("neighbour", address("2001:db8::1")).conditions == ("neighbour", "ipv6")


def test_envelopes_only_go_to_the_canary_or_to_local_domains() -> None:
    declared = Declared("canary@canary.test", "probe@stranger.test", "alice@mx.test")
    forms = envelopes(declared, ["mx.test"], ["partner.test"], to_local=True)
    assert {e.recipient.rpartition("@")[2] for e in forms} == {"canary.test", "mx.test", "partner.test"}
    assert {e.condition for e in forms if e.at_local_domain} == {"percent", "bang", "quoted", "source_route"}
    assert all(e.sender == "alice@mx.test" for e in forms if e.hole.value == "local_sender")


# What the reader's Postfix becomes

MASTER = "smtp inet n - y - - smtpd\n2525 inet n - y - - smtpd\n  -o mynetworks=0.0.0.0/0\n127.0.0.1:10025 inet n - y - - smtpd\n"


def read_postfix(**parameters: str) -> Postfix:
    settings = {"inet_interfaces": "all", "inet_protocols": "all", "mydestination": "mx.test", "queue_directory": "/nonexistent",
                "daemon_directory": "/usr/lib/postfix/sbin", "mail_owner": pwd.getpwuid(os.getuid()).pw_name, **parameters}
    return Postfix("/etc/postfix", parameters=settings, entries=tuple(master_cf(MASTER)))


def test_each_service_with_its_own_overrides() -> None:
    services = [from_services(ports) for ports in _by_smtpd(read_postfix())]
    assert [([at.name for at in s.listeners], s.options) for s in services] == [
        (["*:25"], ()), (["*:2525"], ("mynetworks=0.0.0.0/0",)),
    ]
    assert services[0].config_directory == "/etc/postfix" and services[0].program == "/usr/lib/postfix/sbin/smtpd"


def test_what_cannot_be_asked_is_unknown_on_every_listener_that_others_reach() -> None:
    result = simulate_all([read_postfix()], Site(), None, Declared())
    assert {(f.subject.name, f.status) for f in result.findings} == {("*:25", Status.UNKNOWN), ("*:2525", Status.UNKNOWN)}
    assert result.spawns == 0 and all(f.reason for f in result.findings)


def test_tricks_are_tried_at_relay_domains() -> None:
    found = _envelopes(read_postfix(relay_domains="partner.test"), Site(), Declared("c@canary.test", "p@stranger.test"))
    assert {"c%canary.test@mx.test", "c%canary.test@partner.test"} <= {e.recipient for e in found}
    assert not any(e.at_local_domain for e in found if e.recipient.endswith("@partner.test"))


def test_relay_domains_without_a_name_leave_a_gap() -> None:
    open_to_tricks = read_postfix(relay_domains=".partner.test", allow_untrusted_routing="yes")
    assert "could not be tried" in from_services(_by_smtpd(open_to_tricks)[0]).routing_gap
    for harmless in (read_postfix(relay_domains=".partner.test"), read_postfix(allow_untrusted_routing="yes")):
        assert from_services(_by_smtpd(harmless)[0]).routing_gap == ""


# What a refusal says


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(454, "4.7.1", ("<c@canary.test>: Relay access denied",)), ""),
        (Reply(554, "5.7.1", ("<c@canary.test>: Relay access denied",)), ""),
        (Reply(450, "4.7.1", ("<unknown[192.0.2.66]>: Client host rejected: Access denied",)), ""),
        (Reply(530, "5.7.0", ("Authentication required",)), ""),
        (Reply(553, "5.7.1", ("<a@mx.test>: Sender address rejected: not logged in",)), ""),
        (Reply(501, "5.1.3", ("Bad recipient address syntax",)), ""),
        (Reply(451, "4.3.5", ("Server configuration error",)), "configuration"),
        (Reply(451, "4.3.0", ("<c@canary.test>: Temporary lookup failure",)), "looked up"),
        (Reply(450, "4.1.8", ("<p@x>: Sender address rejected: Domain not found",)), "does not resolve"),
        (Reply(550, "5.1.1", ("<c@canary.test>: Recipient address rejected: User unknown",)), "local"),
        (Reply(450, "4.7.25", ("Client host rejected: cannot find your hostname, [192.0.2.66]",)), "host name"),
        (Reply(450, "4.7.1", ("Session encryption is required",)), "encryption"),
        (Reply(503, "5.5.1", ("Error: nested MAIL command",)), "dialogue"),
        (Reply(502, "5.5.2", ("Error: command not recognized",)), "dialogue"),
    ],
)
def test_refusals(reply: Reply, reason: str) -> None:
    assert (reason in undecided(reply)) if reason else undecided(reply) == ""


def test_an_unknown_user_at_a_local_domain_is_a_refusal() -> None:
    reply = Reply(550, "5.1.1", ("<x%y@mx.test>: Recipient address rejected: User unknown in local recipient table",))
    assert undecided(reply, recipient_is_local=True) == ""


CLIENT_REJECTED = "RCPT: 554 5.7.1 <unknown[192.0.2.66]>: Client host rejected: Access denied"
RELAY_DENIED = "RCPT: 554 5.7.1 <c@canary.test>: Relay access denied"


BOGONS = Table("cidr:/bogons", "cidr", rules=tuple(cidr_rules("192.0.2.0/24 REJECT\n0.0.0.0/8 REJECT\n")))
PARTNERS = Table("hash:/partners", "hash", entries={"185.12.7.9": "OK", "spam.test": "REJECT"})
NAMELESS = Table("hash:/names", "hash", entries={"unknown": "REJECT"})
SERVER = Table("ldap:/clients", "ldap", problem="the server does not answer")


@pytest.mark.parametrize(
    ("lists", "behaviour", "status"),
    [
        ({"smtpd_client_restrictions": "check_client_access cidr:/bogons"}, CLIENT_REJECTED, Status.UNKNOWN),
        ({"smtpd_client_restrictions": "cidr:/bogons"}, CLIENT_REJECTED, Status.UNKNOWN),
        ({"smtpd_client_restrictions": "check_client_access hash:/names"}, CLIENT_REJECTED, Status.UNKNOWN),
        ({"smtpd_client_restrictions": "check_client_access ldap:/clients, reject"}, CLIENT_REJECTED, Status.UNKNOWN),
        ({"smtpd_client_restrictions": "check_client_mx_access hash:/partners, reject"}, CLIENT_REJECTED, Status.UNKNOWN),
        ({"smtpd_restriction_classes": "c", "c": "Check_Client_Access cidr:/bogons"}, CLIENT_REJECTED, Status.UNKNOWN),
        ({"smtpd_client_restrictions": "check_client_access cidr:/bogons"}, RELAY_DENIED, Status.PASS),
        # On a submission port everybody without a login meets the plain reject: what the tables say is of others.
        ({"smtpd_client_restrictions": "check_client_access hash:/partners, permit_sasl_authenticated, reject"}, CLIENT_REJECTED,
         Status.PASS),
        ({"smtpd_client_restrictions": "permit_sasl_authenticated, reject"}, CLIENT_REJECTED, Status.PASS),
        ({"smtpd_client_restrictions": "check_sender_access hash:/x, reject"}, CLIENT_REJECTED, Status.PASS),
        ({"smtpd_relay_restrictions": "hash:/recipients, check_client_access static:REJECT"}, CLIENT_REJECTED, Status.PASS),
    ],
)
def test_a_table_that_names_the_invented_client_tells_nothing_when_it_is_refused(
    service: smtpd.SmtpdInvocation, lists: dict[str, str], behaviour: str, status: Status
) -> None:
    """Tables of bogons hold the documentation addresses: real strangers are not refused by them."""
    tables = {table.spec: table for table in (BOGONS, PARTNERS, NAMELESS, SERVER)}
    settings = {**lists, "inet_interfaces": "all"}
    postfix = Postfix("/etc/postfix", settings, entries=tuple(master_cf("smtp inet n - y - - smtpd")), tables=tables)
    named = from_services(postfix.smtp_services()).named
    directory = Path(service.config_directory)
    (directory / "behaviour").write_text(behaviour)
    shutil.copy(RECORDED / "postfix-3.7-closed.json", directory / "dialogue.json")
    others = [client for client in CLIENTS if client.vantage != "local"]
    finding = next(iter(simulate(replace(service, named=named), others, ENVELOPES, Budget(1), timeout_s=20)))
    assert (finding.control, finding.status) == ("RELAY-03", status), finding.reason
    assert ("invented client" in finding.reason) == (status is Status.UNKNOWN)


def test_open_answers_name_the_clients_that_got_through(ask: Ask) -> None:
    opened = ask("3.7-open")[0]
    assert opened.clients == ("192.0.2.66",)
    assert all(f.clients == () for f in ask("3.7-closed"))


def test_clients_that_got_in_the_same_way_are_listed_together() -> None:
    plain = next(e for e in ENVELOPES if e.hole is Hole.PLAIN and not e.condition)
    answers = [Answer(Client("neighbour", address(f"198.51.100.{n}")), plain, n != 3, "250 Ok") for n in (1, 2, 3)]
    answers.append(Answer(Client("stranger", address("192.0.2.66")), plain, False, "554 no"))
    (opened,) = (f for f in verdicts("*:25", answers, ()) if f.status is Status.FAIL)
    assert (opened.conditions, opened.clients) == (("neighbour",), ("198.51.100.1", "198.51.100.2"))


def test_only_the_closed_queue_counts_as_accepted() -> None:
    assert would_queue(Reply(451, "4.3.0", ("Error: queue file write error",)))
    assert not would_queue(Reply(451, "4.3.0", ("Temporary lookup failure",)))


# Nobody outside is asked


def test_policy_services_are_replaced_wherever_they_stand() -> None:
    parameters = {
        "smtpd_restriction_classes": "grey, other",
        "grey": "check_policy_service inet:127.0.0.1:10023",
        "smtpd_relay_restrictions": "permit_mynetworks, grey, reject_unauth_destination",
        "smtpd_recipient_restrictions": "check_policy_service { unix:private/p, timeout=1s }, reject_unlisted_recipient",
        "smtpd_client_restrictions": "permit_mynetworks, reject_rbl_client bl.test=127.0.0.[2..9], permit_dnswl_client wl.test",
        "smtpd_sender_restrictions": "Reject_Unverified_Sender permit",
    }
    assert rewritten(parameters, Outside.PERMITS) == {
        "grey": "check_client_access static:OK",
        "smtpd_recipient_restrictions": "check_client_access static:OK reject_unlisted_recipient",
        "smtpd_client_restrictions": "permit_mynetworks check_client_access static:DUNNO check_client_access static:OK",
        "smtpd_sender_restrictions": "check_client_access static:DUNNO permit",
    }
    assert rewritten(parameters, Outside.REFUSES)["grey"] == "check_client_access static:REJECT"
    assert rewritten(parameters, Outside.ASKED) == {"smtpd_sender_restrictions": "check_client_access static:DUNNO permit"}
    assert set(deciders(parameters)) == {
        "check_policy_service { unix:private/p, timeout=1s }", "permit_dnswl_client wl.test",
        "check_policy_service inet:127.0.0.1:10023",
    }


def test_lists_without_outsiders_stay_as_they_are() -> None:
    assert rewritten({"smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"}, Outside.PERMITS) == {}
