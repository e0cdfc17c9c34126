"""What rspamd's settings and force_actions make of a From header that is not the login's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.headers_scanner import headers_by_scanner
from ansible.module_utils.mtaudit.controls.scanners import Called, Kind
from ansible.module_utils.mtaudit.finding import Evidence, Finding, Method, Subject
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd

SHOWN = Evidence(Method.CONFIG, "main.cf:1 smtpd_milters", "inet:127.0.0.1:11332")
RSPAMD = Called("inet:127.0.0.1:11332", SHOWN, Kind.RSPAMD)
OTHERS = "(!FROM_EQ_ENVFROM | MULTIPLE_FROM)"
LOGINS = {"authenticated": True, "apply": {"symbols": ["LOGGED_IN"]}}


def judged(
    expression: str, *settings: dict[str, Any], deaf: str = "", lua: tuple[str, ...] = (), milter: bool = False,
    version: str = "", actions: dict[str, Any] | None = None, **rule: Any,
) -> Finding:  # fmt: skip
    forced = {"rules": {"OWN": {"action": "reject", "expression": expression, **rule}}}
    rules = {f"rule{number}": one for number, one in enumerate(settings or (LOGINS,))}
    rspamd = Rspamd({"settings": rules, "force_actions": forced, "actions": actions or {}}, lua=lua, version=version)
    filters = [replace(RSPAMD, milter=milter)]
    return headers_by_scanner(Subject("listener", "*:587"), Site(rspamd=rspamd), filters, [SHOWN], deaf)


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ("LOGGED_IN & !MISSING_FROM & (!FROM_EQ_ENVFROM | MULTIPLE_FROM)", "pass"),
        ("LOGGED_IN and not FROM_EQ_ENVFROM or MULTIPLE_FROM", "pass"),
        ("!FROM_EQ_ENVFROM || MULTIPLE_FROM || OTHER", "pass"),
        ("LOGGED_IN & !FROM_EQ_ENVFROM", "fail"),  # of two addresses the first may be the login's own
        ("LOGGED_IN & (FROM_NEQ_ENVFROM | MULTIPLE_FROM)", "fail"),  # an empty envelope sender is no other one
        ("LOGGED_IN & (FORGED_SENDER | FROM_NEQ_ENVFROM)", "fail"),
        ("FROM_NEQ_ENVFROM || OTHER", "unknown"),
        ("LOGGED_IN & FORGED_SENDER", "fail"),
        ("LOGGED_IN & FROM_EQ_ENVFROM", "fail"),
        ("LOGGED_IN & FROM_NEQ_ENVFROM & !MAILLIST", "unknown"),
        ("FROM_NEQ_ENVFROM + OTHER > 1", "unknown"),
        ("(LOGGED_IN", "unknown"),
        ("(" * 400, "unknown"),
    ],
)
def test_the_expression_is_followed(expression: str, status: str) -> None:
    assert judged(expression).status.value == status


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ([{"authenticated": True, "apply": {}, "symbols": ["LOGGED_IN"]}], "pass"),
        ([{"authenticated": True, "symbols": ["LOGGED_IN"]}], "fail"),
        ([{"authenticated": True, "apply": {"symbols": "LOGGED_IN"}}], "fail"),
        ([{"authenticated": True, "user": "alice", **LOGINS}], "unknown"),
        ([LOGINS, {"authenticated": True, "priority": "high", "apply": {"actions": {"reject": 20}}}], "fail"),
        ([LOGINS, {"from": "@own.test", "priority": 5, "apply": {"whitelist": True}}], "unknown"),
        ([LOGINS, {"ip": "127.0.0.1", "priority": 5, "apply": {"whitelist": True}}], "pass"),
        ([LOGINS, {"authenticated": True, "whitelist": True}], "fail"),
        ([{"authenticated": True, "apply": {"symbols": ["LOGGED_IN"], "groups_disabled": ["headers"]}}], "unknown"),
    ],
)
def test_whom_the_settings_give_the_symbol(settings: list[dict[str, Any]], status: str) -> None:
    assert judged(f"LOGGED_IN & {OTHERS}", *settings).status.value == status


def test_what_is_done_counts() -> None:
    assert judged(OTHERS, action="add header").status.value == "fail"
    assert judged(OTHERS, action="soft_reject").status.value == "pass"
    assert judged(OTHERS, action="quarantine").status.value == "fail"  # rspamd does not know it
    kept: dict[str, Any] = {"actions": {"quarantine": 100}, "action": "quarantine"}
    assert judged(OTHERS, **kept).status.value == "unknown"  # nor may what asks rspamd
    assert judged(OTHERS, milter=True, **kept).status.value == "pass"
    # Some versions forget it where there is a message for the client.
    assert judged(OTHERS, milter=True, message="no", **kept).status.value == "unknown"
    assert judged(OTHERS, milter=True, message="no", version="3.12.1", **kept).status.value == "fail"
    assert judged(OTHERS, milter=True, message="no", version="3.4", **kept).status.value == "pass"
    assert judged(OTHERS, honor_action=["reject"]).status.value == "unknown"


def test_who_is_told_no_login_compares_nothing() -> None:
    found = judged(f"LOGGED_IN & {OTHERS}", deaf="milter_mail_macros has no {auth_authen}")
    assert (found.status.value, "{auth_authen}" in found.message) == ("fail", True)
    assert judged(OTHERS, deaf="milter_mail_macros has no {auth_authen}").status.value == "pass"


def test_rules_of_the_sites_own_are_not_known() -> None:
    assert judged("OTHER & FROM_EQ_ENVFROM", lua=("/etc/rspamd/rspamd.local.lua",)).status.value == "unknown"
