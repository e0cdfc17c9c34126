"""Controls on what an Exim asks blocklists: `dnslists` in the ACLs that a stranger's message comes through, and its scanner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import Finding, informational, passed
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Session
from ..readers.exim_syntax import Condition, Statement, items
from ..readers.local_users import NOBODY
from ..readers.rspamd import Socket
from .blocklists import exim_zone
from .exim_paths import Finder
from .exim_ports import each_listener, option, seen, subject
from .exim_walk import Answer, Walk
from .inbound import Use, of_addresses, of_names
from .scanners import Called, Kind, called

_AFTER_RCPT = ("acl_smtp_predata", "acl_smtp_data")
# What a list is asked for: the client's address where no key is given (specification, "DNS lists keyed on domain names").
# Of a whole address there is no listing.
KEYS = {"sender": "sender_address_domain", "helo": "sender_helo_name", "rdns": "sender_host_name"}


@control("INB-01", "exim", scanner=True)
@each_listener
def connecting_addresses_are_looked_up(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    nothing = no_mail(exim, port, site)
    if nothing:
        yield nothing
    else:
        uses, places = list(_uses(exim, port, site, "")), [option(exim, "acl_smtp_rcpt")]
        yield from of_addresses(subject(port), uses, scanners(exim, port, site), site, places)


@control("INB-02", "exim", scanner=True)
@each_listener
def names_are_looked_up(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    nothing = no_mail(exim, port, site)
    if nothing:
        yield nothing
    else:
        uses = {what: list(_uses(exim, port, site, key)) for what, key in KEYS.items()}
        yield from of_names(subject(port), uses, scanners(exim, port, site), site, [option(exim, "acl_smtp_rcpt")])


def strangers_message(exim: Exim, port: Listener, site: Site, **fields: object) -> Optional[Session]:
    """A stranger's message for somebody here; None when no domain's mail ends or passes here."""
    finder = Finder(exim, port, site)
    domain = next(iter((*finder.local_domains, *exim.relayed_domains)), "")
    return finder.session(recipient=f"{NOBODY}@{domain}", **fields) if domain else None  # type: ignore[arg-type]


def no_mail(exim: Exim, port: Listener, site: Site) -> Optional[Finding]:
    """Why there is no stranger's mail to filter, or another control says what is wrong; None when there is."""
    finder, session = Finder(exim, port, site), strangers_message(exim, port, site)
    if finder.outcome(finder.session()).answer is Answer.OK:
        return informational(subject(port), "strangers relay here, whoever they are: another control says so")
    if session is None or finder.outcome(session).answer is Answer.REJECT:
        return passed(subject(port), "no stranger's mail is taken here")
    return None


def _uses(exim: Exim, port: Listener, site: Site, key: str) -> Iterator[Use]:
    """The lists that are asked with this key, and whether who is listed there is refused."""
    asked = [(s, c) for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name == "dnslists"]
    for statement, condition in asked:
        zones = [zone for item in items(condition.value) if not item.startswith("+") for zone in [exim_zone(item)]]
        mine = [zone for zone, of in zones if (key in of if key else not of)]
        if not mine:
            continue
        idle, doubt = _idle(exim, port, site, statement, condition)
        for zone in mine:
            yield Use(zone, seen(f"{exim.file} {statement.where}", f"{statement.verb} {condition}"), idle, doubt)


def _idle(exim: Exim, port: Listener, site: Site, statement: Statement, condition: Condition) -> tuple[str, str]:
    """Why a listing there refuses nothing, and why that is not known."""
    if statement.verb == "warn":
        return "asked by warn, which refuses nothing", ""
    session = strangers_message(exim, port, site, blocked=frozenset({condition.value}))
    if session is None:
        return "", ""
    walk = Walk(exim, session)
    outcome = walk.outcome()
    if outcome.answer is Answer.UNKNOWN:
        return "", outcome.doubt
    answers = [outcome.answer, *(walk.stage(name).answer for name in _AFTER_RCPT)]
    return ("", "") if Answer.REJECT in answers else ("the statement is never reached, or does not refuse", "")


def scanners(exim: Exim, port: Listener, site: Site) -> list[Called]:
    """What `spam` conditions ask, where a stranger's message comes to one after its text."""
    session = strangers_message(exim, port, site)
    return scanners_of(exim, site, session) if session else []


def scanners_of(exim: Exim, site: Site, session: Session, acl: str = "acl_smtp_data") -> list[Called]:
    """The scanners that a message of this session comes to in an ACL."""
    walk = Walk(exim, session)
    outcome = walk.stage(acl)
    reached = [(s, c) for s, c in walk.reached if c.name == "spam"]
    if not reached:
        there = [c for statements in exim.config.acls.values() for s in statements for c in s.conditions if c.name == "spam"]
        if there and outcome.answer is Answer.UNKNOWN and not walk.reached:
            return [Called(acl, option(exim, acl), Kind.UNKNOWN, outcome.doubt)]
        return []
    shown = seen(f"{exim.file} {reached[0][0].where}", f"{reached[0][0].verb} {reached[0][1]}")
    return [called(site, str(address), [place], shown, milter=False) for address, place in _servers(exim)]


def _servers(exim: Exim) -> Iterator[tuple[str, Optional[Socket]]]:
    """spamd_address: `host port [options]` or a socket file, several with `:` between (specification, spamd_address)."""
    for item in items(exim.options.get("spamd_address", "127.0.0.1 783")):
        words = item.split()
        place: Optional[Socket] = None
        if words and words[0].startswith("/"):
            place = Socket(path=words[0])
        elif len(words) > 1 and words[1].isdigit():
            place = Socket(words[0].strip("[]"), int(words[1]))
        yield " ".join(words[:2]) if len(words) > 1 else item, place
