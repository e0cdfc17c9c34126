"""Logins at real services, by an audit of two devices of the lab: what one was shipped with, what the other one got instead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402
from mtalab.inventory import host_variables  # noqa: E402

pytestmark = pytest.mark.lab

CONSENT = "the lab's owner, 2026-11-23"
HANDED_OUT = "Initial-Copper-Heron-71"
VANTAGE = "neighbour"
SERVICES = [
    {"protocol": "ftp", "vendors": ["qnap"]},
    {"protocol": "http", "vendors": ["tp_link"], "options": {"path": "/basic/"}},
    {"protocol": "http", "port": 8080, "vendors": ["yealink"], "options": {"path": "/login"}}, {"protocol": "snmp"},
    {"protocol": "redis", "vendors": ["redis"]}, {"protocol": "mysql", "vendors": ["mysql"]},
    {"protocol": "postgresql", "vendors": ["supabase"]},
]  # fmt: skip
PORTS = ("21", "80", "8080", "161", "6379", "3306", "5432")


@dataclass(frozen=True)
class Audited:
    """What one audit of both devices printed with -vvv, kept, and left on the vantage."""

    printed: str
    kept: dict[Path, str]
    findings: list[dict[str, Any]]
    state: str
    journal: str
    files: str  # what holds the password that the site hands out, on the vantage

    def of(self, host: str, control: str = "CRED-01") -> dict[str, str]:
        return {f["subject"]["name"].partition(" ")[0].rpartition(":")[2]: f["status"] for f in self.findings
                if (f["host"], f["control"]) == (host, control)}


@pytest.fixture(scope="module")
def audited(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    lab.up(("device", "device-good"))
    directory = tmp_path_factory.mktemp("devices")
    state = f"/var/tmp/{uuid.uuid4().hex[:8]}"
    own = directory / "own.yml"
    own.write_text(yaml.safe_dump([{"label": "first", "username": "admin", "password": HANDED_OUT, "protocols": ["ftp"]}]))
    own.chmod(0o600)
    began = lab.execute(VANTAGE, "date", "+%F %T").stdout.strip()
    inventory = {"all": {"hosts": {name: device(lab, name) for name in ("device", "device-good")},
                         "children": {"mta_vantages": {"hosts": {VANTAGE: host_variables(lab.config, lab.host(VANTAGE))}}}}}
    given = {
        "mta_audit_profile": "provider", "mta_audit_canary": "", "mta_report_directory": str(directory / "reports"),
        "mta_audit_credentials_state": f"{state}/kept.jsonl", "mta_audit_credentials_file": str(own),
        "mta_audit_credentials_pause_s": 0, "mta_audit_credentials_per_service": 3, "mta_audit_credentials_per_account": 40,
    }  # fmt: skip
    try:
        printed = play(directory, inventory, given)
        (run,) = (directory / "reports" / "runs").iterdir()
        kept = {path: path.read_text(errors="replace") for path in run.rglob("*") if path.is_file()}
        yield Audited(
            printed, kept, json.loads(kept[run / "findings.json"])["findings"],
            lab.execute(VANTAGE, "sh", "-c", f"cat {state}/kept.jsonl; stat -c 'mode %a' {state}/kept.jsonl").stdout,
            lab.execute(VANTAGE, "journalctl", "--no-pager", "--since", began).stdout,
            lab.execute(VANTAGE, "grep", "-rsl", HANDED_OUT, "/tmp", "/var", "/root", "/etc", "/run").stdout,
        )  # fmt: skip
    finally:
        lab.execute(VANTAGE, "rm", "-rf", state)


def device(lab: Lab, name: str) -> dict[str, Any]:
    slow = [{"protocol": "telnet", "vendors": ["tp_link"]}, {"protocol": "imap"}]  # they let who fails wait
    more = slow if name == "device" else []
    return {
        "mta_audit_program": "device", "mta_audit_addresses": [lab.host(name).ipv4], "mta_audit_credentials": [*SERVICES, *more],
        "mta_audit_credentials_consent": CONSENT,
    }  # fmt: skip


def play(directory: Path, inventory: dict[str, Any], given: dict[str, Any]) -> str:
    (directory / "inventory").mkdir()
    (directory / "inventory/hosts.yml").write_text(yaml.safe_dump(inventory))
    (directory / "inventory/group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "-i", str(directory / "inventory"),
               str(ROOT / "playbooks/audit.yml"), "-e", json.dumps(given)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done.stdout + done.stderr


def test_what_a_device_was_shipped_with_is_found(audited: Audited) -> None:
    assert audited.of("device") == dict.fromkeys((*PORTS, "23", "143"), "fail")
    assert audited.of("device", "AUTH-04") == {"143": "pass"}


def test_a_device_with_passwords_of_its_own_passes(audited: Audited) -> None:
    assert audited.of("device-good") == dict.fromkeys(PORTS, "pass")


def test_nothing_else_is_said_of_a_device(audited: Audited) -> None:
    assert {f["control"] for f in audited.findings if f["host"].startswith("device")} == {"CRED-01", "AUTH-04", "AUTH-07"}


def test_every_attempt_is_announced(audited: Audited) -> None:
    (kept,) = [json.loads(text) for path, text in audited.kept.items() if path.parent.name == "credentials"]
    assert len(kept["attempts"]) == len(audited.state.splitlines()) // 2
    assert {attempt["from"] for attempt in kept["attempts"]} == {"198.51.100.30"} and CONSENT in audited.printed
    assert kept["attempts"][0]["service"] in audited.printed


def test_no_password_shows_anywhere(audited: Audited) -> None:
    assert audited.state.endswith("mode 600\n")
    for text in (audited.printed, audited.state, audited.journal, *audited.kept.values()):
        assert HANDED_OUT not in text
    assert not audited.files
    credentials = [text for path, text in audited.kept.items() if path.parent.name == "credentials"]
    assert "own/first/admin" in credentials[0]


def test_a_ban_is_no_pass(lab: Lab, tmp_path: Path) -> None:
    """fail2ban shuts the vantage out after two logins: the credentials that were to follow are not refused, but unknown."""
    name, state = f"t-banned-{uuid.uuid4().hex[:6]}", f"/var/tmp/{uuid.uuid4().hex[:8]}"
    try:
        lab.clone("full-d12", name)
        run(lab, name, "apt-get -qq update && apt-get -qqy --no-install-recommends install fail2ban nftables python3-systemd")
        run(lab, name, "cat > /etc/fail2ban/jail.local && rm -f /etc/fail2ban/jail.d/* && systemctl restart fail2ban", JAIL)
        run(lab, name, "for i in $(seq 50); do fail2ban-client status dovecot >/dev/null 2>&1 && exit; sleep 0.2; done; exit 1")
        target = {"name": name, "host": lab.host(name).ipv4, "consent": CONSENT,
                  "services": [{"protocol": "imap"}, {"protocol": "smtp", "port": 587}]}
        answer = module(tmp_path, {"targets": [target], "pause_s": 3, "attempt_timeout_s": 10, "state": f"{state}/kept.jsonl"})
        assert [a["outcome"] for a in answer["attempts"] if "imap" in a["service"]][-1] in ("shut", "put_off")
        assert lab.host(VANTAGE).ipv4 in run(lab, name, "fail2ban-client status dovecot")
        found = {(f["control"], f["subject"]["name"].rpartition(":")[2]): f["status"] for f in answer["findings"]}
        assert found[("CRED-01", "143")] == found[("CRED-01", "587")] == found[("AUTH-04", "587")] == "unknown"
        assert found[("AUTH-07", "")] == "fail"
        assert run(lab, name, "faillock 2>/dev/null; passwd -S alice").split()[1] == "P"
    finally:
        lab.execute(VANTAGE, "rm", "-rf", state)
        lab.remove(name)


JAIL = """\
[DEFAULT]
backend = systemd
banaction = nftables-allports
maxretry = 2

[dovecot]
enabled = true
"""


def run(lab: Lab, name: str, script: str, stdin: str = "") -> str:
    done = lab.execute(name, "sh", "-c", script, stdin=stdin)
    assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def module(directory: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the module on the neighbour, over ssh."""
    environment = {**os.environ, "ANSIBLE_LIBRARY": str(ROOT / "library"), "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils")}
    command = [sys.executable, "-m", "ansible", "adhoc", "-i", str(ROOT / "inventories/lab"), VANTAGE]
    command += ["-m", "mta_credential_probe", "-a", json.dumps(arguments)]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    _, arrow, said = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(said)
    assert "attempts" in answer, answer
    return answer
