"""How people log in to Exim: inside TLS, on the ports for it, by name, with their own senders, within limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from ..config.exim import Wanted
from ..control import Site
from ..controls.exim_login import offers, usable
from ..controls.logged_accounts import LOGIN, SECRET, set_id
from ..controls.rates import Most, allowed, limits_of
from ..finding import Finding
from ..fix import fix
from ..listeners import Listener
from ..mechanisms import weak
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt
from ..readers.exim_model import server_side
from ..readers.exim_syntax import items
from .exim_changes import failing, first_in, together, with_conditions
from .over_limit import LOGGED, telling

_SUBMISSION = (465, 587)
_ON_SUBMISSION = r"match{$received_port}{\N^(465|587)$\N}"
_ADVERTISE = "auth_advertise_hosts"
_OURS = (("domainlist", "local_domains"), ("domainlist", "relay_to_domains"))
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+")
# Which of what the client gives is its login (specification, "The plaintext authenticator").
_LOGIN_OF = {"PLAIN": "$auth2", "LOGIN": "$auth1"}
# The default without the client, with the login in its place (specification, received_header_text).
_RECEIVED = (
    r"Received: ${if def:authenticated_id {from submission (authenticated as ${quote_local_part:$authenticated_id})\n\t}"
    r"{${if def:sender_rcvhost {from $sender_rcvhost\n\t}}}}"
    r"by $primary_hostname ${if def:received_protocol {with $received_protocol }}"
    r"id $message_exim_id${if def:received_for {\n\tfor $received_for}}"
)
_CLIENT = re.compile(r"\bsender_(?:host|helo|rcvhost|fullhost|ident)")


def _advertised(exim: Exim) -> str:
    return exim.options.get(_ADVERTISE, "*").strip()


@fix("AUTH-01", "exim")
def offer_logins_inside_tls(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """To those who were offered them, once the session is encrypted; where it can be."""
    if not exim.offers_tls or not exim.options.get("tls_certificate"):
        return None
    return Wanted(options={_ADVERTISE: f"${{if def:tls_in_cipher{{{_advertised(exim)}}}{{}}}}"})


@fix("AUTH-02", "exim")
def offer_no_login_on_port_25(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """If there is another port where people can log in."""
    ports = [port for port in exim.listeners if port.port in _SUBMISSION and not port.loopback_only]
    if not any(_takes_logins(exim, port, site) for port in ports):
        return None
    return Wanted(options={_ADVERTISE: f"${{if eq{{$received_port}}{{25}}{{}}{{{_advertised(exim)}}}}}"})


def _takes_logins(exim: Exim, port: Listener, site: Site) -> bool:
    try:
        return any(usable(exim, offer) for offer in offers(exim, port, site, tls=True))
    except Doubt:
        return False


@fix("AUTH-03", "exim")
def open_submission(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """A port for those who log in, and for nobody else; only where passwords can be checked at all, and inside TLS."""
    if not exim.takes_logins or not exim.offers_tls or not exim.options.get("tls_certificate"):
        return None
    ports = failing(exim, findings)
    if not ports:
        listened = items(exim.options.get("daemon_smtp_ports", "smtp"))
        return Wanted(options={"daemon_smtp_ports": " : ".join([*listened, "587"])})
    if not all(_takes_logins(exim, port, site) for port in ports):
        others = "" if _advertised(exim) == ":" else _advertised(exim)
        return Wanted(options={_ADVERTISE: f"${{if and {{{{{_ON_SUBMISSION}}}{{def:tls_in_cipher}}}}{{*}}{{{others}}}}}"})
    text = f"deny\n  condition = ${{if {_ON_SUBMISSION}}}\n  !authenticated = *\n  message = authentication required"
    return first_in(exim, "acl_smtp_mail", "acl_mtaudit_mail", text)


@fix("AUTH-05", "exim")
def offer_good_mechanisms(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The server side of weak ones goes; what Exim itself logs in with elsewhere stays."""
    found: dict[str, Optional[dict[str, Optional[str]]]] = {}
    for name, options in exim.config.authenticators.items():
        if server_side(options) and weak([options.get("public_name", name).strip('"').upper()]):
            as_client = any(option.startswith("client_") for option in options)
            server = dict.fromkeys(option for option in options if option.startswith("server_"))
            found[f"authenticators/{name}"] = server if as_client else None
    return Wanted(drivers=found) if found else None


