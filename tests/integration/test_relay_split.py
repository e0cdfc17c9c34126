"""mta_relay_split on real Postfix of both releases: mail goes its way before, between and after, and none is lost.

What is taken is told by swaks, what waits by postqueue, what arrived by the mailbox and the sink: not by our own code.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audited_copy import ROOT, Copy, throw_away_copy
from closed_loop import STATE
from mtalab.inventory import host_variables

pytestmark = pytest.mark.lab

LOGIN = ("--port", "587", "--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "Wren-Copper-Lantern-58")
CANARY = "canary@canary.test"
NOWHERE = "[198.19.0.66]"  # the stranger, which takes no mail: what goes there waits
IN, OUT = "/etc/postfix", "/etc/postfix-out"
FLOOD = """
import smtplib
with smtplib.SMTP("127.0.0.1", 10587) as client:
    for number in range(500):
        client.sendmail("{sender}", ["flood-%d@{nowhere}" % number], "Subject: flood\\r\\n\\r\\nflood\\r\\n")
print("null")
"""


@pytest.fixture(scope="module", params=[pytest.param("full-d12", marks=pytest.mark.full), "full-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy(request.param, "t-split", tmp_path_factory.mktemp("split")) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger"])
        yield copy


def part(copy: Copy, *words: str, **wanted: Any) -> dict[str, Any]:
    printed = copy.ansible("ansible", copy.name, "-m", "mta_relay_split", "-a", json.dumps(wanted), *words, timeout_s=600)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return answer


def refused(copy: Copy, **wanted: Any) -> str:
    before = copy.shell(STATE)
    with pytest.raises(AssertionError) as failed:
        part(copy, **wanted)
    assert copy.shell(STATE) == before, "nothing is changed"
    return str(failed.value)


def send(copy: Copy, sender: str, to: str, *words: str) -> str:
    """A message of the stranger's: what was said."""
    about = copy.lab.host(copy.name)
    command = ["swaks", "--server", str(about.ipv4), "--from", sender, "--to", to, "--helo", "mail.stranger.test", *words]
    return str(copy.lab.execute("stranger", *command, "--timeout", "30").stdout)


