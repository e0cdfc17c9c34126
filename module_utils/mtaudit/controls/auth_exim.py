"""Controls on how clients log in to Exim: in the clear, on port 25, with weak mechanisms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, fail, notapplicable, passed, unknown
from ..listeners import Listener
from ..mechanisms import PLAIN, weak, why_weak
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt
from .exim_login import Offer, offers, usable
from .exim_ports import each_listener, option, seen, subject

_Wanted = Callable[[Offer], bool]


def _usable(exim: Exim, port: Listener, site: Site, tls: tuple[bool, ...], wanted: _Wanted) -> tuple[list[Offer], str]:
    """What may be used in sessions with or without TLS, of what is wanted; and why that cannot be told."""
    try:
        found = [offer for state in tls for offer in offers(exim, port, site, state) if wanted(offer)]
        return [offer for offer in found if usable(exim, offer)], ""
    except Doubt as exc:
        return [], str(exc)


def _shown(exim: Exim, offer: Offer) -> list[Evidence]:
    options = exim.config.authenticators[offer.name]
    text = f"{offer.mechanism}, server_advertise_condition = {options.get('server_advertise_condition', '(unset)')}"
    return [option(exim, "auth_advertise_hosts"), seen(f"{exim.file} authenticator {offer.name}", text)]


@control("AUTH-01", "exim")
@each_listener
def passwords_only_inside_tls(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    if port.tls_wrapper:
        yield passed(subject(port), "TLS comes first")
        return
    found, doubt = _usable(exim, port, site, (False,), lambda offer: offer.mechanism in PLAIN)
    if doubt:
        yield unknown(subject(port), "whether passwords are taken without TLS could not be told", doubt,
                      option(exim, "auth_advertise_hosts"))  # fmt: skip
    elif found:
        whom = f" from {found[0].clients[0]}" if found[0].clients else ""
        text = f"passwords{whom} are taken without TLS: the authenticator {found[0].name} is offered"
        yield fail(subject(port), text, *_shown(exim, found[0]), clients=found[0].clients)
    else:
        yield passed(subject(port), "no password is taken without TLS")


@control("AUTH-02", "exim")
def port_25_takes_no_logins(exim: Exim, site: Site) -> Iterator[Finding]:
    findings = list(each_listener(_port_25)(exim, site))
    if exim.listeners and not findings:
        findings = [notapplicable(HOST, "Exim does not listen on port 25", "daemon_smtp_ports and -oX do not name it")]
    yield from findings


def _port_25(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    if port.port != 25:
        return
    found, doubt = _usable(exim, port, site, (False, True), lambda offer: True)
    if doubt:
        yield unknown(subject(port), "whether port 25 takes logins could not be told", doubt,
                      option(exim, "auth_advertise_hosts"))  # fmt: skip
    elif found:
        after = ", after STARTTLS" if found[0].session.tls else ""
        whom = f" from {found[0].clients[0]}" if found[0].clients else ""
        text = f"port 25 takes logins{whom}{after}: the authenticator {found[0].name} is offered"
        yield fail(subject(port), text, *_shown(exim, found[0]), clients=found[0].clients)
    else:
        yield passed(subject(port), "no login here")


@control("AUTH-05", "exim")
@each_listener
def only_good_mechanisms(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    if not exim.takes_logins:
        yield notapplicable(subject(port), "no login here", "no authenticator has a server side")
        return
    states = (True,) if port.tls_wrapper else (False, True)
    found, doubt = _usable(exim, port, site, states, lambda offer: bool(weak([offer.mechanism])))
    if doubt:
        yield unknown(subject(port), "which mechanisms are offered could not be told", doubt,
                      option(exim, "auth_advertise_hosts"))  # fmt: skip
    elif found:
        text = f"{found[0].mechanism} offered: it {why_weak(found[0].mechanism)}"
        yield fail(subject(port), text, *_shown(exim, found[0]), clients=found[0].clients)
    else:
        yield passed(subject(port), "no weak mechanism is offered")
