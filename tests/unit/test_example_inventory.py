"""The inventory that people copy: it loads, and holds only names and addresses of documentation and variables that exist."""

from __future__ import annotations

import functools
import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "inventories/example"
DOCUMENTATION = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]


@pytest.fixture(scope="module")
def hosts() -> dict[str, dict[str, Any]]:
    """Every host with its variables, as Ansible sees them."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(EXAMPLE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["_meta"]["hostvars"]
    return found


@functools.cache
def options() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role in ("mta_audit", "mta_report"):
        text = (ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
        found |= yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return found


def test_every_variable_exists(hosts: dict[str, dict[str, Any]]) -> None:
    used = {name for variables in hosts.values() for name in variables if name.startswith("mta_")} - {"mta_vantage"}
    assert used
    assert used - set(options()) == set()


def test_what_an_owner_should_think_about_is_shown() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in EXAMPLE.rglob("*.yml"))
    for name in ("kind", "local_domains", "known_recipient", "trusted_networks", "proxies", "canary", "canary_check",
                 "probe_sender", "waivers", "test_login", "addresses", "ports"):
        assert f"mta_audit_{name}" in text, name


def test_values_have_the_type_that_the_role_wants(hosts: dict[str, dict[str, Any]]) -> None:
    types = {"str": str, "list": list, "dict": dict, "bool": bool, "int": int, "float": (int, float), "path": str}
    for variables in hosts.values():
        for name, value in variables.items():
            if name in options():
                assert isinstance(value, types[options()[name].get("type", "str")]), name


def test_there_are_vantages_that_say_where_they_are(hosts: dict[str, dict[str, Any]]) -> None:
    where = {name: variables["mta_vantage"] for name, variables in hosts.items() if "mta_vantage" in variables}
    assert set(where.values()) == {"stranger", "neighbour"}


def test_names_and_addresses_are_those_of_documentation() -> None:
    """RFC 5737, RFC 3849, RFC 2606."""
    for path in EXAMPLE.rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        for word in re.findall(r"(?:\d+\.){3}\d+|[0-9a-f]+:[0-9a-f:]*::[0-9a-f]*", text):
            assert any(ipaddress.ip_address(word) in network for network in DOCUMENTATION), f"{path}: {word}"
        for domain in re.findall(r"@([a-z0-9.-]+)|https?://([a-z0-9.-]+)", text):
            assert re.search(r"(^|\.)example\.(com|net|org)$", "".join(domain)), f"{path}: {domain}"
