"""Controls on who may relay through Exim: foreign mail from strangers, and senders that are not theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..address import LOOPBACK, subtract
from ..control import Site, control
from ..finding import Finding, fail, informational, notapplicable, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, Session
from ..readers.exim_lists import Lists, network_of
from .exim_paths import Finder, Path, paths, pop_before_smtp
from .exim_ports import PerListener, decided, each_listener, option, seen, subject
from .exim_walk import Answer
from .relay_clients import listed_clients
from .way import routes

_NOBODY = "mtaudit-nobody"  # a login that owns no sender
# Options of an authenticator that make it take logins (specification, "Generic options for authenticators").
_SERVER = re.compile(r"server_(?!advertise_condition|debug_print|mail_auth_condition)")

def _failed(exim: Exim, listener: Listener, path: Path, text: str) -> Finding:
    clients = listed_clients(path.networks)
    return fail(subject(listener), text, *decided(exim, path.rule), conditions=path.conditions, clients=clients)


def _from_paths(control_id: str, closed: str) -> PerListener:
    """Fail for each way that the control owns; unknown for one that may exist; else pass, saying what is closed."""

    def function(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
        own = [path for path in paths(exim, listener, site) if path.control == control_id]
        certain = [path for path in own if not path.doubt]
        for path in certain:
            yield _failed(exim, listener, path, path.message)
        if own and not certain:
            yield unknown(subject(listener), own[0].message, own[0].doubt, *decided(exim, own[0].rule))
        elif not own:
            yield passed(subject(listener), closed)

    return function


def _path_control(control_id: str, closed: str) -> None:
    control(control_id, "exim")(each_listener(_from_paths(control_id, closed)))


_path_control("RELAY-01", "no list of hosts trusts a stranger")
_path_control("RELAY-06", "no weaker policy than on the first port")
_path_control("RELAY-09", "IPv6 clients may do no more than IPv4 clients")
_path_control("RELAY-11", "no MX record of others permits relaying")


@control("RELAY-03", "exim")
@each_listener
def strangers_are_refused_before_any_accept(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    if not exim.options.get("acl_smtp_rcpt"):
        text = "acl_smtp_rcpt is unset: every recipient is refused, also those of the site"
        yield informational(subject(listener), text, option(exim, "acl_smtp_rcpt"))
        return
    yield from _from_paths("RELAY-03", "strangers are refused before anything accepts")(exim, listener, site)


@control("RELAY-04", "exim")
@each_listener
def domains_are_a_closed_list(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    """A domain that counts as local is no relay: no router takes it anywhere, and all outgoing mail for it ends here."""
    own = [path for path in paths(exim, listener, site) if path.control == "RELAY-04" and not path.doubt]
    local = [p for p in own if any(m.within == "local_domains" and c.name == "domains" for c, m in p.rule.matched)]
    if own and local == own and _only_local(exim):
        text = "local_domains matches every domain: no relay, but outgoing mail ends here as unroutable"
        yield informational(subject(listener), text, *decided(exim, local[0].rule))
        return
    yield from _from_paths("RELAY-04", "no list of domains holds a foreign one")(exim, listener, site)


def _only_local(exim: Exim) -> bool:
    """Whether every router that sends mail elsewhere leaves local_domains out."""
    remote = [r for r in exim.config.routers.values() if r.get("driver") in ("dnslookup", "manualroute", "ipliteral", "iplookup")]
    return all(re.match(r"!\s*\+local_domains", r.get("domains", "")) or "exists{" in r.get("domains", "") for r in remote)


@control("RELAY-07", "exim")
@each_listener
def only_proxies_assert_an_identity(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    found = False
    for name, condition in (("hosts_proxy", "proxy_header"), ("hosts_xclient", "xclient")):
        text = exim.options.get(name, "")
        allowed = (*LOOPBACK, *site.proxies)
        found_in = [item for item in exim.flat("hostlist", text) if item]
        listed = [item for item in found_in if not item.startswith("!")]
        wide = [i for i in listed if "$" not in i and ((n := network_of(i)) is None or subtract(n, allowed))]
        # A list whose last item is negated matches all that it does not name.
        wide += [f"the whole world but {item[1:].strip()}" for item in found_in[-1:] if item.startswith("!")]
        if wide:
            shown = f"clients in {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} may claim any address ({name})"
            yield fail(subject(listener), shown, option(exim, name), conditions=(condition,))
        elif "$" in text:
            yield unknown(subject(listener), f"{name} could not be evaluated", f"'{text}' depends on the session",
                          option(exim, name))  # fmt: skip
        found = found or bool(wide) or "$" in text
    if not found:
        yield passed(subject(listener), "nobody but a declared proxy may claim another address")


@control("RELAY-08", "exim")
@each_listener
def no_device_hides_clients(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    yield from _from_paths("RELAY-08", "no gateway or proxy is trusted")(exim, listener, site)


@control("RELAY-10", "exim")
@each_listener
def routing_in_the_local_part_is_refused(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    finder, shown = Finder(exim, listener, site), option(exim, "percent_hack_domains")
    foreign = finder.session().recipient.rpartition("@")[2]
    for trick, local_part, shape in routes(foreign) if exim.relayed_domains else ():
        domain = exim.relayed_domains[0]
        session = finder.session(recipient=f"{local_part}@{domain}")
        outcome = finder.outcome(session)
        try:
            hack = exim.options.get("percent_hack_domains", "")
            followed = trick == "percent" and _lists(exim, session).domains(hack, domain)
        except Doubt as exc:
            yield unknown(subject(listener), "percent_hack_domains could not be evaluated", str(exc), shown)
            return
        if outcome.answer is Answer.OK and not followed:
            text = f"{shape}@{domain} is passed on to the next host, which may send it anywhere"
            yield fail(subject(listener), text, *decided(exim, outcome), conditions=(trick,))
            return
        if outcome.answer is Answer.UNKNOWN:
            text = f"whether {shape}@{domain} is accepted could not be evaluated"
            yield unknown(subject(listener), text, outcome.doubt, *decided(exim, outcome))
            return
    if exim.options.get("percent_hack_domains"):
        # Tried on 4.96 and 4.98: the address is rewritten before the ACL sees it, which judges the foreign domain.
        yield informational(subject(listener), "percent_hack_domains is set: such recipients are judged as foreign ones", shown)
    else:
        yield passed(subject(listener), "no route in a local part leads elsewhere")


@control("RELAY-12", "exim")
@each_listener
def certificates_and_encryption_permit_nothing(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    own = [path for path in paths(exim, listener, site) if path.control == "RELAY-12"]
    asked = any(exim.options.get(name) for name in ("tls_try_verify_hosts", "tls_verify_hosts"))
    certain = [path for path in own if not path.doubt]
    if certain and all("client_certificate" in path.conditions for path in certain) and not asked:
        text = "verify = certificate has no effect: no client is asked for a certificate"
        yield informational(subject(listener), text, *decided(exim, certain[0].rule))
        return
    login = Finder(exim, listener, site)
    outcome = login.outcome(login.session(tls=True, certificate=True))
    if not certain and asked and outcome.answer is Answer.UNKNOWN:
        text = "which certificates permit relaying could not be evaluated"
        yield unknown(subject(listener), text, outcome.doubt, *decided(exim, outcome))
        return
    yield from _from_paths("RELAY-12", "neither a certificate nor encryption permits relaying")(exim, listener, site)


@control("RELAY-13", "exim")
@each_listener
def reading_mail_does_not_permit_relaying(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    closed = "no table of client addresses that something else writes permits relaying"
    findings = list(_from_paths("RELAY-13", closed)(exim, listener, site))
    table = pop_before_smtp(exim)
    # Without the table's content a way through it is only a doubt; by its name it is what the control is about.
    reached = any(path.doubt and table in path.doubt or path.control == "RELAY-13" for path in paths(exim, listener, site))
    if table and reached and not any(f.status.value == "fail" for f in findings):
        text = f"{table} is where a POP-before-SMTP daemon writes the clients that may relay"
        shown = seen(exim.origin("relay_from_hosts"), text)
        findings = [fail(subject(listener), text, shown, conditions=("client_network",))]
    yield from findings


@control("RELAY-14", "exim")
@each_listener
def logins_use_senders_of_the_site(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    finder = Finder(exim, listener, site)
    methods = [name for name, options in exim.config.authenticators.items() if any(map(_SERVER.match, options))]
    offered = finder.session(tls=True)
    try:
        advertised = _lists(exim, offered).hosts(exim.options.get("auth_advertise_hosts", "*"))
    except Doubt as exc:
        yield unknown(subject(listener), "whether this port takes logins could not be evaluated", str(exc),
                      option(exim, "auth_advertise_hosts"))  # fmt: skip
        return
    if not methods or not advertised:
        reason = "no authenticator has a server side" if not methods else "auth_advertise_hosts names no stranger here"
        yield notapplicable(subject(listener), "no login here", reason)
        return
    # And one that is called like the foreign sender: a statement may look at the local part alone.
    for login, method in [(login, method) for method in methods for login in (_NOBODY, offered.sender.partition("@")[0])]:
        outcome = finder.outcome(finder.session(tls=True, login=login, method=method))
        if outcome.answer is Answer.OK:
            whose = "any foreign sender" if login == _NOBODY else "a foreign sender of its own name"
            text = f"a login may send with {whose}: no statement refuses one that it does not own"
            yield fail(subject(listener), text, *decided(exim, outcome), conditions=("authenticated",))
            return
        if outcome.answer is Answer.UNKNOWN:
            text = "which senders a login may use could not be evaluated"
            yield unknown(subject(listener), text, outcome.doubt, *decided(exim, outcome))
            return
    yield passed(subject(listener), "a login with a foreign sender is refused")


def _lists(exim: Exim, session: Session) -> Lists:
    return Lists(exim, session, Expander(exim.known(), session))


@control("SENDER-03", "exim")
@each_listener
def strangers_use_no_local_sender(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    own = [path for path in paths(exim, listener, site) if path.control == "SENDER-03"]
    for path in own:
        yield _failed(exim, listener, path, f"a stranger relays with a sender of this site: {path.message}")
    if own:
        return
    if site.tunables.get("protect_local_recipients", True):
        yield from _local_recipients(exim, listener, site)
    else:
        yield passed(subject(listener), "a local sender does not let a stranger relay")


def _local_recipients(exim: Exim, listener: Listener, site: Site) -> Iterator[Finding]:
    """Whether a stranger's mail with a sender of a local domain is taken for a local mailbox."""
    finder = Finder(exim, listener, site)
    if finder.outcome(finder.session()).answer is Answer.OK:
        yield informational(subject(listener), "strangers relay here, so no local sender is protected")
        return
    for domain in finder.local_domains:
        for user in ("postmaster", "root"):
            session = finder.session(sender=f"{user}@{domain}", recipient=f"postmaster@{domain}")
            outcome = finder.outcome(session)
            if outcome.answer is Answer.OK and not _judged_later(exim):
                text = f"a stranger may send to local mailboxes as anybody at {domain}: nothing asks for a login"
                yield fail(subject(listener), text, *decided(exim, outcome), conditions=("local_sender", "local_recipient"))
                return
            if outcome.answer is not Answer.REJECT:
                reason = outcome.doubt or f"{_judged_later(exim)} may refuse such senders; it was not asked"
                text = f"whether strangers may send as {domain} to local mailboxes cannot be told from the ACLs before DATA"
                yield unknown(subject(listener), text, reason, *decided(exim, outcome))
                return
    yield passed(subject(listener), "strangers with a local sender are refused")


def _judged_later(exim: Exim) -> str:
    """A condition on SPF, DKIM or DMARC, which may judge a sender by its own published policy."""
    judging = ("spf", "spf_guess", "dmarc_status", "dkim_status", "spam", "malware")
    names = [c.name for acl in exim.config.acls.values() for s in acl for c in s.conditions if c.name in judging]
    return names[0] if names else ""
