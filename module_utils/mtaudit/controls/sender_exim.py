"""Controls on the senders that people who logged in to Exim may use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, fail, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from .exim_login import each_port_with_logins
from .exim_paths import Finder
from .exim_ports import decided, seen, subject
from .exim_walk import Answer
from .senders import NOBODY, everybodys

_KEYS_LIMIT = 10
_MAILBOXES = ("postmaster", "root")  # what every domain has, and nobody's login
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+")


@control("SENDER-01", "exim")
@each_port_with_logins
def logins_use_their_own_sender(exim: Exim, port: Listener, site: Site, methods: Sequence[str]) -> Iterator[Finding]:
    for method in methods:
        for login, sender in [*_strangers_to_it(exim, port, site), *_by_the_maps(exim)]:
            finding = _tried(exim, port, site, method, login, sender)
            if finding is not None:
                yield finding
                return
    yield passed(subject(port), "a login is held to its own senders")


def _tried(exim: Exim, port: Listener, site: Site, method: str, login: str, sender: str) -> Optional[Finding]:
    """None when the login is refused that sender."""
    finder = Finder(exim, port, site)
    outcome = finder.outcome(finder.session(tls=True, login=login, method=method, sender=sender))
    shown: list[Evidence] = decided(exim, outcome) or [seen(f"{exim.file} authenticator {method}", login)]
    if outcome.answer is Answer.OK:
        who = "a login" if login.startswith(NOBODY) else f"the login {login}"
        text = f"{who} may send as other people, such as {sender}: no statement refuses a sender that it does not own"
        return fail(subject(port), text, *shown, conditions=("authenticated",))
    if outcome.answer is Answer.UNKNOWN:
        return unknown(subject(port), "which senders a login may use could not be evaluated", outcome.doubt, *shown)
    return None


def _strangers_to_it(exim: Exim, port: Listener, site: Site) -> Iterator[tuple[str, str]]:
    """Logins with senders of others, with and without a domain."""
    domains = Finder(exim, port, site).local_domains[:_KEYS_LIMIT]
    for domain in domains:
        for login in (NOBODY, f"{NOBODY}@{domain}"):
            yield from ((login, f"{mailbox}@{domain}") for mailbox in _MAILBOXES)


def _by_the_maps(exim: Exim) -> Iterator[tuple[str, str]]:
    """A login with another's address, where a table of addresses gives every login everything, or one a whole domain."""
    for table in exim.tables.values():
        if table.problem:
            continue
        entries = [(key, re.findall(r"[^\s:,]+", value)) for key, value in table.entries("lsearch")]
        found = everybodys({key: names for key, names in entries if _ADDRESS.fullmatch(key)})
        if found:
            yield found
        for key, names in entries[:_KEYS_LIMIT]:
            if key.startswith("*@") and len(names) > 1:  # one person's own domain is nobody else's
                yield names[0], f"{NOBODY}{key[1:]}"
