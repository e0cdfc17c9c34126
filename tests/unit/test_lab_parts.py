"""The lab's parts that need no containers: conflicts, hashes, zones, runtime, inventory."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from mtalab import engine, hosts, machine, networks  # noqa: E402
from mtalab.config import RECIPES, Network, load  # noqa: E402
from mtalab.images import Images, recipe_digest  # noqa: E402
from mtalab.inventory import static_inventory_text  # noqa: E402
from mtalab.networks import Machine, conflicts  # noqa: E402
from mtalab.zones import reverse_zone, zones  # noqa: E402

INET = Network("inet", ipaddress.IPv4Network("198.51.100.0/24"), ipaddress.IPv6Network("2001:db8:51::/64"))


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        (Machine(interfaces=(("eth7", "198.51.100.9/24"),)), "interface eth7 has 198.51.100.9/24"),
        (Machine(interfaces=(("eth7", "2001:db8:51::9/64"),)), "interface eth7 has 2001:db8:51::9/64"),
        (Machine(routes=(("dev tun0", "198.51.0.0/16"),)), "the route to 198.51.0.0/16 (dev tun0)"),
        (Machine(routes=(("dev tun0", "198.51.100.77"),)), "the route to 198.51.100.77 (dev tun0)"),
        (Machine(resolvers=("198.51.100.53",)), "the resolver 198.51.100.53"),
        (Machine(resolvers=("2001:db8:51::53%eth0",)), "the resolver 2001:db8:51::53%eth0"),
        (Machine(sources={"mirror.example": ("198.51.100.80",)}), "the package source mirror.example is at 198.51.100.80"),
    ],
)
def test_a_conflict_is_named(machine: Machine, named: str) -> None:
    (found,) = conflicts([INET], machine)
    assert named in found
    assert found.startswith("inet (")


def test_what_lies_elsewhere_is_no_conflict() -> None:
    machine = Machine(
        interfaces=(("eth0", "203.0.113.2/24"), ("lo", "::1/128")),
        routes=(("dev eth0", "0.0.0.0/0"), ("dev eth0", "::/0"), ("dev eth0", "default"), ("dev eth0", "198.51.101.0/24")),
        resolvers=("203.0.113.1",),
        sources={"mirror.example": ("203.0.113.80", "2001:db8:52::80"), "gone.example": ()},
    )
    assert conflicts([INET], machine) == []


def test_the_labs_networks_are_not_those_that_build_hosts_use() -> None:
    forbidden = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("203.0.113.0/24")]
    assert not [net for net in load().networks.values() for other in forbidden if net.ipv4.overlaps(other)]


def test_networks_are_not_made_while_there_is_a_conflict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    class FakePodman(engine.Podman):
        def run(self, *words: str, **_options: object) -> engine.Result:  # type: ignore[override]
            asked.append(words)
            return engine.Result(0, "", "")

    monkeypatch.setattr(networks, "look_at_machine", lambda _own: Machine(resolvers=("198.51.100.53",)))
    lab = networks.Networks(FakePodman(tmp_path), "mtaudit", {"inet": INET})
    with pytest.raises(engine.LabError, match=r"the resolver 198\.51\.100\.53"):
        lab.up()
    assert not [words for words in asked if words[:2] == ("network", "create")]


def test_package_sources_of_apt_and_pip_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror.example/debian trixie main\n# deb http://old.example/ x main\n")
    (tmp_path / "pip.conf").write_text("[global]\nextra-index-url = https://more.example/simple\n")
    monkeypatch.setattr(networks, "APT_SOURCES", (str(tmp_path / "*.list"),))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example:8443/simple")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    found = networks._source_hosts()
    assert {"mirror.example", "more.example", "index.example", "proxy.example"} <= found
    assert "old.example" not in found


def test_without_a_configured_index_none_is_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "APT_SOURCES", ())
    monkeypatch.setattr(networks.os, "environ", {})
    monkeypatch.setattr(networks.subprocess, "run", lambda *_words, **_options: subprocess.CompletedProcess([], 0, "", ""))
    assert networks._source_hosts() == set()


def test_a_changed_recipe_has_another_hash(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    shutil.copytree(RECIPES / "postfix", recipe)
    before = recipe_digest(recipe, {}, ("parent",))
    assert recipe_digest(recipe, {}, ("parent",)) == before
    changed = {recipe_digest(recipe, {"zones/a.zone": "text"}, ("parent",)), recipe_digest(recipe, {}, ("other parent",))}
    (recipe / "configure-mx").chmod(0o644)
    changed.add(recipe_digest(recipe, {}, ("parent",)))
    (recipe / "configure-mx").write_text("#!/bin/sh\n", encoding="utf-8")
    changed.add(recipe_digest(recipe, {}, ("parent",)))
    assert len(changed | {before}) == 5


def test_a_changed_base_reaches_every_image_on_top(tmp_path: Path) -> None:
    config, podman = load(), engine.Podman(tmp_path)
    own, registry = Images(config, podman), Images(config, podman, "registry.example/debian:{suite}")
    assert registry.base_reference("d13") == "registry.example/debian:trixie"
    assert all(own.digest(name) != registry.digest(name) for name in config.images)


def test_arguments_of_an_image_come_from_its_host(tmp_path: Path) -> None:
    config = load()
    images = Images(config, engine.Podman(tmp_path))
    found = images.arguments(config.images["full-d13"])
    assert (found["FQDN"], found["MAIL_DOMAIN"]) == ("full-d13.corp.test", "full-d13.test")
    assert found["REPO"] == "http://repo.corp.test/d13"


def test_every_name_has_forward_and_reverse_records() -> None:
    config = load()
    texts = zones(config)
    for host in config.hosts.values():
        for address in host.addresses:
            for text in (address.ipv4, address.ipv6):
                pointer = ipaddress.ip_address(text).reverse_pointer
                assert any(f"{pointer}. PTR {host.fqdn}.\n" in zone for zone in texts.values())
                assert any(f"{host.fqdn}. A{'AAA' if ':' in text else ''} {text}\n" in zone for zone in texts.values())
    assert " A " not in texts["."]


@pytest.mark.parametrize(
    ("prefix", "zone"),
    [("198.51.100.0/24", "100.51.198.in-addr.arpa"), ("2001:db8:51::/64", "0.0.0.0.1.5.0.0.8.b.d.0.1.0.0.2.ip6.arpa")],
)
def test_reverse_zone(prefix: str, zone: str) -> None:
    assert reverse_zone(ipaddress.ip_network(prefix)) == zone


def test_a_hybrid_machine_needs_runc() -> None:
    assert engine.choose_runtime(unified_cgroups=True, installed={}) is None
    assert engine.choose_runtime(unified_cgroups=False, installed={"runc": True}) == "runc"
    with pytest.raises(engine.LabError, match="install runc"):
        engine.choose_runtime(unified_cgroups=False, installed={})


def test_limits_stay_below_those_of_the_machine() -> None:
    text = engine.containers_conf(20000, 4096, "runc")
    assert 'default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]' in text
    assert 'runtime = "runc"' in text
    assert "runtime" not in engine.containers_conf(20000, 4096, None)


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "_which", lambda tool: tool not in {"podman", "nft"})
    with pytest.raises(engine.LabError, match="apt-get install --no-install-recommends podman nftables$"):
        engine.Podman(tmp_path / "state").prepare()
    assert not (tmp_path / "state").exists()


def test_the_inventory_is_made_from_lab_yml() -> None:
    """The inventories are what `lab.py inventory --write` writes; every host is in one of them."""
    for name, on_demand, servers in (("lab", False, 4), ("lab_on_demand", True, 6)):
        text = (ROOT / "inventories" / name / "hosts.yml").read_text(encoding="utf-8")
        assert text == static_inventory_text(load(), on_demand)
        assert len(yaml.safe_load(text)["all"]["children"]["mail_servers"]["hosts"]) == servers


def test_a_low_limit_of_inotify_instances_is_raised_and_a_high_one_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = tmp_path / "max_user_instances"
    for before, after in (("128", "1024"), ("8192", "8192")):
        limit.write_text(before, encoding="ascii")
        engine.allow_many_hosts(limit)
        assert limit.read_text(encoding="ascii") == after
    engine.allow_many_hosts(tmp_path / "missing" / "limit")
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" from ")[2][:3] for line in said[:1]] == ["128"]
    assert "cannot be raised" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(("version", "problem"), [
    ("podman version 4.3.1\n", ""),
    ("podman version 5.4.2\n", ""),
    ("podman version 10.0.0-dev\n", ""),
    ("podman version 3.4.4\n", "podman 3.4 is too old: the lab needs 4.3 or newer, as in Debian 12"),
    ("podman version 4.2.0\n", "podman 4.2 is too old: the lab needs 4.3 or newer, as in Debian 12"),
    ("Docker version 20.10\n", "`podman --version` says 'Docker version 20.10': the lab needs podman 4.3 or newer"),
])
def test_podmans_version(version: str, problem: str) -> None:
    assert machine.podman_problem(version) == problem


def test_a_machine_without_ipv6_is_told_so(tmp_path: Path) -> None:
    assert "the kernel has no IPv6" in machine.ipv6_problem(tmp_path)
    (tmp_path / "sys/net/ipv6").mkdir(parents=True)
    assert machine.ipv6_problem(tmp_path) == ""


def test_inotify_instances_that_root_has_left(tmp_path: Path) -> None:
    """Two processes hold three instances of five: enough for one more host; of four: not."""
    limit = tmp_path / "sys/fs/inotify/max_user_instances"
    limit.parent.mkdir(parents=True)
    instance = "anon_inode:inotify"
    for process, handles in {"1": [instance, instance, "/dev/null"], "77": [instance]}.items():
        (tmp_path / process / "fd").mkdir(parents=True)
        for number, target in enumerate(handles):
            (tmp_path / process / "fd" / str(number)).symlink_to(target)
    mine = os.geteuid() == 0
    limit.write_text("5\n")
    assert machine.inotify_problem(tmp_path) == ""
    limit.write_text("4\n")
    if mine:
        assert "root uses 3 of the 4 inotify instances" in machine.inotify_problem(tmp_path)
        assert "sysctl -w fs.inotify.max_user_instances=1024" in machine.inotify_problem(tmp_path)
    else:
        assert machine.inotify_problem(tmp_path) == ""


class HostThatDies(engine.Podman):
    """podman with one container whose process 1 has ended."""

    def run(self, *words: str, **_options: object) -> engine.Result:  # type: ignore[override]
        answers = {
            "exec": engine.Result(255, "", "Error: can only create exec sessions on running containers"),
            "inspect": engine.Result(0, "false\n", ""),
            "logs": engine.Result(0, "Failed to allocate manager object: Too many open files\n[!!!!!!] Exiting PID 1...\n", ""),
        }
        return answers.get(words[0], engine.Result(0, "", ""))


def test_a_host_that_does_not_come_up_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "inotify_problem", lambda: "root uses 128 of the 128 inotify instances")
    podman = HostThatDies(tmp_path)
    config = load()
    lab = hosts.Hosts(config, podman, Images(config, podman))
    with pytest.raises(engine.LabError) as failed:
        lab.start(config.hosts["dns"])
    assert str(failed.value) == (
        "dns did not come up: Error: can only create exec sessions on running containers; Failed to allocate manager object: "
        "Too many open files [!!!!!!] Exiting PID 1...; root uses 128 of the 128 inotify instances"
    )


def test_too_little_room_stops_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    class NothingBuilt(engine.Podman):
        def run(self, *words: str, **_options: object) -> engine.Result:  # type: ignore[override]
            asked.append(words)
            return engine.Result(int(words[0] == "image"), f"{tmp_path}\n" if words[0] == "info" else "", "")

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 300 * 10**6}))
    with pytest.raises(engine.LabError, match=r"2 images are to be made, .* about 0\.4 GB in .* and 0\.3 GB are free"):
        Images(load(), NothingBuilt(tmp_path)).build({"router"})
    assert {words[0] for words in asked} == {"image", "info"}


def test_base_systems_are_built_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time: what waits for its parent would keep the other base system from being made beside the first."""
    class NothingBuilt(engine.Podman):
        def run(self, *words: str, **_options: object) -> engine.Result:  # type: ignore[override]
            return engine.Result(int(words[0] == "image"), f"{tmp_path}\n" if words[0] == "info" else "", "")

    images = Images(load(), NothingBuilt(tmp_path))
    monkeypatch.setattr(images, "_build_one", lambda _image: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10**12}))
    built = images.build({"mx-d12", "dns", "mx-d13"})
    assert sorted(built[:2]) == ["base-d12", "base-d13"]
    assert all(built.index(parent) < built.index(name) for name in built for parent in load().images[name].parents)


def test_a_long_step_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = threading.Event()

    def say(text: str) -> None:
        print(text)
        if re.fullmatch(r"image x \.\.\. \d+ s", text):
            said.set()

    monkeypatch.setattr(engine, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(engine, "say", say)
    with engine.step("image x"):
        assert said.wait(30)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image x ..." and re.fullmatch(r"image x: \d+\.\d s", lines[-1])


def test_a_failed_step_does_not_say_that_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(engine.LabError), engine.step("image x"):
        raise engine.LabError("no")
    assert capsys.readouterr().err.splitlines() == ["lab: image x ..."]


def test_threads_wait_for_a_lock_without_blaming_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside: list[int] = []
    together: list[int] = []

    def work() -> None:
        with engine.locked(tmp_path, "up"):
            inside.append(1)
            together.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    with engine.locked(tmp_path, "up"):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * 8
    assert "another process" not in capsys.readouterr().err


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, str(tmp_path / "up.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        waited = threading.Event()

        def work() -> None:
            with engine.locked(tmp_path, "up"):
                waited.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert not waited.wait(0.3)
        assert holder.stdin
        holder.stdin.close()
        thread.join()
    assert "waiting for another process that holds the lab's up lock" in capsys.readouterr().err
