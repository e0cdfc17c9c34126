"""The programs that mtaudit reads: for each, how it is read, described, simulated and told from its earlier self.

A program's code is imported when a host is read, in the function that needs it: AnsiballZ ships what is imported by name, and
what is not used is not compiled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .listeners import Server
from .runner import ReadError, Runner


@dataclass(frozen=True)
class Component:
    """A program, under its name in the catalogue.

    read      every instance that may run, as the controls want it; empty when the program is not installed. Raises ReadError.
    describe  an instance as the estate tells of it.
    digest    a fingerprint of everything in the instances that decides what the controls find.
    simulate  (instances, Site, HostNetwork or None, **settings) -> findings and spawns; None when the program cannot be asked.
    transfers whether it passes mail on to other servers, so that a host with it and without SMTP listeners is a null client.
    """

    name: str
    title: str
    read: Callable[[Runner], Sequence[Any]]
    describe: Callable[[Any], Server]
    digest: Callable[[Sequence[Any]], str]
    simulate: Optional[Callable[..., Any]] = None
    transfers: bool = True


def _postfix() -> Component:
    from .readers import postfix

    def simulate(*arguments: Any, **settings: Any) -> Any:
        from .simulate.postfix import simulate_all

        return simulate_all(*arguments, **settings)

    return Component("postfix", "Postfix", postfix.read, postfix.describe, postfix.digest, simulate)


def _dovecot() -> Component:
    from .readers import dovecot

    return Component("dovecot", "Dovecot", dovecot.read, dovecot.describe, dovecot.digest, transfers=False)


def _exim() -> Component:
    from .readers import exim

    def simulate(*arguments: Any, **settings: Any) -> Any:
        from .simulate.exim import simulate_all

        return simulate_all(*arguments, **settings)

    return Component("exim", "Exim", exim.read, exim.describe, exim.digest, simulate)


COMPONENTS: Mapping[str, Callable[[], Component]] = {"postfix": _postfix, "exim": _exim, "dovecot": _dovecot}


@dataclass(frozen=True)
class Reading:
    """What one program's reader brought: its instances, or why there are none."""

    component: Component
    instances: Sequence[Any] = ()
    problem: str = ""

    @property
    def servers(self) -> list[Server]:
        return [self.component.describe(instance) for instance in self.instances]


def read_all(runner: Runner, names: Iterable[str] = COMPONENTS) -> list[Reading]:
    """Every program of these that is installed, and every one that could not be read."""
    found = []
    for component in (COMPONENTS[name]() for name in names):
        try:
            instances = component.read(runner)
        except ReadError as exc:
            found.append(Reading(component, problem=str(exc)))
            continue
        if instances:
            found.append(Reading(component, instances))
    return found


def digest(readings: Sequence[Reading]) -> str:
    """One fingerprint of everything read; empty when nothing was."""
    parts = [f"{r.component.name} {r.component.digest(r.instances)}" for r in readings if r.instances]
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""
