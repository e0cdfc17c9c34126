"""Outside against inside: what a device in between takes away."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.smtp.battery import Hole
from ansible.module_utils.mtaudit.smtp.verdict import Conclusion, Place, Verdict, View, compare_views, device_hints, with_place

INSIDE = View("mx.good.test ESMTP Postfix", ("PIPELINING", "SIZE 10240000", "STARTTLS"))


def test_the_same_view_twice() -> None:
    assert compare_views(INSIDE, INSIDE) == []


@pytest.mark.parametrize(
    ("outside", "hint"),
    [
        (View("*" * 30, INSIDE.capabilities), "overwritten"),
        (View("mx XXXXXXXXXXXXXXXXXXXXXXXX", INSIDE.capabilities), "overwritten"),
        (View(INSIDE.banner, ("PIPELINING", "SIZE 10240000")), "STARTTLS is offered inside"),
        (View(INSIDE.banner, ("SIZE 10240000", "STARTTLS")), "PIPELINING is offered inside"),
        (View(INSIDE.banner, ("PIPELINING", "XXXXXXXA", "STARTTLS")), "capability is overwritten"),
        (View("filter.corp.test ESMTP", INSIDE.capabilities), "names filter.corp.test outside and mx.good.test inside"),
    ],
)
def test_a_device_in_between(outside: View, hint: str) -> None:
    assert any(hint in found for found in compare_views(outside, INSIDE))


def test_more_outside_than_inside_is_no_sign() -> None:
    assert compare_views(INSIDE, View(INSIDE.banner, ("SIZE 10240000",))) == []


@pytest.mark.parametrize("capability", ["XCLIENT NAME ADDR", "XFORWARD", "X-EXPS GSSAPI", "XEXCH50", "AUTH PLAIN", "SIZE 1"])
def test_extensions_with_an_x_are_no_sign(capability: str) -> None:
    assert device_hints(View("mx.example.test XMail", (capability,))) == []


def one(verdict: Verdict) -> dict[Hole, Conclusion]:
    return {Hole.PLAIN: Conclusion(verdict)}


@pytest.mark.parametrize(
    ("others", "place", "conditions"),
    [
        ([], Place("a", 6, 25), ()),
        ([(Place("a", 4, 25), Verdict.CLOSED)], Place("a", 6, 25), ("ipv6",)),
        ([(Place("a", 4, 25), Verdict.UNKNOWN)], Place("a", 6, 25), ()),
        ([(Place("b", 4, 25), Verdict.CLOSED)], Place("a", 6, 25), ()),
        ([(Place("a", 4, 25), Verdict.CLOSED)], Place("a", 4, 587), ("port:587",)),
        ([(Place("a", 4, 25), Verdict.CLOSED), (Place("a", 6, 25), Verdict.PROVEN_OPEN)], Place("a", 4, 587), ()),
        ([(Place("a", 4, 25), Verdict.CLOSED), (Place("a", 4, 587), Verdict.CLOSED)], Place("a", 6, 587), ("ipv6", "port:587")),
        ([(Place("a", 4, 25), Verdict.CLOSED), (Place("a", 4, 25), Verdict.PROVEN_OPEN)], Place("a", 6, 25), ()),
    ],
)
def test_where_it_is_open(others: list[tuple[Place, Verdict]], place: Place, conditions: tuple[str, ...]) -> None:
    placed = with_place([(place, one(Verdict.PROVEN_OPEN)), *((p, one(v)) for p, v in others)])
    assert placed[0][Hole.PLAIN].conditions == conditions
