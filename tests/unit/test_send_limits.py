"""Limits of accounts: what the site declares, what policyd-rate-limit and rspamd let through, and what fixes make of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.policyd_rate_limit import Wanted, _with, candidate
from ansible.module_utils.mtaudit.config.ucl import changed
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.rates import CLOSED, OPEN, Most, window
from ansible.module_utils.mtaudit.controls.rates_policy import by_policyd
from ansible.module_utils.mtaudit.controls.rates_scanner import by_scanner
from ansible.module_utils.mtaudit.controls.scanners import Called, Kind
from ansible.module_utils.mtaudit.finding import Evidence, Method, Subject, fail
from ansible.module_utils.mtaudit.fixes.rates_mta import _told, limit_accounts_of_postfix
from ansible.module_utils.mtaudit.fixes.rates_scanner import limits
from ansible.module_utils.mtaudit.readers.policyd_rate_limit import PolicydRateLimit, parse
from ansible.module_utils.mtaudit.readers.postfix import parse as read_postfix
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd
from ansible.module_utils.mtaudit.smtp.limit_drill import Drilled, Request, Sent
from ansible.module_utils.mtaudit.smtp.limit_drill import judged as judged_by_drill
from ansible.module_utils.mtaudit.smtp.login import Login
from ansible.module_utils.mtaudit.tunable import Tunable, typed

HERE = Subject("listener", "*:587")
# What the program of Debian 12 and that of Debian 13 print of the file that comes with them.
SHIPPED: dict[str, Any] = {
    "config_file": "/etc/policyd-rate-limit.yaml", "SOCKET": "/var/spool/postfix/ratelimit/policy",
    "limits": [[10, 60], [150, 86400]],
    "limits_by_id": {}, "limit_by_sasl": True, "limit_by_sender": False, "limit_by_ip": False, "limited_networks": [],
    "sql_limits_by_id": None, "fail_action": "defer_if_permit Rate limit reach, retry later", "success_action": "dunno",
    "db_error_action": "dunno", "report": False, "report_from": None, "report_to": None, "report_limits": [86400],
    "count_mode": None, "backend": 0, "user": "policyd-rate-limit",
}  # fmt: skip
NEWS = {"logins": ["News", "shop"], "max_per_hour": 5000, "owner": "ops", "expires": "2999-01-31"}
FREE = {"logins": ["backup"], "owner": "ops", "expires": "2999-01-31"}
ACCOUNTS = Tunable("accounts", "accounts", [], "")


def site(accounts: Any = (), policyd: Any = None, rspamd: Any = None, **tunables: Any) -> Site:
    about = {"max_per_hour": 1000, "accounts": typed("accounts", accounts), **tunables}
    return Site(tunables=about, policyd=policyd, rspamd=rspamd)


def policyd(**said: Any) -> PolicydRateLimit:
    return replace(parse(json.dumps({**SHIPPED, **said})), up=True)


def judged(told: Site, **said: Any) -> tuple[str, str]:
    """Asked for each recipient, as Debian 12's version wants it."""
    found = by_policyd(HERE, told, policyd(**said), lambda at_data: not at_data, CLOSED)
    return found.status.value, found.message + found.reason


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [(NEWS, ""), (FREE, ""), ({**NEWS, "expires": "soon"}, "expires must be a day"), ({**NEWS, "logins": []}, "logins must be"),
     ({**NEWS, "logins": ["a b"]}, "logins must be"), ({**NEWS, "max_per_hour": "5"}, "whole numbers"),
     ({**FREE, "owner": ""}, "owner"),
     ({**FREE, "limit": 3}, "every entry must have"), ({"logins": ["x"]}, "every entry must have")],
)  # fmt: skip
def test_an_exemption_has_an_owner_and_an_end(entry: Any, wrong: str) -> None:
    assert (wrong in ACCOUNTS.problem([entry])) if wrong else ACCOUNTS.problem([entry]) == ""
    assert "one of" in Tunable("when_down", "str", "", "", choices=("", OPEN, CLOSED)).problem("ajar")


