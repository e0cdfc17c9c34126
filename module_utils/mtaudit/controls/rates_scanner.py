"""What rspamd lets an account send: its rates by the login, as far as they are in force; tried on 3.4 and 3.12."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..control import Site
from ..finding import Evidence, Finding, Method, Subject, fail, passed, unknown
from ..readers.rspamd import Bucket, Rate, Rspamd
from ..redact import redact
from ..text import printable
from .rates import OPEN, Most, allowed, per_hour, while_down
from .scanners import Called, Kind

UNTOLD = "whether an account's sending is limited could not be told"
NONE = "no limit of what an account sends"
# Names that every domain has (RFC 2142): whoever writes to one of them as well is not counted.
_EVERYWHERE = {"postmaster", "mailer-daemon", "abuse", "hostmaster", "webmaster", "root"}
# A part of a selector that is the same for everything that an account sends.
_QUOTED = re.compile(r"""["']?([^"',\s]+)["']?""")
_SAME = re.compile(r"\s*(?:user|id|time)\b")


def by_scanner(about: Subject, site: Site, filters: Sequence[Called], shown: Sequence[Evidence], deaf: str, down: str) -> Finding:
    """By the filters that a port's mail passes. `deaf` says why rspamd is not told who logged in, empty when it is; `down` is
    what becomes of mail while rspamd does not answer: open or closed."""
    if any(c.kind is Kind.RSPAMD for c in filters):
        return _of_rspamd(about, site, site.rspamd, deaf, down)
    blind = next((c for c in filters if c.kind in (Kind.UNKNOWN, Kind.SILENT)), None)
    if blind:
        return unknown(about, UNTOLD, blind.reason, blind.shown)
    return fail(about, f"{NONE}: nothing that its mail passes counts by the login", *shown, *(c.shown for c in filters))


def _of_rspamd(about: Subject, site: Site, rspamd: Rspamd, deaf: str, down: str) -> Finding:
    limits = rspamd.section("ratelimit")
    said = {key: limits[key] for key in ("rates", "whitelisted_rcpts", "symbol") if key in limits}
    shown = Evidence(Method.CONFIG, "rspamadm configdump ratelimit", printable(redact(json.dumps(said))))
    by_login = [rate for rate in rspamd.rates if _counts_logins(rate)]
    why = rspamd.needs_redis("ratelimit") or deaf or exempts(limits.get("whitelisted_rcpts"))
    if not by_login:
        counted = f"only by {', '.join(r.selector or r.name for r in rspamd.rates[:3])}" if rspamd.rates else "nothing"
        return fail(about, f"{NONE}: rspamd counts {counted}", shown)
    if why:
        return fail(about, f"{NONE}: rspamd has one that does nothing: {why}", shown)
    if '"symbol"' in json.dumps(said):
        reason = "with `symbol` rspamd puts nothing off by itself: that symbol's score decides, which is not evaluated"
        return unknown(about, UNTOLD, reason, shown)
    if "/" in str(limits.get("whitelisted_rcpts", "")):
        return unknown(about, UNTOLD, "whitelisted_rcpts is a map, which is not read", shown)
    wanted = allowed(site)
    who = {login for rate in by_login for names in _named(rate) for login in names} | set(_exempt(limits.get("whitelisted_user")))
    if "/" in "".join(who):
        return unknown(about, UNTOLD, "whitelisted_user is a map, which is not read", shown)
    found = {login: _most(by_login, login, limits) for login in ("", *sorted(who))}
    if None in found.values():
        return unknown(about, UNTOLD, "a rate of rspamd's is written in a way that is not understood", shown)
    for login, most in found.items():
        if most and not most.within(wanted.of(login)):
            name, more = (printable(login), "and for no such thing there is an exemption in force") if login else (
                "an account", f"more than is allowed: {wanted.most}")
            return fail(about, f"{name} may send {most}, {more}", shown)
    wrong = wanted.against(down, "rspamd") or wanted.against(OPEN, "its Redis")
    if wrong:
        return fail(about, wrong, shown)
    text = f"an account may send {found['']}, as rspamd counts; {while_down(down, 'rspamd')}"
    return passed(about, f"{text}, and while its Redis does not, nothing is counted")


def _counts_logins(rate: Rate) -> bool:
    """Whether everything that an account sends is in one bucket: `user.lower`, `user`; not `user;ip`, `rcpts`."""
    parts = rate.selector.split(";") if rate.selector else rate.name.split("_")
    return "user" in re.findall(r"\w+", rate.selector or rate.name.replace("_", " ")) and all(map(_SAME.match, parts))


def exempts(said: Any) -> str:
    """Whom whitelisted_rcpts exempts: one such recipient is enough. An empty list, or a word alone, breaks the module."""
    if said is None or isinstance(said, str) and "," in said:
        names = said.split(",") if said else ["postmaster", "mailer-daemon"]
    elif isinstance(said, list) and said:
        names = [str(name) for name in said]
    else:
        return "" if "/" in str(said) else "whitelisted_rcpts is no list with a name in it, and its code fails"
    found = [name.strip() for name in names if name.strip().lower() in _EVERYWHERE]
    return f"a message that is for {found[0]} as well is not counted (whitelisted_rcpts)" if found else ""


def _exempt(said: Any) -> list[str]:
    """The logins of whitelisted_user; a map's place has a slash."""
    names = said.split(",") if isinstance(said, str) else said if isinstance(said, list) else []
    return [str(name).strip().lower() for name in names]


def _named(rate: Rate) -> tuple[frozenset[str], frozenset[str]]:
    """The logins that a selector is for alone (`user.lower.in("newsletter")`), and those that it is not for (`not_in`)."""
    only, others = (
        frozenset(name.lower() for text in re.findall(rf"\.{word}\(([^)]*)\)", rate.selector) for name in _QUOTED.findall(text))
        for word in ("in", "not_in")
    )
    return only, others


def _concerns(rate: Rate, login: str) -> bool:
    only, others = _named(rate)
    return login not in others and (not only or login in only)


def _most(rates: Sequence[Rate], login: str, limits: Mapping[str, Any]) -> Optional[Most]:
    """What a login may send, an empty one: who is not named. Of the buckets of one selector only one is in force, and which one
    is chance; all selectors are. None for what is not understood."""
    if login in _exempt(limits.get("whitelisted_user")):
        return Most()
    found: dict[str, list[Optional[Most]]] = {}
    for rate in rates:
        if _concerns(rate, login):
            found.setdefault(rate.selector or rate.name, []).extend(map(_of_bucket, rate.buckets))
    most = Most()
    for group in found.values():
        known = [one for one in group if one]
        if len(known) < max(1, len(group)):
            return None
        most = most.least(Most(max(one.per_hour for one in known), max(one.per_day for one in known)))
    return most


def _of_bucket(bucket: Bucket) -> Optional[Most]:
    """A bucket's burst, and what leaks from it meanwhile."""
    count, slash, period = bucket.rate.partition("/")
    hourly = per_hour(count, period if slash else "1s")
    amount = per_hour(count, "1h") if bucket.burst is None and slash else bucket.burst
    return None if hourly is None or amount is None else Most(amount + hourly, amount + 24 * hourly)
