#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_mail_flow
short_description: Show that legitimate mail flows in each direction, before and after a change
version_added: 0.1.0
description:
  - Sends one message in each direction and finds out whether it arrived.
  - >-
    V(hand_over), on the mail server: gives sendmail(1) a message to the canary (direction C(out)) and one to the known recipient
    (C(local)), as a local user does.
  - >-
    V(send), on a vantage: sends a message to the known recipient of each target, without a login (C(in)), and one with the test
    login to the canary (C(submission)), then asks the canary, also about the messages of V(hand_over).
  - >-
    V(confirm), on the mail server: looks in its log for what became of the messages to the known recipient, and compares with an
    earlier run.
  - >-
    A message goes only to the canary and to the known recipient, and says what it is. Without canary, login or known recipient
    its direction is V(not_sent), with the reason.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode:
    support: partial
    details: V(hand_over) and V(send) send nothing and return no answers.
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  action:
    description: What to do on this host, as said above.
    type: str
    choices: [hand_over, send, confirm]
    required: true
  target:
    description: For V(hand_over), the name of this host in answers.
    type: str
    default: ""
  targets:
    description: For V(send), the servers, one entry for each address or name to connect to.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The server's name in answers. Defaults to the host., type: str, default: ""}
      host: {description: "An address, or a name, whose every address is used.", type: str, required: true}
      known_recipient: {description: A mailbox that the server has., type: str, default: ""}
      ports: {description: The ports that other servers send to., type: list, elements: int, default: [25]}
      submission_ports: {description: The ports that people send to., type: list, elements: int, default: [587, 465]}
      implicit_tls_ports: {description: Those that speak TLS from the first byte., type: list, elements: int, default: [465]}
      directions:
        description: What to try at this server.
        type: list
        elements: str
        choices: [in, submission]
        default: [in, submission]
  auth:
    description: >-
      For V(send), test logins. After a login was refused it is not tried again. Its password is sent over TLS only, unless it
      says otherwise.
    type: list
    elements: dict
    default: []
    suboptions:
      target: {description: The name of the target., type: str, required: true}
      username: {description: The login., type: str, required: true}
      password: {description: Its password., type: str, required: true}
      sender:
        description: The login's own address. Made from the username and the known recipient's domain when empty.
        type: str
        default: ""
      other_sender: {description: Not used., type: str, default: ""}
      cleartext: {description: Send the password even without TLS., type: bool, default: false}
  sender:
    description: >-
      For V(send), the envelope sender of a stranger, at a domain that is yours. A token is added behind a C(+), by which the
      server's log is searched.
    type: str
    default: ""
  canary:
    description: For V(hand_over) and V(send), a mailbox on a sink that you own. Without it nothing is sent out.
    type: str
    default: ""
  canary_check:
    description: For V(send), how to ask the sink whether a token arrived, as for M(mta_relay_probe).
    type: dict
    suboptions:
      url: {description: "A page about one token, with C({token}).", type: str}
      maildir: {description: A maildir on this host., type: str}
      imap:
        description: A mailbox.
        type: dict
        suboptions:
          host: {description: The IMAP server., type: str, required: true}
          port: {description: Its port., type: int}
          user: {description: The login., type: str, required: true}
          password: {description: Its password., type: str, required: true}
          tls: {description: Use TLS from the first byte., type: bool, default: true}
          verify: {description: Verify the certificate., type: bool, default: true}
          folder: {description: The folder to search., type: str, default: INBOX}
  canary_wait_s:
    description: For V(send), the seconds that a message may take to the canary.
    type: float
    default: 30
  put_off_s:
    description: >-
      For V(send), the seconds for which a server is tried again that puts the message off (greylisting, a filter that is down).
      A server with longer greylisting has to know the vantage, or its direction stays V(unknown).
    type: float
    default: 60
  helo:
    description: For V(send), the name to say in EHLO. Defaults to this host's fully qualified name.
    type: str
    default: ""
  concurrency: {description: "For V(send), messages on their way at the same time.", type: int, default: 100}
  per_server: {description: "For V(send), connections at a time to one target.", type: int, default: 2}
  timeout_s: {description: "For V(send), seconds for the whole call.", type: float, default: 300}
  known_recipient:
    description: For V(hand_over), a mailbox of the site.
    type: str
    default: ""
  local_user:
    description: For V(hand_over), the account that sendmail(1) is run as.
    type: str
    default: nobody
  answers:
    description: >-
      The messages to look for: for V(send) those of V(hand_over), which are returned as well; for V(confirm) those of V(send)
      about this host.
    type: list
    elements: dict
    default: []
  before:
    description: For V(confirm), the answers of the run before the change. Without them nothing is compared.
    type: list
    elements: dict
  ends:
    description: For V(confirm) with O(before), the directions that the change means to end. They are not compared.
    type: list
    elements: str
    choices: [in, submission, out, local]
    default: []
  programs:
    description: For V(confirm), the mail servers whose logs to read, as for M(mta_log_trace).
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The program., type: str, required: true}
      version: {description: Not used., type: str}
      instance: {description: The configuration file of an Exim., type: str}
  files:
    description: For V(confirm), the files that syslog keeps for the mail facility.
    type: list
    elements: path
    default: [/var/log/mail.log, /var/log/maillog, /var/log/mail, /var/log/postfix.log]
  log_wait_s:
    description: For V(confirm), the seconds that a message may take to its mailbox.
    type: float
    default: 20
  tag:
    description: What the tokens begin with.
    type: str
    default: mtaudit
