"""Run the audit against a throw-away copy of a lab host, and count from outside what it costs that host."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402
from mtalab.inventory import host_variables  # noqa: E402

BIN = Path(sys.executable).parent

# Keeps what each ssh session runs and what is sent to it. In the copy only.
SPY = """\
#!/bin/sh
kept=$(mktemp -d /var/tmp/spy/XXXXXXXX)
printf %s "$SSH_ORIGINAL_COMMAND" > "$kept/command"
tee "$kept/stdin" | sh -c "$SSH_ORIGINAL_COMMAND"
"""
SPY_COLLECT = """\
import base64, glob, json
read = lambda path: base64.b64encode(open(path, "rb").read()).decode()
print(json.dumps([[read(kept + "/command"), read(kept + "/stdin")] for kept in glob.glob("/var/tmp/spy/*")]))
"""
# A process is accounted when it ends; the structure is acct_v3 of include/uapi/linux/acct.h.
ACCOUNT = struct.Struct("<BBHIIIIII f 8H 16s")
ACCOUNTING = "import ctypes, sys; sys.exit(ctypes.CDLL(None).acct(sys.argv[1].encode() if sys.argv[1] else None))"


@dataclass(frozen=True)
class Process:
    """A process that ended on the host, as the kernel accounted for it."""

    pid: int
    parent: int
    name: str


@dataclass(frozen=True)
class Session:
    """One command that ssh ran on the host, and what was sent to its standard input."""

    command: str
    stdin: bytes


@dataclass(frozen=True)
class Cost:
    """What a run did on the host."""

    sessions: Sequence[Session]
    processes: Sequence[Process]

    @property
    def modules(self) -> list[Process]:
        """The processes of Ansible modules: Python, told by ssh to read a program from its standard input."""
        shells = {p.pid for p in self.processes if p.name == "sh"}
        return [p for p in self.processes if p.name.startswith("python3") and p.parent in shells]

    @property
    def spawned(self) -> list[str]:
        """The names of all processes below a module's, however deep."""
        below = {p.pid for p in self.modules}
        found: dict[int, str] = {}
        while more := [p for p in self.processes if p.parent in below and p.pid not in below]:
            below |= {p.pid for p in more}
            found |= {p.pid: p.name for p in more}
        return sorted(found.values())

    @property
    def bytes_sent(self) -> int:
        return sum(len(s.command) + len(s.stdin) for s in self.sessions)


@dataclass
class Run:
    """What a run of the playbook printed and kept."""

    printed: str
    reports: Path
    host: str
    recap: dict[str, int] = field(default_factory=dict)

    def answer(self) -> dict[str, Any]:
        """What the host answered: findings, estate, spawns."""
        (file,) = self.reports.glob(f"runs/*/hosts/{self.host}.json")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


class Copy:
    """A throw-away copy of a good host."""

    def __init__(self, lab: Lab, name: str, directory: Path) -> None:
        self.lab = lab
        self.name = name
        self._directory = directory
        self._runs = 0
        shutil.copytree(ROOT / "inventories/lab/group_vars", directory / "inventory/group_vars")
        hosts = {"all": {"hosts": {name: host_variables(lab.config, lab.host(name))}}}
        (directory / "inventory/hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")

    def shell(self, script: str, stdin: str | None = None) -> str:
        """Run a script in the copy; it must succeed."""
        done = self.lab.execute(self.name, "sh", "-c", script, stdin=stdin)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def python(self, program: str) -> Any:
        """Run a Python program in the copy; what it prints is JSON."""
        return json.loads(self.shell("exec python3 -B -", stdin=program))

    def ansible(self, command: str, *words: str | Path, timeout_s: float = 300) -> str:
        """Run a command of Ansible on the copy; returns what it printed."""
        with self.begun(command, *words) as run:
            printed, said = run.communicate(timeout=timeout_s)
        assert run.returncode == 0, printed + said
        return printed

    @contextmanager
    def begun(self, command: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
        """A command of Ansible that runs, in a process group of its own; it is killed at the end."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        # Its own directory for ssh's masters: a connection of an earlier run would hide what a new one costs.
        with tempfile.TemporaryDirectory(prefix="mta-") as sockets:
            environment = {**kept, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
                           "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=1s"}
            run = subprocess.Popen([str(BIN / command), "-i", str(self._directory / "inventory"), *map(str, words)], cwd=ROOT,
                                   env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, start_new_session=True)
            try:
                yield run
            finally:
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGKILL)
                    run.communicate()

    def audit(self, *words: str, **variables: Any) -> Run:
        """Run the audit without probes; `words` are options of ansible-playbook."""
        self._runs += 1
        reports = self._directory / f"reports-{self._runs}"
        given = {"mta_audit_canary": "", "mta_report_directory": str(reports), **variables}
        printed = self.ansible("ansible-playbook", ROOT / "playbooks/audit.yml", "-e", json.dumps(given), *words)
        run = Run(printed, reports, self.name)
        recap = run.printed.rpartition("PLAY RECAP")[2]
        run.recap = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", recap)}
        return run

    def spy(self) -> None:
        """From now on every ssh session of this copy is kept."""
        self.shell("mkdir -p /var/tmp/spy; cat > /usr/local/bin/spy; chmod 755 /usr/local/bin/spy", stdin=SPY)
        self.shell("echo 'ForceCommand /usr/local/bin/spy' > /etc/ssh/sshd_config.d/spy.conf; sshd -t")

    @contextmanager
    def counted(self) -> Iterator[list[Cost]]:
        """Count what happens in the copy; afterwards the list holds one Cost."""
        self.shell("rm -rf /var/tmp/spy/*")
        account = self._directory / f"account-{uuid.uuid4().hex[:6]}"
        account.touch()
        found: list[Cost] = []
        self._account(str(account))
        try:
            yield found
        finally:
            self._account("")
        kept = [[base64.b64decode(text) for text in pair] for pair in self.python(SPY_COLLECT)]
        found.append(Cost([Session(command.decode(), stdin) for command, stdin in kept], list(_processes(account))))

    def _account(self, path: str) -> None:
        """Let the kernel account for the processes of this copy's process namespace; an empty path ends that.

        The file is the machine's, not the copy's: only the process namespace is entered.
        """
        name = self.lab.hosts.container_name(self.name)
        pid = self.lab.podman.run("inspect", "--format", "{{.State.Pid}}", name).stdout.strip()
        subprocess.run(["nsenter", "--target", pid, "--pid", sys.executable, "-c", ACCOUNTING, path], check=True)


def _processes(account: Path) -> Iterator[Process]:
    for record in ACCOUNT.iter_unpack(account.read_bytes()):
        yield Process(record[6], record[7], record[-1].rstrip(b"\0").decode("ascii", "replace"))


@contextmanager
def throw_away_copy(original: str, prefix: str, directory: Path) -> Iterator[Copy]:
    """A copy of a good host that is gone afterwards."""
    lab, name = Lab(), f"{prefix}-{uuid.uuid4().hex[:6]}"
    lab.up([original])
    lab.clone(original, name)
    try:
        yield Copy(lab, name, directory)
    finally:
        lab.remove(name)
