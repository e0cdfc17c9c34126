"""What a Sendmail is configured to do: options, classes, tables, ports, and what it answered to our questions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ..address import LOOPBACK, Address, Network, contains, is_address, parse_address
from ..listeners import Listener
from .sasl import Sasl
from .sendmail_ask import UNASKED, Question, Told
from .sendmail_cf import CHECKS, OFFERS, Cf, Rule
from .sendmail_macros import of_login
from .submitted import Written

PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587}
# Tags of the access map; what stands in front of any other colon is part of the key (cf/README).
TAGS = ("connect", "to", "from", "spam", "certissuer", "certsubject", "srv_features", "clt_features", "tls_clt", "tls_srv",
        "tls_rcpt", "try_tls", "authinfo", "greetpause", "clientrate", "clientconn", "relay")  # fmt: skip
# What a rule asks for that may differ from one port to another.
_BY_DAEMON = re.compile(r"\$&\{(?:daemon_(?:name|port|addr|family|info)|if_\w+)\}")


@dataclass(frozen=True)
class Entry:
    """One line of a compiled table: the tag in small letters, empty for none, the key and the value."""

    tag: str
    key: str
    value: str

    @property
    def relays(self) -> bool:
        return self.value.strip().upper() == "RELAY"

    def __str__(self) -> str:
        return f"{self.tag.capitalize()}:{self.key} {self.value}" if self.tag else f"{self.key} {self.value}"


@dataclass(frozen=True)
class Table:
    """What a compiled map holds; `problem` says why that is not known."""

    name: str
    path: str
    entries: tuple[Entry, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Daemon:
    """One DaemonPortOptions: `flags` are its modifiers (M=)."""

    name: str
    family: str
    port: int
    address: str
    flags: str
    line: int
    text: str

    @property
    def login_required(self) -> bool:
        """M=a: nothing before AUTH (Operation Guide, DaemonPortOptions)."""
        return "a" in self.flags

    @property
    def login_offered(self) -> bool:
        return "A" not in self.flags


@dataclass(eq=False)
class Sendmail:
    """One configuration in use. `command` holds what the daemon was started with (from its PID file), empty when not known.

    `classes` are as the program has them, files read; `told` are its answers to the questions of sendmail_questions.py.
    `compiled` are the parts that it was built with. `help` is its HelpFile, `package` the version of Debian's package, where the
    release alone does not tell what was repaired; `openssl` is readers/openssl.py's. Each `..._problem` says why it is not known.
    """

    file: str
    version: str = ""
    cf: Cf = field(default_factory=Cf)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    answers: Mapping[Question, Told] = field(default_factory=dict)
    host_name: str = ""
    addresses: tuple[Address, ...] = ()
    gateways: tuple[Address, ...] = ()
    only_ipv6: bool = False  # net.ipv6.bindv6only
    command: tuple[str, ...] = ()
    primary: Optional[Sendmail] = None
    compiled: frozenset[str] = frozenset()
    sasl: Sasl = field(default_factory=Sasl)
    help: str = ""
    help_problem: str = ""
    openssl: Mapping[str, str] = field(default_factory=dict)
    openssl_problem: str = ""
    package: str = ""
    package_problem: str = ""
    problem: str = ""
    silent: str = ""  # why our questions were not asked, or not all
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def told(self, question: Question) -> Told:
        """What the program says to a question; without an answer it is undecided, never closed."""
        found = self.answers.get(question, UNASKED)
        return Told(None, "", self.silent) if found is UNASKED and self.silent else found

    @property
    def access(self) -> Optional[Table]:
        """The access map; None when the configuration has none."""
        return self.tables.get("access")

    def entries(self, *tags: str) -> Iterator[Entry]:
        """The entries of the access map under these tags."""
        if self.access:
            yield from (e for e in self.access.entries if e.tag in tags)

    @property
    def local_domains(self) -> list[str]:
        """Class w without addresses, names of one label and the host's own names in brackets."""
        names = [name.lower().rstrip(".") for name in self.classes.get("w", ())]
        domains = {n for n in names if "." in n and not n.startswith("[") and not is_address(n)}
        return sorted(domains, key=lambda name: (name == self.host_name, name))

    @property
    def relayed_domains(self) -> list[str]:
        """Domains of others that mail is taken for: class R and `To:` entries, without those of one label."""
        listed = [*self.classes.get("R", ()), *(e.key for e in self.entries("to", "") if e.relays)]
        return [d.lower() for d in dict.fromkeys(listed) if is_domain(d) and "." in d.strip(".")]

    @property
    def daemons(self) -> list[Daemon]:
        """The ports; without DaemonPortOptions the one of port 25."""
        return [_daemon(text, line, number) for number, (text, line) in enumerate(self.cf.daemons or [("", 0)])]

    def login_required(self, daemon: Daemon) -> bool:
        """M=a, which srv_features takes back for some clients with `L` (tried on 8.17.1.9 and 8.18.1)."""
        lifted = any(re.search(r"\bL\b", entry.value) for entry in self.entries("srv_features"))
        lifted = lifted or any(re.search(r"\bL\b", told.said) for q, told in self.answers.items() if q.only == "srv_features")
        return daemon.login_required and not lifted

    def daemon_of(self, listener: Listener) -> Daemon:
        """The daemon behind a listener: of several on one port the one that asks for the least."""
        mine = [d for d in self.daemons if d.port == listener.port and _bound(d.address, d.family) in ("*", listener.bind)]
        mine = mine or [d for d in self.daemons if d.port == listener.port] or self.daemons
        return min(mine, key=lambda d: (d.login_required, not d.login_offered))

    @property
    def listeners(self) -> tuple[Listener, ...]:
        if "listeners" not in self.memo:
            self.memo["listeners"] = tuple(_listeners(self))
        found: tuple[Listener, ...] = self.memo["listeners"]
        return found

    @property
    def by_daemon(self) -> bool:
        """Whether a rule may tell ports apart."""
        rules = [rule for found in self.cf.reached(*CHECKS, *OFFERS).values() for rule in found]
        return any(_BY_DAEMON.search(f"{rule.left} {rule.right}") for rule in rules)

    @property
    def delays_checks(self) -> bool:
        """Whether nothing is asked before RCPT, and of people who have logged in nothing of it at all (FEATURE(delay_checks))."""
        return "check_rcpt" in self.cf.rules and "check_mail" not in self.cf.rules

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms whose logins relay (class TrustAuthMech)."""
        return self.classes.get("{TrustAuthMech}", ())

    @property
    def added_headers(self) -> list[tuple[str, str]]:
        """What every message gets, with where it is written."""
        return [(text, f"{self.file}:{line} H") for text, line in self.cf.headers]

    def submitted(self, family: str) -> Written:
        """What somebody's message gets who logs in from an address of this family."""
        return of_login([text for text, _ in self.cf.headers], self.cf, self.host_name, family)

    def where(self, rule: Rule) -> str:
        return f"{self.file}:{rule.line}"

    def origin(self, option: str) -> str:
        line = self.cf.line_of(option)
        return f"{self.file}:{line} {option}" if line else f"{self.file} {option}"

    def origin_of_class(self, name: str) -> str:
        """Where the members of a class are written: its files, else its lines."""
        files = self.cf.class_files.get(name, [])
        lines = self.cf.class_lines.get(name, [])
        return files[0] if files else f"{self.file}:{lines[0]}" if lines else f"class {name}"


