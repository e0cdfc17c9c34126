"""Controls on SMTP smuggling: a message that hides in another one behind an end of data that only one of two servers sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import HOST, Finding, error, fail, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import Service, SmtpService
from ..readers.postfix_samples import STRANGERS
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import TableProblem
from . import exim_ports, opensmtpd_ports
from .postfix_ports import each_listener, listener, setting

NEWLINE = "smtpd_forbid_bare_newline"
EXCLUSIONS = f"{NEWLINE}_exclusions"
PIPELINING = "smtpd_forbid_unauth_pipelining"
# Values that keep a bare line feed from ending a message. `note` also logs it, from 3.9 on; 3.7 does not start with it (tried).
_FORBIDDING = ("yes", "normalize", "reject", "note")
_NOTE_SINCE = (3, 9)

# Exim: the release that first asks for CR LF . CR LF, and the packages of older ones that Debian has corrected (DSA-5597-1).
_EXIM_FIXED = (4, 97, 1)
_DEBIAN_FIXED = {"4.96-15+deb12u": 4, "4.94.2-7+deb11u": 2}

# Tried on OpenSMTPD 6.8 and 7.6; what counts stands in smtp_session.c since 2012.
_OPENSMTPD_TRIED = re.compile(r"6\.8|7\.[0-6](?!\d)")


@control("PATCH-02", "postfix")
@each_listener
def no_bare_newline_ends_a_message(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    smtpd, subject = smtp.smtpd, listener(smtp)
    value = smtpd.value(NEWLINE).lower()
    release = tuple(int(number) for number in re.findall(r"\d+", smtpd.postfix.version)[:2])
    refused = value == "note" and release < _NOTE_SINCE
    if smtpd.knows(NEWLINE) and (refused or value not in (*_FORBIDDING, "no")):
        yield notapplicable(subject, "smtpd does not start", f"service down, not open: bad parameter value: {NEWLINE} = {value}")
        return
    problem = _newline(smtpd) or _pipelining(smtpd)
    if problem:
        name, text = problem
        yield fail(subject, text, setting(smtpd, name))
        return
    try:
        excluded = _excluded(smtp)
    except TableProblem as exc:
        yield unknown(subject, f"{EXCLUSIONS} could not be evaluated", str(exc), setting(smtpd, EXCLUSIONS))
        return
    if excluded:
        text = f"{EXCLUSIONS} lets everybody end a message with a bare line feed, {excluded} among them"
        yield fail(subject, text, setting(smtpd, NEWLINE), setting(smtpd, EXCLUSIONS))
    else:
        yield passed(subject, "a bare line feed ends no message")


def _newline(smtpd: Service) -> Optional[tuple[str, str]]:
    """The parameter and what is wrong with it; None when all is well."""
    value = smtpd.value(NEWLINE).lower()
    if not smtpd.knows(NEWLINE):
        version = smtpd.postfix.version
        return NEWLINE, f"Postfix {version} has no {NEWLINE}: a bare line feed ends a message; only an update helps"
    if value in _FORBIDDING:
        return None
    stop_gap = "; only the stop-gap against pipelining is on" if smtpd.on(PIPELINING) else ""
    return NEWLINE, f"{NEWLINE} = {value}: a bare line feed ends a message, so a second one can hide in it{stop_gap}"


def _pipelining(smtpd: Service) -> Optional[tuple[str, str]]:
    """Commands that come before their turn are the other half of the attack."""
    stopped = "reject_unauth_pipelining" in words(smtpd.value("smtpd_data_restrictions").lower())
    if not smtpd.knows(PIPELINING) or smtpd.on(PIPELINING) or stopped:
        return None
    return PIPELINING, f"{PIPELINING} = {smtpd.value(PIPELINING)}: commands are taken before their turn"


def _excluded(smtp: SmtpService) -> str:
    """A stranger's address that is excluded; empty when none is. Whom mynetworks trusts is RELAY-01's. Raises TableProblem."""
    excluded, trusted = smtp.smtpd.match_list(EXCLUSIONS), smtp.smtpd.match_list("mynetworks")
    versions = [{"ipv4": 4, "ipv6": 6}[family] for family in smtp.families]
    for address in (a for a in STRANGERS if a.version in versions):
        if excluded.match_client("unknown", str(address)) and not trusted.match_client("unknown", str(address)):
            return str(address)
    return ""


@control("PATCH-02", "exim")
@exim_ports.each_listener
def no_half_an_end_ends_a_message(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    subject, fixed = exim_ports.subject(port), _exim_fixed(exim)
    shown = exim_ports.seen("exim -bV", f"{exim.version} {exim.package}".strip())
    if fixed:
        yield passed(subject, "only CR LF . CR LF ends a message")
    elif fixed is False:
        text = f"Exim {exim.package or exim.version} takes a bare line feed with a dot for the end of a message: update it"
        yield fail(subject, text, shown)
    else:
        reason = exim.package_problem or f"Exim {exim.version} has the defect, unless its packager has repaired it"
        yield unknown(subject, "whether this Exim has the correction could not be found out", reason, shown)


def _exim_fixed(exim: Exim) -> Optional[bool]:
    """By the release, else by the revision of Debian's package; None where neither tells."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", exim.version.partition("-")[0])[:3])
    if numbers >= _EXIM_FIXED:
        return True
    for prefix, revision in _DEBIAN_FIXED.items():
        if exim.package.startswith(prefix):
            found = re.match(r"\d+", exim.package[len(prefix):])
            return found is not None and int(found.group()) >= revision
    return None


@control("PATCH-02", "opensmtpd")
def nothing_comes_with_an_end(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    """A bare line feed ends a message here, too; but smtp_io() in smtp_session.c looks whether more has come before it takes the
    message, and refuses it as pipelining. There is no setting."""
    if smtpd.problem:
        yield error(HOST, f"the configuration of OpenSMTPD ({smtpd.file}) could not be read", smtpd.problem)
        return
    for port in smtpd.listeners:
        subject, shown = opensmtpd_ports.subject(port), opensmtpd_ports.seen("smtpd -h", smtpd.version)
        if _OPENSMTPD_TRIED.match(smtpd.version):
            yield passed(subject, "a message with anything behind its end is refused")
        else:
            reason = f"mtaudit does not know OpenSMTPD {smtpd.version}"
            yield unknown(subject, "whether a message with something behind its end is refused", reason, shown)
