"""The simulation against real Postfix 3.7 and 3.10: right on every planted hole, and it leaves nothing behind."""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = pytest.mark.lab

RELEASES = ("d12", "d13")
ENVELOPES = {"recipient": "canary@canary.test", "sender": "probe@stranger.test"}
RELAY, SENDER, ROUTING = "RELAY-03", "SENDER-03", "RELAY-10"

# Runs the real smtpd and turns its answers about recipients round.
OPPOSITE = """#!/usr/bin/python3
import os, subprocess, sys
real = subprocess.Popen(["/usr/lib/postfix/sbin/smtpd", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def reply():
    lines = []
    while not lines or lines[-1][3:4] == b"-":
        lines.append(real.stdout.readline())
    return b"".join(lines)
os.write(1, reply())
for line in sys.stdin.buffer:
    real.stdin.write(line); real.stdin.flush()
    answer = reply()
    if line.startswith(b"RCPT"):
        answer = b"250 2.1.5 Ok\\r\\n" if b"Relay access denied" in answer else b"554 5.7.1 Relay access denied\\r\\n"
    os.write(1, answer)
"""


def _package() -> str:
    """Our code and the driver, as a tar file in base64."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(ROOT / "module_utils" / "mtaudit", "mtaudit", filter=lambda i: None if "__pycache__" in i.name else i)
        archive.add(Path(__file__).with_name("simulation_on_host.py"), "simulation_on_host.py")
        program = tarfile.TarInfo("opposite")
        program.mode, program.size = 0o755, len(OPPOSITE)
        archive.addfile(program, io.BytesIO(OPPOSITE.encode()))
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass
class Copy:
    """A throw-away copy of a good host, with our code in it."""

    lab: Lab
    name: str
    domain: str

    def sh(self, script: str, stdin: str | None = None) -> str:
        done = self.lab.execute(self.name, "sh", "-c", script, stdin=stdin)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def simulate(self, **asked: Any) -> dict[str, Any]:
        asked.setdefault("more", ENVELOPES)
        answer: dict[str, Any] = json.loads(self.sh("python3 -B /run/mtaudit-sim/simulation_on_host.py", json.dumps(asked)))
        assert answer["left_behind"] == []
        return answer

    def with_fault(self, fault: str, **asked: Any) -> dict[str, Any]:
        """Plant a fault, simulate, take it away again."""
        self.sh("rm -rf /root/kept; cp -a /etc/postfix /root/kept")
        try:
            self.sh(fault + "\npostfix reload 2>/dev/null; sleep 0.5")
            return self.simulate(**asked)
        finally:
            self.sh("rm -rf /etc/postfix; mv /root/kept /etc/postfix")
            self.sh("postfix reload 2>/dev/null || postfix start 2>/dev/null; sleep 0.3")


@pytest.fixture(scope="module", params=RELEASES)
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Copy]:
    yield from _copy(lab, f"mx-{request.param}")


@pytest.fixture(scope="module", params=RELEASES)
def submission_host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Copy]:
    yield from _copy(lab, f"full-{request.param}")


def _copy(lab: Lab, original: str) -> Iterator[Copy]:
    name = f"t-sim-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone(original, name)
        copy = Copy(lab, name, f"{original}.test")
        copy.sh("mkdir -p /run/mtaudit-sim && base64 -d | tar -C /run/mtaudit-sim -xf -", _package())
        yield copy
    finally:
        lab.remove(name)


def said(answer: dict[str, Any], listener: str = "*:25") -> dict[str, list[tuple[str, ...]]]:
    """By control: (status, conditions ...) of each finding on the listener."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for finding in answer["findings"]:
        if finding["subject"] == {"kind": "listener", "name": listener}:
            found.setdefault(finding["control"], []).append((finding["status"], *finding.get("conditions", ())))
    return found


def reasons(answer: dict[str, Any], listener: str = "*:25") -> set[str]:
    return {f.get("reason", "") for f in answer["findings"] if f["subject"]["name"] == listener}


