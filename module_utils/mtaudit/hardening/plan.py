"""What a run will change on a host, as a person reads and approves it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config.files import Candidate, ConfigError, NewFile
from ..runner import Runner
from ..transaction.services import running
from .wishes import Proposals, Refused, Step

_ACTIVATIONS = ("none", "reload", "restart", "start")  # each does what those before it do


@dataclass(frozen=True)
class Plan:
    """`files` change, `checks` must succeed with them in place, and then `services` (unit, reload or restart) are told.
    `silent` are the units of which none is up: whatever runs there must be told by somebody else."""

    steps: tuple[Step, ...]
    refused: tuple[Refused, ...]
    files: tuple[NewFile, ...] = ()
    services: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, ...], ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The same as long as the same files would be changed, from and to the same contents, by the same fixes."""
        if not self.files:
            return ""
        data = {
            "fixes": [[step.wish.id, step.component, step.instance] for step in self.steps],
            "files": [[f.path, f.planned_on, _sha256(f), f.mode, f.uid, f.gid] for f in self.files],
            "services": self.services,
        }
        return "sha256:" + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def lines(self) -> list[str]:
        """As a person reads it."""
        found = []
        for step in self.steps:
            found.append(f"{step.wish.id} ({step.component}{_at(step.instance)}) is mended: {'; '.join(step.failing)}")
            found += [f"  still: {text}" for text in step.left]
            found += [f"  behind it {control} fails" for control in dict.fromkeys(f.control for f in step.shows)]
        found += [f"{r.id} ({r.component}) stays: {'; '.join(r.failing)}. Not mended: {r.why}" for r in self.refused]
        if self.files:
            told = ", ".join(f"{on_change} {name}" for name, on_change in self.services) or "nobody is told"
            found.append(f"Changed: {', '.join(file.path for file in self.files)}; {told}")
        return found or ["Nothing that has a fix fails"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, as the plan file holds it."""
        return {
            "digest": self.digest,
            "fixes": [_step(step) for step in self.steps],
            "refused": [
                {"control": r.id, "component": r.component, "failing": list(r.failing), "why": r.why} for r in self.refused
            ],
            "files": [{"path": f.path, "before": f.planned_on or "", "after": _sha256(f)} for f in self.files],
            "services": [{"name": name, "on_change": on_change} for name, on_change in self.services],
        }


def plan(runner: Runner, found: Proposals) -> Plan:
    """Raises ConfigError when two programs want one file to be two things."""
    services: dict[str, str] = {}
    silent = []
    # rspamd and policy services, which are asked, before the mail programs.
    told = [each for candidate in reversed(found.candidates) for each in ((candidate.units, candidate.activate), *candidate.also)]
    for units, activate in told:
        unit = (running(runner, units) or (units[0] if activate == "start" else "")) if units else ""
        if unit and activate != "none":
            services[unit] = max(activate, services.get(unit, "none"), key=_ACTIVATIONS.index)
        elif units and not unit:
            silent.append(units[0])
    checks = tuple(dict.fromkeys(check for candidate in found.candidates for check in candidate.checks))
    files = tuple(_joined(found.candidates))
    return Plan(tuple(found.steps), tuple(found.refused), files, tuple(services.items()), checks, tuple(silent))


def _joined(candidates: Sequence[Candidate]) -> Iterable[NewFile]:
    """One entry for each path: a content from one program's fix, owner and mode from another's."""
    files: dict[str, NewFile] = {}
    for new in (file for candidate in candidates for file in candidate.files):
        known = files.get(new.path)
        files[new.path] = _both(known, new) if known else new
    return files.values()


def _both(one: NewFile, other: NewFile) -> NewFile:
    """One of them may be about owner and mode alone."""
    if one.stays:
        one, other = other, one
    if not other.stays and one.content != other.content:
        raise ConfigError(f"Could not plan: two fixes write {one.path}; apply them one after the other (mta_harden_only)")
    return replace(
        one, mode=other.mode if one.mode is None else one.mode, uid=other.uid if one.uid is None else one.uid,
        gid=other.gid if one.gid is None else one.gid,
    )  # fmt: skip


def _at(instance: str) -> str:
    return f" {instance}" if instance else ""


def _sha256(file: NewFile) -> str:
    return "" if file.content is None else hashlib.sha256(file.content).hexdigest()


def _step(step: Step) -> dict[str, Any]:
    return {
        "control": step.wish.id,
        "component": step.component,
        "instance": step.instance,
        "class": step.wish.fix_class,
        "disruption": step.wish.disruption,
        "failing": list(step.failing),
        "left": list(step.left),
        "mended": [{"kind": subject.kind, "name": subject.name} for subject in step.subjects],
        "shows": [finding.to_dict() for finding in step.shows],
    }
