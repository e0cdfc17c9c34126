"""Whether mail passes a virus scanner whose signatures are current, and what comes of what that finds: AV-01."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional

from ..control import Site
from ..finding import Evidence, Finding, Method, fail, passed, unknown
from ..readers.clamav import MILTER, ClamAv, places
from ..readers.rspamd import Rspamd, Socket
from ..redact import redact
from ..text import printable
from .expressions import Truth, holds, mentions
from .filtering import LOGINS, Way, let_go, skipped, unknown_action
from .scanners import Called, Kind, milter_place

_MAX_AGE_HOURS = 48
# What a rule of rspamd's makes of a message with a virus, whatever asks rspamd; the others only where it is asked as a milter
# (tried on 3.4): `add header` and what it does not know let the message through.
_REFUSES, _TAKES_AWAY = ("reject", "soft reject"), ("discard", "quarantine")


@dataclass(frozen=True)
class Scanner:
    """What looks for viruses in mail: why it stops none (`wrong`), why that is not known (`doubt`), and what becomes of mail
    while it does not answer (`down`)."""

    name: str
    shown: Evidence
    wrong: str = ""
    doubt: str = ""
    down: str = ""


def looked_into(way: Way, site: Site) -> Iterator[Finding]:
    """Of several scanners one is enough."""
    found = [*(scanner for called in way.filters for scanner in _behind(called, way, site)), *way.malware]
    best = min(found, key=lambda s: 2 if s.wrong else 1 if s.doubt else 0, default=None)
    if best is None and way.doubt:
        yield unknown(way.subject, f"whether a virus scanner sees {way.what} could not be told", way.doubt, *way.shown)
    elif best is None:
        yield fail(way.subject, f"no virus scanner sees {way.what}", *way.shown, *(c.shown for c in way.filters))
    elif best.wrong:
        yield fail(way.subject, f"{way.what}: {best.wrong}", best.shown, *way.shown)
    elif best.doubt:
        yield unknown(way.subject, f"whether a virus in {way.what} is found could not be told", best.doubt, best.shown)
    else:
        built = datetime.fromtimestamp(site.clamav.built_at, timezone.utc)
        yield passed(way.subject, f"{best.name} looks for viruses in {way.what}, with signatures of {built:%Y-%m-%d}{best.down}")


def by_clamd(site: Site, asked: Iterable[Socket]) -> tuple[str, str]:
    """What is wrong with the clamd that is asked there, of several the first that answers; and why that is not known."""
    clamav: Optional[ClamAv] = site.clamav
    called = list(asked)
    if clamav is None or clamav.problem:
        return "", clamav.problem if clamav else "ClamAV was not read"
    if not called:
        return "", "where the scanner is asked is not understood"
    near = [place for place in called if clamav.answers(place)]
    if not near:
        far = [place for place in called if clamav.answers(place) is None]
        why = f"{far[0]} is on another host, or cannot be seen: how old its signatures are is not known" if far else ""
        return "" if far else f"the virus scanner does not answer: nothing listens at {called[0]}", why
    if not clamav.is_clamd(near[0]):
        return "", f"what answers at {near[0]} is not the clamd of clamd.conf: how old its signatures are is not known"
    if not clamav.running:
        why = "systemd would start it when it is asked, and whether that is in time is not known"
        return "", f"clamd does not run, something else holds {near[0]}: {why}"
    most = int(site.tunables.get("max_age_hours", _MAX_AGE_HOURS))
    age_hours = (clamav.now - clamav.built_at) / 3600
    if not clamav.built_at:
        return f"clamd knows only signatures of this site's own: no daily database of ClamAV's in {clamav.directory}", ""
    if age_hours > most:
        return f"the signatures of clamd are {age_hours / 24:.0f} days old (freshclam gets new ones)", ""
    return "", ""


def _behind(called: Called, way: Way, site: Site) -> Iterator[Scanner]:
    if called.kind is Kind.RSPAMD:
        yield from _of_rspamd(called, way, site)
        return
    clamav, is_one = site.clamav, "clam" in called.address.lower()
    set_to = [s for text in ((clamav and clamav.milter) or {}).get("MilterSocket", ()) for s in milter_place(text)]
    if any(_same(mine, s) for mine in milter_place(called.address) for s in set_to):
        yield _of_milter(called, [s for s in set_to if s], way, site)
    elif is_one:
        yield Scanner(called.address, called.shown, doubt=f"{called.address} is not where the milter of {MILTER} listens")
    elif called.kind in (Kind.SILENT, Kind.UNKNOWN):
        yield Scanner(called.address, called.shown, doubt=called.reason)


def _same(called: Optional[Socket], listens: Optional[Socket]) -> bool:
    """A path may be relative to the queue of a Postfix that has changed its root."""
    if called is None or listens is None or not called.path or not listens.path:
        return bool(called and listens and not called.path and not listens.path and listens.serves(called))
    mine = called.path.replace("/var/run/", "/run/", 1)
    return listens.path.replace("/var/run/", "/run/", 1).endswith(f"/{mine.lstrip('/')}")


def _of_milter(called: Called, listens: list[Socket], way: Way, site: Site) -> Scanner:
    """clamav-milter.conf(5); each OnInfected was tried with 1.4."""
    said = site.clamav.milter
    does = said.get("OnInfected", ["Quarantine"])[-1]
    shown = Evidence(Method.CONFIG, f"{MILTER} OnInfected", does)
    wrong, doubt = by_clamd(site, [s for text in said.get("ClamdSocket", ()) for s in places(text)])
    if site.clamav.answers(listens[0]) is False:
        wrong = f"nothing listens at {called.address}"
    elif does.lower() == "accept":
        wrong = "clamav-milter delivers what it finds (OnInfected Accept)"
    elif way.what == LOGINS and "SkipAuthenticated" in said:
        doubt = f"clamav-milter lets accounts pass that SkipAuthenticated ({said['SkipAuthenticated'][-1]}) names"
    return Scanner("clamav-milter", shown, wrong, doubt)


def _of_rspamd(called: Called, way: Way, site: Site) -> Iterator[Scanner]:
    rspamd: Rspamd = site.rspamd
    section = rspamd.section("antivirus")
    rules = {name: rule for name, rule in section.items() if isinstance(rule, Mapping)}
    shown = Evidence(Method.CONFIG, "rspamadm configdump antivirus", printable(redact(json.dumps(section, sort_keys=True))))
    wrong = way.idle or skipped(rspamd, way.what)
    if not rules or not rspamd.enabled("antivirus"):
        wrong = "rspamd looks at it and asks no virus scanner"
    if wrong:
        yield Scanner("rspamd", shown, wrong)
        return
    for name, rule in rules.items():
        symbol = str(rule.get("symbol", name.upper()))
        toothless, doubt = _consequence(rspamd, rule, symbol, called, way)
        by, why = by_clamd(site, [s for text in _texts(rule.get("servers")) for s in places(text)])
        if rule.get("servers") is None:
            by = f"rspamd's rule {name} names no server"  # the module leaves it out
        elif rule.get("type", name) != "clamav":
            by, why = "", f"rspamd asks a scanner of the type {rule.get('type', name)}, of which mtaudit reads nothing"
        fails = str(rule.get("symbol_fail", f"{symbol}_FAIL"))
        down = "" if _forced(rspamd, fails) else "; while it does not answer, rspamd lets mail through"
        yield Scanner(f"{name}, asked by rspamd,", shown, toothless or by, doubt or why or way.doubt, down)


def _consequence(rspamd: Rspamd, rule: Mapping[str, Any], symbol: str, called: Called, way: Way) -> tuple[str, str]:
    """Why a virus that the rule finds is not stopped, and why that is not known."""
    does, least = str(rule.get("action", "")).lower(), rspamd.actions.get("reject")
    scores = [score for score in (rule.get("score"), _weight(rspamd, symbol)) if isinstance(score, (int, float))]
    if least is not None and max(scores, default=0) >= least:
        return "", ""
    if way.by_score:
        return f"the ACL looks at rspamd's score and not at $spam_action, and {symbol} alone does not reach the score", ""
    forced = _forced(rspamd, symbol)
    if does and not forced and not rspamd.knows(does):
        return unknown_action(rspamd, does), ""
    gone = let_go(called, rspamd, does)
    if gone is None:
        return "", "some versions of rspamd deliver a virus that is to be quarantined, and that of this one is not known"
    if gone:
        return f"rspamd {rspamd.version} delivers a virus that it is to quarantine", ""
    if does in _REFUSES or forced or called.milter and does in _TAKES_AWAY:
        return "", ""
    if forced is None:
        return "", f"whether rspamd's rule about {symbol} (force_actions) holds depends on what is not evaluated"
    if does in _TAKES_AWAY:
        return "", f"what asks rspamd may not know its action {does}"
    if does:
        return f"rspamd's action for a virus is '{does}': the message is taken", ""
    return f"rspamd only notes a virus: the rule of {symbol} has no action, and its score does not reach that of reject", ""


def _forced(rspamd: Rspamd, symbol: str) -> Truth:
    """Whether a rule of force_actions refuses by this symbol, whatever else a message has."""
    said = [rule for _, rule in rspamd.rules("force_actions") if rule.get("action") in _REFUSES]
    expressions = [str(rule.get("expression", "")) for rule in said]
    found = {holds(text, {symbol: True}) for text in expressions if mentions(text, symbol)}
    return True if True in found else None if None in found else False


def _weight(rspamd: Rspamd, symbol: str) -> Any:
    """What a group says of a symbol; only below `symbols` it is in force (tried on 3.4)."""
    found = rspamd.sections.get("group")
    groups = [group for block in _blocks(found) for named in block.values() for group in _blocks(named)]
    for one in (symbols.get(symbol) for group in groups for symbols in _blocks(group.get("symbols"))):
        if isinstance(one, Mapping):
            return one.get("weight", one.get("score"))
    return None


def _blocks(said: Any) -> list[Mapping[str, Any]]:
    """What is written once, or in several places."""
    return [block for block in (said if isinstance(said, list) else [said]) if isinstance(block, Mapping)]


def _texts(said: Any) -> list[str]:
    return [str(text) for text in said] if isinstance(said, list) else [] if said is None else [str(said)]
