"""Say who uses a path that is about to be closed: the accounts and clients that the host's own log of the last days names.

Of each log only the end is read; how far back that reaches is said. What a log does not tell is `unknown`, never nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from ..address import LOOPBACK, Network, contains, parse_address
from ..control import Site
from ..listeners import Server
from ..runner import Runner
from ..text import decode, printable
from . import dovecot, exim, opensmtpd, postfix, sendmail
from .outcome import Taken, written
from .sources import Reading, read_journal
from .survey import failed, logs

DAYS = 14
MAX_BYTES = 16 * 1024 * 1024  # of each log
TIMEOUT_S = 30.0
KEPT = 200  # of each list: those with the most messages
NAMED = 5  # examples in a sentence
REMEMBERED = 1000  # to count how many different ones there are

LOGIN_IN_CLEAR, LOGIN_ON_25, RELAYS, OTHER_SENDER, LOCAL_SENDER = "AUTH-01", "AUTH-02", "RELAY-01", "SENDER-01", "SENDER-03"
# Others whose fix may close the way of a client that relays without a login.
RELAYS_TOO = ("RELAY-02", "RELAY-03", "RELAY-06", "RELAY-08", "RELAY-09", "RELAY-12", "RELAY-13")
CONTROLS = (LOGIN_IN_CLEAR, LOGIN_ON_25, RELAYS, OTHER_SENDER, LOCAL_SENDER, *RELAYS_TOO)
_TAKEN: Mapping[str, Callable[[bytes], list[Taken]]] = {
    "postfix": postfix.taken, "exim": exim.taken, "sendmail": sendmail.taken, "opensmtpd": opensmtpd.taken,
    "dovecot": dovecot.taken,
}  # fmt: skip
# Of readers of mail no more is known than how they log in.
_NOT_TOLD = {"dovecot": frozenset(CONTROLS) - {LOGIN_IN_CLEAR}}
# A line that the program writes, whoever its clients are: without one, this is not the log that it writes.
_SPEAKS = {
    "postfix": re.compile(rb"/(?:smtpd|qmgr|master|cleanup)\[\d+\]: "),
    "exim": re.compile(rb" (?:<=|=>|daemon started|Completed|(?:Start|End) queue run)"),
    "sendmail": re.compile(rb"\]: (?:starting daemon \(|NOQUEUE: |[0-9A-Za-z]{8}\d{6,}: )"),
    "opensmtpd": re.compile(rb" smtpd\[\d+\]: "),
    "dovecot": re.compile(rb"(?: dovecot(?:\[\d+\])?|-login|\bmaster|\bauth): "),
}
_HINTS = {
    ("postfix", LOGIN_ON_25): "services share a syslog_name: give each its own in master.cf",
    ("exim", LOGIN_ON_25): "the log does not tell the port: set log_selector = +incoming_interface",
    ("sendmail", LOGIN_ON_25): "the log does not tell the daemon: give each of DAEMON_OPTIONS a Name",
    ("opensmtpd", LOGIN_ON_25): "OpenSMTPD does not log the port",
    ("postfix", LOGIN_IN_CLEAR): "the log does not tell TLS: set smtpd_tls_loglevel = 1",
    ("exim", LOGIN_IN_CLEAR): "the log does not tell the protocol",
    ("dovecot", LOGIN_IN_CLEAR): "the log does not tell TLS: take the default of login_log_format_elements",
}


@dataclass(frozen=True)
class Dependent:
    """Somebody who uses a path. `who` is an account, or a client's address; `last` is the log's own stamp."""

    control: str
    who: str
    what: str
    count: int
    last: str


@dataclass(frozen=True)
class Dependents:
    """What the log of one program says about one control. `since` is the first stamp in what was read of `source`.

    `unknown` says what the log does not tell; empty when it tells all, so that nobody in `found` means nobody. `more` are those
    beyond the first.
    """

    control: str
    program: str
    found: tuple[Dependent, ...] = ()
    more: int = 0
    source: str = ""
    since: str = ""
    unknown: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "found": [asdict(each) for each in self.found]}


def dependents(
    runner: Runner,
    instances: Mapping[str, Sequence[Any]],
    ids: Collection[str],
    site: Site,
    days: int = DAYS,
    own: Collection[str] = (),
) -> list[Dependents]:
    """One for each of these controls and each program of `instances` (by component). One or two spawns, for the journal.

    `own` are the addresses of our own probes: the canary and their sender.
    """
    asked = {name: [control for control in CONTROLS if control in ids and control not in _NOT_TOLD.get(name, ())]
             for name in _TAKEN if instances.get(name)}  # fmt: skip
    programs = [name for name, controls in asked.items() if controls]
    if not programs:
        return []
    read = list(logs(runner, programs, {name: instances[name] for name in programs}, days, MAX_BYTES))
    found = []
    for program in programs:
        readings = [log.reading for log in read if program in log.programs]
        around = replace(Around.of(program, instances[program], site), own=frozenset(map(str.lower, filter(None, own))))
        found += judged(around, _of_program(runner, program, readings, days), asked[program])
    return found


def _of_program(runner: Runner, program: str, readings: Sequence[Reading], days: int) -> Sequence[Reading]:
    """Also the journal, where the files are not the ones that the program writes."""
    if any(_SPEAKS[program].search(reading.log) for reading in readings) or any(r.source == "journal" for r in readings):
        return readings
    return [*readings, read_journal(runner, runner.now() - days * 86_400, MAX_BYTES, TIMEOUT_S)]


@dataclass(frozen=True)
class Around:
    """What the configuration says of a program: its domains, the hosts that may go on, its listeners.

    `services` are those of Postfix: (syslog_name, port, whether it takes logins, whether nobody logs in without TLS). `ports` are
    those that take logins, `daemons` Sendmail's by name. `own` are the addresses of our own probes. `tells_tls`: a login in the
    log says so where it came inside TLS.
    """

    program: str
    local: frozenset[str] = frozenset()
    trusted: tuple[Network, ...] = ()
    services: tuple[tuple[str, int, bool, bool], ...] = ()
    ports: frozenset[int] = frozenset()
    daemons: Mapping[str, int] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    tells_tls: bool = True

    @classmethod
    def of(cls, program: str, instances: Sequence[Any], site: Site) -> Around:
        servers: Sequence[Server] = site.servers.get(program, ())
        local = {*site.local_domains, *(domain for server in servers for domain in server.local_domains)}
        local |= {domain for instance in instances for domain in getattr(instance, "relayed_domains", ())}
        smtp = [listener for server in servers for listener in server.smtp]
        ports = {port for server in servers for port in server.logins} or {listener.port for listener in smtp}
        daemons = {name.strip(): listener.port for listener in smtp for name in listener.service.split(",")}
        services = tuple(_services(instances)) if program == "postfix" else ()
        tells_tls = program != "dovecot" or all(map(dovecot.tells_tls, instances))
        return cls(program, frozenset(d.lower() for d in local), site.trusted_networks, services, frozenset(ports), daemons,
                   tells_tls=tells_tls)  # fmt: skip

    def is_local(self, address: str) -> bool:
        """Whether an address is of this site; one without a domain is."""
        _local, at, domain = address.rpartition("@")
        return not at or domain.lower() in self.local

    def is_ours(self, message: Taken) -> bool:
        """Whether it is one of our own messages; a token may stand behind a `+`."""
        addresses = (address.lower().partition("@") for address in (message.sender, *message.passed_on))
        return any(f"{local.partition('+')[0]}@{domain}" in self.own for local, _at, domain in addresses)

    def login_ports(self, message: Taken) -> frozenset[int]:
        """The ports that a login may have come through."""
        if self.program == "postfix":
            named = [(port, logins) for name, port, logins, _ in self.services if name == message.listener]
            return frozenset(port for port, logins in named if logins) or frozenset(port for port, _ in named) or self.ports
        if message.listener.isdigit():
            return frozenset({int(message.listener)})
        return frozenset({self.daemons[message.listener]}) if message.listener in self.daemons else self.ports

    def login_in_tls(self, message: Taken) -> Optional[bool]:
        """Whether a login came inside TLS, as far as the log or else the configuration tells."""
        named = [always for name, _, _, always in self.services if name == message.listener]
        return True if named and all(named) else message.tls if message.tls or self.tells_tls else None


def _services(instances: Sequence[Any]) -> Iterable[tuple[str, int, bool, bool]]:
    for instance in instances:
        for each in instance.smtp_services():
            smtpd = each.smtpd
            always = each.tls_wrapper or smtpd.tls_level == "encrypt"
            yield smtpd.value("syslog_name") or "postfix", each.port, smtpd.on("smtpd_sasl_auth_enable"), always


# Of one message: whether it depends on the path (None: the log does not tell), whose it is, and with what.
_Use = tuple[Optional[bool], str, str]
_NO: _Use = (False, "", "")


def _login_in_clear(message: Taken, around: Around) -> _Use:
    if message.account is None:
        return _NO
    secure = around.login_in_tls(message)
    return None if secure is None else not secure, message.account, message.client


def _login_on_25(message: Taken, around: Around) -> _Use:
    if message.account is None:
        return _NO
    ports = around.login_ports(message)
    return (True if ports == {25} else None) if 25 in ports else False, message.account, message.client


def _relays(message: Taken, around: Around) -> _Use:
    foreign = [recipient for recipient in message.passed_on if not around.is_local(recipient)]
    if message.account is not None or not foreign or _may_go_on(message.client, around):
        return _NO
    return True, message.client, foreign[0].rpartition("@")[2].lower()


def _other_sender(message: Taken, around: Around) -> _Use:
    if message.account is None or not message.sender:
        return _NO
    return (not _is_own(message.sender, message.account, around) if message.account else None), message.account, message.sender


def _is_own(sender: str, account: str, around: Around) -> bool:
    """By their names alone: alice's are alice@ and alice+more@ each domain of the site, those of alice@a only the ones there."""
    local, _at, domain = sender.lower().rpartition("@")
    name, _at, home = account.lower().partition("@")
    return name in (local, local.partition("+")[0]) and (domain == home if home else around.is_local(sender))


