"""The relay probe against real Postfix, from the lab's stranger: verdicts, and what the server's own log says of the cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = pytest.mark.lab

RESTRICTIONS = "smtpd_relay_restrictions=permit_mynetworks, {}, reject_unauth_destination"
NO_SENDER_CHECK = "smtpd_sender_restrictions="
STRESS = ["smtpd_hard_error_limit=1", "smtpd_junk_command_limit=1"]

# Settings -> verdict and conditions over IPv4 and over IPv6.
CASES: dict[str, tuple[list[str], tuple[str, list[str]], tuple[str, list[str]]]] = {
    "closed": ([], ("closed", []), ("closed", [])),
    "closed-under-stress": (STRESS, ("closed", []), ("closed", [])),
    "open-under-stress": ([*STRESS, "mynetworks=0.0.0.0/0"], ("proven_open", []), ("closed", [])),
    "ipv6": (["mynetworks=127.0.0.0/8 [::]/0"], ("closed", []), ("proven_open", ["ipv6"])),
    "local-sender": (
        [NO_SENDER_CHECK, RESTRICTIONS.format("check_sender_access inline:{LOCAL=OK}")],
        ("proven_open", ["local_sender"]),
        ("proven_open", ["local_sender"]),
    ),
    "null-sender": (
        [RESTRICTIONS.format("check_sender_access inline:{<>=OK}")],
        ("proven_open", ["null_sender"]),
        ("proven_open", ["null_sender"]),
    ),
    "helo": (
        [RESTRICTIONS.format("check_helo_access inline:{HOSTNAME=OK}")],
        ("proven_open", ["helo_local"]),
        ("proven_open", ["helo_local"]),
    ),
    "xclient": (["smtpd_authorized_xclient_hosts=static:all"], ("proven_open", ["xclient"]), ("proven_open", ["xclient"])),
    "proxy": (
        ["smtpd_upstream_proxy_protocol=haproxy", "smtpd_upstream_proxy_timeout=4s"],
        ("proven_open", ["proxy_header"]),
        ("proven_open", ["proxy_header"]),
    ),
    "tls-first": (
        ["smtpd_tls_security_level=encrypt", "mynetworks=0.0.0.0/0 [::]/0"],
        ("proven_open", ["after_starttls"]),
        ("proven_open", ["after_starttls"]),
    ),
    "no-reject": (["smtpd_relay_restrictions=permit_mynetworks, permit"], ("unknown", []), ("unknown", [])),
}


@pytest.fixture
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"t-probe-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone("mx-d12", name)
        yield name
    finally:
        lab.remove(name)


def probe(lab: Lab, host: str, tmp_path: Path, protect: bool = False, **more: Any) -> dict[str, Any]:
    """Run the module on the stranger, over ssh, against both addresses of a host."""
    about = lab.host(host)
    domain, known = about.mail_domain, f"alice@{about.mail_domain}"
    declared = {"name": host, "known_recipient": known, "local_domains": [domain], "protect_local_recipients": protect}
    targets = [{**declared, "host": address} for address in (about.ipv4, about.ipv6)]
    sink = lab.host("sink")
    arguments = {
        "targets": targets, "sender": "probe@stranger.test", "canary": "canary@canary.test", "helo": "mail.stranger.test",
        "canary_check": {"url": f"http://{sink.ipv4}:8025/token/{{token}}"}, "retry_after_s": 2, **more,
    }  # fmt: skip
    environment = {**os.environ, "ANSIBLE_LIBRARY": str(ROOT / "library"), "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils")}
    command = [sys.executable, "-m", "ansible", "adhoc", "-i", str(ROOT / "inventories/lab"), "stranger", "-m", "mta_relay_probe"]
    done = subprocess.run(
        [*command, "-a", json.dumps(arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    _, arrow, said = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(said)
    assert "listeners" in answer, answer
    return answer


def plant(lab: Lab, host: str, settings: list[str]) -> None:
    about = lab.host(host)
    name = lab.execute(host, "postconf", "-h", "myhostname").stdout.strip()
    ready = [s.replace("LOCAL", str(about.mail_domain)).replace("HOSTNAME", name) for s in settings]
    done = lab.execute(host, "postconf", "-e", *ready) if ready else None
    assert done is None or done.returncode == 0, done.stderr
    # systemctl returns before the master of the instance listens.
    wait = "for i in $(seq 200); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1"
    script = f"systemctl restart postfix; {wait}"
    assert lab.execute(host, "sh", "-c", script).returncode == 0


def strangers_sessions(log: str) -> list[dict[str, int]]:
    """Postfix's own count of each session with the stranger: commands and how many of them failed."""
    found = re.findall(r"disconnect from \S*\[(?:198\.19\.0\.|2001:db8:19:)\S*\] .*commands=(\d+)(?:/(\d+))?", log)
    return [{"failed": int(total) - int(good) if total else 0} for good, total in found]


