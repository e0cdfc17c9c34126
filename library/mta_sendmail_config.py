#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_sendmail_config
short_description: Change a Sendmail configuration, if Sendmail runs with it
version_added: 0.1.0
description:
  - Changes the m4 source in its text, so that comments and the order of lines stay, and lets C(m4) make C(sendmail.cf) of it. A
    C(sendmail.cf) that is not what its source makes is refused, since a change by hand would be lost.
  - Changes the text of maps, and what C(makemap) makes of it. A map whose compiled form says other things than its text is
    refused.
  - Lets Sendmail read the copy, and show its banner with it, before anything is changed.
  - Then changes the files in a transaction, as M(mta_transaction) does. What does not hold is put back. Sendmail is restarted,
    unless nothing but maps is changed, which it opens anew for each session.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  platform: {platforms: posix}
options:
  defines:
    description: Settings such as C(confLOG_LEVEL), which C(define) sets. Null comments one out.
    type: dict
    default: {}
  features:
    description: Features, each with its other arguments as they are written; empty for none. Null comments one out.
    type: dict
    default: {}
  daemons:
    description: Ports (C(DAEMON_OPTIONS)) by their name, each with all of its options. Null comments one out.
    type: dict
    default: {}
  filters:
    description: Mail filters (C(INPUT_MAIL_FILTER)) by their name, each with its equates. Null comments one out.
    type: dict
    default: {}
  lines:
    description: Other lines of the source, such as rules, each with what takes its place. Null comments one out.
    type: dict
    default: {}
  rules:
    description: Lines that are to stand under C(LOCAL_CONFIG) or C(LOCAL_RULESETS), each text with the name of the section.
    type: dict
    default: {}
  maps:
    description: Maps by the path that C(sendmail.cf) gives them, each a dictionary of keys and values. Null takes an entry out.
    type: dict
    default: {}
  words:
    description: Files of classes and the help file, by path, each a dictionary of lines and whether they are to be there.
    type: dict
    default: {}
  config_file:
    description: The configuration file; its source has the same name with C(.mc).
    type: path
    default: /etc/mail/sendmail.cf
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
- name: Log logins, take them on 587 alone, and trust one network less
  mta_sendmail_config:
    defines:
      confLOG_LEVEL: 10
    features:
      promiscuous_relay:
      conncontrol: "`nodelay', `terminate'"
    daemons:
      MTA: Family=inet6, Name=MTA, Port=smtp, M=A
      MSA: Family=inet6, Name=MSA, Port=submission, M=Ea
    maps:
      /etc/mail/access:
        Connect:198:
    words:
      /etc/mail/relay-domains:
        stranger.example: false
"""

RETURN = r"""
transaction:
  description: The change, as M(mta_transaction) returns it. Empty when nothing was to be changed, and in check mode.
  returned: always
  type: dict
activate:
  description: What the daemon has to do for it, C(none) or C(restart).
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.configured import change_sendmail
from ansible.module_utils.mtaudit.transaction.module import ARGUMENTS
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "defines": {"type": "dict", "default": {}},
            "features": {"type": "dict", "default": {}},
            "daemons": {"type": "dict", "default": {}},
            "filters": {"type": "dict", "default": {}},
            "lines": {"type": "dict", "default": {}},
            "rules": {"type": "dict", "default": {}},
            "maps": {"type": "dict", "default": {}},
            "words": {"type": "dict", "default": {}},
            "config_file": {"type": "path", "default": "/etc/mail/sendmail.cf"},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    store = Store(params.pop("directory"))
    end(module, lambda: change_sendmail(store, LocalRunner(), check=module.check_mode, **params))


if __name__ == "__main__":
    main()
