"""mta_relay_split on real Exim of both releases: mail goes its way before, between and after, and none is lost.

What is taken is told by swaks, what waits by Exim's own list, what arrived by the mailbox and the sink: not by our own code.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_relay_split
from audited_copy import ROOT, Copy, throw_away_copy
from closed_loop import STATE
from test_relay_split import CANARY, LOGIN, part, refused, send, separated, until

pytestmark = pytest.mark.lab

NOWHERE = "stranger.test"  # a host that takes no mail: what goes there waits
OUT = "-C /etc/exim4/exim-out.conf"
# What the lab has in files of its own, in Debian's one file.
ONE_FILE = """
cd /etc/exim4
cat conf.d/main/000_localmacros > exim4.conf.localmacros
for about in acl:35_local_submission auth:35_local_servers; do
  sed -i "/^begin ${about%:*}/r conf.d/${about%:*}/${about#*:}" exim4.conf.template
done
sed -i '/authenticated = \\*/,/control = submission/s|submission/sender_retain|submission|' exim4.conf.template
sed -i s/^dc_use_split_config=.*/dc_use_split_config=false/ update-exim4.conf.conf
systemctl restart exim4
"""
FLOOD = """
import smtplib
with smtplib.SMTP("127.0.0.1", 10587) as client:
    for number in range(200):
        client.sendmail("{sender}", ["flood-%d@{nowhere}" % number], "Subject: flood\\r\\n\\r\\nflood\\r\\n")
print("null")
"""


KINDS = [
    pytest.param(("exim-d13", "true"), id="d13"),
    pytest.param(("exim-d12", "true"), id="d12", marks=pytest.mark.full),
    pytest.param(("exim-d13", ONE_FILE), id="d13-one-file", marks=pytest.mark.full),
    pytest.param(("exim-d12", ONE_FILE), id="d12-one-file", marks=pytest.mark.full),
]


@pytest.fixture(scope="module", params=KINDS)
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    original, prepared = request.param
    with throw_away_copy(original, "t-esplit", tmp_path_factory.mktemp("esplit")) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger"])
        copy.shell(prepared)
        yield copy


def flows(copy: Copy) -> None:
    """As with Postfix; and a stranger sends nothing by the port for logins."""
    test_relay_split.flows(copy, "OK id=", "relay not permitted")
    alice = f"alice@{copy.lab.host(copy.name).mail_domain}"
    assert "authentication required" in send(copy, "probe@stranger.test", alice, "--port", "587")


def queued(copy: Copy, options: str = "") -> dict[str, str]:
    """The id of each recipient's message, with an asterisk where it is frozen."""
    found: dict[str, str] = {}
    for line in copy.shell(f"exim4 {options} -bp").splitlines():
        message = re.match(r"\s*\S+\s+\S+\s+(\S+-\S+-\S+) <.*?>( \*\*\* frozen)?", line)
        if message:
            identity = message[1] + ("*" if message[2] else "")
        elif line.strip():
            found[line.split()[-1]] = identity
    return found


def waiting(copy: Copy) -> dict[str, str]:
    """In both queues."""
    return {**queued(copy), **queued(copy, OUT)}


def wait_for_nowhere(copy: Copy, *marks: str) -> None:
    test_relay_split.wait_for_nowhere(copy, *marks, nowhere=NOWHERE)


def test_apart_and_together_again(copy: Copy) -> None:
    wait_for_nowhere(copy, "early", "held")
    early = queued(copy)
    assert {f"early@{NOWHERE}", f"held@{NOWHERE}"} == set(early) and separated(copy) == {"fail"}
    held = early[f"held@{NOWHERE}"]
    copy.shell(f"exim4 -Mf {held}")
    before = copy.shell(STATE)
    told = part(copy, "--check", action="split")
    assert told["changed"] and told["transaction"] == {} and copy.shell(STATE) == before

    assert part(copy, action="split")["transaction"]["phase"] == "committed"
    assert not part(copy, action="split")["changed"]
    assert separated(copy) == {"pass"}
    flows(copy)
    assert waiting(copy).keys() == early.keys(), "what waited still does, in either"

    copy.python(FLOOD.format(sender=f"alice@{copy.lab.host(copy.name).mail_domain}", nowhere=NOWHERE))
    flows(copy)
    flood = queued(copy, OUT)
    assert {f"flood-{number}@{NOWHERE}" for number in range(200)} <= flood.keys() and len(queued(copy)) <= 2, "one queue is full"
    copy.shell(f"exim4 {OUT} -Mf {flood[f'flood-7@{NOWHERE}']}")
    both = waiting(copy)
    assert both[f"flood-7@{NOWHERE}"].endswith("*") and both[f"held@{NOWHERE}"] == f"{held}*"

    assert part(copy, action="join")["transaction"]["phase"] == "committed"
    assert not part(copy, action="join")["changed"]
    assert "exim-out" not in copy.shell("ps -eo args; cat /etc/exim4/trusted_configs 2>&1 || true; ls /etc/systemd/system/*/")
    assert copy.shell("find /var/spool/exim-out/input -type f") == ""
    assert queued(copy) == both, "the mail of both, each message with its id"
    assert separated(copy) == {"fail"}
    flows(copy)
    copy.shell("exim4 -bpr | awk '/</{print $3}' | xargs -n 50 exim4 -Mrm >/dev/null")