def test_an_expired_one_is_none() -> None:
    assert [account.expired for account in typed("accounts", [NEWS, {**NEWS, "expires": "2020-01-31"}])] == [False, True]


def test_a_window_may_be_used_up_more_than_once() -> None:
    assert window(10, 60) == Most(600, 14400) and window(150, 86400) == Most(150, 150)


@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        ({}, "pass", "150 recipients within an hour, 150 within a day; while policyd-rate-limit does not answer mail waits, "
                     "while its data base does not answer mail passes"),
        ({"limits": [[5000, 3600]]}, "fail", "an account may send 5000 recipients within an hour"),
        ({"limits": []}, "fail", "has no limits"),
        ({"limit_by_sasl": False}, "fail", "does not count by the login"),
        ({"fail_action": "dunno"}, "fail", "over its limit policyd-rate-limit says dunno"),
        ({"count_mode": 1}, "fail", "counts at DATA (count_mode), and is asked for each recipient"),
        ({"count_mode": 0}, "pass", "150 recipients"),
        ({"sql_limits_by_id": "SELECT 1"}, "unknown", "in a data base"),
        ({"limits_by_id": {"news": [[5000, 3600]]}}, "pass", ""),
        ({"limits_by_id": {"news": [[6000, 3600]]}}, "fail", "news may send 6000"),
        ({"limits_by_id": {"backup": []}}, "pass", ""),
        ({"limits_by_id": {"carol": []}}, "fail", "carol may send as much as it likes"),
        ({"limits_by_id": {"198.51.100.7": []}}, "pass", ""),
    ],
)  # fmt: skip
def test_what_policyd_rate_limit_lets_an_account_send(said: dict[str, Any], status: str, text: str) -> None:
    found = judged(site([NEWS, FREE]), **said)
    assert found[0] == status and text in found[1]


def test_which_way_it_fails_is_asked() -> None:
    assert "data base does not answer mail passes, and when_down is closed" in judged(site(when_down=CLOSED))[1]
    assert judged(site(when_down=CLOSED), db_error_action="defer")[0] == "pass"
    assert "does not answer mail waits, and when_down is open" in judged(site(when_down=OPEN))[1]
    down = by_policyd(HERE, site(), replace(policyd(), up=False), lambda at_data: not at_data, OPEN)
    assert down.status.value == "fail" and "nothing listens" in down.message


def test_what_policyd_rate_limit_is_told() -> None:
    told = _told(policyd(limits_by_id={"old": [[9000, 3600]], "backup": []}), site([NEWS, FREE], max_per_day=4000), asked=False)
    assert told["limits"] == [[1000, 3600], [4000, 86400]] and told["report_limits"] == [3600, 86400]
    assert told["limits_by_id"] == {"backup": [], "news": [[5000, 3600]], "shop": [[5000, 3600]]}
    assert "limits" not in _told(policyd(), site(), asked=True), "what the site chose stays"
    a_day = _told(policyd(), site([{**NEWS, "max_per_day": 9000}]), asked=False)
    assert a_day["limits"] == [[1000, 3600], [24000, 86400]], "what --clean must not forget"


def test_policyd_rate_limit_that_is_told_already_is_started(tmp_path: Path) -> None:
    (tmp_path / "policyd.yaml").write_text("limits: [[10, 3600]]\n", encoding="utf-8")
    live = PolicydRateLimit({"config_file": str(tmp_path / "policyd.yaml"), "limits": [[10, 3600]]}, up=False)
    wanted = Wanted({"limits": [[10, 3600]]})
    found = candidate(Any, live, wanted, tmp_path)  # type: ignore[arg-type]
    assert (found.files, found.activate, found.reading.up) == ((), "start", True)
    assert candidate(Any, replace(live, up=True), wanted, tmp_path).activate == "none"  # type: ignore[arg-type]


