#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_listener_probe
short_description: Find out from outside what mail services offer and take, with and without TLS
version_added: 0.1.0
description:
  - Talks to SMTP, IMAP, POP3 and ManageSieve listeners from the host that the task runs on, and asks what they offer before and
    after STARTTLS, whether they ask for a password in clear, whatever they offer, which TLS they speak, whether their certificate
    is good, what VRFY, EXPN, HELP and the greeting tell, and whether a mailbox that does not exist is refused.
  - A login is begun without a word of it and cancelled; a password is sent only where O(auth) gives one.
  - One connection for each listener, one more where its certificate is not trusted by this host, and one in TLS 1.1. At most 2
    connections at a time to one server.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode:
    support: full
    details: Looks as always, but sends no message, as with O(deliver=false).
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  targets:
    description: The servers, one entry for each address or name to connect to; those with the same name are one server.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The server's name in findings. Defaults to the host.
        type: str
      host:
        description: An address, or a name, whose every address is looked at.
        type: str
        required: true
      services:
        description: What listens there.
        type: list
        elements: dict
        default: [{port: 25}]
        suboptions:
          port: {description: The port., type: int, required: true}
          protocol:
            description: What is spoken there.
            type: str
            choices: [smtp, imap, pop3, sieve]
            default: smtp
          tls: {description: TLS from the first byte., type: bool, default: false}
      known_recipient:
        description: >-
          A mailbox that the server has. Without one it stays V(unknown) whether unknown recipients are refused, and often what
          VRFY and EXPN tell.
        type: str
        default: ""
      local_domains:
        description: Domains that the server accepts mail for; a random mailbox is tried in one of them.
        type: list
        elements: str
        default: []
      helo_name:
        description: The name that the server uses for itself; its certificate should carry it.
        type: str
        default: ""
      certificate_names:
        description: >-
          Further names that the certificate may carry. Those in O(targets[].local_domains) may stand in it anyway.
        type: list
        elements: str
        default: []
      certificate_days:
        description: Days that a certificate must still be good for.
        type: int
        default: 14
      untrusted_certificate_fails:
        description: Whether a certificate that this host does not trust (self-signed, or by a private authority) is a failure.
        type: bool
        default: true
  sender:
    description: Envelope sender; its domain must be yours and exist. A token is added to its local part, behind a C(+).
    type: str
    required: true
  canary:
    description: >-
      A mailbox on a sink that you own. Each SMTP listener is asked, without a message, whether it takes mail for it from
      strangers. Without one, line ends are not tried.
    type: str
    default: ""
  deliver:
    description: >-
      Send one message to O(canary) from each listener that takes a test login, to see whether it ends at a bare line feed.
    type: bool
    default: true
  vantage:
    description: Where this host stands, seen from the targets.
    type: str
    choices: [stranger, neighbour, inside, local]
    default: stranger
  auth:
    description: >-
      Test logins. Each is used at most once on a listener, and not again after it was refused. Without them no password is sent.
    type: list
    elements: dict
    default: []
    suboptions:
      target: {description: The name of the target., type: str, required: true}
      username: {description: The login., type: str, required: true}
      password: {description: Its password., type: str, required: true}
      sender:
        description: The login's own address. Made from the username and the first local domain when empty.
        type: str
        default: ""
      other_sender: {description: Not used here; see M(mta_relay_probe)., type: str, default: ""}
      cleartext:
        description: >-
          Send the password even without TLS, to listeners that ask for it there. Use a canary account: whoever listens in has it.
        type: bool
        default: false
  helo:
    description: The name to say in EHLO. Defaults to this host's fully qualified name.
    type: str
    default: ""
  concurrency:
    description: Listeners looked at at the same time.
    type: int
    default: 100
  per_server:
    description: Connections at a time to one server, 1 or 2.
    type: int
    default: 2
  timeout_s:
    description: Seconds for the whole call. What was found out until then is returned.
    type: float
    default: 900
  target_timeout_s:
    description: Seconds for each listener, without the wait for its turn.
    type: float
    default: 120
  tag:
    description: What random mailboxes and tokens begin with.
    type: str
    default: mtaudit
"""

EXAMPLES = r"""
- name: Look at the listeners of a server from outside
  mta_listener_probe:
    targets:
      - name: mx1
        host: mx1.example.org
        services:
          - {port: 25}
          - {port: 465, tls: true}
          - {port: 143, protocol: imap}
        known_recipient: postmaster@example.org
        local_domains: [example.org]
    sender: probe@probe.example.net
  delegate_to: vantage.example.net
