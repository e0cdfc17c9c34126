"""What Postfix writes of people into the header of their mail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

from ..config.postfix import Wanted
from ..control import Site
from ..finding import Finding
from ..fix import fix
from ..readers.postfix import Postfix, Service
from ..readers.postfix_syntax import words
from .postfix_changes import failing, for_service, services, together

_CLEANUP, _CHECKS, _OFF = "cleanup_service_name", "header_checks", "receive_override_options"
_NESTED = "nested_header_checks"  # of attached messages: header_checks, too, unless it is set
_NO_CHECKS, _OWN = "no_header_body_checks", "subcleanup"
# The lines of smtpd.c for those who logged in, with and without smtpd_sasl_authenticated_header. BY is us: others' lines stay.
_RULES = r"""# Written by mtaudit: mail of people who logged in does not tell where they are.
/^Received: from .*\(Authenticated sender: ([^)]+)\)(BY.*)$/ REPLACE Received: from submission (Authenticated sender: $1)$2
/^Received: from .*[^[:space:]](BY.*with (ESMTP|UTF8SMTP)S?A id .*)$/ REPLACE Received: from submission$1
"""


@fix("INFO-03", "postfix")
def do_not_tell_where_people_are(postfix: Postfix, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """By a cleanup service of their own: mail of strangers keeps what tells where it comes from."""
    return together(wanted for service in services(failing(postfix, findings)) for wanted in _hidden(postfix, service))


def _hidden(postfix: Postfix, smtpd: Service) -> Iterator[Wanted]:
    cleanups = {s.entry.name: s for s in postfix.services() if s.entry and (s.entry.type, s.entry.command) == ("unix", "cleanup")}
    cleanup, own = cleanups.get(smtpd.value(_CLEANUP)), cleanups.get(_OWN)
    if cleanup is None or cleanup.entry is None:
        return
    told = words(smtpd.value(_OFF))
    on = [word for word in told if word != _NO_CHECKS]
    if on != told:
        yield for_service(smtpd, _OFF, ",".join(on) if on or _OFF in postfix.lines else None)
    if _CHECKS in cleanup.overrides and on != told:
        return  # somebody's own checks for this port are looked at again
    if _CHECKS in cleanup.overrides:
        yield _checked(cleanup, cleanup.label)
        return
    if own is None:
        columns = f"{_OWN} unix n - {cleanup.entry.chroot} - 0 cleanup"
        yield Wanted(services={f"{_OWN}/unix": columns}, options={f"{_OWN}/unix": dict(cleanup.overrides)})
    yield _checked(own or cleanup, f"{_OWN}/unix")
    yield for_service(smtpd, _CLEANUP, _OWN)


def _checked(cleanup: Service, label: str) -> Wanted:
    """Ours first: of the tables in a list the first one that knows a line decides about it. Messages within the message, as
    reports of spam have them, are looked at as before."""
    postfix = cleanup.postfix
    table = f"regexp:{postfix.config_directory.rstrip('/')}/mtaudit_submission_headers"
    others, nested = ([word for word in words(cleanup.value(name)) if word != table] for name in (_CHECKS, _NESTED))
    rules = _rules(smtp.smtpd.value("myhostname") for smtp in postfix.smtp_services())
    return Wanted(options={label: {_CHECKS: ",".join([table, *others]), _NESTED: ",".join(nested)}}, texts={table: rules})


def _rules(names: Iterable[str]) -> str:
    """Of the names by which a host calls itself."""
    ours = "|".join(name.replace(".", r"\.") for name in sorted(set(names)))
    return _RULES.replace("BY", rf"[[:space:]]+by ({ours}) \(")
