"""Ask the real Exim what it would do with clients at any address: `exim -bh ADDRESS -oMi LOCALADDRESS.PORT`.

No port is opened, no message, queue file or log line is made, nobody is called back, and the running daemon is not touched. Exim
does look up the client's name and what its ACLs ask the DNS. What would reach further or write something (programs, sockets,
data bases, rate limits, which -bh does count: tried) stops the simulation, unless the site allows it. Not seen: encryption.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..control import Site
from ..finding import Finding
from ..listeners import Listener
from ..readers.exim_lists import network_of
from ..readers.exim_model import Exim
from ..readers.exim_syntax import Statement
from ..readers.network import HostNetwork
from ..redact import redact
from ..smtp.reply import Reply
from ..text import printable
from .envelopes import Client, Declared, Envelope, clients, envelopes, for_client
from .exim_session import EximSession
from .session import Budget, Session, SessionEnded
from .verdict import Answer, Simulated, findings, no_verdict

SESSION_TIMEOUT_S = 15.0
TOTAL_TIMEOUT_S = 90.0
BUDGET = 40
PROGRAMS = ("/usr/sbin/exim4", "/usr/sbin/exim", "/usr/local/sbin/exim", "/usr/exim/bin/exim")

# Commands other than MAIL in one session before Exim hangs up (smtp_accept_max_nonmail), less the one that would.
_NONMAIL = 10
_DATA_BASES = r"mysql|pgsql|ldap[dm]?n?|redis|oracle|ibase|memcached|nis\w*"
_OUTSIDE = re.compile(rf"\$\{{(?:run|readsocket|perl|dlfunc)\b|\b(?:{_DATA_BASES})[;{{ ,]")
_WRITING = ("ratelimit", "seen")
_STAGES = ("acl_smtp_connect", "acl_smtp_helo", "acl_smtp_mail", "acl_smtp_rcpt")
_UNKNOWN_USER = re.compile(r"(?i)unrouteable address|unknown user|user unknown|no such (?:user|person)|no mail to system")
# The words of Exim's verify.c and smtp_in.c: refusals that say nothing about relaying.
_UNDECIDED = (
    (re.compile(r"(?i)temporary local problem"), "a list or a look-up could not be evaluated"),
    (re.compile(r"(?i)sender verify fail|could not complete sender verify"), "the foreign sender could not be verified"),
    (_UNKNOWN_USER, "the foreign recipient could not be routed, or its domain is treated as a local one"),
    (re.compile(r"(?i)could not complete recipient verify"), "the foreign recipient could not be verified"),
    (re.compile(r"(?i)too many (?:nonmail|syntax)"), "Exim ended the dialogue"),
)


@dataclass
class _Run:
    """What a simulation of a host may still use."""

    budget: Budget
    deadline: float


def simulate_all(
    instances: Sequence[Exim],
    site: Site,
    network: Optional[HostNetwork],
    declared: Declared,
) -> Simulated:
    """Every port of every configuration that others than the host itself can reach.

    Bounded by BUDGET processes and TOTAL_TIMEOUT_S seconds; what could not be asked is `unknown` with the reason. Where nothing
    can tell ports apart, one is asked for all.
    """
    run = _Run(Budget(BUDGET), time.monotonic() + TOTAL_TIMEOUT_S)
    found: list[Finding] = []
    for exim in (e for e in instances if not e.problem):
        ports = [listener for listener in exim.listeners if not listener.loopback_only]
        tried = envelopes(declared, [*exim.local_domains, *site.local_domains], exim.relayed_domains)
        whom = _clients(exim, site, network)
        groups = [[port] for port in ports] if exim.by_port else [ports] if ports else []
        for group in groups:
            answers, stopped = _ask_all(exim, group[0], whom, tried, run, declared.contact_policy_services)
            for listener in group:
                reachable = [a for a in answers if f"ipv{a.client.address.version}" in listener.families]
                found += findings(listener.name, reachable, site.trusted_networks, stopped, program="Exim")
    return Simulated(tuple(found), run.budget.used)


def _clients(exim: Exim, site: Site, network: Optional[HostNetwork]) -> list[Client]:
    here = network or HostNetwork((), (), ())
    listed = [n for item in exim.relaying_hosts for n in [network_of(item)] if n is not None]
    return clients(here.addresses, here.links, here.gateways, site.trusted_networks, listed)


def obstacle(exim: Exim, contact: bool) -> str:
    """Why this Exim is not asked, or an empty string. Costs no spawn."""
    if os.geteuid() != 0:
        return "not root: Exim shows and uses all of its configuration for root only"
    if not _program():
        return "the exim program was not found"
    texts = [exim.options.get(stage, "") for stage in _STAGES] + list(exim.config.lists.values())
    conditions = [c for acl in _asked(exim) for statement in acl for c in statement.conditions]
    writing = next((c.name for c in conditions if c.name in _WRITING and "noupdate" not in c.value), "")
    if writing:
        return f"the ACLs hold '{writing}', which a simulation would count as well"
    outside = next((m.group(0) for text in (*texts, *(c.value for c in conditions)) for m in [_OUTSIDE.search(text)] if m), "")
    if outside and not contact:
        return f"the ACLs ask something outside of Exim ({outside.strip('${;, ')}), which was not contacted"
    return ""


def _asked(exim: Exim) -> list[tuple[Statement, ...]]:
    """The ACLs that a session up to RCPT may meet: the stages' and what they name; all where a name is expanded."""
    names = [exim.options.get(stage, "") for stage in _STAGES]
    if any("$" in name for name in names):
        return list(exim.config.acls.values())
    found: dict[str, tuple[Statement, ...]] = {}
    while names:
        name = names.pop()
        acl = exim.config.acls.get(name, ()) if name not in found else ()
        found.setdefault(name, acl)
        names += [c.value.split()[0] for statement in acl for c in statement.conditions if c.name == "acl" and c.value]
    return list(found.values())