def _local_sender(message: Taken, around: Around) -> _Use:
    if message.account is not None or "@" not in message.sender or not around.is_local(message.sender):
        return _NO
    return (False, "", "") if _may_go_on(message.client, around) else (True, message.client, message.sender)


def _may_go_on(client: str, around: Around) -> bool:
    """The host itself, and whoever the inventory trusts."""
    try:
        return contains((*LOOPBACK, *around.trusted), parse_address(client))
    except ValueError:
        return False


_USES: Mapping[str, tuple[Callable[[Taken, Around], _Use], str]] = {
    LOGIN_IN_CLEAR: (_login_in_clear, "logs in without TLS, from {}"),
    LOGIN_ON_25: (_login_on_25, "logs in on port 25, from {}"),
    RELAYS: (_relays, "sends without a login to {}"),
    OTHER_SENDER: (_other_sender, "sends as {}"),
    LOCAL_SENDER: (_local_sender, "sends without a login as {}"),
    **dict.fromkeys(RELAYS_TOO, (_relays, "sends without a login to {}")),
}


@dataclass
class _Tally:
    """Messages of one account or client: how many, the last stamp, and with what (the first examples; how many differ)."""

    count: int = 0
    last: str = ""
    examples: dict[str, None] = field(default_factory=dict)

    def add(self, message: Taken, example: str) -> None:
        self.count += 1
        self.last = written(message.line) or self.last
        if len(self.examples) < REMEMBERED:
            self.examples.setdefault(example)

    def said(self) -> str:
        shown = ", ".join(printable(example, 80) for example in list(self.examples)[:NAMED])
        more = len(self.examples) - NAMED
        return f"{shown} and {more}{'+' if len(self.examples) == REMEMBERED else ''} more" if more > 0 else shown


