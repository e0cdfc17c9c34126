"""What controls on blocklists say, whatever the program: of lists that refuse mail, of those that do not, and of a scanner's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from ..control import Site
from ..finding import Evidence, Finding, Method, Subject, fail, passed, unknown
from ..readers.resolver import COMMAND, ENTRIES
from .blocklists import ADDRESS_LISTS, DOMAIN_LISTS, Zone, complaints, left_out, missing
from .scanners import Called, Kind, address_lists, domain_lists

ADDRESS = "the connecting address"
NAMES = {"sender": "the domain of MAIL FROM", "helo": "the HELO name", "rdns": "the reverse name"}


@dataclass(frozen=True)
class Use:
    """A list that a server names. `idle` says why it refuses nothing by itself, `doubt` why that is not known."""

    zone: Zone
    shown: Evidence
    idle: str = ""
    doubt: str = ""


def address_names(site: Site) -> tuple[str, ...]:
    return tuple(site.tunables.get("address_lists", ADDRESS_LISTS))


def domain_names(site: Site) -> tuple[str, ...]:
    return tuple(site.tunables.get("domain_lists", DOMAIN_LISTS))


def faulty(subject: Subject, uses: Iterable[Use]) -> Iterator[Finding]:
    """Lists that refuse what they should not, or that are no more."""
    working = [use for use in uses if not use.idle and not use.doubt]
    for zone, text in dict(complaints(use.zone for use in working)).items():
        yield fail(subject, text, *(use.shown for use in working if use.zone.name == zone.name))


def of_addresses(
    subject: Subject, uses: Sequence[Use], filters: Sequence[Called], site: Site, places: Sequence[Evidence]
) -> Iterator[Finding]:
    """One finding, or one for each list that does harm. `places` is where lists would stand."""
    wrong = list(faulty(subject, uses))
    yield from wrong
    if wrong:
        return
    names = address_names(site)
    working = [use for use in uses if not use.idle and not use.doubt]
    asked = [use.zone for use in working]
    if not missing(asked, names):
        yield _unheard(subject, ADDRESS, asked, names, site) or passed(subject, f"listed clients are refused: {_zones(working)}")
        return
    counted = [Zone(one.zone) for c in filters if c.kind is Kind.RSPAMD for one in address_lists(site.rspamd)]
    if not missing(counted, names):
        counts = f"rspamd counts listings of {ADDRESS} into its score{'' if asked else '; no list refuses by itself'}"
        yield _unheard(subject, ADDRESS, counted, names, site, by_rspamd=True) or passed(subject, counts)
        return
    yield from _without(subject, ADDRESS, uses, filters, names, places)


def of_names(
    subject: Subject, uses: Mapping[str, Sequence[Use]], filters: Sequence[Called], site: Site, places: Sequence[Evidence]
) -> Iterator[Finding]:
    """`uses` by what is looked up: sender, helo, rdns. One finding for all that are looked up nowhere."""
    every = [use for found in uses.values() for use in found]
    wrong = list(faulty(subject, every))
    yield from wrong
    if wrong:
        return
    names, open_, unheard = domain_names(site), [], []
    for what, about in NAMES.items():
        working = [use.zone for use in uses.get(what, ()) if not use.idle and not use.doubt]
        counted = [Zone(one.zone) for c in filters if c.kind is Kind.RSPAMD for one in domain_lists(site.rspamd, what)]
        if missing([*working, *counted], names):
            open_.append(what)
        unheard += [_unheard(subject, about, [*working, *counted], names, site, by_rspamd=missing(working, names))]
    if not open_:
        yield next(filter(None, unheard), None) or passed(subject, f"{_joined(NAMES.values())} are looked up")
        return
    about = _joined(NAMES[what] for what in open_)
    yield from _without(subject, about, [use for what in open_ for use in uses.get(what, ())], filters, names, places)


def _unheard(
    subject: Subject, about: str, zones: Sequence[Zone], names: Sequence[str], site: Site, by_rspamd: bool = False
) -> Optional[Finding]:
    """Lists that are asked and refuse nobody: the host's resolver gets errors of them, or nothing. rspamd may have its own."""
    if site.resolver is None or (by_rspamd and site.rspamd.own_resolver):
        return None
    answers: Mapping[str, tuple[str, ...]] = site.resolver.answers
    silent = [z for z in zones if z.name in ENTRIES.values() and not any(a.startswith("127.0.") for a in answers.get(z.name, ()))]
    if not silent or not missing([zone for zone in zones if zone not in silent], names):
        return None
    zone = silent[0]
    shown = Evidence(Method.CONFIG, " ".join(COMMAND), ", ".join(answers.get(zone.name, ())))
    if zone.name in answers:
        text = f"{about}: {zone} answers this host's resolver with an error ({answers[zone.name][0]}), which refuses nobody"
        return fail(subject, text, shown)
    entry = next(entry for entry, name in ENTRIES.items() if name == zone.name)
    reason = f"this host's resolver has no answer for {entry}, which is always listed"
    return unknown(subject, f"{about}: whether {zone} refuses anybody could not be told", reason, shown)


def _without(
    subject: Subject, about: str, uses: Sequence[Use], filters: Sequence[Called], names: Sequence[str],
    places: Sequence[Evidence],
) -> Iterator[Finding]:
    """Nothing that is known looks it up: a failure, unless what is not known might."""
    shown = [use.shown for use in uses]
    doubtful = next((use for use in uses if use.doubt), None)
    blind = next((c for kind in (Kind.UNKNOWN, Kind.SILENT) for c in filters if c.kind is kind), None)
    if doubtful:
        yield unknown(subject, f"{about}: whether a blocklist is asked could not be evaluated", doubtful.doubt, doubtful.shown)
    elif blind:
        yield unknown(subject, f"{about}: whether a blocklist is asked depends on a filter", blind.reason, *shown, blind.shown)
    elif any(use.idle for use in uses):
        why = "; ".join(dict.fromkeys(f"{use.zone}: {use.idle}" for use in uses if use.idle))
        yield fail(subject, f"{about}: lists are named that refuse nothing ({why})", *shown)
    elif left_out(use.zone for use in uses):
        gaps = ", ".join(left_out(use.zone for use in uses))
        yield fail(subject, f"{about}: {_zones(uses)}, of which some listings refuse nobody: {gaps}", *shown)
    elif uses:
        only = f"{_zones(uses)} only, none of {', '.join(names[:3])}"
        yield fail(subject, f"{about}: looked up in {only}", *shown)
    else:
        yield fail(subject, f"{about}: looked up in no blocklist", *places, *(c.shown for c in filters))


def _zones(uses: Iterable[Use]) -> str:
    return ", ".join(dict.fromkeys(str(use.zone) for use in uses))


def _joined(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