def quotes(answer: dict[str, Any], control: str) -> str:
    return "\n".join(e["text"] for f in answer["findings"] if f["control"] == control for e in f.get("evidence", ()))


def test_a_good_host_passes_and_nothing_is_touched(host: Copy) -> None:
    answer = host.simulate()
    assert said(answer) == {RELAY: [("pass",)], SENDER: [("pass",)], ROUTING: [("pass",)]}
    assert "Relay access denied" in quotes(answer, RELAY)
    assert answer["spawns"] == 1
    assert answer["events"] == [] and answer["changed"] == []


def test_log_lines_are_tagged(host: Copy) -> None:
    marked = f"tag{uuid.uuid4().hex[:8]}"
    host.simulate(more={**ENVELOPES, "sender": f"{marked}@stranger.test"})
    lines = [line for line in host.lab.mail_log(host.name).splitlines() if marked in line]
    assert lines and all(" mtaudit/smtpd[" in line for line in lines)
    assert not any("improper command pipelining" in line for line in host.lab.mail_log(host.name).splitlines())


def set_(*settings: str) -> str:
    return "postconf -e " + " ".join(f"'{setting}'" for setting in settings)


NO_SENDER_CHECK = "smtpd_sender_restrictions="
CLOSED = {RELAY: [("pass",)], SENDER: [("pass",)], ROUTING: [("pass",)]}

# The rows of the Postfix matrix that a simulation can tell apart: fault, and what it must say.
AROUND = [("fail", "neighbour"), ("fail", "gateway")]
NULL_OK, HELO_OK, SENDER_OK, NAME_OK = (
    f"smtpd_relay_restrictions=check_{what}_access inline:{{{key}=OK}}, reject_unauth_destination"
    for what, key in (("sender", "<>"), ("helo", "DOMAIN"), ("sender", "DOMAIN"), ("client", "localhost"))
)
ROWS: dict[str, tuple[str, dict[str, list[tuple[str, ...]]]]] = {
    "mynetworks of all IPv4": (set_("mynetworks=0.0.0.0/0"), {RELAY: [("fail",)]}),
    "mynetworks of all IPv4 in two halves": (set_("mynetworks=0.0.0.0/1 128.0.0.0/1"), {RELAY: [("fail",)]}),
    "mynetworks of the other half": (set_("mynetworks=127.0.0.0/8 16.0.0.0/4"), {RELAY: [("fail", "network:16.0.0.0/4")]}),
    "mynetworks of all IPv6": (set_("mynetworks=127.0.0.0/8 [::]/0"), {RELAY: [("fail", "ipv6")]}),
    "mynetworks of a cidr table": (
        "echo '192.0.2.0/24 OK' >/etc/postfix/nets; " + set_("mynetworks=127.0.0.0/8 cidr:/etc/postfix/nets"),
        {RELAY: [("fail",)]}),
    "mynetworks_style subnet": ("postconf -X mynetworks; " + set_("mynetworks_style=subnet"), {RELAY: AROUND}),
    "the gateway is trusted": (set_("mynetworks=127.0.0.0/8 198.51.100.254"), {RELAY: [("fail", "gateway")]}),
    "an exclusion before a range": (
        set_("mynetworks=!192.0.2.66 192.0.2.64/30"),
        {RELAY: [("fail", "network:192.0.2.64/31"), ("fail", "network:192.0.2.67/32")]}),
    "a root-only table": (
        "echo '192.0.2.0/24 OK' >/etc/postfix/secret; chmod 600 /etc/postfix/secret; "
        + set_("smtpd_relay_restrictions=check_client_access cidr:/etc/postfix/secret, reject_unauth_destination"),
        {RELAY: [("fail",)]}),
    "a table that goes by name": (
        set_(NAME_OK), CLOSED),
    "a sender table in the relay list": (
        set_(NO_SENDER_CHECK, SENDER_OK),
        {RELAY: [("pass",)], SENDER: [("fail", "local_sender")]}),
    "the same table in the recipient list": (
        set_(NO_SENDER_CHECK, "smtpd_recipient_restrictions=check_sender_access inline:{DOMAIN=OK}"), CLOSED),
    "the null sender": (set_(NULL_OK), {RELAY: [("fail", "null_sender")]}),
    "a HELO table": (set_(HELO_OK), {RELAY: [("fail", "helo_local")]}),
    "relay_domains of everything": (
        set_(NO_SENDER_CHECK, "relay_domains=static:all"),
        {RELAY: [("fail",)], SENDER: [("fail", "local_sender")], ROUTING: [("unknown",)]}),
    "virtual aliases of everything": (
        "echo '/^(.*)$/ ${1}' >/etc/postfix/v; " + set_("virtual_alias_maps=regexp:/etc/postfix/v"), {RELAY: [("fail",)]}),
    "mydestination of everything": (
        "echo '/./ x' >/etc/postfix/d; " + set_("mydestination=regexp:/etc/postfix/d"), {RELAY: [("unknown",)]}),
    "untrusted routing": (
        set_("allow_untrusted_routing=yes", "allow_percent_hack=no", "swap_bangpath=no", "relay_domains=partner.test"),
        {RELAY: [("pass",)], ROUTING: [("fail", "percent"), ("fail", "bang"), ("fail", "quoted")]}),
    "untrusted routing at domains of a table": (
        "echo '/^partner/ x' >/etc/postfix/r; "
        + set_("allow_untrusted_routing=yes", "allow_percent_hack=no", "relay_domains=regexp:/etc/postfix/r"),
        {RELAY: [("pass",)], ROUTING: [("unknown",)]}),
    "percent hack off": (set_("allow_percent_hack=no", "swap_bangpath=no", "local_recipient_maps="), CLOSED),
    "soft_bounce": (set_("soft_bounce=yes"), CLOSED),
    "refused at connect": (set_("smtpd_delay_reject=no", "smtpd_client_restrictions=permit_mynetworks, reject"), CLOSED),
    "names must resolve": (
        set_("smtpd_sender_restrictions=reject_unknown_sender_domain, reject_unknown_client_hostname"), CLOSED),
    "PROXY protocol and TLS wrapper": (set_("smtpd_upstream_proxy_protocol=haproxy", "smtpd_tls_wrappermode=yes"), CLOSED),
    "errors are punished": (
        set_("smtpd_soft_error_limit=1", "smtpd_hard_error_limit=2", "smtpd_error_sleep_time=10", "smtpd_junk_command_limit=1"),
        CLOSED),
}


