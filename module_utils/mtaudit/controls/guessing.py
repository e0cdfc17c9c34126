"""Controls on guessing passwords: attempts are slowed, and whoever goes on is kept out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Optional

from ..address import parse_network, routed_parts
from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.fail2ban import DIRECTORY, Fail2ban, Jail, tool_of
from ..readers.log_places import Place
from ..readers.system import Host
from ..readers.uses import DAEMONS
from ..text import printable

_DAY_S = 86_400
_PROGRAMS = {"postfix": "Postfix", "exim": "Exim", "sendmail": "Sendmail", "opensmtpd": "OpenSMTPD", "dovecot": "Dovecot"}
# The filters that fail2ban comes with, and the modes in which they look at logins; others count by their names.
_FILTERS = {"postfix": ("postfix", ("auth", "extra", "aggressive")), "dovecot": ("dovecot", ()), "exim": ("exim", ()),
            "sendmail": ("sendmail-auth", ())}  # fmt: skip
_SHIPPED = ("postfix", "dovecot", "exim", "exim-spam", "sendmail-auth", "sendmail-reject", "sieve", "recidive")
_PORTS = {"smtp": 25, "ssmtp": 465, "smtps": 465, "submissions": 465, "urd": 465, "submission": 587, "imap": 143, "imap2": 143,
          "imaps": 993, "pop3": 110, "pop3s": 995, "sieve": 4190}  # fmt: skip
_WIDEST = {4: 16, 6: 32}
_OF_PAM = ("auth.log", "secure", "syslog", "messages")  # where syslog daemons write what PAM says


@control("AUTH-06", "os")
def who_guesses_passwords_is_kept_out(host: Host, site: Site) -> Iterator[Finding]:
    asked = login_ports(site)
    guard, limit = host.guard, int(site.tunables.get("max_guesses_per_day", 1000))
    if not asked:
        yield notapplicable(HOST, "nobody can log in here", "no mail program takes logins on a port that others reach")
    elif guard.problem:
        yield unknown(HOST, "what fail2ban does is not known", guard.problem)
    elif not guard.running and guard.others:
        reason = f"{guard.others[0]} runs, and mtaudit does not read what it watches"
        yield unknown(HOST, "whether sources of failed logins are blocked is not known", reason)
    elif not guard.running:
        text = "fail2ban is installed and does not run" if guard.installed else "nothing like fail2ban runs here"
        yield fail(HOST, f"a source may go on guessing passwords: {text}", Evidence(Method.CONFIG, "processes", text))
    else:
        yield _judged(guard, asked, limit, site)


def login_ports(site: Site) -> dict[str, set[int]]:
    """By program, where others can reach it."""
    ports = {name: {port for server in servers for port in server.logins} for name, servers in site.servers.items() if name}
    return {name: found for name, found in ports.items() if found}


def _judged(guard: Fail2ban, asked: dict[str, set[int]], limit: int, site: Site) -> Finding:
    wrong: list[Evidence] = []
    doubts: list[str] = []
    for program, ports in asked.items():
        jails = [jail for jail in guard.jails if watches(jail, program)]
        said = {jail.name: list(weak(jail, program, guard, limit, site)) for jail in jails}
        sound = [jail for jail in jails if not said[jail.name]]
        open_ports = sorted(port for port in ports if not any(covers(jail.ports, port) for jail in sound))
        if not jails:
            text = f"no jail that is enabled looks at failed logins of {_PROGRAMS[program]}"
            wrong.append(Evidence(Method.CONFIG, f"{DIRECTORY}/jail.local", text))
        elif not sound:
            wrong += [Evidence(Method.CONFIG, f"fail2ban jail {printable(jail.name)}", printable(text))
                      for jail in jails for text in said[jail.name][:1]]
        elif open_ports:
            where = f"fail2ban jail {printable(sound[0].name)}"
            text = f"who is banned still reaches port {', '.join(map(str, open_ports))}: the ban is for {sound[0].ports}"
            wrong.append(Evidence(Method.CONFIG, where, printable(text)))
        else:
            doubts += [doubt for jail in sound[:1] for doubt in _doubts(jail, program, guard)]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return fail(HOST, f"{wrong[0].where}: {wrong[0].text}{more}", *wrong)
    if doubts:
        return unknown(HOST, "whether sources of failed logins are blocked is not known", printable(doubts[0]))
    return passed(HOST, f"fail2ban keeps out who guesses passwords of {', '.join(_PROGRAMS[program] for program in asked)}")


def watches(jail: Jail, program: str) -> bool:
    """Whether a jail is about logins at this program."""
    name, modes = _FILTERS.get(program, ("", ()))
    if jail.filter in _SHIPPED:
        return jail.filter == name and (not modes or jail.mode in modes)
    return program in f"{jail.filter} {jail.name}".lower() or program == "postfix" and "sasl" in jail.filter


def weak(jail: Jail, program: str, guard: Fail2ban, limit: int, site: Site) -> Iterator[str]:
    """Why a jail keeps nobody out."""
    if not jail.filter_there:
        yield f"its filter {jail.filter} does not exist: fail2ban does not start the jail"
    yield from _blind(jail, program, guard)
    banning = [action for action in jail.actions if guard.actions.get(action) and (tool_of(action) or action not in _MESSAGES)]
    missing = [tool_of(action) for action in banning if tool_of(action) and not guard.tools.get(tool_of(action))]
    if missing and len(missing) == len(banning):
        yield f"its action {banning[0]} needs {missing[0]}, which is not installed: no ban takes effect"
    elif not banning:
        yield f"its action {', '.join(jail.actions) or '(none)'} bans nobody"
    wide = [text for text in jail.ignored if is_wide(text, site)]
    if wide:
        yield f"ignoreip holds {wide[0]}: none of its addresses is ever banned"
    guesses = allowed_per_day(jail)
    if guesses > limit:
        terms = f"maxretry {jail.maxretry}, findtime {jail.findtime_s:.0f} s, bantime {jail.bantime_s:.0f} s"
        yield f"one address may guess {guesses} times a day ({terms}); at most {limit} are allowed (max_guesses_per_day)"


# They tell somebody, or nobody.
_MESSAGES = frozenset("dummy complain mail mail-buffered mail-whois mail-whois-lines sendmail sendmail-buffered sendmail-whois"
                      " sendmail-whois-lines sendmail-whois-ipmatches sendmail-whois-matches sendmail-geoip-lines abuseipdb"
                      " blocklist_de dshield mynetwatchman xarf-login-attack hostsdeny apprise noop".split())  # fmt: skip


def allowed_per_day(jail: Jail) -> int:
    """How often one address may try in a day: just too seldom to be banned, or again after each ban."""
    seldom = (jail.maxretry - 1) * _DAY_S / max(jail.findtime_s, 1.0)
    again = jail.maxretry * (1.0 if jail.bantime_s < 0 else _DAY_S / max(jail.bantime_s, 1.0))
    return round(max(seldom, again))


def _blind(jail: Jail, program: str, guard: Fail2ban) -> Iterator[str]:
    """Why a jail sees no failed login."""
    if jail.backend == "systemd":
        if not guard.journal_module:
            yield "it reads the journal, and python3-systemd is not installed: fail2ban does not start the jail"
        units = {unit for name in DAEMONS[program] for unit in guard.units.get(name, ())}
        if jail.units and units and not units & set(jail.units):
            yield f"it reads the journal of {', '.join(jail.units)}, and {_PROGRAMS[program]} runs in {', '.join(sorted(units))}"
    elif not any(log.stat for log in jail.logs):
        names = ", ".join(log.path for log in jail.logs) or "(none)"
        yield f"there is no file {names} that it should watch (backend {jail.backend})"
    missed = unseen(jail, program, guard)
    if missed and len(missed) == len(guard.places[program]):
        yield missed[0]


def unseen(jail: Jail, program: str, guard: Fail2ban) -> list[str]:
    """Of each instance of a program whose log is not what a jail reads, where it logs."""
    return [why for place in guard.places.get(program, ()) for why in _unseen(jail, place, guard)]


def _unseen(jail: Jail, place: Place, guard: Fail2ban) -> Iterator[str]:
    own, there, journal = set(place.files), [log for log in jail.logs if log.stat], jail.backend == "systemd"
    of_pam = place.pam and (journal or any(posixpath.basename(log.path) in _OF_PAM for log in there))
    if place.problem or of_pam or not there and not journal:
        return
    reads = "the journal" if journal else ", ".join(log.path for log in there)
    if jail.filter == "exim" and not own:
        # Behind the time of syslog, which fail2ban cuts off, stands Exim's own, which filter.d/exim.conf does not know.
        yield f"its filter {jail.filter} knows the lines of Exim's own file, and Exim writes to syslog alone ({place.where})"
    elif not place.facility and (journal or not own & {log.real for log in there}):
        yield f"it reads {reads}, and {place.title} writes to {', '.join(place.files)} itself ({place.where})"
    elif not own and not journal and not guard.syslog:
        yield f"it watches {there[0].path}, and no syslog daemon runs that would write it: the lines are in the journal alone"
    elif place.failed not in guard.filters.get(jail.filter, "") + jail.failregex:
        yield f"its filter {jail.filter} does not know how this {place.title} tells a failed login: {place.failed!r}"


def _doubts(jail: Jail, program: str, guard: Fail2ban) -> Iterator[str]:
    """What is not known of a jail that seems sound."""
    strange = [action for action in jail.actions if not tool_of(action) and action not in _MESSAGES]
    if strange and not any(tool_of(action) for action in jail.actions):
        yield f"what the action {strange[0]} of the jail {jail.name} does is not known to mtaudit"
    units = {unit for name in DAEMONS[program] for unit in guard.units.get(name, ())}
    if jail.backend == "systemd" and jail.units and not units:
        yield f"the jail {jail.name} reads the journal of {', '.join(jail.units)}; the unit of {_PROGRAMS[program]} is not known"
    for place in guard.places.get(program, ()):
        if place.problem:
            yield f"where {place.title} logs is not known: {place.problem}"
    for text in unseen(jail, program, guard)[:1]:
        yield f"of {_PROGRAMS[program]} the jail {jail.name} sees one instance and not another: {text}"


def covers(ports: str, port: int) -> bool:
    for word in re.split(r"[\s,]+", ports):
        low, _, high = word.replace("-", ":").partition(":")
        first = _number(low)
        if first is not None and first <= port <= (_number(high) or first):
            return True
    return False


def _number(word: str) -> Optional[int]:
    return int(word) if word.isdigit() else _PORTS.get(word.lower())


def is_wide(text: str, site: Site) -> bool:
    """Whether an entry of ignoreip exempts strangers: a wide network that is neither private nor declared."""
    try:
        network = parse_network(text)
    except ValueError:
        return False
    return any(part.prefixlen < _WIDEST[part.version] for part in routed_parts(network, site.trusted_networks))
