"""What rspamd does with a From header that is not the login's own, by its settings and force_actions; tried on 3.4 and 3.12."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..control import Site
from ..finding import Evidence, Finding, Method, Subject, fail, passed, unknown
from ..readers.rspamd import Rspamd
from ..redact import redact
from ..text import printable
from .expressions import Truth, holds
from .filtering import CONDITIONS, LOGINS, let_go, skipped, unknown_action
from .scanners import Called, Kind

UNTOLD = "which From headers a login may use could not be told"
OPEN = "a login may write as others: a From header that is not its own is neither refused nor marked by a Sender header"
OWN = "a From header that is not the login's own"
_STOPS = ("reject", "soft reject", "discard")
_PASSES = ("no action", "add header", "rewrite subject", "accept")
# What rspamd finds in a login's messages whose From header is not its own. FORGED_SENDER is looked for where there is a To or Cc
# header; of an empty envelope sender, and of the second address of two, no symbol says that it differs (tried).
_WITH_TO = "FORGED_SENDER"
_ALWAYS = {"FROM_NEQ_ENVFROM": True, "FROM_EQ_ENVFROM": False, "MISSING_FROM": False, "MULTIPLE_FROM": False, _WITH_TO: False}
_MESSAGES = {
    "with a To header": {**_ALWAYS, _WITH_TO: True},
    "without a To header": _ALWAYS,
    "with an empty envelope sender": {**_ALWAYS, "FROM_NEQ_ENVFROM": False},
    "with two addresses in its From header": {
        **_ALWAYS, "FROM_NEQ_ENVFROM": False, "FROM_EQ_ENVFROM": True, "MULTIPLE_FROM": True,
    },
}  # fmt: skip
# What whoever sends a message chooses himself.
_CHOSEN = {"from", "from_mime", "rcpt", "rcpt_mime", "header", "selector", "external_map"}
_NARROWED = {"symbols_enabled", "symbols_disabled", "groups_enabled", "groups_disabled"}


def headers_by_scanner(about: Subject, site: Site, filters: Sequence[Called], shown: Sequence[Evidence], deaf: str) -> Finding:
    """By the filters that a port's mail passes; `deaf` says why rspamd is not told who logged in, empty when it is."""
    asked = next((c for c in filters if c.kind is Kind.RSPAMD), None)
    if asked is None:
        blind = next((c for c in filters if c.kind in (Kind.UNKNOWN, Kind.SILENT)), None)
        if blind:
            return unknown(about, UNTOLD, blind.reason, blind.shown)
        why = "nothing that its mail passes compares it"
        return fail(about, f"{OPEN}: {why}", *shown, *(c.shown for c in filters), conditions=_WHO)
    rspamd: Rspamd = site.rspamd
    written = [_written(rspamd, name) for name in ("force_actions", "settings")]
    refused, why = _refused(asked, rspamd, deaf)
    own = "" if refused else _own_rules(rspamd)
    if refused:
        return passed(about, f"{OWN} is stopped ({why})")
    if refused is None or own:
        return unknown(about, UNTOLD, own or why, *written)
    return fail(about, f"{OPEN}: {why}", *written, conditions=_WHO)


_WHO = ("authenticated",)


def _written(rspamd: Rspamd, section: str) -> Evidence:
    text = json.dumps(rspamd.sections.get(section) or {}, sort_keys=True)
    return Evidence(Method.CONFIG, f"rspamadm configdump {section}", printable(redact(text)))


def _refused(asked: Called, rspamd: Rspamd, deaf: str) -> tuple[Truth, str]:
    """Whether such mail is refused, with a To header and without one, and by what, or why not."""
    unseen = skipped(rspamd, LOGINS)
    if unseen:
        return False, unseen
    if not isinstance(rspamd.sections.get("settings") or {}, (Mapping, list)):
        return None, "rspamd reads its settings from a map, which was not read"
    found = list(_forced(asked, rspamd, _inserted(rspamd, deaf)))
    stopped = {each: [name for name, truths in found if truths[each]] for each in _MESSAGES}
    if all(stopped.values()):
        narrowed = next((key for apply in _for_logins(rspamd) for key in _NARROWED & set(apply)), "")
        doubt = f"rspamd's settings say with {narrowed} which checks are made of a login's mail"
        return (None, doubt) if narrowed else (True, f"force_actions, {next(iter(stopped.values()))[0]}")
    for name, truths in found:
        if None in truths.values():
            return None, f"whether rspamd's rule {name} (force_actions) holds depends on what is not evaluated"
    if any(stopped.values()):
        gap = next(each for each, names in stopped.items() if not names)
        return False, f"rspamd's rule {found[0][0]} (force_actions) does not hold for a message {gap}"
    scored = next((symbol for apply in _for_logins(rspamd) for symbol in (_WITH_TO, *_ALWAYS) if _scores(apply, symbol)), "")
    if scored:
        return None, f"rspamd's settings give {scored} a score, and what that comes to depends on all that is in a message"
    for name, rule, action in _rules(rspamd):
        if _lost(asked, rspamd, rule, action):
            why = f"rspamd {rspamd.version} delivers what it is to quarantine"
            return False, f"{unknown_action(rspamd, action) or why}: the rule {name} (force_actions)"
    if found:
        return False, deaf or f"rspamd's rule {found[0][0]} (force_actions) does not hold for it"
    return False, "no rule of rspamd's (force_actions) refuses it"