@pytest.mark.parametrize("row", ROWS)
def test_planted_holes(host: Copy, row: str) -> None:
    fault, expected = ROWS[row]
    answer = host.with_fault(fault.replace("DOMAIN", host.domain))
    found = said(answer)
    assert {control: found[control] for control in expected} == expected, answer["findings"]
    assert answer["events"] == []
    assert answer["changed"] == []


def test_what_is_trusted_may_relay(host: Copy) -> None:
    trusted = ["198.51.100.254/32"]
    assert said(host.with_fault(set_("mynetworks=127.0.0.0/8 198.51.100.254"), trusted=trusted))[RELAY] == [("pass",)]


def test_the_name_trap(host: Copy) -> None:
    """XCLIENT without NAME keeps `localhost`: this is the false open that naming the client prevents."""
    fault = set_(NAME_OK)
    assert said(host.with_fault(fault, patch="without_name"))[RELAY] == [("fail",)]
    assert said(host.with_fault(fault))[RELAY] == [("pass",)]


def test_the_watch_sees_a_queue_file_of_a_moment(host: Copy) -> None:
    """With speed_adjust smtpd makes a file in incoming/ and unlinks it: what our options avoid, and this watch would see."""
    seen = host.with_fault(set_("mynetworks=0.0.0.0/0"), patch="with_queue_file")
    assert any("/incoming/" in event for event in seen["events"])
    assert said(seen)[RELAY] == [("fail",)]


