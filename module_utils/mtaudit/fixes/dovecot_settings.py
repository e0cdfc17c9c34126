"""How people log in to Dovecot, whom it believes, what it writes, and how much one client may do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from .. import tls_versions
from ..config.dovecot import Wanted
from ..control import Site
from ..controls.auth_dovecot import in_clear, switch, trust_counts
from ..controls.limits import CONNECTIONS, most_of
from ..controls.logged_accounts import ELEMENTS, names_the_account
from ..finding import Finding
from ..fix import fix
from ..mechanisms import weak
from ..readers.dovecot_model import Dovecot, Scope
from .dovecot_changes import everywhere, narrowed, put, scopes, together

_LOGINS, _PROXIES = "login_trusted_networks", "haproxy_trusted_networks"


@fix("AUTH-01", "dovecot")
def passwords_inside_tls_alone(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """The switch where it is wrong, and TLS where there is none. Without a certificate nobody could log in any more: only the
    site can give it one."""
    wanted: list[Optional[Wanted]] = []
    for protocol, scope in scopes(dovecot, findings):
        if in_clear(dovecot, scope):
            name, good = switch(dovecot)
            wanted.append(put(dovecot, protocol, scope, name, good))
            if scope.value("ssl") == "no":
                if not _has_certificate(dovecot, scope):
                    return None
                wanted.append(put(dovecot, protocol, scope, "ssl", "yes"))
        elif trust_counts(dovecot, scope):
            wanted.append(narrowed(dovecot, protocol, scope, _LOGINS, site))
    return together(wanted)


def _has_certificate(dovecot: Dovecot, scope: Scope) -> bool:
    inside = [section.settings.get("cert_file") for section in dovecot.root.of_kind("ssl_server")]  # as 2.4 prints it
    return bool(scope.value("ssl_cert") or scope.value("ssl_server_cert_file") or any(inside))


@fix("AUTH-05", "dovecot")
def offer_good_mechanisms(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    gone = weak(dovecot.mechanisms)
    return everywhere("auth_mechanisms", " ".join(name for name in dovecot.mechanisms if name not in gone) or "plain")


@fix("AUTH-06", "dovecot")
def answer_wrong_passwords_late(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    return everywhere("auth_failure_delay", "2 secs")  # the default


@fix("RELAY-07", "dovecot")
def believe_declared_proxies_alone(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    found = scopes(dovecot, findings)
    return together(narrowed(dovecot, protocol, scope, name, site) for protocol, scope in found for name in (_LOGINS, _PROXIES))


@fix("RELAY-13", "dovecot")
def let_no_reader_relay(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Without the plugin, and without the script that runs after each login."""
    return together([*_without_drac(dovecot), *_without_scripts(dovecot, " ".join(f.message for f in findings))])


def _without_drac(dovecot: Dovecot) -> Iterator[Wanted]:
    name = "mail_plugins"
    for protocol in sorted(dovecot.protocols & {"imap", "pop3"}):
        scope = dovecot.scopes(protocol)[0]
        plugins = scope.value(name).split()
        if "drac" in plugins:
            yield put(dovecot, protocol, scope, name, " ".join(plugin for plugin in plugins if plugin != "drac"))


def _without_scripts(dovecot: Dovecot, said: str) -> Iterator[Wanted]:
    """Sessions go through a service that runs scripts one after the other, the last word of `executable = imap after-login`; one
    that has no script left goes, and they go on without it."""
    services = dovecot.root.of_kind("service")
    for service in services:
        words = service.settings.get("executable", "").split()
        bad = [word for word in words if word in dovecot.scripts and f"{word}, which runs after" in said]
        left = [word for word in words if word not in bad]
        if bad and any(word.startswith("/") and not word.endswith("script-login") for word in left):
            yield Wanted({f"service {service.name}": {"executable": " ".join(left)}})
        elif bad:
            for each in services:
                through = each.settings.get("executable", "").split()
                if through[1:] == [service.name]:
                    yield Wanted({f"service {each.name}": {"executable": through[0]}})
            yield Wanted({f"service {service.name}": None})


@fix("RATE-02", "dovecot")
def limit_a_client(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    found = [(protocol, scope) for protocol, scope in scopes(dovecot, findings) if not scope.filters]
    most = str(most_of(CONNECTIONS, site))
    return together(put(dovecot, protocol, scope, "mail_max_userip_connections", most) for protocol, scope in found)


@fix("LOG-01", "dovecot")
def name_the_account_of_a_login(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Before what is logged already."""
    account = "user=<%{user}>" if dovecot.release >= (2, 4) else "user=<%u>"
    found = [(protocol, scope) for protocol in {port.protocol: None for port in dovecot.ports()}
             for scope in dovecot.scopes(protocol) if not names_the_account(scope)]  # fmt: skip
    return together(put(dovecot, p, scope, ELEMENTS, f"{account} {scope.value(ELEMENTS)}".strip()) for p, scope in found)


@fix("LOG-06", "dovecot")
def log_no_password(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    shown = " ".join(evidence.where for finding in findings for evidence in finding.evidence)
    return together(everywhere(name, "no") for name in ("auth_debug_passwords", "auth_verbose_passwords") if name in shown)


@fix("TLS-01", "dovecot")
def take_new_tls_alone(dovecot: Dovecot, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    name = "ssl_min_protocol"
    found = [(protocol, scope) for protocol, scope in scopes(dovecot, findings) if scope.value(name)]
    return together(put(dovecot, protocol, scope, name, "TLSv1.2") for protocol, scope in found if _old(scope.value(name)))


def _old(value: str) -> bool:
    try:
        return bool(tls_versions.old(tls_versions.of_dovecot(value)))
    except ValueError:
        return False
