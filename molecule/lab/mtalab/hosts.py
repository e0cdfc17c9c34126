"""Make, check, repair and remove the lab's containers."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mtalab.config import Address, Config, Host
from mtalab.engine import LabError, Podman, Result
from mtalab.images import Images
from mtalab.machine import inotify_problem
from mtalab.networks import LABEL
from mtalab.zones import clone_name

LABEL_HOST = "mtaudit.lab.host"
LABEL_SPEC = "mtaudit.lab.spec"
LABEL_CLONE_OF = "mtaudit.lab.clone-of"
LABEL_NETWORK = "mtaudit.lab.network"
LABEL_NUMBER = "mtaudit.lab.number"
BOOT_S = 60
# Of every host; root of a real one has the last, too: rspamadm, kept from writing the cache of rspamd, reads it by that.
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH")


@dataclass(frozen=True)
class Container:
    """What podman says about one of the lab's containers."""

    name: str
    running: bool
    labels: Mapping[str, str]

    @property
    def host(self) -> str:
        return self.labels[LABEL_HOST]


class Hosts:
    """The lab's containers in podman."""

    def __init__(self, config: Config, podman: Podman, images: Images) -> None:
        self.config = config
        self.podman = podman
        self.images = images

    def container_name(self, host: str) -> str:
        return f"{self.config.prefix}-{host}"

    def existing(self) -> dict[str, Container]:
        """Host name to container, of those that carry the lab's label, running or not."""
        listed = self.podman.run("ps", "--all", "--filter", f"label={LABEL}={self.config.prefix}", "--format", "json")
        found = [
            Container(entry["Names"][0], entry["State"] == "running", entry["Labels"])
            for entry in json.loads(listed.stdout or "[]")
        ]
        return {container.host: container for container in found if LABEL_HOST in container.labels}

    def ensure(self, host: Host, existing: Mapping[str, Container]) -> bool:
        """Have `host` running as described and answering; true when it had to be made or made again."""
        words = self._create_words(host)
        container = existing.get(host.name)
        if container and container.running and container.labels.get(LABEL_SPEC) == _spec(words) and self.answers(host):
            return False
        self.remove(host.name)
        self.create(host)
        self.start(host)
        return True

    def create(self, host: Host, labels: Mapping[str, str] | None = None) -> None:
        words = self._create_words(host)
        marks = {LABEL: self.config.prefix, LABEL_HOST: host.name, LABEL_SPEC: _spec(words), **(labels or {})}
        flags = [word for key, value in marks.items() for word in ("--label", f"{key}={value}")]
        self.podman.run("create", *flags, *words)

    def start(self, host: Host) -> None:
        """Boot the container; returns when it is up and listens. Raises LabError with what failed."""
        self.podman.run("start", self.container_name(host.name))
        ready = self._ready(host, BOOT_S)
        if ready.returncode != 0:
            said = [ready.stdout.strip() or ready.stderr.strip(), self._last_words(host), inotify_problem()]
            raise LabError(f"{host.name} did not come up: " + "; ".join(filter(None, said)))

    def _last_words(self, host: Host) -> str:
        """The end of what process 1 printed, when it has ended."""
        name = self.container_name(host.name)
        state = self.podman.run("inspect", "--format", "{{.State.Running}}", name, check=False).stdout.strip()
        if state == "true":
            return ""
        printed = self.podman.run("logs", "--tail", "3", name, check=False)
        return " ".join((printed.stdout + printed.stderr).split())

    def answers(self, host: Host) -> bool:
        """Whether a process really runs in there; podman lists dead containers as running after a reboot."""
        return self._ready(host, 3).returncode in {0, 2}

    def _ready(self, host: Host, seconds: int) -> Result:
        ports = [str(port) for port in host.listens]
        name = self.container_name(host.name)
        return self.podman.run(
            "exec", name, "/usr/local/lib/lab/ready", str(seconds), *ports, check=False, timeout_s=seconds + 5
        )

    def remove(self, host: str) -> None:
        words = ("rm", "--force", "--ignore", "--time", "0", "--volumes", self.container_name(host))
        if self.podman.run(*words, check=False).returncode:  # after a power cut podman learns only by this that nothing runs
            self.podman.run(*words)

    def execute(self, host: str, command: Sequence[str], stdin: str | None = None, timeout_s: float = 120) -> Result:
        """Run a command in a host; the result carries its return code and output, whatever they are."""
        flags = ["--interactive"] if stdin is not None else []
        return self.podman.run(
            "exec", *flags, self.container_name(host), *command, check=False, stdin=stdin, timeout_s=timeout_s
        )

    def interactive(self, host: str, command: Sequence[str], tty: bool) -> int:
        """Run a command in a host on this terminal; returns its return code."""
        flags = ["--interactive", *(["--tty"] if tty else [])]
        words = ["podman", "exec", *flags, self.container_name(host), *command]
        return subprocess.run(words, env=self.podman.environment, check=False).returncode

    def _create_words(self, host: Host) -> list[str]:
        words = ["--name", self.container_name(host.name), "--hostname", host.fqdn, "--systemd=always", "--no-hosts"]
        for capability in (*CAPABILITIES, *host.capabilities):
            words += ["--cap-add", capability]
        dns = self.config.hosts[self.config.dns_server]
        words += ["--dns", dns.ipv4, "--dns", dns.ipv6, "--dns-search", "corp.test"]
        # Addresses are unique by design; the second that duplicate detection takes would be paid at each boot.
        words += ["--sysctl", "net.ipv6.conf.default.accept_dad=0", "--sysctl", "net.ipv6.conf.all.accept_dad=0"]
        if host.forwards:
            words += ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "net.ipv6.conf.all.forwarding=1"]
        for address in host.addresses:
            interface = address.network if len(host.addresses) > 1 else "eth0"
            words += ["--network", self._network_words(address, interface)]
        words += ["--env", "LAB_ROUTES=" + ",".join(host.routes)]
        if host.masquerades:
            words += ["--env", f"LAB_MASQUERADE={self.config.networks[host.masquerades].ipv4}"]
        words += ["--volume", f"{self.podman.state}/ssh_key.pub:/etc/ssh/lab_authorized_keys:ro"]
        # --systemd mounts memory there; on a disk, as on a real host, the journal outlives a restart.
        words += ["--volume", "/var/log/journal"]
        return [*words, self.images.reference(host.image), "/sbin/init"]

    def _network_words(self, address: Address, interface: str) -> str:
        return (
            f"{self.config.prefix}-{address.network}:ip={address.ipv4},ip={address.ipv6},"
            f"mac={address.mac},interface_name={interface}"
        )

    # Throw-away copies

    def clone_host(self, original: str, name: str, network: str, number: int) -> Host:
        """The description of a copy of a good host at another address."""
        return replace(
            self.config.hosts[original],
            name=name,
            addresses=(self.config.networks[network].address(number),),
            routes=self.config.default_routes(network),
            clone_of=original,
        )

    def reserve_clone(self, original: str, name: str, network: str) -> Host:
        """Create, but not start, a copy at the first free address. The caller holds the lab's address lock."""
        existing = self.existing()
        if name in existing or name in self.config.hosts:
            raise LabError(f"there is a host {name} already")
        taken = {c.labels[LABEL_NUMBER] for c in existing.values() if c.labels.get(LABEL_NETWORK) == network}
        number = next((n for n in self.config.clone_numbers if str(n) not in taken), None)
        if number is None:
            raise LabError(f"no free address for a copy on {network}: remove some")
        host = self.clone_host(original, name, network, number)
        self.create(host, {LABEL_CLONE_OF: original, LABEL_NETWORK: network, LABEL_NUMBER: str(number)})
        return host

    def clones(self) -> dict[str, Host]:
        """Copies that exist, by name."""
        return {
            name: self.clone_host(
                container.labels[LABEL_CLONE_OF], name, container.labels[LABEL_NETWORK],
                int(container.labels[LABEL_NUMBER]),
            )
            for name, container in self.existing().items()
            if LABEL_CLONE_OF in container.labels
        }

    def address_name(self, host: Host) -> str:
        """The name in DNS of a host's first address."""
        if host.clone_of is None:
            return host.fqdn
        return clone_name(host.addresses[0].network, int(host.ipv4.rpartition(".")[2]))


def _spec(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