def test_another_program_another_verdict(host: Copy) -> None:
    assert said(host.simulate(patch="opposite"))[RELAY] == [("fail",)]
    assert said(host.with_fault(set_("mynetworks=0.0.0.0/0 [::]/0"), patch="opposite"))[RELAY] == [("pass",)]


def test_no_mail_leaves_nor_is_queued(host: Copy) -> None:
    """reject_unverified_sender sends probe messages, and notify_classes mails every refusal to the postmaster."""
    fault = set_("smtpd_sender_restrictions=reject_unverified_sender", "smtpd_recipient_restrictions=reject_unverified_recipient",
                 "notify_classes=policy, protocol, resource, software, 2bounce", "mynetworks=0.0.0.0/0")
    answer = host.with_fault(fault)
    assert answer["events"] == [] and said(answer)[RELAY] == [("fail",)]
    table = set_("smtpd_sender_restrictions=check_sender_access texthash:/etc/postfix/s")
    answer = host.with_fault("echo 'stranger.test reject_unverified_sender' >/etc/postfix/s; " + table)
    assert answer["events"] == [] and said(answer)[RELAY][0][0] in ("pass", "unknown")


STRICT = "smtpd_relay_restrictions=permit_mynetworks, reject_unauth_destination"
POLICY = "check_policy_service inet:127.0.0.1:10031"


@pytest.mark.parametrize(
    ("lists", "status", "spawns"),
    [
        ([STRICT, f"smtpd_recipient_restrictions={POLICY}"], "pass", 1),
        ([STRICT, f"smtpd_client_restrictions={POLICY}"], "pass", 1),
        ([f"smtpd_relay_restrictions=permit_mynetworks, {POLICY}, reject_unauth_destination"], "unknown", 2),
        (["smtpd_restriction_classes=g", f"g={POLICY}", "smtpd_relay_restrictions=g, reject_unauth_destination"], "unknown", 2),
        (["smtpd_relay_restrictions=permit_dnswl_client list.test, reject_unauth_destination"], "unknown", 2),
        (["mynetworks=0.0.0.0/0", f"smtpd_relay_restrictions=permit_mynetworks, {POLICY}, reject_unauth_destination"], "fail", 2),
        (["mynetworks=0.0.0.0/0", "smtpd_client_restrictions=reject_rbl_client bl.test"], "fail", 1),
        (["mynetworks=0.0.0.0/0", "smtpd_milters=inet:127.0.0.1:10031"], "fail", 1),
    ],
)
def test_outsiders_are_not_asked(host: Copy, lists: list[str], status: str, spawns: int) -> None:
    answer = host.with_fault(set_(NO_SENDER_CHECK, *lists))
    assert said(answer)[RELAY] == [(status,)], answer["findings"]
    assert not answer["contacted"]
    assert answer["spawns"] == spawns
    if status == "unknown":
        assert any("which was not contacted" in reason for reason in reasons(answer))


def test_a_policy_service_is_asked_when_that_is_allowed(host: Copy) -> None:
    fault = set_(f"smtpd_relay_restrictions={POLICY}, reject_unauth_destination", "smtpd_policy_service_timeout=1s",
                 "smtpd_policy_service_retry_delay=1s", "smtpd_policy_service_try_limit=1")
    answer = host.with_fault(fault, more={**ENVELOPES, "contact_policy_services": True}, timeout_s=6)
    assert answer["contacted"]
    assert said(answer)[RELAY] == [("unknown",)]  # the listener there never answers


def test_overrides_of_a_service(host: Copy) -> None:
    line = "2525 inet n - y - - smtpd -o mynetworks=0.0.0.0/0"
    answer = host.with_fault(f"echo '{line}' >>/etc/postfix/master.cf")
    assert said(answer) == CLOSED
    assert said(answer, "*:2525")[RELAY] == [("fail",)]
    assert answer["spawns"] == 2


