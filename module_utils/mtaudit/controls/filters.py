"""Controls on filters that mail passes: one that does not answer must not mean that mail is taken unfiltered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Subject, fail, informational, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_syntax import Condition, Statement
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.postfix_syntax import unbraced, words
from . import exim_ports
from .exim_walk import Walk
from .inbound_exim import no_mail, strangers_message
from .postfix_ports import each_listener, listener, setting

_SCANNING = ("malware", "spam")
# They sign outgoing mail or note what DKIM and DMARC say of it: without them mail is unsigned, not unfiltered.
SIGNING = re.compile(r"(?i)dkim|dmarc|openarc|:8891\b|:8893\b")


@control("MILTER-01", "postfix")
def no_milter_fails_open(postfix: Postfix, site: Site) -> Iterator[Finding]:
    yield from each_listener(_of_listener)(postfix, site)
    cleanup = _cleanup(postfix)
    if not postfix.problem and words(cleanup.value("non_smtpd_milters")):
        yield from _judged(cleanup, "non_smtpd_milters", HOST)


def _of_listener(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    if "no_milters" in words(smtp.smtpd.value("receive_override_options")):
        yield passed(listener(smtp), "no milter is called here (receive_override_options)")
    elif words(smtp.smtpd.value("smtpd_milter_maps")):
        reason = "a table says by the client's address which milters are called, and it was not read"
        shown = setting(smtp.smtpd, "smtpd_milter_maps")
        yield unknown(listener(smtp), "which milters are called depends on smtpd_milter_maps", reason, shown)
    else:
        yield from _judged(smtp.smtpd, "smtpd_milters", listener(smtp))


def _judged(service: Service, name: str, subject: Subject) -> Iterator[Finding]:
    """Each milter's own default_action, else milter_default_action (milter(5) of Postfix: MILTER_README)."""
    opened: list[tuple[str, Evidence]] = []
    for word in words(service.value(name)):
        address, own = _milter(word)
        if (own or service.value("milter_default_action")).lower() == "accept":
            opened.append((address, setting(service, name if own else "milter_default_action")))
    filters = [(address, shown) for address, shown in opened if not SIGNING.search(address)]
    if filters:
        named = ", ".join(address for address, _ in filters[:3])
        text = f"while {named} does not answer, mail is taken unfiltered: its default action is accept"
        yield fail(subject, text, setting(service, name), filters[0][1])
    elif opened:
        text = f"while {opened[0][0]} does not answer, mail is taken without what it adds; it seems to sign, not to filter"
        yield informational(subject, text, setting(service, name), opened[0][1])
    elif words(service.value(name)):
        yield passed(subject, "mail waits or is refused while a milter does not answer")
    else:
        yield passed(subject, f"{name} names no milter")


def _milter(word: str) -> tuple[str, str]:
    """`inet:host:port`, or `{ inet:host:port, default_action=accept, ... }`: the address, and the action of its own.

    With blanks around `=` an option needs braces; without them smtpd does not start (tried on 3.7).
    """
    if not word.startswith("{"):
        return word, ""
    address, *options = words(unbraced(word)) or [""]
    found = dict(unbraced(option).partition("=")[::2] for option in options)
    return address, next((value.strip() for name, value in found.items() if name.strip() == "default_action"), "")


def _cleanup(postfix: Postfix) -> Service:
    """The service that calls milters for mail that comes by other ways than SMTP."""
    return next((s for s in postfix.services() if s.entry and s.entry.command == "cleanup"), postfix.main)


@control("MILTER-01", "exim")
@exim_ports.each_listener
def no_scanner_fails_open(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    subject = exim_ports.subject(port)
    handed_over = {exim.options.get(name, "") for name in ("acl_not_smtp", "acl_not_smtp_start", "acl_not_smtp_mime")}
    acls = [acl for name, acl in exim.config.acls.items() if name not in handed_over]  # those that mail by SMTP comes to
    asked = [(s, c) for acl in acls for s in acl for c in s.conditions if c.name in _SCANNING]
    if not asked:
        yield passed(subject, "no ACL asks a scanner")
    met = _met(exim, port, site)
    for name in _SCANNING:
        found = [(s, c) for s, c in asked if c.name == name]
        yield from _scanner(exim, subject, name, [pair for pair in found if pair in met] or found)


def _met(exim: Exim, port: Listener, site: Site) -> list[tuple[Statement, Condition]]:
    """What a stranger's message is asked once its text is there; nothing where none is taken, or where that is not known."""
    session = strangers_message(exim, port, site)
    if session is None or no_mail(exim, port, site):
        return []
    walk = Walk(exim, session)
    for acl in ("acl_smtp_mime", "acl_smtp_data"):
        walk.stage(acl)
    return walk.reached


def _scanner(exim: Exim, subject: Subject, name: str, asked: list[tuple[Statement, Condition]]) -> Iterator[Finding]:
    """One statement that does not go on without its scanner is enough: mail waits for the scanner (451, tried with accept)."""
    shown = [exim_ports.seen(f"{exim.file} {s.where}", f"{s.verb} {c}") for s, c in asked]
    closed = [True for s, c in asked if s.verb != "warn" and _closed(c)]
    if not asked:
        return
    if closed:
        yield passed(subject, f"mail waits while the scanner of '{name}' does not answer")
    elif any(_closed(c) is None for _, c in asked):
        text = f"whether mail passes while the scanner of '{name}' does not answer could not be evaluated"
        yield unknown(subject, text, "its options come from an expansion", *shown)
    elif all(s.verb == "warn" for s, _ in asked):
        yield fail(subject, f"'{name}' is asked by warn only: mail passes while its scanner does not answer", *shown)
    else:
        yield fail(subject, f"'{name}' has defer_ok: mail passes unfiltered while its scanner does not answer", *shown)


def _closed(condition: Condition) -> Optional[bool]:
    """Whether a scanner that does not answer defers the message; None where the options are not written out."""
    if re.search(r"/\s*defer_ok\s*$", condition.value) or "defer_ok" in condition.value and "$" not in condition.value:
        return False
    return None if "$" in condition.value else True
