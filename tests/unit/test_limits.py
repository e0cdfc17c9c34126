"""Numbers of limits and rates as the programs write them."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.controls.limits import megabytes, number
from ansible.module_utils.mtaudit.controls.rates import per_hour


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
