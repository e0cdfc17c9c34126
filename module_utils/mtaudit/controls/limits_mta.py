"""Controls on what one client may send at once, for each mail program: RATE-02."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from ..address import LOOPBACK, routed_parts
from ..control import Site, control
from ..finding import Evidence, Finding, fail, passed, unknown
from ..listeners import Listener
from ..readers.dovecot_model import Dovecot, Port
from ..readers.exim import Exim
from ..readers.opensmtpd import OpenSmtpd
from ..readers.postfix import Postfix, Service, SmtpService
from ..readers.sendmail import Sendmail
from . import dovecot_ports, exim_ports, opensmtpd_ports, postfix_ports, sendmail_ports
from .limits import CONNECTIONS, RECIPIENTS, SIZE, Limit, What, judged, megabytes, most_of, number
from .relay_paths import own_networks

# The macro that conncontrol compares (cf/m4/proto.m4).
_BY_CLIENT = "{client_connections}"


@control("RATE-02", "postfix")
@postfix_ports.each_listener
def limits_of_postfix(smtp: SmtpService, site: Site) -> Iterator[Finding]:
    service, about = smtp.smtpd, postfix_ports.listener(smtp)
    # A postscreen in front counts by itself.
    front = smtp.front if smtp.postscreen else service
    name = "postscreen_client_connection_count_limit" if smtp.postscreen else "smtpd_client_connection_count_limit"
    connections = _of_postfix(CONNECTIONS, front, name)
    if not smtp.postscreen and not _anvil(service.postfix):
        shown = postfix_ports.seen(f"{service.postfix.config_directory}/master.cf", "no anvil service")
        yield fail(about, "connections are not counted: the anvil service, which counts them, is switched off", shown)
        return
    exempt = _exempt(smtp, site)
    if exempt is not None:
        yield exempt
        return
    size = _of_postfix(SIZE, service, "message_size_limit")
    yield from judged(about, [_of_postfix(RECIPIENTS, service, "smtpd_recipient_limit"), size, connections], site)


def _of_postfix(what: What, service: Service, name: str) -> Limit:
    shown = postfix_ports.setting(service, name)
    try:
        value = number(service.value(name))
    except ValueError as exc:
        return Limit(what, None, shown, str(exc))
    return Limit(what, megabytes(value) if what is SIZE else value, shown)


def _anvil(postfix: Postfix) -> bool:
    return any(s.entry and s.entry.command == "anvil" for s in postfix.services())


def _exempt(smtp: SmtpService, site: Site) -> Optional[Finding]:
    """Strangers for whom smtpd counts nothing. Those of mynetworks by default: who is in there by mistake is RELAY-01's."""
    name = "smtpd_client_event_limit_exceptions"
    service, about = smtp.smtpd, postfix_ports.listener(smtp)
    if smtp.postscreen or not service.explicit(name) or (service.raw(name) or "").strip() == "$mynetworks":
        return None
    trusted = service.match_list(name).trusted()
    if trusted.doubts:
        return unknown(about, f"for whom nothing is counted could not be told ({name})", trusted.doubts[0][0],
                       postfix_ports.setting(service, name))
    allowed = (*LOOPBACK, *site.trusted_networks, *own_networks(service.postfix))
    ours = [network for network, _ in service.match_list("mynetworks").trusted().networks]
    wide = [str(network) for network, _ in trusted.networks if routed_parts(network, [*allowed, *ours])]
    if wide:
        text = f"connections of {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} are not counted ({name})"
        return fail(about, text, postfix_ports.setting(service, name), clients=wide[:20])
    return None