"""

RETURN = r"""
findings:
  description: For each listener, named C(ADDRESS:PORT), one for each control that it is concerned by.
  returned: success
  type: list
  elements: dict
  sample:
    - control: AUTH-01
      subject: {kind: listener, name: "198.51.100.41:587"}
      status: pass
      method: probe
      message: takes no password without TLS, offered or not (seen from vantage stranger)
      target: mx1
listeners:
  description: What each listener showed.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: The target's name., type: str, returned: always}
    host: {description: The address., type: str, returned: always}
    port: {description: The port., type: int, returned: always}
    protocol: {description: What is spoken there., type: str, returned: always}
    implicit_tls: {description: TLS from the first byte., type: bool, returned: always}
    listener: {description: Address and port as findings name them., type: str, returned: always}
    reason: {description: Why not everything could be asked., type: str, returned: always}
    banner: {description: The greeting., type: str, returned: when tried}
    before_tls: {description: Capabilities and mechanisms in clear., type: dict, returned: when tried}
    inside_tls: {description: Those inside TLS., type: dict, returned: when tried}
    login_in_clear: {description: "taken, asked, refused or unknown, and the answer.", type: dict, returned: when tried}
    recipients: {description: "Answers for a known and a random mailbox, and others.", type: dict, returned: when tried}
    vrfy: {description: The same for VRFY., type: dict, returned: when tried}
    expn: {description: The same for EXPN., type: dict, returned: when tried}
    help: {description: The answer to HELP., type: str, returned: when tried}
    line_ends:
      description: "Whether a bare line feed ends a message: taken, refused, ignored or unknown."
      type: dict
      returned: when tried
    tls:
      description: Version, cipher, certificate, whether this host trusts it, and whether older TLS is taken.
      type: dict
      returned: when tried
    troubles: {description: Connections that ended early., type: list, elements: str, returned: when tried}
    source_address: {description: Our own address., type: str, returned: when tried}
    costs:
      description: "What it cost the server: connections, errors, logins, messages, bytes sent."
      type: dict
      returned: when tried
    dialogue: {description: What was said, redacted and bounded., type: list, elements: str, returned: when tried}
vantage:
  description: Where the probe stood.
  returned: success
  type: str
notes:
  description: What was not asked, and why.
  returned: success
  type: list
  elements: str
worst_connections_at_a_time:
  description: The most connections that were open to one server at the same time.
  returned: success
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.services.arguments import PROTOCOLS
from ansible.module_utils.mtaudit.services.arguments import request_from
from ansible.module_utils.mtaudit.services.probe import run
from ansible.module_utils.mtaudit.smtp.values import ArgumentError
from ansible.module_utils.mtaudit.smtp.values import VANTAGES

SERVICE = {
    "port": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "smtp"},
    "tls": {"type": "bool", "default": False},
}
TARGET = {
    "name": {"type": "str"},
    "host": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "dict", "default": [{"port": 25}], "options": SERVICE},
    "known_recipient": {"type": "str", "default": ""},
    "local_domains": {"type": "list", "elements": "str", "default": []},
    "helo_name": {"type": "str", "default": ""},
    "certificate_names": {"type": "list", "elements": "str", "default": []},
    "certificate_days": {"type": "int", "default": 14},
    "untrusted_certificate_fails": {"type": "bool", "default": True},
}
LOGIN = {
    "target": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "sender": {"type": "str", "default": ""},
    "other_sender": {"type": "str", "default": ""},
    "cleartext": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "dict", "required": True, "options": TARGET},
            "sender": {"type": "str", "required": True},
            "canary": {"type": "str", "default": ""},
            "deliver": {"type": "bool", "default": True},
            "vantage": {"type": "str", "choices": list(VANTAGES), "default": "stranger"},
            # Only the password is kept out of logs and results: a masked username would be cut out of every address as well.
            "auth": {"type": "list", "elements": "dict", "default": [], "no_log": False, "options": LOGIN},
            "helo": {"type": "str", "default": ""},
            "concurrency": {"type": "int", "default": 100},
            "per_server": {"type": "int", "default": 2},
            "timeout_s": {"type": "float", "default": 900},
            "target_timeout_s": {"type": "float", "default": 120},
            "tag": {"type": "str", "default": "mtaudit"},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    if module.check_mode:
        params["deliver"] = False
    try:
        request = request_from(params)
    except ArgumentError as exc:
        module.fail_json(msg=f"The listener probe could not start: {exc}")
    module.exit_json(changed=False, vantage=params["vantage"], **run(request))


if __name__ == "__main__":
    main()