def until(seen: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not seen():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def flows(copy: Copy, taken: str = "queued as", denied: str = "Relay access denied") -> None:
    """A stranger's mail comes in and goes no further, a login's and a program's leave, and all reach a mailbox of the site."""
    domain = copy.lab.host(copy.name).mail_domain
    alice, bob, probe = f"alice@{domain}", f"bob@{domain}", "probe@stranger.test"
    marks = [uuid.uuid4().hex for _ in range(5)]
    headers = [("--h-X-Mtaudit-Token", mark, "--h-Subject", mark) for mark in marks]
    assert taken in send(copy, probe, alice, *headers[0])
    assert taken in send(copy, alice, bob, *LOGIN, *headers[1])
    assert taken in send(copy, alice, CANARY, *LOGIN, *headers[2])
    assert denied in send(copy, probe, CANARY)
    for mark, to in zip(marks[3:], (CANARY, bob), strict=True):
        copy.shell(f"printf 'X-Mtaudit-Token: {mark}\\nSubject: {mark}\\n\\nhello\\n' | sendmail -f {alice} {to}")
    for mark, who in ((marks[0], "alice"), (marks[1], "bob"), (marks[4], "bob")):
        assert until(lambda: copy.shell(f"grep -rl {mark} /home/{who}/Maildir || true") != ""), (mark, who)  # noqa: B023
    for mark in (marks[2], marks[3]):
        assert until(lambda: copy.lab.execute("sink", "ls", f"/var/lib/sink/{mark}").returncode == 0), mark  # noqa: B023


def queued(copy: Copy, directory: str) -> dict[str, str]:
    """Which queue each recipient's message is in."""
    told = [json.loads(line) for line in copy.shell(f"postqueue -c {directory} -j").splitlines()]
    return {recipient["address"]: message["queue_name"] for message in told for recipient in message["recipients"]}


def wait_for_nowhere(copy: Copy, *marks: str, nowhere: str = NOWHERE) -> None:
    """Programs of the host send mail that cannot be delivered."""
    for mark in marks:
        copy.shell(f"printf 'Subject: kept\\n\\nkept\\n' | sendmail {mark}@{nowhere}")


def deferred(copy: Copy, directory: str, *marks: str) -> bool:
    return until(lambda: all(queued(copy, directory).get(f"{mark}@{NOWHERE}") == "deferred" for mark in marks))


def hold(copy: Copy, directory: str, mark: str) -> None:
    (line,) = (line for line in copy.shell(f"postqueue -c {directory} -j").splitlines() if f'"{mark}@' in line)
    copy.shell(f"postsuper -c {directory} -h {json.loads(line)['queue_id']}")


def separated(copy: Copy) -> set[str]:
    """What OUT-03 says of each instance."""
    run = copy.audit(mta_audit_profile="strict", mta_audit_tunables={"OUT-03": {"one_host_is_wanted": False}})
    return {finding["status"] for finding in run.answer()["findings"] if finding["control"] == "OUT-03"}


def test_apart_and_together_again(copy: Copy) -> None:
    wait_for_nowhere(copy, "early", "held")
    assert deferred(copy, IN, "early", "held") and separated(copy) == {"fail"}
    hold(copy, IN, "held")
    before = copy.shell(STATE)
    told = part(copy, "--check", action="split")
    assert told["changed"] and told["transaction"] == {} and copy.shell(STATE) == before

    assert part(copy, action="split")["transaction"]["phase"] == "committed"
    assert not part(copy, action="split")["changed"]
    assert separated(copy) == {"pass"}
    flows(copy)
    assert queued(copy, IN) == {f"early@{NOWHERE}": "deferred", f"held@{NOWHERE}": "hold"}, "what waited is still there"

    copy.python(FLOOD.format(sender=f"alice@{copy.lab.host(copy.name).mail_domain}", nowhere=NOWHERE))
    flows(copy)
    assert len(queued(copy, OUT)) == 500 and len(queued(copy, IN)) == 2, "a flood fills the one queue, not the other"
    hold(copy, OUT, "flood-7")

    assert part(copy, action="join")["transaction"]["phase"] == "committed"
    assert not part(copy, action="join")["changed"]
    assert "postfix-out" not in copy.shell("postmulti -l; ps -eo args")
    assert copy.shell("find /var/spool/postfix-out -type f -perm 700 | wc -l") == "0\n"
    assert until(lambda: len(queued(copy, IN)) == 502), "the mail of both"
    assert queued(copy, IN)[f"flood-7@{NOWHERE}"] == queued(copy, IN)[f"held@{NOWHERE}"] == "hold"
    assert separated(copy) == {"fail"}
    flows(copy)
    copy.shell("postsuper -d ALL")


def test_the_way_back_leaves_no_mail_behind(copy: Copy) -> None:
    before = copy.shell(STATE)
    name = part(copy, action="split", guard_after_s=900)["transaction"]["name"]
    wait_for_nowhere(copy, "late")
    assert deferred(copy, OUT, "late")
    copy.ansible("ansible", copy.name, "-m", "mta_transaction", "-a", f"action=take_back name={name}")
    assert copy.shell(STATE) == before and "postfix-out" not in copy.shell("postmulti -l; ps -eo args")
    assert deferred(copy, IN, "late")
    flows(copy)

    part(copy, action="split")
    wait_for_nowhere(copy, "later")
    assert deferred(copy, OUT, "later")
    copy.ansible("ansible-playbook", ROOT / "playbooks/rollback.yml")
    assert copy.shell(STATE) == before and deferred(copy, IN, "late", "later")
    flows(copy)


@pytest.mark.full
def test_the_role_proves_what_it_does(copy: Copy) -> None:
    given = {"mta_target": copy.name, "mta_audit_profile": "provider", "mta_audit_vantages": ["stranger"],
             "mta_audit_probe_canary_wait_s": 8, "mta_audit_probe_retry_after_s": 1, "mta_report_directory": f"/tmp/{copy.name}",
             "mta_audit_tunables": {"OUT-03": {"one_host_is_wanted": False}}}  # fmt: skip

    def play(*words: str, **more: str) -> str:
        return copy.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/relay_split.yml",
                            "-e", json.dumps({**given, **more}), *words, timeout_s=900)  # fmt: skip

    assert "+multi_instance_name = postfix-out" in play("--check", "--diff")
    with pytest.raises(AssertionError) as refused:
        play(mta_audit_canary="")
    assert "Nothing is changed" in str(refused.value) and "changed=0" in str(refused.value)
    assert "Confirm the change" in play() and "changed=0" in play()
    assert "Confirm the change" in play(mta_relay_split_action="join")
    assert "postfix-out" not in copy.shell("postmulti -l")


def test_what_would_cut_people_off_is_refused(copy: Copy) -> None:
    network = "198.18.0.0/24"
    said = refused(copy, action="split", networks=[network])
    assert f"{network} may send without a login, and port 25 will not take that" in said
    assert "the inbound instance listens on *:25" in refused(copy, action="split", networks=[network], listen=["127.0.0.3:25"])
    assert "is no address:port" in refused(copy, action="split", networks=[network], listen=["smtp"])
    assert "take one like postfix-out" in refused(copy, action="split", instance="out")


