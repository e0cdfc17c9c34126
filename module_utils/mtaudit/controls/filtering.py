"""What controls on filters say of mail that comes in one way, whatever the program: who looks at it, and what comes of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from ..control import Site
from ..finding import Evidence, Finding, Method, Subject, fail, passed, unknown
from ..readers.rspamd import Rspamd
from .expressions import Truth
from .scanners import Called, Kind

STRANGERS, LOGINS, LOCAL = "strangers' mail", "mail of accounts", "mail of programs on this host"
REFUSED, QUARANTINED, THROWN_AWAY = "refused", "quarantined", "thrown away, and nothing is kept"
# Conditions of a rule of rspamd's settings module; what else stands in one says what is done (settings.lua of 3.4 and 3.12).
CONDITIONS = {"ip", "ip_map", "client_ip", "client_ip_map", "from", "from_mime", "rcpt", "rcpt_mime", "user", "hostname",
               "authenticated", "local", "selector", "header", "request_header", "external_map"}  # fmt: skip
_LOOKED_UP = {"received": "the servers that it came through (received)", "urls": "its links (urls)"}
_BY_MODULE = {"SPF": "spf", "DKIM": "dkim", "DMARC": "dmarc"}
_REFUSES = ("reject", "quarantine")
# What a milter of rspamd's does instead of refusing; the first is looked at first (milter.c).
INSTEAD = {"discard_on_reject": THROWN_AWAY, "quarantine_on_reject": QUARANTINED}
_MARKS = ("add header", "add_header", "rewrite subject", "rewrite_subject")


@dataclass(frozen=True)
class Way:
    """Mail of one kind (`what`) and the filters that see it before it is taken; `shown` is where they are named, or would be.

    `idle` says why what they find has no consequence, `doubt` why that is not known; `by_dmarc` that the program itself refuses
    by DMARC; `malware` are virus scanners that it asks (antivirus.py); `by_score` says that it looks at a
    scanner's score and not at the action that rspamd names. `fate` is what the program itself makes of mail that the scanner
    wants refused, where that is not said to it as to a milter, and with `quarantines` of what it wants quarantined, too; `tells`
    whom it writes to of that.
    """

    subject: Subject
    what: str
    filters: Sequence[Called]
    shown: Sequence[Evidence]
    idle: str = ""
    doubt: str = ""
    by_dmarc: str = ""
    malware: Sequence[Any] = ()
    by_score: bool = False
    fate: str = ""
    quarantines: bool = False
    tells: str = ""


Judge = Callable[[Way, Site], Iterator[Finding]]


def judged(ways: Iterable[Union[Way, Finding]], site: Site, judge: Judge) -> Iterator[Finding]:
    """What a control says: of several ways on one port the worst. A finding stands for a way that needs no filter."""
    found = [finding for way in ways for finding in (judge(way, site) if isinstance(way, Way) else [way])]
    yield from sorted(found, key=lambda finding: {"fail": 0, "unknown": 1}.get(finding.status.value, 2))[:1]


def scanned(way: Way, site: Site) -> Iterator[Finding]:
    """A content scanner sees the mail, looks at what matters, and something comes of it."""
    asked = rspamd_of(way)
    if asked is None:
        yield _without(way, "no content scanner sees", "a content scanner sees")
        return
    rspamd: Rspamd = site.rspamd
    wrong = way.idle or _nothing_done(rspamd) or skipped(rspamd, way.what)
    if not wrong and way.what == STRANGERS:
        asked_for = {check for one in rspamd.lists if not one.whitelist for check in one.checks}
        missing = [text for check, text in _LOOKED_UP.items() if check not in asked_for]
        wrong = f"no list of rspamd's is asked for {' and '.join(missing)}" if missing else ""
    if wrong:
        yield fail(way.subject, f"{way.what}: {wrong}", asked.shown, *way.shown)
    elif way.doubt:
        yield unknown(way.subject, f"what comes of a scan of {way.what} could not be told", way.doubt, asked.shown)
    elif way.what == STRANGERS and _unanswered(site):
        reason = "this host's resolver has no answer for entries of blocklists that are always listed"
        yield unknown(way.subject, "whether rspamd hears of listings could not be told", reason, asked.shown)
    else:
        yield passed(way.subject, f"rspamd looks at {way.what} and {_does(rspamd)}")


def _unanswered(site: Site) -> bool:
    return site.resolver is not None and not site.resolver.answers and not site.rspamd.own_resolver


def enforced(way: Way, site: Site) -> Iterator[Finding]:
    """What a domain wants of mail that fails SPF and DKIM (DMARC) is done."""
    asked = rspamd_of(way)
    if way.by_dmarc:
        yield passed(way.subject, f"mail is refused by its domain's DMARC policy: {way.by_dmarc}")
        return
    if asked is None:
        judges = [c for c in way.filters if "dmarc" in c.address.lower() or ":8893" in c.address]
        if judges:
            reason = f"whether {judges[0].address} refuses is in its own configuration, which was not read (RejectFailures)"
            yield unknown(way.subject, "what comes of DMARC could not be told", reason, judges[0].shown)
        else:
            yield _without(way, "neither SPF, DKIM nor DMARC is looked at in", "DMARC is looked at in")
        return
    rspamd: Rspamd = site.rspamd
    off = [name for name, module in _BY_MODULE.items() if not rspamd.enabled(module)]
    actions = rspamd.section("dmarc").get("actions")
    does = str(actions.get("reject", "")) if isinstance(actions, Mapping) else ""
    wrong = way.idle or skipped(rspamd, way.what)
    if off:
        wrong = f"rspamd's module for {' and '.join(off)} is off"
    elif not does:
        wrong = wrong or "rspamd only scores what fails DMARC: dmarc.conf has no actions"
    else:
        wrong = wrong or unknown_action(rspamd, does)
    if wrong:
        yield fail(way.subject, f"forged mail is taken: {wrong}", asked.shown, *_written("dmarc", actions))
    elif way.doubt:
        yield unknown(way.subject, "what comes of DMARC could not be told", way.doubt, asked.shown)
    elif does.replace("_", " ") not in (*_REFUSES, *_MARKS, "discard"):
        yield fail(way.subject, f"forged mail is taken: dmarc.conf wants {does} of it", *_written("dmarc", actions))
    else:
        yield passed(way.subject, f"what a domain wants refused by DMARC gets: {does}")


def rspamd_of(way: Way) -> Optional[Called]:
    """Its milter or worker, where the mail is shown to it."""
    return next((c for c in way.filters if c.kind is Kind.RSPAMD), None)


def _without(way: Way, nothing: str, something: str) -> Finding:
    blind = next((c for kind in (Kind.UNKNOWN, Kind.SILENT) for c in way.filters if c.kind is kind), None)
    if blind or way.doubt:
        shown, reason = ([blind.shown], blind.reason) if blind else (way.shown, way.doubt)
        return unknown(way.subject, f"whether {something} {way.what} could not be told", reason, *shown)
    return fail(way.subject, f"{nothing} {way.what}", *way.shown, *(c.shown for c in way.filters))


def no_effect(way: Way, rspamd: Rspamd) -> str:
    """Why nothing comes of the scan; empty where something does."""
    return way.idle or _nothing_done(rspamd) or skipped(rspamd, way.what)


def _nothing_done(rspamd: Rspamd) -> str:
    known = {name.replace("_", " ") for name in rspamd.actions}
    return "" if known & {*_REFUSES, *_MARKS} else "rspamd scores it and does nothing: no action has a score"


def _does(rspamd: Rspamd) -> str:
    actions = rspamd.actions
    if "reject" in actions:
        return f"refuses what reaches {actions['reject']:g}"
    return "marks spam; it refuses nothing"


def skipped(rspamd: Rspamd, what: str) -> str:
    """The rule of rspamd's settings by which all mail of this kind passes unseen; empty when there is none."""
    mine = {LOGINS: "authenticated", LOCAL: "local"}.get(what, "")
    for name, said in rspamd.section("settings").items():
        if not isinstance(said, Mapping) or CONDITIONS & set(said) - {mine}:
            continue
        if said.get("whitelist") or said.get("want_spam") or _toothless(said.get("apply")):
            return f"rspamd lets it pass (settings, {name})"
    return ""


