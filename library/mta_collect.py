#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_collect
short_description: Keep the answers of a run in its directory and plan the probes
version_added: 0.1.0
description:
  - Runs on the controller. Writes what hosts, vantages and logs answered into the run directory, one file each.
  - Returns what the vantages should probe, and which tokens to look for in whose log.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: none}
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  run_directory:
    description: Directory of this run; made when missing.
    type: path
    required: true
  run:
    description: What C(run.json) shall hold. Given once, at the start.
    type: dict
  hosts:
    description: The names that O(results) belongs to, in the same order.
    type: list
    elements: str
    default: []
  results:
    description: What M(mta_audit) returned on each of O(hosts); empty where it did not run.
    type: list
    elements: dict
    default: []
  refused:
    description: Hosts that were not audited because their inventory variables cannot be used, each with what is wrong.
    type: dict
    default: {}
  probes:
    description: What M(mta_relay_probe) returned, by the vantage's inventory name.
    type: dict
    default: {}
  services:
    description: What M(mta_listener_probe) returned, by the vantage's inventory name.
    type: dict
    default: {}
  credentials:
    description: What M(mta_credential_probe) returned, by the vantage's inventory name.
    type: dict
    default: {}
  traces:
    description: What M(mta_log_trace) returned, by host.
    type: dict
    default: {}
  hardening:
    description: What playbooks/harden.yml planned by host (C(plan), a list of lines), and why it could not be done (C(problem)).
    type: dict
    default: {}
  declared:
    description: What the inventory declares about each host, for the plan.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Keep what the hosts answered
  mta_collect:
    run_directory: reports/runs/20261121T204500Z
    hosts: [mx1]
    results: ["{{ hostvars['mx1'].audit }}"]
    declared:
      mx1: {known_recipient: postmaster@example.org}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
targets:
  description: What to probe, as O(mta_relay_probe#module:targets) wants it, for the given hosts.
  returned: success
  type: list
  elements: dict
service_targets:
  description: The same for O(mta_listener_probe#module:targets).
  returned: success
  type: list
  elements: dict
credential_targets:
  description: The same for O(mta_credential_probe#module:targets).
  returned: success
  type: list
  elements: dict
tokens:
  description: By host, the tokens of the probes' sessions.
  returned: success
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.exported import answer_of
from ansible.module_utils.mtaudit.run_directory import begin
from ansible.module_utils.mtaudit.run_directory import failure
from ansible.module_utils.mtaudit.run_directory import keep
from ansible.module_utils.mtaudit.run_directory import keep_hosts
from ansible.module_utils.mtaudit.run_directory import protects_local_recipients
from ansible.module_utils.mtaudit.run_directory import targets
from ansible.module_utils.mtaudit.run_directory import tokens_of
from ansible.module_utils.mtaudit.run_directory import tunables_of
from ansible.module_utils.mtaudit.service_targets import credential_targets
from ansible.module_utils.mtaudit.service_targets import service_targets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_directory": {"type": "path", "required": True},
            "run": {"type": "dict"},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "results": {"type": "list", "elements": "dict", "default": []},
            "refused": {"type": "dict", "default": {}},
            "probes": {"type": "dict", "default": {}},
            "services": {"type": "dict", "default": {}},
            "credentials": {"type": "dict", "default": {}, "no_log": False},  # their ids, and no password
            "traces": {"type": "dict", "default": {}},
            "hardening": {"type": "dict", "default": {}},
            "declared": {"type": "dict", "default": {}},
        },
    )
    params = module.params
    directory = Path(params["run_directory"])
    try:
        if params["run"]:
            begin(directory, params["run"])
        declared = params["declared"]
        pairs = zip(params["hosts"], params["results"])
        results = [answer_of(host, result, declared.get(host, {}), directory / "catalogue.json") for host, result in pairs]
        answers = list(keep_hosts(directory, params["hosts"], results, params["refused"]))
        for folder in ("probes", "services"):
            for vantage, result in params[folder].items():
                kept = result if "listeners" in result else {"vantage": result.get("vantage", ""), "error": failure(result)}
                keep(directory, folder, vantage, kept)
        for vantage, result in params["credentials"].items():
            keep(directory, "credentials", vantage, result if "attempts" in result else {"error": failure(result)})
        for host, result in params["traces"].items():
            keep(directory, "traces", host, result if "traces" in result else {"error": failure(result), "traces": []})
        for host, told in params["hardening"].items():
            keep(directory, "hardening", host, told)
    except OSError as exc:
        advice = "set mta_report_directory to a directory that can be written and has room"
        module.fail_json(msg=f"Could not write the run directory {directory}: {exc.strerror}; {advice}")
    usable = {host: about for host, about in params["declared"].items() if host not in params["refused"]}
    estates = {a["host"]: a["estate"] for a in answers if a["estate"]}
    planned = targets(estates, usable, protects_local_recipients(directory))
    looked_at = service_targets(planned, estates, usable, tunables_of(directory, "TLS-01"))
    tried = credential_targets(estates, usable)
    tokens = tokens_of(params["probes"].values())
    module.exit_json(changed=True, targets=planned, service_targets=looked_at, credential_targets=tried, tokens=tokens)


if __name__ == "__main__":
    main()
