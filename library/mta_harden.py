#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_harden
short_description: Mend what an audit of a mail host finds, in one transaction
version_added: 0.1.0
description:
  - Audits the host, and tries the fixes of the controls that fail on a copy of the configuration, one after the other. A fix is
    part of the plan when its control fails less with it and no other control fails more.
  - Then makes the change as M(mta_transaction) does, and audits the running system again. What does not hold is put back.
  - In check mode it says what it would do, and why not more.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode:
    support: full
    details: The text of a file is shown only where everybody on the host may read it.
  platform: {platforms: posix}
options:
  audit:
    description: What the host is asked, as M(mta_audit) takes it. Its name and the selection must be there.
    type: dict
    required: true
  fixes:
    description: The fixes that may be applied, as M(mta_catalogue) returns them.
    type: list
    elements: dict
    required: true
  only:
    description: Apply the fixes of these controls alone, or of those that belong to these roles. Empty means all.
    type: list
    elements: str
    default: []
  max_disruption:
    description: Apply only fixes that may interrupt this much.
    type: str
    choices: [low, medium, high]
    default: medium
  confirmed:
    description: Apply fixes of class C(confirm), too, which may cut mail off. Somebody has seen the plan.
    type: bool
    default: false
  acknowledged:
    description: Apply the fixes of these controls although the host's log says that somebody uses what they close.
    type: list
    elements: str
    default: []
  approved:
    description: The digest of the plan that somebody has approved. When the plan is another one now, nothing is changed.
    type: str
    default: ""
  guard_after_s:
    description: With V(0) the change is confirmed at once. Else the host takes it back after so many seconds, unless
      M(mta_transaction) confirms it.
    type: int
    default: 0
  directory:
    description: Where the host keeps snapshots and transactions. Made when missing, with mode 0700.
    type: path
    default: /var/lib/mtaudit
"""

EXAMPLES = r"""
- name: Resolve the catalogue
  mta_catalogue:
    path: checks
    profile: baseline
  register: catalogue
  delegate_to: localhost
  run_once: true

- name: Mend what may be mended unattended
  mta_harden:
    audit:
      name: "{{ inventory_hostname }}"
      selection: "{{ catalogue.selection }}"
    fixes: "{{ catalogue.fixes }}"
"""

RETURN = r"""
plan:
  description: What is changed, and what is left.
  returned: always
  type: dict
  contains:
    digest: {description: The same as long as the plan is. Empty when nothing is to be changed., type: str, returned: always}
    fixes:
      description: What is mended. C(failing) is what fails now, C(left) what of it still fails afterwards,
        C(mended) are the subjects that do not,
        C(shows) what less severe shows then.
      type: list
      elements: dict
      returned: always
    refused: {description: What fails and is left as it is, and C(why)., type: list, elements: dict, returned: always}
    files: {description: The files that change, with their digests., type: list, elements: dict, returned: always}
    services: {description: The units that are told., type: list, elements: dict, returned: always}
dependents:
  description: >-
    Who uses what the plan closes, as the host's own logs of the last 14 days tell: for each control and program the accounts and
    clients found, how far back the log goes, and what it does not tell (C(unknown)).
  returned: always
  type: list
  elements: dict
summary:
  description: The plan as a person reads it, line by line.
  returned: always
  type: list
  elements: str
transaction:
  description: The change, as M(mta_transaction) returns it. Empty when nothing was to be changed, and in check mode.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.mtaudit.audit import InputError
from ansible.module_utils.mtaudit.audit_arguments import ARGUMENTS
from ansible.module_utils.mtaudit.audit_arguments import request_from
from ansible.module_utils.mtaudit.hardening.change import harden
from ansible.module_utils.mtaudit.hardening.wishes import DISRUPTIONS
from ansible.module_utils.mtaudit.hardening.wishes import wishes
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "audit": {"type": "dict", "required": True},
            "fixes": {"type": "list", "elements": "dict", "required": True},
            "only": {"type": "list", "elements": "str", "default": []},
            "max_disruption": {"type": "str", "choices": list(DISRUPTIONS), "default": "medium"},
            "confirmed": {"type": "bool", "default": False},
            "acknowledged": {"type": "list", "elements": "str", "default": []},
            "approved": {"type": "str", "default": ""},
            "guard_after_s": {"type": "int", "default": 0},
            "directory": {"type": "path", "default": "/var/lib/mtaudit"},
        },
        supports_check_mode=True,
    )
    params = module.params
    given = ArgumentSpecValidator(ARGUMENTS).validate(params["audit"])
    if given.error_messages:
        module.fail_json(msg=f"Could not start, audit is wrong: {'; '.join(given.error_messages)}")
    wanted = wishes(params["fixes"], params["only"], params["max_disruption"], params["confirmed"])
    known = (*params["audit"]["selection"], *params["fixes"])
    severities = {entry["id"]: entry["severity"] for entry in known if "severity" in entry}
    store = Store(params["directory"])
    try:
        request = request_from(given.validated_parameters)
    except InputError as exc:
        module.fail_json(msg=f"Could not start the audit: {exc}")
    end(module, lambda: harden(store, LocalRunner(), request, wanted, severities, params["acknowledged"], params["approved"],
                               params["guard_after_s"], module.check_mode))  # fmt: skip


if __name__ == "__main__":
    main()
