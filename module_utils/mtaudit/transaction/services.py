"""The services that use what is changed: how they are, and how they are made to be so again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..runner import ReadError, Runner
from ..text import printable
from .places import SnapshotError
from .spools import hand_over

_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]+")
_TIMEOUT_S = 120.0
_SETTLE_S = 0.3
# Of unit files: what `systemctl enable` and its like can set (systemctl(1), is-enabled).
_SETTABLE = {"enabled": "enable", "disabled": "disable", "masked": "mask"}


@dataclass(frozen=True)
class Service:
    """A systemd unit as it was. `on_change`: what puts changed files into force there, `reload` or `restart`; `start` and `stop`
    where the change brings or ends the unit. When it ends, the mail in its queue `spool` goes to another's, `spool_to`."""

    name: str
    active: bool
    enabled: str = ""
    on_change: str = "restart"
    spool: str = ""
    spool_to: str = ""

    @property
    def changed(self) -> Service:
        """As the change shall leave it."""
        wanted = {"start": (True, "enabled"), "stop": (False, "disabled")}.get(self.on_change, (self.active, self.enabled))
        return replace(self, active=wanted[0], enabled=wanted[1])

    def differs(self, now: Service) -> bool:
        """Whether there is something to put right: not every state of a unit file can be set."""
        return self.active != now.active or (self.enabled != now.enabled and self.enabled in _SETTABLE)


def compared(runner: Runner, services: Sequence[Service]) -> list[tuple[Service, Service]]:
    """Those that this host still has, as they were and as they are: a package may be gone since, and `again` says so."""
    found = []
    for service in services:
        try:
            (now,) = seen(runner, [(service.name, service.on_change)])
            found.append((service, replace(service, active=now.active, enabled=now.enabled)))
        except SnapshotError:
            pass
    return found


def seen(runner: Runner, wanted: Sequence[tuple[str, ...]]) -> list[Service]:
    """How the units (name, on_change, and perhaps spool and spool_to) are now. Raises SnapshotError for one that does not exist
    and that the change neither starts nor ends, or without systemd."""
    if not wanted:
        return []
    for name, *_ in wanted:
        if not _NAME.fullmatch(name):
            raise SnapshotError(f"Could not look at the service {printable(name)!r}: that is no name of a systemd unit")
    argv = ["systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", "--", *(name for name, *_ in wanted)]
    try:
        done = runner.run(argv)
    except ReadError as exc:
        raise SnapshotError(f"Could not look at the services: {exc}") from exc
    texts = done.stdout.strip().split("\n\n")
    blocks = [dict(line.partition("=")[::2] for line in text.splitlines()) for text in texts]
    if done.returncode or len(blocks) != len(wanted):
        raise SnapshotError(f"Could not look at the services: systemctl said {printable(done.stderr.strip() or done.stdout)}")
    found = []
    for (name, on_change, *spools), block in zip(wanted, blocks):
        # One that the change brings or ends may come with its unit file, and go with it.
        own = on_change in ("start", "stop")
        if block.get("LoadState") == "not-found" and not own:
            raise SnapshotError(f"Could not look at the service {name}: this host has none of that name")
        active = block.get("ActiveState") in ("active", "reloading", "activating")
        enabled = block.get("UnitFileState") or ("disabled" if own else "")
        found.append(Service(name, active, enabled, on_change, *spools))
    return found


def running(runner: Runner, names: Sequence[str]) -> str:
    """The first of these units that is up; empty when none is, or there is no systemd."""
    try:
        done = runner.run(["systemctl", "show", "--property=ActiveState", "--", *names])
    except ReadError:
        return ""
    states = done.stdout.split()
    return next((name for name, state in zip(names, states) if state == "ActiveState=active"), "")


def again(runner: Runner, services: Sequence[Service], files_changed: bool, stop: bool = True) -> list[str]:
    """Make each service what it was, with the files as they are now; return what went wrong. One that was down is stopped where
    `stop` or the service says so, and never started."""
    problems = []
    for service in services:
        down = not service.active and (stop or service.on_change == "stop")
        try:
            now = seen(runner, [(service.name, service.on_change)])[0]
            if now.enabled != service.enabled and service.enabled in _SETTABLE:
                if now.enabled == "masked":
                    _do(runner, "unmask", service.name)
                _do(runner, _SETTABLE[service.enabled], service.name)
            if service.active and (files_changed or not now.active):
                _do(runner, "reload" if service.on_change == "reload" and now.active else "restart", service.name)
            elif down and now.active:
                _do(runner, "stop", service.name)
            if _settled(runner, service).active != service.active and (service.active or down):
                problems.append(f"{service.name} should be {'up' if service.active else 'down'} and is not; "
                                f"look at: systemctl status {service.name}")
            elif down and service.spool:
                hand_over(service.spool, service.spool_to)
        except SnapshotError as exc:
            problems.append(str(exc))
    return problems


def back(
    runner: Runner, services: Sequence[Service], restored: Callable[[], list[str]], files_changed: bool = True
) -> list[str]:
    """Make services and files what they were; `restored` puts the files back. Return what went wrong. In reverse: what one was
    given last, another needs again; and what was down is stopped while its files are there."""
    before = again(runner, [service for service in reversed(services) if not service.active], False)
    return [*before, *restored(), *again(runner, services[::-1], files_changed)]


def _settled(runner: Runner, service: Service) -> Service:
    """As it is a moment later: a unit that dies at once is up when systemctl returns."""
    time.sleep(_SETTLE_S)
    return seen(runner, [(service.name, service.on_change)])[0]


def _do(runner: Runner, verb: str, name: str) -> None:
    # Many starts within seconds are refused from then on (StartLimitBurst, systemd.unit(5)): ours are meant.
    if verb in ("restart", "reload"):
        _run(runner, "reset-failed", name)
    problem = _run(runner, verb, name)
    if problem:
        raise SnapshotError(f"Could not {verb} {name}: {problem}")


def _run(runner: Runner, verb: str, name: str) -> str:
    try:
        done = runner.run(["systemctl", "--quiet", verb, "--", name], timeout_s=_TIMEOUT_S)
    except ReadError as exc:
        return str(exc)
    return printable(done.stderr.strip()) or f"exit status {done.returncode}" if done.returncode else ""
