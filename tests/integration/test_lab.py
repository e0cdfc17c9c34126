"""The running lab is what the tests take it for: routes, names, mail, copies. swaks and dig are the oracles."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from lab_dialogue import CANARY, ROOT, Lab, LabError, arrivals, eventually, login, send, swaks
from mtalab.config import Network

pytestmark = pytest.mark.lab

GOOD = ("mx-d12", "mx-d13", "full-d12", "full-d13")
FULL = ("full-d12", "full-d13")


@pytest.fixture
def copy(lab: Lab) -> Iterator[Callable[..., str]]:
    """Make throw-away copies that are gone after the test."""
    made: list[str] = []

    def clone(original: str, lan: bool = False) -> str:
        name = f"t-{uuid.uuid4().hex[:8]}"
        made.append(name)
        lab.clone(original, name, lan)
        return name

    yield clone
    lab.remove(*made)


def clients_in_log(lab: Lab, host: str, tag: str) -> list[str]:
    """Client addresses of log lines that carry a HELO name or recipient with `tag`."""
    return re.findall(rf"from \S+?\[([0-9a-f.:]+)\].*{tag}", lab.mail_log(host))


# The network

@pytest.mark.parametrize(
    ("vantage", "family", "seen"),
    [
        ("stranger", "ipv4", "198.19.0.66"),
        ("stranger", "ipv6", "2001:db8:19::66"),
        ("neighbour", "ipv4", "198.51.100.30"),
        ("neighbour", "ipv6", "2001:db8:51::30"),
        ("inside", "ipv4", "198.51.100.253"),      # masqueraded by the gateway
        ("inside", "ipv6", "2001:db8:18::66"),     # routed
    ],
)
@pytest.mark.parametrize("host", GOOD)
def test_the_server_logs_the_vantages_address(lab: Lab, host: str, vantage: str, family: str, seen: str) -> None:
    tag = f"missing-{uuid.uuid4().hex[:10]}"
    answer = send(lab, vantage, getattr(lab.host(host), family), f"{tag}@{lab.host(host).mail_domain}")
    assert "550 5.1.1" in answer, answer
    assert eventually(lambda: clients_in_log(lab, host, tag)) == [seen]


def test_the_stranger_is_routed_and_the_neighbour_is_not(lab: Lab) -> None:
    for address in (lab.host("mx-d12").ipv4, lab.host("mx-d12").ipv6):
        far = lab.execute("stranger", "ip", "route", "get", address).stdout
        near = lab.execute("neighbour", "ip", "route", "get", address).stdout
        assert " via " in far
        assert " via " not in near


def test_no_host_reaches_the_world(lab: Lab) -> None:
    """Addresses outside the lab end at its routers."""
    for vantage in ("stranger", "neighbour", "inside", "mx-d12"):
        script = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
        assert lab.execute(vantage, "python3", "-c", script).returncode != 0


def test_hosts_have_the_python_that_modules_need(lab: Lab) -> None:
    for name in (*GOOD, "stranger", "neighbour", "inside"):
        assert lab.execute(name, "python3", "-c", "import sys; assert sys.version_info >= (3, 9)").returncode == 0


# Names

@pytest.mark.parametrize("name", [*GOOD, "sink", "stranger", "neighbour", "inside", "gateway"])
def test_forward_and_reverse_names_agree(lab: Lab, name: str) -> None:
    host = lab.host(name)
    for address, kind in ((host.ipv4, "A"), (host.ipv6, "AAAA")):
        assert dig(lab, "-x", address) == [f"{host.fqdn}."]
        assert address in dig(lab, host.fqdn, kind)


def dig(lab: Lab, *words: str) -> list[str]:
    return lab.execute("stranger", "dig", "+short", *words).stdout.split("\n")[:-1]


def test_hosts_call_themselves_by_their_name_in_dns(lab: Lab) -> None:
    for name in GOOD:
        assert lab.execute(name, "hostname", "--fqdn").stdout.strip() == lab.host(name).fqdn


def test_mail_domains_have_mx_and_spf(lab: Lab) -> None:
    assert dig(lab, "canary.test", "MX") == ["10 sink.canary.test."]
    assert dig(lab, "stranger.test", "TXT") == ['"v=spf1 mx -all"']
    for name in GOOD:
        assert dig(lab, lab.host(name).mail_domain or "", "MX") == [f"10 {lab.host(name).fqdn}."]


def test_names_outside_the_lab_do_not_exist(lab: Lab) -> None:
    assert "status: NXDOMAIN" in lab.execute("stranger", "dig", "www.debian.org").stdout
    assert "status: NXDOMAIN" in lab.execute("stranger", "dig", "-x", "192.0.2.1").stdout


def test_the_blocklist_has_its_test_points_and_takes_entries(lab: Lab) -> None:
    assert dig(lab, "2.0.0.127.bl.test") == ["127.0.0.2"]
    lab.set_record("bl.test", "9.0.19.198", "A", "127.0.0.4")
    try:
        assert dig(lab, "9.0.19.198.bl.test") == ["127.0.0.4"]
    finally:
        lab.unset_record("bl.test", "9.0.19.198", "A")
    assert dig(lab, "9.0.19.198.bl.test") == []


# Good hosts are good

@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("vantage", ["stranger", "neighbour", "inside"])
@pytest.mark.parametrize("host", GOOD)
def test_good_hosts_relay_for_nobody(lab: Lab, host: str, vantage: str, family: str) -> None:
    server, domain = getattr(lab.host(host), family), lab.host(host).mail_domain
    code = "454" if host.endswith("d12") else "554"
    for sender in ("probe@stranger.test", "<>"):
        answer = send(lab, vantage, server, CANARY, sender)
        assert f"<** {code} 5.7.1" in answer.replace("454 4.7.1", "454 5.7.1"), answer
        assert "Relay access denied" in answer
    for recipient in (f"canary%canary.test@{domain}", f"canary.test!canary@{domain}", f'"{CANARY}"@{domain}'):
        assert re.search(r"^<\*\* [45]\d\d ", send(lab, vantage, server, recipient), re.MULTILINE), recipient


@pytest.mark.parametrize("host", GOOD)
def test_a_stranger_may_not_use_a_local_sender(lab: Lab, host: str) -> None:
    """SENDER-03."""
    domain = lab.host(host).mail_domain
    for sender in (f"bob@{domain}", f"root@{lab.host(host).fqdn}"):
        for recipient in (f"alice@{domain}", CANARY):
            answer = send(lab, "stranger", lab.host(host).ipv4, recipient, sender)
            assert re.search(r"^<\*\* [45]54 ", answer, re.MULTILINE), answer


@pytest.mark.parametrize("host", GOOD)
def test_mail_for_a_mailbox_is_stored(lab: Lab, host: str) -> None:
    token = uuid.uuid4().hex
    answer = send(lab, "stranger", lab.host(host).ipv4, f"alice@{lab.host(host).mail_domain}", "probe@stranger.test",
                  "--header", f"X-Mtaudit-Token: {token}")
    assert "250 2.0.0 Ok: queued" in answer, answer
    grep = ("grep", "-rl", token, "/home/alice/Maildir/new")
    assert eventually(lambda: lab.execute(host, *grep).stdout)


@pytest.mark.parametrize("port", ["587", "465"])
@pytest.mark.parametrize("host", FULL)
def test_a_user_sends_to_the_canary(lab: Lab, host: str, port: str) -> None:
    token = f"t{uuid.uuid4().hex}"
    domain = lab.host(host).mail_domain
    tls = "--tls" if port == "587" else "--tls-on-connect"
    answer = send(lab, "inside", lab.host(host).ipv4, CANARY, f"alice@{domain}", "--port", port, tls, *login(lab),
                  "--header", f"X-Mtaudit-Token: {token}")
    assert "250 2.0.0 Ok: queued" in answer, answer
    (arrival,) = eventually(lambda: arrivals(lab, token))
    assert arrival["envelope_from"] == f"alice@{domain}"
    assert arrival["envelope_to"] == [CANARY]
    assert arrival["client"] in {lab.host(host).ipv4, lab.host(host).ipv6}
    assert len(arrival["received"]) == 1


def test_the_sink_finds_the_token_in_the_recipient_and_relays_nothing(lab: Lab) -> None:
    token = f"t{uuid.uuid4().hex}"
    assert arrivals(lab, token) == []
    assert "250" in send(lab, "stranger", lab.host("sink").ipv6, f"canary+{token}@canary.test", "<>")
    assert [arrival["envelope_from"] for arrival in arrivals(lab, token)] == [""]
    assert "<** 554 5.7.1" in send(lab, "stranger", lab.host("sink").ipv4, "alice@mx-d12.test")


@pytest.mark.parametrize("host", FULL)
def test_submission_wants_tls_a_login_and_the_logins_own_sender(lab: Lab, host: str) -> None:
    server, domain = lab.host(host).ipv4, lab.host(host).mail_domain
    assert "AUTH" not in swaks(lab, "stranger", server, "--quit-after", "EHLO", "--port", "587")
    assert "AUTH" not in swaks(lab, "stranger", server, "--quit-after", "EHLO", "--port", "25", "--tls")
    assert "530 5.7.0" in send(lab, "stranger", server, CANARY, f"alice@{domain}", "--port", "587")
    assert "554 5.7.1" in send(lab, "stranger", server, CANARY, "probe@stranger.test", "--port", "587", "--tls")
    for sender in (f"bob@{domain}", "probe@stranger.test"):
        answer = send(lab, "stranger", server, CANARY, sender, "--port", "587", "--tls", *login(lab))
        assert "not owned by user alice" in answer, answer


def test_the_mail_log_is_a_file_on_debian_12_and_only_a_journal_on_13(lab: Lab) -> None:
    assert "postfix/master" in lab.execute("mx-d12", "cat", "/var/log/mail.log").stdout
    assert lab.execute("mx-d13", "test", "-e", "/var/log/mail.log").returncode != 0
    assert "postfix/master" in lab.mail_log("mx-d13")


# Copies

@pytest.mark.parametrize("host", GOOD)
def test_a_copy_answers(lab: Lab, copy: Callable[..., str], host: str) -> None:
    name = copy(host)
    for address in (lab.host(name).ipv4, lab.host(name).ipv6):
        assert "550 5.1.1" in send(lab, "stranger", address, f"missing@{lab.host(host).mail_domain}")
    assert name in lab.clone_inventory()["all"]["children"]["mail_servers"]["hosts"]


def test_copies_are_made_side_by_side(lab: Lab, copy: Callable[..., str]) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        names = list(pool.map(copy, GOOD))
    assert len({lab.host(name).ipv4 for name in names}) == len(GOOD)


def test_a_package_of_the_labs_repository_is_installed(lab: Lab, copy: Callable[..., str]) -> None:
    for host in ("mx-d12", "mx-d13"):
        name = copy(host)
        done = lab.execute(name, "sh", "-c", "apt-get update && apt-get install -y swaks 2>&1")
        assert done.returncode == 0, done.stdout
        assert lab.execute(name, "swaks", "--version").returncode == 0


def test_a_published_port_shows_the_client_or_hides_it(lab: Lab, copy: Callable[..., str]) -> None:
    """RELAY-08: what a gateway that masquerades forwarded connections does to the server's log."""
    name = copy("mx-d13", lan=True)
    seen = []
    for hide in (False, True):
        outer = lab.publish(name, hide_clients=hide)
        try:
            tag = f"missing-{uuid.uuid4().hex[:10]}"
            assert "550 5.1.1" in send(lab, "stranger", outer, f"{tag}@mx-d13.test")
            seen += eventually(lambda tag=tag: clients_in_log(lab, name, tag))  # type: ignore[misc]
        finally:
            lab.unpublish()
    assert seen == ["198.19.0.66", "198.18.0.254"]


