#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_relay_probe
short_description: Find out from outside whether mail servers relay for strangers, and prove it
version_added: 0.1.0
description:
  - Talks SMTP to every listener of the targets, from the host that the task runs on, and tries more than twenty envelopes that
    open relays accept. A listener that accepts one is sent one message to the canary; only its arrival is proof.
  - Recipients are only the canary, the declared known recipients, and random mailboxes at the declared local domains. No message
    is sent to anybody but the canary.
  - At most 8 errors a connection and 2 connections at a time to one server; a class of hole stops at its first accepted
    recipient.
  - C(docs/verdicts.md) says what each verdict means and when it is given.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode:
    support: full
    details: Probes as always, but sends no message, as with O(deliver=false).
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  targets:
    description: The servers to probe, one entry for each address or name to connect to; those with the same name are one server.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The server's name in findings. Defaults to the host.
        type: str
      host:
        description: An address, or a name, whose every address is probed.
        type: str
        required: true
      ports:
        description: The ports to probe.
        type: list
        elements: int
        default: [25]
      implicit_tls_ports:
        description: Those of the ports that speak TLS from the first byte.
        type: list
        elements: int
        default: [465]
      known_recipient:
        description: >-
          A mailbox that the server has. Without one, only a refusal that says in words that the server does not relay counts as
          V(closed); any other refusal is V(unknown), because the server may refuse everything.
        type: str
        default: ""
      local_domains:
        description: >-
          Domains that the server accepts mail for. Without one, no random mailbox is tried, so a server that accepts everything
          is not told from an open relay unless a message is delivered, and only the server's own name and address serve as local
          senders.
        type: list
        elements: str
        default: []
      helo_name:
        description: >-
          The name that the server uses for itself. Without it, the name in its greeting stands in envelopes only where it lies
          in one of O(targets[].local_domains).
        type: str
        default: ""
      protect_local_recipients:
        description: >-
          Also ask whether a stranger's mail with a sender in one of O(targets[].local_domains) is taken for
          O(targets[].known_recipient). It stops at RCPT. Not asked on ports 465 and 587, and not without both of these.
        type: bool
        default: false
  sender:
    description: >-
      Envelope sender; its domain must be yours, exist, and not be local to a target. A token is added to its local part, behind a
      C(+), by which the server's log can be searched.
    type: str
    required: true
  canary:
    description: A mailbox on a sink that you own, foreign to every target.
    type: str
    required: true
  canary_check:
    description: >-
      How to ask the sink whether a token arrived: exactly one of the ways below. Without it no message is sent, and an open relay
      is V(accepts), unconfirmed.
    type: dict
    suboptions:
      url:
        description: A page about one token, C(http://sink.example.org:8025/token/{token}); 200 means arrived and 404 not yet.
        type: str
      maildir:
        description: A maildir on this host, searched for the header C(X-Mtaudit-Token).
        type: str
      imap:
        description: A mailbox, searched for the header C(X-Mtaudit-Token).
        type: dict
        suboptions:
          host: {description: The IMAP server., type: str, required: true}
          port: {description: Its port; 993 with TLS and 143 without by default., type: int}
          user: {description: The login., type: str, required: true}
          password: {description: Its password., type: str, required: true}
          tls:
            description: Use TLS from the first byte. With V(false), STARTTLS is used where the server offers it.
            type: bool
            default: true
          verify: {description: Verify the certificate., type: bool, default: true}
          folder: {description: The folder to search., type: str, default: INBOX}
  canary_wait_s:
    description: Seconds that a message may take to the canary.
    type: float
    default: 30
  vantage:
    description: Where this host stands, seen from the targets.
    type: str
    choices: [stranger, neighbour, inside, local]
    default: stranger
  deliver:
    description: >-
      Send one message through each open class of hole. Where a message is refused or does not arrive, the other accepted forms
      are tried, in at most six rounds: a listener that accepts everything and discards it is sent about a dozen messages. With
      V(false) the probe stops before DATA.
    type: bool
    default: true
  auth:
    description: >-
      Test logins. Each is used once on every listener of its target that offers AUTH, and not again after it was refused.
      Off when empty.
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
      other_sender: {description: Another user's address at the same server., type: str, default: ""}
      cleartext: {description: Send the password even without TLS., type: bool, default: false}
  allow_foreign_senders:
    description: Logins may send with foreign senders (control RELAY-14 is then only informed about).
    type: bool
    default: false
  helo:
    description: The name to say in EHLO. Defaults to this host's fully qualified name.
    type: str
    default: ""
  concurrency:
    description: Listeners probed at the same time.
    type: int
    default: 100
  per_server:
    description: Connections at a time to one server, 1 or 2. Targets whose banners carry the same name are one server.
    type: int
    default: 2
  timeout_s:
    description: Seconds for the whole call. What was found out until then is returned.
    type: float
    default: 900
  target_timeout_s:
    description: Seconds for each listener of a target, without the wait for its turn.
    type: float
    default: 300
  retry_after_s:
    description: Seconds before an envelope that was put off (greylisting) is tried once more.
    type: float
    default: 60
  tag:
    description: What the tokens begin with.
    type: str
    default: mtaudit
"""

EXAMPLES = r"""
- name: Probe two servers from outside
  mta_relay_probe:
    targets:
      - name: mx1
        host: mx1.example.org
        ports: [25, 587]
        known_recipient: postmaster@example.org
        local_domains: [example.org]
      - name: mx1
        host: "2001:db8::25"
        known_recipient: postmaster@example.org
        local_domains: [example.org]
    sender: probe@probe.example.net
    canary: canary@sink.example.net
    canary_check: {url: "http://sink.example.net:8025/token/{token}"}
  delegate_to: vantage.example.net
"""

RETURN = r"""
findings:
  description: One for each listener and class of hole, about the listener C(ADDRESS:PORT).
  returned: success
  type: list
  elements: dict
  sample:
    - control: RELAY-03
      subject: {kind: listener, name: "198.51.100.41:25"}
      status: pass
      method: probe
      message: does not relay mail from a foreign sender to a foreign recipient (seen from vantage stranger)
      verdict: closed
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
    listener: {description: Address and port as findings name them., type: str, returned: always}
    verdict: {description: "proven_open, accepts, accepts_but_discards, unknown or closed.", type: str, returned: always}
    conditions: {description: What it takes; empty means anybody, anyhow., type: list, elements: str, returned: always}
    reason: {description: Why, where the verdict needs it., type: str, returned: always}
    classes: {description: Verdict, conditions and reason by class of hole., type: dict, returned: always}
    passed: {description: Names of the forms that were accepted., type: list, elements: str, returned: always}
    forms:
      description: Every envelope that has an answer, with code, enhanced code and text.
      type: list
      elements: dict
      returned: always
    unanswered: {description: Names of the forms without an answer., type: list, elements: str, returned: always}
    controls:
      description: The answers for the known recipient (positive) and the random mailbox (negative).
      type: dict
      returned: always
    deliveries: {description: The messages that were sent and what became of them., type: list, elements: dict, returned: always}
    troubles: {description: Sessions that ended early., type: list, elements: str, returned: always}
    tokens: {description: What to look for in the server's log and at the sink., type: list, elements: str, returned: always}
    banner: {description: The greeting., type: str, returned: when connected}
    capabilities: {description: What EHLO offered in clear., type: list, elements: str, returned: when connected}
    capabilities_in_tls: {description: What EHLO offered inside TLS., type: list, elements: str, returned: when connected}
    device_hints: {description: Signs of a device in between., type: list, elements: str, returned: when connected}
    source_address: {description: Our own address in these sessions., type: str, returned: when connected}
    sender: {description: The tagged envelope sender., type: str, returned: when connected}
    helo: {description: The EHLO name., type: str, returned: when connected}
    costs:
      description: >-
        What the probe cost the server: connections, errors, the most errors in one connection, accepted recipients (not counting
        those of sent messages), messages, bytes.
      type: dict
      returned: when connected
    dialogue: {description: What was said, redacted and bounded., type: list, elements: str, returned: when connected}
vantage:
  description: Where the probe stood.
  returned: success
  type: str
notes:
  description: What limited the probe.
  returned: success
  type: list
  elements: str
worst_connections_at_a_time:
  description: The most connections that were open to one server at the same time.
  returned: success
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.smtp.arguments import request_from
from ansible.module_utils.mtaudit.smtp.probe import run
from ansible.module_utils.mtaudit.smtp.values import ArgumentError
from ansible.module_utils.mtaudit.smtp.values import VANTAGES

TARGET = {
    "name": {"type": "str"},
    "host": {"type": "str", "required": True},
    "ports": {"type": "list", "elements": "int", "default": [25]},
    "implicit_tls_ports": {"type": "list", "elements": "int", "default": [465]},
    "known_recipient": {"type": "str", "default": ""},
    "local_domains": {"type": "list", "elements": "str", "default": []},
    "helo_name": {"type": "str", "default": ""},
    "protect_local_recipients": {"type": "bool", "default": False},
}
IMAP = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int"},
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "tls": {"type": "bool", "default": True},
    "verify": {"type": "bool", "default": True},
    "folder": {"type": "str", "default": "INBOX"},
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
            "canary": {"type": "str", "required": True},
            "canary_check": {"type": "dict", "options": {
                "url": {"type": "str"}, "maildir": {"type": "str"}, "imap": {"type": "dict", "options": IMAP},
            }},
            "canary_wait_s": {"type": "float", "default": 30},
            "vantage": {"type": "str", "choices": list(VANTAGES), "default": "stranger"},
            "deliver": {"type": "bool", "default": True},
            # Only the password is kept out of logs and results: a masked username would be cut out of every address as well.
            "auth": {"type": "list", "elements": "dict", "default": [], "no_log": False, "options": LOGIN},
            "allow_foreign_senders": {"type": "bool", "default": False},
            "helo": {"type": "str", "default": ""},
            "concurrency": {"type": "int", "default": 100},
            "per_server": {"type": "int", "default": 2},
            "timeout_s": {"type": "float", "default": 900},
            "target_timeout_s": {"type": "float", "default": 300},
            "retry_after_s": {"type": "float", "default": 60},
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
        module.fail_json(msg=f"The relay probe could not start: {exc}")
    module.exit_json(changed=False, vantage=params["vantage"], **run(request))


if __name__ == "__main__":
    main()
