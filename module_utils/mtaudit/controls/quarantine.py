"""Control on what comes of suspect mail of accounts: it does not leave, and somebody is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Union

from ..control import Site, control
from ..finding import Evidence, Finding, Method, fail, informational, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import SmtpService
from ..readers.rspamd import Rspamd, Socket
from ..readers.sendmail import Sendmail
from ..redact import redact
from ..text import printable
from . import exim_ports, opensmtpd_ports, sendmail_ports
from .filtered_mail import logins_of_exim, logins_of_opensmtpd, logins_of_postfix, logins_of_sendmail
from .filtering import INSTEAD, QUARANTINED, REFUSED, Way, judged, no_effect, rejected, rspamd_of, unknown_action
from .postfix_ports import each_listener, setting
from .scanners import Called, Kind
from .services_sendmail import refuses_bare_lines

# Ports of this host that refuse a message with a bare line feed in it, and why that is not known.
Bare = Mapping[int, str]

# What selectors choose of that which is stopped (metadata_exporter.lua of 3.4 and 3.12).
_REJECTED, _ALL = {"reject"}, {"reject", "quarantine"}
_CHOOSES = {"is_reject": _REJECTED, "is_reject_authed": _REJECTED, "is_spam": _REJECTED, "is_spam_authed": _REJECTED,
            "default": _ALL, "is_not_soft_reject": _ALL}  # fmt: skip
_NEEDED = {"send_mail": ("mail_to", "smtp"), "http": ("url",)}
# Modules whose rules decide what comes of a message.
_FORCING = ("force_actions", "multimap")
# These have a message for the client; of force_actions' rules those that name one, while virus scanners and maps always do.
_WITH_MESSAGE = (*_FORCING, "antivirus", "external_services")


@control("OUT-02", "postfix", scanner=True)
@each_listener
def suspect_mail_is_told_of(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    yield from judged((_held(way, smtp) for way in logins_of_postfix(smtp, site)), site, told)


@control("OUT-02", "exim", scanner=True)
@exim_ports.each_listener
def suspect_mail_of_exim(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    yield from judged(logins_of_exim(exim, port, site), site, told)


@control("OUT-02", "sendmail", scanner=True)
@sendmail_ports.each_listener
def suspect_mail_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    """A Sendmail that knows no bare line feeds takes no report with them either, of the host itself: 421 (tried)."""
    fixed = refuses_bare_lines(sendmail)
    why = "" if fixed else "whether this Sendmail refuses that is not known"
    bare = {} if fixed is False else {one.port: why for one in sendmail.listeners}
    yield from judged(logins_of_sendmail(sendmail, port, site), site, partial(told, bare=bare))


@control("OUT-02", "opensmtpd", scanner=True)
@opensmtpd_ports.each_listener
def suspect_mail_of_opensmtpd(smtpd: OpenSmtpd, port: Listener, site: Site) -> Iterator[Finding]:
    """filter-rspamd refuses what rspamd rejects, and knows no other way to stop a message."""
    ways = logins_of_opensmtpd(smtpd, port, site)
    yield from judged((replace(w, fate=REFUSED) if isinstance(w, Way) else w for w in ways), site, told)


def _held(way: Union[Way, Finding], smtp: SmtpService) -> Union[Way, Finding]:
    """What is only marked, header checks of Postfix may put on hold."""
    names = [name for name in ("milter_header_checks", "header_checks") if smtp.smtpd.value(name)]
    if isinstance(way, Finding) or not names:
        return way
    shown = [*way.shown, setting(smtp.smtpd, names[0])]
    return replace(way, shown=shown, doubt=f"{names[0]} may put on hold what is marked, and was not followed")


def told(way: Way, site: Site, bare: Bare = MappingProxyType({})) -> Iterator[Finding]:
    """It is refused or quarantined, and reported: by a rule of rspamd's exporter, or by the program itself."""
    asked, rspamd = rspamd_of(way), site.rspamd
    if asked is None:
        blind = next((c for c in way.filters if c.kind in (Kind.UNKNOWN, Kind.SILENT)), None)
        if blind:
            yield unknown(way.subject, f"what comes of suspect {way.what} could not be told", blind.reason, blind.shown)
        else:
            yield informational(way.subject, f"no content scanner sees {way.what}: another control says so")
        return
    if no_effect(way, rspamd):
        yield informational(way.subject, f"no suspect {way.what} is found: another control says so")
        return
    does = _stopped(asked, way, rspamd)
    shown = _seen("metadata_exporter", rspamd.section("metadata_exporter").get("rules", "no rules"))
    said = [[name for name in INSTEAD if w.options.get(name)] for w in rspamd.workers if w.milter]
    proxy = [asked.shown, *([_seen("worker", said)] if asked.milter else [])]
    lost = next((done for done in does.values() if done not in (REFUSED, QUARANTINED)), "")
    gone = _forgotten(rspamd, does) if asked.milter else ""
    wanted = [str(rule["action"]) for module in _FORCING for _, rule in rspamd.rules(module) if rule.get("action")]
    powerless = next((unknown_action(rspamd, action) for action in wanted if not rspamd.knows(action)), "")
    if not does and way.doubt:
        yield unknown(way.subject, f"whether suspect {way.what} leaves could not be told", way.doubt, *way.shown)
    elif not does:
        yield fail(way.subject, f"suspect {way.what} leaves, only marked", _seen("actions", rspamd.section("actions")))
    elif powerless:
        yield fail(way.subject, f"suspect {way.what} leaves: {powerless}", _seen("actions", rspamd.section("actions")))
    elif not asked.milter and not way.by_score and not way.quarantines and rspamd.knows("quarantine"):
        yield fail(way.subject, f"suspect {way.what} leaves: what asks rspamd does not know its action quarantine", asked.shown)
    elif lost:
        yield fail(way.subject, f"suspect {way.what} is {lost}", *proxy)
    elif gone and rspamd.lets_go is None:
        reason = f"some versions of rspamd let go what is to be quarantined, and that of this one is not known ({gone})"
        yield unknown(way.subject, f"whether suspect {way.what} leaves could not be told", reason, *proxy)
    elif gone and rspamd.lets_go:
        why = f"rspamd {rspamd.version} lets go what is to be quarantined and has a message for the client ({gone})"
        yield fail(way.subject, f"suspect {way.what} leaves: {why}", *proxy)
    else:
        yield _reported(way, rspamd, does, shown, bare)


