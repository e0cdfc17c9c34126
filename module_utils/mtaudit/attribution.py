"""Give every open relay its one cause.

A simulation or a probe sees that a foreign message gets through; it cannot see why. The configuration can. An open answer is
therefore moved from the control that owns its class of hole to the control whose failing configuration on the same listener
explains it; where none fails, to one whose configuration could not be evaluated. What nothing explains stays where it is, and
contradicts the configuration there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .address import parse_network
from .finding import HOST, Finding, Method, Status, Subject

# Controls whose failing configuration lets a stranger's foreign message through, in the order in which they explain it.
CAUSES = (
    "RELAY-06",
    "RELAY-07",
    "RELAY-01",
    "RELAY-08",
    "RELAY-02",
    "RELAY-09",
    "RELAY-04",
    "RELAY-05",
    "RELAY-13",
    "RELAY-12",
    "RELAY-11",
    "RELAY-03",
    "SENDER-03",
    "RELAY-10",
)

# The controls that own a class of hole of unauthenticated clients: docs/architecture.md, "Classes of hole".
PLAIN = "RELAY-03"
CLASS_OWNERS = frozenset({PLAIN, "SENDER-03", "RELAY-10"})


# Conditions that every session meets or not without knowing: what its client's address, names and domains happen to be.
_UNKNOWINGLY_MET = frozenset(
    {"client_network", "client_name", "helo", "sender", "recipient", "through_gateway", "dns_allowlist"}
)


def attribute(findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, each open answer of a simulation or a probe under the control that explains it."""
    listed = list(findings)
    causes: dict[Subject, list[Finding]] = {}
    for finding in listed:
        if finding.method == Method.CONFIG and finding.status in (Status.FAIL, Status.UNKNOWN) and finding.control in CAUSES:
            causes.setdefault(finding.subject, []).append(finding)
    return [
        _attributed(f, [*causes.get(f.subject, []), *causes.get(HOST, [])], listed)
        if _is_open_answer(f)
        else _held_back(f, listed)
        for f in listed
    ]


def _held_back(finding: Finding, listed: list[Finding]) -> Finding:
    """Where another look at the listener found it open to anybody, a forged sender that got through tells nothing."""
    forged = finding.control == "SENDER-03" and finding.status == Status.FAIL and "local_recipient" in finding.conditions
    if not forged or not any(_is_plain_variant(other, finding) for other in listed):
        return finding
    return replace(finding, status=Status.UNKNOWN, verdict="unknown", reason="relays for anybody, so no sender is held back")


def _attributed(opened: Finding, causes: list[Finding], listed: list[Finding]) -> Finding:
    cause = _explaining(opened, [c for c in causes if c.status == Status.FAIL]) or _not_evaluated(opened, causes)
    if cause:
        return replace(opened, control=cause)
    if opened.control != PLAIN and any(_is_plain_variant(other, opened) for other in listed):
        # With an open relay every variant succeeds: one hole, one finding.
        return _attributed(replace(opened, control=PLAIN), causes, [])
    return opened


def _is_plain_variant(plain: Finding, opened: Finding) -> bool:
    """Whether the same listener was found open without any trick, to no narrower a set of clients."""
    same = plain.control == PLAIN and plain.subject == opened.subject
    return same and _is_open_answer(plain) and not _needs_more(plain, opened.conditions)


def _is_open_answer(finding: Finding) -> bool:
    # To a local recipient nothing is relayed: no hole explains that, and it proves none.
    return "local_recipient" not in finding.conditions and (
        finding.method in (Method.SIMULATION, Method.PROBE)
        and finding.status == Status.FAIL
        and finding.control in CLASS_OWNERS
    )


def _needs_more(finding: Finding, given: Iterable[str]) -> bool:
    return bool(set(finding.conditions) - set(given))


def _explaining(opened: Finding, causes: list[Finding]) -> str:
    """The cause that needs nothing which the open answer did not have; what it may have had unknowingly comes second."""
    # Where IPv4 gave no answer, a probe cannot say that it takes IPv6; its client's address can.
    unknowingly = _UNKNOWINGLY_MET | {"ipv6" for client in opened.clients if ":" in client}
    for given in (opened.conditions, (*opened.conditions, *unknowingly)):
        fitting = [c.control for c in causes if not _needs_more(c, given) and _may_be(opened.clients, c.clients)]
        if opened.control in fitting:
            return opened.control
        for control in CAUSES:
            if control in fitting:
                return control
    return ""


def _not_evaluated(opened: Finding, causes: list[Finding]) -> str:
    """Of the controls that the configuration could not answer, the one that the open answer may belong to."""
    left = {cause.control for cause in causes if cause.status == Status.UNKNOWN}
    order = (opened.control, *(("RELAY-09",) if "ipv6" in opened.conditions else ()), *CAUSES)
    return next((control for control in order if control in left), "")


def _may_be(seen: Iterable[str], allowed: Iterable[str]) -> bool:
    """Whether one of the clients that got through is one of those that the configuration lets through."""
    clients, networks = list(map(parse_network, seen)), list(map(parse_network, allowed))
    return not clients or not networks or any(c.version == n.version and c.overlaps(n) for c in clients for n in networks)