@control("RATE-02", "exim")
@exim_ports.each_listener
def limits_of_exim(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    found = [_of_exim(exim, RECIPIENTS, "recipients_max"), _of_exim(exim, SIZE, "message_size_limit")]
    found.append(_connections_of_exim(exim, site))
    yield from judged(exim_ports.subject(port), found, site)


def _connections_of_exim(exim: Exim, site: Site) -> Limit:
    """What all clients together may have, one has at most."""
    own, together = _of_exim(exim, CONNECTIONS, "smtp_accept_max_per_host"), _of_exim(exim, CONNECTIONS, "smtp_accept_max")
    if own.doubt and (together.value is None or together.value > most_of(CONNECTIONS, site)):
        return own
    known = [limit for limit in (own, together) if limit.value is not None]
    return min(known, key=lambda limit: limit.value or 0) if known else together


def _of_exim(exim: Exim, what: What, name: str) -> Limit:
    shown = exim_ports.option(exim, name)
    try:
        value = number(exim.options.get(name, ""))
    except ValueError:
        return Limit(what, None, shown, f"{name} is expanded for each client")
    return Limit(what, megabytes(value) if what is SIZE else value, shown)


@control("RATE-02", "sendmail")
@sendmail_ports.each_listener
def limits_of_sendmail(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    found = [_of_sendmail(sendmail, RECIPIENTS, "MaxRecipientsPerMessage"), _of_sendmail(sendmail, SIZE, "MaxMessageSize"),
             _connections_of_sendmail(sendmail)]  # fmt: skip
    yield from judged(sendmail_ports.subject(port), found, site)


def _of_sendmail(sendmail: Sendmail, what: What, name: str) -> Limit:
    text = sendmail.cf.option(name)
    shown = sendmail_ports.seen(sendmail.origin(name), f"{name}={text}")
    try:
        value = number(text)
    except ValueError as exc:
        return Limit(what, None, shown, str(exc))
    return Limit(what, megabytes(value) if what is SIZE else value, shown)


def _connections_of_sendmail(sendmail: Sendmail) -> Limit:
    """FEATURE(conncontrol) asks the access map; MaxDaemonChildren bounds all clients together. Clients that the map lets relay
    (`Connect:... RELAY`) are not counted: check_relay ends before (tried: 127.0.0.1, and a stranger)."""
    everybody = _of_sendmail(sendmail, CONNECTIONS, "MaxDaemonChildren")
    rules = [rule for found in sendmail.cf.reached("check_relay").values() for rule in found]
    asked = [rule for rule in rules if _BY_CLIENT in f"{rule.left} {rule.right}"]
    if not asked:
        return everybody
    access = sendmail.access
    if access is None or access.problem:
        shown = sendmail_ports.seen(sendmail.where(asked[0]), str(asked[0]))
        return Limit(CONNECTIONS, None, shown, access.problem if access else "the access map was not read")
    usual = [entry for entry in sendmail.entries("clientconn") if not entry.key]
    shown = sendmail_ports.seen(access.path, str(usual[0]) if usual else "no ClientConn: for everybody")
    try:
        value = number(usual[0].value) if usual else None
    except ValueError as exc:
        return Limit(CONNECTIONS, None, shown, str(exc))
    if value is None:
        return everybody if everybody.value is not None else Limit(CONNECTIONS, None, shown)
    return Limit(CONNECTIONS, min(value, everybody.value or value), shown)


@control("RATE-02", "opensmtpd")
@opensmtpd_ports.each_listener
def limits_of_opensmtpd(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    limits = smtpd.config.limits
    recipients, size = limits.get("max-rcpt", 1000), limits.get("max-message-size", 35 * 1024**2)
    found = [
        Limit(RECIPIENTS, recipients, _of_opensmtpd(smtpd, "smtp limit max-rcpt", recipients)),
        Limit(SIZE, megabytes(size), _of_opensmtpd(smtpd, "smtp max-message-size", size)),
        Limit(CONNECTIONS, None, _of_opensmtpd(smtpd, "listen", "OpenSMTPD counts no connections"), cannot=True),
    ]
    yield from judged(opensmtpd_ports.subject(listener), found, site)


def _of_opensmtpd(smtpd: OpenSmtpd, name: str, value: Any) -> Evidence:
    return opensmtpd_ports.seen(f"{smtpd.file} {name}", str(value))


@control("RATE-02", "dovecot")
@dovecot_ports.each_port
def limits_of_dovecot(dovecot: Dovecot, port: Port, site: Site) -> Iterator[Finding]:
    if port.protocol not in ("imap", "pop3", "sieve"):
        yield passed(dovecot_ports.subject(port), "mail is handed over to the mail server, which counts")
        return
    name = "mail_max_userip_connections"
    scope = dovecot.scopes(port.protocol)[0]
    shown = dovecot_ports.setting(scope, name)
    try:
        # 0 is no limit, and so is `unlimited` since 2.4.
        value = number(scope.value(name).replace("unlimited", "0"))
        limit = Limit(CONNECTIONS, value, shown, "" if scope.value(name) else f"doveconf prints no {name}")
    except ValueError as exc:
        limit = Limit(CONNECTIONS, None, shown, str(exc))
    yield from judged(dovecot_ports.subject(port), [limit], site)
