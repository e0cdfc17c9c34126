#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_catalogue
short_description: Check the catalogue and choose the controls of a run
version_added: 0.1.0
description:
  - Runs on the controller, once. Reads all of C(checks/), refuses it with every error that it holds (file, line, what to do), and
    returns what the hosts need of the controls that the profile selects.
  - Checks what the inventory declares about the hosts before anything runs on them, and says for every host what is wrong.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  platform: {platforms: posix}
requirements:
  - PyYAML
options:
  path:
    description: The directory C(checks).
    type: path
    required: true
  profile:
    description: The selection of controls, by the name of its file in C(checks/profiles).
    type: str
    default: baseline
  tunables:
    description: Values for the whole run, by control id and tunable. A host's own values are given to M(mta_audit).
    type: dict
    default: {}
  hosts:
    description:
      - What the inventory declares, by host. Each may hold C(kind), C(waivers), C(tunables), C(answers), C(trusted_networks),
        C(proxies), C(addresses), C(ports), C(local_domains), C(known_recipient), the names of
        the keys of its C(test_login), and of its C(variables).
      - Only checked here; C(host) in C(checks/schema.json) describes the form.
    type: dict
    default: {}
  known_variables:
    description: The variables that a host may set. When given, another name in a host's C(variables) is an error.
    type: list
    elements: str
    default: []
  run_directory:
    description: Write the selected controls in full to C(catalogue.json) in this directory, which is made when missing.
    type: path
"""

EXAMPLES = r"""
- name: Resolve the catalogue
  mta_catalogue:
    path: "{{ playbook_dir }}/../checks"
    profile: baseline
    tunables:
      RELAY-15: {max_proof_age_days: 7}
    hosts:
      mx1.example.org:
        kind: mx
        waivers:
          - {id: RELAY-11, reason: The partner moves in spring, owner: Ada, expires: "2027-03-31"}
  register: catalogue
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
selection:
  description: The selected controls, as O(mta_audit#module:selection) wants them.
  returned: success
  type: list
  elements: dict
  sample:
    - id: RELAY-15
      severity: medium
      components: [os]
      kinds: [mx, submission]
      tunables: {max_proof_age_days: {type: int, value: 31}}
fixes:
  description: Those of them that can be applied, the most severe first, as M(mta_harden) wants them.
  returned: success
  type: list
  elements: dict
  sample:
    - {id: RELAY-02, severity: high, class: confirm, disruption: low, role: mta_relay}
role_variables:
  description: The variables of the roles that are named by an outcome, each with the control and the tunable that it sets.
  returned: success
  type: dict
  sample: {mta_send_limits_max_per_hour: [RATE-01, max_per_hour]}
controls:
  description: How many controls are selected.
  returned: success
  type: int
  sample: 16
digest:
  description: Digest of the files of the catalogue.
  returned: success
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
version:
  description: The version of mtaudit.
  returned: success
  type: str
  sample: 0.1.0
refused:
  description: >-
    The hosts whose inventory variables cannot be used, each with a line for everything that is wrong. They should not be
    audited; the report says why.
  returned: success
  type: dict
  sample: {mx1: ["mta_audit_kidn is not a variable of mtaudit: did you mean mta_audit_kind?"]}
problems:
  description: Everything that is wrong, one line each.
  returned: failure
  type: list
  elements: str
  sample:
    - "checks/relay/RELAY-01.yml:4: severity: must be one of critical, high, medium, low, not the text 'urgent'"
"""

import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.mtaudit import __version__

try:
    from ansible.module_utils.mtaudit.catalogue import CatalogueError
    from ansible.module_utils.mtaudit.catalogue import load_catalogue
    from ansible.module_utils.mtaudit.selection import InventoryError
    from ansible.module_utils.mtaudit.selection import check_run
    from ansible.module_utils.mtaudit.selection import fixes
    from ansible.module_utils.mtaudit.selection import for_report
    from ansible.module_utils.mtaudit.selection import refused_hosts
    from ansible.module_utils.mtaudit.selection import role_variables
    from ansible.module_utils.mtaudit.selection import selection
except ImportError:
    YAML_IMPORT_ERROR = traceback.format_exc()
else:
    YAML_IMPORT_ERROR = ""

from ansible.module_utils.mtaudit.run_directory import write_json


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "profile": {"type": "str", "default": "baseline"},
            "tunables": {"type": "dict", "default": {}},
            "hosts": {"type": "dict", "default": {}},
            "known_variables": {"type": "list", "elements": "str", "default": []},
            "run_directory": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if YAML_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("PyYAML"), exception=YAML_IMPORT_ERROR)
    params = module.params
    profile, tunables = params["profile"], params["tunables"]
    try:
        catalogue = load_catalogue(params["path"])
        check_run(catalogue, profile, tunables)
    except CatalogueError as exc:
        module.fail_json(msg=f"The catalogue has errors:\n{exc}", problems=[str(p) for p in exc.problems])
    except InventoryError as exc:
        module.fail_json(msg=f"The inputs of the run have errors:\n{exc}", problems=list(exc.problems))
    changed = False
    if params["run_directory"] and not module.check_mode:
        path = Path(params["run_directory"]) / "catalogue.json"
        try:
            write_json(path, for_report(catalogue, profile, tunables, __version__))
        except OSError as exc:
            advice = "set mta_report_directory to a directory that can be written and has room"
            module.fail_json(msg=f"Could not write {path}: {exc.strerror}; {advice}", problems=[])
        changed = True
    chosen = selection(catalogue, profile, tunables)
    module.exit_json(
        changed=changed,
        selection=chosen,
        fixes=fixes(catalogue, profile),
        role_variables=role_variables(catalogue),
        controls=len(chosen),
        digest=catalogue.digest,
        version=__version__,
        refused=refused_hosts(catalogue, params["hosts"], params["known_variables"]),
    )


if __name__ == "__main__":
    main()
