"""Walk Exim's access control lists with a session that is only thought of: what is decided, by which statement, with what doubt.

The verbs and conditions are those of the specification, chapter "Access control lists". What a spammer chooses or avoids counts
as he would have it: senders and recipients verify, no blocklist has him, no limit is reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional

from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session, truth
from ..readers.exim_lists import EVERYTHING, Lists, Matched, Without
from ..readers.exim_syntax import Condition, Statement, items

# What is asked before and at RCPT, in the order of a session.
_STAGES = ("acl_smtp_connect", "acl_smtp_helo", "acl_smtp_mail", "acl_smtp_rcpt")
_MODIFIERS = {
    "add_header", "continue", "control", "delay", "endpass", "log_message", "log_reject_target", "logwrite", "message", "queue",
    "remove_header", "udpsend",
}  # fmt: skip
# These judge what our client is not or avoids: listed, too fast, forged by its own SPF or DMARC record, known as spam or a virus.
_AVOIDED = {"dnslists", "ratelimit", "spf", "spf_guess", "dmarc_status", "dkim_status", "dkim_signers", "seen", "spam", "malware"}
_NESTING = 10


class Answer(Enum):
    """What becomes of the recipient."""

    OK = "ok"
    REJECT = "reject"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outcome:
    """The answer, the statement that gave it, what its lists matched, and why it is not known: `about` is a condition's name."""

    answer: Answer
    statement: Optional[Statement] = None
    matched: tuple[tuple[Condition, Matched], ...] = ()
    doubt: str = ""
    about: str = ""

    def __str__(self) -> str:
        return str(self.statement)


def all_of(outcomes: Sequence[Outcome]) -> Outcome:
    """What becomes of a message that all of these were asked about: the first refusal, else the first doubt."""
    return next((o for answer in (Answer.REJECT, Answer.UNKNOWN) for o in outcomes if o.answer is answer), outcomes[0])


class Verdict(Enum):
    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True)
class Open:
    """A statement of which it is not known whether its conditions hold."""

    statement: Statement
    about: str
    reason: str


@dataclass
class Trail:
    """What a walk met on its way: doubts that may have refused, and what may have accepted before."""

    may_refuse: list[Open] = field(default_factory=list)
    may_accept: list[Open] = field(default_factory=list)
    statement: Optional[Statement] = None
    matched: list[tuple[Condition, Matched]] = field(default_factory=list)


