"""Control on the two directions of mail: what strangers send in and what the site sends out do not wait in one queue."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..address import LOOPBACK, Address, Network, contains, is_address, parse_address, routed_parts
from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Status, error, fail, notapplicable, passed, unknown
from ..listeners import Server
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt as EximDoubt
from ..readers.exim_expand import Session
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_tables import Doubt as SmtpdDoubt
from ..readers.postfix import Postfix, Service
from ..readers.postfix_match import is_table
from ..readers.postfix_samples import FOREIGN_DOMAINS
from ..readers.postfix_syntax import next_hops, words
from ..readers.postfix_tables import TableProblem
from ..readers.sendmail import Sendmail
from ..readers.sendmail_questions import Questions
from . import exim_ports, inbound_exim, inbound_postfix, postfix_ports
from .exim_routes import next_hosts
from .filtered_mail import strangers_of_opensmtpd, strangers_of_sendmail
from .filtering import Way
from .postfix_ports import seen
from .relay_down import why_down

_MAIL_PROGRAMS = ("postfix", "exim", "sendmail", "opensmtpd")
_PORTS = {"": 25, "smtp": 25, "submission": 587, "smtps": 465, "submissions": 465}


@dataclass(frozen=True)
class Onward:
    """Where mail for domains of others goes next: `hosts` with their ports, none for the servers of those domains. `stays`: it
    does not leave at all. `known` are addresses of hosts that are names."""

    shown: tuple[Evidence, ...]
    hosts: Sequence[tuple[str, str]] = ()
    stays: bool = False
    doubt: str = ""
    known: tuple[Address, ...] = ()


@dataclass(frozen=True)
class Queue:
    """What one instance of a program does: whether it takes strangers' mail for `domains` (`ports` has None for each port where
    it does, else a finding that says why not), where mail of others goes next, and the names that mean the host itself."""

    domains: Sequence[str]
    ports: Sequence[Optional[Finding]]
    onward: Iterable[Onward]
    names: Sequence[str]


@dataclass(frozen=True)
class Others:
    """Whose mail is taken for everybody, in words, the networks of it, and the addresses of the host itself."""

    said: str
    networks: Sequence[Network]
    own: Sequence[Network]


def _control(program: str, title: str, instance: str) -> Callable[[Callable[[Any, Site, Others], Queue]], None]:
    """Answer OUT-03 for a program: `instance` is the attribute of its reading that tells instances apart."""

    def register(queue: Callable[[Any, Site, Others], Queue]) -> None:
        def evaluate(reading: Any, site: Site) -> Iterator[Finding]:
            name = getattr(reading, instance)
            if reading.problem:
                yield error(HOST, f"the configuration of {title} ({name}) could not be read", reading.problem)
            else:
                others = _others(program, name, [ipaddress.ip_network(address) for address in reading.addresses], site)
                yield _judged(queue(reading, site, others), others, name, site)

        control("OUT-03", program)(evaluate)

    return register


def _judged(queue: Queue, others: Others, instance: str, site: Site) -> Finding:
    relaying = next((f for f in queue.ports if f and f.status is Status.INFORMATIONAL), None)
    if not others.said:
        return passed(HOST, "mail of accounts and of other hosts does not leave here: only that of the host's own programs does")
    if None not in queue.ports or not queue.domains:
        return relaying or passed(HOST, f"no stranger's mail comes in here: the queue is for what leaves of {others.said}")
    found = _of_onward(queue, others, instance, site)
    if found.status is not Status.PASS and site.tunables.get("one_host_is_wanted"):
        return notapplicable(HOST, "one queue for both directions is wanted here", "the tunable one_host_is_wanted says so")
    return found


def _of_onward(queue: Queue, others: Others, instance: str, site: Site) -> Finding:
    """Of all ways that mail goes on by, the worst."""
    doubts: list[tuple[str, Onward]] = []
    reached: list[str] = []
    for onward in queue.onward:
        hosts = [(host, *_here(host, port, onward, queue, others, instance, site)) for host, port in onward.hosts]
        doubts += [(doubt, onward) for doubt in (onward.doubt, *(doubt for _, _, doubt in hosts)) if doubt]
        reached += [text for _, text, _ in hosts if text]
        itself = next((host for host, text, doubt in hosts if not text and not doubt), "")
        if itself or not (onward.hosts or onward.stays or onward.doubt):
            where = f"to {itself}, which is this host itself" if itself else "to the net by itself"
            domains = ", ".join(queue.domains[:2]) + " and more" * (len(queue.domains) > 2)
            text = f"one queue takes strangers' mail for {domains} and sends that of {others.said} {where}"
            return fail(HOST, text, *onward.shown)
    if doubts:
        return unknown(HOST, f"where mail of {others.said} goes next could not be told", doubts[0][0], *doubts[0][1].shown)
    text = f"by {', '.join(dict.fromkeys(reached))}" if reached else "nowhere"
    return passed(HOST, f"mail of {others.said} leaves {text}, not by the queue of what strangers send")


def _here(host: str, port: str, onward: Onward, queue: Queue, others: Others, instance: str, site: Site) -> tuple[str, str]:
    """What a next host is, and why that is not known; nothing of both: the queue itself."""
    addresses = [parse_address(host)] if is_address(host) else list(onward.known)
    if host not in (*queue.names, "localhost") and not any(contains([*LOOPBACK, *others.own], a) for a in addresses):
        return host, ""
    number = _PORTS.get(port, int(port) if port.isdigit() else 0)
    bound = {*map(str, addresses), "*"}
    there = [(program, server) for program, servers in site.servers.items() for server in servers for port_ in server.listeners
             if port_.port == number and (not addresses or port_.bind in bound)]  # fmt: skip
    strange = [(program, server) for program, server in there if server.instance != instance]
    program, server = strange[0] if strange else ("", Server("", ""))
    if program in _MAIL_PROGRAMS:
        return f"another queue of this host ({server.instance})", ""
    return "", "" if there and not strange else f"what listens on port {number} of this host is not known"


def _others(program: str, instance: str, own: Sequence[Network], site: Site) -> Others:
    server = next((s for s in site.servers.get(program, ()) if s.instance == instance), Server("", ""))
    foreign = [network for network in server.trusted if routed_parts(network, [*LOOPBACK, *own])]
    front = any(not port.loopback_only for each in site.servers.get("dovecot", ()) for port in each.smtp)
    logins = f"accounts (ports {', '.join(map(str, server.logins))})" if server.logins else "accounts (by Dovecot)" * front
    named = f"other hosts ({', '.join(map(str, foreign[:3]))}{' and more' * (len(foreign) > 3)})" if foreign else ""
    return Others(" and ".join(filter(None, (logins, named))), foreign, own)


# Postfix


@_control("postfix", "Postfix", "config_directory")
def _queue_of_postfix(postfix: Postfix, site: Site, others: Others) -> Queue:
    ports = [s for s in postfix.smtp_services() if not s.loopback_only and not why_down(s.smtpd)]
    taking = [inbound_postfix.no_mail(port, site) for port in ports]
    names = [postfix.main.value("myhostname"), postfix.helo_name, *postfix.local_domains]
    return Queue([*postfix.local_domains, *postfix.relayed_domains], taking, _onward_of_postfix(postfix), names)


def _onward_of_postfix(postfix: Postfix) -> Iterator[Onward]:
    """resolve_addr() of trivial-rewrite: transport_maps, then what goes by the sender, then default_transport and relayhost."""
    manager = next((s for s in postfix.services() if s.entry and s.entry.name == "qmgr"), postfix.main)
    rewrite = postfix.resolver(manager)
    doubt = ""
    try:
        for name, by_sender in (("transport_maps", False), ("sender_dependent_default_transport_maps", True), ("", False),
                                ("sender_dependent_relayhost_maps", True)):  # fmt: skip
            if name:
                value, shown = _looked_up(rewrite, name, by_sender)
            else:
                name, value = "default_transport", rewrite.value("default_transport")
                shown = postfix_ports.setting(rewrite, name)
            found = _by_transport(postfix, name, value, shown)
            if found:
                yield found
                return
    except TableProblem as exc:
        doubt = str(exc)
    value = rewrite.value("relayhost")
    known = tuple(parse_address(a) for host, _ in next_hops(value) for a in postfix.hosts.get(host, ()))
    yield Onward((postfix_ports.setting(rewrite, "relayhost"),), next_hops(value), doubt=doubt, known=known)


def _looked_up(rewrite: Service, name: str, by_sender: bool) -> tuple[str, Evidence]:
    """The entry that counts for everybody's mail: `*`, or one for the senders of every domain of the site."""
    domains = rewrite.postfix.local_domains
    keys = [f"@{domain}" for domain in domains] if by_sender else ["*"]
    for spec in (word for word in words(rewrite.value(name)) if is_table(word)):
        table = rewrite.table(spec)
        found = [table.get(key) for key in keys]
        if not by_sender and table.sampled:
            found = [next(filter(None, map(table.get, FOREIGN_DOMAINS)), None)]
            if found == [None] and table.kind not in ("regexp", "pcre"):
                raise TableProblem(f"{spec} cannot be listed: whether it has an entry `*` is not known")
        if found and all(value and value.upper() != "DUNNO" for value in found):
            return str(found[0]), seen(table.where(keys[0]), str(found[0]))
    return "", postfix_ports.setting(rewrite, name)


