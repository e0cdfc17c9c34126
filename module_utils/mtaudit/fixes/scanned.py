"""Mail of strangers, of accounts and of programs is shown to rspamd, where it runs, and something comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from ..config import opensmtpd as config_opensmtpd
from ..config import sendmail as config_sendmail
from ..config.exim import Wanted as WantedExim
from ..config.files import ConfigError
from ..config.postfix import Wanted as WantedPostfix
from ..config.rspamd import Wanted as WantedRspamd
from ..control import Site
from ..controls.inbound_postfix import filters
from ..controls.opensmtpd_walk import RSPAMD
from ..controls.scanners import Kind
from ..finding import Finding
from ..fix import fix
from ..readers.exim import Exim
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Listen
from ..readers.postfix import Postfix, Service
from ..readers.postfix_syntax import words
from ..readers.rspamd import Rspamd, Socket
from ..readers.sendmail import Sendmail
from . import opensmtpd_relay, postfix_changes, sendmail_changes
from .exim_changes import first_in, written_list

_UNFILTERED = "content scanner sees"  # what INB-03 and OUT-01 say where none is asked
_SPAM = "deny\n  spam = nobody:true\n  condition = ${if eq{$spam_action}{reject}}\n  message = this message looks like spam"
_SPAMD = "127.0.0.1 783"  # Exim's own spamd_address
_OVERRIDES, _MILTERS, _NOT_SMTP = "receive_override_options", "smtpd_milters", "non_smtpd_milters"
_OWN_FILTERS = re.compile(r",\s*I\w*\s*=\s*([^,]*)")  # InputMailFilters= of DaemonPortOptions


def _place(site: Site, milter: bool) -> Socket:
    """Where rspamd answers on this host, by IPv4 where it can. Raises ConfigError."""
    rspamd: Optional[Rspamd] = site.rspamd
    workers = [w for w in (rspamd.workers if rspamd else ()) if w.scans and w.milter is milter]
    sockets = [s for worker in workers for s in worker.sockets if s.port]
    place = min(sockets, key=lambda s: ":" in s.host, default=None)
    if rspamd is None:
        raise ConfigError("no content scanner that mtaudit knows runs here: name rspamd in mta_harden_install")
    if place is None or rspamd.answers(place) is False:
        raise ConfigError(f"no worker of rspamd's answers {'milters' if milter else 'HTTP'} here")
    return Socket("127.0.0.1", place.port) if place.host in ("*", "localhost") else place


def _unseen(findings: Sequence[Finding]) -> bool:
    return any(_UNFILTERED in finding.message for finding in findings)


def _something_done(site: Site, findings: Sequence[Finding]) -> Optional[Mapping[str, Any]]:
    """What rspamd sees already has a consequence: its own scores, and its lists."""
    said = " ".join(finding.message for finding in findings)
    modules: dict[str, Mapping[str, Optional[str]]] = {}
    if "no action has a score" in said:
        modules["actions"] = {"reject": "15", "add_header": "6"}
    if "no list of rspamd's" in said and site.rspamd.section("rbl").get("enabled") is False:
        modules["rbl"] = {"enabled": "true"}
    return {"rspamd": WantedRspamd(modules)} if modules else None


# Postfix


@fix("INB-03", "postfix")
@fix("OUT-01", "postfix")
def postfix_calls_the_scanner(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Any:
    if not _unseen(findings):
        return _something_done(site, findings)
    ports = postfix_changes.failing(postfix, findings)
    unseen = [smtp.smtpd for smtp in ports if not any(c.kind is Kind.RSPAMD for c in filters(smtp, site))]
    found = [wanted for service in {s.label: s for s in unseen}.values() for wanted in _called(service, site)]
    if any(finding.subject.kind == "host" for finding in findings):
        there = words(postfix.main.value(_NOT_SMTP))
        value = _one_more(postfix.main, _NOT_SMTP, site) if there else f"${_MILTERS}"
        found.append(WantedPostfix(parameters={_NOT_SMTP: value}))
    return postfix_changes.together(found)


def _called(service: Service, site: Site) -> Iterator[WantedPostfix]:
    """What keeps this port from the milters that all have goes; else rspamd's is one more."""
    options = re.split(r"[\s,]+", service.value(_OVERRIDES))
    if "no_milters" in options:
        left = ", ".join(option for option in options if option != "no_milters")
        yield postfix_changes.set_here(service, _OVERRIDES, left) if left else postfix_changes.put_right(service, _OVERRIDES, "")
    elif _MILTERS in service.overrides and not words(service.value(_MILTERS)):
        yield postfix_changes.put_right(service, _MILTERS, None)
    else:  # beside those that are there, as one that signs
        yield postfix_changes.set_here(service, _MILTERS, _one_more(service, _MILTERS, site))


def _one_more(service: Service, name: str, site: Site) -> str:
    return ", ".join([*words(service.value(name)), f"inet:{_place(site, milter=True)}"])


# Exim


