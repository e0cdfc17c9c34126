"""What the records of attempts at a target mean: CRED-01, AUTH-04, and AUTH-07 about the probe itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..finding import HOST, Evidence, Finding, Method, Status, Subject
from .budget import SAFE_PER_ACCOUNT, SAFE_PER_SERVICE, Candidate, Day
from .defaults import MAIL
from .ledger import RANDOM
from .values import Outcome
from .visit import SILENT, Order, Seen, utc

DEFAULTS, ANY_PASSWORD, BUDGET = "CRED-01", "AUTH-04", "AUTH-07"
CONTROLS = (DEFAULTS, ANY_PASSWORD, BUDGET)
_CLEAR = ("telnet", "ftp")
EXAMPLE = "J. Doe, head of IT, 2026-11-23"
NO_CONSENT = f"set mta_audit_credentials_consent to who agreed to it and when, such as '{EXAMPLE}'"
NO_ADDRESS = "set mta_audit_addresses of the host, or address of the service in mta_audit_credentials"


def hindered(order: Order) -> Iterator[Finding]:
    """What keeps a target from being tried; its services count as not answered, and other targets are tried all the same."""
    nowhere = [door for door in order.doors if not door.service.address]
    if nowhere:
        text = f"{', '.join(door.service.protocol for door in nowhere)}: no login was tried, for no address of the host is known"
        yield _finding(DEFAULTS, HOST, Status.ERROR, text, reason=NO_ADDRESS)
        return
    for door in order.doors if not order.consent else ():
        text = f"{door.service.protocol}: no login was tried, for nobody is said to have agreed to it"
        yield _finding(DEFAULTS, Subject("listener", door.place), Status.ERROR, text, reason=NO_CONSENT)


def planned(order: Order, day: Day) -> Iterator[Finding]:
    """In check mode: what would be tried."""
    for door in order.doors:
        due = day.due(door.candidates, door.name)
        text = f"{door.service.protocol}: {len(due)} of {len(door.candidates)} credentials are due ({_names(due) or 'none'})"
        yield _finding(DEFAULTS, Subject("listener", door.place), Status.NOTCHECKED, text, reason="check mode tries no login")


def findings_of(order: Order, listed: list[Seen], day: Day, vantage: str) -> Iterator[Finding]:
    """For each service one finding for CRED-01 and, of a mail service, for AUTH-04; for the target one for AUTH-07."""
    for seen in listed:
        yield _with_place(_defaults(seen, day), vantage)
        if seen.door.service.protocol in MAIL:
            yield _with_place(_any_password(seen, day), vantage)
    yield from _budget(order, day)


def _finding(control: str, subject: Subject, status: Status, message: str, *evidence: Evidence, reason: str = "") -> Finding:
    return Finding(control, subject, status, message, Method.PROBE, evidence, reason=reason)


def _with_place(finding: Finding, vantage: str) -> Finding:
    return replace(finding, message=f"{finding.message} (seen from vantage {vantage})")


def _defaults(seen: Seen, day: Day) -> Finding:
    """CRED-01. Passed only where each credential was refused by a service that was seen to refuse, within the days that count."""
    door, last = seen.door, day.last(seen.door.name)
    subject, protocol = Subject("listener", door.place), _protocol(seen)
    if seen.asked is not None and seen.asked.outcome is Outcome.ACCEPTED:
        shown = _said(seen, seen.asked.said or "no login was asked for")
        return _finding(DEFAULTS, subject, Status.FAIL, f"{protocol}: lets anybody in, without a login", shown)
    if _takes_anything(seen, day):
        if door.service.protocol in MAIL:
            return _unknown(seen, f"{protocol}: takes any login", f"no credential can be told from another: see {ANY_PASSWORD}")
        return _finding(DEFAULTS, subject, Status.FAIL, f"{protocol}: lets anybody in, with any login")
    got_in = [c for c in door.candidates if c.id in last and last[c.id].outcome == Outcome.ACCEPTED.value]
    if got_in:
        proofs = [_said(seen, f"{_name(c)}: accepted at {utc(last[c.id].when)}; {c.source}") for c in got_in]
        return _finding(DEFAULTS, subject, Status.FAIL, f"{protocol}: {_names(got_in)} gets in", *proofs)
    if not door.candidates:
        return _unknown(seen, f"{protocol}: nothing was tried", "no credential of these vendors is known for this protocol")
    tried = [last[c.id] for c in door.candidates if c.id in last]
    if len(tried) == len(door.candidates):
        days = f"between {utc(min(r.when for r in tried))[:10]} and {utc(max(r.when for r in tried))[:10]}"
        return _finding(DEFAULTS, subject, Status.PASS, f"{protocol}: refused all {len(tried)} credentials, {days}")
    reason = seen.gave_up or ("silence: a wrong community and no service look alike" if door.service.protocol in SILENT else "")
    text = f"{protocol}: {len(tried)} of {len(door.candidates)} credentials were tried and refused"
    return _unknown(seen, text, f"{reason or 'not answered'}; the next run goes on")


def _protocol(seen: Seen) -> str:
    service = seen.door.service
    in_clear = service.protocol in _CLEAR and not service.tls and seen.answers
    return f"{service.protocol} (which sends passwords in clear: switch it off)" if in_clear else service.protocol


def _takes_anything(seen: Seen, day: Day) -> bool:
    return any(record.outcome == Outcome.ACCEPTED.value for record in day.random(seen.door.name))


def _any_password(seen: Seen, day: Day) -> Finding:
    """AUTH-04: two logins that nobody has."""
    subject, protocol = Subject("listener", seen.door.place), seen.door.service.protocol
    records = day.random(seen.door.name)
    if _takes_anything(seen, day):
        text = f"{protocol}: takes a random password for a name that does not exist"
        return _finding(ANY_PASSWORD, subject, Status.FAIL, text, _said(seen, seen.said.get(RANDOM, "accepted")))
    if len(records) < 2:
        found = _unknown(seen, f"{protocol}: {len(records)} of 2 random logins were refused", seen.gave_up)
        return replace(found, control=ANY_PASSWORD)
    return _finding(ANY_PASSWORD, subject, Status.PASS, f"{protocol}: refuses random logins")


def _unknown(seen: Seen, text: str, reason: str) -> Finding:
    subject = Subject("listener", seen.door.place)
    return _finding(DEFAULTS, subject, Status.UNKNOWN, text, reason=reason or "not answered")


def _said(seen: Seen, text: str) -> Evidence:
    return Evidence(Method.PROBE, seen.door.name, text)


def _name(candidate: Candidate) -> str:
    return f"{candidate.label}'s '{candidate.username}'" if candidate.username else f"{candidate.label}'s password"


def _names(candidates: list[Candidate]) -> str:
    return ", ".join(dict.fromkeys(_name(candidate) for candidate in candidates))


def _budget(order: Order, day: Day) -> Iterator[Finding]:
    """AUTH-07: what the probe did at this target in 24 hours, by its own record."""
    if not day.today:
        return
    logins = [record for record in day.today if record.credential != RANDOM]
    listeners = {record.listener for record in logins}
    worst = max((day.account(r.listener, r.account) for r in logins), default=0)
    most = max((day.service(name) for name in listeners), default=0)
    banned = day.ban(SILENT)
    wrong = []
    if worst > SAFE_PER_ACCOUNT:
        wrong.append(f"{worst} passwords at one account, of {SAFE_PER_ACCOUNT} that are safe")
    if most > SAFE_PER_SERVICE:
        wrong.append(f"{most} passwords at one service, of {SAFE_PER_SERVICE} that are safe")
    if order.lockout and day.failed() >= order.lockout:
        wrong.append(f"{day.failed()} failed logins, where {order.lockout} shut a client out")
    if banned:
        wrong.append(f"shut out at {utc(banned)}")
    spent = f"{len(day.today)} logins in 24 hours, at most {worst} with passwords at one account and {most} at one service"
    known = "" if order.lockout else "; when the target locks is not known"
    shown = Evidence(Method.PROBE, "the probe's record", spent)
    if wrong:
        yield _finding(BUDGET, HOST, Status.FAIL, f"the probe's logins were more than is safe: {'; '.join(wrong)}", shown)
    else:
        yield _finding(BUDGET, HOST, Status.PASS, spent + known)

