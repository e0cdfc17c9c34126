#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_exim_config
short_description: Change an Exim configuration, if Exim runs with it
version_added: 0.1.0
description:
  - Edits the files that the configuration is made of, those of Debian (split or not) or a single one. What is written already is
    changed in its place; comments and the order of lines stay. What is new goes where Debian keeps it, else into C(90_mtaudit).
  - Refuses where the files do not make what Exim reads now, options that this version of Exim does not have, and statements that
    are not there.
  - Lets C(update-exim4.conf) make the configuration aside, Exim read it, and holds sessions with it on every port, as a stranger
    would, before anything is changed. Where mail for the site would be refused or put off, nothing is.
  - Then changes the files in a transaction, as M(mta_transaction) does. What does not hold is put back.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  platform: {platforms: posix}
options:
  options:
    description: Options of the main part. Null takes one out, so that its default counts.
    type: dict
    default: {}
  lists:
    description: Named lists, as C(hostlist relay_from_hosts).
    type: dict
    default: {}
  drivers:
    description: Options of drivers, as C(authenticators/plain), each a dictionary. Null takes an option out, or the driver.
    type: dict
    default: {}
  acls:
    description: New access control lists by name, each the text of its statements.
    type: dict
    default: {}
  statements:
    description:
      - Changes of statements in access control lists, in this order. A statement is its verb and conditions, a line each, as
        C(exim -bP config) prints it.
    type: list
    elements: dict
    default: []
    suboptions:
      acl:
        description: Name of the access control list.
        type: str
        required: true
      old:
        description: The statement that is changed or removed.
        type: str
        default: ""
      new:
        description: What it becomes; without O(statements[].old), what is added. Empty removes O(statements[].old).
        type: str
        default: ""
      before:
        description: The statement before which O(statements[].new) is added. Without it, it comes first.
        type: str
        default: ""
  macros:
    description: Macros. Those that Debian's configuration asks for go where it reads them first.
    type: dict
    default: {}
  settings:
    description: Settings of Debian's C(update-exim4.conf.conf).
    type: dict
    default: {}
  config_file:
    description: The configuration, where several daemons run, each with its own (C(-C)). Without it, that of the package.
    type: path
  reason:
    description: Why the change is made. Kept with the snapshot.
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
- name: Trust no host but this one, and let nobody ask for accounts
  mta_exim_config:
    lists:
      hostlist relay_from_hosts: "<; 127.0.0.1 ; ::1"
    options:
      acl_smtp_vrfy: null

- name: Refuse who does not log in on the ports for it
  mta_exim_config:
    statements:
      - acl: acl_check_mail
        new: |
          deny
            condition = ${if match{$received_port}{\N^(465|587)$\N}}
            !authenticated = *
            message = authentication required
"""

RETURN = r"""
transaction:
  description: The change, as M(mta_transaction) returns it. Empty when nothing was to be changed, and in check mode.
  returned: always
  type: dict
activate:
  description: What the daemon has to do for it, C(none) or C(reload).
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.configured import change_exim
from ansible.module_utils.mtaudit.transaction.module import ARGUMENTS
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.store import Store

STATEMENT = {
    "acl": {"type": "str", "required": True},
    "old": {"type": "str", "default": ""},
    "new": {"type": "str", "default": ""},
    "before": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "options": {"type": "dict", "default": {}},
            "lists": {"type": "dict", "default": {}},
            "drivers": {"type": "dict", "default": {}},
            "acls": {"type": "dict", "default": {}},
            "statements": {"type": "list", "elements": "dict", "options": STATEMENT, "default": []},
            "macros": {"type": "dict", "default": {}},
            "settings": {"type": "dict", "default": {}},
            "config_file": {"type": "path"},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    store = Store(params.pop("directory"))
    file, reason, guard_s = params.pop("config_file"), params.pop("reason"), params.pop("guard_after_s")
    end(module, lambda: change_exim(store, LocalRunner(), params, file or "", reason, guard_s, module.check_mode))


if __name__ == "__main__":
    main()
