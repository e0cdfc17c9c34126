"""Controls on the mailboxes that every domain must have: mail for postmaster and abuse reaches a person."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.local_users import ROLES
from ..readers.role_mail import INCLUDE, RoleMail
from ..readers.system import Host
from ..redact import redact
from ..text import printable
from .role_steps import Program, Step, Unclear, program

_DOMAINS_LIMIT = 200
_DEPTH = 12
_FIRST_PERSON = 1000  # UID_MIN of Debian's login.defs
# Programs and files that throw away what they get.
_BIN = re.compile(r"^\W*(?:/\S*/)?(?:true|false|exit|:)\b|/dev/null")
_REFUSING = (":fail:", ":defer:", ":blackhole:", ":unknown:", "error:", "!")
_SPOOLS = re.compile(r"^/var/(?:spool/)?mail/([^/]+)$")


class End(IntEnum):
    """Where mail ends; of several ends the highest counts."""

    NOWHERE = 1
    SYSTEM = 2  # the mailbox of an account that is no person's
    UNKNOWN = 3
    READ = 4


@dataclass(frozen=True)
class Fate:
    """What becomes of mail for one address, in words, by which steps."""

    address: str
    end: End
    text: str
    steps: tuple[Step, ...] = ()


@control("RCPT-02", "os")
def role_mailboxes_reach_a_person(host: Host, site: Site) -> Iterator[Finding]:
    found = [(title, program(title, instance, host.roles)) for title, instance in host.roles.instances]
    serving = [(title, each) for title, each in found if each is not None]
    asked = 0
    for title, each in serving:
        try:
            domains = each.domains(site)
        except Unclear as exc:
            asked += 1
            yield unknown(HOST, f"which domains' mail ends at {title} could not be told", str(exc))
            continue
        if domains:
            asked += 1
            yield _judged(title, _Follow(each, host.roles, site), domains)
    unread = [title for title, instance in host.roles.instances if getattr(instance, "problem", "")]
    if unread:
        reason = f"{unread[0]} could not be read: its other findings say why"
        yield unknown(HOST, "where mail for postmaster and abuse ends could not be told", reason)
    elif not asked:
        yield notapplicable(HOST, "no domain's mail ends here", "no program on this host delivers mail for a domain")


def fates(each: Program, roles: RoleMail, site: Site) -> list[Fate]:
    """Of both addresses at every domain whose mail ends at a program. Raises Unclear."""
    return _fates(_Follow(each, roles, site), each.domains(site))


def _fates(follow: _Follow, domains: Sequence[str]) -> list[Fate]:
    return [follow.fate(f"{role}@{domain}") for domain in domains[:_DOMAINS_LIMIT] for role in ROLES]


def _judged(title: str, follow: _Follow, domains: Sequence[str]) -> Finding:
    fates = _fates(follow, domains)
    bad = [fate for fate in fates if fate.end <= End.SYSTEM]
    doubtful = [fate for fate in fates if fate.end is End.UNKNOWN]
    if bad:
        more = f"; {len(bad) - 1} more like it" if len(bad) > 1 else ""
        return fail(HOST, f"mail for {bad[0].address} {bad[0].text}{more} ({title})", *_evidence(bad))
    if doubtful:
        text = f"where mail for {doubtful[0].address} ends could not be told"
        return unknown(HOST, f"{text} ({title})", doubtful[0].text, *_evidence(doubtful))
    if len(domains) > _DOMAINS_LIMIT:
        text = f"mail for postmaster and abuse reaches a person at the {_DOMAINS_LIMIT} domains that were followed"
        return unknown(HOST, text, f"{len(domains) - _DOMAINS_LIMIT} more were not")
    return passed(HOST, f"mail for postmaster and abuse reaches a person: {fates[0].text} ({title})")


def _evidence(fates: Sequence[Fate]) -> Iterator[Evidence]:
    shown: dict[tuple[str, str], None] = {}
    for fate in fates[:5]:
        shown.update(((step.where, step.text), None) for step in fate.steps)
    for where, text in list(shown)[:10]:
        yield Evidence(Method.CONFIG, printable(where), printable(redact(text)))


class _Follow:
    """Follows an address to its ends, each place once."""

    def __init__(self, ours: Program, roles: RoleMail, site: Site) -> None:
        self._ours, self._roles = ours, roles
        self._read = frozenset(str(name) for name in site.tunables.get("read_accounts", ()))

    def fate(self, address: str) -> Fate:
        return replace(self._address(address, ()), address=address)

    def _address(self, address: str, before: tuple[str, ...]) -> Fate:
        address = address.lower()
        if address in before or len(before) > _DEPTH:
            # An alias that leads back to itself means the account of that name (aliases(5)).
            return self._account(address.rpartition("@")[0], before)
        try:
            step = self._ours.step(address)
        except Unclear as exc:
            return Fate(address, End.UNKNOWN, printable(str(exc)))
        if step.kept:
            return Fate(address, End.READ, "a mailbox of its own", (step,))
        if step.away:
            return Fate(address, End.READ, "goes on to another host", (step,))
        if step.lost:
            return Fate(address, End.NOWHERE, f"is refused or lost: {printable(step.lost)}", (step,))
        if step.account:
            found = self._account(step.account, (*before, address))
        else:
            found = self._best(step.targets, address, before)
        return replace(found, steps=(step, *found.steps))

    def _best(self, targets: Sequence[str], address: str, before: tuple[str, ...]) -> Fate:
        domain = address.rpartition("@")[2]
        fates = [self._target(target, domain, (*before, address)) for target in targets]
        return max(fates, key=lambda fate: fate.end, default=Fate(address, End.NOWHERE, "goes nowhere: its alias is empty"))

    def _target(self, target: str, domain: str, before: tuple[str, ...]) -> Fate:
        """One target in the words of aliases(5)."""
        bare = target.strip().strip('"').strip()
        included = INCLUDE.match(bare)
        if included:
            return self._list(included.group(1), domain, before)
        if bare.startswith(_REFUSING):
            return Fate("", End.NOWHERE, f"is refused or lost: {printable(bare)}")
        if bare.startswith(("|", "/")):
            return self._file(bare)
        if bare.startswith("\\"):
            return self._account(bare[1:], before)
        local_part, at, to = bare.rpartition("@")
        if at and not self._ours.is_local(to.lower()):
            return Fate("", End.READ, f"goes on to {printable(bare)}")
        return self._address(bare if at else f"{to}@{domain}", before)

    def _file(self, bare: str) -> Fate:
        spool = _SPOOLS.match(bare)
        if bare.startswith("|") and _BIN.search(bare[1:].strip()) or _BIN.search(bare):
            return Fate("", End.NOWHERE, f"is thrown away: {printable(bare)}")
        if spool and self._roles.users.numbers.get(spool.group(1), _FIRST_PERSON) < _FIRST_PERSON:
            return self._account(spool.group(1), ())
        kind = "given to a program" if bare.startswith("|") else "kept in a file"
        return Fate("", End.READ, f"{kind}: {printable(bare)}")

    def _list(self, path: str, domain: str, before: tuple[str, ...]) -> Fate:
        known = self._roles.texts.get(path)
        if known is None or known.problem:
            return Fate("", End.UNKNOWN, known.problem if known else f"{path} was not read")
        lines = [line.partition("#")[0] for line in known.text.splitlines()]
        members = [word.strip() for line in lines for word in line.split(",") if word.strip()]
        fates = [self._target(member, domain, (*before, path)) for member in members if path not in before]
        return max(fates, key=lambda fate: fate.end, default=Fate("", End.NOWHERE, f"goes nowhere: {path} lists nobody"))

    def _account(self, name: str, before: tuple[str, ...]) -> Fate:
        users = self._roles.users
        if name not in users.homes:
            if users.doubt:
                return Fate("", End.UNKNOWN, f"whether there is an account {printable(name)} is not known: {users.doubt}")
            return Fate("", End.NOWHERE, f"is refused or lost: there is no mailbox {printable(name)}")
        if name in self._read or users.numbers.get(name, 0) >= _FIRST_PERSON and name != "nobody":
            return Fate("", End.READ, f"the mailbox of {printable(name)}")
        forward = self._roles.forward if name == "root" and ".forward" not in before else ""
        lines = [line.partition("#")[0].strip() for line in forward.splitlines()]
        targets = [word.strip() for line in lines for word in line.split(",") if word.strip()]
        if targets:
            domain = next((place.rpartition("@")[2] for place in before if "@" in place), "localhost")
            fates = [self._target(target, domain, (*before, ".forward")) for target in targets]
            return max(fates, key=lambda fate: fate.end)
        return Fate("", End.SYSTEM, f"ends in the mailbox of {printable(name)}, an account of the system that nobody reads")
