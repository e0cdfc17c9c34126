"""Controls on how much an account may send through Exim: a ratelimit by the login that the session really comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Optional

from ..control import Site, control
from ..finding import Finding, fail, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Session
from ..readers.exim_syntax import Condition, Statement, items
from ..text import printable
from .exim_login import each_port_with_logins, sending, taken
from .exim_ports import decided, option, seen, subject
from .exim_walk import Answer, Outcome, Trail, Walk
from .rates import CLOSED, Most, allowed, rate, window

_BY_LOGIN = re.compile(r"authenticated_(?:id|sender)|auth[12]\b")
# It compares with what others counted, and counts nothing itself.
_READ_ONLY = re.compile(r"/\s*(?:readonly|noupdate)\b")
# Logins that a statement is for, or not for.
_NAMED = re.compile(r"inlisti?\{\$authenticated_id\}\{([^{}]*)\}")
Written = tuple[Statement, Condition]
_NOTHING = "no limit"  # none of this name is exceeded


class _Over(Walk):
    """A session of a login that has sent too much: every limit that counts by the login is exceeded, or `only` one."""

    asked = False  # whether it came to such a limit, perhaps by a doubt
    counted = False  # whether anything counts logins, for those that only read
    only = ""

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        if condition.name == "ratelimit":
            if self.only not in ("", condition.value):
                return False
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
    written = [(s, c) for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name == "ratelimit"]
    sessions = list(sending(exim, port, site, method))
    named = _named(written)
    wrong = next(_too_much_of_its_own(exim, port, site, sessions, written), None)
    if wrong:
        return wrong
    session = next((one for one in sessions if one.login.lower() not in named), next(iter(sessions), None))
    if session is None:
        reason = "every login that was thought of is refused by the ACLs, or they cannot be followed"
        return unknown(about, "whether an account's sending is limited could not be told", reason)
    walk = _Over(exim, session)
    walk.counted = any(_BY_LOGIN.search(c.value) and not _READ_ONLY.search(c.value) for _, c in written)
    refused = taken(walk)
    if refused.answer is Answer.REJECT:
        return _in_force(exim, port, site, session, [condition for _, condition in written], refused)
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


def _named(written: Sequence[Written]) -> list[str]:
    """The logins that statements with a limit are for, or not for."""
    texts = [text for statement, _ in written for c in statement.conditions for text in _NAMED.findall(c.value)]
    return sorted({login.lower() for text in texts for login in items(text)})


def _too_much_of_its_own(
    exim: Exim, port: Listener, site: Site, sessions: Sequence[Session], written: Sequence[Written]
) -> Iterator[Finding]:
    """Those among them that may send more than is declared."""
    for login in _named(written) if sessions else ():
        own = next((one for one in sessions if one.login.lower() == login), replace(sessions[0], login=login))
        most = _most_of(exim, own, [condition for _, condition in written])
        if most and not most.within(allowed(site).of(login)):
            shown = [seen(f"{exim.file} {s.where}", f"{s.verb} {c}") for s, c in written]
            text = f"{printable(login)} may send {most}, and for no such thing there is an exemption in force"
            yield fail(subject(port), text, *shown)


def _in_force(
    exim: Exim, port: Listener, site: Site, session: Session, written: Sequence[Condition], refused: Outcome
) -> Finding:
    """How much it is; Exim's own data base does not answer: the message is put off, so it fails closed."""
    about, evidence, wanted = subject(port), decided(exim, refused), allowed(site)
    values = dict.fromkeys(c.value for c in written if _BY_LOGIN.search(c.value) and _refuses(exim, session, c.value))
    if not values:
        return passed(about, "an account's sending is limited, by what a ratelimit before it set")
    known = [most for most in map(_most, values) if most]
    if not known:
        return passed(about, f"an account's sending is limited: {next(iter(values))}")
    most = reduce(Most.least, known)
    if not most.within(wanted.of(session.login)):
        return fail(about, f"an account may send {most}, more than is allowed: {wanted.of(session.login)}", *evidence)
    wrong = wanted.against(CLOSED, "Exim's data base of rates")
    if wrong:
        return fail(about, wrong, *evidence)
    many = "" if most.what == "recipients" else ", each to as many recipients as a message may have"
    return passed(about, f"an account may send {most}{many}; while Exim cannot count, mail waits")


def _most_of(exim: Exim, session: Session, written: Sequence[Condition]) -> Optional[Most]:
    """What a login may send; None where its mail is refused in any case, or how much is not written out."""
    if _answer(exim, session, _NOTHING) is Answer.REJECT:
        return None
    values = [c.value for c in written if _BY_LOGIN.search(c.value) and _refuses(exim, session, c.value)]
    found = [_most(value) for value in values]
    return reduce(Most.least, (most for most in found if most), Most()) if all(found) else None


def _refuses(exim: Exim, session: Session, value: str) -> bool:
    return _answer(exim, session, value) is Answer.REJECT


def _answer(exim: Exim, session: Session, exceeded: str) -> Answer:
    walk = _Over(exim, session)
    walk.counted, walk.only = True, exceeded
    return taken(walk).answer


def _most(value: str) -> Optional[Most]:
    """What `500 / 1h / per_rcpt / strict / key` lets through; None for what is not written out."""
    words = [word.strip() for word in value.split("/")]
    read = rate(words[0], words[1]) if len(words) > 1 else None
    return window(*read, "recipients" if "per_rcpt" in words else "messages") if read else None
