#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_snapshot
short_description: Keep files of a host as they are, and put them back to the byte
version_added: 0.1.0
description:
  - Keeps content, owner, mode, time, link target, access control list and SELinux label of each path, and whether the services
    that use them are up and enabled. A path that holds nothing is kept as that; of a link also what it leads to is kept; of a
    directory everything in it, but not what links in it lead to.
  - Snapshots stay on the host, in a directory that only root may enter.
  - Before anything is put back, what is there is kept in a snapshot of its own. Going back can so be taken back.
  - Of a list of accounts that a change of ours wrote, such as C(/etc/shadow), only what that change made otherwise goes back,
    under the lock of passwd(1). What others wrote since stays; a warning names what was left, and other files that others wrote.
  - Nothing is put back from a snapshot that is damaged.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode:
    support: full
    details: The text of a file is shown only where everybody on the host may read it.
  platform: {platforms: posix}
options:
  action:
    description:
      - V(take) keeps O(paths).
      - V(restore) puts back the snapshot O(name), and makes O(services) as they were.
      - V(compare) says what is not as it was in O(name).
      - V(list) names all snapshots, the newest first.
      - V(remove) removes O(name).
    type: str
    choices: [take, restore, compare, list, remove]
    required: true
  name:
    description: The snapshot. V(latest) is the newest one that was not taken by O(action=restore), so that to restore twice
      changes nothing.
    type: str
    default: latest
  paths:
    description: Absolute paths of files, directories and links, for O(action=take).
    type: list
    elements: str
    default: []
  services:
    description: The systemd units that use these files, in the order in which they are to be put right.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      on_change:
        description: What makes it take changed files into force. A unit that was down is never started.
        type: str
        choices: [reload, restart]
        default: restart
  reason:
    description: Why it is taken. Listed with it.
    type: str
    default: ""
  keep:
    description: How many snapshots to keep at least. O(action=take) removes older ones that are also past O(keep_days).
    type: int
    default: 10
  keep_days:
    description: For how many days to keep every snapshot.
    type: float
    default: 90
  directory:
    description: Where the host keeps them. Made when missing, with mode 0700.
    type: path
    default: /var/lib/mtaudit
"""

EXAMPLES = r"""
- name: Keep Postfix as it is
  mta_snapshot:
    action: take
    paths: [/etc/postfix, /etc/aliases, /etc/aliases.db]
    services:
      - name: postfix
    reason: before the move to new relays

- name: Go back to the newest snapshot
  mta_snapshot:
    action: restore
"""

RETURN = r"""
snapshot:
  description: The snapshot that was taken or put back. In check mode O(action=take) returns none.
  returned: for all but O(action=list)
  type: dict
  contains:
    name: {description: Its name., type: str, returned: always}
    taken_at: {description: When it was taken, type: str, returned: always, sample: '2026-11-21T20:45:00Z'}
    reason: {description: Why., type: str, returned: always}
    files: {description: How many paths it knows., type: int, returned: always}
    size_bytes: {description: Size of their content., type: int, returned: always}
snapshots:
  description: All of them, the newest first. One that cannot be read has C(problem) instead of its contents.
  returned: for O(action=list)
  type: list
  elements: dict
differences:
  description: What is not as it was in the snapshot (O(action=compare)), or was not before it was put back (O(action=restore)).
  returned: for O(action=compare) and O(action=restore)
  type: list
  elements: dict
  contains:
    path: {description: The path., type: str, returned: always}
    differs:
      description: In what; C(content), C(owner), C(mode), C(target), C(attributes), C(missing), C(new), or C(a link)
        and the like.
      type: list
      elements: str
      returned: always
before:
  description: Name of the snapshot that was taken before; putting that back takes this back.
  returned: for O(action=restore), when something was changed
  type: str
removed:
  description: Names of the snapshots that were removed.
  returned: for O(action=take) and O(action=remove)
  type: list
  elements: str
left_out:
  description: Sockets, pipes and devices in a directory that was kept.
  returned: for O(action=take)
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.places import SnapshotError
from ansible.module_utils.mtaudit.transaction.snapshot_actions import compare
from ansible.module_utils.mtaudit.transaction.snapshot_actions import every
from ansible.module_utils.mtaudit.transaction.snapshot_actions import put_back
from ansible.module_utils.mtaudit.transaction.snapshot_actions import remove
from ansible.module_utils.mtaudit.transaction.snapshot_actions import take
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["take", "restore", "compare", "list", "remove"], "required": True},
            "name": {"type": "str", "default": "latest"},
            "paths": {"type": "list", "elements": "str", "default": []},
            "services": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "on_change": {"type": "str", "choices": ["reload", "restart"], "default": "restart"},
                },
            },
            "reason": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 10},
            "keep_days": {"type": "float", "default": 90},
            "directory": {"type": "path", "default": "/var/lib/mtaudit"},
        },
        supports_check_mode=True,
    )
    params, store, runner = module.params, Store(module.params["directory"]), LocalRunner()
    result: dict[str, Any]
    try:
        if params["action"] == "take":
            services = [(service["name"], service["on_change"]) for service in params["services"]]
            result = take(store, runner, params["paths"], services, params["reason"], params["keep"], params["keep_days"],
                          module.check_mode)  # fmt: skip
        elif params["action"] == "restore":
            result = put_back(store, runner, params["name"], module.check_mode)
        elif params["action"] == "compare":
            result = compare(store, params["name"])
        elif params["action"] == "remove":
            result = remove(store, params["name"], module.check_mode)
        else:
            result = every(store)
    except SnapshotError as exc:
        module.fail_json(msg=str(exc))
    if not module._diff:
        result.pop("diff", None)
    problems = result.pop("problems", [])
    if problems:
        module.fail_json(msg="; ".join(problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
