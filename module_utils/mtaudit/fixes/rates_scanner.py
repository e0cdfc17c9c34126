"""Limits of accounts by rspamd: what its modules are to be told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Optional

from ..config.rspamd import Wanted
from ..control import Site
from ..controls.rates import Most, allowed, limits_of
from ..controls.rates_scanner import exempts
from ..readers.rspamd import Rspamd, Socket

OURS = "mtaudit_"  # the rates that are made here
_REDIS = Socket("127.0.0.1", 6379)


def limits(site: Site) -> Wanted:
    """Rates for everybody and for the groups that are declared, beside what the site has; rspamd takes the least of all."""
    rspamd: Rspamd = site.rspamd
    now = [rate.name for rate in rspamd.rates if rate.name.startswith(OURS)]
    settings: dict[str, Optional[str]] = {f"rates {name}": None for name in now}
    settings.update((f"rates {name}", text) for name, text in _rates(site))
    if exempts(rspamd.section("ratelimit").get("whitelisted_rcpts")):
        settings["whitelisted_rcpts"] = '["nobody.invalid"]'
    modules = {"ratelimit": settings}
    if rspamd.needs_redis("ratelimit") == "no Redis server is named" and rspamd.answers(_REDIS):
        modules["redis"] = {"servers": '"127.0.0.1"'}
    return Wanted(modules)


def _rates(site: Site) -> Iterator[tuple[str, str]]:
    wanted = allowed(site)
    named = [login for account in wanted.accounts for login in account.logins]
    yield from _of(wanted.most, "account", f".not_in({_quoted(named)})" if named else "")
    for number, account in enumerate(wanted.accounts, 1):
        yield from _of(limits_of(account), f"group{number}", f".in({_quoted(account.logins)})")


def _of(most: Most, name: str, whose: str) -> Iterator[tuple[str, str]]:
    """Of two rates with one selector rspamd keeps one: each has its own. What leaks out is let in again: a bucket holds half."""
    for count, period, word in ((most.per_hour, "1h", "hour"), (most.per_day, "1d", "day")):
        if count < math.inf:
            leaks = int(count) // 2
            selector = f"user.lower{whose}.append('|{OURS}{word}')"
            bucket = f'[ {{ burst = {int(count) - leaks}; rate = "{leaks} / {period}"; }} ]'
            yield f"{OURS}{name}_{word}", f'{{ selector = "{selector}"; bucket = {bucket}; }}'


def _quoted(logins: object) -> str:
    return json.dumps(list(logins))[1:-1].replace('"', "'")  # type: ignore[call-overload]
