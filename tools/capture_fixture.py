#!/usr/bin/env python3
"""Record what a host answers to the Postfix reader, evaluate the controls on it, and keep both as a fixture.

    capture_fixture.py RELAY-01 fail mynetworks-everybody --via 'podman exec -i my-copy' --site '{"trusted_networks": []}'
    capture_fixture.py --show --via 'podman exec -i my-copy'

The host needs Python 3.9 or newer and nothing else: our code is sent along and leaves nothing behind. `--via` is any command that
runs its arguments on the host; without it, this host is recorded. A fixture is a directory tests/fixtures/<ID>/<verdict>-<scenario>
with recording.json (what the reader asked and was answered) and expect.json (site and findings).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils.mtaudit import controls  # noqa: E402, F401 - registers every control
from ansible.module_utils.mtaudit.address import parse_network  # noqa: E402
from ansible.module_utils.mtaudit.control import REGISTRY, Site  # noqa: E402
from ansible.module_utils.mtaudit.finding import Finding  # noqa: E402
from ansible.module_utils.mtaudit.readers import postfix  # noqa: E402
from ansible.module_utils.mtaudit.runner import Replay  # noqa: E402

# Runs on the host: the reader over a Recorder, its recording as JSON on stdout.
_ON_THE_HOST = """
import base64, io, json, shutil, sys, tarfile, tempfile
directory = tempfile.mkdtemp()
try:
    tarfile.open(fileobj=io.BytesIO(base64.b64decode(sys.stdin.read()))).extractall(directory)
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = True
    from mtaudit.readers import postfix
    from mtaudit.runner import LocalRunner, Recorder
    recorder = Recorder(LocalRunner())
    postfix.read(recorder)
    json.dump(recorder.recording, sys.stdout)
finally:
    shutil.rmtree(directory)
"""


class CaptureError(Exception):
    """The host could not be recorded."""


def record(via: list[str]) -> dict[str, Any]:
    """The recording of one host."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(ROOT / "module_utils" / "mtaudit", "mtaudit", filter=lambda f: None if "__pycache__" in f.name else f)
    done = subprocess.run([*via, "python3", "-c", _ON_THE_HOST], input=base64.b64encode(packed.getvalue()), capture_output=True, check=False)
    if done.returncode != 0:
        raise CaptureError(f"recording failed: {done.stderr.decode(errors='replace').strip()}")
    recording: dict[str, Any] = json.loads(done.stdout)
    return trimmed(recording)


def trimmed(recording: dict[str, Any]) -> dict[str, Any]:
    """Without the parameters that have nothing to do with relaying would be smaller, but no longer what the daemon said: kept whole.

    Only what names the process is taken out, so that two recordings of the same host are equal.
    """
    for entry in recording["run"]:
        if "stdout" in entry:
            entry["stdout"] = "\n".join(line for line in entry["stdout"].split("\n") if not line.startswith("process_id = "))
    return recording


def site_from(data: dict[str, Any]) -> Site:
    """A Site from expect.json."""
    return Site(
        kind=data.get("kind", "mx"),
        local_domains=tuple(data.get("local_domains", ())),
        trusted_networks=tuple(parse_network(n) for n in data.get("trusted_networks", ())),
        proxies=tuple(parse_network(n) for n in data.get("proxies", ())),
        gateways=tuple(data.get("gateways", ())),
        tunables=data.get("tunables", {}),
    )


def evaluate(recording: dict[str, Any], site: Site) -> list[Finding]:
    """Every Postfix control on a recorded host."""
    instances = postfix.read(Replay(recording))
    wanted = [c for (_, component), c in sorted(REGISTRY.items()) if component == "postfix"]
    return [finding for c in wanted for instance in instances for finding in c.evaluate(instance, site)]


def save(control: str, verdict: str, scenario: str, recording: dict[str, Any], site: dict[str, Any]) -> Path:
    """Write the fixture; returns its directory."""
    findings = evaluate(recording, site_from(site))
    directory = FIXTURES / control / f"{verdict}-{scenario}"
    directory.mkdir(parents=True, exist_ok=True)
    others = sorted({f.control for f in findings if f.status.value == "fail" and f.control != control})
    expect = {
        "site": site,
        "findings": [_short(f) for f in findings if f.control == control],
        "other_failures": others,
    }
    (directory / "recording.json").write_text(json.dumps(recording, indent=1, sort_keys=True) + "\n")
    (directory / "expect.json").write_text(json.dumps(expect, indent=2) + "\n")
    return directory


def _short(finding: Finding) -> dict[str, Any]:
    return {"subject": str(finding.subject), "status": finding.status.value, "message": finding.message,
            "conditions": list(finding.conditions)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("control", nargs="?", help="the control that the fixture is for")
    parser.add_argument("verdict", nargs="?", choices=["pass", "fail", "unknown"])
    parser.add_argument("scenario", nargs="?", help="a few words, joined by hyphens")
    parser.add_argument("--via", default="", help="a command that runs its arguments on the host")
    parser.add_argument("--site", default="{}", help="JSON: kind, local_domains, trusted_networks, proxies, gateways, tunables")
    parser.add_argument("--show", action="store_true", help="print the findings, keep nothing")
    arguments = parser.parse_args()
    site = json.loads(arguments.site)
    try:
        recording = record(shlex.split(arguments.via))
    except CaptureError as exc:
        print(exc, file=sys.stderr)
        return 1
    if arguments.show or not arguments.scenario:
        for finding in evaluate(recording, site_from(site)):
            print(f"{finding.control} {finding.subject}: {finding.status.value}: {finding.message} {finding.reason}".rstrip())
        return 0
    directory = save(arguments.control, arguments.verdict, arguments.scenario, recording, site)
    print(directory.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