def rejected(rspamd: Rspamd) -> str:
    """What comes of mail that rspamd rejects where a milter asks it."""
    told = {name for worker in rspamd.workers if worker.milter for name in INSTEAD if worker.options.get(name)}
    return next((done for name, done in INSTEAD.items() if name in told), REFUSED)


def let_go(asked: Called, rspamd: Rspamd, action: str) -> Truth:
    """Whether mail that gets this action and a message for the client is delivered: rspamd forgets to quarantine it."""
    kept = action == "quarantine" or action == "reject" and rejected(rspamd) == QUARANTINED
    return rspamd.lets_go if asked.milter and kept else False


def unknown_action(rspamd: Rspamd, action: str) -> str:
    """Why a rule that takes this action does nothing; empty where rspamd knows it."""
    return "" if rspamd.knows(action) else f"rspamd does not know the action {action}, which its actions do not name"


def _toothless(apply: Any) -> bool:
    """Actions that refuse nothing."""
    actions = apply.get("actions") if isinstance(apply, Mapping) else None
    return isinstance(actions, Mapping) and "reject" in actions and actions["reject"] is None


def _written(section: str, said: Any) -> list[Evidence]:
    return [Evidence(Method.CONFIG, f"rspamadm configdump {section}", f"actions = {said}"[:200])] if said else []
