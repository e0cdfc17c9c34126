"""Sendmail and OpenSMTPD look strangers up in blocklists: by rspamd where it sees their mail; Sendmail by its own rules, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..config.files import ConfigError
from ..config.rspamd import Wanted as WantedRspamd
from ..config.sendmail import Wanted
from ..control import Site
from ..controls.blocklists import Zone
from ..controls.filtered_mail import Ways, strangers_of_opensmtpd, strangers_of_sendmail
from ..controls.filtering import Way, rspamd_of
from ..controls.inbound import Use, address_names, domain_names
from ..controls.inbound_others import lists_of
from ..finding import Finding
from ..fix import fix
from ..readers.opensmtpd import OpenSmtpd
from ..readers.rspamd import Rspamd
from ..readers.sendmail import Sendmail
from . import opensmtpd_relay, sendmail_changes
from .listings import answers_of, first_known, kind_of

_ADDRESS, _NAMES = ("from",), ("helo", "rdns")
_SENDER = {"sender": "\"from('smtp'):domain\""}  # rspamd has no check for it
_IN_FRONT = "let rspamd see strangers' mail (see the advice of INB-03), or put a server that can in front"


@fix("INB-01", "sendmail")
def sendmail_looks_addresses_up(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Optional[Any]:
    uses = list(lists_of(sendmail))
    if any(use.zone.errors for use in uses):
        return _right(uses)
    ports = sendmail_changes.failing(sendmail, findings)
    if all(_scanned(strangers_of_sendmail(sendmail, port, site)) for port in ports):
        return {"rspamd": asking(site, address_names(site), _ADDRESS, {})}
    if any(daemon.login_offered for daemon in sendmail.daemons):
        raise ConfigError("its rules ask before anybody has logged in, and people at home are in the list: " + _IN_FRONT)
    return Wanted(features={"enhdnsbl": _arguments(first_known(address_names(site)))})


@fix("INB-02", "sendmail")
def sendmail_looks_names_up(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    ports = sendmail_changes.failing(sendmail, findings)
    return _by_scanner(site, [strangers_of_sendmail(sendmail, port, site) for port in ports], domain_names(site), _NAMES, _SENDER)


@fix("INB-01", "opensmtpd")
def opensmtpd_looks_addresses_up(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    ports = opensmtpd_relay.failing(smtpd, findings)
    return _by_scanner(site, [strangers_of_opensmtpd(smtpd, port, site) for port in ports], address_names(site), _ADDRESS, {})


@fix("INB-02", "opensmtpd")
def opensmtpd_looks_names_up(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    ports = opensmtpd_relay.failing(smtpd, findings)
    return _by_scanner(site, [strangers_of_opensmtpd(smtpd, port, site) for port in ports], domain_names(site), _NAMES, _SENDER)


def _by_scanner(
    site: Site, ports: Sequence[Ways], names: Sequence[str], checks: Sequence[str], selectors: Mapping[str, str]
) -> Mapping[str, Any]:
    if not all(_scanned(ways) for ways in ports):
        raise ConfigError("it looks up nothing itself: " + _IN_FRONT)
    return {"rspamd": asking(site, names, checks, selectors)}


def _scanned(ways: Ways) -> bool:
    return all(rspamd_of(way) for way in ways if isinstance(way, Way))


def asking(site: Site, names: Sequence[str], checks: Sequence[str], selectors: Mapping[str, str]) -> WantedRspamd:
    """The first of these lists that rspamd has is asked for the checks and selectors. Raises ConfigError."""
    rspamd: Rspamd = site.rspamd
    rbl = rspamd.section("rbl")
    lists = rbl.get("rbls")
    found = [(n, s) for n, s in (lists.items() if isinstance(lists, Mapping) else ()) if isinstance(s, Mapping)]
    mine = [(n, s) for name in names for n, s in found if Zone(str(s.get("rbl", "")).lower()).is_one_of([name])]
    if not mine:
        raise ConfigError(f"rspamd's module rbl has none of {', '.join(names)}")
    # One that was asked for such a thing before, and is on.
    name, said = min(mine, key=lambda one: (not {*checks} & {*_listed(one[1].get("checks"))}, one[1].get("enabled") is False))
    settings: dict[str, Optional[str]] = {} if rspamd.enabled("rbl") else {"enabled": "true"}
    if said.get("enabled") is False:
        settings[f"rbls {name} enabled"] = "true"
    there, without = _listed(said.get("checks")), _listed(said.get("exclude_checks"))
    if not {*checks} <= {*there}:
        settings[f"rbls {name} checks"] = json.dumps([*there, *(check for check in checks if check not in there)])
    if {*checks} & {*without}:
        settings[f"rbls {name} exclude_checks"] = json.dumps([check for check in without if check not in checks])
    settings.update((f"rbls {name} selector {key}", text) for key, text in selectors.items())
    return WantedRspamd({"rbl": settings})


def _listed(said: Any) -> list[str]:
    return [str(word) for word in said] if isinstance(said, list) else [said] if isinstance(said, str) else []


def _right(uses: Sequence[Use]) -> Wanted:
    """The list is asked by its answers that are listings."""
    names = {use.zone.name for use in uses}
    if len(names) > 1 or not kind_of(*names):
        raise ConfigError(f"the features that ask {', '.join(sorted(names))} are to be told which answers are listings: by hand")
    return Wanted(features={"dnsbl": None, "enhdnsbl": _arguments(*names)})


def _arguments(name: str) -> str:
    """Without what is said to clients while no resolver answers: their mail is taken then. A list has six answers at most
    (_ARG4_ to _ARG9_ of cf/feature/enhdnsbl.m4); zen's are so many."""
    answers = ", ".join(f"`{answer}.'" for answer in answers_of(name))
    return f"`{name}', `', `', {answers}"
