"""The ways to ask many hosts the audit's questions: the audit, one task each, testinfra, and plain ssh as the floor.

Each way starts cold (no ssh connection is left from before) and gives back what was answered, so that answers can be compared.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import audit_questions
from audit_questions import ROOT, Questions

BIN = Path(sys.executable).parent

# Keeps what each task read; its cost is the peer's, and lost in that of a task.
KEEP_ANSWERS = """
import json, os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "aggregate", "keep_answers"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result):
        with open(os.environ["ANSWERS"], "a") as file:
            file.write(json.dumps([result._host.get_name(), result._task.get_name(), result._result.get("stdout", "")]) + "\\n")
"""
TESTINFRA = """
import json, os
import pytest

with open(os.environ["QUESTIONS"]) as file:
    QUESTIONS = json.load(file)

@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_question(host, question):
    answer = host.run(QUESTIONS[question])
    assert answer.rc == 0
    with open(os.environ["ANSWERS"], "a") as file:
        name = host.backend.host.port
        file.write(json.dumps([name, question, answer.stdout.rstrip("\\n")]) + "\\n")
"""


@dataclass(frozen=True)
class Target:
    """Where hosts are: ports of one address, each taken for a host."""

    address: str
    ports: Sequence[int]
    key: Path
    network: Sequence[str]  # command prefix that enters a network from which the address is reached
    kind: str = "mx"


@dataclass(frozen=True)
class Way:
    """A command, its environment, and what it answered that the audit did not (`complaints`, to be called after the run)."""

    command: Sequence[str]
    environment: Mapping[str, str]
    complaints: Callable[[], list[str]]
    directory: Path


class Ways:
    """Makes every way's files in a directory of its own, anew for each run."""

    def __init__(self, target: Target, questions: Questions, parallel: int, directory: Path) -> None:
        self.target = target
        self.questions = questions
        self.parallel = min(parallel, len(target.ports))
        self.directory = directory

    def audit(self, simulate: bool, profile: str = "baseline") -> Way:
        """The product, as people run it: catalogue, audit, collecting, all reports. No probes."""
        work = self._work()
        given = {"mta_audit_canary": "", "mta_audit_simulate": simulate, "mta_audit_profile": profile,
                 "mta_report_directory": str(work / "reports")}
        command = self._playbook(work, ROOT / "playbooks/audit.yml", "-e", json.dumps(given))
        return Way(command, self._ansible(work), lambda: self._audit_complaints(work, simulate), work)

    def tasks(self) -> Way:
        """One task with ansible.builtin.command and register for each question; nothing is evaluated."""
        work = self._work()
        tasks = [
            {"name": text, "ansible.builtin.command": {"argv": shlex.split(command)}, "register": f"answer_{number}",
             "changed_when": False}
            for number, (text, command) in enumerate(self.questions.commands.items())
        ]
        play = [{"name": "Ask", "hosts": "all", "gather_facts": False, "tasks": tasks}]
        (work / "play.json").write_text(json.dumps(play), encoding="utf-8")
        (work / "keep_answers.py").write_text(KEEP_ANSWERS, encoding="utf-8")
        more = {"ANSIBLE_CALLBACK_PLUGINS": str(work), "ANSIBLE_CALLBACKS_ENABLED": "keep_answers",
                "ANSWERS": str(work / "answers")}
        command = self._playbook(work, work / "play.json")
        return Way(command, {**self._ansible(work), **more}, lambda: self._complaints(_lines(work / "answers")), work)

    def testinfra(self) -> Way:
        """pytest-testinfra over ssh, one host.run for each question, connections shared; with pytest-xdist for more hosts."""
        work = self._work()
        (work / "test_questions.py").write_text(TESTINFRA, encoding="utf-8")
        (work / "questions").write_text(json.dumps(self.questions.commands), encoding="utf-8")
        (work / "ssh").write_text("Host *\n" + "".join(f"  {o.replace('=', ' ', 1)}\n" for o in self._ssh_options())
                                  + f"  ControlPath {work}/%C\n", encoding="utf-8")
        hosts = ",".join(f"ssh://root@{self.target.address}:{port}" for port in self.target.ports)
        command = [*self.target.network, str(BIN / "pytest"), "-q", "-c", "/dev/null", "--rootdir", str(work),
                   "-p", "no:cacheprovider", f"--hosts={hosts}", f"--ssh-config={work}/ssh",
                   *(["-n", str(self.parallel)] if self.parallel > 1 else []), str(work / "test_questions.py")]
        environment = {**os.environ, "QUESTIONS": str(work / "questions"), "ANSWERS": str(work / "answers")}
        return Way(command, environment, lambda: self._complaints(_lines(work / "answers")), work)

    def ssh(self) -> Way:
        """The floor: `xargs -P ssh 'postconf -x'`, no shared connection, output kept and looked at by nobody."""
        work = self._work()
        options = " ".join(f"-o {shlex.quote(option)}" for option in self._ssh_options())
        ports = " ".join(map(str, self.target.ports))
        script = (f"printf '%s\\n' {ports} | xargs -P {self.parallel} -I PORT sh -c "
                  + shlex.quote(f"exec ssh {options} -p PORT root@{self.target.address} 'postconf -x' > {work}/PORT.out"))
        return Way([*self.target.network, "sh", "-c", script], os.environ, lambda: self._ssh_complaints(work), work)

    # What was answered

    def _audit_complaints(self, work: Path, simulate: bool) -> list[str]:
        files = sorted(work.glob("reports/runs/*/hosts/*.json"))
        answers = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        found = [] if len(answers) == len(self.target.ports) else [f"{len(answers)} of {len(self.target.ports)} hosts answered"]
        for answer in answers:
            if answer["status"] != "ok" or answer["estate"]["config_digest"] != self.questions.digest:
                found.append(f"{answer['host']}: {answer['status']} {answer['reason']}, or another configuration")
            if simulate != any(finding["method"] == "simulation" for finding in answer["findings"]):
                found.append(f"{answer['host']}: simulation is not {simulate}")
        return found

    def _complaints(self, answers: Mapping[str, Mapping[str, str]]) -> list[str]:
        found = [f"{port}: no answer" for port in map(str, self.target.ports) if port not in answers]
        return found + [f"{host}: {text}" for host, given in answers.items()
                        for text in audit_questions.differences(self.questions, given)]

    def _ssh_complaints(self, work: Path) -> list[str]:
        found = []
        for port in self.target.ports:
            pairs = (line.partition(" =") for line in (work / f"{port}.out").read_text(encoding="utf-8").splitlines())
            answers = {f"parameter {name}": value.strip() for name, _, value in pairs}
            found += [f"{port}: {text}" for text in audit_questions.differences(self.questions, answers)
                      if text.startswith("parameter ")]
        return found

    # How hosts are reached: the same options for all

    def _work(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.directory))

    def _ssh_options(self) -> list[str]:
        return ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes",
                f"IdentityFile={self.target.key}"]

    def _playbook(self, work: Path, playbook: Path, *words: str) -> list[str]:
        hosts: dict[str, Any] = {
            str(port): {"ansible_host": self.target.address, "ansible_port": port} for port in self.target.ports
        }
        common = {"ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3", "mta_audit_kind": self.target.kind,
                  "ansible_ssh_common_args": " ".join(f"-o {option}" for option in self._ssh_options())}
        (work / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}), encoding="utf-8")
        return [*self.target.network, str(BIN / "ansible-playbook"), "-i", str(work / "hosts.json"), str(playbook), *words]

    def _ansible(self, work: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {**kept, "ANSIBLE_PIPELINING": "1", "ANSIBLE_FORKS": str(self.parallel), "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(work / "cp")}


def _lines(path: Path) -> dict[str, dict[str, str]]:
    """Answers by host and question, from lines of JSON."""
    answers: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        host, question, answer = json.loads(line)
        answers.setdefault(host, {})[question] = answer
    return answers


def clean(way: Way) -> None:
    shutil.rmtree(way.directory, ignore_errors=True)
