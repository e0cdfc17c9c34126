"""Walk OpenSMTPD's rules with a session that is only thought of: which rule decides, what it does, with what doubt.

The order of the questions is that of ruleset.c: tag, from, for, helo, auth, tls, mail-from, rcpt-to; the first rule that matches
decides, and without one the recipient is refused. What comes before the rules (login, certificate, filters, `senders`) is asked
in the order of smtp_session.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Optional

from ..address import contains, parse_address
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_model import Port
from ..readers.opensmtpd_syntax import Criterion, Filter, Rule
from ..readers.opensmtpd_tables import Doubt, Table, found_in, matches_mailbox

_ORDER = ("tag", "from", "for", "helo", "auth", "tls", "mail-from", "rcpt-to")
# Answers 421 while rspamd does not (rspamdTempFail() in 0.1.7 and 0.1.8), and refuses after DATA only.
RSPAMD = re.compile(r"(?:^|/)filter-rspamd(?:\s|$)")
_REFUSING = ("reject", "disconnect")
_HARMLESS = ("junk", "report")


class Answer(Enum):
    """What becomes of the recipient."""

    RELAY = "relay"
    LOCAL = "local"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Session:
    """A client and its envelope. `name` is its reverse name, empty when it has none; `login` the account that it logged in as."""

    address: str
    name: str
    helo: str
    sender: str
    recipient: str
    login: str = ""
    certificate: bool = False


@dataclass(frozen=True)
class Outcome:
    """The answer, the rule that gave it (None: none matched, or something before the rules), the entries that its tables matched,
    and why it is not known: `about` is the criterion's name, or `filter`."""

    answer: Answer
    rule: Optional[Rule] = None
    matched: tuple[tuple[Criterion, str], ...] = ()
    doubt: str = ""
    about: str = ""


class _TryLater(Exception):
    """The server gives up on this recipient for now."""


