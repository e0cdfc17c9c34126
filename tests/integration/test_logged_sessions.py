"""The server's own log about our sessions: every program, in a file and in the journal, and a gateway that hides clients."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.controls.source_truth import Connection, Surroundings, source_truth
from ansible.module_utils.mtaudit.finding import Status
from ansible.module_utils.mtaudit.logs.outcome import Trace

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("gateway")]  # one port of the gateway is published at a time

CANARY = "canary@canary.test"
SOURCES = "mynetworks=127.0.0.0/8 198.19.0.0/24"

# Arguments: server, token, "send" or "ask", port, recipient. Refused or not, it goes on; prints the address that it used.
SESSION = """
import smtplib, sys
server, token, what, port, recipient = sys.argv[1:]
client = smtplib.SMTP(server, int(port), timeout=20)
client.ehlo(f"{token}.stranger.test")
client.mail(f"{token}@stranger.test"); client.rcpt(recipient)
if what == "send":
    print(client.data(f"Subject: {token}\\r\\n\\r\\n"), file=sys.stderr)
print(client.sock.getsockname()[0])
client.quit()
"""


@pytest.fixture(scope="module", params=["mx-d12", "mx-d13"])
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"t-log-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone(request.param, name)
        yield name
    finally:
        lab.remove(name)


def token() -> str:
    return f"mtaudit{uuid.uuid4().hex[:12]}"


def session(lab: Lab, server: str, marked: str, what: str = "ask", port: int = 25, recipient: str = CANARY) -> str:
    done = lab.execute("stranger", "python3", "-c", SESSION, server, marked, what, str(port), recipient)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def look(lab: Lab, host: str, tmp_path: Path, **arguments: Any) -> dict[str, Any]:
    """Run the module on the host, over ssh, as a playbook would."""
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps(lab.clone_inventory()))
    inventories = ["-i", str(ROOT / "inventories" / "lab"), "-i", str(inventory)]
    command = [sys.executable, "-m", "ansible", "adhoc", *inventories, host, "-m", "mta_log_trace"]
    environment = {**os.environ, "ANSIBLE_LIBRARY": str(ROOT / "library"), "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils")}
    done = subprocess.run(
        [*command, "-a", json.dumps(arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    _, arrow, said = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(said)
    return answer


def look_until(lab: Lab, host: str, tmp_path: Path, tokens: list[str], done: Any, programs: Sequence[Any] = ()) -> dict[str, Any]:
    """Again until `done(answer)`: delivery and logging take a moment."""
    deadline = time.monotonic() + 30
    while True:
        answer = look(lab, host, tmp_path, tokens=tokens, since=str(time.time() - 120), programs=programs)
        if done(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(1)


def test_refused_delivered_and_silent_sessions(lab: Lab, host: str, tmp_path: Path) -> None:
    refused, delivered, silent, other = token(), token(), token(), token()
    about = lab.host(host)
    used = {refused: session(lab, about.ipv6, refused)}
    lab.execute(host, "sh", "-c", f"postconf -e '{SOURCES}'; postfix reload; sleep 1")
    used[delivered] = session(lab, about.ipv4, delivered, "send")
    session(lab, about.ipv4, silent)

    answer = look_until(lab, host, tmp_path, [refused, delivered, silent, other], lambda a: a["traces"][1]["deliveries"])
    assert answer["changed"] is False
    assert answer["source"] == ("journal" if "d13" in about.image else "/var/log/mail.log")
    assert answer["lines_read"] > 5
    traces = {trace["token"]: trace for trace in answer["traces"]}
    assert [c["address"] for c in traces[refused]["clients"]] == [used[refused]] and traces[refused]["clients"][0]["refused"]
    assert "Relay access denied" in traces[refused]["lines"][0]
    assert [c["address"] for c in traces[delivered]["clients"]] == [used[delivered]]
    assert [(d["recipient"], d["status"]) for d in traces[delivered]["deliveries"]] == [(CANARY, "sent")]
    # A recipient that was accepted, and then nothing: Postfix logs the address, but neither HELO name nor sender.
    assert traces[silent]["lines"] == [] and traces[other]["lines"] == []
    assert "2 of 4 tokens are not in the log" in answer["reason"]

    here = Surroundings(own=(ipaddress.ip_address(about.ipv4),), gateways=(ipaddress.ip_address("198.51.100.254"),))
    sessions = [Connection(t, "*:25", "stranger", (ipaddress.ip_address(used[t]),)) for t in (refused, delivered)]
    findings = list(source_truth(sessions, [Trace.from_dict(t) for t in answer["traces"]], here))
    assert [f.status for f in findings] == [Status.PASS]


@pytest.mark.parametrize("base", ["exim-d12", "exim-d13"])
@pytest.mark.parametrize("place", ["file", "syslog"])
def test_sessions_with_exim(lab: Lab, tmp_path: Path, base: str, place: str) -> None:
    refused, delivered, silent = token(), token(), token()
    name = f"t-log-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone(base, name)
        about = lab.host(name)
        if place == "syslog":
            configure_exim(lab, name, "echo 'log_file_path = syslog' >> /etc/exim4/conf.d/main/000_localmacros")
        used = {refused: session(lab, about.ipv6, refused)}
        configure_exim(lab, name, "sed -i 's|^dc_relay_nets=.*|dc_relay_nets=198.19.0.0/24|' /etc/exim4/update-exim4.conf.conf")
        used[delivered] = session(lab, about.ipv4, delivered, "send")
        session(lab, about.ipv4, silent)
        programs = [{"name": "exim", "version": "", "instance": "/var/lib/exim4/config.autogenerated"}]
        answer = look_until(lab, name, tmp_path, [refused, delivered, silent], lambda a: a["traces"][1]["deliveries"], programs)
    finally:
        lab.remove(name)
    syslog = "journal" if base == "exim-d13" else "/var/log/mail.log"
    assert answer["source"] == (syslog if place == "syslog" else "/var/log/exim4/mainlog") and answer["changed"] is False
    traces = {trace["token"]: trace for trace in answer["traces"]}
    assert [c["address"] for c in traces[refused]["clients"]] == [used[refused]] and traces[refused]["clients"][0]["refused"]
    assert "relay not permitted" in traces[refused]["lines"][0]
    assert [c["address"] for c in traces[delivered]["clients"]] == [used[delivered]]
    assert [(d["recipient"], d["status"]) for d in traces[delivered]["deliveries"]] == [(CANARY, "sent")]
    assert traces[delivered]["deliveries"][0]["relay"].startswith("sink.canary.test[")
    # A recipient that was accepted, and then nothing: without smtp_incomplete_transaction in log_selector Exim logs nothing.
    assert traces[silent]["lines"] == [] and "1 of 3 tokens are not in the log" in answer["reason"]
    sessions = [Connection(t, "*:25", "stranger", (ipaddress.ip_address(used[t]),)) for t in (refused, delivered)]
    findings = source_truth(sessions, [Trace.from_dict(t) for t in answer["traces"]], Surroundings())
    assert [f.status for f in findings] == [Status.PASS]


def test_a_proxy_on_an_exim_host_hides_clients(lab: Lab, tmp_path: Path) -> None:
    """What comes through it comes from loopback, which Debian's Exim lets relay: the log shows it with our own message."""
    name, marked = f"t-log-{uuid.uuid4().hex[:8]}", token()
    proxy = "systemd-run systemd-socket-activate -l 2526 /usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:25"
    try:
        lab.clone("exim-d13", name)
        done = lab.execute(name, "sh", "-c", f"{proxy} && sleep 1")
        assert done.returncode == 0, done.stderr
        used = session(lab, lab.host(name).ipv4, marked, "send", 2526)
        answer = look_until(lab, name, tmp_path, [marked], lambda a: a["traces"][0]["deliveries"])
    finally:
        lab.remove(name)
    found = Trace.from_dict(answer["traces"][0])
    assert [(d.recipient, d.status) for d in found.deliveries] == [(CANARY, "sent")]
    here = Surroundings(mynetworks=(ipaddress.ip_network("127.0.0.1/32"),))
    (finding,) = source_truth([Connection(marked, "*:2526", "stranger", (ipaddress.ip_address(used),))], [found], here)
    assert finding.status is Status.FAIL and "198.19.0.66 reaches the server as 127.0.0.1" in finding.message, finding