def judged(around: Around, readings: Sequence[Reading], controls: Iterable[str]) -> list[Dependents]:
    """What these logs of one program say about each control. Pure."""
    program = around.program
    source = ", ".join(reading.source for reading in readings if reading.source)
    heard = [reading for reading in readings if _SPEAKS[program].search(reading.log)]
    if not heard:
        why = "; ".join(dict.fromkeys(reading.reason for reading in readings if reading.reason))
        unknown = f"no log of {program} was found{f': {why}' if why else ''}"
        return [Dependents(control, program, source=source, unknown=unknown) for control in controls]
    taken = (message for reading in heard for message in _TAKEN[program](reading.log))
    messages = [message for message in taken if not around.is_ours(message)]
    since = next((stamp for stamp in (written(_first_line(reading.log)) for reading in heard) if stamp), "")
    problems = [why for why in dict.fromkeys(map(failed, readings)) if why]
    filtered = program == "postfix" and any(postfix.PASSED_ON.search(reading.log) for reading in heard)
    head = _Head(source, since, problems, filtered)
    return [_judged(around, control, messages, head) for control in controls]


@dataclass(frozen=True)
class _Head:
    """What holds for every control: where the log is, from when on, what could not be read, whether a filter is before it."""

    source: str
    since: str
    problems: Sequence[str]
    filtered: bool