def _stopped(asked: Called, way: Way, rspamd: Rspamd) -> dict[str, str]:
    """What comes of rspamd's actions that let nothing leave: `reject`, and `quarantine`, which not all understand."""
    wanted = {action for action in ("reject", "quarantine") if rspamd.section("actions").get(action) is not None}
    if asked.milter:
        found = {"reject": rejected(rspamd), "quarantine": QUARANTINED}
    else:
        found = {"reject": way.fate, "quarantine": way.fate if way.quarantines else ""}
        wanted |= {"reject"} if way.by_score else set()
    return {action: does for action, does in found.items() if does and action in wanted}


def _forgotten(rspamd: Rspamd, does: Mapping[str, str]) -> str:
    """The modules whose quarantine some versions forget."""
    kept = {"quarantine", *(action for action, done in does.items() if done == QUARANTINED)}
    return ", ".join(
        module for module in _WITH_MESSAGE
        if any(r.get("action") in kept and (module != "force_actions" or r.get("message")) for _, r in rspamd.rules(module))
    )  # fmt: skip


def _reported(way: Way, rspamd: Rspamd, does: Mapping[str, str], shown: Evidence, bare: Bare) -> Finding:
    to, doubt, wrong = _reports(rspamd, set(does), way.by_score, bare)
    to, fate = way.tells or to, " or ".join(sorted(set(does.values())))
    if to:
        return passed(way.subject, f"suspect {way.what} is {fate}, and reported to {_text(to)}")
    if doubt:
        return unknown(way.subject, f"whether somebody is told of suspect {way.what} is not known", printable(doubt), shown)
    return fail(way.subject, f"suspect {way.what} is {fate}, and nobody is told: {printable(wrong)}", shown)


def _reports(rspamd: Rspamd, untold: set[str], by_score: bool, bare: Bare) -> tuple[str, str, str]:
    """Whom rspamd's exporter tells of what is stopped, why that is not known, and else what is wrong."""
    section, doubt, wrong = rspamd.section("metadata_exporter"), "", "rspamd's metadata_exporter has no rule"
    rules = section.get("rules")
    if section.get("pusher_enabled"):
        doubt = "metadata_exporter is set by pusher_enabled, which is not followed"
    if not rspamd.enabled("metadata_exporter"):
        return "", "", "rspamd's metadata_exporter is off"
    for name, rule in rules.items() if isinstance(rules, Mapping) else ():
        said = rule if isinstance(rule, Mapping) else {}
        backend, selector = str(said.get("backend")), str(said.get("selector", "default"))
        missing = [key for key in _NEEDED.get(backend, ()) if not said.get(key)]
        mailed = backend == "send_mail" and not missing
        refused = bare.get(_server(said).port) if mailed and _bare(said, section) and rspamd.answers(_server(said)) else None
        if backend not in _NEEDED or selector not in _CHOOSES:
            doubt = doubt or f"what the rule {name} does ({backend}, {selector}) is not known to mtaudit"
        elif missing:
            wrong = f"the rule {name} has no {missing[0]}"
        elif mailed and rspamd.answers(_server(said)) is False:
            wrong = f"the rule {name} sends by {_server(said)}, where nothing listens"
        elif refused is not None:
            text = f"lines of what the rule {name} sends end with a bare line feed"
            doubt = doubt or refused and f"{text}: {refused}"
            wrong = f"{text}, which is refused at {_server(said)}"
        elif by_score and _CHOOSES[selector] is not _ALL:
            doubt = f"the ACL looks at the score, the rule {name} ({selector}) at rspamd's action"
        else:
            untold = untold - _CHOOSES[selector]
            if not untold:
                return str(said["mail_to" if mailed else "url"]), "", ""
            wrong = f"the rule {name} ({selector}) does not choose what is quarantined"
    return "", doubt, wrong


def _bare(rule: Mapping[str, Any], section: Mapping[str, Any]) -> bool:
    """Whether lines of a report end with a bare line feed: those of rspamd's own template do, and `$symbols` has several."""
    template = str(rule.get("email_template") or section.get("email_template") or "")
    return rule.get("formatter") == "email_alert" and (not template or bool(re.search(r"(?<!\r)\n|\$symbols", template)))


def _server(rule: Mapping[str, Any]) -> Socket:
    port = rule.get("smtp_port", 25)
    return Socket(str(rule.get("smtp")), port if isinstance(port, int) else 25)


def _seen(section: str, said: Any) -> Evidence:
    return Evidence(Method.CONFIG, f"rspamadm configdump {section}", _text(said))


def _text(said: Any) -> str:
    return printable(redact(str(said)))[:300]
