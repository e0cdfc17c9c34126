"""Controls on how much an account may send through Exim: a ratelimit by the login that the session really comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..control import Site, control
from ..finding import Finding, fail, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_syntax import Condition
from .exim_login import each_port_with_logins, sending, taken
from .exim_ports import decided, option, seen, subject
from .exim_walk import Answer, Outcome, Trail, Walk
from .rates import per_hour

_BY_LOGIN = re.compile(r"authenticated_(?:id|sender)|auth[12]\b")
# It compares with what others counted, and counts nothing itself.
_READ_ONLY = re.compile(r"/\s*(?:readonly|noupdate)\b")
_USUAL_PER_HOUR = 1000


class _Over(Walk):
    """A session of a login that has sent too much: every limit that counts by the login is exceeded, no other one."""

    asked = False  # whether it came to such a limit, perhaps by a doubt
    counted = False  # whether anything counts logins, for those that only read

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        if condition.name == "ratelimit":
            counts = bool(_BY_LOGIN.search(condition.value)) and (self.counted or not _READ_ONLY.search(condition.value))
            self.asked = self.asked or counts and verb != "warn"
            return counts
        return super()._plain(condition, verb, trail, depth)


@control("RATE-01", "exim")
@each_port_with_logins
def accounts_are_limited(exim: Exim, port: Listener, site: Site, methods: Sequence[str]) -> Iterator[Finding]:
    found = [_judged(exim, port, site, method) for method in methods]
    yield max(found, key=lambda finding: ("pass", "unknown", "fail").index(finding.status.value))


def _judged(exim: Exim, port: Listener, site: Site, method: str) -> Finding:
    about = subject(port)
    session = next(sending(exim, port, site, method), None)
    if session is None:
        reason = "every login that was thought of is refused by the ACLs, or they cannot be followed"
        return unknown(about, "whether an account's sending is limited could not be told", reason)
    walk = _Over(exim, session)
    written = [(s, c) for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name == "ratelimit"]
    walk.counted = any(_BY_LOGIN.search(c.value) and not _READ_ONLY.search(c.value) for _, c in written)
    refused = taken(walk)
    if refused.answer is Answer.REJECT:
        return _in_force(exim, port, site, refused)
    shown = [seen(f"{exim.file} {s.where}", f"{s.verb} {c}") for s, c in written] or [option(exim, "acl_smtp_rcpt")]
    if refused.answer is Answer.UNKNOWN and walk.asked:
        return unknown(about, "whether an account's sending is limited could not be told", refused.doubt, *shown)
    if not written:
        return fail(about, "no limit of what an account sends: no ratelimit in an ACL", *shown)
    if not any(_BY_LOGIN.search(c.value) for _, c in written):
        text = "no limit of what an account sends: the ratelimit counts by address, and a stolen password is used from many"
        return fail(about, text, *shown)
    if not walk.counted:
        return fail(about, "no limit of what an account sends: the ratelimit only reads (readonly), and nothing counts", *shown)
    return fail(about, "no limit of what an account sends: no session of a login comes to a ratelimit that refuses", *shown)


def _in_force(exim: Exim, port: Listener, site: Site, refused: Outcome) -> Finding:
    """How much it is; Exim's own data base does not answer: the message is put off, so it fails closed."""
    about, evidence = subject(port), decided(exim, refused)
    conditions = refused.statement.conditions if refused.statement else ()
    limit = next((c for c in conditions if c.name == "ratelimit"), None)
    if limit is None:
        return passed(about, "an account's sending is limited, by what a ratelimit before it set")
    words = [word.strip() for word in limit.value.split("/")]
    hourly = per_hour(words[0], words[1]) if len(words) > 1 else None
    what = "recipients" if "per_rcpt" in words else "messages"
    if hourly is None:
        return passed(about, f"an account's sending is limited: {limit.value}")
    most = int(site.tunables.get("max_per_hour", _USUAL_PER_HOUR))
    if hourly > most:
        return fail(about, f"an account may send {hourly:g} {what} an hour, more than {most}", *evidence)
    many = "" if what == "recipients" else ", each to as many recipients as a message may have"
    return passed(about, f"an account may send {hourly:g} {what} an hour{many}; while Exim cannot count, mail waits")
