"""Keep what a run learned in its directory, and plan the probes from it. Controller only.

The files are those of docs/architecture.md, "One run". Each is written whole and then renamed: a run that is killed leaves no
half file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from .address import parse_address
from .listeners import SMTP_PORTS
from .report.shapes import is_sound_estate, sound_probe
from .retention import outdated

DEVICE = "device"  # the program of what is no mail server: a router, a printer

# What Ansible adds to a module's result; `invocation` repeats the arguments.
_ANSIBLES_OWN = ("invocation", "item", "ansible_loop_var", "changed", "failed", "exception", "warnings", "deprecations")


def write_json(path: Path, data: Any) -> None:
    """Raises OSError. Readable by the owner only: findings describe how to get in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".json")
    try:
        # A lone surrogate, which a hostile host may send, has no UTF-8; written as \udc80 it is JSON all the same.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(data, file, ensure_ascii=False, separators=(",", ":"))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def file_name(host: str) -> str:
    """An inventory name as a file name: a name may hold a slash, or be longer than a file's may."""
    return quote(host, safe=" .@:+-_[]", errors="backslashreplace")[:200].lstrip(".") or "_"


def begin(directory: Path, run: Mapping[str, Any]) -> None:
    """Write run.json, and remove what older runs left that nobody reported on: those that were killed, and those that prove a
    change. Raises OSError when it cannot be written."""
    write_json(directory / "run.json", run)
    unreported = {path.name: path.stat().st_mtime for path in directory.parent.iterdir() if _is_unreported(path)}
    for name in outdated(unreported):
        shutil.rmtree(directory.parent / name, ignore_errors=True)


def _is_unreported(path: Path) -> bool:
    return not path.is_symlink() and (path / "catalogue.json").is_file() and not (path / "history.json").exists()


def keep_hosts(
    directory: Path, names: Iterable[str], results: Iterable[Mapping[str, Any]], refused: Mapping[str, Iterable[str]]
) -> Iterator[dict[str, Any]]:
    """Write what `mta_audit` returned on each host (an empty mapping where it never ran), and yield it."""
    for name, result in zip(names, results):
        answer = _failed(name, "inventory: " + "; ".join(refused[name])) if name in refused else host_answer(name, result)
        write_json(directory / "hosts" / f"{file_name(name)}.json", answer)
        yield answer


