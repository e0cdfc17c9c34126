"""Which milters a port of Sendmail calls, and what stands behind each."""

from __future__ import annotations

import re

from ..control import Site
from ..finding import Evidence
from ..listeners import Listener
from ..readers.sendmail import Sendmail
from .scanners import Called, Kind, called, milter_place
from .sendmail_ports import seen


def named(sendmail: Sendmail, port: Listener) -> tuple[list[str], Evidence]:
    """The names of the milters of a port, and where they are written: its own (I=), else InputMailFilters."""
    daemon = sendmail.daemon_of(port)
    own = re.search(r"(?:^|,)\s*I\w*\s*=\s*([^,]*)", daemon.text)
    names = re.split(r"[\s,;]+", (own.group(1) if own else sendmail.cf.option("InputMailFilters")).strip())
    where = f"{sendmail.file}:{daemon.line} DaemonPortOptions" if own else sendmail.origin("InputMailFilters")
    listed = [name for name in names if name]
    return listed, seen(where, ", ".join(listed))


def filters(sendmail: Sendmail, port: Listener, site: Site) -> list[Called]:
    """What answers behind each; one that is nowhere defined is not known."""
    names, where = named(sendmail, port)
    found = []
    for name in names:
        milter = sendmail.cf.filters.get(name)
        if milter is None:
            found.append(Called(name, where, Kind.UNKNOWN, f"the filter {name} is called and nowhere defined"))
            continue
        address = milter.fields.get("S", "")
        shown = seen(f"{sendmail.file}:{milter.line} X{name}", f"S={address}, F={milter.flags}")
        found.append(called(site, address, milter_place(address), shown, milter=True))
    return found


def judges(sendmail: Sendmail, port: Listener, site: Site) -> str:
    """The milters that may refuse what Sendmail itself takes; rspamd judges what is in a message."""
    return ", ".join(c.address for c in filters(sendmail, port, site) if c.kind is not Kind.RSPAMD)
