"""Controls on who may relay through OpenSMTPD: foreign mail from strangers, and senders that are not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..control import Site, control
from ..finding import Finding, fail, informational, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_tables import Doubt
from ..text import printable
from .opensmtpd_login import NO_LOGIN, logins, without_tls
from .opensmtpd_paths import Finder, Path, paths
from .opensmtpd_ports import PerListener, decided, each_listener, line, subject
from .opensmtpd_walk import Answer
from .relay_clients import listed_clients
from .way import routes


def _failed(listener: Listener, path: Path, text: str) -> Finding:
    evidence = [line(path.rule.port), *decided(path.rule.outcome)]
    return fail(subject(listener), text, *evidence, conditions=path.conditions, clients=listed_clients(path.networks))


def _from_paths(control_id: str, closed: str) -> PerListener:
    """Fail for each way that the control owns; unknown for one that may exist; else pass, saying what is closed."""

    def function(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
        own = [path for path in paths(smtpd, listener, site) if path.control == control_id]
        certain = [path for path in own if not path.doubt]
        for path in certain:
            yield _failed(listener, path, path.message)
        if own and not certain:
            way = own[0].rule
            yield unknown(subject(listener), own[0].message, own[0].doubt, line(way.port), *decided(way.outcome))
        elif not own:
            yield passed(subject(listener), closed)

    return function


def _path_control(control_id: str, closed: str) -> None:
    control(control_id, "opensmtpd")(each_listener(_from_paths(control_id, closed)))


_path_control("RELAY-01", "no rule relays for strangers because of their address")
_path_control("RELAY-04", "no rule relays for a foreign domain")
_path_control("RELAY-06", "no weaker policy than on the first port")
_path_control("RELAY-08", "no gateway or proxy is trusted")
_path_control("RELAY-09", "IPv6 clients may do no more than IPv4 clients")


@control("RELAY-03", "opensmtpd")
@each_listener
def strangers_are_refused_before_any_accept(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(smtpd, listener, site)
    for port, version in finder.ports:
        outcome = finder.outcome(port, finder.session(version))
        if outcome.answer is Answer.TEMPFAIL:
            text = "every stranger is put off with 451: OpenSMTPD cannot answer `tls` in a rule"
            yield informational(subject(listener), text, *decided(outcome))
            return
    yield from _from_paths("RELAY-03", "strangers are refused before any rule relays")(smtpd, listener, site)


@control("RELAY-07", "opensmtpd")
@each_listener
def only_proxies_assert_an_identity(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    ports = [port for port, _ in smtpd.ports_of(listener) if port.listen.proxy]
    if not ports:
        yield passed(subject(listener), "nobody may claim another address: no PROXY header is taken")
    elif not site.proxies:
        text = "proxy-v2: whoever connects claims any address, and no proxy is declared"
        yield fail(subject(listener), text, line(ports[0]), conditions=("proxy_header",))
    else:
        reason = "only a packet filter keeps others than the declared proxies away; the configuration does not show it"
        yield unknown(subject(listener), "clients introduce themselves with a PROXY header (proxy-v2)", reason, line(ports[0]))


@control("RELAY-10", "opensmtpd")
@each_listener
def routing_in_the_local_part_is_refused(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    """For domains that are delivered here `%` and `!` are letters of the local part; for others the next host reads them."""
    finder = Finder(smtpd, listener, site)
    for port, version in finder.ports:
        foreign = finder.session(version).recipient.rpartition("@")[2]
        # A quoted local part is no address to smtpd (valid_localpart() in util.c).
        for trick, local_part, shape in routes(foreign)[:2] if smtpd.relayed_domains else ():
            domain = smtpd.relayed_domains[0]
            outcome = finder.outcome(port, finder.session(version, recipient=f"{local_part}@{domain}"))
            if outcome.answer is Answer.RELAY:
                text = f"{shape}@{domain} is passed on to the next host, which may send it anywhere"
                yield fail(subject(listener), text, *decided(outcome), conditions=(trick,))
                return
            if outcome.answer is Answer.UNKNOWN:
                text = f"whether {shape}@{domain} is accepted could not be evaluated"
                yield unknown(subject(listener), text, outcome.doubt, *decided(outcome))
                return
    yield passed(subject(listener), "no route in a local part leads elsewhere")


@control("RELAY-12", "opensmtpd")
@each_listener
def certificates_permit_nothing(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    yield from _from_paths("RELAY-12", "no certificate permits relaying")(smtpd, listener, site)


@control("RELAY-14", "opensmtpd")
@each_listener
def logins_use_senders_of_the_site(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(smtpd, listener, site)
    ports = [(port, version) for port, version in finder.ports if port.listen.auth]
    if not ports:
        yield notapplicable(subject(listener), "no login here", NO_LOGIN)
        return
    for port, version in ports:
        try:
            tried = logins(smtpd, port)
        except Doubt as exc:
            text = "which senders a login may use could not be evaluated"
            yield unknown(subject(listener), text, str(exc), line(port))
            return
        foreign = finder.session(version, certificate=True)
        # A login's addresses may end in a star: alice@*.
        named = [(login, f"{login.partition('@')[0]}@{foreign.sender.partition('@')[2]}") for login in tried]
        for login, sender in [(login, sender) for login, own in named for sender in (foreign.sender, own)]:
            outcome = finder.outcome(port, replace(foreign, login=login, sender=sender))
            if outcome.answer is Answer.RELAY:
                who = "a login" if port.listen.senders is None else f"the login {printable(login)}"
                text = f"{who} may send with any foreign sender: nothing refuses one that it does not own"
                yield fail(subject(listener), text, line(port), *decided(outcome), conditions=("authenticated",))
                return
            if outcome.answer is Answer.UNKNOWN:
                text = "which senders a login may use could not be evaluated"
                yield unknown(subject(listener), text, outcome.doubt, line(port), *decided(outcome))
                return
    yield without_tls(smtpd, listener, ports[0][0]) or passed(subject(listener), "a login with a foreign sender is refused")


@control("SENDER-03", "opensmtpd")
@each_listener
def strangers_use_no_local_sender(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    own = [path for path in paths(smtpd, listener, site) if path.control == "SENDER-03"]
    for path in own:
        yield _failed(listener, path, f"a stranger relays with a sender of this site: {path.message}")
    if own:
        return
    if site.tunables.get("protect_local_recipients", True):
        yield from _local_recipients(smtpd, listener, site)
    else:
        yield passed(subject(listener), "a local sender does not let a stranger relay")


def _local_recipients(smtpd: OpenSmtpd, listener: Listener, site: Site) -> Iterator[Finding]:
    """Whether a stranger's mail with a sender of a local domain is taken for a local mailbox."""
    finder = Finder(smtpd, listener, site)
    open_rules = [path.rule.outcome.rule for path in paths(smtpd, listener, site) if not path.doubt]
    for port, version in finder.ports:
        for domain in finder.local_domains:
            for user in ("postmaster", "root"):
                session = finder.session(version, sender=f"{user}@{domain}", recipient=f"postmaster@{domain}")
                outcome = finder.outcome(port, session)
                if outcome.rule is not None and outcome.rule in open_rules:
                    text = "a rule relays for strangers before any local sender is refused: another control names it"
                    yield informational(subject(listener), text, *decided(outcome))
                    return
                if outcome.answer in (Answer.LOCAL, Answer.RELAY):
                    text = f"a stranger may send to local mailboxes as anybody at {domain}: no rule refuses it"
                    conditions = ("local_sender", "local_recipient")
                    yield fail(subject(listener), text, line(port), *decided(outcome), conditions=conditions)
                    return
                if outcome.answer is Answer.UNKNOWN:
                    text = f"whether strangers may send as {domain} to local mailboxes cannot be told"
                    yield unknown(subject(listener), text, outcome.doubt, line(port), *decided(outcome))
                    return
    yield passed(subject(listener), "strangers with a local sender are refused")
