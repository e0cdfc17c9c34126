"""The lab's parts that need no containers: conflicts, hashes, zones, runtime, inventory."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from mtalab import engine, networks  # noqa: E402
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
    """inventories/lab/hosts.yml is what `lab.py inventory --write` writes."""
    text = (ROOT / "inventories" / "lab" / "hosts.yml").read_text(encoding="utf-8")
    assert text == static_inventory_text(load())
    assert len(yaml.safe_load(text)["all"]["children"]["mail_servers"]["hosts"]) == 4
