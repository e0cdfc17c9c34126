#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_relay_split
short_description: Part the queue of Postfix or Exim into one for what comes in and one for what leaves
version_added: 0.1.0
description:
  - V(split) makes a second instance on the host, which sends for logins and networks. The first one keeps its queue, takes what
    strangers send for the site, and gives everything else to the second. V(join) makes one of both again, with the mail of both.
  - V(inbound) and V(outbound) leave one of the two sides on a host, and give the rest to the hosts O(other).
  - Both configurations are made on copies and read by the program itself. Every C(smtpd) of Postfix is started once, and Exim
    holds a session with each. Then the change is made as M(mta_transaction) does. What does not hold is put back, and mail in a
    queue that goes is given to the one that stays.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  platform: {platforms: posix}
options:
  action:
    description: What the host is to be.
    type: str
    choices: [split, join, inbound, outbound]
    required: true
  instance:
    description: Name of the second instance, C(postfix-) or C(exim-) and letters or digits. Empty means V(postfix-out) or
      V(exim-out).
    type: str
    default: ""
  outbound_port:
    description: Port where the outbound side takes mail of the inbound one, on the loopback or from O(other).
    type: int
    default: 10587
  inbound_port:
    description: Port where the inbound side takes mail of the outbound one, on the loopback or from O(other).
    type: int
    default: 10588
  listen:
    description: Where the outbound instance takes mail of O(networks), as C(address:port).
    type: list
    elements: str
    default: []
  networks:
    description: Who may send without a login. Without it, who may now.
    type: list
    elements: str
  inbound_addresses:
    description: The addresses that the inbound instance takes strangers' mail at. Empty means as now.
    type: list
    elements: str
    default: []
  other:
    description: Addresses of the hosts of the other side, for O(action=inbound) and O(action=outbound). Mail goes to the first
      that answers, and is taken from all.
    type: list
    elements: str
    default: []
  acknowledged:
    description: With V(inbound) and V(outbound), that whoever comes to this host for what it does not do any more has somewhere
      else to go, logins and clients, or the MX records of its domains. Without, a host that takes such mail is left alone.
    type: bool
    default: false
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
- name: Give what leaves a queue of its own
  mta_relay_split:
    action: split
    networks: [198.51.100.0/24]
    listen: ['198.51.100.41:2525']

- name: Take strangers' mail alone
  mta_relay_split:
    action: inbound
    other: [198.51.100.42]
"""

RETURN = r"""
needed:
  description: Whether the host is not yet as O(action) says.
  returned: always
  type: bool
transaction:
  description: The change, as M(mta_transaction) returns it. Empty when nothing was to be changed, and in check mode.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.config.split import Split
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.module import ARGUMENTS
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.split import change
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    several: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["split", "join", "inbound", "outbound"], "required": True},
            "instance": {"type": "str", "default": ""},
            "outbound_port": {"type": "int", "default": 10587},
            "inbound_port": {"type": "int", "default": 10588},
            "listen": several,
            "networks": {"type": "list", "elements": "str"},
            "inbound_addresses": several,
            "other": several,
            "acknowledged": {"type": "bool", "default": False},
            **ARGUMENTS,
        },
        required_if=[("action", "inbound", ["other"]), ("action", "outbound", ["other"])],
        supports_check_mode=True,
    )
    params = dict(module.params)
    action, reason, guard_after_s, store = (params.pop(name) for name in ("action", "reason", "guard_after_s", "directory"))
    wanted = Split(**{name: tuple(value) if isinstance(value, list) else value for name, value in params.items()})
    end(module, lambda: change(Store(store), LocalRunner(), action, wanted, reason, guard_after_s, module.check_mode))


if __name__ == "__main__":
    main()