@pytest.mark.full
def test_the_way_back_leaves_no_mail_behind(copy: Copy) -> None:
    before = copy.shell(STATE)
    name = part(copy, action="split", guard_after_s=900)["transaction"]["name"]
    wait_for_nowhere(copy, "late")
    assert until(lambda: set(queued(copy, OUT)) == {f"late@{NOWHERE}"})
    late = queued(copy, OUT)
    copy.ansible("ansible", copy.name, "-m", "mta_transaction", "-a", f"action=take_back name={name}")
    assert copy.shell(STATE) == before, "to the byte"
    assert "exim-out" not in copy.shell("ps -eo args; ls /etc/systemd/system/*/")
    assert queued(copy) == late
    assert not part(copy, action="join")["changed"]
    flows(copy)
    copy.shell(f"exim4 -Mrm {late[f'late@{NOWHERE}']}")


@pytest.mark.full
def test_clients_without_a_login_go_to_the_outbound_one(copy: Copy) -> None:
    """The stranger as an internal sender: on a port of the outbound instance alone."""
    network = "198.19.0.0/24"
    said = refused(copy, action="split", networks=[network])
    assert f"{network} may send without a login, and port 25 will not take that" in said
    assert "the inbound instance listens on *:25" in refused(copy, action="split", networks=[network], listen=["127.0.0.3:25"])
    assert "is no address:port" in refused(copy, action="split", networks=[network], listen=["smtp"])
    assert "take one like exim-out" in refused(copy, action="split", instance="out")

    address, mark = str(copy.lab.host(copy.name).ipv4), uuid.uuid4().hex
    begun = part(copy, action="split", networks=[network], listen=[f"{address}:2525"], guard_after_s=900)["transaction"]
    assert "relay not permitted" in send(copy, "probe@stranger.test", CANARY)
    assert "OK id=" in send(copy, "probe@stranger.test", CANARY, "--port", "2525", "--h-X-Mtaudit-Token", mark)
    assert until(lambda: copy.lab.execute("sink", "ls", f"/var/lib/sink/{mark}").returncode == 0)
    assert not part(copy, action="split", networks=[network], listen=[f"{address}:2525"])["changed"]
    copy.ansible("ansible", copy.name, "-m", "mta_transaction", "-a", f"action=take_back name={begun['name']}")


@pytest.mark.full
def test_by_the_playbook(copy: Copy) -> None:
    given = {"mta_target": copy.name, "mta_audit_profile": "provider", "mta_audit_vantages": ["stranger"],
             "mta_audit_probe_canary_wait_s": 8, "mta_audit_probe_retry_after_s": 1, "mta_report_directory": f"/tmp/{copy.name}",
             "mta_audit_tunables": {"OUT-03": {"one_host_is_wanted": False}}}  # fmt: skip

    def play(*words: str, **more: str) -> str:
        return copy.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/relay_split.yml",
                            "-e", json.dumps({**given, **more}), *words, timeout_s=900)  # fmt: skip

    assert "+SPOOLDIR = /var/spool/exim-out" in play("--check", "--diff")
    assert "Confirm the change" in play() and "changed=0" in play()
    assert "Confirm the change" in play(mta_relay_split_action="join")


@pytest.mark.full
def test_two_hosts_with_a_side_each(tmp_path: Path) -> None:
    with (throw_away_copy("exim-d13", "t-in", tmp_path / "in") as inbound,
          throw_away_copy("exim-d12", "t-out", tmp_path / "out") as outbound):  # fmt: skip
        taking, sending = (str(copy.lab.host(copy.name).ipv4) for copy in (inbound, outbound))
        domain = inbound.lab.host(inbound.name).mail_domain
        here = outbound.lab.host(outbound.name).mail_domain
        outbound.shell(f"cd /etc/exim4; sed -i s/{here}/{domain}/g update-exim4.conf.conf sender_logins; systemctl restart exim4")
        alice, bob, probe = f"alice@{domain}", f"bob@{domain}", "probe@stranger.test"
        wait_for_nowhere(outbound, "early")
        early = queued(outbound)
        for copy, side, other in ((outbound, "outbound", taking), (inbound, "inbound", sending)):
            assert "this host would take no more of" in refused(copy, action=side, other=[other])
            assert part(copy, action=side, other=[other], acknowledged=True)["changed"]
            assert not part(copy, action=side, other=[other])["changed"]
        assert "give the addresses of the hosts of the other" in refused(inbound, action="inbound", other=["out.test"])
        assert separated(inbound) == separated(outbound) == {"pass"}
        assert queued(outbound) == early

        marks = [uuid.uuid4().hex for _ in range(4)]
        headers = [("--h-X-Mtaudit-Token", mark, "--h-Subject", mark) for mark in marks]
        assert "OK id=" in send(inbound, probe, alice, *headers[0])
        assert "OK id=" in send(outbound, alice, bob, *LOGIN, *headers[1])
        assert "OK id=" in send(outbound, alice, CANARY, *LOGIN, *headers[2])
        inbound.shell(f"printf 'X-Mtaudit-Token: {marks[3]}\n\nhello\n' | sendmail -f {alice} {CANARY}")
        for mark, who in ((marks[0], "alice"), (marks[1], "bob")):
            assert until(lambda: inbound.shell(f"grep -rl {mark} /home/{who}/Maildir || true") != ""), (mark, who)  # noqa: B023
        for mark in marks[2:]:
            assert until(lambda: inbound.lab.execute("sink", "ls", f"/var/lib/sink/{mark}").returncode == 0), mark  # noqa: B023
        assert f"R=handover T=handover H={sending}" in inbound.shell("cat /var/log/exim4/mainlog")
        for copy, to in ((inbound, CANARY), (outbound, alice), (outbound, CANARY)):
            assert "relay not permitted" in send(copy, probe, to)
        assert "relay not permitted" in send(inbound, probe, CANARY, "--port", "10588")
        assert ":587 " not in inbound.shell("ss -Hltn") and ":587 " in outbound.shell("ss -Hltn")