def _forced(asked: Called, rspamd: Rspamd, known: Mapping[str, Truth]) -> Iterator[tuple[str, dict[str, Truth]]]:
    """Each rule of force_actions that may stop a message: whether it stops each of those that are thought of."""
    for name, rule, action in _rules(rspamd):
        lost = _lost(asked, rspamd, rule, action)
        if lost:
            continue
        stops = action in _STOPS or action == "quarantine" and asked.milter
        sure = lost is False and stops and not {"limit", "least", "honor_action", "require_action"} & set(rule)
        said = {each: holds(str(rule.get("expression", "")), {**symbols, **known}) for each, symbols in _MESSAGES.items()}
        yield name, {each: None if truth and not sure else truth for each, truth in said.items()}


def _rules(rspamd: Rspamd) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The rules of force_actions that may stop a message, with their actions."""
    for name, rule in rspamd.rules("force_actions"):
        action = str(rule.get("action", "")).replace("_", " ")
        if action not in _PASSES:
            yield name, rule, action


def _lost(asked: Called, rspamd: Rspamd, rule: Mapping[str, Any], action: str) -> Truth:
    """Whether a message that the rule is about is delivered all the same."""
    return not rspamd.knows(action) or (let_go(asked, rspamd, action) if rule.get("message") else False)


def _for_logins(rspamd: Rspamd) -> Iterator[Mapping[str, Any]]:
    """What the settings apply to every login's mail."""
    for rule in rspamd.section("settings").values():
        if isinstance(rule, Mapping) and _certain(rule):
            yield _applied(rule)


def _certain(rule: Mapping[str, Any]) -> bool:
    return bool(rule.get("authenticated")) and "expression" not in rule and CONDITIONS & set(rule) == {"authenticated"}


def _inserted(rspamd: Rspamd, deaf: str) -> dict[str, Truth]:
    """The symbols that the settings give a login's mail: rspamd has none of its own for a login. A rule without `apply` does
    nothing, and a text in the place of a list of symbols ends the module (tried). Of the rules that fit those of the highest
    priority are applied (settings.lua)."""
    rules = [rule for rule in rspamd.section("settings").values() if isinstance(rule, Mapping)]
    named = [(rule, _symbols(rule.get("symbols")) + _symbols(_applied(rule).get("symbols"))) for rule in rules]
    dead = deaf or not rspamd.enabled("settings") or any(isinstance(_applied(rule).get("symbols"), str) for rule in rules)
    found: dict[str, Truth] = {}
    for rule, symbols in named:
        before = [other for other in rules if _priority(other) > _priority(rule) and "apply" in other]
        sure: Truth = True if _certain(rule) else None
        if dead or "apply" not in rule or any(map(_certain, before)):
            sure = False
        elif any(_CHOSEN & set(other) for other in before):
            sure = None
        for symbol in symbols:
            found[symbol] = max(sure, found.get(symbol, False), key=(False, None, True).index)
    return found


def _applied(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    found = rule.get("apply")
    return found if isinstance(found, Mapping) else {}


def _symbols(said: Any) -> list[str]:
    return [said] if isinstance(said, str) else [str(name) for name in said or ()]


def _priority(rule: Mapping[str, Any]) -> float:
    given = rule.get("priority")
    return float(given) if isinstance(given, (int, float)) else {"high": 3.0, "medium": 2.0}.get(str(given), 1.0)


def _scores(apply: Mapping[str, Any], symbol: str) -> bool:
    scores = apply.get("scores")
    return symbol in apply or isinstance(scores, Mapping) and symbol in scores


def _own_rules(rspamd: Rspamd) -> str:
    """Rules of the site's own that may do it, and are not evaluated; empty when there are none."""
    if rspamd.lua:
        return f"what the site's own rules in {rspamd.lua[0]} do is not evaluated"
    for name, rule in rspamd.section("multimap").items():
        selector = str(rule.get("selector", "")) if isinstance(rule, Mapping) else ""
        if "user" in selector and "from" in selector:
            return f"what rspamd's rule {name} (multimap) does is not evaluated: {selector}"
    custom = rspamd.section("milter_headers").get("custom")
    return "a routine of the site's own (milter_headers, custom) adds headers" if custom else ""
