"""Control on the From header of people who logged in to Exim: refused where it is not theirs, or marked by a Sender header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Optional

from ..control import Site, control
from ..finding import Finding, fail, informational, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Session
from ..readers.exim_syntax import Condition, Statement
from ..readers.postfix_samples import FOREIGN_DOMAINS
from .exim_login import each_port_with_logins, sending, taken
from .exim_paths import Finder
from .exim_ports import decided, option, seen, subject
from .exim_walk import Answer, Outcome, Trail, Verdict, Walk


class _Marking(Walk):
    """A message on its way, and whether `control = submission` has Exim add a Sender header to it (spec, "Submission mode")."""

    marked = False
    retained = False  # no Sender header is added, whatever else is said of it (tried on 4.96)
    perhaps_retained = ""  # what says so, where it is open whether it is reached
    _doubted = False  # whether it is open that the rest of this statement is reached

    def _statement(self, statement: Statement, trail: Trail, depth: int) -> Optional[Verdict]:
        outside = self._doubted
        self._doubted = outside and depth > 0
        try:
            return super()._statement(statement, trail, depth)
        finally:
            self._doubted = outside

    def _holds(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        if condition.name == "control" and condition.value.startswith("submission"):
            self.marked = self.marked or not self._doubted
            if "sender_retain" in condition.value:
                self.retained = self.retained or not self._doubted
                self.perhaps_retained = f"control = {condition.value}" if self._doubted else self.perhaps_retained
        try:
            return super()._holds(condition, verb, trail, depth)
        except Doubt:
            self._doubted = True
            raise


@control("SENDER-02", "exim")
@each_port_with_logins
def headers_name_who_sends(exim: Exim, port: Listener, site: Site, methods: Sequence[str]) -> Iterator[Finding]:
    found = [_judged(exim, port, site, method) for method in methods]
    yield max(found, key=lambda finding: ("pass", "informational", "unknown", "fail").index(finding.status.value))


def _judged(exim: Exim, port: Listener, site: Site, method: str) -> Finding:
    about, untold = subject(port), "which From headers a login may use could not be told"
    session = next(sending(exim, port, site, method), None)
    if session is None or taken(_Marking(exim, replace(session, from_header=session.sender))).answer is Answer.REJECT:
        return unknown(about, untold, "every message that was thought of is refused by the ACLs, or they cannot be followed")
    marked = False
    for header in _others(session):
        walk = _Marking(exim, replace(session, from_header=header))
        outcome = taken(walk)
        if outcome.answer is Answer.REJECT:
            continue
        marks, shown = _marks(exim, walk, method), decided(exim, outcome)
        if outcome.answer is Answer.UNKNOWN:
            return unknown(about, untold, outcome.doubt, *shown)
        if not marks and _relays(exim, site, session.sender, walk.outcome()):
            return informational(about, "what takes this mail asks for no login, and relays for strangers: see there", *shown)
        if not marks and walk.perhaps_retained:
            return unknown(about, untold, f"whether {walk.perhaps_retained} is reached could not be evaluated", *shown)
        if not marks:
            shown += [seen(f"{exim.file} {s.where}", f"{s.verb} {c}") for s, c in walk.reached if c.name == "control"]
            shown += [option(exim, "local_from_check"), option(exim, "acl_smtp_data")]
            text = (
                f"a login may write as others, such as From: {header}: it is neither refused nor marked by a Sender header"
            )
            return fail(about, text, *shown, conditions=("authenticated",))
        marked = True
    done = "is marked by a Sender header with its login" if marked else "is refused"
    return passed(about, f"a From header that is not the login's own {done}")


def _others(session: Session) -> Iterator[str]:
    """What a thief writes as: a stranger, and a colleague."""
    yield f"ceo@{FOREIGN_DOMAINS[0]}"
    domain = session.sender.rpartition("@")[2]
    yield next(f"{name}@{domain}" for name in ("abuse", "root") if f"{name}@{domain}" != session.sender)


def _relays(exim: Exim, site: Site, sender: str, taking: Outcome) -> bool:
    """Whether the statement that takes a login's mail takes a stranger's as well, on any port, with either sender."""
    for finder in (Finder(exim, port, site) for port in exim.listeners):
        for session in (finder.session(tls=tls) for tls in (False, True)):
            for outcome in (finder.outcome(session), finder.outcome(replace(session, sender=sender))):
                if outcome.answer is Answer.OK and outcome.statement is taking.statement:
                    return True
    return False


def _marks(exim: Exim, walk: _Marking, method: str) -> bool:
    """Debian switches local_from_check off, and then submission mode adds nothing; nor does it for a login that has no name."""
    named = exim.config.authenticators.get(method, {}).get("server_set_id")
    checked = exim.options.get("local_from_check", "true") == "true" and exim.options.get("local_sender_retain") != "true"
    return bool(walk.marked and not walk.retained and not walk.perhaps_retained and checked and named)
