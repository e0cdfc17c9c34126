"""Controls on the account in the log: what the configuration makes each program write of a login."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Optional

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, error, fail, notapplicable, passed, unknown
from ..readers.dovecot_model import Dovecot, Scope
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure, Known, Session
from ..readers.exim_model import server_side
from ..readers.sendmail import Sendmail
from . import dovecot_ports, exim_ports, sendmail_ports

LOGIN, SECRET = "mtaudit-login", "mtaudit-secret"  # what stands in the place of a name and a password
ELEMENTS = "login_log_format_elements"  # of Dovecot
_LOGS_LOGINS = 9  # Sendmail's "AUTH=server" is written from this level on (tried on 8.17 and 8.18: not at 8)


@control("LOG-01", "exim")
def exim_logs_the_account(exim: Exim, site: Site) -> Iterator[Finding]:
    """`A=authenticator:account` stands in the line of a message; without server_set_id only `A=authenticator`."""
    servers = {name: options for name, options in exim.config.authenticators.items() if server_side(options)}
    if exim.problem:
        yield error(HOST, f"the configuration of Exim ({exim.file}) could not be read", exim.problem)
        return
    if not servers:
        yield notapplicable(HOST, "nobody logs in to Exim", "no authenticator has a server side")
        return
    bad: list[tuple[str, str]] = []
    doubts: list[tuple[str, str]] = []
    for name, options in servers.items():
        try:
            account = set_id(exim, options)
        except Doubt as exc:
            doubts.append((name, str(exc)))
            continue
        if not account:
            bad.append((name, "the log names no account of its logins"))
        elif LOGIN not in account and SECRET not in account:  # a password in the log is LOG-06
            bad.append((name, f"the log names the same account for every login: {account[:60]}"))
    shown = [shown_set_id(exim, name) for name, _ in (*bad, *doubts)]
    if bad:
        yield fail(HOST, f"authenticator {bad[0][0]}: {bad[0][1]}", *shown)
    elif doubts:
        text = f"which account authenticator {doubts[0][0]} names in the log could not be told"
        yield unknown(HOST, text, doubts[0][1], *shown)
    else:
        yield passed(HOST, f"each of {len(servers)} authenticators names the account (server_set_id)")


def shown_set_id(exim: Exim, name: str) -> Evidence:
    """The setting that says what the log calls an authenticator's login."""
    text = exim.config.authenticators[name].get("server_set_id", "(unset)")
    return exim_ports.seen(f"{exim.file} authenticator {name}", f"server_set_id = {text}")


def set_id(exim: Exim, options: Mapping[str, str]) -> str:
    """What server_set_id makes of a login with LOGIN and SECRET; empty when the log names nobody. Raises Doubt."""
    known = exim.known()
    variables = {**known.variables, **_given(options)}
    try:
        text = options.get("server_set_id", "")
        return _Numbered(Known(variables, known.exists, known.lookup), Session("")).expand(text).strip()
    except ForcedFailure:
        return ""


class _Numbered(Expander):
    """In an authenticator the old names $1 to $3 still mean $auth1 to $auth3."""

    def variable(self, name: str) -> str:
        return super().variable(f"auth{name}" if name in ("1", "2", "3") else name)


def _given(options: Mapping[str, str]) -> dict[str, str]:
    """$auth1 ...: of PLAIN the authorization name, which clients leave empty, the login and the password (RFC 4616, 2)."""
    mechanism = options.get("public_name", "").strip('"').upper()
    given: tuple[str, ...] = (LOGIN,)
    if options.get("driver") == "plaintext":
        given = {"PLAIN": ("", LOGIN, SECRET), "LOGIN": (LOGIN, SECRET)}.get(mechanism, (LOGIN, LOGIN, LOGIN))
    elif options.get("driver") in ("gsasl", "tls", "external"):
        given = (LOGIN, LOGIN, LOGIN)
    return {f"auth{number}": value for number, value in enumerate((*given, "", "")[:3], 1)}


@control("LOG-01", "sendmail")
def sendmail_logs_the_account(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
    if sendmail.problem:
        yield error(HOST, f"the configuration of Sendmail ({sendmail.file}) could not be read", sendmail.problem)
        return
    if not any(daemon.login_offered for daemon in sendmail.daemons):
        yield notapplicable(HOST, "nobody logs in to Sendmail", "every port is told not to offer it (M=A)")
        return
    level = log_level(sendmail)
    shown = sendmail_ports.seen(sendmail.origin("LogLevel"), sendmail.cf.option("LogLevel", "9 (the default)"))
    if level is None:
        yield unknown(HOST, "the level of the log is not known", "LogLevel is no number", shown)
    elif level < _LOGS_LOGINS:
        yield fail(HOST, f"at LogLevel {level} the line that names the account of a login is not written; it is from 9 on", shown)
    else:
        yield passed(HOST, f"the account of each login is logged (LogLevel {level})")


def log_level(sendmail: Sendmail) -> Optional[int]:
    """LogLevel; None when it is no number."""
    text = sendmail.cf.option("LogLevel", "9").strip()
    return int(text) if text.isdigit() else None


@control("LOG-01", "dovecot")
def dovecot_logs_the_account(dovecot: Dovecot, site: Site) -> Iterator[Finding]:
    if not dovecot.ports():
        yield notapplicable(HOST, "Dovecot listens for nobody", f"no protocol has a port in {dovecot.config_file}")
        return
    scopes = [scope for port in dovecot.ports() for scope in dovecot.scopes(port.protocol)]
    wrong = next((scope for scope in scopes if not names_the_account(scope)), None)
    if wrong:
        text = f"the line of a login does not name the account: {ELEMENTS} lacks it"
        yield fail(HOST, text, dovecot_ports.setting(wrong, ELEMENTS))
    else:
        yield passed(HOST, "the line of each login names the account")


def names_the_account(scope: Scope) -> bool:
    """Whether Dovecot's line of a login does."""
    return any(word in scope.value(ELEMENTS) for word in ("%u", "%{user", "%{original_user"))
