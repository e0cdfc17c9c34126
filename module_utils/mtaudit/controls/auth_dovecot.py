"""Controls on how clients log in to Dovecot: in the clear, with weak mechanisms."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, fail, passed, unknown
from ..mechanisms import PLAIN, upper, weak, why_weak
from ..readers.dovecot_model import Dovecot, Port, Scope
from ..text import printable
from .dovecot_ports import each_port, outsiders, setting, subject


@control("AUTH-01", "dovecot")
@each_port
def passwords_only_inside_tls(dovecot: Dovecot, port: Port, site: Site) -> Iterator[Finding]:
    if port.listener.tls_wrapper:
        yield passed(subject(port), "TLS comes first")
        return
    if not set(upper(dovecot.mechanisms)) & set(PLAIN):
        yield passed(subject(port), "no mechanism that sends the password is offered")
        return
    findings = [f for scope in dovecot.scopes(port.protocol) for f in _scope(dovecot, port, scope, site)]
    worst = [f for f in findings if f.status.value == "fail"] or findings
    yield from worst[:1]
    if not worst:
        yield passed(subject(port), "passwords are refused before TLS")


def _scope(dovecot: Dovecot, port: Port, scope: Scope, site: Site) -> Iterator[Finding]:
    """What those connections may do without TLS for which a scope's settings hold.

    Tried on 2.3.19 and 2.4.1: clients of login_trusted_networks log in without TLS, on 2.3 whatever `ssl` says, on 2.4 unless it
    is `required`; 2.4 refuses auth_allow_cleartext together with ssl = required, and cuts off whom a filter gives both.
    """
    seen = [setting(scope, switch(dovecot)[0]), setting(scope, "ssl")]
    if in_clear(dovecot, scope):
        whom = f" from {printable(scope.whom)}" if scope.filters else ""
        clients = (str(scope.clients),) if scope.clients else ()
        yield fail(subject(port), f"passwords{whom} are taken without TLS", *seen, clients=clients)
    elif trust_counts(dovecot, scope):
        yield from _trusted(port, scope, site, seen)


def switch(dovecot: Dovecot) -> tuple[str, str]:
    """What has to do with passwords without TLS in this version, and the value with which they are refused."""
    return ("auth_allow_cleartext", "no") if dovecot.release >= (2, 4) else ("disable_plaintext_auth", "yes")


def in_clear(dovecot: Dovecot, scope: Scope) -> bool:
    """Whether others than the host itself may send passwords without TLS, whoever they are."""
    name, good = switch(dovecot)
    return scope.on(name) is (good == "no") and scope.value("ssl") != "required" and not _own_only(scope)


def trust_counts(dovecot: Dovecot, scope: Scope) -> bool:
    """Whether login_trusted_networks says who may send passwords without TLS."""
    return scope.value("ssl") != "required" or dovecot.release < (2, 4)


def _own_only(scope: Scope) -> bool:
    """Whether the filter names only the host itself."""
    return any(kind in ("remote", "local") and not outsiders(name, Site())[0] and not outsiders(name, Site())[1]
               for kind, name in scope.filters)


def _trusted(port: Port, scope: Scope, site: Site, seen: list[Evidence]) -> Iterator[Finding]:
    name = "login_trusted_networks"
    wide, doubtful = outsiders(scope.value(name), site)
    if wide and not doubtful:
        text = f"passwords from {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} are taken without TLS ({name})"
        yield fail(subject(port), text, setting(scope, name), *seen, conditions=("client_network",))
    elif doubtful:
        reason = "this is no network, so who may log in without TLS cannot be told"
        yield unknown(subject(port), f"{name} holds '{printable(doubtful[0])}'", reason, setting(scope, name))


@control("AUTH-05", "dovecot")
def only_good_mechanisms(dovecot: Dovecot, site: Site) -> Iterator[Finding]:
    # One list for all protocols, and for the programs that leave logins to Dovecot.
    bad = weak(dovecot.mechanisms)
    about = [subject(port) for port in dovecot.ports() if not port.listener.loopback_only] or [HOST]
    for each in about:
        if bad:
            text = f"{', '.join(name.upper() for name in bad)} offered: {bad[0].upper()} {why_weak(bad[0])}"
            yield fail(each, text, setting(dovecot.scopes("")[0], "auth_mechanisms"))
        else:
            yield passed(each, f"offered: {', '.join(upper(dovecot.mechanisms)) or 'nothing'}")
