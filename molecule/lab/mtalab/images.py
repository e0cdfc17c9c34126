"""Build the lab's images from recipes, and keep them by the hash of everything that went in."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mtalab.config import Config, Image
from mtalab.engine import LabError, Podman, step
from mtalab.networks import LABEL
from mtalab.zones import zones

REGISTRY_BASE = "MTAUDIT_LAB_BASE"   # e.g. registry.example/debian:{suite}, instead of mmdebstrap
BUILDS_AT_ONCE = 2
APT_RETRIES = 'Acquire::Retries "8";'  # with pauses that double up to 30 s (apt.conf(5)): a name server may pause
BYTES_PER_IMAGE = 200 * 10**6        # measured: 2.1 GB for the 15 images of the Postfix lab, shared layers counted once


def recipe_digest(recipe: Path, inputs: Mapping[str, str], parts: tuple[str, ...]) -> str:
    """Hash of a recipe: names, modes and content of its files, generated files, and any other words that matter."""
    digest = hashlib.sha256()
    for path in sorted(path for path in recipe.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(recipe)} {path.stat().st_mode & 0o111:o}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name, text in sorted(inputs.items()):
        digest.update(f"{name}\n{text}".encode())
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


class Images:
    """The images of a lab."""

    def __init__(self, config: Config, podman: Podman, base: str | None = None) -> None:
        self.config = config
        self.podman = podman
        self.base = base or os.environ.get(REGISTRY_BASE) or None

    def reference(self, name: str) -> str:
        """What podman calls the image: its name and the hash of what it is made of."""
        return f"localhost/{self.config.prefix}/{name}:{self.digest(name)}"

    def digest(self, name: str) -> str:
        image = self.config.images[name]
        parents = tuple(self.digest(parent) for parent in image.parents)
        base = (self.base_reference(image.release),) if image.release else ()
        arguments = tuple(f"{key}={value}" for key, value in sorted(self.arguments(image).items()))
        return recipe_digest(image.recipe, self.inputs(image), (*parents, *base, *arguments))

    def release(self, name: str) -> str:
        """The Debian release at the bottom of an image."""
        image = self.config.images[name]
        return image.release or self.release(image.parents[0])

    def arguments(self, image: Image) -> dict[str, str]:
        """Build arguments that the recipe asks for with ARG, of those that follow from lab.yml."""
        known = {
            "RELEASE": self.release(image.name),
            "REPO": f"http://{self.config.hosts['repo'].fqdn}/{self.release(image.name)}",
            "LOGINS": " ".join(f"{name}:{password}" for name, password in self.config.logins.items()),
        }
        # One behind a gateway arrives with the gateway's address.
        hosts = [host for host in self.config.hosts.values() if host.image == "vantage" or host.masquerades]
        vantages = [address for host in hosts for address in host.addresses]
        known["VANTAGES"] = " ".join(address for vantage in vantages for address in (vantage.ipv4, vantage.ipv6))
        host = next((host for host in self.config.hosts.values() if host.image == image.name), None)
        if host:
            known |= {"FQDN": host.fqdn, "MAIL_DOMAIN": host.mail_domain or ""}
        if "sink" in image.name:
            known["CANARY_DOMAIN"] = self.config.canary["address"].partition("@")[2]
        wanted = re.findall(r"^ARG (\w+)", (image.recipe / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)
        return {name: known[name] for name in wanted if name in known}

    def inputs(self, image: Image) -> dict[str, str]:
        """Files made for a recipe: path in the build context to text."""
        if image.recipe.name != "dns":
            return {}
        texts = zones(self.config)
        files = {name: ("root" if name == "." else name) + ".zone" for name in texts}
        entries = "".join(f'  - domain: "{name}"\n    file: "{files[name]}"\n' for name in texts)
        return {f"zones/{files[name]}": text for name, text in texts.items()} | {"zones.conf": "zone:\n" + entries}

    def exists(self, reference: str) -> bool:
        return self.podman.run("image", "exists", reference, check=False).returncode == 0

    def missing(self, names: set[str]) -> list[str]:
        """Images to build, parents before children, for the wanted ones."""
        order: list[str] = []

        def visit(name: str) -> None:
            # To list them all takes podman seconds, once many recipes have left theirs.
            if name in order or self.exists(self.reference(name)):
                return
            for parent in self.config.images[name].parents:
                visit(parent)
            order.append(name)

        for name in sorted(names):
            visit(name)
        return order

    def build(self, names: set[str]) -> list[str]:
        """Build what is missing of `names` and their parents, some at a time; returns what was built."""
        order = sorted(self.missing(names), key=self._depth)   # both base systems first: a job that waits takes a place
        if order:
            self._check_room(len(order))
        jobs: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(max_workers=BUILDS_AT_ONCE) as pool:
            for name in order:
                waits = [jobs[parent] for parent in self.config.images[name].parents if parent in jobs]
                jobs[name] = pool.submit(self._build_after, name, waits)
        for job in jobs.values():
            job.result()
        return order

    def _depth(self, name: str) -> int:
        """How many images lie below this one: parents always have fewer than their children."""
        return 1 + max((self._depth(parent) for parent in self.config.images[name].parents), default=0)

    def _check_room(self, images: int) -> None:
        """Raise LabError when the disk has too little room for so many images."""
        storage = Path(self.podman.run("info", "--format", "{{.Store.GraphRoot}}").stdout.strip())
        free, wanted = shutil.disk_usage(storage).free, images * BYTES_PER_IMAGE
        if free < wanted:
            raise LabError(
                f"{images} images are to be made, which takes about {wanted / 1e9:.1f} GB in {storage}, and "
                f"{free / 1e9:.1f} GB are free: make room, or name another place in /etc/containers/storage.conf"
            )

    def _build_after(self, name: str, waits: list[Future[None]]) -> None:
        for parent in waits:   # submitted earlier and taken in order, so this cannot wait for one that never starts
            parent.result()
        with step(f"image {name}"):
            self._build_one(self.config.images[name])

    def _build_one(self, image: Image) -> None:
        logs = self.podman.state / "logs"
        logs.mkdir(exist_ok=True)
        parents = [self.reference(parent) for parent in image.parents]
        if image.release:
            parents = [self.ensure_base(image.release)]
        words = ["build", "--pull-never" if not self.base else "--pull=missing", "--force-rm"]
        words += ["--label", f"{LABEL}={self.config.prefix}", "--tag", self.reference(image.name)]
        for number, parent in enumerate(parents):
            words += ["--build-arg", f"FROM{number or ''}={parent}"]
        for key, value in self.arguments(image).items():
            words += ["--build-arg", f"{key}={value}"]
        with tempfile.TemporaryDirectory(prefix="mtaudit-lab-") as scratch:
            context = Path(scratch) / "context"
            shutil.copytree(image.recipe, context)
            for path, text in self.inputs(image).items():
                (context / path).parent.mkdir(parents=True, exist_ok=True)
                (context / path).write_text(text, encoding="utf-8")
            retries = Path(scratch) / "retries"
            retries.write_text(f"{APT_RETRIES}\n", encoding="utf-8")
            # For the build alone: in the lab's hosts, apt is to say at once that its server is gone.
            words += ["--volume", f"{retries}:/etc/apt/apt.conf.d/90retries:ro"]
            self.podman.follow([*words, str(context)], logs / f"{image.name}.log")

    def base_reference(self, release: str) -> str:
        """The image of a bare Debian release: from a registry when one was named, else made by mmdebstrap."""
        suite = self.config.suites[release]
        return self.base.format(suite=suite, release=release) if self.base else f"localhost/{self.config.prefix}/debian:{suite}"

    def ensure_base(self, release: str) -> str:
        reference = self.base_reference(release)
        if self.base or self.exists(reference):
            return reference
        suite = self.config.suites[release]
        tar = self.podman.state / f"base-{suite}.tar"
        if not tar.exists():
            with step(f"mmdebstrap of Debian {suite}"):
                _mmdebstrap(suite, tar)
        self.podman.run("import", "--change", f"LABEL={LABEL}={self.config.prefix}", str(tar), reference, timeout_s=600)
        return reference

    def all_references(self) -> list[str]:
        """The lab's images by name, then the nameless stages of their builds; children before parents.

        The label alone does not tell: whatever somebody builds from an image of the lab inherits it.
        """
        label = f"label={LABEL}={self.config.prefix}"
        form = "{{.ID}} {{.Repository}}:{{.Tag}}"
        listed = self.podman.run("images", "--filter", label, "--format", form, "--sort", "created").stdout.splitlines()
        pairs = [line.split(maxsplit=1) for line in listed]
        named = [name for _identity, name in pairs if name.startswith(f"localhost/{self.config.prefix}/")]
        return list(dict.fromkeys([*named, *(identity for identity, name in pairs if name == "<none>:<none>")]))


def _mmdebstrap(suite: str, tar: Path) -> None:
    """Make a minimal Debian as a tar; the file appears only when it is complete."""
    part = tar.with_suffix(".part.tar")
    done = subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--aptopt={APT_RETRIES}",
            '--customize-hook=rm "$1"/etc/apt/apt.conf.d/99mmdebstrap', suite, str(part),
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        raise LabError(f"mmdebstrap {suite} failed:\n{done.stderr[-2000:]}")
    part.rename(tar)