MASTER = "submission inet n - y - - smtpd -o smtpd_recipient_restrictions=reject_unknown_helo_hostname\n"
MAIN = (
    "mail_version = 3.7.11\ninet_interfaces = all\ninet_protocols = all\nqueue_directory = /var/spool/postfix\n"
    "smtpd_data_restrictions = reject_unauth_pipelining\n"
)
ASKED = "check_policy_service {unix:ratelimit/policy,default_action=DEFER,timeout=10s}"


def test_postfix_asks_policyd_rate_limit_where_its_version_counts() -> None:
    live = read_postfix("/etc/postfix", MAIN, MASTER, MAIN, MASTER)
    (port,) = live.smtp_services()
    found = [replace(fail(Subject("listener", port.listener), "no limit"), control="RATE-01")]

    def wanted(counter: PolicydRateLimit | None) -> Any:
        return limit_accounts_of_postfix(live, site(policyd=counter, when_down=CLOSED), found)

    old, new = wanted(policyd()), wanted(policyd(count_mode=1))
    assert old["postfix"].options["submission/inet"] == {
        "smtpd_recipient_restrictions": f"{ASKED} reject_unknown_helo_hostname"}  # fmt: skip
    assert new["postfix"].options["submission/inet"] == {"smtpd_data_restrictions": f"{ASKED} reject_unauth_pipelining"}
    assert old["policyd_rate_limit"].parameters["db_error_action"].startswith("defer")
    with pytest.raises(ConfigError, match="policyd-rate-limit does and is not installed: name it in mta_harden_install"):
        wanted(None)
    with pytest.raises(ConfigError, match="a SOCKET below /var/spool/postfix/"):
        wanted(policyd(SOCKET="/run/policy"))


def test_a_parameter_is_put_in_place_of_another_in_yaml() -> None:
    text = "# limits\nlimits:\n    - [10, 60] # a minute\n    - [150, 86400]\n# dict\nlimits_by_id: {}\nlist:\n- 1\n- 2\nend: 1"
    assert _with(text, "limits", [[5, 3600]]) == text.replace("limits:\n    - [10, 60] # a minute\n    - [150, 86400]\n",
                                                              "limits: [[5, 3600]]\n")  # fmt: skip
    assert _with(text, "list", []) == text.replace("list:\n- 1\n- 2\n", "list: []\n")
    assert _with(text, "report", True) == f"{text}\nreport: true\n"


RATES = (
    '# ours\nrates {\n  a { selector = "user"; bucket = [ { burst = 5; rate = "5 / 1h"; } ] } # "}"\n}\n'
    'whitelisted_rcpts = "x,y";\n'
)


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        (RATES, ["whitelisted_rcpts"], '["z"]', RATES.replace('"x,y"', '["z"]')),
        (RATES, ["symbol"], None, RATES),
        (RATES, ["whitelisted_rcpts"], None, RATES.replace('whitelisted_rcpts = "x,y";\n', "")),
        (RATES, ["rates", "b"], "{}", RATES.replace('# "}"\n}', '# "}"\n  b = {};\n}')),
        (RATES, ["rates", "a"], "{}", 'rates {\n  a {} # "}"\n}'),
        ("", ["rates", "b"], "{}", "rates {\nb = {};\n}\n"),
        ('a = 1\n.include "x"\n', ["b"], "2", 'a = 1\n.include "x"\nb = 2;\n'),
        ("a: 1, /* b = 3 */ b: 2", ["b"], "4", "a: 1, /* b = 3 */ b: 4"),
        ('rbls {\n  dbl { off = 1; }\n}\n', ["rbls", "dbl", "off"], None, "rbls {\n  dbl { }\n}\n"),
    ],
)
def test_a_statement_of_rspamds_is_put_in_place_of_another(before: str, path: list[str], value: str | None, after: str) -> None:
    assert after in changed(before, path, value)
    assert changed(changed(before, path, value), path, value) == changed(before, path, value)