def _first_line(log: bytes) -> str:
    return decode(log[:200].partition(b"\n")[0])


def _judged(around: Around, control: str, messages: Sequence[Taken], head: _Head) -> Dependents:
    use, words = _USES[control]
    tallies: dict[str, _Tally] = {}
    untold, of, of_logins = 0, 0, around.program == "dovecot"
    for message in messages:
        depends, who, example = use(message, around)
        of += message.account is not None
        untold += depends is None
        if depends:
            tallies.setdefault(who, _Tally()).add(message, example)
    most = sorted(tallies.items(), key=lambda item: -item[1].count)
    found = tuple(Dependent(control, _named(who), words.format(t.said()), t.count, t.last) for who, t in most[:KEPT])
    reasons = list(head.problems)
    if untold:
        hint, what = _HINTS.get((around.program, control), _NAMELESS), "logins" if of_logins else "messages with a login"
        reasons.append(f"of {untold} of {of} {what} it is not known ({hint})")
    if head.filtered and control in (RELAYS, *RELAYS_TOO, OTHER_SENDER, LOCAL_SENDER):
        reasons.append("a filter takes messages before they are queued, and the log does not join client and message")
    return Dependents(control, around.program, found, max(len(most) - KEPT, 0), head.source, head.since, "; ".join(reasons))


_NAMELESS = "the log does not name the account"


def _named(who: str) -> str:
    return printable(who, 100) if who else "an account that the log does not name"


def told(found: Iterable[Dependents], most: int = 10) -> list[str]:
    """As a person reads it in a plan."""
    lines = []
    for each in found:
        where = f"{each.program}'s log{f' since {each.since}' if each.since else ''}"
        if each.found:
            lines.append(f"{each.control} closes what is in use, says {where}:")
        elif not each.unknown:
            lines.append(f"{each.control} closes what nobody uses, says {where}")
        what = "login" if each.program == "dovecot" else "message"
        lines += [f"  {d.who} {d.what} ({d.count} {what}{'s' * (d.count > 1)}, the last {d.last})" for d in each.found[:most]]
        more = len(each.found) - most + each.more
        lines += [f"  and {more} more"] if more > 0 else []
        lines += [f"{each.control}: who uses what it closes is not all known: {each.unknown}"] if each.unknown else []
    return lines