def _by_transport(postfix: Postfix, name: str, value: str, shown: Evidence) -> Optional[Onward]:
    """What `transport:nexthop` comes to (a relay host is the latter alone); None where it leaves the decision to what comes
    later."""
    transport, _, rest = ("", "", value) if name == "sender_dependent_relayhost_maps" else value.partition(":")
    entry = next((s.entry for s in postfix.services() if s.entry and s.entry.type == "unix" and s.entry.name == transport), None)
    if entry and entry.command in ("error", "discard"):
        return Onward((shown,), stays=True)
    if entry and entry.command not in ("smtp", "lmtp"):
        return Onward((shown,), doubt=f"what the transport {transport} ({entry.command}) does is not known")
    if rest:
        return Onward((shown,), next_hops(rest))
    # An entry without a next hop takes that of the recipient's domain, past any relayhost (transport(5)).
    return Onward((shown,)) if transport and name == "transport_maps" else None


# Exim


@_control("exim", "Exim", "file")
def _queue_of_exim(exim: Exim, site: Site, others: Others) -> Queue:
    taking = [inbound_exim.no_mail(exim, port, site) for port in exim.listeners if not port.loopback_only]
    domains = [*exim.local_domains, *exim.relayed_domains]
    return Queue(domains, taking, _onward_of_exim(exim, others.networks, domains), [exim.helo_name, *exim.local_domains])