def finished_log(lab: Lab, host: str, messages: int) -> str:
    """The mail log once every session in it has ended and this many messages were sent, or after 20 s as it is."""
    log = ""
    for _ in range(40):
        log = lab.mail_log(host)
        begun, ended = (len(re.findall(rf"smtpd\[\d+\]: {event} from", log)) for event in ("connect", "disconnect"))
        if begun <= ended and log.count("status=sent") >= messages:
            break
        time.sleep(0.5)
    return log


def most_at_once(log: str) -> int:
    """By process: after XCLIENT Postfix logs the end of the session under the pretended address."""
    talking: set[str] = set()
    most = 0
    for process, event, address in re.findall(r"smtpd\[(\d+)\]: ((?:dis)?connect) from \S*\[(\S+)\]", log):
        if event == "disconnect":
            talking.discard(process)
        elif address.startswith(("198.19.0.", "2001:db8:19:")):
            talking.add(process)
        most = max(most, len(talking))
    return most


@pytest.mark.parametrize("case", CASES)
def test_verdict_and_cost(lab: Lab, host: str, tmp_path: Path, case: str) -> None:
    settings, over_ipv4, over_ipv6 = CASES[case]
    plant(lab, host, settings)
    answer = probe(lab, host, tmp_path)
    ipv4, ipv6 = answer["listeners"]
    assert (ipv4["verdict"], ipv4["conditions"]) == over_ipv4, ipv4["dialogue"]
    assert (ipv6["verdict"], ipv6["conditions"]) == over_ipv6, ipv6["dialogue"]

    proven = sum(d["outcome"] == "arrived" for item in answer["listeners"] for d in item["deliveries"])
    log = finished_log(lab, host, proven)
    sessions = strangers_sessions(log)
    assert sessions or case == "no-reject", log
    assert max((s["failed"] for s in sessions), default=0) <= 8, log
    assert most_at_once(log) <= 2, f"both addresses are one server: {log}"
    assert log.count("status=sent") == proven <= 4, (log, [item["deliveries"] for item in answer["listeners"]])
    if case == "closed":
        for token in (ipv4["tokens"][0], ipv6["tokens"][0]):
            assert re.search(rf"reject: RCPT from \S+ 454 4.7.1 .*{token}", log), "the log shows our own session"


@pytest.mark.parametrize(
    ("settings", "expected"), [([], "closed"), ([NO_SENDER_CHECK], "accepts")], ids=["untouched", "no-sender-check"]
)
def test_a_local_sender_to_a_local_recipient(lab: Lab, host: str, tmp_path: Path, settings: list[str], expected: str) -> None:
    plant(lab, host, settings)
    answer = probe(lab, host, tmp_path, protect=True)
    for listener in answer["listeners"]:
        assert listener["verdict"] == "closed", listener["dialogue"]
        assert listener["classes"]["local_recipient"]["verdict"] == expected, listener["dialogue"]
    found = [f for f in answer["findings"] if f["control"] == "SENDER-03" and f["verdict"] == "accepts"]
    assert [f["conditions"] for f in found] == [["local_sender", "local_recipient"]] * (2 if expected == "accepts" else 0)
    log = finished_log(lab, host, 0)
    assert "status=sent" not in log and "message-id=" not in log, "nothing was sent"
    assert max(session["failed"] for session in strangers_sessions(log)) <= 8, log