"""

EXAMPLES = r"""
- name: Hand two messages to sendmail(1)
  mta_mail_flow:
    action: hand_over
    target: "{{ inventory_hostname }}"
    canary: canary@sink.example.net
    known_recipient: postmaster@example.org
  register: handed_over

- name: Send two from outside, and ask the canary
  mta_mail_flow:
    action: send
    targets:
      - {name: "{{ inventory_hostname }}", host: mx1.example.org, known_recipient: postmaster@example.org}
    auth:
      - {target: "{{ inventory_hostname }}", username: audit@example.org, password: "{{ vault_audit_password }}"}
    sender: probe@probe.example.net
    canary: canary@sink.example.net
    canary_check: {url: "http://sink.example.net:8025/token/{token}"}
    answers: "{{ handed_over.answers }}"
  delegate_to: vantage.example.net
  register: sent

- name: See what arrived, and whether it is as before
  mta_mail_flow:
    action: confirm
    answers: "{{ sent.answers | selectattr('target', 'equalto', inventory_hostname) | list }}"
    before: "{{ mail_flow_before.answers }}"
  register: mail_flow
  failed_when: mail_flow.broken | length > 0
"""

RETURN = r"""
answers:
  description: One for each direction and listener.
  returned: success
  type: list
  elements: dict
  contains:
    direction: {description: "in, submission, out or local.", type: str, returned: always}
    target: {description: The server., type: str, returned: always}
    where: {description: "The listener, or C(sendmail); empty where there was none to try.", type: str, returned: always}
    status:
      description: >-
        V(arrived); V(accepted): taken, and not confirmed; V(refused): not taken, or sent back; V(not_sent): there was nothing to
        try it with; V(unknown): put off, or broken off.
      type: str
      returned: always
    detail: {description: Why., type: str, returned: always}
    line: {description: What the server said last., type: str, returned: always}
    token: {description: What to look for in the log and at the canary., type: str, returned: always}
    seconds: {description: How long it took., type: float, returned: always}
    at: {description: "When it was sent, in seconds since the epoch.", type: float, returned: always}
  sample:
    - {direction: in, target: mx1, where: "198.51.100.41:25", status: arrived, detail: "delivered, the log says: sent ...",
       line: "250 2.0.0 Ok: queued as 4D3F1", token: mtaudit-0a1b2c3d4e5f6071, seconds: 0.21, at: 1790000000.0}
notes:
  description: What limited the call.
  returned: success
  type: list
  elements: str
compared:
  description: >-
    Each direction and listener, with C(verdict) V(kept), V(broken), V(was_broken) (it did not flow before, either) or
    V(not_tried), whether a message arrived after the change (C(proven)), and a C(reason).
  returned: for V(confirm) with O(before)
  type: list
  elements: dict
broken:
  description: The directions that flowed before and do not flow now, each with its listener and the reason.
  returned: for V(confirm) with O(before)
  type: list
  elements: str