@pytest.mark.parametrize("base", ["opensmtpd-d12", "opensmtpd-d13"])
def test_sessions_with_opensmtpd(lab: Lab, tmp_path: Path, base: str) -> None:
    """Of a refused recipient the log names that recipient, and nobody else: the token must be in it."""
    refused, delivered, silent = token(), token(), token()
    name = f"t-log-{uuid.uuid4().hex[:8]}"
    rule = 'match from src "198.19.0.0/24" for domain "canary.test" action "outside"'
    try:
        lab.clone(base, name)
        about = lab.host(name)
        script = f"sed -i '/^# The first that matches/a {rule}' /etc/smtpd.conf && /usr/local/lib/lab/activate"
        done = lab.execute(name, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        used = {refused: session(lab, about.ipv6, refused, recipient=f"mtaudit-{refused}@{about.mail_domain}")}
        used[delivered] = session(lab, about.ipv4, delivered, "send")
        session(lab, about.ipv6, silent)
        programs = [{"name": "opensmtpd", "version": "", "instance": "/etc/smtpd.conf"}]
        answer = look_until(lab, name, tmp_path, [refused, delivered, silent], lambda a: a["traces"][1]["deliveries"], programs)
    finally:
        lab.remove(name)
    assert answer["source"] == ("journal" if base == "opensmtpd-d13" else "/var/log/mail.log") and answer["changed"] is False
    traces = {trace["token"]: trace for trace in answer["traces"]}
    assert [c["address"] for c in traces[refused]["clients"]] == [used[refused]] and traces[refused]["clients"][0]["refused"]
    assert [c["address"] for c in traces[delivered]["clients"]] == [used[delivered]]
    assert [(d["recipient"], d["status"]) for d in traces[delivered]["deliveries"]] == [(CANARY, "sent")]
    assert traces[delivered]["deliveries"][0]["relay"].startswith("sink.canary.test[")
    assert traces[silent]["lines"] == [] and "1 of 3 tokens are not in the log" in answer["reason"]
    sessions = [Connection(t, "*:25", "stranger", (ipaddress.ip_address(used[t]),)) for t in (refused, delivered)]
    findings = source_truth(sessions, [Trace.from_dict(t) for t in answer["traces"]], Surroundings())
    assert [f.status for f in findings] == [Status.PASS]


@pytest.mark.parametrize("base", ["sendmail-d12", "sendmail-d13"])
def test_sessions_with_sendmail(lab: Lab, tmp_path: Path, base: str) -> None:
    """The line of a refused recipient names it and the client, so that the token must be in one of them."""
    refused, delivered, silent = token(), token(), token()
    name = f"t-log-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone(base, name)
        about = lab.host(name)
        used = {refused: session(lab, about.ipv6, refused, recipient=f"mtaudit-{refused}@canary.test")}
        script = "printf 'Connect:198.19.0\\tRELAY\\n' >> /etc/mail/access && /usr/local/lib/lab/activate"
        done = lab.execute(name, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        used[delivered] = session(lab, about.ipv4, delivered, "send")
        used[silent] = session(lab, about.ipv4, silent)
        programs = [{"name": "sendmail", "version": "", "instance": "/etc/mail/sendmail.cf"}]
        answer = look_until(lab, name, tmp_path, [refused, delivered, silent], lambda a: a["traces"][1]["deliveries"], programs)
    finally:
        lab.remove(name)
    assert answer["source"] == ("journal" if base == "sendmail-d13" else "/var/log/mail.log") and answer["changed"] is False
    traces = {trace["token"]: trace for trace in answer["traces"]}
    assert [c["address"] for c in traces[refused]["clients"]] == [used[refused]] and traces[refused]["clients"][0]["refused"]
    assert any("Relaying denied" in line for line in traces[refused]["lines"])
    assert [c["address"] for c in traces[delivered]["clients"]] == [used[delivered]]
    assert [(d["recipient"], d["status"]) for d in traces[delivered]["deliveries"]] == [(CANARY, "sent")]
    assert traces[delivered]["deliveries"][0]["relay"].startswith("sink.canary.test[")
    # A recipient that was accepted, and then nothing: Sendmail logs the sender all the same.
    assert [(c["address"], c["refused"]) for c in traces[silent]["clients"]] == [(used[silent], False)]
    assert traces[silent]["deliveries"] == [] and "not in the log" not in answer["reason"]
    sessions = [Connection(t, "*:25", "stranger", (ipaddress.ip_address(used[t]),)) for t in used]
    findings = source_truth(sessions, [Trace.from_dict(t) for t in answer["traces"]], Surroundings())
    assert [f.status for f in findings] == [Status.PASS]


def configure_exim(lab: Lab, name: str, change: str) -> None:
    done = lab.execute(name, "sh", "-c", f"{change} && update-exim4.conf && systemctl restart exim4 && sleep 1")
    assert done.returncode == 0, done.stderr


def test_an_unreadable_time_is_a_clear_message(lab: Lab, host: str, tmp_path: Path) -> None:
    answer = look(lab, host, tmp_path, tokens=["x"], since="yesterday")
    assert "neither a number of seconds nor an ISO 8601 time" in answer["msg"]


def test_a_gateway_that_hides_clients(lab: Lab, tmp_path: Path) -> None:
    """A port forwarded with masquerading: the server sees the gateway, which its mynetworks trusts."""
    name, marked = f"t-log-{uuid.uuid4().hex[:8]}", token()
    try:
        lab.clone("mx-d12", name, lan=True)
        lab.execute(name, "sh", "-c", "postconf -e 'mynetworks=127.0.0.0/8 198.18.0.254/32'; postfix reload; sleep 1")
        outer = lab.publish(name, hide_clients=True)
        used = session(lab, outer, marked, "send")
        answer = look_until(lab, name, tmp_path, [marked], lambda a: a["traces"][0]["deliveries"])
    finally:
        lab.unpublish()
        lab.remove(name)
    here = Surroundings(
        gateways=(ipaddress.ip_address("198.18.0.254"),), mynetworks=(ipaddress.ip_network("198.18.0.254/32"),)
    )
    session_of_ours = Connection(marked, "*:25", "stranger", (ipaddress.ip_address(used),))
    (finding,) = source_truth([session_of_ours], [Trace.from_dict(t) for t in answer["traces"]], here)
    assert finding.status is Status.FAIL, finding
    assert "198.19.0.66 reaches the server as 198.18.0.254" in finding.message and "198.18.0.254/32" in finding.message