class Walk:
    """One session through everything that is decided up to RCPT."""

    def __init__(self, smtpd: OpenSmtpd, port: Port, session: Session) -> None:
        self._smtpd, self._port, self._session = smtpd, port, session
        self._matched: list[tuple[Criterion, str]] = []

    def outcome(self) -> Outcome:
        """Never raises Doubt."""
        listen, session = self._port.listen, self._session
        if listen.auth == "auth" and not session.login or listen.verify and not session.certificate:
            return Outcome(Answer.REJECT)
        try:
            if session.login and listen.senders is not None and not owns(self._smtpd, listen.senders, session):
                return Outcome(Answer.REJECT)
        except Doubt as exc:
            return Outcome(Answer.UNKNOWN, doubt=str(exc), about="senders")
        return self._filtered(self._decided())

    def _decided(self) -> Outcome:
        """What the rules say."""
        doubtful: list[tuple[Answer, Rule, str, Doubt]] = []
        decided = Outcome(Answer.REJECT)
        for rule in self._smtpd.config.rules:
            self._matched = []
            answer, doubt, about = self._rule(rule)
            if answer is None:
                continue
            if doubt is not None:
                doubtful.append((answer, rule, about, doubt))
                continue
            decided = Outcome(answer, rule, tuple(self._matched))
            break
        for answer, rule, about, doubt in doubtful:
            if answer is not decided.answer:
                return Outcome(Answer.UNKNOWN, rule, decided.matched, f"{rule.where}: {doubt}", about)
        return decided

    def _rule(self, rule: Rule) -> tuple[Optional[Answer], Optional[Doubt], str]:
        """What the rule does if it matches, None if it does not; with a doubt where it may match."""
        first: Optional[Doubt] = None
        about = ""
        for name in _ORDER:
            for criterion in (c for c in rule.criteria if c.name == name):
                try:
                    if not self._holds(criterion):
                        return None, None, ""
                except Doubt as exc:
                    first, about = first or exc, about or name
                except _TryLater:
                    return Answer.TEMPFAIL, first, about
        action = self._smtpd.config.actions.get(rule.action)
        if action is None:
            return Answer.REJECT, first, about
        return (Answer.RELAY if action.relays else Answer.LOCAL), first, about

    def _holds(self, criterion: Criterion) -> bool:
        return self._plain(criterion) is not criterion.negated

    def _plain(self, criterion: Criterion) -> bool:
        """The criterion without its `!`."""
        session, name, table = self._session, criterion.name, criterion.table
        if name == "from":
            return self._from(criterion)
        if name == "for" and criterion.scope == "any":
            return True
        domain = session.recipient.rpartition("@")[2]
        if name == "for" and criterion.scope == "local":
            return domain.lower() in [known.lower() for known in self._smtpd.local_names]
        if name == "tls":
            # ruleset.c, ruleset_match_smtp_starttls: "not until TLS flag is added to envelope"; whoever gets here is put off.
            raise _TryLater
        if name == "auth" and (table is None or not session.login):
            return bool(session.login)
        if table is None:
            raise Doubt(f"'{criterion}' is not evaluated")
        # A sender without an address is looked up as "@" (mailaddr_to_text).
        key, kind = {
            "tag": (self._port.listen.tag, "text"), "for": (domain, "domain"), "helo": (session.helo, "domain"),
            "auth": (session.login, "mailbox" if "@" in session.login else "text"),
            "mail-from": (session.sender or "@", "mailbox"), "rcpt-to": (session.recipient, "mailbox"),
        }[name]  # fmt: skip
        return self._in_table(criterion, table, kind, key)

    def _from(self, criterion: Criterion) -> bool:
        session, table = self._session, criterion.table
        if criterion.scope == "any":
            return True
        if criterion.scope == "socket":
            return False
        if criterion.scope == "local":
            return contains(self._smtpd.own_addresses, parse_address(session.address))
        if criterion.scope == "rdns":
            # Names are compared as addresses are, K_NETADDR in ruleset_match_from: whole, and a star is only a star.
            return bool(session.name) and (table is None or self._in_table(criterion, table, "text", session.name))
        if table is None:
            raise Doubt(f"'{criterion}' is not evaluated")
        shown = f"[{session.address}]" if criterion.regex and ":" in session.address else session.address
        return self._in_table(criterion, table, "network", shown)

    def _in_table(self, criterion: Criterion, table: Table, kind: str, key: str) -> bool:
        entry = found_in(table, "pattern" if criterion.regex else kind, key)
        if entry is not None:
            self._matched.append((criterion, entry))
        return entry is not None

    # filters

    def _filtered(self, decided: Outcome) -> Outcome:
        """The same after the listener's filters, which are asked before the rules."""
        for found in filters_of(self._smtpd, self._port):
            try:
                refused = self._refuses(found)
            except Doubt as exc:
                if decided.answer in (Answer.REJECT, Answer.UNKNOWN):
                    return decided
                return Outcome(Answer.UNKNOWN, decided.rule, decided.matched, f"{found.where}: {exc}", "filter")
            if refused:
                return Outcome(Answer.REJECT)
        return decided

    def _refuses(self, found: Filter) -> bool:
        """Whether a filter refuses this session. Raises Doubt for one that is a program, or that changes the session."""
        if found.kind == "proc" and RSPAMD.search(found.command):
            return False  # it judges the message, after its recipients
        if found.kind == "proc":
            raise Doubt(f'the filter "{found.name}" is a program that may refuse it')
        if found.does in _HARMLESS:
            return False
        for criterion in found.criteria:
            if not self._of_filter(criterion):
                return False
        if found.does not in _REFUSING:
            raise Doubt(f'the filter "{found.name}" may change what is refused ({found.does})')
        return True

    def _of_filter(self, criterion: Criterion) -> bool:
        session, table = self._session, criterion.table
        if table is None:
            # Whoever wants to relay has a reverse name that leads back to him.
            holds = {"fcrdns": bool(session.name), "rdns": bool(session.name), "auth": bool(session.login)}[criterion.name]
            return holds is not criterion.negated
        if criterion.name == "src":
            return self._holds(Criterion("from", "src", table, criterion.negated, criterion.regex))
        if criterion.name == "rdns":
            return self._in_table(criterion, table, "domain", session.name) is not criterion.negated
        return self._holds(criterion)


def filters_of(smtpd: OpenSmtpd, port: Port) -> Iterator[Filter]:
    """The filters that a listener's sessions pass, in their order."""
    return filters_named(smtpd, port.listen.filters)


def filters_named(smtpd: OpenSmtpd, names: Iterable[str]) -> Iterator[Filter]:
    """The same for the names on a line: those of a chain are its members."""
    known = smtpd.config.filters
    for name in names:
        for member in known[name].chain or (name,) if name in known else ():
            if member in known:
                yield known[member]


def owns(smtpd: OpenSmtpd, senders: Table, session: Session) -> bool:
    """Whether a listener's `senders` table lets this login use this sender (lka.c, lka_mailaddrmap). Raises Doubt."""
    allowed = senders.value(session.login)
    patterns = [word.strip() for word in (allowed or "").split(",") if word.strip()]
    return any(matches_mailbox(session.sender or "@", pattern, smtpd.config.delimiter) for pattern in patterns)
