"""Controls on who gets mail at an OpenSMTPD: mailboxes that nobody has are refused while the client is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, fail, informational, passed, unknown
from ..listeners import Listener
from ..readers.local_users import NOBODY
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Action
from ..readers.opensmtpd_tables import Doubt
from ..text import printable
from .opensmtpd_paths import Finder, paths
from .opensmtpd_ports import decided, each_listener, seen, subject
from .opensmtpd_walk import Answer, Outcome

_DOMAINS_LIMIT = 20
_EXACT = ("static", "file", "db")  # kinds of tables in which a name is found as it is, or not at all


@control("RCPT-01", "opensmtpd")
@each_listener
def unknown_recipients_are_refused(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(smtpd, listener, site)
    relaying = [path.rule.outcome.rule for path in paths(smtpd, listener, site) if not path.doubt]
    domains = [*finder.local_domains[:_DOMAINS_LIMIT], *smtpd.relayed_domains[:_DOMAINS_LIMIT]]
    for port, version in finder.ports:
        for domain in domains:
            outcome = finder.outcome(port, finder.session(version, recipient=f"{NOBODY}@{domain}"))
            if outcome.rule is not None and outcome.rule in relaying:
                text = "a rule relays for strangers, whoever the recipient is: another control names it"
                yield informational(subject(listener), text, *decided(outcome))
                return
            finding = _judged(smtpd, listener, domain, outcome)
            if finding is not None:
                yield finding
                return
    text = "mailboxes that do not exist are refused" if domains else "no domain's mail ends or passes here"
    yield passed(subject(listener), text)


def _judged(smtpd: OpenSmtpd, listener: Listener, domain: str, outcome: Outcome) -> Optional[Finding]:
    """None where the mailbox is refused."""
    about, taken = subject(listener), f"mail for mailboxes that do not exist at {domain} is accepted"
    shown = decided(outcome)
    if outcome.answer is Answer.RELAY:
        text = f"{taken} and passed on: the rule does not ask which mailboxes there are (rcpt-to)"
        return fail(about, text, *shown)
    doubt = outcome.doubt if outcome.answer is Answer.UNKNOWN else ""
    if outcome.answer is Answer.LOCAL and outcome.rule is not None:
        action = smtpd.config.actions[outcome.rule.action]
        shown += _tables(action)
        try:
            target = _caught(action, domain)
        except Doubt as exc:
            target, doubt = "", str(exc)
        if target:
            return fail(about, f"{taken}: {action.virtual} gives every other address to {printable(target)}", *shown)
    if doubt:
        text = f"whether mailboxes that do not exist at {domain} are refused could not be evaluated"
        return unknown(about, text, doubt, *shown)
    return None


def _caught(action: Action, domain: str) -> str:
    """Who gets mail for a mailbox that nobody has; empty when it is refused. Raises Doubt.

    The order is that of aliases_virtual_get() in smtpd's aliases.c: what names no mailbox is `@domain`, then `@`. Without a table
    of that kind the name must be one of the host's accounts, or of the userbase's (lka_session.c).
    """
    if action.virtual is not None:
        for key in (f"@{domain}", "@"):
            target = action.virtual.value(key)
            if target is not None:
                return "" if target.lower().startswith("error:") else target
        return ""
    if action.userbase is not None and action.userbase.backend not in _EXACT:
        raise Doubt(f"{action.userbase}: which names it knows is answered by another program (table-{action.userbase.backend})")
    return ""


def _tables(action: Action) -> list[Evidence]:
    named = [f"{word} {table}" for word, table in (("virtual", action.virtual), ("userbase", action.userbase)) if table]
    return [seen(action.where, f'action "{action.name}" {action.kind} {" ".join(named)}')] if named else []
