"""What Exim does with mail that an account of its host hands in: on standard input, and by SMTP there (sendmail -bs)."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from ..readers.exim import Exim
from ..readers.exim_expand import Caller, Doubt, Session
from ..readers.exim_syntax import Condition
from ..readers.postfix_samples import FOREIGN_DOMAINS
from ..readers.web import Handed
from .exim_login import taken
from .exim_walk import Answer, Outcome, Trail, Walk

_SAID_BY_TRUSTED = ("hosts", "authenticated")  # -oMa, -oMaa


class _HandedIn(Walk):
    """What the caller writes, he writes as it helps him: no refusal for it meets him, and whether it lets him in is open."""

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        caller = self._session.caller
        trusted = caller and caller.trusted and condition.name in _SAID_BY_TRUSTED
        if condition.name in ("senders", "sender_domains") or trusted:
            if verb in ("accept", "require") or condition.negated:
                raise Doubt(f"it is the caller who says what {condition.name} looks at")
            return False
        return super()._plain(condition, verb, trail, depth)

    def _refused_at_once(self) -> Optional[Outcome]:
        return None  # host_reject_connection is about connections


def judged(exim: Exim, handed: Handed) -> Handed:
    """Whether one of both ways is open to the account; where that is written, or what was not understood."""
    session = Session("", recipient=f"probe@{FOREIGN_DOMAINS[1]}", port=0,
                      caller=Caller(handed.account, handed.uid, bool(handed.trusted)))  # fmt: skip
    walk = _HandedIn(exim, session)
    # Its result is ignored, what it sets is not; `sendmail -bS` comes to both (specification, "The non-SMTP ACLs").
    walk.stage("acl_not_smtp_start")
    ways = {"sendmail": walk.stage("acl_not_smtp"), "sendmail -bs": taken(_HandedIn(exim, session))}
    for answer, allowed in ((Answer.OK, True), (Answer.UNKNOWN, None)):
        for way, outcome in ways.items():
            if outcome.answer is answer:
                return _told(exim, handed, way, outcome, allowed)
    return _told(exim, handed, "sendmail", ways["sendmail"], False)


def _told(exim: Exim, handed: Handed, way: str, outcome: Outcome, allowed: Optional[bool]) -> Handed:
    where = f"{exim.file} {outcome.statement.where}" if outcome.statement else exim.origin("acl_not_smtp")
    text = f"{way}: {outcome.statement or 'no ACL is asked'}"
    return replace(handed, allowed=allowed, where=where, text=text, reason=outcome.doubt and f"{where}: {outcome.doubt}")
