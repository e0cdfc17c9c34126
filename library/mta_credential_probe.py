#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_credential_probe
short_description: Find out whether services of the network still take the credentials that their vendor ships
version_added: 0.1.0
description:
  - Tries, from the host that the task runs on, logins that must not work, at services that the inventory lists and that somebody
    agreed to, within a budget that no account is locked by. Nothing is done with a login that works; it is ended at once.
  - First each service is asked without a login, then with one that nobody has. Where that gets in, no other is tried.
  - Each attempt is written into O(state) on this host before it is made. What was refused is not asked again for 30 days, so that
    within some days each credential was tried, however many there are.
  - A target that stops answering, or puts us off, is left alone for a day; what was not answered is V(unknown).
  - No password is in a result. The credentials of vendors are part of the module, each with the document that names it.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode:
    support: full
    details: Tries nothing, writes nothing, and says what it would try.
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  targets:
    description: The hosts and devices. Entries with the same name are one target, with one budget.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The target's name in findings. Defaults to the host.
        type: str
      host:
        description: Its address or name.
        type: str
        default: ""
      consent:
        description: >-
          Who agreed that logins are tried here, and on which day, as C(2026-11-23). Without it nothing is tried, and a finding
          says so.
        type: str
        default: ""
      lockout:
        description: >-
          Failed logins after which the target shuts a client out; one less are made in a day, with V(1) none. V(0) where it is
          not known.
        type: int
        default: 0
      services:
        description: Where logins are tried.
        type: list
        elements: dict
        default: []
        suboptions:
          protocol:
            description: What is spoken there; docs/default-credentials.md lists what is known.
            type: str
            required: true
          port: {description: The port. Defaults to the protocol's usual one., type: int}
          tls: {description: TLS from the first byte. Defaults to what is usual at the port., type: bool}
          address: {description: "Its address, if that is another than the target's.", type: str}
          vendors:
            description: >-
              Whose credentials are tried. Without any, some that are common everywhere. docs/default-credentials.md lists all.
            type: list
            elements: str
            default: []
          options:
            description: >-
              What the protocol needs to know: C(path), C(host) and C(protected) of HTTP (whether its page lies behind the login),
              C(database) of PostgreSQL.
            type: dict
            default: {}
  own:
    description: Credentials that the site hands out, and that must not work for ever. They are tried at every service listed.
    type: list
    elements: dict
    default: []
    suboptions:
      label:
        description: What findings and O(state) call the password; another password has another label.
        type: str
        required: true
      username: {description: The account. Empty where no name is asked for., type: str, default: ""}
      password: {description: The password., type: str, required: true}
      protocols: {description: The protocols that it is for; all without any., type: list, elements: str, default: []}
  vantage:
    description: Where this host stands, seen from the targets.
    type: str
    choices: [stranger, neighbour, inside, local]
    default: stranger
  per_account:
    description: Passwords tried at one account of a target in 24 hours. More than 3 is a failure of AUTH-07.
    type: int
    default: 3
  per_service:
    description: Passwords tried at one service in 24 hours. More than 2 is a failure of AUTH-07.
    type: int
    default: 2
  pause_s:
    description: Seconds between two logins at one service.
    type: float
    default: 5
  concurrency:
    description: Targets at a time. The services of one target are tried one after the other.
    type: int
    default: 10
  attempt_timeout_s:
    description: Seconds for each attempt. Dovecot lets a client that failed often wait for 17.
    type: float
    default: 30
  timeout_s:
    description: Seconds for the whole call, after which no attempt begins.
    type: float
    default: 1800
  state:
    description: The record of attempts on this host. It must be nobody else's to read or to write.
    type: path
    default: /var/lib/mtaudit/credentials.jsonl
"""

EXAMPLES = r"""
- name: See whether the router still has its vendor's password
  mta_credential_probe:
    targets:
      - name: router1
        host: 198.51.100.1
        consent: J. Doe, head of IT, 2026-11-23
        services:
          - {protocol: ssh, vendors: [mikrotik]}
          - {protocol: snmp}
    vantage: inside
  delegate_to: vantage.example.net
"""

RETURN = r"""
findings:
  description: >-
    For each service, named C(ADDRESS:PORT) and by its options, one for CRED-01 and, of a mail service, for AUTH-04; for each
    target one for AUTH-07.
  returned: success
  type: list
  elements: dict
  sample:
    - control: CRED-01
      subject: {kind: listener, name: "198.51.100.1:22"}
      status: fail
      method: probe
      message: "ssh: mikrotik's 'admin' gets in (seen from vantage inside)"
      target: router1
attempts:
  description: Every attempt of this call.
  returned: success
  type: list
  elements: dict
  contains:
    when: {description: The time in UTC., type: str, returned: always}
    from: {description: The address that it came from., type: str, returned: always}
    target: {description: The target's name., type: str, returned: always}
    service: {description: "Protocol, listener and options.", type: str, returned: always}
    account: {description: The user name., type: str, returned: always}
    credential: {description: "The id of the credential, C((random)) or C((no login)).", type: str, returned: always}
    outcome: {description: "accepted, refused, put_off, shut or unasked.", type: str, returned: always}
consents:
  description: By target, who agreed.
  returned: success
  type: dict
vantage:
  description: Where the probe stood.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.credentials.arguments import ArgumentError
from ansible.module_utils.mtaudit.credentials.arguments import request_from
from ansible.module_utils.mtaudit.credentials.client import PORTS
from ansible.module_utils.mtaudit.credentials.client import try_login
from ansible.module_utils.mtaudit.credentials.ledger import STATE
from ansible.module_utils.mtaudit.credentials.ledger import LedgerError
from ansible.module_utils.mtaudit.credentials.probe import run

SERVICE = {
    "protocol": {"type": "str", "required": True},
    "port": {"type": "int"},
    "tls": {"type": "bool"},
    "address": {"type": "str"},
    "vendors": {"type": "list", "elements": "str", "default": []},
    "options": {"type": "dict", "default": {}},
}
TARGET = {
    "name": {"type": "str"},
    "host": {"type": "str", "default": ""},
    "consent": {"type": "str", "default": ""},
    "lockout": {"type": "int", "default": 0},
    "services": {"type": "list", "elements": "dict", "default": [], "options": SERVICE},
}
OWN = {
    "label": {"type": "str", "required": True},
    "username": {"type": "str", "default": ""},
    "password": {"type": "str", "required": True, "no_log": True},
    "protocols": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "dict", "required": True, "options": TARGET},
            "own": {"type": "list", "elements": "dict", "default": [], "options": OWN},
            "vantage": {"type": "str", "choices": ["stranger", "neighbour", "inside", "local"], "default": "stranger"},
            "per_account": {"type": "int", "default": 3},
            "per_service": {"type": "int", "default": 2},
            "pause_s": {"type": "float", "default": 5},
            "concurrency": {"type": "int", "default": 10},
            "attempt_timeout_s": {"type": "float", "default": 30},
            "timeout_s": {"type": "float", "default": 1800},
            "state": {"type": "path", "default": STATE},
        },
        supports_check_mode=True,
    )
    try:
        result = run(request_from({**module.params, "dry": module.check_mode}, PORTS), try_login)
    except (ArgumentError, LedgerError) as exc:
        module.fail_json(msg=f"The credential probe could not start: {exc}")
    module.exit_json(changed=False, vantage=module.params["vantage"], **result)


if __name__ == "__main__":
    main()