def _program() -> str:
    return next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")


def _ask_all(
    exim: Exim, listener: Listener, whom: Sequence[Client], tried: Sequence[Envelope], run: _Run, contact: bool
) -> tuple[list[Answer], str]:
    """The answers of one port, and why some are missing."""
    stopped = obstacle(exim, contact)
    answers: list[Answer] = []
    for client in whom if not stopped else ():
        if f"ipv{client.address.version}" not in listener.families:
            continue
        found, problem = _ask_client(exim, listener, client, for_client(client, tried), run)
        answers += found
        stopped = stopped or problem
        if run.budget.used >= run.budget.limit:
            break
    return answers, stopped


def _ask_client(
    exim: Exim, listener: Listener, client: Client, tried: Sequence[Envelope], run: _Run
) -> tuple[list[Answer], str]:
    """All envelopes of one client: a process for as many as Exim bears in one session."""
    answers: list[Answer] = []
    left = list(tried)
    while left:
        if not run.budget.take():
            return answers, f"the budget of {run.budget.limit} processes for simulations is used up"
        before = len(left)
        deadline = min(time.monotonic() + SESSION_TIMEOUT_S, run.deadline)
        try:
            with EximSession(_command(exim, listener, client), deadline) as session:
                dialogue = _Dialogue(session, client)
                while left and dialogue.room:
                    answers.append(dialogue.ask(left[0]))
                    left.pop(0)
        except SessionEnded as exc:
            if len(left) == before:
                return answers, str(exc)
        except OSError as exc:
            return answers, f"Could not start exim: {exc.strerror}"
    return answers, ""


def _command(exim: Exim, listener: Listener, client: Client) -> list[str]:
    """`exim -bh` with the daemon's own configuration; -oMi gives the address and port that the client connected to."""
    own = next((a for a in exim.addresses if a.version == client.address.version), None)
    here = listener.bind if listener.bind != "*" else str(own or ("127.0.0.1" if client.address.version == 4 else "::1"))
    return [_program(), *exim.other_options, "-bh", str(client.address), "-oMi", f"{here}.{listener.port}"]


class _Dialogue:
    """The SMTP side of a session: one envelope after the other, and how many commands Exim still takes."""

    def __init__(self, session: Session, client: Client) -> None:
        self._session = session
        self._client = client
        self._helo = ""
        self._nonmail = 0
        self._in_transaction = False
        self._greeting = session.reply()

    @property
    def room(self) -> bool:
        """Whether one more envelope fits: it takes up to four commands that Exim counts."""
        return self._nonmail + 4 < _NONMAIL

    def ask(self, envelope: Envelope) -> Answer:
        """Try one envelope. Raises SessionEnded."""
        allowed, reply = self._try(envelope)
        if allowed and envelope.at_local_domain and self._accepts_anything(envelope):
            return Answer(self._client, envelope, None, _quoted(reply), "every local part is accepted at this domain")
        reason = "" if allowed else _undecided(reply, envelope.at_local_domain)
        return Answer(self._client, envelope, None if reason else allowed, _quoted(reply), reason)

    def _accepts_anything(self, envelope: Envelope) -> bool:
        domain = envelope.recipient.rpartition("@")[2]
        return self._try(replace(envelope, recipient=f"mtaudit-5b1f9c72@{domain}"))[0]

    def _try(self, envelope: Envelope) -> tuple[bool, Reply]:
        """Whether Exim takes the recipient, and the reply that decided."""
        reply = self._greeting
        if not reply.accepted:
            return False, reply
        if envelope.helo != self._helo:
            reply = self._command(f"EHLO {envelope.helo}", counts=True)
            self._helo, self._in_transaction = envelope.helo, False
        elif self._in_transaction:
            reply = self._command("RSET", counts=True)
            self._in_transaction = False
        for line in (f"MAIL FROM:<{envelope.sender}>", f"RCPT TO:<{envelope.recipient}>"):
            if not reply.accepted:
                return False, reply
            reply = self._command(line)
            self._in_transaction = self._in_transaction or line.startswith("MAIL") and reply.accepted
        return reply.accepted, reply

    def _command(self, line: str, counts: bool = False) -> Reply:
        self._nonmail += counts
        return self._session.command(line)


def _undecided(reply: Reply, recipient_is_local: bool) -> str:
    """Why a refusal says nothing about relaying; empty when it is a clear no.

    501 is a form of address that Exim does not take; "Unrouteable address" at a local domain says that no route was followed.
    """
    if reply.code in (500, 502, 503, 504):
        return "Exim did not understand the dialogue"
    if recipient_is_local and reply.code >= 500 and _UNKNOWN_USER.search(reply.text):
        return ""
    for pattern, reason in _UNDECIDED:
        if pattern.search(reply.text):
            return reason
    return no_verdict(reply, "Exim")


def _quoted(reply: Reply) -> str:
    return printable(redact(str(reply)))
