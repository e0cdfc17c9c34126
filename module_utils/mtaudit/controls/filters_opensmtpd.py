"""The programs that OpenSMTPD hands mail to while the client waits: what stands behind each, and what follows when one stops."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Filter
from ..readers.rspamd import socket_of
from .opensmtpd_ports import each_listener, line, seen, subject
from .opensmtpd_walk import RSPAMD, filters_of
from .scanners import Called, called

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


def behind(site: Site, each: Filter) -> Called:
    """What a program of a `filter` line hands mail to. filter-rspamd asks localhost:11333 over HTTP unless told otherwise (-url),
    and tells it who logged in (tried with 0.1.8)."""
    rspamd = bool(RSPAMD.search(each.command))
    url = re.search(r"-url\s+\S+?://([^\s/]+)", each.command) if rspamd else None
    address = url.group(1) if url else "localhost:11333" if rspamd else each.command
    place = socket_of(address, 80) if rspamd else None
    return called(site, address, [place], seen(each.where, each.command), milter=False)
