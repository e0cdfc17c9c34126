#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_audit
short_description: Audit a mail host without changing it
version_added: 0.1.0
description:
  - Reads the effective configuration of the mail server, evaluates every selected control, and asks the program itself what it
    would do with clients that are not there.
  - Only reads. Log lines tagged C(mtaudit) are the only trace.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  name:
    description: The name of the host in findings and reports, usually C(inventory_hostname).
    type: str
    required: true
  selection:
    description: The controls to answer, as M(mta_catalogue) returns them.
    type: list
    elements: dict
    required: true
  tunables:
    description: This host's own values for the catalogue's tunables, by control id.
    type: dict
    default: {}
  kind:
    description: What the host is for. Inferred from its listeners, and said so, when empty.
    type: str
    choices: ["", mx, submission, outbound, null_client, web, workstation, gateway]
    default: ""
  trusted_networks:
    description: Networks, other than loopback, whose hosts may relay without authentication.
    type: list
    elements: str
    default: []
  proxies:
    description: Networks of the proxies that may assert a client's address with XCLIENT or the PROXY protocol.
    type: list
    elements: str
    default: []
  local_domains:
    description: Domains that the host accepts mail for, in addition to those that its configuration names.
    type: list
    elements: str
    default: []
  simulate:
    description: Ask the programs on the host what they would do with clients at other addresses. Sends nothing, leaves no file.
    type: bool
    default: true
  canary:
    description: The foreign recipient of the simulated envelopes. A name that cannot exist is used when empty.
    type: str
    default: ""
  probe_sender:
    description: The foreign sender of the simulated envelopes. A name that cannot exist is used when empty.
    type: str
    default: ""
  known_recipient:
    description: A mailbox of this host that exists.
    type: str
    default: ""
  contact_policy_services:
    description: Let the simulation contact the policy services that the configuration names. They may count or log what they see.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Resolve the catalogue
  mta_catalogue:
    path: checks
    profile: baseline
  register: catalogue
  delegate_to: localhost
  run_once: true

- name: Audit the host
  mta_audit:
    name: "{{ inventory_hostname }}"
    selection: "{{ catalogue.selection }}"
    kind: mx
  register: audit
"""

RETURN = r"""
findings:
  description: One entry per control, subject and method.
  returned: success
  type: list
  elements: dict
  sample:
    - control: RELAY-01
      subject: {kind: listener, name: "*:25"}
      status: pass
      method: config
      message: only loopback may relay
estate:
  description: What the audit learned about the host and hands to the probes.
  returned: success
  type: dict
spawns:
  description: Programs run to read the configuration.
  returned: success
  type: int
simulation_spawns:
  description: Programs run to simulate clients.
  returned: success
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.audit import InputError
from ansible.module_utils.mtaudit.audit import audit
from ansible.module_utils.mtaudit.audit_arguments import ARGUMENTS
from ansible.module_utils.mtaudit.audit_arguments import request_from
from ansible.module_utils.mtaudit.runner import LocalRunner


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        answer = audit(LocalRunner(), request_from(module.params))
    except InputError as exc:
        module.fail_json(msg=f"Could not start the audit: {exc}")
    module.exit_json(
        changed=False,
        findings=[finding.to_dict() for finding in answer.findings],
        estate=answer.estate,
        spawns=answer.spawns,
        simulation_spawns=answer.simulation_spawns,
    )


if __name__ == "__main__":
    main()
