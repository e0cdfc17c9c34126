#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_transaction
short_description: Change files of a host, and take the change back unless it is confirmed
version_added: 0.1.0
description:
  - V(begin) keeps the files and services as they are, arms a guard on the host, puts the new files in place, runs O(checks), and
    then tells O(services). When anything of that fails, all is put back as it was, and the module fails with the reason.
  - V(commit) confirms the change. Until then the host takes it back by itself after O(guard_after_s), also when the controller
    is gone or the host was started anew.
  - V(take_back) puts everything back.
  - There is one change at a time. One that a killed run left open keeps others from beginning, until it is confirmed or taken
    back.
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
      - What to do. V(status) says which changes have not ended.
      - V(abandon) ends one and leaves everything as it is, for one that cannot be taken back as a whole.
    type: str
    choices: [begin, commit, take_back, abandon, status]
    required: true
  name:
    description: The transaction, as O(action=begin) returned it. Empty means the one that has not ended.
    type: str
    default: ""
  files:
    description: What the files are to hold. Of a link, what it leads to is changed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The text. Without one, and with O(files[].state=file), only owner and mode are changed.
        type: str
      state:
        description: V(absent) removes the file.
        type: str
        choices: [file, absent]
        default: file
      mode:
        description: The mode, in octal digits. A file that exists keeps its own, a new one gets 0644.
        type: raw
      owner:
        description: Name or number of the owner. A file that exists keeps its own, a new one belongs to root.
        type: str
      group:
        description: Name or number of the group, likewise.
        type: str
      planned_on:
        description: SHA-256 of the content that the change was made from, empty for no file. When somebody has changed the
          file since, nothing is changed.
        type: str
      accounts:
        description: Whether it is a list of accounts, one on each line, named before the first colon, that other programs write,
          too. Such a list is written under the lock of passwd(1), and going back takes only the lines out of it that the change
          put in. The lists of the system, as C(/etc/shadow), are such without saying so.
        type: bool
  checks:
    description: Commands that must succeed with the new files in place, before the services are told. Each is a list of words.
    type: list
    elements: list
    default: []
  services:
    description: The systemd units that use these files, in the order in which they are to be told.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      on_change:
        description: What makes it take changed files into force. Only V(start) brings up a unit that is down, and enables it.
        type: str
        choices: [reload, restart, start]
        default: restart
  reason:
    description: Why the change is made, for O(action=begin), or why it is taken back.
    type: str
    default: ""
  guard_after_s:
    description: Seconds until the host takes the change back unless it was confirmed. V(0) goes without.
    type: int
    default: 900
  directory:
    description: Where the host keeps what it needs. Made when missing, with mode 0700.
    type: path
    default: /var/lib/mtaudit
"""

EXAMPLES = r"""
- name: Let nobody relay by address
  mta_transaction:
    action: begin
    reason: RELAY-01
    files:
      - path: /etc/postfix/mynetworks
        content: "127.0.0.0/8\n[::1]/128\n"
    checks:
      - [postfix, check]
    services:
      - name: postfix
        on_change: reload
  register: change

- name: Look whether mail flows
  ansible.builtin.command: swaks --server {{ inventory_hostname }} --to postmaster@example.org --quit-after RCPT
  delegate_to: outside
  changed_when: false

- name: Keep the change
  mta_transaction:
    action: commit
    name: "{{ change.transaction.name }}"
"""

RETURN = r"""
transaction:
  description: The change. Empty when nothing was to be changed, and in check mode.
  returned: for all but O(action=status)
  type: dict
  contains:
    name: {description: Its name; that of its snapshot is the same., type: str, returned: always}
    phase:
      description: C(prepared), C(changing), C(changed), C(committed), C(taking_back), C(taken_back) or C(abandoned).
      type: str
      returned: always
    reason: {description: Why it is made., type: str, returned: always}
    begun_at: {description: When it began., type: str, returned: always, sample: '2026-11-21T20:45:00Z'}
    until: {description: When the host takes it back. Empty without a guard., type: str, returned: always}
    ended: {description: Why it was taken back., type: str, returned: always}
    problems: {description: What could not be put back., type: list, elements: str, returned: always}
    left:
      description: What others have written into lists of accounts since, and was therefore left. Names of accounts, never hashes.
      type: list
      elements: str
      returned: always
transactions:
  description: Those that have not ended, the oldest first.
  returned: for O(action=status)
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.diff import is_public
from ansible.module_utils.mtaudit.transaction.journal_actions import begin
from ansible.module_utils.mtaudit.transaction.journal_actions import end
from ansible.module_utils.mtaudit.transaction.journal_actions import new_file
from ansible.module_utils.mtaudit.transaction.journal_actions import status
from ansible.module_utils.mtaudit.transaction.places import SnapshotError
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["begin", "commit", "take_back", "abandon", "status"], "required": True},
            "name": {"type": "str", "default": ""},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "no_log": True},
                    "state": {"type": "str", "choices": ["file", "absent"], "default": "file"},
                    "mode": {"type": "raw"},
                    "owner": {"type": "str"},
                    "group": {"type": "str"},
                    "planned_on": {"type": "str"},
                    "accounts": {"type": "bool"},
                },
            },
            "checks": {"type": "list", "elements": "list", "default": []},
            "services": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "on_change": {"type": "str", "choices": ["reload", "restart", "start"], "default": "restart"},
                },
            },
            "reason": {"type": "str", "default": ""},
            "guard_after_s": {"type": "int", "default": 900},
            "directory": {"type": "path", "default": "/var/lib/mtaudit"},
        },
        supports_check_mode=True,
    )
    params, store, runner = module.params, Store(module.params["directory"]), LocalRunner()
    result: dict[str, Any]
    try:
        if params["action"] == "begin":
            files = [new_file(**file) for file in params["files"]]
            # What everybody may read is no secret: its difference may be shown.
            module.no_log_values -= {file["content"] for file in params["files"] if file["content"] and is_public(file["path"])}
            services = [(service["name"], service["on_change"]) for service in params["services"]]
            result = begin(store, runner, files, services, params["reason"], params["checks"], params["guard_after_s"],
                           module.check_mode)  # fmt: skip
        elif params["action"] == "status":
            result = status(store)
        else:
            result = end(store, runner, params["action"], params["name"], params["reason"], module.check_mode)
    except SnapshotError as exc:
        module.fail_json(msg=str(exc))
    if not module._diff:
        result.pop("diff", None)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
