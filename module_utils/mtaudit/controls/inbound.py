"""What controls on blocklists say, whatever the program: of lists that refuse mail, of those that do not, and of a scanner's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..control import Site
from ..finding import Evidence, Finding, Subject, fail, passed, unknown
from .blocklists import ADDRESS_LISTS, DOMAIN_LISTS, Zone, complaints, missing
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
    if not missing([use.zone for use in working], names):
        yield passed(subject, f"listed clients are refused: {_zones(working)}")
        return
    counted = [one for c in filters if c.kind is Kind.RSPAMD for one in address_lists(site.rspamd)]
    if not missing([Zone(one.zone) for one in counted], names):
        yield passed(subject, f"rspamd counts listings of {ADDRESS} into its score; no list refuses by itself")
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
    names, open_ = domain_names(site), []
    for what in NAMES:
        working = [use.zone for use in uses.get(what, ()) if not use.idle and not use.doubt]
        counted = [Zone(one.zone) for c in filters if c.kind is Kind.RSPAMD for one in domain_lists(site.rspamd, what)]
        if missing([*working, *counted], names):
            open_.append(what)
    if not open_:
        yield passed(subject, f"{_joined(NAMES.values())} are looked up")
        return
    about = _joined(NAMES[what] for what in open_)
    yield from _without(subject, about, [use for what in open_ for use in uses.get(what, ())], filters, names, places)


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