@pytest.mark.parametrize(
    "text", ["a = 1\na = 2\n", 'upstream "local" { a = 1 }\n', "a = <<EOD\nx\nEOD\n", "a = { b = 1\n", "a = ];\n"],
)
def test_what_is_not_understood_is_not_changed(text: str) -> None:
    with pytest.raises(ConfigError, match="Could not change rspamd"):
        changed(text, ["a"], "3")


def test_rates_of_rspamd_are_what_the_site_allows() -> None:
    written = {"ratelimit": {"rates": {}}, "redis": {"servers": "198.51.100.9"}}
    told = site([NEWS, FREE], rspamd=Rspamd(written), max_per_day=4000, max_per_hour=401)
    made = limits(told).modules["ratelimit"]
    assert made["whitelisted_rcpts"] == '["nobody.invalid"]'
    assert made["rates mtaudit_account_hour"] == (
        "{ selector = \"user.lower.not_in('news', 'shop', 'backup').append('|mtaudit_hour')\"; "
        "bucket = [ { burst = 201; rate = \"200 / 1h\"; } ]; }")  # fmt: skip
    rates = {
        name: {"selector": f"user.lower{whose}.append('|{name}')", "bucket": {"burst": burst, "rate": rate}}
        for name, whose, burst, rate in (
            ("hour", ".not_in('news', 'shop', 'backup')", 201, "200 / 1h"), ("day", ".not_in('news')", 2000, "2000 / 1d"),
            ("news", ".in('news', 'shop')", 2500, "2500 / 1h"))
    }  # fmt: skip
    called = Called("inet:127.0.0.1:11332", Evidence(Method.CONFIG, "smtpd_milters", ""), Kind.RSPAMD)

    def said(about: Site) -> str:
        read = Rspamd({**written, "ratelimit": {"rates": rates, "whitelisted_rcpts": ["nobody.invalid"]}})
        found = by_scanner(HERE, replace(about, rspamd=read), [called], [], "", CLOSED)
        return f"{found.status.value}: {found.message}"

    assert said(told).startswith("pass: an account may send 401 recipients within an hour, 4000 within a day")
    assert said(site(max_per_hour=401)).startswith("fail: backup may send 2083")
    closed = replace(told, tunables={**told.tunables, "when_down": CLOSED})
    assert "its Redis does not answer mail passes, and when_down is closed" in said(closed)


ALICE = Login("alice", "secret", "alice@mx.test")


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        (Drilled(6, 6, "450 4.7.1 Rate limit"), "pass", "measured 6 recipients in 6 messages, allowed 6 an hour"),
        (Drilled(7, 7, "450 4.7.1 Rate limit"), "fail", "sends more than it may: measured 7"),
        (Drilled(5, 5), "unknown", "the budget of 20 messages is spent"),
        (Drilled(9, 9), "fail", "measured 9"),
        (Drilled(0, 0, "550 no"), "unknown", "already the first message was refused"),
        (Drilled(0, 0, "", "the login was refused"), "unknown", "the login was refused"),
        (Drilled(4, 4, "450", role=Sent(2)), "fail", "when postmaster@canary.test is a recipient"),
        (Drilled(4, 4, "450", other_case=Sent(1)), "fail", "its login in other letters"),
        (Drilled(4, 4, "450", other_account=Sent(0, "451 no")), "fail", "another account is refused as well: 451 no"),
        (Drilled(4, 4, "450", role=Sent(0, "450"), other_case=Sent(0, "450"), other_account=Sent(1)), "pass", "measured 4"),
    ],
)  # fmt: skip
def test_what_a_drill_says(found: Drilled, status: str, text: str) -> None:
    request = Request("198.51.100.9", 587, ALICE, "canary@canary.test", "x.test", 20, most=6, role="postmaster@canary.test")
    (finding,) = judged_by_drill(request, found)
    assert (finding.control, finding.method, finding.status.value) == ("RATE-01", Method.PROBE, status)
    assert text in finding.message + finding.reason and str(finding.subject) == "listener 198.51.100.9:587"
