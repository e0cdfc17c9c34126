"""Which lists rspamd is asked for, where it is the filter of a program that looks up nothing; and what Sendmail asks."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.fixes.scanned_inbound import _arguments, asking
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd

ZEN, DBL = ("zen.spamhaus.org",), ("dbl.spamhaus.org",)
URIBL = {"rbl": "zen.spamhaus.org", "checks": ["emails"], "enabled": False}


@pytest.mark.parametrize(
    ("lists", "names", "checks", "settings"),
    [
        ({"uri": URIBL, "ip": {"rbl": "zen.spamhaus.org", "checks": ["from"], "exclude_checks": ["from", "received"]}},
         ZEN, ("from",), {"rbls ip exclude_checks": '["received"]'}),
        ({"uri": URIBL, "ip": {"rbl": "ZEN.spamhaus.org", "checks": "received"}}, ZEN, ("from",),
         {"rbls ip checks": '["received", "from"]'}),
        ({"DBL": {"rbl": "dbl.spamhaus.org", "checks": ["helo", "rdns"], "enabled": False}}, DBL, ("helo", "rdns"),
         {"rbls DBL enabled": "true"}),
    ],
)  # fmt: skip
def test_the_list_that_is_asked(lists: dict[str, Any], names: tuple[str, ...], checks: tuple[str, ...], settings: Any) -> None:
    assert asking(Site(rspamd=Rspamd({"rbl": {"rbls": lists}})), names, checks, {}).modules == {"rbl": settings}


def test_without_the_list_nothing_is_asked() -> None:
    with pytest.raises(ConfigError, match="has none of"):
        asking(Site(rspamd=Rspamd({"rbl": {"rbls": {"uri": {"rbl": "multi.surbl.org"}}}})), ZEN, ("from",), {})


def test_sendmail_asks_for_all_that_is_listed_and_takes_mail_while_nobody_answers() -> None:
    """FEATURE(`enhdnsbl') has six places for answers; a seventh is passed over without a word."""
    name, message, nobody_answers, *answers = _arguments("zen.spamhaus.org").split(", ")
    assert (name, message, nobody_answers) == ("`zen.spamhaus.org'", "`'", "`'")
    assert answers == [f"`127.0.0.{n}.'" for n in (2, 3, 4, 9, 10, 11)]
