"""The good hosts of other programs than Postfix are good: every promise is kept to swaks, on both releases of Debian."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest
from lab_dialogue import CANARY, Lab, arrivals, dialogues, eventually, login, send, swaks
from mtalab.faults import Fault, plant_all

pytestmark = pytest.mark.lab

HOSTS = ("exim-d12", "exim-d13", "sendmail-d12", "sendmail-d13", "opensmtpd-d12", "opensmtpd-d13")
PORTS = [("exim-d12", "587"), ("exim-d12", "465"), ("exim-d13", "587"), ("exim-d13", "465"), ("sendmail-d12", "587"),
         ("sendmail-d13", "587"), ("opensmtpd-d13", "587"), ("opensmtpd-d13", "465")]
SUBMISSION = ("exim-d12", "exim-d13", "sendmail-d12", "sendmail-d13", "opensmtpd-d13")

# What each program says. A refusal in other words is a finding of its own, so they are written out.
NOT_RELAYED = {
    "exim": "550 relay not permitted",
    "sendmail": f"550 5.7.1 <{CANARY}>... Relaying denied",
    "opensmtpd": f"550 Invalid recipient: <{CANARY}>",
}
UNKNOWN = {"exim": "550 Unrouteable address", "sendmail": "550 5.1.1 ", "opensmtpd": "550 Invalid recipient"}
LOCAL_SENDER = {"exim": "550 local senders must log in", "sendmail": "local senders must log in",
                "opensmtpd": "550 Invalid recipient"}
TAKEN = {"exim": "250 OK id=", "sendmail": "Message accepted for delivery", "opensmtpd": "Message accepted for delivery"}
NOT_OWN = {"exim": "550 sender address is not owned by alice", "sendmail": "sender address is not owned by alice",
           "opensmtpd": "530 Sender rejected"}
WANTS_LOGIN = {"exim": "550 authentication required", "sendmail": "530 5.7.0 Authentication required",
               "opensmtpd": "530 5.5.1 Invalid command: Must issue an AUTH command first"}
WANTS_TLS = {**WANTS_LOGIN, "opensmtpd": "530 5.5.1 Invalid command: Must issue a STARTTLS command first"}
# The line that names the login of a message taken from it.
LOGIN_IN_LOG = {
    "exim": r" <= alice@\S+ .* A=plain_server:alice ",
    "sendmail": r" AUTH=server, relay=.*, authid=alice, mech=PLAIN,",
    "opensmtpd": r" smtp authentication user=alice result=ok",
}
# What the lines of one session have in common: Exim says everything in one, Sendmail has the process, OpenSMTPD a session id.
SESSION_ID = {"sendmail": r"sm-mta\[\d+\]", "opensmtpd": r"\b[0-9a-f]{16}\b"}
ADDRESS = {
    "exim": r"\[([0-9a-f.:]+)\]",
    "sendmail": r"relay=\S+ \[(?:IPv6:)?([0-9a-f.:]+)\]",
    "opensmtpd": r"smtp connected address=\[?([0-9a-f.:]+)",
}


@pytest.fixture(scope="module")
def lab() -> Lab:
    """The lab, and the hosts that start on demand."""
    running = Lab()
    running.up()
    running.up(HOSTS)
    return running


@pytest.fixture
def copy(lab: Lab) -> Iterator[Callable[..., str]]:
    """Make throw-away copies that are gone after the test."""
    made: list[str] = []

    def clone(original: str) -> str:
        made.append(f"t-{uuid.uuid4().hex[:8]}")
        lab.clone(original, made[-1])
        return made[-1]

    yield clone
    lab.remove(*made)


def program(host: str) -> str:
    return host.rpartition("-")[0]


def tls(port: str) -> list[str]:
    return ["--port", port, "--tls" if port == "587" else "--tls-on-connect"]

Envelope = tuple[str, str]   # sender, recipient


def refusals(lab: Lab, vantage: str, server: str, envelopes: Sequence[Envelope], *words: str) -> dict[Envelope, str]:
    """The line that refused each envelope, asked side by side; empty when nothing refused it."""

    each = [["--from", sender, "--to", to, "--quit-after", "RCPT", *words] for sender, to in envelopes]
    found = {}
    for envelope, answer in zip(envelopes, dialogues(lab, vantage, server, each), strict=True):
        assert "=== Connected to" in answer, answer
        refused = re.search(r"^<[*~]\* +(\d.*)$", answer, re.MULTILINE)
        found[envelope] = refused.group(1) if refused else ""
    return found


FOREIGN: Envelope = ("probe@stranger.test", CANARY)


def missing(lab: Lab, host: str) -> Envelope:
    """An envelope for a mailbox that this host does not have."""
    return "probe@stranger.test", f"missing@{lab.host(host).mail_domain}"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("vantage", ["stranger", "neighbour", "inside"])
@pytest.mark.parametrize("host", HOSTS)
def test_good_hosts_relay_for_nobody(lab: Lab, host: str, vantage: str, family: str) -> None:
    server, domain = getattr(lab.host(host), family), lab.host(host).mail_domain
    plain = [FOREIGN, ("<>", CANARY)]
    forms = [f"canary%canary.test@{domain}", f"canary.test!canary@{domain}", f'"{CANARY}"@{domain}', f"@{domain}:{CANARY}"]
    answers = refusals(lab, vantage, server, plain + [("probe@stranger.test", form) for form in forms])
    assert all(answer.startswith("5") for answer in answers.values()), answers
    assert all(answers[envelope].startswith(NOT_RELAYED[program(host)]) for envelope in plain), answers


@pytest.mark.parametrize("host", HOSTS)
def test_a_stranger_may_not_use_a_local_sender(lab: Lab, host: str) -> None:
    """SENDER-03, in any case of letters."""
    domain, fqdn = lab.host(host).mail_domain or "", lab.host(host).fqdn
    senders = (f"bob@{domain}", f"root@{fqdn}", f"nobody-at-all@{domain}", f"Bob@{domain.upper()}")
    recipients = (f"alice@{domain}", f"postmaster@{domain}", CANARY)
    answers = refusals(lab, "stranger", lab.host(host).ipv4, [(s, r) for s in senders for r in recipients])
    assert all(LOCAL_SENDER[program(host)] in answer for answer in answers.values()), answers


@pytest.mark.parametrize("host", HOSTS)
def test_recipients_are_known_at_rcpt(lab: Lab, host: str) -> None:
    """RCPT-01 and RCPT-02."""
    domain = lab.host(host).mail_domain
    known = [("<>", f"{name}@{domain}") for name in ("alice", "bob", "postmaster", "abuse")]
    answers = refusals(lab, "stranger", lab.host(host).ipv6, [*known, missing(lab, host)])
    assert answers.pop(missing(lab, host)).startswith(UNKNOWN[program(host)])
    assert set(answers.values()) == {""}, answers


@pytest.mark.parametrize("host", HOSTS)
def test_mail_for_a_mailbox_is_stored(lab: Lab, host: str) -> None:
    token = uuid.uuid4().hex
    answer = send(lab, "stranger", lab.host(host).ipv4, f"postmaster@{lab.host(host).mail_domain}", "probe@stranger.test",
                  "--header", f"X-Mtaudit-Token: {token}")
    assert TAKEN[program(host)] in answer, answer
    assert eventually(lambda: lab.execute(host, "grep", "-rl", token, "/home/alice/Maildir/new").stdout)


@pytest.mark.parametrize("host", HOSTS)
def test_programs_on_the_host_send(lab: Lab, host: str) -> None:
    token = f"t{uuid.uuid4().hex}"
    message = f"Subject: from a program\nX-Mtaudit-Token: {token}\n\nhello\n"
    assert lab.execute(host, "/usr/sbin/sendmail", CANARY, stdin=message).returncode == 0
    (arrival,) = eventually(lambda: arrivals(lab, token))
    assert arrival["client"] in {lab.host(host).ipv4, lab.host(host).ipv6}


@pytest.mark.parametrize(("host", "port"), PORTS)
def test_a_user_sends_to_the_canary(lab: Lab, host: str, port: str) -> None:
    token = f"t{uuid.uuid4().hex}"
    domain = lab.host(host).mail_domain
    answer = send(lab, "inside", lab.host(host).ipv4, CANARY, f"alice@{domain}", *tls(port), *login(lab),
                  "--header", f"X-Mtaudit-Token: {token}")
    assert TAKEN[program(host)] in answer, answer
    (arrival,) = eventually(lambda: arrivals(lab, token))
    assert arrival["envelope_from"] == f"alice@{domain}"
    assert arrival["client"] in {lab.host(host).ipv4, lab.host(host).ipv6}
    assert re.search(LOGIN_IN_LOG[program(host)], lab.mail_log(host))


@pytest.mark.parametrize(("host", "port"), PORTS)
def test_submission_wants_tls_a_login_and_the_logins_own_sender(lab: Lab, host: str, port: str) -> None:
    server, domain, name = lab.host(host).ipv6, lab.host(host).mail_domain, program(host)
    own = (f"alice@{domain}", CANARY)
    assert refusals(lab, "stranger", server, [own], *tls(port))[own].startswith(WANTS_LOGIN[name])
    foreign = [(sender, to) for sender in (f"bob@{domain}", "probe@stranger.test", "<>") for to in (CANARY, f"bob@{domain}")]
    answers = refusals(lab, "stranger", server, foreign, *tls(port), *login(lab))
    assert all(NOT_OWN[name] in answer for answer in answers.values()), answers
    allowed = [own, (f"postmaster@{domain}", CANARY), (f"alice@{domain}", f"bob@{domain}")]
    assert set(refusals(lab, "stranger", server, allowed, *tls(port), *login(lab)).values()) == {""}
    wrong = [*login(lab)[:-1], "not-the-password"]
    answer = send(lab, "stranger", server, CANARY, f"alice@{domain}", *tls(port), *wrong)
    assert re.search(r"^<~\* 535 ", answer, re.MULTILINE), answer


@pytest.mark.parametrize("host", SUBMISSION)
def test_a_login_is_offered_only_on_submission_and_only_over_tls(lab: Lab, host: str) -> None:
    server = lab.host(host).ipv4
    for words in (["--port", "25"], ["--port", "25", "--tls"], ["--port", "587"]):
        answer = swaks(lab, "stranger", server, "--quit-after", "EHLO", *words)
        assert "250" in answer and "AUTH" not in answer, answer
    own = (f"alice@{lab.host(host).mail_domain}", CANARY)
    assert refusals(lab, "stranger", server, [own], "--port", "587")[own].startswith(WANTS_TLS[program(host)])


def test_opensmtpd_of_debian_12_offers_no_tls(lab: Lab) -> None:
    """Its 6.8 fails every handshake; so it offers none, and has no submission."""
    assert "STARTTLS" not in swaks(lab, "stranger", lab.host("opensmtpd-d12").ipv4, "--quit-after", "EHLO")


@pytest.mark.parametrize("host", HOSTS)
def test_names_and_versions_are_not_given_away(lab: Lab, host: str) -> None:
    answer = swaks(lab, "stranger", lab.host(host).ipv4, "--quit-after", "EHLO")
    assert re.search(rf"^<-  220 {re.escape(lab.host(host).fqdn)} ESMTP( OpenSMTPD)?$", answer, re.MULTILINE), answer


@pytest.mark.parametrize(
    ("vantage", "family", "seen"),
    [("stranger", "ipv4", "198.19.0.66"), ("neighbour", "ipv6", "2001:db8:51::30"), ("inside", "ipv4", "198.51.100.253")],
)
@pytest.mark.parametrize("host", HOSTS)
def test_the_server_logs_the_vantages_address(lab: Lab, host: str, vantage: str, family: str, seen: str) -> None:
    tag = f"missing-{uuid.uuid4().hex[:10]}"
    send(lab, vantage, getattr(lab.host(host), family), f"{tag}@{lab.host(host).mail_domain}")
    assert eventually(lambda: clients_in_log(lab, host, tag)) == {seen}


def clients_in_log(lab: Lab, host: str, tag: str) -> set[str]:
    """Client addresses of the sessions whose lines carry `tag`."""
    lines = lab.mail_log(host).splitlines()
    found = [line for line in lines if tag in line]
    if session := SESSION_ID.get(program(host)):
        sessions = {name for line in found for name in re.findall(session, line)}
        found = [line for line in lines if any(name in line for name in sessions)]
    texts = {address for line in found for address in re.findall(ADDRESS[program(host)], line)}
    return {str(ipaddress.ip_address(text)) for text in texts}


@pytest.mark.parametrize("host", HOSTS)
def test_a_copy_is_as_good_as_its_original(lab: Lab, copy: Callable[..., str], host: str) -> None:
    name = copy(host)
    for server in (lab.host(name).ipv4, lab.host(name).ipv6):
        assert f"220 {lab.host(host).fqdn} ESMTP" in swaks(lab, "stranger", server, "--quit-after", "EHLO")
        answers = refusals(lab, "stranger", server, [FOREIGN, missing(lab, host)])
        assert answers[FOREIGN].startswith(NOT_RELAYED[program(host)]), answers
        assert answers[missing(lab, host)].startswith(UNKNOWN[program(host)]), answers


# The same hole in each program's own words.
STRANGERS_RELAY = {
    "exim": "sed -i \"s/^dc_relay_nets=.*/dc_relay_nets='198.19.0.0\\/24'/\" /etc/exim4/update-exim4.conf.conf",
    "sendmail": "printf 'Connect:198.19\\tRELAY\\n' >> /etc/mail/access",
    "opensmtpd": "echo 'match from src 198.19.0.0/24 for any action \"outside\"' >> /etc/smtpd.conf",
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_fault_planted_in_a_copy_is_in_force(lab: Lab, host: str) -> None:
    """It greets with a name of its own, relays for whom it was told to, and is otherwise as good."""
    fault = Fault(f"t-{uuid.uuid4().hex[:6]}", "", host, STRANGERS_RELAY[program(host)], "RELAY-01", "proven_open", {})
    planted = plant_all(lab, [fault])[fault.name]
    try:
        greeting = swaks(lab, "stranger", planted.ipv4, "--quit-after", "EHLO")
        assert f"220 {lab.hosts.address_name(planted)} ESMTP" in greeting, greeting
        assert refusals(lab, "stranger", planted.ipv4, [FOREIGN]) == {FOREIGN: ""}
        # Not over IPv4: Debian's Exim takes mail for anybody, known or not, from whom it relays for.
        answers = refusals(lab, "stranger", planted.ipv6, [FOREIGN, missing(lab, host)])
        assert answers[FOREIGN].startswith(NOT_RELAYED[program(host)]), answers
        assert answers[missing(lab, host)].startswith(UNKNOWN[program(host)]), answers
    finally:
        lab.remove(planted.name)


def test_hosts_on_demand_do_not_belong_to_the_standing_lab(lab: Lab) -> None:
    assert not {host.name for host in lab.config.standing()} & set(HOSTS)
    assert {host.name for host in lab.config.hosts.values() if host.on_demand and host.mail_domain} == set(HOSTS)
