"""Controls on who gets mail at a Postfix: mailboxes that nobody has are refused while the client is there.

The order of what is asked is that of check_rcpt_maps() in smtpd_check.c: maps that rewrite, then the map of the domain's class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, fail, informational, passed, unknown
from ..readers.local_users import NOBODY
from ..readers.postfix import SmtpService
from ..readers.postfix_match import is_table
from ..readers.postfix_model import REWRITING_MAPS, literal_domains
from ..readers.postfix_recipients import kind_of
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import INDEXED, Table, TableProblem
from .postfix_ports import each_listener, listener, seen, setting
from .relay_paths import stranger
from .relay_walk import Answer, Walk

# Each class of domains with the map of its recipients and the code that refuses others. Virtual aliases are the map themselves.
_CLASSES = (
    ("mydestination", "local_recipient_maps", "unknown_local_recipient_reject_code"),
    ("virtual_alias_domains", "", "unknown_virtual_alias_reject_code"),
    ("virtual_mailbox_domains", "virtual_mailbox_maps", "unknown_virtual_mailbox_reject_code"),
    ("relay_domains", "relay_recipient_maps", "unknown_relay_recipient_reject_code"),
)
_DOMAINS_LIMIT = 20


class Unlisted(Enum):
    """What becomes of mail for a mailbox that nobody has."""

    REFUSED = "refused"
    PUT_OFF = "put off"
    CAUGHT = "caught"  # by a mailbox for all
    ACCEPTED = "accepted"
    RELAYED = "relayed"  # as everything is: other controls say so
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Judged:
    """One domain: what becomes of mail for nobody there, in words, what that rests on, and why it is not known."""

    domain: str
    answer: Unlisted
    text: str = ""
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""


@control("RCPT-01", "postfix")
@each_listener
def unknown_recipients_are_refused(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    found, subject = list(unlisted(smtp, site)), listener(smtp)
    accepted = [one for one in found if one.answer in (Unlisted.ACCEPTED, Unlisted.CAUGHT)]
    for text in dict.fromkeys(one.text for one in accepted):
        same = [one for one in accepted if one.text == text]
        named = [one.domain for one in same if one.domain]
        of_whom = f" (for {', '.join(named[:3])}{' and more' if len(named) > 3 else ''})" if named else ""
        bounced = "accepted and bounced" if same[0].answer is Unlisted.ACCEPTED else "accepted"
        yield fail(subject, f"mail for mailboxes that do not exist is {bounced}{of_whom}: {text}", *same[0].evidence)
    doubtful = next((one for one in found if one.answer is Unlisted.UNKNOWN), None)
    soft = [one for one in found if one.answer in (Unlisted.PUT_OFF, Unlisted.RELAYED)]
    if accepted:
        return
    if doubtful:
        of_whom = f" (for {doubtful.domain})" if doubtful.domain else ""
        text = f"whether mailboxes that do not exist are refused could not be found out{of_whom}"
        yield unknown(subject, text, doubtful.reason, *doubtful.evidence)
    elif soft:
        of_whom = f"for {soft[0].domain}, " if soft[0].domain else ""
        yield informational(subject, f"{of_whom}{soft[0].text}", *soft[0].evidence)
    elif found:
        yield passed(subject, "mailboxes that do not exist are refused")
    else:
        yield passed(subject, "no domain's mail ends or passes here")


def unlisted(smtp: SmtpService, site: Site) -> Iterator[Judged]:
    """For each domain that mail is taken for: what a stranger hears who writes to a mailbox that nobody has."""
    resolver = smtp.smtpd.postfix.resolver(smtp.smtpd)
    walk = Walk(smtp.smtpd, resolver)
    for domains, maps, code in _CLASSES:
        if not words(resolver.value(domains)):
            continue
        listed = [d.lstrip(".") for d in literal_domains(resolver, (domains,))]
        own = [d for d in dict.fromkeys(listed) if d and _class_of(walk, d) == domains][:_DOMAINS_LIMIT]
        for domain in own:
            yield _judged(smtp, site, walk, domain, domains, maps, code)
        if not listed:
            yield from _unnamed(smtp, site, walk, domains, maps, code)


def _unnamed(smtp: SmtpService, site: Site, walk: Walk, domains: str, maps: str, code: str) -> Iterator[Judged]:
    """A list that names no domain: of patterns, whose map counts all the same, or one that cannot be read."""
    items = [item for item in walk.resolver.match_list(domains).items if not item.negated]
    problems = [item.problem or (item.table.problem if item.table else "") for item in items]
    problem = next(filter(None, problems), "")
    if any(not item.problem and (item.table is None or item.table.answers) for item in items):
        yield _judged(smtp, site, walk, "", domains, maps, code)
    elif problem:
        yield Judged("", Unlisted.UNKNOWN, "", (setting(walk.resolver, domains),), problem)


def refused_anyway(smtp: SmtpService, site: Site) -> bool:
    """Whether a stranger is refused for every recipient, known or not, as on a port that asks for a login first."""
    walk = Walk(smtp.smtpd, smtp.smtpd.postfix.resolver(smtp.smtpd))
    domains = (*smtp.smtpd.postfix.local_domains, *smtp.smtpd.postfix.relayed_domains)[:_DOMAINS_LIMIT]
    asked = [f"{name}@{domain}" for domain in domains for name in (NOBODY, "postmaster")]
    outcomes = [walk.outcome(stranger(smtp, site, recipient=recipient)) for recipient in asked]
    return bool(outcomes) and all(outcome.answer is Answer.REJECT for outcome in outcomes)


def _class_of(walk: Walk, domain: str) -> str:
    accepted = walk.accepts(f"{NOBODY}@{domain}")
    return accepted.parameter if accepted else ""


def _judged(smtp: SmtpService, site: Site, walk: Walk, domain: str, domains: str, maps: str, code: str) -> Judged:
    outcome = walk.outcome(stranger(smtp, site, recipient=f"{NOBODY}@{domain}")) if domain else None
    if outcome and outcome.answer is Answer.REJECT:
        return Judged(domain, Unlisted.REFUSED)
    try:
        found = _by_maps(smtp, site, domain, domains, maps, code)
    except TableProblem as exc:
        found = Judged(domain, Unlisted.UNKNOWN, "", (setting(smtp.smtpd, maps or "virtual_alias_maps"),), str(exc))
    # Recipients are tried at their destination before they are accepted (ADDRESS_VERIFICATION_README).
    if found.answer is Unlisted.ACCEPTED and _asked_for(smtp, site, domain, "reject_unverified_recipient"):
        return Judged(domain, Unlisted.REFUSED)
    if found.answer is Unlisted.ACCEPTED and walk.outcome(stranger(smtp, site)).answer is Answer.OK:
        text = f"strangers relay here, whoever the recipient is, as another control says: {found.text}"
        return Judged(domain, Unlisted.RELAYED, text, found.evidence)
    if found.answer is Unlisted.ACCEPTED and outcome and outcome.answer is Answer.UNKNOWN and outcome.rule:
        return Judged(domain, Unlisted.UNKNOWN, found.text, found.evidence, outcome.rule.doubt)
    return found


def _by_maps(smtp: SmtpService, site: Site, domain: str, domains: str, maps: str, code: str) -> Judged:
    smtpd = smtp.smtpd
    for name in ("smtpd_reject_unlisted_recipient", "receive_override_options"):
        text = _switched_off(smtp, site, domain, name)
        if text:
            return Judged(domain, Unlisted.ACCEPTED, text, (setting(smtpd, name),))
    for name in REWRITING_MAPS:
        table = _matching(smtp, name, domain)
        if table is not None:
            return _caught(smtp, name, table, _target(table, domain), domain)
    if maps and not words(smtpd.value(maps)):
        return _without_map(smtp, domain, domains, maps)
    table = _matching(smtp, maps, domain) if maps else None
    if table is not None and maps == "virtual_mailbox_maps" and table.kind in INDEXED and table.get(f"@{domain}"):
        return Judged(domain, Unlisted.CAUGHT, f"{table.spec} has a mailbox for every other address", (setting(smtpd, maps),))
    if table is not None:
        return Judged(domain, Unlisted.ACCEPTED, f"{maps}: {table.spec} has an entry for every address", (setting(smtpd, maps),))
    if not smtpd.value(code).startswith("5"):
        text = f"{code} = {smtpd.value(code)}: mailboxes that do not exist are put off, not refused, and senders try for days"
        return Judged(domain, Unlisted.PUT_OFF, text, (setting(smtpd, code),))
    return Judged(domain, Unlisted.REFUSED)


def _switched_off(smtp: SmtpService, site: Site, domain: str, name: str) -> str:
    """Why the recipient is not looked up at all; empty when it is, or when a list of restrictions asks for it by name."""
    if name == "smtpd_reject_unlisted_recipient" and not smtp.smtpd.on(name):
        return "" if _asked_for(smtp, site, domain, "reject_unlisted_recipient") else f"{name} = no"
    if name == "receive_override_options" and "no_unknown_recipient_checks" in words(smtp.smtpd.value(name)):
        return f"{name} holds no_unknown_recipient_checks"
    return ""


def _asked_for(smtp: SmtpService, site: Site, domain: str, restriction: str) -> bool:
    """Whether a list of restrictions gets to this one for a stranger's mail to a domain of ours, and it counts: what refuses
    there is told apart from what nobody hears because something accepts before."""
    walk = Walk(smtp.smtpd, smtp.smtpd.postfix.resolver(smtp.smtpd))
    own = domain or next(iter((*smtp.smtpd.postfix.local_domains, *smtp.smtpd.postfix.relayed_domains)), "")
    envelope = stranger(smtp, site, recipient=f"{NOBODY}@{own}")
    refusing = replace(envelope, blocked=frozenset({(restriction, "")}))
    answers = [walk.outcome(each).answer for each in (envelope, refusing)]
    return answers[0] is not Answer.REJECT and answers[1] is Answer.REJECT


def _without_map(smtp: SmtpService, domain: str, domains: str, maps: str) -> Judged:
    relay = smtp.smtpd.postfix.main
    evidence = (setting(smtp.smtpd, maps), setting(smtp.smtpd.postfix.resolver(smtp.smtpd), domains))
    catcher = relay.value("luser_relay") if domains == "mydestination" else ""
    if catcher and "$" not in (relay.raw("luser_relay") or ""):
        text = f"luser_relay gives all mail for mailboxes that do not exist to {catcher}"
        return Judged(domain, Unlisted.CAUGHT, text, (*evidence, setting(relay, "luser_relay")))
    return Judged(domain, Unlisted.ACCEPTED, f"{maps} is empty, so every address counts as known", evidence)


def _caught(smtp: SmtpService, name: str, table: Table, value: str, domain: str) -> Judged:
    """An alias for every address of a domain: a mailbox catches them, or another domain gets them, known there or not."""
    evidence = (setting(smtp.smtpd, name), seen(table.where(f"@{domain}"), value))
    if value.startswith(("@", f"{NOBODY}@")):
        to = value.rpartition("@")[2]
        text = f"{table.spec} turns every address @{domain} into one @{to}, known there or not"
        if to == domain:
            text = f"{table.spec} has an entry for every address @{domain}, itself, and all that it has count as known"
        return Judged(domain, Unlisted.ACCEPTED, text, evidence)
    return Judged(domain, Unlisted.CAUGHT, f"{table.spec} gives every address @{domain} an alias", evidence)


def _keys(table: Table, domain: str) -> list[str]:
    """What mail_addr_find() asks: the address, the local part alone for local domains, `@domain`; the first of patterns."""
    at = f"@{domain or 'no-domain.invalid'}"
    return [f"{NOBODY}{at}", NOBODY, at] if table.partial_keys else [f"{NOBODY}{at}"]


def _target(table: Table, domain: str) -> str:
    return next((value for key in _keys(table, domain) for value in [table.get(key)] if value is not None), "")


def _matching(smtp: SmtpService, name: str, domain: str) -> Optional[Table]:
    """The table of a map that has an answer for a mailbox that nobody has. Raises TableProblem."""
    for spec in (word for word in words(smtp.smtpd.value(name)) if is_table(word) and kind_of(word) != "unix"):
        table = smtp.smtpd.postfix.recipients.get(spec) or Table(spec, kind_of(spec), problem=f"{spec} was not read")
        if any(table.get(key) is not None for key in _keys(table, domain)):
            return table
    return None
