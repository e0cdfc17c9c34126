"""Control on the programs that OpenSMTPD hands mail to while the client waits: one that stops must not mean that mail passes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Filter
from .opensmtpd_ports import each_listener, line, seen, subject
from .opensmtpd_walk import RSPAMD, filters_of

# They sign outgoing mail: without them mail is unsigned, not unfiltered.
_SIGNING = re.compile(r"(?i)dkimsign|arcsign")


@control("MILTER-01", "opensmtpd")
@each_listener
def no_filter_fails_open(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    """A program that ends takes smtpd with it: "lost processor", and nothing listens any more (tried on 6.8 and 7.6)."""
    programs: dict[str, Filter] = {}
    for port, _ in smtpd.ports_of(listener):
        programs.update((found.name, found) for found in filters_of(smtpd, port) if found.kind == "proc")
    shown = [line(port) for port, _ in smtpd.ports_of(listener)][:1] + [seen(f.where, f.command) for f in programs.values()]
    unclear = [f for f in programs.values() if not RSPAMD.search(f.command) and not _SIGNING.search(f.command)]
    if unclear:
        text = f'whether the filter "{unclear[0].name}" lets mail pass while something that it asks does not answer'
        reason = "smtpd stops when the program itself ends; what the program does without its own scanner is known to it alone"
        yield unknown(subject(listener), text, reason, *shown)
    elif programs:
        yield passed(subject(listener), "mail waits while a filter is down: smtpd stops with it")
    else:
        yield passed(subject(listener), "no program filters mail here")
