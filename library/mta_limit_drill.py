#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_limit_drill
short_description: Find out how much an account may really send
version_added: 0.1.0
description:
  - Runs on a vantage. Logs in to a mail server with a throw-away account and sends messages to the canary, one after the other,
    until one is refused or the budget is spent.
  - Then, with what is left of the budget, whether a role address among the recipients or the login in other letters gets by, and
    whether another account still sends.
  - The account has used up its limit afterwards. A message goes only to the canary and to O(role), and says what it is.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode:
    support: partial
    details: Nothing is sent, and nothing is measured.
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  host: {description: Address of the server., type: str, required: true}
  port: {description: "587, or 465, which speaks TLS from the first byte.", type: int, default: 587}
  login:
    description: The account. O(login.sender) is its own address.
    type: dict
    required: true
    suboptions:
      username: {description: Name to log in with., type: str, required: true}
      password: {description: Its password., type: str, required: true}
      sender: {description: Its own address. Defaults to a username that is one., type: str, default: ""}
  other:
    description: A second account, which must not be touched by the limit of the first.
    type: dict
    suboptions:
      username: {description: Name to log in with., type: str, required: true}
      password: {description: Its password., type: str, required: true}
      sender: {description: Its own address. Defaults to a username that is one., type: str, default: ""}
  domain: {description: "Domain of the accounts' own addresses, where none is given.", type: str, default: ""}
  canary: {description: The canary's address., type: str, required: true}
  role: {description: A role address at the canary's domain that may get a message., type: str, default: ""}
  messages: {description: Messages that may be sent in all., type: int, default: 20}
  recipients: {description: How often the canary is named in each message., type: int, default: 1}
  max_per_hour: {description: "What an account may send within an hour. V(0): not known.", type: int, default: 0}
  helo: {description: Name to say in EHLO., type: str, default: ""}
"""

EXAMPLES = r"""
- name: Find out how much an account may send
  mta_limit_drill:
    host: 198.51.100.41
    login: {username: drill@example.org, password: "{{ drill_password }}"}
    canary: canary@example.net
    messages: 60
    max_per_hour: 50
  delegate_to: stranger
"""

RETURN = r"""
passed: {description: Recipients that were taken., type: int, returned: always}
messages: {description: Messages that were taken., type: int, returned: always}
refusal: {description: What the server said to the first that was not. Empty when none was refused., type: str, returned: always}
problem: {description: Why the drill ended early., type: str, returned: always}
role: {description: A message that was for the role address as well., type: dict, returned: always}
other_case: {description: One with the login in other letters., type: dict, returned: always}
other_account: {description: One of the other account., type: dict, returned: always}
findings: {description: What it says of RATE-01., type: list, elements: dict, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.smtp.limit_drill import Request
from ansible.module_utils.mtaudit.smtp.limit_drill import drill
from ansible.module_utils.mtaudit.smtp.values import ArgumentError
from ansible.module_utils.mtaudit.smtp.values import address
from ansible.module_utils.mtaudit.smtp.values import login_from
from ansible.module_utils.mtaudit.smtp.values import own_name

LOGIN = {
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "sender": {"type": "str", "default": ""},
}
TLS_PORT = 465


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 587},
            "login": {"type": "dict", "required": True, "options": LOGIN},
            "other": {"type": "dict", "options": LOGIN},
            "domain": {"type": "str", "default": ""},
            "canary": {"type": "str", "required": True},
            "role": {"type": "str", "default": ""},
            "messages": {"type": "int", "default": 20},
            "recipients": {"type": "int", "default": 1},
            "max_per_hour": {"type": "int", "default": 0},
            "helo": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        canary, role = address(params["canary"], "canary"), params["role"]
        if role and address(role, "role").rpartition("@")[2] != canary.rpartition("@")[2]:
            raise ArgumentError(f"role: {role} is not at the canary's domain")
        for name in ("messages", "recipients"):
            if not 0 < params[name] <= 1000:
                raise ArgumentError(f"{name} takes 1 to 1000, not {params[name]}")
        login, other = (login_from(params[name], params["host"], "", (params["domain"],)) if params[name] else None
                        for name in ("login", "other"))
        request = Request(params["host"], params["port"], login, canary, params["helo"] or own_name(), params["messages"],
                          params["recipients"], params["max_per_hour"], other, role, params["port"] == TLS_PORT)  # fmt: skip
    except ArgumentError as exc:
        module.fail_json(msg=f"The drill could not begin: {exc}")
    if module.check_mode:
        module.exit_json(changed=False, passed=0, messages=0, refusal="", problem="Nothing is sent in check mode.", role=None,
                         other_case=None, other_account=None, findings=[])  # fmt: skip
    module.exit_json(changed=False, **drill(request))


if __name__ == "__main__":
    main()
