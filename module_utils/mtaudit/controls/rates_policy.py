"""What policyd-rate-limit lets an account send through Postfix: its limits by the login, if it is asked where it counts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Optional

from ..control import Site
from ..finding import Evidence, Finding, Method, Subject, fail, passed, unknown
from ..readers.policyd_rate_limit import Limits, PolicydRateLimit
from ..readers.postfix import Service
from ..readers.postfix_syntax import unbraced
from ..redact import redact
from ..text import printable
from .rates import CLOSED, OPEN, Allowed, Most, allowed, while_down, window
from .rates_scanner import NONE, UNTOLD
from .scanners import milter_place

HARMLESS = re.compile(r"(?i)\s*(?:dunno|ok|permit|warn|info|prepend|redirect|bcc|filter)\b")


def called_by(service: Service, policy: str, site: Site) -> Optional[PolicydRateLimit]:
    """policyd-rate-limit, if that is what a policy service's address leads to."""
    known: Optional[PolicydRateLimit] = site.policyd
    address = re.split(r"[\s,]", unbraced(policy).strip())[0]
    places = milter_place(address, service.value("queue_directory"))
    return known if known and not known.problem and known.socket in places else None


def down_of(service: Service, policy: str) -> str:
    """What becomes of mail while a policy service does not answer: smtpd's own default is to put it off (postconf(5))."""
    own = re.search(r"default_action\s*=\s*(\w+)", policy)
    action = (own.group(1) if own else service.value("smtpd_policy_service_default_action")).lower()
    return OPEN if action.startswith(("dunno", "ok", "permit")) else CLOSED


def by_policyd(about: Subject, site: Site, policyd: PolicydRateLimit, asked: Callable[[bool], bool], down: str) -> Finding:
    """`asked` says whether it is asked about the mail of those who log in: at DATA (True) or for each recipient."""
    said = printable(redact(json.dumps({name: policyd.said.get(name) for name in ("limits", "limits_by_id", "count_mode")})))
    shown, wanted = Evidence(Method.CONFIG, policyd.file, said), allowed(site)
    inert = _inert(policyd, asked)
    if inert:
        return fail(about, f"{NONE}: {inert}", shown)
    errors = OPEN if HARMLESS.match(str(policyd.said.get("db_error_action"))) else CLOSED
    wrong = wanted.against(down, "policyd-rate-limit") or wanted.against(errors, "its data base")
    if wrong:
        return fail(about, wrong, shown)
    if policyd.up is False and down == OPEN:
        return fail(about, f"{NONE}: nothing listens at {policyd.socket}, and mail passes", shown)
    if policyd.said.get("sql_limits_by_id"):
        return unknown(about, UNTOLD, "some accounts have limits of their own in a data base (sql_limits_by_id)", shown)
    most = most_of(policyd.limits, policyd.counts)
    if not most.within(wanted.most):
        return fail(about, f"an account may send {most}, more than is allowed: {wanted.most}", shown)
    for login, own in own_limits(policyd).items():
        if not own.within(wanted.of(login)):
            return fail(about, f"{printable(login)} may send {own}, and for no such thing there is an exemption in force", shown)
    silent = f"{while_down(down, 'policyd-rate-limit')}, {while_down(errors, 'its data base')}"
    return passed(about, f"an account may send {most}; {silent}")


def _inert(policyd: PolicydRateLimit, asked: Callable[[bool], bool]) -> str:
    """Why it refuses nobody who logs in."""
    if not asked(policyd.counts_at_data):
        if not asked(not policyd.counts_at_data):
            return "policyd-rate-limit stands behind what accepts logins"
        if policyd.counts_at_data:
            return "policyd-rate-limit counts at DATA (count_mode), and is asked for each recipient"
        return "policyd-rate-limit counts recipients, and is asked at DATA, where it counts nothing"
    if not policyd.said.get("limit_by_sasl"):
        return "policyd-rate-limit does not count by the login (limit_by_sasl)"
    if HARMLESS.match(str(policyd.said.get("fail_action"))):
        return f"over its limit policyd-rate-limit says {printable(str(policyd.said.get('fail_action')))}"
    return "" if policyd.limits else "policyd-rate-limit has no limits"


def most_of(limits: Limits, what: str = "recipients") -> Most:
    return reduce(Most.least, (window(count, seconds, what) for count, seconds in limits), Most(what=what))


def own_limits(policyd: PolicydRateLimit) -> Mapping[str, Most]:
    """Of logins that have their own; addresses of clients are none."""
    logins = {login: own for login, own in policyd.own_limits.items() if not re.fullmatch(r"[\d.]+|.*:.*", login)}
    return {login: most_of(own, policyd.counts) for login, own in logins.items()}


def exempted(policyd: PolicydRateLimit, wanted: Allowed) -> dict[str, Most]:
    """The logins whose own limits are allowed."""
    return {login: own for login, own in own_limits(policyd).items() if own.within(wanted.of(login))}
