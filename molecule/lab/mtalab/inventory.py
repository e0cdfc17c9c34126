"""Make Ansible inventories from the lab's hosts: lab.yml in, groups and host variables out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from mtalab.config import Config, Host

HEADER = """\
---
# The lab's {hosts}. Made from molecule/lab/lab.yml by `lab.py inventory --write`; do not edit.
# How they are reached is in {variables}.
"""
STANDING = HEADER.format(hosts="hosts", variables="group_vars/all.yml")
ON_DEMAND = HEADER.format(hosts="hosts that start on demand", variables="../lab/group_vars/all.yml: add -i inventories/lab")


def inventory(config: Config, hosts: Mapping[str, Host]) -> dict[str, Any]:
    """An Ansible inventory (as YAML or static JSON knows it) of some hosts, grouped, with their variables."""
    groups: dict[str, Any] = {}
    for host in hosts.values():
        for group in host.groups:
            members = groups.setdefault(group, {"hosts": {}})["hosts"]
            members[host.name] = host_variables(config, host)
    return {"all": {"children": dict(sorted(groups.items())), "vars": audit_variables(config)}}


def audit_variables(config: Config) -> dict[str, Any]:
    """What the lab tells the audit about its canary and its sender."""
    sink = config.hosts[config.canary["sink"]]
    return {
        "mta_audit_canary": config.canary["address"],
        "mta_audit_canary_check": {"url": f"http://{sink.ipv4}:{config.canary['port']}/token/{{token}}"},
        "mta_audit_probe_sender": config.probe_sender,
    }


def host_variables(config: Config, host: Host) -> dict[str, Any]:
    """Ansible variables of one host. ansible_host is the container's name: ssh goes through `podman exec`."""
    variables: dict[str, Any] = {
        "ansible_host": f"{config.prefix}-{host.name}",
        "mta_audit_addresses": [a for address in host.addresses for a in (address.ipv4, address.ipv6)],
        "lab_fqdn": host.fqdn,
        **host.variables,
    }
    if host.mail_domain:
        variables["mta_audit_local_domains"] = [host.mail_domain]
        variables["mta_audit_known_recipient"] = f"alice@{host.mail_domain}"
        # Every host signs its own certificate, and a copy has its original's.
        trusted = {"untrusted_fails": False, "names": [host.fqdn]}
        # And one host of the lab is a whole site.
        variables["mta_audit_tunables"] = {"TLS-01": trusted, "OUT-03": {"one_host_is_wanted": True}}
    if host.submission:
        variables["mta_audit_test_login"] = {"username": "alice", "password": config.logins["alice"]}
        variables["mta_audit_test_login"]["other_sender"] = f"bob@{host.mail_domain}"
    if host.clone_of:
        variables["lab_clone_of"] = host.clone_of
    return variables


def static_inventory_text(config: Config, on_demand: bool = False) -> str:
    """Text of inventories/lab/hosts.yml, or with `on_demand` of inventories/lab_on_demand/hosts.yml.

    They are two files, because every host of an inventory has to answer.
    """
    hosts = {name: host for name, host in config.hosts.items() if host.on_demand == on_demand}
    return (ON_DEMAND if on_demand else STANDING) + yaml.dump(
        inventory(config, hosts), Dumper=_Indented, sort_keys=False, default_flow_style=False, width=120
    )


class _Indented(yaml.SafeDumper):
    """Lists indented below their key, as yamllint wants them; no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True