def host_answer(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The host's file: its findings, or why there are none."""
    if result.get("unreachable"):
        return {"host": name, "status": "unreachable", "reason": _first_line(result.get("msg")), "findings": [], "estate": {}}
    if not result:
        return _failed(name, "the run ended for this host before it was audited; the output above says why")
    if result.get("failed") or "findings" not in result:
        return _failed(name, failure(result))
    if not is_sound_estate(result.get("estate", {})):
        reason = "the host's description of itself (estate) has not the form that it must have"
        return {**_failed(name, reason), "findings": result["findings"]}  # what it found out counts all the same
    return {
        "host": name,
        "status": "ok",
        "reason": "",
        "findings": result["findings"],
        "estate": result.get("estate", {}),
        "spawns": result.get("spawns", 0),
        "simulation_spawns": result.get("simulation_spawns", 0),
    }


def _failed(name: str, reason: str) -> dict[str, Any]:
    return {"host": name, "status": "failed", "reason": reason, "findings": [], "estate": {}}


def failure(result: Mapping[str, Any]) -> str:
    """Why a module gave no answer, in the words that help: a missing interpreter is not in `msg`."""
    for name in ("msg", "module_stderr", "module_stdout", "exception"):
        text = _first_line(result.get(name))
        if text and not re.match(r"(?i)module failure|see stdout/stderr|module result deserialization failed", text):
            if "python" in text.lower() and ("not found" in text or "No such file" in text):
                return f"no usable Python interpreter: {text}"
            return text
    return "the audit module failed without a message"


def _first_line(value: Any) -> str:
    lines = [line.strip() for line in str(value or "").splitlines() if line.strip()]
    return lines[0][:500] if lines else ""


def keep(directory: Path, folder: str, name: str, data: Mapping[str, Any]) -> None:
    """Write what a vantage (`probes`, `services`, `credentials`) or a host (`traces`) returned, or its plan (`hardening`)."""
    kept = {key: value for key, value in data.items() if key not in _ANSIBLES_OWN}
    write_json(directory / folder / f"{file_name(name)}.json", kept)


def tunables_of(directory: Path, control: str) -> Optional[dict[str, Any]]:
    """What the run's profile sets for a control, by the tunable's name; None where the control is not part of the run."""
    try:
        controls = json.loads((directory / "catalogue.json").read_text(encoding="utf-8"))["controls"]
        found = next((c["tunables"] for c in controls if c["id"] == control), None)
        return None if found is None else {name: tunable["value"] for name, tunable in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def protects_local_recipients(directory: Path) -> Optional[bool]:
    """What the run's profile says of SENDER-03's local recipients; None where that control is not part of the run."""
    found = tunables_of(directory, "SENDER-03") or {}
    return bool(found["protect_local_recipients"]) if "protect_local_recipients" in found else None


def targets(
    estates: Mapping[str, Mapping[str, Any]], declared: Mapping[str, Mapping[str, Any]], protects: Optional[bool] = None
) -> list[dict[str, Any]]:
    """What to probe: every address and SMTP port of every host.

    `estates` holds what hosts said of themselves, `declared` what the inventory says of them (`addresses`, `ports`,
    `local_domains`, `known_recipient`, `tunables`); what is declared beats what was found. A listener on loopback only is nobody
    else's to reach; a host that names no listener is tried on the usual ports where the inventory declares addresses for it.
    `protects` is what `protects_local_recipients` said; a host's own tunable beats it.
    """
    planned = []
    for name in sorted({*estates, *declared}):
        about, estate = declared.get(name, {}), estates.get(name, {})
        if about.get("program") == DEVICE:
            continue
        own = (about.get("tunables") or {}).get("SENDER-03") or {}
        protected = protects is not None and bool(own.get("protect_local_recipients", protects))
        ports = sorted({*map(int, about.get("ports") or ()), *_ports(estate)})
        if not ports and about.get("addresses") and not estate.get("listeners"):
            ports = list(SMTP_PORTS)
        for address in map(str, about.get("addresses") or estate.get("addresses") or ()):
            # Behind NAT or a balancer the host itself does not know the address; what is asked for is tried.
            foreign = address not in (estate.get("addresses") or ()) or not estate.get("listeners")
            asked_for = about.get("ports") or ()
            usable = [p for p in ports if foreign or p in asked_for or listens(estate.get("listeners", ()), address, p)]
            if usable:
                planned.append(
                    {
                        "name": name,
                        "host": address,
                        "ports": usable,
                        "implicit_tls_ports": _wrapped(estate, usable),
                        "known_recipient": about.get("known_recipient") or "",
                        "helo_name": (usable_domains([estate.get("helo") or ""]) or [""])[0],
                        "local_domains": usable_domains(about.get("local_domains") or estate.get("local_domains") or ()),
                        "protect_local_recipients": protected,
                    }
                )
    return planned


def usable_domains(texts: Iterable[Any]) -> list[str]:
    """The domains that mail can be addressed to, in their ASCII form (RFC 5891); a configuration may name others as well."""
    found = []
    for text in map(str, texts):
        try:
            ascii_form = text if text.isascii() else text.encode("idna").decode()
        except UnicodeError:
            continue
        if re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?", ascii_form):
            found.append(ascii_form)
    return found


def _ports(estate: Mapping[str, Any]) -> set[int]:
    return {int(listener["port"]) for listener in estate.get("listeners", ()) if not listener.get("loopback_only")}


def listens(listeners: Iterable[Mapping[str, Any]], address: str, port: int) -> bool:
    """Whether one of the listeners is there, at this address."""
    try:
        family = f"ipv{parse_address(address).version}"
    except ValueError:
        return True  # a name: the vantage resolves it
    return any(
        int(listener["port"]) == port
        and str(listener["bind"]).strip("[]") in ("*", address)
        and family in listener.get("families", (family,))
        for listener in listeners
    )


def _wrapped(estate: Mapping[str, Any], ports: Iterable[int]) -> list[int]:
    listed = {int(listener["port"]): bool(listener.get("tls_wrapper")) for listener in estate.get("listeners", ())}
    return [p for p in ports if listed.get(p, p == 465)]


def tokens_of(probes: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By host: the tokens that the probes' sessions carried, to be looked for in its log."""
    found: dict[str, list[str]] = {}
    for answer in probes:
        for listener in sound_probe(answer)[0]["listeners"]:
            found.setdefault(str(listener.get("name", "")), []).extend(str(t) for t in listener.get("tokens") or ())
    return found
