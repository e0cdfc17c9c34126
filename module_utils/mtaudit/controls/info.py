"""Controls on what Postfix tells strangers: which addresses exist, and which version answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, fail, informational, passed, unknown
from ..readers.postfix import Service, SmtpService
from ..readers.postfix_syntax import words
from .postfix_ports import each_listener, listener, setting
from .recipients import Unlisted, refused_anyway, unlisted


@control("INFO-01", "postfix")
@each_listener
def vrfy_reveals_no_account(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    """Postfix has no EXPN. VRFY is answered as RCPT would be (vrfy_cmd() in smtpd.c): 252, or why the address is refused."""
    smtpd, subject = smtp.smtpd, listener(smtp)
    shown = setting(smtpd, "disable_vrfy_command")
    silent = _command_never_reached(smtpd)
    if smtpd.on("disable_vrfy_command"):
        yield passed(subject, "VRFY is refused")
    elif silent:
        yield passed(subject, f"VRFY is not answered: it stands in {silent}")
    elif refused_anyway(smtp, site):
        yield passed(subject, "VRFY is refused for every address until the client has logged in")
    else:
        yield from _answered(smtp, site, shown.where)


def _answered(smtp: SmtpService, site: Site, where: str) -> Iterator[Finding]:
    smtpd, subject = smtp.smtpd, listener(smtp)
    shown = [setting(smtpd, name) for name in ("disable_vrfy_command", "local_recipient_maps")]
    found = list(unlisted(smtp, site))
    checked = [one for one in found if one.answer is Unlisted.REFUSED]
    doubtful = next((one for one in found if one.answer is Unlisted.UNKNOWN), None)
    if checked or not found:
        hidden = "vrfy" in words(smtpd.value("smtpd_discard_ehlo_keywords").lower())
        only = "; leaving it out of EHLO does not stop it" if hidden else ""
        yield fail(subject, f"VRFY tells which addresses exist: 252 for one that does, 550 for one that does not{only}", *shown)
    elif doubtful:
        text = "VRFY is on, and whether it tells addresses apart could not be found out"
        yield unknown(subject, text, doubtful.reason, *shown)
    else:
        text = "VRFY is on and tells nothing only because every address is accepted (RCPT-01)"
        yield informational(subject, text, *shown)


def _command_never_reached(smtpd: Service) -> str:
    """The parameter that keeps VRFY from being carried out: it ends the session, or is answered like NOOP."""
    for name in ("smtpd_forbidden_commands", "smtpd_noop_commands"):
        if "VRFY" in words(smtpd.value(name).upper()):
            return name
    return ""


@control("INFO-02", "postfix")
@each_listener
def the_banner_names_no_version(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    banners = [(smtp.smtpd, "smtpd_banner")]
    if smtp.postscreen:  # its teaser is the first line of the greeting, smtpd's banner the last
        banners.append((smtp.front, "postscreen_greet_banner"))
    clean = True
    for service, name in banners:
        banner = service.value(name)
        if _names_version(service, banner):
            clean = False
            yield fail(listener(smtp), f"the banner names a version of Postfix: {banner[:100]}", setting(service, name))
    if clean:
        yield passed(listener(smtp), "the banner names no version")


def _names_version(service: Service, banner: str) -> bool:
    """Whether it holds the running version or its date of release, or any other number that stands after the program's name."""
    versions = [re.escape(v) for v in (service.value("mail_version"), service.value("mail_release_date")) if v]
    own = re.search(rf"(?<![\w.])(?:{'|'.join(versions)})(?!\.?\w)", banner) if versions else None
    return bool(own or re.search(r"(?i)\bpostfix[\s/(v-]{1,3}\d+\.\d+", banner))