@pytest.mark.full
def test_two_hosts_with_a_side_each(tmp_path: Path) -> None:
    with (throw_away_copy("full-d13", "t-in", tmp_path / "in") as inbound,
          throw_away_copy("full-d13", "t-out", tmp_path / "out") as outbound):  # fmt: skip
        taking, sending = (str(copy.lab.host(copy.name).ipv4) for copy in (inbound, outbound))
        domain = inbound.lab.host(inbound.name).mail_domain
        alice, bob, probe = f"alice@{domain}", f"bob@{domain}", "probe@stranger.test"
        wait_for_nowhere(outbound, "early")
        for copy, side, other in ((outbound, "outbound", taking), (inbound, "inbound", sending)):
            assert "this host would take no more of" in refused(copy, action=side, other=[other])
            assert part(copy, action=side, other=[other], acknowledged=True)["changed"]
            assert not part(copy, action=side, other=[other])["changed"]
        assert "give the addresses of the hosts of the other" in refused(inbound, action="inbound", other=["out.test"])
        assert separated(inbound) == separated(outbound) == {"pass"}
        assert deferred(outbound, IN, "early")

        marks = [uuid.uuid4().hex for _ in range(4)]
        headers = [("--h-X-Mtaudit-Token", mark, "--h-Subject", mark) for mark in marks]
        assert "queued as" in send(inbound, probe, alice, *headers[0])
        assert "queued as" in send(outbound, alice, bob, *LOGIN, *headers[1])
        assert "queued as" in send(outbound, alice, CANARY, *LOGIN, *headers[2])
        inbound.shell(f"printf 'X-Mtaudit-Token: {marks[3]}\n\nhello\n' | sendmail -f {alice} {CANARY}")
        for mark, who in ((marks[0], "alice"), (marks[1], "bob")):
            assert until(lambda: inbound.shell(f"grep -rl {mark} /home/{who}/Maildir || true") != ""), (mark, who)  # noqa: B023
        for mark in marks[2:]:
            assert until(lambda: inbound.lab.execute("sink", "ls", f"/var/lib/sink/{mark}").returncode == 0), mark  # noqa: B023
        assert f"relay={sending}" in inbound.shell("cat /var/log/mail.log 2>/dev/null || journalctl")
        assert "Relay access denied" in send(inbound, probe, CANARY) and "Access denied" in send(outbound, probe, alice)
        assert ":587 " not in inbound.shell("ss -Hltn") and ":587 " in outbound.shell("ss -Hltn")


@pytest.mark.full
def test_two_hosts_by_the_playbook(tmp_path: Path) -> None:
    with (throw_away_copy("full-d13", "t-in", tmp_path / "in") as inbound,
          throw_away_copy("full-d12", "t-out", tmp_path / "out") as outbound):  # fmt: skip
        inbound.lab.up(["router", "dns", "sink", "stranger"])
        groups = {group: {"hosts": {copy.name: host_variables(copy.lab.config, copy.lab.host(copy.name))}}
                  for group, copy in (("mail_inbound", inbound), ("mail_outbound", outbound))}  # fmt: skip
        taking = groups["mail_inbound"]["hosts"][inbound.name]["mta_audit_addresses"]
        groups["mail_outbound"]["hosts"][outbound.name]["mta_audit_trusted_networks"] = taking
        (tmp_path / "sides.yml").write_text(json.dumps({"all": {"children": groups}}), encoding="utf-8")
        given = {"mta_target": f"{inbound.name}:{outbound.name}", "mta_audit_vantages": ["stranger"],
                 "mta_audit_probe_canary_wait_s": 8, "mta_audit_probe_retry_after_s": 1,
                 "mta_report_directory": str(tmp_path / "reports")}  # fmt: skip

        def play(**more: bool) -> str:
            words = ["-i", ROOT / "inventories/lab", "-i", tmp_path / "sides.yml", ROOT / "playbooks/relay_split.yml"]
            return inbound.ansible("ansible-playbook", *words, "-e", json.dumps({**given, **more}), timeout_s=900)

        with pytest.raises(AssertionError, match="this host would take no more of strangers' mail for"):
            play()
        printed = play(mta_relay_split_acknowledged=True)
        assert printed.count("Confirm the change") == 2, printed[-3000:]
        again = play(mta_relay_split_acknowledged=True)
        assert again.count("changed=0") >= 2, again[-1000:]
        assert separated(inbound) == separated(outbound) == {"pass"}