def _onward_of_exim(exim: Exim, networks: Sequence[Network], domains: Sequence[str]) -> Iterator[Onward]:
    usual: dict[str, Any] = {"sender": f"mtaudit@{next(iter(domains), 'localhost')}", "recipient": f"probe@{FOREIGN_DOMAINS[0]}"}
    methods = list(exim.config.authenticators) if exim.takes_logins else []
    sessions = [Session("198.51.100.1", login="mtaudit", method=methods[0], tls=True, **usual)] if methods else []
    sessions += [Session(str(network[min(1, network.num_addresses - 1)]), **usual) for network in networks[:3]]
    for session in sessions or [Session("127.0.0.1", **usual)]:
        try:
            router, hosts = next_hosts(exim, session)
        except EximDoubt as exc:
            yield Onward((exim_ports.seen(exim.file, "routers"),), doubt=str(exc))
            continue
        options = exim.config.routers.get(router, {})
        text = options.get("route_list") or options.get("route_data") or f"driver = {options.get('driver', 'none')}"
        shown = exim_ports.seen(f"{exim.file} router {router}", text)
        yield Onward((shown,), [h for h in hosts if h[0] != FOREIGN_DOMAINS[0]], stays=not router)


# Sendmail


@_control("sendmail", "Sendmail", "file")
def _queue_of_sendmail(sendmail: Sendmail, site: Site, others: Others) -> Queue:
    taking = [_taken(strangers_of_sendmail(sendmail, port, site)) for port in sendmail.listeners if not port.loopback_only]
    onward = _onward_of_sendmail(sendmail, others.networks)
    return Queue([*sendmail.local_domains, *sendmail.relayed_domains], taking, onward, sendmail.local_domains)


