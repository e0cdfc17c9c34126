"""A wrong input of the run is refused by name before anything is asked of a host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
CANARY = {"mta_audit_canary": "canary@canary.test", "mta_audit_probe_sender": "probe@stranger.test"}


def play(tmp_path: Path, variables: dict[str, Any], host: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """The audit of one host that nobody can reach: ssh to it fails at once."""
    hosts = {"mx1": {"ansible_host": "192.0.2.1", "ansible_ssh_common_args": "-o ProxyCommand=false", **(host or {})},
             "v1": {"ansible_host": "192.0.2.2", "ansible_ssh_common_args": "-o ProxyCommand=false", "mta_vantage": "stranger"}}
    inventory = {"all": {"hosts": {"mx1": hosts["mx1"]}, "children": {"mta_vantages": {"hosts": {"v1": hosts["v1"]}}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    given = {"mta_report_directory": str(tmp_path / "reports"), **variables}
    command = [str(PLAYBOOK), "-i", str(tmp_path / "hosts.yml"), str(ROOT / "playbooks/audit.yml"), "-e", json.dumps(given)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(("variables", "words"), [
    ({"mta_audit_probe_timeout_s": "soon"}, "argument 'mta_audit_probe_timeout_s' is of type str"),
    ({"mta_audit_probe_deliver": "maybe"}, "argument 'mta_audit_probe_deliver' is of type str"),
    ({"mta_report_formats": ["pdf"]}, "value of mta_report_formats must be one or more of"),
    ({"mta_audit_collect_batch": 0, "mta_report_hosts_per_page": 0},
     "mta_audit_collect_batch, mta_report_hosts_per_page: must be greater than 0."),
    ({**CANARY, "mta_audit_canary_check": {"uri": "http://x"}}, "mta_audit_canary_check holds one of url, maildir and imap"),
    ({**CANARY, "mta_audit_canary": "sink"}, "mta_audit_canary is a mail address of yours"),
    ({"mta_audit_credentials": [{"protocol": "ssh"}], "mta_audit_credentials_vantage": "ghost"}, "not 'ghost'"),
    ({**CANARY, "mta_audit_vantages": "v1"}, "mta_audit_vantages is a list of hosts of the inventory"),
    ({**CANARY, "mta_audit_vantages": ["v1", "ghost"]}, "it lacks ['ghost']"),
])
def test_refused_at_the_start(variables: dict[str, Any], words: str, tmp_path: Path) -> None:
    done = play(tmp_path, variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "TASK [mta_audit : Audit the hosts]" not in done.stdout and not (tmp_path / "reports").exists()


@pytest.mark.parametrize(("variables", "words"), [
    ({"mta_audit_credentials": [{"protocol": "ssh", "vendors": ["acme"]}]}, "credentials[0]: there is no vendor 'acme'"),
    ({"mta_audit_credentials": [{"protocol": "gopher"}]}, "credentials[0]: protocol is one of"),
    ({"mta_audit_credentials": [{"protocol": "ssh", "ports": 22}]}, "ports"),
    ({"mta_audit_credentials_consent": "my boss"}, "mta_audit_credentials_consent: says who agreed and on which day"),
    ({"mta_audit_credentials_lockout": -1}, "mta_audit_credentials_lockout: is the number of failed logins"),
])
def test_logins_that_cannot_be_tried_are_that_hosts_finding(variables: dict[str, Any], words: str, tmp_path: Path) -> None:
    play(tmp_path, {"mta_audit_credentials_vantage": "v1"}, variables)
    (file,) = tmp_path.glob("reports/runs/*/hosts/mx1.json")
    answer = json.loads(file.read_text())
    assert answer["status"] == "failed" and words in answer["reason"]


@pytest.mark.parametrize(("login", "words"), [
    ({"user": "alice", "password": "Wren-Copper"}, "username missing"), ("alice", "a mapping with username and password"),
])
def test_a_test_login_that_cannot_be_used_is_that_hosts_finding(login: Any, words: str, tmp_path: Path) -> None:
    done = play(tmp_path, {}, {"mta_audit_test_login": login})
    (file,) = tmp_path.glob("reports/runs/*/hosts/mx1.json")
    answer = json.loads(file.read_text())
    assert answer["status"] == "failed" and "mta_audit_test_login" in answer["reason"] and words in answer["reason"]
    assert "Wren-Copper" not in done.stdout + done.stderr + "".join(
        path.read_text() for path in tmp_path.glob("reports/**/*") if path.is_file())


@pytest.mark.parametrize(("text", "goes_on"), [
    ("- {label: first, username: admin, password: S3cretHanded}", True),
    ("# none yet", True),
    ("- [first, admin, S3cretHanded]", False),
    ("- {label: first, username: admin, passwort: S3cretHanded}", False),
    ("- {label: first, password: S3cretHanded, passwort: S3cretHanded}", False),
    ("{label: first, password: S3cretHanded}", False),
    ("S3cretHanded", False),
    ("- {label: first, password: [S3cretHanded]}", False),
    ("- {label: first, password: S3cretHanded", False),
])
def test_a_password_that_the_site_hands_out_is_not_printed(text: str, goes_on: bool, tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text(text)
    own.chmod(0o600)
    task = {"ansible.builtin.include_role": {"name": str(ROOT / "roles/mta_audit"), "tasks_from": "credentials.yml"}}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    given = {"mta_audit_credentials_file": str(own), "__mta_audit_credential_targets": [], "__mta_audit_credential_plan": "none",
             "__mta_audit_run_directory": str(tmp_path), "mta_audit_credentials_vantage": "localhost"}
    command = [str(PLAYBOOK), "-vvv", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml"), "-e", json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ("Try logins at none" in done.stdout) == goes_on and ("must be a YAML list of mappings" in done.stdout) != goes_on
    assert "S3cretHanded" not in done.stdout + done.stderr