def test_good_hosts_are_not_removed_as_copies(lab: Lab) -> None:
    with pytest.raises(LabError, match="not a throw-away copy: mx-d12"):
        lab.remove("mx-d12")


# Up

def test_a_second_up_changes_nothing(lab: Lab) -> None:
    assert lab.up() == []


def test_up_repairs_what_is_stopped(lab: Lab) -> None:
    lab.podman.run("kill", "mtaudit-repo")
    assert lab.up() == ["repo"]


def test_up_repairs_what_is_listed_but_dead(lab: Lab) -> None:
    """As after a reboot: podman still says running, but nothing answers."""
    lab.execute("repo", "rm", "/usr/local/lib/lab/ready")
    assert not lab.hosts.answers(lab.host("repo"))
    assert lab.up(["repo"]) == ["repo"]


def test_two_ups_at_once_wait_for_each_other(lab: Lab) -> None:
    command = [sys.executable, str(ROOT / "molecule" / "lab" / "lab.py"), "up", "repo", "--again"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said


def test_down_removes_only_what_is_its_own(lab: Lab) -> None:
    """A second lab under another prefix, beside the first."""
    nets = {
        name: Network(name, IPv4Network(f"198.18.{201 + number}.0/24"), IPv6Network(f"2001:db8:{201 + number}::/64"))
        for number, name in enumerate(lab.config.networks)
    }
    sink = replace(lab.host("sink"), addresses=(nets["inet"].address(20),), routes=())
    second = Lab(replace(lab.config, prefix="mtaudit-second", networks=nets, hosts={**lab.config.hosts, "sink": sink}))
    second.images = second.hosts.images = lab.images
    names = lambda: set(lab.podman.run("ps", "--all", "--format", "{{.Names}}").stdout.split())  # noqa: E731
    before = set(lab.hosts.existing())
    assert second.up(["sink"]) == ["sink"]
    assert "mtaudit-second-sink" in names()
    assert len(second.networks.existing()) == 3
    second.down()
    assert not {name for name in names() if name.startswith("mtaudit-second")}
    assert second.networks.existing() == {}
    assert len(lab.networks.existing()) == 3
    assert {"mx-d12", "sink", "dns"} <= before & set(lab.hosts.existing())


def test_a_wrong_name_is_named(lab: Lab) -> None:
    with pytest.raises(LabError, match="no such host: mx-d11; there are: router"):
        lab.up(["mx-d11"])


# Ansible

def test_ansible_reaches_every_host_from_anywhere(lab: Lab, tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "ansible", "all", "-i", ROOT / "inventories" / "lab", "-m", "ansible.builtin.ping"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("SUCCESS") == len(lab.config.standing()), done.stdout + done.stderr


def test_ansible_reaches_a_copy(lab: Lab, copy: Callable[..., str], tmp_path: Path) -> None:
    name = copy("mx-d12")
    extra = tmp_path / "clones.json"
    extra.write_text(json.dumps(lab.clone_inventory()), encoding="utf-8")
    command = [
        Path(sys.executable).parent / "ansible", name, "-i", ROOT / "inventories" / "lab", "-i", extra,
        "-m", "ansible.builtin.command", "-a", "postconf -h myhostname",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "mx-d12.corp.test" in done.stdout, done.stdout + done.stderr