def _onward_of_sendmail(sendmail: Sendmail, networks: Sequence[Network]) -> Iterator[Onward]:
    """What its own rules (parse) say: SMART_HOST and the mailertable are in them."""
    ask = Questions(sendmail, sendmail.daemons[0])
    for question in [*map(ask.login, sendmail.mechanisms[:1]), *map(ask.client, networks[:3])] or [ask.plain(4)]:
        told = sendmail.told(question)
        mailer = sendmail.cf.mailers.get(told.mailer)
        shown = (seen("sendmail -bt", f"parse {question.recipient}: {told.mailer or told.reason} {told.host}"),)
        if told.mailer in ("error", "discard"):
            yield Onward(shown, stays=True)
        elif mailer is None or "IPC" not in mailer.fields.get("P", ""):
            yield Onward(shown, doubt=told.reason or f"what the mailer {told.mailer} does is not known")
        else:
            hosts = [] if told.host.rstrip(".") == question.recipient.rpartition("@")[2].rstrip(".") else told.host.split(":")
            yield Onward(shown, [(host.strip("[]").rstrip(".").lower(), "") for host in hosts])


# OpenSMTPD


@_control("opensmtpd", "OpenSMTPD", "file")
def _queue_of_opensmtpd(smtpd: OpenSmtpd, site: Site, others: Others) -> Queue:
    taking = [_taken(strangers_of_opensmtpd(smtpd, port, site)) for port in smtpd.listeners if not port.loopback_only]
    return Queue([*smtpd.local_domains, *smtpd.relayed_domains], taking, _onward_of_opensmtpd(smtpd), smtpd.local_names)


def _onward_of_opensmtpd(smtpd: OpenSmtpd) -> Iterator[Onward]:
    """Every rule that sends mail of others to any domain."""
    for rule in smtpd.config.rules:
        source, to, action = rule.criterion("from"), rule.criterion("for"), smtpd.config.actions.get(rule.action)
        if action is None or not action.relays or source is None or source.scope in ("local", "socket"):
            continue
        if to is None or to.scope != "any" and not to.negated:
            continue
        shown = (seen(rule.where, str(rule)), seen(action.where, f'action "{action.name}" relay host {action.host or "none"}'))
        try:
            urls = action.host.keys if action.host else []
        except SmtpdDoubt as exc:
            yield Onward(shown, doubt=str(exc))
            continue
        yield Onward(shown, [_of_url(url) for url in urls])


def _of_url(url: str) -> tuple[str, str]:
    """`smtp+tls://label@host:port` (smtpd.conf(5), relay-url)."""
    scheme, _, rest = url.rpartition("://")
    found = re.fullmatch(r"(?:[^@]*@)?(?:\[([^\]]+)\]|([^:]+))(?::(\w+))?", rest)
    host = (found[1] or found[2]).lower() if found else rest
    return host, (found[3] if found else "") or ("smtps" if scheme == "smtps" else "")


def _taken(ways: Iterable[Any]) -> Optional[Finding]:
    """None where strangers' mail is taken."""
    return next((way for way in ways if not isinstance(way, Way)), None)
