"""Answer for a server that nothing of ours runs on, by what its administrator exported from it. Controller only.

The probes ask such a server like any other; the controls that need its insides and are not answered here count as not checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .address import parse_network
from .control import Site, controls_for
from .controls import icewarp as registered  # noqa: F401 - the only program with exports
from .finding import HOST, Finding, error, stamped
from .readers import icewarp
from .runner import LocalRunner, Runner
from .tunable import typed


def answer_of(host: str, result: dict[str, Any], declared: Mapping[str, Any], catalogue: Path) -> dict[str, Any]:
    """What the host itself said (`result`); of a server that nothing of ours runs on, what its exports say. Raises OSError."""
    if not declared.get("program"):
        return result
    try:
        return answer(LocalRunner(), host, declared, catalogue)
    except ValueError as exc:
        return {"failed": True, "msg": f"its exports could not be looked at: {exc}"}


def answer(runner: Runner, host: str, declared: Mapping[str, Any], catalogue: Path) -> dict[str, Any]:
    """What `mta_audit` would have returned on the host. `declared` is the inventory's: `program`, `exports`, `kind` and so on;
    `catalogue` the run's catalogue.json. Raises OSError or ValueError when that cannot be read."""
    program, exports = str(declared.get("program") or ""), declared.get("exports") or {}
    selection = json.loads(catalogue.read_text(encoding="utf-8"))["controls"]
    findings: list[Finding] = []
    if program == "icewarp":
        reading = icewarp.read(runner, str(exports.get("variables") or ""), str(exports.get("passwords") or ""))
        for entry in selection:
            own = (declared.get("tunables") or {}).get(entry["id"]) or {}
            tunables = {name: typed(t["type"], own.get(name, t["value"])) for name, t in entry["tunables"].items()}
            site = Site(
                kind=str(declared.get("kind") or ""),
                trusted_networks=tuple(parse_network(str(text)) for text in declared.get("trusted_networks") or ()),
                tunables=tunables,
            )
            for control in controls_for(program, [entry["id"]] if program in entry["components"] else []):
                findings += _guarded(control.id, control.evaluate, reading, site)
    estate = {
        "host": host,
        "kind": {"value": declared.get("kind") or "", "source": "inventory"},
        "programs": [{"name": program, "version": "", "instance": ""}],
        "listeners": [], "mailbox_listeners": [], "addresses": [], "gateways": [],
        "local_domains": [str(domain) for domain in declared.get("local_domains") or ()],
        "mynetworks": [], "helo": "", "config_digest": "",
    }  # fmt: skip
    return {"findings": [finding.to_dict() for finding in findings], "estate": estate, "spawns": 0, "simulation_spawns": 0}


def _guarded(control_id: str, evaluate: Any, reading: Any, site: Site) -> list[Finding]:
    try:
        return list(evaluate(reading, site))
    except Exception as exc:  # a defect of ours must not hide the other findings
        text = f"{type(exc).__name__}: {exc} (a defect of mtaudit: please report it)"
        return [stamped(error(HOST, "the check itself failed", text), control_id)]
