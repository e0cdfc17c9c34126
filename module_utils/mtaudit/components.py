"""What mtaudit reads: programs (how each is read, described, simulated and told from its earlier self), and the host around them.

A program's code is imported when a host is read, in the function that needs it: AnsiballZ ships what is imported by name, and
what is not used is not compiled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .control import controls_for
from .listeners import Listener, Server
from .runner import ReadError, Runner


@dataclass(frozen=True)
class Component:
    """A program, under its name in the catalogue; or `os`, the host around the programs.

    read      every instance that may run, as the controls want it; empty when the program is not installed. Raises ReadError.
    describe  an instance as the estate tells of it; None for what is no mail program.
    digest    a fingerprint of everything in the instances that decides what the controls find; None when that is not kept.
    simulate  (instances, Site, HostNetwork or None, Declared) -> findings and spawns; None when the program cannot be asked.
    transfers whether it passes mail on to other servers, so that a host with it and without SMTP listeners is a null client.
    uses      (Around, instance) -> Uses: the files, processes and accounts that an instance has on the host; None when unknown.
    survey    instead of read, for what is read after the programs: (runner, the readings so far, ids of the selected controls).
    """

    name: str
    title: str
    read: Optional[Callable[[Runner], Sequence[Any]]] = None
    describe: Optional[Callable[[Any], Server]] = None
    digest: Optional[Callable[[Sequence[Any]], str]] = None
    simulate: Optional[Callable[..., Any]] = None
    transfers: bool = True
    uses: Optional[Callable[..., Any]] = None
    survey: Optional[Callable[[Runner, Sequence[Reading], Collection[str]], Sequence[Any]]] = None

    @property
    def program(self) -> bool:
        """Whether it is a mail program."""
        return self.describe is not None


def _postfix() -> Component:
    from .readers import postfix

    def simulate(*arguments: Any) -> Any:
        from .simulate.postfix import simulate_all

        return simulate_all(*arguments)

    def uses(*arguments: Any) -> Any:
        from .readers.postfix_uses import uses

        return uses(*arguments)

    return Component("postfix", "Postfix", postfix.read, postfix.describe, postfix.digest, simulate, uses=uses)


def _dovecot() -> Component:
    from .readers import dovecot

    def uses(*arguments: Any) -> Any:
        from .readers.dovecot_uses import uses

        return uses(*arguments)

    return Component("dovecot", "Dovecot", dovecot.read, dovecot.describe, dovecot.digest, transfers=False, uses=uses)


def _exim() -> Component:
    from .readers import exim

    def simulate(*arguments: Any) -> Any:
        from .simulate.exim import simulate_all

        return simulate_all(*arguments)

    def uses(*arguments: Any) -> Any:
        from .readers.exim_uses import uses

        return uses(*arguments)

    return Component("exim", "Exim", exim.read, exim.describe, exim.digest, simulate, uses=uses)


def _opensmtpd() -> Component:
    from .readers import opensmtpd

    def uses(*arguments: Any) -> Any:
        from .readers.opensmtpd_uses import uses

        return uses(*arguments)

    # It has no simulation: its rules are walked by the controls themselves.
    return Component("opensmtpd", "OpenSMTPD", opensmtpd.read, opensmtpd.describe, opensmtpd.digest, uses=uses)


def _sendmail() -> Component:
    from .readers import sendmail

    def simulate(*arguments: Any) -> Any:
        from .simulate.sendmail import simulate_all

        return simulate_all(*arguments)

    def uses(*arguments: Any) -> Any:
        from .readers.sendmail_uses import uses

        return uses(*arguments)

    return Component("sendmail", "Sendmail", sendmail.read, sendmail.describe, sendmail.digest, simulate, uses=uses)


def _rspamd() -> Component:
    def survey(runner: Runner, readings: Sequence[Reading], ids: Collection[str]) -> Sequence[Any]:
        from .readers import rspamd

        wanted = any(control.scanner for reading in readings for control in controls_for(reading.component.name, ids))
        found = rspamd.read(runner) if wanted else None
        return [found] if found else []

    return Component("rspamd", "rspamd", transfers=False, survey=survey)


def _clamav() -> Component:
    def survey(runner: Runner, readings: Sequence[Reading], ids: Collection[str]) -> Sequence[Any]:
        from .readers import clamav

        return [clamav.read(runner)] if "AV-01" in ids and any(reading.component.program for reading in readings) else []

    return Component("clamav", "ClamAV", transfers=False, survey=survey)


def _policyd_rate_limit() -> Component:
    def survey(runner: Runner, readings: Sequence[Reading], ids: Collection[str]) -> Sequence[Any]:
        from .readers import policyd_rate_limit

        wanted = "RATE-01" in ids and any(reading.component.name == "postfix" for reading in readings)
        found = policyd_rate_limit.read(runner) if wanted else None
        return [found] if found else []

    return Component("policyd_rate_limit", "policyd-rate-limit", transfers=False, survey=survey)


def _resolver() -> Component:
    def survey(runner: Runner, readings: Sequence[Reading], ids: Collection[str]) -> Sequence[Any]:
        from .readers import resolver

        wanted = {"INB-01", "INB-02", "INB-03"}.intersection(ids)
        asked = any(controls_for(reading.component.name, wanted) for reading in readings)
        return [resolver.read(runner)] if asked else []

    return Component("resolver", "the resolver", transfers=False, survey=survey)


def _os() -> Component:
    def survey(runner: Runner, readings: Sequence[Reading], ids: Collection[str]) -> Sequence[Any]:
        from .readers import system

        # Without a mail program nothing is asked of the host.
        programs = [(r.component.title, r.component.uses, r.instances) for r in readings if r.component.program]
        return [system.read(runner, programs, ids)] if programs else []

    return Component("os", "the host", transfers=False, survey=survey)


def _icewarp() -> Component:
    # Nothing of ours runs there: exported.py reads what its administrator exported.
    return Component("icewarp", "IceWarp")


# `os` is the last: it is about what the programs before it were found to use.
COMPONENTS: Mapping[str, Callable[[], Component]] = {
    "postfix": _postfix,
    "exim": _exim,
    "sendmail": _sendmail,
    "opensmtpd": _opensmtpd,
    "dovecot": _dovecot,
    "rspamd": _rspamd,
    "clamav": _clamav,
    "policyd_rate_limit": _policyd_rate_limit,
    "resolver": _resolver,
    "icewarp": _icewarp,
    "os": _os,
}


@dataclass(frozen=True)
class Reading:
    """What one program's reader brought: its instances, or why there are none."""

    component: Component
    instances: Sequence[Any] = ()
    problem: str = ""

    @property
    def servers(self) -> list[Server]:
        return [self.component.describe(instance) for instance in self.instances] if self.component.describe else []


