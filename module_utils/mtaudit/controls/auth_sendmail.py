"""Controls on how clients log in to Sendmail: in the clear, on port 25, with weak mechanisms."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Finding, fail, notapplicable, passed, unknown
from ..listeners import Listener
from ..mechanisms import PLAIN, weak, why_weak
from ..readers.sendmail import Sendmail
from .sendmail_login import Client, clients, mechanisms, no_login, offers_login, shown
from .sendmail_ports import each_listener, subject


def _doubt(sendmail: Sendmail, client: Client) -> str:
    return client.features.doubt or sendmail.sasl.doubt


def _offered(sendmail: Sendmail, port: Listener, site: Site) -> list[Client]:
    """Those who can log in on this port."""
    return [client for client in clients(sendmail, port, site) if client.features.doubt or offers_login(sendmail, port, client)]


@control("AUTH-01", "sendmail")
@each_listener
def passwords_only_inside_tls(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    if port.tls_wrapper:
        yield passed(subject(port), "TLS comes first")
        return
    found = _offered(sendmail, port, site)
    for client in found:
        taken = [name for name in mechanisms(sendmail, client, tls=False) if name in PLAIN]
        if taken and not _doubt(sendmail, client):
            text = f"passwords{client.named} are taken without TLS: {', '.join(taken)} offered before STARTTLS"
            yield fail(subject(port), text, *shown(sendmail, port, client), clients=client.clients)
            return
    doubtful = next((c for c in found if _doubt(sendmail, c) and _may_be_taken(sendmail, c)), None)
    if doubtful:
        text = "whether passwords are taken without TLS could not be told"
        yield unknown(subject(port), text, _doubt(sendmail, doubtful), *shown(sendmail, port, doubtful))
    elif not found:
        yield passed(subject(port), f"no login here: {no_login(sendmail, port)}")
    else:
        yield passed(subject(port), "no password is taken without TLS")


def _may_be_taken(sendmail: Sendmail, client: Client) -> bool:
    """What SASL has is not known, or what the client is offered: the `p` of AuthOptions decides where srv_features is known."""
    return bool(client.features.doubt) or any(name in PLAIN for name in mechanisms(sendmail, client, tls=False))


@control("AUTH-02", "sendmail")
def port_25_takes_no_logins(sendmail: Sendmail, site: Site) -> Iterator[Finding]:
    findings = list(each_listener(_port_25)(sendmail, site))
    if sendmail.listeners and not findings:
        findings = [notapplicable(HOST, "Sendmail does not listen on port 25", "no port in DaemonPortOptions is 25")]
    yield from findings


def _port_25(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    if port.port != 25:
        return
    found = _offered(sendmail, port, site)
    certain = next((client for client in found if not client.features.doubt), None)
    if certain and not sendmail.sasl.doubt:
        clear = mechanisms(sendmail, certain, tls=False)
        text = f"port 25 takes logins{certain.named}{'' if clear else ', after STARTTLS'}"
        yield fail(subject(port), text, *shown(sendmail, port, certain), clients=certain.clients)
    elif found:
        text = "whether port 25 takes logins could not be told"
        yield unknown(subject(port), text, _doubt(sendmail, found[0]), *shown(sendmail, port, found[0]))
    else:
        yield passed(subject(port), f"no login here: {no_login(sendmail, port)}")


@control("AUTH-05", "sendmail")
@each_listener
def only_good_mechanisms(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    found = _offered(sendmail, port, site)
    if not found:
        yield notapplicable(subject(port), "no login here", no_login(sendmail, port))
        return
    doubtful = next((client for client in found if _doubt(sendmail, client)), None)
    if doubtful:
        text = "which mechanisms are offered could not be told"
        yield unknown(subject(port), text, _doubt(sendmail, doubtful), *shown(sendmail, port, doubtful))
        return
    states = (True,) if port.tls_wrapper else (False, True)
    offered = [(client, [name for tls in states for name in mechanisms(sendmail, client, tls)]) for client in found]
    for client, names in offered:
        bad = list(dict.fromkeys(weak(names)))
        if bad:
            text = f"{', '.join(bad)} offered{client.named}: {bad[0]} {why_weak(bad[0])}"
            yield fail(subject(port), text, *shown(sendmail, port, client), clients=client.clients)
            return
    names = list(dict.fromkeys(name for _, each in offered for name in each))
    yield passed(subject(port), f"offered: {', '.join(names) or 'nothing'}")
