#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_harden_proof
short_description: Judge whether a change holds, from the runs before and after it
version_added: 0.1.0
description:
  - Compares what all methods together said of a host before a change with what they say after it.
  - A control that was to be mended must not fail, and must not be unknown; nothing else may fail that did not before.
  - Runs on the controller.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  before:
    description: Run directory of the audit before the change.
    type: path
    required: true
  after:
    description: Run directory of the audit after the change.
    type: path
    required: true
  host:
    description: The host, by its inventory name.
    type: str
    required: true
  plan:
    description: The plan that was followed, as M(mta_harden) returned it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Judge the change
  mta_harden_proof:
    before: reports/runs/20261123T090000Z
    after: reports/runs/20261123T090500Z
    host: mx1
    plan: "{{ plan.plan }}"
  delegate_to: localhost
  become: false
  register: proof
"""

RETURN = r"""
problems:
  description: What speaks against the change. Empty when it holds.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.hardening.judge import against
from ansible.module_utils.mtaudit.report.run import RunError
from ansible.module_utils.mtaudit.report.run import load_run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "before": {"type": "path", "required": True},
            "after": {"type": "path", "required": True},
            "host": {"type": "str", "required": True},
            "plan": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    fixes = params["plan"]["fixes"]
    mended = {(fix["control"], subject["name"]) for fix in fixes for subject in fix["mended"]}
    shows = {(f["control"], f["subject"]["name"]) for fix in fixes for f in fix["shows"]}
    try:
        before, after = load_run(params["before"]), load_run(params["after"])
    except RunError as exc:
        module.fail_json(msg=f"Could not judge the change: {exc}")
    module.exit_json(changed=False, problems=list(against(before, after, params["host"], mended, shows)))


if __name__ == "__main__":
    main()
