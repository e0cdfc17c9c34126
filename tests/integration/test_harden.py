"""playbooks/harden.yml as a person uses it: plan, approval, change, proof, and the way back when mail does not flow any more.

Who may relay is told by swaks, what is in force by postconf: not by our own code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from audited_copy import ROOT, Copy, throw_away_copy

pytestmark = pytest.mark.lab

OPEN = "postconf -e 'mynetworks = 0.0.0.0/1 128.0.0.0/1' 'disable_vrfy_command = no'; postfix reload"
# As soon as the change is in place, nobody can send mail through this host any more.
SABOTAGE = """
nohup sh -c 'until grep -q "^disable_vrfy_command = yes" /etc/postfix/main.cf; do sleep 0.05; done; sleep 3
postconf -e "default_transport = error:broken by the test"; postfix reload' > /dev/null 2>&1 &
"""


@pytest.fixture(scope="module", params=["full-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy(request.param, "t-harden", tmp_path_factory.mktemp("harden")) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger", "neighbour"])
        yield copy


def harden(copy: Copy, *words: str, **variables: object) -> str:
    return copy.ansible(*command(copy, *words, **variables), timeout_s=900)


def command(copy: Copy, *words: str, **variables: object) -> tuple[str | Path, ...]:
    given = {"mta_target": copy.name, "mta_audit_profile": "strict", "mta_audit_vantages": ["stranger"],
             "mta_audit_probe_canary_wait_s": 8, "mta_audit_probe_retry_after_s": 1,
             "mta_report_directory": f"/tmp/{copy.name}", **variables}  # fmt: skip
    return ("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/harden.yml", "-e", json.dumps(given), *words)


def refused(copy: Copy, *words: str, **variables: object) -> str:
    with pytest.raises(AssertionError) as failed:
        harden(copy, *words, **variables)
    return " ".join(str(failed.value).split())


def main_cf(copy: Copy) -> str:
    return copy.shell("cat /etc/postfix/main.cf; stat -c '%Y %a %U' /etc/postfix/main.cf")


def relays(copy: Copy) -> bool:
    about = copy.lab.host(copy.name)
    done = copy.lab.execute(
        "stranger", "swaks", "--server", str(about.ipv4), "--from", "probe@stranger.test", "--to", "canary@canary.test",
        "--helo", "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "20",
    )  # fmt: skip
    return bool(done.returncode == 0)


def changed(printed: str, name: str) -> int:
    match = re.search(rf"^{name} .*changed=(\d+)", printed, re.M)
    assert match
    return int(match.group(1))


def test_from_the_plan_to_the_proof(copy: Copy, tmp_path: Path) -> None:
    copy.shell(f"{OPEN}; mv /etc/rspamd/local.d/antivirus.conf /root; systemctl restart rspamd")
    before = main_cf(copy)
    assert relays(copy)

    plan = tmp_path / "plan.json"
    printed = harden(copy, "--check", "--diff", mta_audit_canary="", mta_harden_plan_file=str(plan))
    assert "-disable_vrfy_command = no" in printed and "-mynetworks" not in printed, "only what may be done unattended"
    assert "it may cut mail off" in printed and changed(printed, copy.name) == 1
    left = json.loads(plan.read_text(encoding="utf-8"))["hosts"][copy.name]["left"]
    assert "AV-01 is left to you: " in printed and [each["control"] for each in left if each["advice"]] == ["AV-01"], left
    copy.shell("mv /root/antivirus.conf /etc/rspamd/local.d; systemctl restart rspamd")

    printed = harden(copy, "--check", "--diff", mta_audit_canary="", mta_harden_confirmed=True, mta_harden_plan_file=str(plan))
    shown = [line for line in printed.splitlines() if re.match(r"[+-][a-z]", line)]
    assert "-mynetworks = 0.0.0.0/1 128.0.0.0/1" in shown
    assert main_cf(copy) == before and relays(copy)
    planned = json.loads(plan.read_text(encoding="utf-8"))["hosts"][copy.name]
    assert {fix["control"] for fix in planned["fixes"]} == {"RELAY-01", "INFO-01"}
    assert planned["left"] == []

    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    said = refused(copy, mta_harden_approved_plan=str(tmp_path / "other.json"), mta_audit_canary="")
    assert "other.json is no plan" in said
    said = refused(copy, mta_harden_approved_plan=str(plan), mta_audit_canary="", mta_audit_test_login={})
    assert "Nothing is changed" in said and "mta_audit_canary, mta_audit_test_login is not set" in said
    copy.shell("cp -a /etc/postfix/main.cf /root/kept; postconf -e 'message_size_limit = 10240001'")
    said = refused(copy, mta_harden_approved_plan=str(plan), mta_audit_canary="")
    assert "The host is not what it was when the plan was approved" in said and relays(copy)
    copy.shell("cp -a /root/kept /etc/postfix/main.cf")

    printed = harden(copy, "--diff", mta_harden_approved_plan=str(plan))
    assert [line for line in printed.splitlines() if re.match(r"[+-][a-z]", line)] == shown, "what was shown is what is done"
    assert not relays(copy) and copy.shell("postconf -h disable_vrfy_command") == "yes\n"
    assert "Confirm the change" in printed and not copy.shell("systemctl list-timers --all mtaudit-guard.timer").count("mtaudit")

    again = harden(copy, mta_harden_confirmed=True)
    assert changed(again, copy.name) == 0 and "Nothing that has a fix fails" not in again


def test_what_stops_mail_is_taken_back(copy: Copy) -> None:
    copy.shell(OPEN)
    before = main_cf(copy)
    copy.shell(SABOTAGE)
    reports = set(Path(f"/tmp/{copy.name}/runs").glob("*/findings.json"))
    said = refused(copy, mta_harden_confirmed=True)
    assert "could not be mended, and the hosts after it were left alone" in said
    assert set(Path(f"/tmp/{copy.name}/runs").glob("*/findings.json")) - reports, "there is a report all the same"
    assert "The change did not hold, and everything was put back" in said and "submission" in said, said[-3000:]
    assert main_cf(copy) == before and relays(copy), "as it was, with its open relay: the report says so"
    assert "committed" not in copy.shell("grep -ho '\"phase\": \"[a-z_]*\"' /var/lib/mtaudit/transactions/*/state.json | tail -1")
    copy.shell("postconf -h default_transport | grep -qx smtp")
