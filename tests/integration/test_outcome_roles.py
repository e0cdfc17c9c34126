"""The roles that are named by an outcome, in a play of their own: each mends its own, and its variables reach the audit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from audited_copy import ROOT, Copy, throw_away_copy

pytestmark = pytest.mark.lab

# What is broken for each role, and how Postfix itself shows that it is no more.
BROKEN = {
    "mta_relay": ("postconf -e 'mynetworks = 0.0.0.0/1 128.0.0.0/1'", "! postconf -h mynetworks | grep -qF 128.0.0.0"),
    "mta_submission": ("postconf -P submission/inet/smtpd_tls_security_level=may submission/inet/smtpd_tls_auth_only=no",
                       "! postconf -P | grep -qx 'submission/inet/smtpd_tls_auth_only = no'"),
    "mta_auth_logging": ("postconf -e debug_peer_list=198.51.100.0/24", "test -z \"$(postconf -h debug_peer_list)\""),
    "mta_recipients": ("postconf -e smtpd_recipient_limit=5000", "test $(postconf -h smtpd_recipient_limit) -eq 177"),
    "mta_baseline": ("postconf -e 'smtpd_banner=$myhostname ESMTP $mail_name $mail_version'",
                     "postconf -h smtpd_banner | grep -qFx '$myhostname ESMTP'"),
    "mta_outbound_filter": ("postconf -e 'non_smtpd_milters='", "test -n \"$(postconf -xh non_smtpd_milters)\""),
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy("full-d12", "t-roles", tmp_path_factory.mktemp("roles")) as copy:
        for broken, _ in BROKEN.values():
            copy.shell(broken)
        copy.shell("postfix reload")
        yield copy


def play(copy: Copy, directory: Path, *roles: str, **variables: object) -> str:
    for name in ("library", "module_utils", "roles"):  # a play finds those of its own directory
        if not (directory / name).exists():
            (directory / name).symlink_to(ROOT / name)
    book = directory / "play.yml"
    book.write_text(json.dumps([{"hosts": copy.name, "gather_facts": False, "serial": 1, "roles": roles}]), encoding="utf-8")
    given = {"mta_audit_profile": "strict", "mta_audit_vantages": [], "mta_audit_canary": "", "mta_harden_unproven": True,
             "mta_harden_confirmed": True, "mta_harden_max_disruption": "high", "mta_harden_acknowledged": ["AUTH-01"],
             "mta_report_directory": str(directory), **variables}  # fmt: skip
    return copy.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", book, "-e", json.dumps(given), timeout_s=900)


def test_each_role_mends_its_own_and_all_together_find_nothing_more(copy: Copy, tmp_path: Path) -> None:
    left = dict(BROKEN)
    for role, (_, whole) in BROKEN.items():
        play(copy, tmp_path, role, mta_recipients_max_recipients=177)
        left.pop(role)
        copy.shell(whole)
        for other, (_, then) in left.items():
            with pytest.raises(AssertionError):
                copy.shell(then)
                pytest.fail(f"{role} did the work of {other}", pytrace=False)
    printed = play(copy, tmp_path, *BROKEN, mta_recipients_max_recipients=177)
    assert re.search(rf"^{copy.name} .*\bchanged=0\b", printed, re.M), printed[-500:]


def test_the_audit_goes_by_the_variables_of_the_roles(copy: Copy, tmp_path: Path) -> None:
    given = {"mta_target": copy.name, "mta_audit_profile": "strict", "mta_audit_vantages": [], "mta_audit_canary": "",
             "mta_report_directory": str(tmp_path)}  # fmt: skip
    found = {}
    copy.shell("postconf -e smtpd_recipient_limit=177")
    for most in (177, 150):
        copy.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/audit.yml", "-e",
                     json.dumps({**given, "mta_recipients_max_recipients": most}))  # fmt: skip
        report = json.loads((sorted((tmp_path / "runs").iterdir())[-1] / "findings.json").read_text(encoding="utf-8"))
        about = [f for f in report["findings"] if f["control"] == "RATE-02" and f["subject"]["name"].endswith(":25")]
        found[most] = {finding["status"] for finding in about}
    assert found == {177: {"pass"}, 150: {"fail"}}


def test_a_value_that_does_not_fit_changes_nothing_and_says_why(copy: Copy, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as failed:
        play(copy, tmp_path, "mta_recipients", mta_recipients_max_recipients=77)
    assert "the tunable max_recipients of RATE-02 must be 100 or more, not 77" in " ".join(str(failed.value).split())
    assert "Nothing is changed" in str(failed.value)


def test_a_name_that_is_no_fix_is_refused(copy: Copy) -> None:
    given = {"mta_target": copy.name, "mta_audit_vantages": [], "mta_audit_canary": "", "mta_harden_only": ["RELAY-1"]}
    with pytest.raises(AssertionError) as failed:
        copy.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/harden.yml", "--check", "-e",
                     json.dumps(given))  # fmt: skip
    assert "mta_harden_only holds RELAY-1" in str(failed.value)
