"""Waivers accept failures until a day, and nothing else; answers stand in only where nobody looked."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ansible.module_utils.mtaudit.finding import HOST, Status, Subject
from ansible.module_utils.mtaudit.joined import JoinedFinding
from ansible.module_utils.mtaudit.waivers import Answer, Waiver, apply_answers, apply_waivers

LISTENER = Subject("listener", "*:25")
TODAY = date(2027, 3, 31)


def finding(status: Status, subject: Subject = LISTENER, **more: Any) -> JoinedFinding:
    return JoinedFinding("mx1", "RELAY-01", subject, status, "mynetworks trusts the world", "critical", "title", "relay", **more)


def waiver(expires: str = "2027-03-31", **more: Any) -> Waiver:
    return Waiver.from_dict({"id": "RELAY-01", "reason": "moves in spring", "owner": "Ada", "expires": expires, **more})


def test_a_failure_is_waived_and_says_by_whom() -> None:
    (found,) = apply_waivers([finding(Status.FAIL)], [waiver()], TODAY)
    assert found.status is Status.WAIVED
    assert found.waiver is not None
    assert (found.waiver.owner, found.waiver.expires, found.waiver.reason) == ("Ada", "2027-03-31", "moves in spring")
    assert found.message == "mynetworks trusts the world"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.FAIL])
def test_nothing_but_a_failure_is_waived(status: Status) -> None:
    assert apply_waivers([finding(status)], [waiver()], TODAY) == [finding(status)]


def test_an_expired_waiver_leaves_the_failure_and_says_so() -> None:
    (found,) = apply_waivers([finding(Status.FAIL)], [waiver("2027-03-30")], TODAY)
    assert found.status is Status.FAIL and found.waiver is not None and found.waiver.expired
    assert found.reason == "the waiver of Ada expired on 2027-03-30"
    (found,) = apply_waivers([finding(Status.FAIL, reason="seen")], [waiver("2027-03-30")], TODAY)
    assert found.reason == "seen; the waiver of Ada expired on 2027-03-30"


@pytest.mark.parametrize("order", [1, -1])
def test_the_waiver_that_holds_longest_counts(order: int) -> None:
    both = [waiver("2026-01-01"), waiver("2028-01-01")][::order]
    assert apply_waivers([finding(Status.FAIL)], both, TODAY)[0].status is Status.WAIVED


@pytest.mark.parametrize(("subject", "status"), [
    ("", Status.WAIVED), ("*:25", Status.WAIVED), ("listener *:25", Status.WAIVED), ("*:587", Status.FAIL), ("*", Status.FAIL),
])
def test_a_waiver_with_a_subject_covers_that_subject_only(subject: str, status: Status) -> None:
    assert apply_waivers([finding(Status.FAIL)], [waiver(subject=subject)], TODAY)[0].status is status


def test_a_waiver_of_another_control_covers_nothing() -> None:
    assert apply_waivers([finding(Status.FAIL)], [waiver(id="RELAY-02")], TODAY)[0].status is Status.FAIL


def answer(status: str = "pass", expires: str = "2027-03-31") -> Answer:
    return Answer.from_dict({"id": "RELAY-01", "status": status, "owner": "Ada", "expires": expires,
                             "note": "asked the provider"})


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_an_answer_stands_in_where_nobody_looked(status: str) -> None:
    (found,) = apply_answers([finding(Status.NOTCHECKED, HOST)], [answer(status)], TODAY)
    assert (found.status.value, found.message) == (status, "asked the provider")
    assert found.reason == "answered by Ada, valid until 2027-03-31"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.NOTCHECKED])
def test_an_answer_never_overrules_what_was_seen_or_tried(status: Status) -> None:
    assert apply_answers([finding(status)], [answer()], TODAY) == [finding(status)]


def test_an_expired_answer_counts_for_nothing() -> None:
    (found,) = apply_answers([finding(Status.NOTCHECKED)], [answer(expires="2027-03-30")], TODAY)
    assert (found.status, found.reason) == (Status.NOTCHECKED, "the answer of Ada expired on 2027-03-30")