@fix("RELAY-14", "exim")
def hold_logins_to_the_site(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Senders of the site's domains, and the null sender, with which programs confirm that they were read (RFC 8098, 2)."""
    ours = " : ".join(f"+{name}" for kind, name in exim.config.lists if (kind, name) in _OURS)
    text = f"deny\n  authenticated = *\n  !senders = :\n  !sender_domains = {ours}\n  message = this is no sender of this site"
    return first_in(exim, "acl_smtp_mail", "acl_mtaudit_mail", text) if ours else None


@fix("SENDER-01", "exim")
def hold_logins_to_their_senders(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """First in the ACL for MAIL. Only the site knows whose sender is whose: without its table nothing is proposed."""
    tables = [table for table in exim.tables.values() if not table.problem and _of_senders(table.entries("lsearch"))]
    if len(tables) != 1:
        return None
    owned = f"${{if inlisti{{$authenticated_id}}{{${{lookup{{${{lc:$sender_address}}}}lsearch{{{tables[0].path}}}}}}}}}"
    text = f"deny\n  authenticated = *\n  !condition = {owned}\n  message = sender address is not owned by $authenticated_id"
    return first_in(exim, "acl_smtp_mail", "acl_mtaudit_mail", text)


def _of_senders(entries: Sequence[tuple[str, str]]) -> bool:
    return bool(entries) and all(_ADDRESS.fullmatch(key) and value for key, value in entries)


@fix("LOG-01", "exim")
def name_the_account_in_the_log(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return together(named_logins(exim))


def named_logins(exim: Exim) -> Iterator[Wanted]:
    """server_set_id for authenticators that name nobody, everybody alike, or the password."""
    for name, options in exim.config.authenticators.items():
        if not server_side(options):
            continue
        try:
            account = set_id(exim, options)
        except Doubt:
            continue
        mechanism = options.get("public_name", name).strip('"').upper()
        login = _LOGIN_OF.get(mechanism, "") if options.get("driver") == "plaintext" else "$auth1"
        if login and (SECRET in account or LOGIN not in account):
            yield Wanted(drivers={f"authenticators/{name}": {"server_set_id": login}})


@fix("LOG-02", "exim")
def name_the_account_in_the_header(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Nothing takes the header out on the way; then it names the account."""
    found: list[Wanted] = []
    for section, drivers in (("routers", exim.config.routers), ("transports", exim.config.transports)):
        for name, options in drivers.items():
            removed = [i for i in items(options.get("headers_remove", "")) if i]
            kept = [i for i in removed if i.lower() != "received"]
            if kept != removed:
                found.append(Wanted(drivers={f"{section}/{name}": {"headers_remove": " : ".join(kept) or None}}))
    return together(found) or Wanted(options={"received_header_text": _RECEIVED})


@fix("INFO-03", "exim")
def do_not_tell_where_people_are(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """What an ACL adds of the client goes; then the header names the account in its place."""
    found = []
    for acl in exim.config.acls.values():
        for statement in acl:
            telling = [c for c in statement.conditions if c.name == "add_header" and _CLIENT.search(c.value)]
            if telling:
                found.append(with_conditions(exim, statement, [c for c in statement.conditions if c not in telling]))
    return together(found) or Wanted(options={"received_header_text": _RECEIVED})


@fix("RATE-01", "exim")
def limit_accounts(exim: Exim, site: Site, findings: Sequence[Finding]) -> Optional[Mapping[str, Any]]:
    """Counted by the login, which each authenticator has to name: else all share one limit. Who goes over it, the postmaster is
    told."""
    if any(server_side(options) and "server_set_id" not in options for options in exim.config.authenticators.values()):
        return None
    wanted = allowed(site)
    named = [login for account in wanted.accounts for login in account.logins]
    texts = list(_limits(wanted.most, f"!condition = {_among(named)}" if named else ""))
    for account in wanted.accounts:
        texts += _limits(limits_of(account), f"condition = {_among(account.logins)}")
    option, name = "acl_smtp_predata", "acl_mtaudit_limit"
    if not exim.options.get(option, "").strip():
        limits = first_in(exim, option, name, "\n".join(texts))
    else:
        limits = together(first_in(exim, option, name, text) for text in texts)
    return {"exim": limits, "os": telling(exim)} if limits else None


def _among(logins: Sequence[str]) -> str:
    return f"${{if inlisti{{$authenticated_id}}{{{' : '.join(logins)}}}}}"


def _limits(most: Most, whose: str) -> Iterator[str]:
    for count, period, word in ((most.per_hour, "1h", "an hour"), (most.per_day, "1d", "a day")):
        if count < math.inf:
            limit = f"ratelimit = {int(count)} / {period} / per_rcpt / strict / user-${{lc:$authenticated_id}}"
            lines = ["defer", "  authenticated = *", f"  {whose}", f"  {limit}", f"  message = too many recipients within {word}",
                     f"  log_message = {LOGGED}"]  # fmt: skip
            yield "\n".join(line for line in lines if line.strip())
