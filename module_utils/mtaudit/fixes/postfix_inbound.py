"""Postfix looks strangers up in blocklists before it takes their mail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

from ..config.postfix import Wanted
from ..control import Site
from ..controls.blocklists import postfix_zone
from ..controls.inbound import address_names, domain_names
from ..finding import Finding
from ..fix import fix
from ..readers.postfix import Postfix, Service
from ..readers.postfix_model import RESTRICTION_LISTS
from ..readers.postfix_restrictions import statements
from ..readers.postfix_syntax import unbraced, words
from .listings import answers_of, first_known, kind_of
from .postfix_changes import as_written, failing, listed, services, set_here, together

_ADDRESS = ("reject_rbl_client",)
_NAMES = ("reject_rhsbl_sender", "reject_rhsbl_helo", "reject_rhsbl_reverse_client")
_ASKING = re.compile(r"reject_(?:rbl|rhsbl)\w*")
_PERMITS = ("permit_mynetworks", "permit_sasl_authenticated")
_PLACES = ("smtpd_recipient_restrictions", "smtpd_client_restrictions")
Items = list[tuple[str, str]]


@fix("INB-01", "postfix")
def look_addresses_up(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return _asking(postfix, findings, _ADDRESS, address_names(site))


@fix("INB-02", "postfix")
def look_names_up(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return _asking(postfix, findings, _NAMES, domain_names(site))


def _asking(postfix: Postfix, findings: Sequence[Finding], asking: Sequence[str], names: Sequence[str]) -> Optional[Wanted]:
    """What is asked wrongly is put right, and the first list whose answers are known is asked behind those who log in. A
    postscreen that was set to ask has its own weights."""
    zone = _asked(first_known(names))
    ports = [smtp for smtp in failing(postfix, findings) if not (smtp.postscreen and smtp.front.value("postscreen_dnsbl_sites"))]
    return together(wanted for service in services(ports) for wanted in _of_service(service, asking, zone))


def _asked(name: str) -> str:
    """With the answers that are listings, as postconf(5) writes them: `127.0.0.[2;3;4]`."""
    start, _, _ = answers_of(name)[0].rpartition(".")
    return f"{name}={start}.[{';'.join(answer.rpartition('.')[2] for answer in answers_of(name))}]"


def _of_service(service: Service, asking: Sequence[str], zone: str) -> Iterator[Wanted]:
    """What is asked wrongly first; it may be enough."""
    lists = {name: list(statements(words(as_written(service, name)), name)) for name in RESTRICTION_LISTS}
    righted = {name: [item for each in there for item in _right(*each)] for name, there in lists.items()}
    changed = {name: items for name, items in righted.items() if items != lists[name]}
    if not changed:
        place = _place(service, lists)
        changed = {place: _with(lists[place], _permits(service, place), [(word, zone) for word in asking])}
    for name, items in changed.items():
        texts = [f"{word} {argument}".strip() for word, argument in items]
        yield set_here(service, name, listed(service, name, texts) if lists[name] else ", ".join(texts))


def _place(service: Service, lists: Mapping[str, Items]) -> str:
    """The list of restrictions to ask in: one that asks already, one that those who may relay leave, or an empty one. Without
    smtpd_delay_reject nobody has logged in yet when the client's are asked."""
    names = [name for name in _PLACES if name == _PLACES[0] or service.on("smtpd_delay_reject")]
    names.sort(key=lambda name: not any(_ASKING.fullmatch(word.lower()) for word, _ in lists[name]))
    return next((n for n in names if not lists[n] or _permits(service, n) <= _words(lists[n])), _PLACES[0])


def _permits(service: Service, name: str) -> set[str]:
    """Those who must have left a list before strangers are looked up: of all ports that share it."""
    others = [smtp.smtpd for smtp in service.postfix.smtp_services() if name not in (*service.overrides, *smtp.smtpd.overrides)]
    logins = any(each.on("smtpd_sasl_auth_enable") for each in (service, *others))
    return {*_PERMITS} if logins else {_PERMITS[0]}


def _words(items: Items) -> set[str]:
    return {word.lower() for word, _ in items}


def _right(word: str, argument: str) -> Iterator[tuple[str, str]]:
    """Without a list that is no more; with a reply filter where errors would count as listings."""
    zone = postfix_zone(unbraced(argument))
    if not _ASKING.fullmatch(word.lower()) or not (zone.closed or zone.errors):
        yield word, argument
    elif not zone.closed:
        yield word, _asked(zone.name) if kind_of(zone.name) else argument


def _with(items: Items, permits: set[str], new: Items) -> Items:
    """Behind the permits of those who may relay; where one is missing, at the end and behind all of them."""
    words_ = [word.lower() for word, _ in items]
    if permits <= {*words_}:
        at = 1 + max(n for n, word in enumerate(words_) if word in permits)
        return [*items[:at], *new, *items[at:]]
    at = len(items) - (words_[-1:] == ["permit"])
    return [*items[:at], *((permit, "") for permit in _PERMITS if permit in permits), *new, *items[at:]]