def test_postscreen_asks_the_smtpd_behind_it(host: Copy) -> None:
    fault = """sed -i '/^smtp .*inet/d' /etc/postfix/master.cf
        echo 'smtp inet n - y - 1 postscreen' >>/etc/postfix/master.cf
        echo 'smtpd pass - - y - - smtpd -o mynetworks=127.0.0.0/8,192.0.2.0/24' >>/etc/postfix/master.cf"""
    assert said(host.with_fault(fault))[RELAY] == [("fail",)]


def test_second_instance(host: Copy) -> None:
    fault = """postmulti -e init >/dev/null 2>&1; postmulti -e create -I postfix-wide >/dev/null 2>&1
        postconf -c /etc/postfix-wide -e master_service_disable= mynetworks=0.0.0.0/0 mydestination= authorized_submit_users=root
        sed -i 's/^smtp .*inet/2528 inet/' /etc/postfix-wide/master.cf
        postmulti -i postfix-wide -e enable; postmulti -i postfix-wide -p start >/dev/null 2>&1; sleep 1"""
    try:
        answer = host.with_fault(fault)
    finally:
        host.sh("postfix -c /etc/postfix-wide stop 2>/dev/null; rm -rf /etc/postfix-wide /var/*/postfix-wide")
    assert said(answer) == CLOSED
    assert said(answer, "*:2528")[RELAY] == [("fail",)]
    assert answer["events"] == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (set_("smtpd_relay_restrictions=permit_mynetworks permit reject_unauth_destination", "smtpd_recipient_restrictions="),
         "specify at least one working instance"),
        (set_("smtpd_relay_restrictions=check_client_access hash:/etc/postfix/nosuch, reject_unauth_destination"),
         "server configuration error"),
        (set_("smtpd_relay_restrictions=no_such_thing, reject_unauth_destination"), "server configuration error"),
    ],
)
def test_a_service_that_is_out_of_order_is_unknown(host: Copy, fault: str, reason: str) -> None:
    answer = host.with_fault(set_(NO_SENDER_CHECK) + "; " + fault)
    assert {found[0] for found in said(answer).values()} == {("unknown",)}
    assert all(reason in given for given in reasons(answer)), reasons(answer)


def test_postfix_stopped(host: Copy) -> None:
    host.sh("postfix stop 2>/dev/null; sleep 0.5")
    try:
        answer = host.simulate()
        assert {found[0] for found in said(answer).values()} == {("unknown",)}
        assert all("Postfix is not running" in reason for reason in reasons(answer))
        assert answer["spawns"] == 0
        # Somebody listens there, but never answers: smtpd would wait for ever.
        answer = host.simulate(rewrite_hangs=True, timeout_s=2)
        assert {found[0] for found in said(answer).values()} == {("unknown",)}
        assert all("did not answer" in reason and "in time" in reason for reason in reasons(answer)), reasons(answer)
        assert answer["events"] == []
    finally:
        host.sh("rm -f /var/spool/postfix/private/rewrite; postfix start 2>/dev/null; sleep 0.5")


def test_not_root(host: Copy) -> None:
    answer = host.simulate(not_root=True)
    assert {found[0] for found in said(answer).values()} == {("unknown",)}
    assert all("not root" in reason for reason in reasons(answer)) and answer["spawns"] == 0


def test_submission_without_its_sasl_back_end(submission_host: Copy) -> None:
    answer = submission_host.simulate()
    assert said(answer) == CLOSED
    assert said(answer, "*:587") == CLOSED and said(answer, "*:465") == CLOSED
    submission_host.sh("systemctl stop dovecot.socket dovecot 2>/dev/null; sleep 0.3")
    try:
        answer = submission_host.with_fault("postconf -P submission/inet/smtpd_tls_auth_only=no")
        assert said(answer) == CLOSED
        assert {found[0] for found in said(answer, "*:587").values()} == {("unknown",)}
        assert all("smtpd does not start" in reason and "SASL" in reason for reason in reasons(answer, "*:587"))
    finally:
        submission_host.sh("systemctl start dovecot")
