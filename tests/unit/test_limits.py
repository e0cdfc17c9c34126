"""Numbers of limits and rates as the programs write them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.limits import megabytes, number
from ansible.module_utils.mtaudit.controls.rates import CLOSED, per_hour
from ansible.module_utils.mtaudit.controls.rates_scanner import by_scanner
from ansible.module_utils.mtaudit.controls.scanners import Called, Kind
from ansible.module_utils.mtaudit.finding import Evidence, Method, Subject
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd


@pytest.mark.parametrize(
    ("text", "value"),
    [("100", 100), ("50M", 52_428_800), ("10k", 10_240), ("1G", 1_073_741_824), ("0", None), ("", None), (" 7 ", 7)],
)
def test_a_number_or_no_limit(text: str, value: int | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["${if bool{yes}{1}{2}}", "many", "-1", "5 apples"])
def test_what_is_no_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        number(text)


def test_megabytes_are_rounded_up() -> None:
    assert [megabytes(size) for size in (None, 1, 10_240_000, 52_428_800)] == [None, 1, 10, 50]


@pytest.mark.parametrize(
    ("count", "period", "hourly"),
    [("100", "1h", 100), ("100", " 1 m ", 6000), ("500", "hour", 500), ("24", "1d", 1), ("60", "1 min", 3600), ("1k", "1h", 1024),
     ("7", "1w", 7 / 168), ("10", "90", 400)],
)  # fmt: skip
def test_what_a_rate_allows_within_an_hour(count: str, period: str, hourly: float) -> None:
    assert per_hour(count, period) == pytest.approx(hourly)


@pytest.mark.parametrize(("count", "period"), [("100", ""), ("${x}", "1h"), ("100", "soon"), ("100", "0s")])
def test_a_rate_that_is_not_written_out_is_not_guessed(count: str, period: str) -> None:
    assert per_hour(count, period) is None


USER = {"selector": "user.lower", "bucket": [{"burst": 200, "rate": "200 / 1h"}]}
NOBODY = ["nobody.invalid"]


def account(rates: dict[str, Any], whitelisted: Any = NOBODY, redis: str = "198.51.100.9", **more: Any) -> tuple[str, str]:
    """What is said of an account whose mail passes an rspamd with these rates."""
    limits = {"rates": rates, **more, **({} if whitelisted is None else {"whitelisted_rcpts": whitelisted})}
    site = Site(rspamd=Rspamd({"ratelimit": limits, "redis": {"servers": redis} if redis else {}}))
    called = Called("inet:127.0.0.1:11332", Evidence(Method.CONFIG, "smtpd_milters", "inet:127.0.0.1:11332"), Kind.RSPAMD)
    found = by_scanner(Subject("listener", "*:587"), site, [called], [], "", CLOSED)
    return found.status.value, found.message + found.reason


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"a": USER}, "400 recipients within an hour, 5000 within a day"),
        ({"user": {"bucket": {"burst": 50, "rate": 0.01}}}, "86 recipients within an hour, 914 within a day"),
        ({"user": [50, "50 / 1h"]}, "100 recipients within an hour, 1250 within a day"),
        # Of two buckets for one selector one is in force, and which one is chance.
        ({"a": USER, "b": {"selector": "user.lower", "bucket": {"burst": 1, "rate": "1 / 1d"}}},
         "400 recipients within an hour, 5000 within a day"),
        ({"a": USER, "b": {"selector": 'user.lower.append("|d")', "bucket": {"burst": 24, "rate": "24 / 1d"}}},
         "25 recipients within an hour, 48 within a day"),
    ],
)  # fmt: skip
def test_what_rspamd_lets_an_account_send(rates: dict[str, Any], expected: str) -> None:
    text = f"an account may send {expected}, as rspamd counts; while rspamd does not answer mail waits"
    assert account(rates) == ("pass", f"{text}, and while its Redis does not, nothing is counted")


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        ({"rates": {}}, "fail", "counts nothing"),
        ({"rates": {"to": USER | {"selector": "rcpts"}}}, "fail", "only by rcpts"),
        ({"rates": {"a": USER | {"selector": "user.lower;ip"}}}, "fail", "only by user.lower;ip"),
        ({"rates": {"a": USER}, "redis": ""}, "fail", "no Redis server is named"),
        ({"rates": {"a": USER}, "whitelisted": None}, "fail", "for postmaster as well"),
        ({"rates": {"a": USER}, "whitelisted": "postmaster,mailer-daemon"}, "fail", "for postmaster as well"),
        ({"rates": {"a": USER}, "whitelisted": []}, "fail", "no list with a name in it"),
        ({"rates": {"a": USER}, "whitelisted": "nobody.invalid"}, "fail", "no list with a name in it"),
        ({"rates": {"a": USER}, "whitelisted": "/etc/rspamd/exempt.map"}, "unknown", "a map"),
        ({"rates": {"a": USER}, "symbol": "TOO_MUCH"}, "unknown", "that symbol's score decides"),
        ({"rates": {"a": {"selector": "user", "bucket": {"burst": 5000, "rate": "100 / 1h"}}}}, "fail", "5100 recipients"),
        ({"rates": {"a": {"selector": "user", "bucket": {"burst": 5, "rate": "much"}}}}, "unknown", "not understood"),
    ],
)
def test_a_rate_that_is_not_in_force(said: dict[str, Any], status: str, told: str) -> None:
    found = account(**said)
    assert found[0] == status and told in found[1], found
