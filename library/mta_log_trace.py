#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_log_trace
short_description: Find the sessions of a relay probe in a host's own mail log
version_added: 0.1.0
description:
  - Looks in the mail log for the tokens that M(mta_relay_probe) put into the HELO names and senders of its sessions.
  - Says which client address the server logged for them, and whether a message was delivered, and where to.
  - Reads log files, else the journal. Only reads.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  tokens:
    description: What to look for. Not secret; they are in the log already.
    type: list
    elements: str
    required: true
  since:
    description:
      - When the probes began, as seconds since the epoch or as ISO 8601, in UTC unless it says otherwise.
      - Log that ends more than five minutes before that is not read.
    type: str
    required: true
  programs:
    description:
      - The mail servers whose logs to read, as C(estate.programs) of M(mta_audit) names them.
      - Postfix, Exim, Sendmail and OpenSMTPD are read; others are passed over. When empty, Postfix and those of the
        others that are installed.
      - Exim is asked for its C(log_file_path).
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The program., type: str, required: true}
      version: {description: Not used., type: str}
      instance: {description: The configuration file of an Exim., type: str}
  files:
    description:
      - The files that syslog keeps for the mail facility; their rotated copies are found by name.
      - An Exim that does not log to syslog is looked for in its own files only.
    type: list
    elements: path
    default: [/var/log/mail.log, /var/log/maillog, /var/log/mail, /var/log/postfix.log]
  max_bytes:
    description: Most bytes of log to read, newest first.
    type: int
    default: 33554432
  timeout_s:
    description: Most seconds to wait for the journal.
    type: float
    default: 30.0
"""

EXAMPLES = r"""
- name: See what the server logged about our sessions
  mta_log_trace:
    tokens: "{{ plan.tokens[inventory_hostname] }}"
    since: "{{ probe_start }}"
    programs: "{{ audit.estate.programs }}"
  register: trace
"""

RETURN = r"""
traces:
  description: One entry for each token, found or not.
  returned: success
  type: list
  elements: dict
  contains:
    token: {description: The token., type: str, returned: always}
    clients:
      description: The clients that the server logged for it, with address, name, port, and whether they were refused.
      type: list
      elements: dict
      returned: always
    queue_ids: {description: Queue ids of its messages., type: list, elements: str, returned: always}
    deliveries:
      description: What became of its messages, with recipient, status, relay, dsn and the next server's answer.
      type: list
      elements: dict
      returned: always
    lines: {description: The log lines about it, without secrets., type: list, elements: str, returned: always}
    before_queue_filter:
      description: Whether the log holds sessions that were handed to a filter before they got a queue id.
      type: bool
      returned: always
  sample:
    - token: 4f9a2c7be1d0
      clients: [{address: 198.51.100.254, name: unknown, port: 0, refused: false}]
      queue_ids: [6736B1C4A17]
      deliveries:
        - {recipient: canary@canary.test, status: sent, relay: "sink.canary.test[198.51.100.20]:25", dsn: 2.0.0, text: 250 Ok}
      lines: []
      before_queue_filter: false
source:
  description: The files, or C(journal), that were looked in.
  returned: success
  type: str
lines_read:
  description: How many lines of log were looked at.
  returned: success
  type: int
reason:
  description: Why tokens are or may be missing; empty when all were found.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.logs.places import Program, installed
from ansible.module_utils.mtaudit.logs.sources import FILES
from ansible.module_utils.mtaudit.logs.tracing import find_tokens, parse_since
from ansible.module_utils.mtaudit.runner import LocalRunner


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "tokens": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "since": {"type": "str", "required": True},
            "programs": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "version": {"type": "str"},
                    "instance": {"type": "str"},
                },
            },
            "files": {"type": "list", "elements": "path", "default": list(FILES)},
            "max_bytes": {"type": "int", "default": 33554432},
            "timeout_s": {"type": "float", "default": 30.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        since = parse_since(params["since"])
    except ValueError:
        module.fail_json(msg=f"since: '{params['since']}' is neither a number of seconds nor an ISO 8601 time")
    if params["max_bytes"] < 1 or params["timeout_s"] <= 0:
        module.fail_json(msg="max_bytes and timeout_s must be positive")
    tokens = [token for token in params["tokens"] if token]
    runner = LocalRunner()
    named = [Program(program["name"], program["instance"] or "") for program in params["programs"]]
    programs = named or installed(runner)
    traced = find_tokens(runner, tokens, since, params["files"], params["max_bytes"], params["timeout_s"], programs)
    module.exit_json(
        changed=False,
        traces=[found.to_dict() for found in traced.traces],
        source=traced.source,
        lines_read=traced.lines_read,
        reason=traced.reason,
    )


if __name__ == "__main__":
    main()
