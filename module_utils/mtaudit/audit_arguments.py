"""What the modules that audit a host are given, and the request that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .audit import Request, networks, selection

KINDS = ["", "mx", "submission", "outbound", "null_client", "web", "workstation", "gateway"]

# As Ansible describes a module's arguments.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "selection": {"type": "list", "elements": "dict", "required": True},
    "tunables": {"type": "dict", "default": {}},
    "kind": {"type": "str", "choices": KINDS, "default": ""},
    "trusted_networks": {"type": "list", "elements": "str", "default": []},
    "proxies": {"type": "list", "elements": "str", "default": []},
    "local_domains": {"type": "list", "elements": "str", "default": []},
    "simulate": {"type": "bool", "default": True},
    "contact_policy_services": {"type": "bool", "default": False},
    "canary": {"type": "str", "default": ""},
    "probe_sender": {"type": "str", "default": ""},
    "known_recipient": {"type": "str", "default": ""},
}


def request_from(params: Mapping[str, Any]) -> Request:
    """Raises InputError."""
    return Request(
        host=params["name"],
        selection=selection(params["selection"], params["tunables"]),
        kind=params["kind"],
        trusted_networks=networks(params["trusted_networks"], "mta_audit_trusted_networks"),
        proxies=networks(params["proxies"], "mta_audit_proxies"),
        local_domains=tuple(params["local_domains"]),
        simulate=params["simulate"],
        contact_policy_services=params["contact_policy_services"],
        canary=params["canary"],
        probe_sender=params["probe_sender"],
        known_recipient=params["known_recipient"],
    )