unproven:
  description: The directions in which no message arrived at all, each with the reason.
  returned: for V(confirm)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.logs.places import Program, installed
from ansible.module_utils.mtaudit.logs.sources import FILES
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.smtp.flow import Direction, as_broken, compare, unproven
from ansible.module_utils.mtaudit.smtp.flow_arguments import answers_from, order_from, request_from
from ansible.module_utils.mtaudit.smtp.flow_probe import run
from ansible.module_utils.mtaudit.smtp.on_host import confirm, hand_over
from ansible.module_utils.mtaudit.smtp.values import ArgumentError

TARGET = {
    "name": {"type": "str", "default": ""},
    "host": {"type": "str", "required": True},
    "known_recipient": {"type": "str", "default": ""},
    "ports": {"type": "list", "elements": "int", "default": [25]},
    "submission_ports": {"type": "list", "elements": "int", "default": [587, 465]},
    "implicit_tls_ports": {"type": "list", "elements": "int", "default": [465]},
    "directions": {"type": "list", "elements": "str", "choices": ["in", "submission"], "default": ["in", "submission"]},
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
PROGRAM = {"name": {"type": "str", "required": True}, "version": {"type": "str"}, "instance": {"type": "str"}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["hand_over", "send", "confirm"], "required": True},
            "target": {"type": "str", "default": ""},
            "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
            # Only the password is kept out of logs and results: a masked username would be cut out of every address as well.
            "auth": {"type": "list", "elements": "dict", "default": [], "no_log": False, "options": LOGIN},
            "sender": {"type": "str", "default": ""},
            "canary": {"type": "str", "default": ""},
            "canary_check": {"type": "dict", "options": {
                "url": {"type": "str"}, "maildir": {"type": "str"}, "imap": {"type": "dict", "options": IMAP},
            }},
            "canary_wait_s": {"type": "float", "default": 30},
            "put_off_s": {"type": "float", "default": 60},
            "helo": {"type": "str", "default": ""},
            "concurrency": {"type": "int", "default": 100},
            "per_server": {"type": "int", "default": 2},
            "timeout_s": {"type": "float", "default": 300},
            "known_recipient": {"type": "str", "default": ""},
            "local_user": {"type": "str", "default": "nobody"},
            "answers": {"type": "list", "elements": "dict", "default": []},
            "before": {"type": "list", "elements": "dict"},
            "ends": {"type": "list", "elements": "str", "choices": [one.value for one in Direction], "default": []},
            "programs": {"type": "list", "elements": "dict", "default": [], "options": PROGRAM},
            "files": {"type": "list", "elements": "path", "default": list(FILES)},
            "log_wait_s": {"type": "float", "default": 20},
            "tag": {"type": "str", "default": "mtaudit"},
        },
        required_if=[("action", "hand_over", ("target",)), ("action", "send", ("sender",))],
        supports_check_mode=True,
    )
    params = module.params
    try:
        if params["action"] == "confirm":
            module.exit_json(changed=False, **confirmed(params))
        request = order_from(params) if params["action"] == "hand_over" else request_from(params)
    except ArgumentError as exc:
        module.fail_json(msg=f"Mail could not be sent: {exc}")
    if module.check_mode:
        module.exit_json(changed=False, answers=[], notes=["Nothing is sent in check mode."])
    if params["action"] == "hand_over":
        module.exit_json(changed=False, answers=[answer.to_dict() for answer in hand_over(request)], notes=[])
    module.exit_json(changed=False, **run(request))


def confirmed(params) -> dict:
    """What the log says of the answers, and how they compare with before."""
    answers = answers_from(params["answers"], "answers")
    before = answers_from(params["before"], "before") if params["before"] is not None else None
    runner = LocalRunner()
    programs = [Program(each["name"], each["instance"] or "") for each in params["programs"]] or installed(runner)
    found = confirm(runner, answers, programs, params["files"], params["log_wait_s"])
    compared = [each for each in compare(before or (), found) if each.direction.value not in params["ends"]]
    result = {"answers": [answer.to_dict() for answer in found], "notes": [], "unproven": unproven(compared)}
    if before is not None:
        result.update(compared=[each.to_dict() for each in compared], broken=as_broken(compared))
    return result


if __name__ == "__main__":
    main()