@fix("INB-03", "exim")
def exim_asks_the_scanner(exim: Exim, site: Site, findings: Sequence[Finding]) -> Any:
    """What rspamd would reject is refused; nothing passes while it does not answer."""
    if not _unseen(findings) and not any("refuses nothing" in finding.message for finding in findings):
        return _something_done(site, findings)
    address = _spamd_address(exim, _place(site, milter=False))
    asked = first_in(exim, "acl_smtp_data", "acl_mtaudit_data", _SPAM)
    return WantedExim(options=address).then(asked) if asked else None


def _spamd_address(exim: Exim, place: Socket) -> Mapping[str, str]:
    """rspamd's, unless another scanner is asked: what it says would be missed. Raises ConfigError."""
    there = exim.options.get("spamd_address", _SPAMD)
    if "variant=rspamd" in there:
        return {}
    asked = any(c.name == "spam" for acl in exim.config.acls.values() for statement in acl for c in statement.conditions)
    if asked or there != _SPAMD:
        raise ConfigError(f"Exim asks another scanner (spamd_address = {there}): say by hand which of the two it shall ask")
    return {"spamd_address": written_list([f"{place.host} {place.port} variant=rspamd"])}


# Sendmail


@fix("INB-03", "sendmail")
@fix("OUT-01", "sendmail")
def sendmail_calls_the_scanner(sendmail: Sendmail, site: Site, findings: Sequence[Finding]) -> Any:
    """A port that calls none of its own calls what all do; else rspamd's is one more. Programs hand mail over to port 25."""
    if not _unseen(findings):
        return _something_done(site, findings)
    ports = sendmail_changes.failing(sendmail, findings)
    if any(finding.subject.kind == "host" for finding in findings):
        ports += [port for port in sendmail.listeners if port.port == 25]
    found = []
    for daemon in {daemon.name: daemon for daemon in map(sendmail.daemon_of, ports)}.values():
        own = _OWN_FILTERS.search(daemon.text)
        if own and own.group(1).strip():
            raise ConfigError(f"the port {daemon.name} has a list of milters of its own: add rspamd's to it by hand")
        if own:
            msa = {"no_default_msa": ""} if daemon.name == "MSA" else {}
            found.append(config_sendmail.Wanted(daemons={daemon.name: _OWN_FILTERS.sub("", daemon.text)}, features=msa))
    if not found:
        place = _place(site, milter=True)
        found.append(config_sendmail.Wanted(filters={"rspamd": f"S=inet:{place.port}@{place.host}, F=T"}))
    return sendmail_changes.together(found)


# OpenSMTPD


@fix("INB-03", "opensmtpd")
@fix("OUT-01", "opensmtpd")
def opensmtpd_calls_the_scanner(smtpd: OpenSmtpd, site: Site, findings: Sequence[Finding]) -> Any:
    if not _unseen(findings):
        return _something_done(site, findings)
    name = next((f.name for f in smtpd.config.filters.values() if f.kind == "proc" and RSPAMD.search(f.command)), "")
    if not name:
        raise ConfigError('it needs opensmtpd-filter-rspamd, and the line filter "rspamd" proc-exec "filter-rspamd"')
    listening = {port.listen: f"{port.listen.on} port {port.number}" for listener in opensmtpd_relay.failing(smtpd, findings)
                 for port, _ in smtpd.ports_of(listener)}  # fmt: skip
    found = [config_opensmtpd.Wanted(options=dict(_filtered(listen, line, name))) for listen, line in listening.items()]
    if any(finding.subject.kind == "host" for finding in findings):
        sockets = [listen for listen in smtpd.config.listens if listen.on == "socket"]
        found += [config_opensmtpd.Wanted(options=dict(_filtered(listen, "socket", name))) for listen in sockets]
        if not sockets:
            found.append(config_opensmtpd.Wanted(additions={f'listen on socket filter "{name}"': ""}))
    return opensmtpd_relay.together(found)


def _filtered(listen: Listen, line: str, name: str) -> Iterator[tuple[str, Mapping[str, Optional[str]]]]:
    if listen.filters and name not in listen.filters:
        raise ConfigError(f"'listen on {line}' names another filter: make a chain of both by hand")
    if not listen.filters:
        yield line, {"filter": f'"{name}"'}


# What domains want of forged mail (DMARC)


def do_what_domains_want(reading: Any, site: Site, findings: Sequence[Finding]) -> Any:
    """What rspamd only scores, it refuses."""
    if not any(text in finding.message for finding in findings for text in ("dmarc.conf", "does not know the action")):
        return None
    actions = site.rspamd.section("dmarc").get("actions")
    quarantine = {} if actions else {"actions quarantine": '"add_header"'}
    return {"rspamd": WantedRspamd({"dmarc": {"actions reject": '"reject"', **quarantine}})}


for _component in ("postfix", "exim", "sendmail", "opensmtpd"):
    fix("INB-04", _component)(do_what_domains_want)
