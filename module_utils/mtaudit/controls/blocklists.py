"""What is known of DNS blocklists: which are closed, which answer errors like listings, and what a reply filter takes.

A list answers with an address of 127.0.0.0/8 (RFC 5782, 2.1). Whatever a server takes for a listing and is none refuses all mail.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

# Lists of addresses that hold what SBL, XBL and PBL hold, and lists of domains like the DBL. A key may stand before the name of
# those that want one (docs.spamhaus.com, Data Query Service; docs.abusix.com).
ADDRESS_LISTS = ("zen.spamhaus.org", "zen.dq.spamhaus.net", "combined.mail.abusix.zone")
DOMAIN_LISTS = ("dbl.spamhaus.org", "dbl.dq.spamhaus.net", "multi.surbl.org", "multi.uribl.com", "dblack.mail.abusix.zone")

# Closed lists, with what became of them. Each name stands for the zones below it, too.
CLOSED = {
    "sorbs.net": "closed on 2024-06-05 by Proofpoint",
    "ix.dnsbl.manitu.net": "NiXSpam, closed and emptied on 2025-01-16 (heise.de 10248714)",
    "cbl.abuseat.org": "part of Spamhaus XBL since 2021, answers errors (spamhaus.org)",
    "njabl.org": "closed on 2013-03-01 (njabl.org)",
    "ahbl.org": "closed in 2015, answers every query as listed (ahbl.org)",
    "ordb.org": "closed in 2006, answered every query as listed from 2008 (ordb.org)",
    "dsbl.org": "closed in 2008 (dsbl.org)",
    "spamcannibal.org": "gone since 2018, answered every query as listed",
    "megarbl.net": "gone since 2016, answered every query as listed",
    "msrbl.net": "gone",
    "db.wpbl.info": "gone",
    "bl.csma.biz": "gone",
    "sbl.csma.biz": "gone",
    "dul.ru": "gone",
    "l2.apews.org": "no longer kept",
    "rfc-ignorant.org": "closed in 2012 (rfc-ignorant.org)",
    "ubl.unsubscore.com": "gone (Lashback)",
    "ubl.lashback.com": "gone",
}
# These answer errors with an address that is no listing: 127.255.255.252 for a wrong name, .254 for a public resolver, .255 for
# too many queries (docs.spamhaus.com, "DNSBL return codes"; Validity since 2024).
_WITH_ERRORS = ("spamhaus.org", "spamhaus.net", "abuseat.org", "senderscore.com")
_ERRORS = ("127.255.255.252", "127.255.255.254", "127.255.255.255")
# The DBL's answer to a query for an address, which is no domain (docs.spamhaus.com).
_DBL_ERRORS = (*_ERRORS, "127.0.1.255")
# The answers that are listings (docs.spamhaus.com, "Available Zones"): SBL, CSS, XBL, DROP and PBL; of the DBL spam, phishing,
# malware and botnets, and not what is good and abused (127.0.1.102 on).
ANSWERS = {
    "zen": tuple(f"127.0.0.{n}" for n in (2, 3, 4, 9, 10, 11)),
    "dbl": tuple(f"127.0.1.{n}" for n in (2, 4, 5, 6)),
}
_DROP = "127.0.0.9"  # comes with 127.0.0.2 (same page)


def kind_of(name: str) -> str:
    """`zen`, `dbl`; empty for a list whose answers are not known."""
    return next((kind for kind in ANSWERS if re.search(rf"(?:^|\.){kind}\.", name)), "")


def every_answer(answer: str) -> bool:
    """Without a reply filter whatever comes back is a listing."""
    return True


def no_answer(answer: str) -> bool:
    """Of no answer by itself is it said that it refuses mail."""
    return False


@dataclass(frozen=True)
class Zone:
    """A list as a server asks it: the zone, and which of its answers count as a listing."""

    name: str
    counts: Callable[[str], bool] = every_answer

    @property
    def closed(self) -> str:
        """What became of a list that is no more; empty for any other."""
        return next((why for name, why in CLOSED.items() if _below(self.name, name)), "")

    @property
    def errors(self) -> tuple[str, ...]:
        """The answers of this list that are errors and count as listings here."""
        if not any(_below(self.name, name) for name in _WITH_ERRORS):
            return ()
        known = _DBL_ERRORS if re.search(r"(?:^|\.)dbl\.", self.name) else _ERRORS
        return tuple(answer for answer in known if self.counts(answer))

    def is_one_of(self, names: Iterable[str]) -> bool:
        return any(_below(self.name, name) for name in names)

    def __str__(self) -> str:
        return self.name


def _below(name: str, parent: str) -> bool:
    return name == parent or name.endswith("." + parent)


def missing(zones: Collection[Zone], names: Iterable[str]) -> bool:
    """Whether none of these lists is asked. What zen has may be asked of SBL, XBL and PBL one by one."""
    wanted = tuple(names)
    single = {part for zone in zones if _below(zone.name, "spamhaus.org") for part in zone.name.split(".")[0].split("-")}
    apart = "zen.spamhaus.org" in wanted and {"sbl", "xbl", "pbl"} <= single
    gaps = left_out(zones)
    return not apart and not any(zone.is_one_of(wanted) and not (gaps and kind_of(zone.name) == "zen") for zone in zones)


def left_out(zones: Iterable[Zone]) -> tuple[str, ...]:
    """The listings that do not count, of those that zen has of SBL, XBL and PBL, where it is asked: once, or for each apart."""
    zen = [zone for zone in zones if kind_of(zone.name) == "zen"]
    if not zen or any(zone.counts is no_answer for zone in zen):
        return ()
    return tuple(answer for answer in ANSWERS["zen"] if answer != _DROP and not any(zone.counts(answer) for zone in zen))


def matches(pattern: str, answer: str) -> bool:
    """Whether an address fits a reply filter of Postfix: `127.0.0.2`, `127.0.0.[2..11]`, `127.0.[0;1].2` (postconf(5))."""
    fields = _fields(pattern)
    return len(fields) == 4 and all(_fits(field, int(octet)) for field, octet in zip(fields, answer.split(".")))


def _fields(pattern: str) -> list[str]:
    return re.findall(r"\[[^\]]*\]|[^.\[\]]+", pattern)


def _fits(field: str, octet: int) -> bool:
    for part in field.strip("[]").split(";"):
        low, dots, high = part.strip().partition("..")
        if low.isdigit() and (high.isdigit() or not dots) and int(low) <= octet <= int(high or low):
            return True
    return False


def postfix_zone(text: str) -> Zone:
    """`zone` or `zone=pattern`, as restrictions and postscreen have it."""
    name, equals, pattern = text.partition("=")
    return Zone(_plain(name), partial(matches, pattern.strip()) if equals else every_answer)


def exim_zone(text: str) -> tuple[Zone, str]:
    """An item of `dnslists` and its key: `zone`, `zone=127.0.0.2,127.0.0.3/$sender_address_domain`, `zone&0.0.0.2`, and `!` or
    `=` before these (specification, "Testing DNS lists"; verify_check_dnsbl() takes the key off first)."""
    asked, _, key = text.partition("/")
    match = re.match(r"([^=&!]*)(!?)(=?)([=&])(.*)\Z", asked.strip())
    if match is None:
        return Zone(_plain(asked)), key.strip()
    name, no, _, how, values = match.groups()
    return Zone(_plain(name), partial(_exim_counts, values.replace(" ", "").split(","), how == "&", bool(no))), key.strip()


def _exim_counts(values: Collection[str], bits: bool, negated: bool, answer: str) -> bool:
    if bits:
        found = any(_number(value) & _number(answer) == _number(value) for value in values)
    else:
        found = answer in values
    return found is not negated


def _number(address: str) -> int:
    try:
        return int(ipaddress.IPv4Address(address))
    except ValueError:
        return 0xFFFFFFFF  # fits nothing


def _plain(name: str) -> str:
    return name.strip().rstrip(".").lower()


def complaints(zones: Iterable[Zone]) -> Iterator[tuple[Zone, str]]:
    """What is wrong with lists that refuse mail by themselves: those that are closed, and those whose errors refuse all mail."""
    for zone in zones:
        if zone.closed:
            yield zone, f"{zone} is asked, a list that is no more: {zone.closed}"
        elif zone.errors:
            error = f"an error of {zone} (such as {zone.errors[0]})"
            yield zone, f"{error} is taken for a listing and refuses all mail: no reply filter"
