"""Controls on mail from web applications: traceable, by a login of their own, and not by sendmail(1) as anybody."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from ..address import contains
from ..control import Evaluate, Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..listeners import SUBMISSION_PORTS, Listener, Server
from ..readers.packet_filter import Packet
from ..readers.php import Place
from ..readers.postfix_samples import FOREIGN_DOMAINS
from ..readers.system import Host
from ..readers.web import Handed, Web, logins, msmtp_file
from ..redact import MASK
from ..text import printable
from . import exim_handed
from .exim_paths import Finder
from .exim_walk import Answer
from .senders import NOBODY

_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
_FOR_ITSELF = ("sendmail", "opensmtpd")  # what relays for the host itself with no list of networks that says so


def _with_php(function: Evaluate) -> Evaluate:
    def evaluate(host: Host, site: Site) -> Iterator[Finding]:
        if host.web.problem:
            yield unknown(HOST, "how PHP sends mail is not known", host.web.problem)
        elif not host.web.sites:
            yield notapplicable(HOST, "no web application runs here", "no PHP for web pages is in Debian's places, /etc/php")
        else:
            yield from function(host, site)

    return evaluate


def _seen(place: Place, name: str, text: str = "") -> Evidence:
    value = place.value(name)
    return Evidence(Method.CONFIG, printable(value.where), printable(text or f"{place}: {name} = {value.text or 'off'}"))


def _without_values(command: list[str]) -> str:
    """The program and its plain options: some, such as ssmtp, take a password there (-ap)."""
    shown = [word for n, word in enumerate(command) if n == 0 or re.fullmatch(r"-[a-z]{1,2}", word)]
    return " ".join([*shown, *([MASK] if len(shown) < len(command) else [])])


def _first(wrong: list[Evidence]) -> str:
    return f"{wrong[0].text}{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}"


@control("WEB-03", "os")
@_with_php
def mail_of_php_names_its_script(host: Host, site: Site) -> Iterator[Finding]:
    places = [place for place in host.web.places if place.mails]
    wrong = [_seen(place, name) for place in places for name in ("mail.add_x_header", "mail.log")
             if place.value(name).text in ("", "0")]  # fmt: skip
    if wrong:
        yield fail(HOST, f"mail of PHP does not tell which script sent it: {_first(wrong)}", *wrong)
    else:
        yield passed(HOST, "mail of PHP names its script, in a header and in a log")


def own_login(web: Web, place: Place) -> Optional[str]:
    """What msmtp logs in as for a place; empty for nothing and for other programs, None when its file cannot be read."""
    command = place.value("sendmail_path").text.split()
    file = msmtp_file(command)
    text = web.msmtp.get(file) if file else ""
    names = [command[n + 1] for n, word in enumerate(command[:-1]) if word in ("-a", "--account")]
    return None if text is None else logins(text).get(names[0] if names else "default", "")


@control("WEB-02", "os")
@_with_php
def web_mail_has_a_login_of_its_own(host: Host, site: Site) -> Iterator[Finding]:
    wrong: list[Evidence] = []
    doubts: list[str] = []
    users: dict[tuple[str, str], str] = {}
    for place in (place for place in host.web.sites if place.mails):
        command = place.value("sendmail_path").text.split()
        file, login = msmtp_file(command), own_login(host.web, place)
        if not file:
            wrong.append(_seen(place, "sendmail_path", f"{place}: sendmail_path = {_without_values(command)}"))
        elif login is None:
            doubts.append(f"{file}, where msmtp has its logins, could not be read")
        elif not login:
            wrong.append(_seen(place, "sendmail_path", f"{place}: msmtp logs in nowhere, by {file}"))
        elif users.setdefault((file, login), place.user) != place.user:
            wrong.append(_seen(place, "sendmail_path", f"{place}: {place.user} logs in as {login}, as {users[file, login]} does"))
    if wrong:
        yield fail(HOST, f"web applications send mail without a login of their own: {_first(wrong)}", *wrong)
    elif doubts:
        yield unknown(HOST, "whether web applications send mail with a login of their own is not known", printable(doubts[0]))
    else:
        yield passed(HOST, "mail of web applications goes out with a login for each account that they run as")


@control("WEB-01", "os")
@_with_php
def web_accounts_hand_in_no_mail(host: Host, site: Site) -> Iterator[Finding]:
    found = handed_in(host.web)
    allowed = [handed for handed in found if handed.allowed]
    doubts = [handed for handed in found if handed.allowed is None]
    known = list(ways(host.web, site))
    ways_out = [way for way in known if way.stopped is False]
    unsure = [way for way in known if way.stopped is None]
    if allowed:
        shown = [Evidence(Method.CONFIG, printable(h.where), printable(f"{h.account}: {h.text}")) for h in allowed]
        yield fail(HOST, f"{printable(allowed[0].account)}, whom web applications run as, may hand in mail with sendmail", *shown)
    elif ways_out:
        shown = [Evidence(Method.CONFIG, "nft list ruleset", printable(f"{way}: nothing stops it")) for way in ways_out]
        yield fail(HOST, printable(f"web applications may send without a login: {ways_out[0]}"), *shown)
    elif doubts:
        yield unknown(HOST, "whether web applications may hand in mail is not known", printable(doubts[0].reason))
    elif unsure:
        reason = host.web.filter.problem or f"{unsure[0]}: it hangs on rules that were not understood"
        yield unknown(HOST, "whether web applications may send without a login is not known", printable(reason))
    else:
        names = ", ".join(handed.account for handed in found)
        yield passed(HOST, printable(f"{names} may neither hand in mail with sendmail nor reach a port that asks for no login"))


def handed_in(web: Web) -> list[Handed]:
    """What becomes of mail that each account hands in."""
    return [each if each.trusted is None or not web.exims else exim_handed.judged(web.exims[0], each) for each in web.handed]


@dataclass(frozen=True)
class Way:
    """A port by which an account (`uid`: its number, -1 when that is unknown) may send without a login, and whether the packet
    filter stops it, None when that is unknown."""

    account: str
    uid: int
    port: int
    loopback: bool
    stopped: Optional[bool]

    def __str__(self) -> str:
        return f"{self.account} to port {self.port} of {'this host' if self.loopback else 'others'}"


def ways(web: Web, site: Site) -> Iterator[Way]:
    """Port 25 of other hosts, and whatever relays here for every account of the host; but for the ports of submission, which
    AUTH-03 is about."""
    relaying = {port.port for name, servers in site.servers.items() for server in servers for port in server.smtp
                if name in _FOR_ITSELF or _relays(web, site, server, port)}  # fmt: skip
    for handed in web.handed:
        for port, loopback in ((25, False), *((port, True) for port in sorted(relaying - set(SUBMISSION_PORTS)))):
            packets = [Packet(handed.account, handed.uid, port, loopback, family) for family in ("ip", "ip6")]
            answers = {web.filter.stops(packet) for packet in packets}
            stopped = False if False in answers else None if None in answers else True
            yield Way(handed.account, handed.uid, port, loopback, stopped)


def _relays(web: Web, site: Site, server: Server, port: Listener) -> bool:
    """For loopback, as Exim's ACLs for that port say; else, and where those were not understood, as the networks do."""
    exim = next((exim for exim in web.exims if exim.file == server.instance and not exim.problem), None)
    if exim:
        finder = Finder(exim, port, site)
        senders = (f"{NOBODY}@{domain}" for domain in (FOREIGN_DOMAINS[0], *finder.local_domains[:1]))
        clients = [str(address) for address in _LOOPBACK if f"ipv{address.version}" in port.families]
        sessions = [finder.session(address=client, sender=sender) for sender in senders for client in clients]
        answers = {finder.outcome(session).answer for session in sessions}
        if Answer.UNKNOWN not in answers or Answer.OK in answers:
            return Answer.OK in answers
    trusted = server.trusted_at.get(port.port, server.trusted)
    return any(contains(trusted, address) for address in _LOOPBACK)