class Walk:
    """One session through all ACLs up to RCPT."""

    def __init__(self, exim: Exim, session: Session, without: Without = EVERYTHING) -> None:
        self._exim = exim
        self._session = session
        known = exim.known()
        self._expander = Expander(Known(known.variables, known.exists, known.lookup, self._by_name), session)
        self._lists = Lists(exim, session, self._expander, without)
        self.reached: list[tuple[Statement, Condition]] = []  # the conditions that were asked

    def outcome(self) -> Outcome:
        """What Exim does with the recipient. Never raises Doubt."""
        refused = self._refused_at_once()
        if refused is not None:
            return refused
        trail = Trail()
        for stage in _STAGES:
            ended = self._stage(stage, trail)
            if ended is not None:
                return ended
        return self._accepted(trail)

    def stage(self, name: str) -> Outcome:
        """What one optional ACL says by itself; nothing stands in the way where it is unset. Never raises Doubt."""
        trail = Trail()
        return self._stage(name, trail) or self._accepted(trail)

    def _by_name(self, condition: str, text: str, key: str) -> bool:
        return self._lists.by_name(condition, text, key)

    def _refused_at_once(self) -> Optional[Outcome]:
        try:
            if self._lists.hosts(self._exim.options.get("host_reject_connection", "")):
                return Outcome(Answer.REJECT)
        except Doubt as exc:
            return Outcome(Answer.UNKNOWN, doubt=f"host_reject_connection: {exc}")
        return None

    def _stage(self, stage: str, trail: Trail) -> Optional[Outcome]:
        """None when the session goes on after this ACL."""
        option = self._exim.options.get(stage, "")
        try:
            acl = self._exim.acl(stage, self._expander.expand(option))
        except ForcedFailure:
            acl = None
        except Doubt as exc:
            return Outcome(Answer.UNKNOWN, doubt=f"{stage}: {exc}")
        if acl is None:
            # Without an ACL for RCPT Exim refuses every recipient; the others are optional.
            return Outcome(Answer.REJECT) if stage == "acl_smtp_rcpt" else None
        maybe = len(trail.may_accept)
        if self._run(acl, trail, 0) is Verdict.ACCEPT:
            del trail.may_accept[maybe:]
            return None
        if len(trail.may_accept) > maybe and stage == "acl_smtp_rcpt":
            return self._undecided(trail.may_accept[maybe], trail)
        if len(trail.may_accept) > maybe:
            trail.may_refuse.append(trail.may_accept.pop())
            return None
        return Outcome(Answer.REJECT, trail.statement)

    def _accepted(self, trail: Trail) -> Outcome:
        if trail.may_refuse:
            return self._undecided(trail.may_refuse[0], trail)
        return Outcome(Answer.OK, trail.statement, tuple(trail.matched))

    def _undecided(self, why: Open, trail: Trail) -> Outcome:
        return Outcome(Answer.UNKNOWN, why.statement, tuple(trail.matched), why.reason, why.about)

    def _run(self, acl: tuple[Statement, ...], trail: Trail, depth: int) -> Verdict:
        for statement in acl:
            found = self._statement(statement, trail, depth)
            if found is not None:
                trail.statement = statement
                return found
        return Verdict.REJECT  # the end of an ACL is an implicit deny

    def _statement(self, statement: Statement, trail: Trail, depth: int) -> Optional[Verdict]:
        """What one statement decides, None when the next one is asked."""
        matched: list[tuple[Condition, Matched]] = []
        doubt: Optional[Open] = None
        endpass = False
        for condition in statement.conditions:
            if condition.name == "endpass":
                endpass = True
                continue
            self.reached.append((statement, condition))
            try:
                holds = self._holds(condition, statement.verb, trail, depth)
            except ForcedFailure:
                continue  # the condition is skipped
            except Doubt as exc:
                doubt = doubt or Open(statement, condition.name, f"{condition}: {exc}")
                continue
            if not holds:
                return self._failed(statement, endpass, doubt, trail)
            if self._lists.decided is not None:
                matched.append((condition, self._lists.decided))
        return self._met(statement, matched, doubt, trail)

    def _failed(self, statement: Statement, endpass: bool, doubt: Optional[Open], trail: Trail) -> Optional[Verdict]:
        """A condition is false. After a doubt before `endpass` it is open whether the statement was left earlier."""
        if statement.verb == "require" or statement.verb == "accept" and endpass and not doubt:
            return Verdict.REJECT
        if doubt and endpass:
            trail.may_refuse.append(doubt)
        return None

    def _met(
        self, statement: Statement, matched: list[tuple[Condition, Matched]], doubt: Optional[Open], trail: Trail
    ) -> Optional[Verdict]:
        """All conditions hold, or may hold where there is a doubt."""
        if statement.verb == "accept":
            if not doubt:
                trail.matched += matched
                return Verdict.ACCEPT
            trail.may_accept.append(doubt)
        elif statement.verb == "require":
            trail.matched += matched
            if doubt:
                trail.may_refuse.append(doubt)
        elif statement.verb != "warn":  # deny, drop, defer; discard takes the recipient and throws it away
            if not doubt:
                return Verdict.REJECT
            trail.may_refuse.append(doubt)
        return None

    def _holds(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        """Whether a condition is true. Raises Doubt, and ForcedFailure for one that Exim skips."""
        self._lists.decided = None
        if condition.name in _MODIFIERS:
            return True
        if condition.name.startswith("set "):
            self._set(condition)
            return True
        return self._plain(condition, verb, trail, depth) is not condition.negated

    def _set(self, condition: Condition) -> None:
        name = condition.name.split()[1]
        try:
            self._expander.acl_variables[name] = self._expander.expand(condition.value)
        except (Doubt, ForcedFailure):
            self._expander.acl_variables[name] = None

    def _plain(self, condition: Condition, verb: str, trail: Trail, depth: int) -> bool:
        """The condition without its `!`."""
        session, name, value = self._session, condition.name, condition.value
        recipient, sender = session.recipient.rpartition("@"), session.sender.rpartition("@")
        if name == "hosts":
            return self._lists.hosts(value)
        if name in ("domains", "sender_domains"):
            return self._lists.domains(value, (recipient if name == "domains" else sender)[2])
        if name in ("senders", "recipients"):
            return self._lists.addresses(value, session.sender if name == "senders" else session.recipient)
        if name == "local_parts":
            return self._lists.local_parts(value, recipient[0])
        if name == "condition":
            return truth(self._expander.expand(value))
        if name == "authenticated":
            return bool(session.login) and self._listed(value, session.method)
        if name == "encrypted":
            return session.tls and self._listed(value, session.variables["tls_in_cipher"].split(":")[1])
        if name == "verify":
            return self._verifies(value)
        if name == "acl":
            return self._nested(value, trail, depth)
        if name == "dnslists" and value in session.blocked:
            return True
        if name in _AVOIDED and verb != "accept" and not condition.negated:
            return False
        raise Doubt(f"{name} is not evaluated")

    def _listed(self, text: str, word: str) -> bool:
        return any(item in ("*", word) for item in items(self._expander.expand(text)))

    def _verifies(self, value: str) -> bool:
        """What can be verified of somebody who chooses addresses that exist and names that resolve."""
        what = value.split("/")[0].split("=")[0].strip()
        if what == "certificate":
            return self._session.certificate
        if what == "recipient" and self._session.unknown_mailbox:
            # Without a callout every address of another host's domain verifies: it can be routed.
            return self._session.unknown_mailbox == "elsewhere" and "callout" not in value
        if what in ("sender", "recipient", "helo", "reverse_host_lookup", "header_syntax", "header_sender", "not_blind",
                    "header_names_ascii"):  # fmt: skip
            return True
        raise Doubt(f"verify = {value} is not evaluated")

    def _nested(self, value: str, trail: Trail, depth: int) -> bool:
        """An ACL as a condition: true when it accepts."""
        name = self._expander.expand(value).split()
        if depth >= _NESTING or not name:
            raise Doubt(f"acl = {value} is not evaluated")
        acl = self._exim.acl("acl", name[0])
        if acl is None:
            raise Doubt(f"there is no ACL {name[0]}")
        inner = Trail()
        accepted = self._run(acl, inner, depth + 1) is Verdict.ACCEPT
        self._lists.decided = inner.matched[-1][1] if accepted and inner.matched else None
        if inner.may_refuse and accepted or inner.may_accept and not accepted:
            raise Doubt((inner.may_refuse or inner.may_accept)[0].reason)
        return accepted
