"""Statements that are put first into the ACL for recipients of a recorded Exim: which control the way in belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from capture_fixture import evaluate, site_from
from test_relay_controls import FIXTURES, load

RECORDED = FIXTURES / "SENDER-01/pass-exim-untouched"
START = "  acl_check_rcpt:\n"


def changed(data: Any, old: str, new: str) -> Any:
    """The recording with another text in what Exim answered."""
    if isinstance(data, str):
        return data.replace(old, new)
    if isinstance(data, dict):
        return {key: changed(value, old, new) for key, value in data.items()}
    return [changed(each, old, new) for each in data] if isinstance(data, list) else data


def failing(old: str, new: str) -> set[tuple[str, str]]:
    recording, expected = load(RECORDED)
    findings = evaluate(expected["programs"], changed(recording, old, new), site_from(expected["site"]))
    return {
        (f.control, f.subject.name) for f in findings if f.status.value == "fail" and f.control.startswith(("RELAY", "SENDER-03"))
    }


@pytest.mark.parametrize(
    ("condition", "control"),
    [
        ("domains = *.pl", "RELAY-04"),
        (r"domains = ^.*[.](cz|pl)\$", "RELAY-04"),
        (r"domains = \N^.+\.pl$\N", "RELAY-04"),
        (r"domains = ^(.*[.])?partner[.]pl\$", ""),
        ("domains = *.partner.pl", ""),
        ("recipients = *@*.pl", "RELAY-03"),
        (r"recipients = ^.*@.*[.]pl\$", "RELAY-03"),
        ("sender_domains = *.pl", "RELAY-03"),
        (r"sender_domains = ^(.*[.])?partner[.]test\$", "RELAY-03"),
        (r"senders = ^[a-z]+@partner[.]test\$", "RELAY-03"),
        ("senders = *@partner.test", "RELAY-03"),
        ("hosts = *.pl", "RELAY-01"),
        ("authenticated = *", ""),
    ],
)
def test_what_a_statement_lets_in(condition: str, control: str) -> None:
    assert failing(START, f"{START}    accept\n    {condition}\n") == ({(control, "*:25")} if control else set())


@pytest.mark.parametrize(
    ("comparison", "fails"),
    [
        ("${if eqi{$sender_address}{$authenticated_id@exim-d12.test}}", False),
        ("${if eqi{$sender_address_local_part}{$authenticated_id}}", True),
        ("${if match_address{$sender_address}{$authenticated_id@*}}", True),
        ("${if match_domain{$sender_address_domain}{+local_domains}}", False),
    ],
)
def test_a_login_whose_name_alone_is_compared(comparison: str, fails: bool) -> None:
    own = "${if inlisti{$authenticated_id}{${lookup{${lc:$sender_address}}lsearch{/etc/exim4/sender_logins}}}}"
    assert failing(own, comparison) == ({("RELAY-14", "*:465"), ("RELAY-14", "*:587")} if fails else set())
