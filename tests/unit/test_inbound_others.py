"""Blocklists of Sendmail: which answers refuse, by the rules that cf/feature/enhdnsbl.m4 makes."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.controls.inbound_others import _listed

ANSWERS = ("127.0.0.2", "127.0.0.11", "127.0.0.20", "127.255.255.254")


@pytest.mark.parametrize(
    ("pattern", "refuses"),
    [
        ("127.0.0.2.", {"127.0.0.2"}),  # 8.17
        ("127.0.0.$-.", {"127.0.0.2", "127.0.0.11", "127.0.0.20"}),
        ("$+", set(ANSWERS)),
        ("$* 127.0.0.2 $*", {"127.0.0.2"}),  # 8.18: several answers side by side
        ("$* 127.0.0.$- $*", {"127.0.0.2", "127.0.0.11", "127.0.0.20"}),
        ("$* $+ $*", set(ANSWERS)),
    ],
)  # fmt: skip
def test_the_answers_that_refuse(pattern: str, refuses: set[str]) -> None:
    assert {answer for answer in ANSWERS if _listed([pattern], answer)} == refuses
