#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_harden_left
short_description: Name what fails and no plan speaks of
version_added: 0.1.0
description:
  - Joins what all methods said of the hosts of a run. What fails and is not named in a host's plan is left to people, such as a
    control that has no fix, or what only a vantage saw.
  - Runs on the controller.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  run_directory:
    description: Directory of the audit that the plans were made after.
    type: path
    required: true
  planned:
    description: The hosts, each with the controls that its plan names.
    type: dict
    required: true
  only:
    description: The controls that were asked for, by host. A host that is not named was asked for all.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Name what is left to people
  mta_harden_left:
    run_directory: reports/runs/20261123T090000Z
    planned:
      mx1: [RELAY-01, INFO-01]
  delegate_to: localhost
  become: false
  register: left
"""

RETURN = r"""
left:
  description: By host, the controls that fail (C(control)), where (C(failing)), and the first step of the advice (C(advice)).
  returned: success
  type: dict
lines:
  description: The same as a person reads it, by host.
  returned: success
  type: dict
"""

import os
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.hardening.left import left
from ansible.module_utils.mtaudit.report.produce import Options
from ansible.module_utils.mtaudit.report.produce import make
from ansible.module_utils.mtaudit.report.run import RunError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_directory": {"type": "path", "required": True},
            "planned": {"type": "dict", "required": True},
            "only": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        findings = make(Options(params["run_directory"], os.path.dirname(params["run_directory"]))).report.findings
    except RunError as exc:
        module.fail_json(msg=f"Could not tell what is left: {exc}")
    found = left(findings, params["planned"], params["only"])
    module.exit_json(
        changed=False,
        left={host: [asdict(each) for each in listed] for host, listed in found.items()},
        lines={host: [str(each) for each in listed] for host, listed in found.items()},
    )


if __name__ == "__main__":
    main()
