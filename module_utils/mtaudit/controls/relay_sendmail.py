"""Controls on who may relay through Sendmail: foreign mail from strangers, and senders that are not theirs."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, fail, informational, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.sendmail import Sendmail
from .relay_clients import listed_clients
from .sendmail_filters import judges
from .sendmail_paths import Finder, Path, paths
from .sendmail_ports import PerListener, answer, decided, each_listener, seen, subject


def _failed(listener: Listener, path: Path) -> Finding:
    clients = listed_clients(path.networks)
    return fail(subject(listener), path.message, *decided(path.rule), conditions=path.conditions, clients=clients)


def _from_paths(control_id: str, closed: str) -> PerListener:
    """Fail for each way that the control owns; unknown for one that may exist; else pass, saying what is closed."""

    def function(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Finding]:
        own = [path for path in paths(sendmail, listener, site) if path.control == control_id]
        certain = [path for path in own if not path.doubt]
        for path in certain:
            yield _failed(listener, path)
        if own and not certain:
            yield unknown(subject(listener), own[0].message, own[0].doubt, *decided(own[0].rule))
        elif not own:
            yield passed(subject(listener), closed)

    return function


def _path_control(control_id: str, closed: str) -> None:
    control(control_id, "sendmail")(each_listener(_from_paths(control_id, closed)))


_path_control("RELAY-01", "neither the access map nor class R trusts a stranger")
_path_control("RELAY-03", "strangers are refused before anything accepts")
_path_control("RELAY-04", "no list of domains holds a foreign one")
_path_control("RELAY-06", "no weaker policy than on the first port")
_path_control("RELAY-08", "no gateway or proxy is trusted")
_path_control("RELAY-09", "IPv6 clients may do no more than IPv4 clients")
_path_control("RELAY-11", "no MX record of others permits relaying")
_path_control("RELAY-13", "no table of client addresses that something else writes permits relaying")


@control("RELAY-10", "sendmail")
@each_listener
def routing_in_the_local_part_is_refused(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(sendmail, listener, site)
    if finder.login_required:
        yield passed(subject(listener), "nothing is accepted before a login")
        return
    if finder.open_to_anybody():
        yield informational(subject(listener), "strangers relay here, so routing tricks cannot be told apart")
        return
    for trick, domain, question in finder.questions.tricks():
        told = finder.told(question)
        shown = seen("sendmail -bt", f"check_rcpt <{question.recipient}>: {answer(told)}, mailer {told.mailer or 'unknown'}")
        # What a local mailer takes is a mailbox of that odd name, or none.
        if told.allowed and told.mailer not in ("local", "error"):
            text = f"{question.recipient} is passed on to the next host for {domain}, which may send it anywhere"
            yield fail(subject(listener), text, shown, conditions=(trick,))
            return
        if told.allowed is None:
            text = f"whether {question.recipient} is accepted could not be evaluated"
            yield unknown(subject(listener), text, told.reason, shown)
            return
    yield passed(subject(listener), "no route in a local part leads elsewhere")


@control("RELAY-12", "sendmail")
@each_listener
def certificates_and_encryption_permit_nothing(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Finding]:
    own = [path for path in paths(sendmail, listener, site) if path.control == "RELAY-12" and not path.doubt]
    options = sendmail.cf.option("TLSSrvOptions")
    asked_again = any("v" in entry.value for entry in sendmail.entries("srv_features"))
    if own and "V" in options and not asked_again and all("client_certificate" in path.conditions for path in own):
        text = f"TLSSrvOptions = {options}: no client is asked for a certificate, so this has no effect: {own[0].message}"
        yield informational(subject(listener), text, *decided(own[0].rule))
        return
    closed = "neither a certificate nor encryption permits relaying"
    yield from _from_paths("RELAY-12", closed)(sendmail, listener, site)


@control("RELAY-14", "sendmail", scanner=True)
@each_listener
def logins_use_senders_of_the_site(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Finding]:
    if not sendmail.daemon_of(listener).login_offered:
        yield notapplicable(subject(listener), "no login here", "its DaemonPortOptions say M=A: AUTH is not offered")
        return
    if not sendmail.mechanisms:
        yield notapplicable(subject(listener), "a login permits nothing", "class TrustAuthMech is empty: no login relays")
        return
    finder = Finder(sendmail, listener, site)
    milters = judges(sendmail, listener, site)
    for mechanism in sendmail.mechanisms[:5]:
        told = finder.told(finder.questions.login(mechanism))
        shown = seen("sendmail -bt", f"a login with {mechanism}: {answer(told)}")
        if told.allowed and not milters:
            text = "a login may send with a foreign sender: no rule refuses one that it does not own"
            yield fail(subject(listener), text, shown, conditions=("authenticated",))
            return
        if told.allowed is not False:
            reason = told.reason or f"the milter {milters} may refuse it; it was not asked"
            yield unknown(subject(listener), "which senders a login may use could not be evaluated", reason, shown)
            return
    yield passed(subject(listener), "a login with a foreign sender is refused")


@control("SENDER-03", "sendmail", scanner=True)
@each_listener
def strangers_use_no_local_sender(sendmail: Sendmail, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(sendmail, listener, site)
    if finder.login_required:
        yield passed(subject(listener), "nothing is accepted before a login")
        return
    own = [path for path in paths(sendmail, listener, site) if path.control == "SENDER-03"]
    certain = [path for path in own if not path.doubt]
    for path in certain:
        yield _failed(listener, path)
    if own and not certain:
        yield unknown(subject(listener), own[0].message, own[0].doubt, *decided(own[0].rule))
    if own:
        return
    if site.tunables.get("protect_local_recipients", True):
        yield from _local_recipients(sendmail, listener, finder, site)
    else:
        yield passed(subject(listener), "a local sender does not let a stranger relay")


def _local_recipients(sendmail: Sendmail, listener: Listener, finder: Finder, site: Site) -> Iterator[Finding]:
    """Whether a stranger's mail with a sender of a local domain is taken for a local mailbox."""
    if finder.open_to_anybody():
        yield informational(subject(listener), "strangers relay here, so no local sender is protected")
        return
    milters = judges(sendmail, listener, site)
    for domain in finder.questions.local_domains():
        told = finder.told(finder.questions.to_local(domain))
        shown = seen("sendmail -bt", f"check_mail and check_rcpt for postmaster@{domain}: {answer(told)}")
        if told.allowed and not milters:
            text = f"a stranger may send to local mailboxes as anybody at {domain}: nothing asks for a login"
            yield fail(subject(listener), text, shown, conditions=("local_sender", "local_recipient"))
            return
        if told.allowed is not False:
            reason = told.reason or f"the milter {milters} may refuse such senders; it was not asked"
            text = f"whether strangers may send as {domain} to local mailboxes cannot be told"
            yield unknown(subject(listener), text, reason, shown)
            return
    yield passed(subject(listener), "strangers with a local sender are refused")