def read_all(runner: Runner, names: Iterable[str] = COMPONENTS, ids: Collection[str] = ()) -> list[Reading]:
    """Every program of these that is installed, and every one that could not be read; then the host around them, as far as the
    controls `ids` need it."""
    found: list[Reading] = []
    for component in (COMPONENTS[name]() for name in names):
        try:
            instances: Sequence[Any] = ()
            if component.survey:
                instances = component.survey(runner, found, ids)
            elif component.read:
                instances = component.read(runner)
        except ReadError as exc:
            found.append(Reading(component, problem=str(exc)))
            continue
        if instances:
            found.append(Reading(component, instances))
    return found


def servers(readings: Sequence[Reading], strange: Sequence[Listener] = ()) -> dict[str, tuple[Server, ...]]:
    """What controls may know of the host's other programs: see Site.servers."""
    found = {reading.component.name: tuple(reading.servers) for reading in readings}
    return {**found, "": (Server("", "", tuple(strange)),)} if strange else found


def one(readings: Sequence[Reading], name: str) -> Any:
    """The reading of what is on a host once, as rspamd; None where there is none."""
    return next((r.instances[0] for r in readings if r.component.name == name and r.instances), None)


def digest(readings: Sequence[Reading]) -> str:
    """One fingerprint of everything read; empty when nothing was."""
    parts = [f"{r.component.name} {r.component.digest(r.instances)}" for r in readings if r.instances and r.component.digest]
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""
