"""What fixes of Dovecot have in common: whom the failing settings hold for, and settings changed in the block that counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Optional

from ..config.dovecot import Wanted
from ..control import Site
from ..controls.dovecot_ports import outsiders, subject
from ..finding import Finding
from ..readers.dovecot_model import Dovecot, Port, Scope, Section, concerns


def failing(dovecot: Dovecot, findings: Sequence[Finding]) -> list[Port]:
    """The ports that the findings are about."""
    about = {finding.subject for finding in findings}
    return [port for port in dovecot.ports() if subject(port) in about]


def scopes(dovecot: Dovecot, findings: Sequence[Finding]) -> Iterator[tuple[str, Scope]]:
    """The protocols of these ports, each with its settings, whomever they hold for."""
    for protocol in dict.fromkeys(port.protocol for port in failing(dovecot, findings)):
        for scope in dovecot.scopes(protocol):
            yield protocol, scope


def put(dovecot: Dovecot, protocol: str, scope: Scope, name: str, value: str) -> Wanted:
    """A setting of a scope, in the block from which it has its value."""
    return Wanted({_block(dovecot, protocol, scope, name): {name: value}})


def everywhere(name: str, value: str) -> Wanted:
    """A setting that stands in no block."""
    return Wanted({"": {name: value}})


def _block(dovecot: Dovecot, protocol: str, scope: Scope, name: str) -> str:
    """The innermost that has it. A protocol inside a filter counts more than the filter."""
    section, names, found = dovecot.root, [], ""
    for inner in (None, *scope.filters):
        if inner:
            section = next(each for each in section.sections if (each.kind, each.name) == inner)
            names.append(f"{section.kind} {section.name}")
        for each in (section, *_of_protocol(section, protocol)):
            if name in each.settings:
                found = " / ".join([*names, f"protocol {each.name}"] if each.kind == "protocol" else names)
    return found


def _of_protocol(section: Section, protocol: str) -> list[Section]:
    return [each for each in section.of_kind("protocol") if concerns(each.name, protocol)]


def narrowed(dovecot: Dovecot, protocol: str, scope: Scope, name: str, site: Site) -> Optional[Wanted]:
    """A list of networks without those that reach too far; None where none does, or one is no network."""
    networks = scope.value(name).replace(",", " ").split()
    if not outsiders(scope.value(name), site)[0] or outsiders(scope.value(name), site)[1]:
        return None
    kept = [network for network in networks if not outsiders(network, site)[0]]
    return put(dovecot, protocol, scope, name, " ".join(kept))


def together(wanted: Iterable[Optional[Wanted]]) -> Optional[Wanted]:
    """All of them, one after the other; None for nothing."""
    found = reduce(lambda a, b: a.then(b), filter(None, wanted), Wanted())
    return None if found == Wanted() else found
