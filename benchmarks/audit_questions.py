"""What the audit asks a host: recorded in a copy of it, then put to the peers as one question each."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WHERE = "/var/tmp/mta-questions"

# Runs in the copy, with the product's own code. The digest looks at every parameter there is: what is asked before it counts.
# Without the controls on the host: they go through all parameters for names of files, which is no question to a peer.
RECORD = """
import json, sys
sys.path.insert(0, %(where)r)
from mtaudit import audit, components
from mtaudit.control import REGISTRY
from mtaudit.readers import postfix
from mtaudit.readers.postfix_model import Service
from mtaudit.runner import LocalRunner, Recorder

components.COMPONENTS.pop("os")
asked, instances = set(), []
raw, digest = Service.raw, postfix.digest
Service.raw = lambda self, name: asked.add(name) or raw(self, name)

def kept(found):
    instances.extend([(set(asked), instance) for instance in found])
    return digest(found)

postfix.digest = kept
recorder = Recorder(LocalRunner())
selection = tuple(audit.Selected(id, ("postfix",), (), %(tunables)r.get(id, {})) for id, _ in REGISTRY)
answer = audit.audit(recorder, audit.Request(host="bench", selection=selection, kind="mx", simulate=False))
broken = [f.reason for f in answer.findings if f.status.value == "error"]
if broken:
    sys.exit(str(broken))
(names, instance), = instances
values = {name: instance.main.value(name) for name in sorted(names & set(instance.parameters))}
print(json.dumps({"parameters": values, "digest": answer.estate["config_digest"],
                  "programs": [entry["argv"] for entry in recorder.recording["run"]],
                  "files": [path for path, found in recorder.recording["read"].items() if "text" in found]}))
"""


@dataclass(frozen=True)
class Questions:
    """Every parameter that a control looked at, every other program that was run, every file that was read.

    `commands` maps the text of a question to the shell command that answers it; `values` holds what the audit itself read for
    those that are parameters. `digest` is the audit's fingerprint of all it read.
    """

    commands: Mapping[str, str]
    values: Mapping[str, str]
    digest: str


def record(lab: Any, copy: str, tunables: Mapping[str, Any]) -> Questions:
    """Audit the copy on the spot and see what is asked."""
    name = lab.hosts.container_name(copy)
    lab.execute(copy, "mkdir", "-p", WHERE)
    lab.podman.run("cp", str(ROOT / "module_utils/mtaudit"), f"{name}:{WHERE}")
    done = lab.execute(copy, "python3", "-B", "-", stdin=RECORD % {"where": WHERE, "tunables": dict(tunables)})
    if done.returncode:
        raise RuntimeError(f"could not record: {done.stderr}")
    lab.execute(copy, "rm", "-rf", WHERE)
    return _questions(json.loads(done.stdout))


def _questions(recorded: Mapping[str, Any]) -> Questions:
    commands = {f"parameter {name}": f"postconf -xh {shlex.quote(name)}" for name in recorded["parameters"]}
    programs = [argv for argv in recorded["programs"] if argv != ["postconf"]]  # all parameters at once: asked one by one above
    commands |= {f"program {shlex.join(argv)}": shlex.join(argv) for argv in programs}
    # A process that the audit saw may be gone when a peer is told to read it.
    files = [path for path in recorded["files"] if not re.match(r"/proc/\d", path)]
    commands |= {f"file {path}": f"cat {shlex.quote(path)}" for path in files}
    return Questions(commands, {f"parameter {name}": value for name, value in recorded["parameters"].items()}, recorded["digest"])


def differences(questions: Questions, answers: Mapping[str, str]) -> list[str]:
    """Where a peer read something else than the audit; also when a question was not answered."""
    found = [f"{text}: not answered" for text in questions.commands if text not in answers]
    return found + [
        f"{text}: {answers[text]!r}, the audit read {value!r}"
        for text, value in questions.values.items()
        if text in answers and answers[text].split() != value.split()
    ]
