"""What stands behind a filter's address: rspamd, by the place where its workers listen, or something that is not known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Optional

from ..control import Site
from ..finding import Evidence
from ..readers.rspamd import DnsList, Rspamd, Socket

# They sign outgoing mail or note what DKIM and DMARC say of it, or look for viruses: no scanner of what a message says.
SIGNING = re.compile(r"(?i)dkim|dmarc|openarc|:8891\b|:8893\b")
_OTHERS = re.compile(r"(?i)clam|spf|postsrs|greylist|greylst|quota|regex|mailman")
_SMTP_FROM = re.compile(r"""\b(?:from\(\s*['"]?(?:smtp|envelope)|smtp_from\b|from(?!\s*\(|\w))""")


class Kind(Enum):
    """What answers there."""

    RSPAMD = "rspamd"
    OTHER = "other"  # a signer, a virus scanner, a greylist: it looks at nothing that a content scanner looks at
    SILENT = "silent"  # nothing listens
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Called:
    """A filter that is called: its address as written, where that is written, what answers there, and why that is not known;
    `milter` says that it is rspamd by the protocol of milters."""

    address: str
    shown: Evidence
    kind: Kind
    reason: str = ""
    milter: bool = False


def called(site: Site, address: str, sockets: Iterable[Optional[Socket]], shown: Evidence, milter: bool) -> Called:
    """`sockets` are the places that the address may stand for; `milter` or HTTP is spoken there."""
    rspamd: Optional[Rspamd] = site.rspamd
    places = [place for place in sockets if place is not None]
    if _OTHERS.search(address) or SIGNING.search(address):
        return Called(address, shown, Kind.OTHER)
    strange = f"what answers at {address} is not known to mtaudit"
    if rspamd is None:
        return Called(address, shown, Kind.UNKNOWN, f"{strange}, and rspamd is not installed here")
    heard = [rspamd.answers(place) for place in places]
    if False in heard and True not in heard:
        return Called(address, shown, Kind.SILENT, f"nothing listens at {address}")
    if rspamd.problem:
        return Called(address, shown, Kind.UNKNOWN, rspamd.problem)
    workers = [worker for worker in map(rspamd.worker_at, places) if worker]
    if any(worker.scans and (worker.milter or not milter) for worker in workers):
        return Called(address, shown, Kind.RSPAMD, milter=milter)
    if workers:
        why = f"the worker of rspamd at {address} scans nothing itself, or speaks another protocol"
        return Called(address, shown, Kind.UNKNOWN, why)
    return Called(address, shown, Kind.UNKNOWN, f"{strange}: no worker of rspamd listens there")


def milter_place(text: str, directory: str = "") -> list[Optional[Socket]]:
    """`inet:host:port` (Postfix), `inet:port@host` (libmilter), `unix:path`, `local:path`; relative ones below `directory`."""
    kind, _, rest = text.partition(":")
    if kind in ("unix", "local"):
        inside = Socket(path=f"{directory}/{rest.lstrip('/')}") if directory else None
        return [Socket(path=rest), inside] if rest.startswith("/") else [inside]
    if kind not in ("inet", "inet6", "inet4"):
        return [Socket(path=text)] if text.startswith("/") else []
    port, at, host = rest.partition("@")
    if not at:
        host, _, port = rest.rpartition(":")
    return [Socket(host.strip("[]") or "127.0.0.1", int(port))] if port.isdigit() else []


def address_lists(rspamd: Rspamd) -> list[DnsList]:
    """The lists that the connecting address is looked up in."""
    return [one for one in rspamd.lists if "from" in one.checks and not one.whitelist]


def domain_lists(rspamd: Rspamd, what: str) -> list[DnsList]:
    """The lists that a name is looked up in: `sender` (of MAIL FROM), `helo` or `rdns`."""
    if what == "sender":
        return [one for one in rspamd.lists if any(_SMTP_FROM.search(s) for s in one.selectors) and not one.whitelist]
    return [one for one in rspamd.lists if what in one.checks and not one.whitelist]
