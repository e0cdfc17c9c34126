"""Postfix's fix of what the header of people's mail tells, on recordings of real hosts that fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.config.postfix import Wanted
from ansible.module_utils.mtaudit.config.postfix_tables import whole
from ansible.module_utils.mtaudit.fixes.postfix_headers import _rules
from ansible.module_utils.mtaudit.runner import LocalRunner
from test_postfix_inbound_fixes import proposed

OURS = "regexp:/etc/postfix/mtaudit_submission_headers"
THEIRS = "regexp:/etc/postfix/submission_headers"


RULES = _rules(["mail.test", "mail.test", "smtp-out.test"])


@pytest.mark.parametrize("name", ["header-tells-where", "header-checks-of-dotted-addresses"])
def test_ours_is_asked_before_theirs_and_of_no_attached_message(name: str) -> None:
    checks = {"header_checks": f"{OURS},{THEIRS}", "nested_header_checks": THEIRS}
    assert proposed("INFO-03", name) == Wanted(options={"subcleanup/unix": checks}, texts={OURS: _rules(["full-d12.corp.test"])})


def test_checks_that_are_there_are_switched_on() -> None:
    assert proposed("INFO-03", "header-checks-are-off") == Wanted(options={"submission/inet": {"receive_override_options": None}})


END = "by mail.test (Postfix) with ESMTPSA id 4dF8vT2Y5Bz9q\n\tfor <a@b.test>; Thu, 1 Jan 2026 00:00:00 +0000 (UTC)"


@pytest.mark.parametrize(
    ("line", "after"),
    [(f"Received: from pc (pc.isp.test [198.51.100.7])\n\t(using TLS)\n\t(Authenticated sender: alice)\n\t{END}",
      f"Received: from submission (Authenticated sender: alice)\n\t{END}"),
     (f"Received: from pc (pc.isp.test [IPv6:2001:db8::7])\n\t{END}", f"Received: from submission\n\t{END}"),
     (f"Received: from pc (pc.isp.test [198.51.100.7])\n\t{END}".replace("by mail", "by smtp-out"),
      f"Received: from submission\n\t{END}".replace("by mail", "by smtp-out")),
     (f"Received: from pc (pc.isp.test [198.51.100.7])\n\t{END}".replace("ESMTPSA", "ESMTPS"), None),
     (f"Received: from pc (pc [198.51.100.7])\n\t(Authenticated sender: alice)\n\t{END}".replace("by mail", "by gateway"), None),
     (f"Received: from pc (pc [198.51.100.7])\n\t{END}".replace("by mail.test", "by mailxtest"), None),
     ("Subject: Received: from pc (Authenticated sender: alice) by mail", None)],
)  # fmt: skip
def test_only_lines_of_people_who_logged_in_change(line: str, after: str | None) -> None:
    found = None
    for rule in RULES.splitlines()[1:]:
        pattern, action = re.fullmatch(r"/(.*)/ REPLACE (.*)", rule).groups()  # type: ignore[union-attr]
        match = re.match(pattern.replace("[^[:space:]]", r"\S").replace("[[:space:]]", r"\s"), line, re.I | re.S)
        if match and found is None:
            found = re.sub(r"\$(\d)", lambda n, match=match: match[int(n[1])], action)  # type: ignore[misc]
    assert found == after


def test_a_whole_table_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "there"
    (file,) = whole(LocalRunner(), f"regexp:{path}", "/x/ OK\n", tmp_path / "copy").files
    assert (file.content, file.planned_on, (tmp_path / "copy").read_text()) == (b"/x/ OK\n", "", "/x/ OK\n")
    path.write_text("/x/ OK\n")
    assert whole(LocalRunner(), f"regexp:{path}", "/x/ OK\n", tmp_path / "copy").files == ()
