#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_guessing_drill
short_description: Find out whether who guesses passwords is blocked
version_added: 0.1.0
description:
  - Runs on a vantage. Gives wrong passwords of a throw-away account to a mail server (SMTP, IMAP, POP3), from an address that is
    used for nothing else, until no connection is taken any more or the budget is spent.
  - Then which ports of mail that address reaches while another one does, and how long it stays so.
  - With O(spread_addresses) the same from several addresses, each too seldom to be blocked, and whether the account's right
    password is still taken.
  - The addresses are blocked afterwards, for as long as the server does, and so may the account be.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode:
    support: partial
    details: Nothing is tried, and nothing is measured.
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  addresses:
    description: Addresses of the server, one of each family. One without a source of its family is not asked.
    type: list
    elements: str
    required: true
  account:
    description: The throw-away account, which nobody uses.
    type: dict
    required: true
    suboptions:
      username: {description: Name to log in with., type: str, required: true}
      password: {description: "Its right password, which tells whether the account is braked.", type: str, default: ""}
  source_addresses:
    description: Addresses of this vantage that guess, one of each family, and that are used for nothing else.
    type: list
    elements: str
    required: true
  control_addresses:
    description: Other addresses of it, one of each family, which must get in all the while. Defaults to what the system chooses.
    type: list
    elements: str
    default: []
  spread_addresses:
    description: Further addresses of it, from which one account is guessed together.
    type: list
    elements: str
    default: []
  spread_each: {description: "How often each of these guesses: less than what blocks.", type: int, default: 3}
  ports:
    description: Where passwords are guessed, in turn.
    type: list
    elements: int
    default: [587, 465, 25, 143, 993, 110, 995]
  attempts: {description: Wrong passwords that each source may give., type: int, default: 30}
  watch_s: {description: "How long a blocked source is watched, in seconds.", type: int, default: 900}
  helo: {description: Name to say in EHLO., type: str, default: ""}
"""

EXAMPLES = r"""
- name: Find out whether who guesses passwords is blocked
  mta_guessing_drill:
    addresses: [198.51.100.41, "2001:db8:51::41"]
    source_addresses: [198.19.0.70, "2001:db8:19::70"]
    account: {username: drill@example.org, password: "{{ drill_password }}"}
    spread_addresses: [198.19.0.71, 198.19.0.72, 198.19.0.73]
  delegate_to: stranger
"""

RETURN = r"""
ways: {description: What each source saw., type: list, elements: dict, returned: always}
spread: {description: What was seen from several addresses., type: dict, returned: always}
findings: {description: What it says of AUTH-06., type: list, elements: dict, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.address import parse_address
from ansible.module_utils.mtaudit.credentials.guessing_drill import MAIL_PORTS
from ansible.module_utils.mtaudit.credentials.guessing_drill import DrillError
from ansible.module_utils.mtaudit.credentials.guessing_drill import Request
from ansible.module_utils.mtaudit.credentials.guessing_drill import Way
from ansible.module_utils.mtaudit.credentials.guessing_drill import drill
from ansible.module_utils.mtaudit.credentials.guessing_drill import plain
from ansible.module_utils.mtaudit.credentials.guessing_verdict import judged
from ansible.module_utils.mtaudit.smtp.values import own_name

MOST = {"attempts": 1000, "spread_each": 100, "watch_s": 86_400}


def main() -> None:
    account = {"username": {"type": "str", "required": True}, "password": {"type": "str", "default": "", "no_log": True}}
    module = AnsibleModule(
        argument_spec={
            "addresses": {"type": "list", "elements": "str", "required": True},
            "account": {"type": "dict", "required": True, "options": account},
            "source_addresses": {"type": "list", "elements": "str", "required": True},
            "control_addresses": {"type": "list", "elements": "str", "default": []},
            "spread_addresses": {"type": "list", "elements": "str", "default": []},
            "spread_each": {"type": "int", "default": 3},
            "ports": {"type": "list", "elements": "int", "default": [587, 465, 25, 143, 993, 110, 995]},
            "attempts": {"type": "int", "default": 30},
            "watch_s": {"type": "int", "default": 900},
            "helo": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        request = request_from(module.params)
        if module.check_mode:
            module.exit_json(changed=False, ways=[], spread=None, findings=[])
        found = drill(request)
    except (DrillError, ValueError) as exc:
        module.fail_json(msg=f"The drill could not begin: {exc}")
    module.exit_json(changed=False, **plain(found), findings=[finding.to_dict() for finding in judged(request, found)])


def request_from(params: dict) -> Request:
    """Raises DrillError, or ValueError for what is no address."""
    for name, most in MOST.items():
        if not 0 < params[name] <= most:
            raise DrillError(f"{name} takes 1 to {most}, not {params[name]}")
    strange = [str(port) for port in params["ports"] if port not in MAIL_PORTS]
    if strange or not params["ports"]:
        raise DrillError(f"ports takes {', '.join(map(str, sorted(MAIL_PORTS)))}, not {', '.join(strange) or 'nothing'}")
    sources, controls = (_by_family(params[name], name) for name in ("source_addresses", "control_addresses"))
    servers = _by_family(params["addresses"], "addresses")
    ways = tuple(Way(servers[family], sources[family], controls.get(family, "")) for family in sources if family in servers)
    if not ways:
        raise DrillError("source_addresses has none of the family of an address of the server")
    account, helo = params["account"], params["helo"] or own_name()
    return Request(ways, account["username"], account["password"], tuple(params["ports"]), params["attempts"], params["watch_s"],
                   tuple(params["spread_addresses"]), params["spread_each"], helo)  # fmt: skip


def _by_family(addresses: list, name: str) -> dict:
    found = {parse_address(each).version: each for each in addresses}
    if len(found) < len(addresses):
        raise DrillError(f"{name} takes one address of each family, not {', '.join(addresses)}")
    return found


if __name__ == "__main__":
    main()
