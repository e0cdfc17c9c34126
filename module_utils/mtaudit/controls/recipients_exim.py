"""Controls on who gets mail at an Exim: mailboxes that nobody has are refused while the client is there."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import Evidence, Finding, fail, informational, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt
from ..readers.local_users import NOBODY
from .exim_paths import Finder
from .exim_ports import decided, each_listener, seen, subject
from .exim_routes import Routed, route
from .exim_walk import Answer

_DOMAINS_LIMIT = 20


@control("RCPT-01", "exim")
@each_listener
def unknown_recipients_are_refused(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(exim, port, site)
    if finder.outcome(finder.session()).answer is Answer.OK:
        yield informational(subject(port), "strangers relay here, whoever the recipient is: another control says so")
        return
    asked = [("here", domain) for domain in finder.local_domains[:_DOMAINS_LIMIT]]
    asked += [("elsewhere", domain) for domain in exim.relayed_domains[:_DOMAINS_LIMIT]]
    found = False
    for where, domain in asked:
        outcome = finder.outcome(finder.session(recipient=f"{NOBODY}@{domain}", unknown_mailbox=where))
        if outcome.answer is Answer.OK:
            missing = "verify = recipient" if where == "here" else "verify = recipient/callout"
            text = f"mail for mailboxes that do not exist at {domain} is accepted and bounced: no {missing} is asked before"
            yield fail(subject(port), text, *decided(exim, outcome))
            return
        if outcome.answer is Answer.UNKNOWN:
            text = f"whether mailboxes that do not exist at {domain} are refused could not be evaluated"
            yield unknown(subject(port), text, outcome.doubt, *decided(exim, outcome))
            return
    taken = [domain for where, domain in asked if where == "here" and not _refused(finder, domain)]
    for domain in taken:
        for finding in _routed(exim, port, domain):
            found = True
            yield finding
    if not found:
        text = "mailboxes that do not exist are refused" if asked else "no domain's mail ends or passes here"
        yield passed(subject(port), text)


def _refused(finder: Finder, domain: str) -> bool:
    """Whether strangers' mail for the domain is, whoever it is for: then no router decides."""
    return finder.outcome(finder.session(recipient=f"{NOBODY}@{domain}")).answer is Answer.REJECT


def _routed(exim: Exim, port: Listener, domain: str) -> Iterator[Finding]:
    """A router that takes every address makes `verify = recipient` say yes to all of them."""
    try:
        found = route(exim, f"{NOBODY}@{domain}")
    except Doubt as exc:
        text = f"which mailboxes exist at {domain} could not be followed through the routers"
        yield unknown(subject(port), text, str(exc))
        return
    if found.answer is Routed.REFUSED:
        return
    evidence = _router(exim, found.router)
    if found.answer is Routed.ELSEWHERE:
        text = f"mail for mailboxes that do not exist at {domain} is accepted: the router {found.router} passes on every address"
        yield fail(subject(port), text, evidence)
    else:
        text = f"mail for mailboxes that do not exist at {domain} is accepted: the router {found.router} takes every address"
        yield fail(subject(port), text, evidence)


def _router(exim: Exim, name: str) -> Evidence:
    options = exim.config.routers.get(name, {})
    shown = "; ".join(f"{key} = {value}" for key, value in options.items() if key in ("driver", "domains", "data", "local_parts"))
    return seen(f"{exim.file} router {name}", shown)