def is_domain(text: str) -> bool:
    """A name, not an address or the beginning of one."""
    return bool(re.fullmatch(r"[A-Za-z0-9_.-]+", text)) and not re.fullmatch(r"[0-9.]+", text)


def network_of(key: str) -> Optional[Network]:
    """The network of a key of the access map or a member of class R: whole octets or words from the left; None for a name."""
    bare = key.strip("[]").rstrip(".:")
    if bare.lower().startswith("ipv6:"):
        words = [w for w in bare[5:].partition("::")[0].split(":") if w]
        if not 0 < len(words) <= 8 or not all(re.fullmatch(r"[0-9A-Fa-f]{1,4}", w) for w in words):
            return None
        filled = [*words, *["0"] * (8 - len(words))]
        return ipaddress.ip_network(f"{':'.join(filled)}/{16 * len(words)}")
    octets = bare.split(".")
    if not re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){0,3}", bare) or any(int(octet) > 255 for octet in octets):
        return None
    filled = [str(int(octet)) for octet in octets] + ["0"] * (4 - len(octets))
    return ipaddress.ip_network(f"{'.'.join(filled)}/{8 * len(octets)}")


def parse_table(text: str) -> tuple[Entry, ...]:
    """What `makemap -u` prints: key, tabulator, value."""
    found = []
    for line in text.splitlines():
        key, _, value = line.partition("\t")
        tag, colon, rest = key.partition(":")
        tagged = bool(colon) and tag.lower() in TAGS
        found.append(Entry(tag.lower() if tagged else "", rest if tagged else key, value))
    return tuple(found)


def _daemon(text: str, line: int, number: int) -> Daemon:
    """`Family=inet6, Name=MTA, Port=smtp, M=A`: only the first letter of a name counts (Operation Guide, DaemonPortOptions)."""
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if equals and name.strip():
            word = name.strip()
            # InputMailFilters and others share no first letter with these; `d` is the delivery mode.
            given["d" if word.startswith("d") else word[0].upper()] = value.strip()
    port = given.get("P", "smtp")
    address = given.get("A", "").strip("[]")
    address = address[5:] if address.lower().startswith("ipv6:") else address
    flags = given.get("M", "").replace(" ", "")
    number_of_port = int(port) if port.isdigit() else PORTS.get(port.lower(), 0)
    return Daemon(given.get("N", f"Daemon{number}"), given.get("F", "inet").lower(), number_of_port, address, flags, line, text)


def _bound(address: str, family: str) -> str:
    return "*" if address in ("", "0.0.0.0", "::", "0:0:0:0:0:0:0:0") else address


def _listeners(sendmail: Sendmail) -> Iterator[Listener]:
    """A daemon that is optional (M=O) and on a socket that is none of TCP is left out; one port of two families is one."""
    found: dict[tuple[int, str], list[Daemon]] = {}
    for daemon in sendmail.daemons:
        if daemon.port and daemon.family in ("inet", "inet6"):
            found.setdefault((daemon.port, _bound(daemon.address, daemon.family)), []).append(daemon)
    for (port, bind), daemons in sorted(found.items()):
        if bind != "*" and (port, "*") in found:
            continue  # Sendmail would not start on both
        six = any(d.family == "inet6" for d in daemons)
        four = any(d.family == "inet" for d in daemons) or bind == "*" and six and not sendmail.only_ipv6
        families = tuple(name for name, has in (("ipv4", four), ("ipv6", six)) if has)
        local = is_address(bind) and contains(LOOPBACK, parse_address(bind))
        service = ", ".join(d.name for d in daemons)
        yield Listener(port, bind, families, service, any("s" in d.flags for d in daemons), local)
