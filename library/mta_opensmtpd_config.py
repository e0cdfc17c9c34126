#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_opensmtpd_config
short_description: Change an OpenSMTPD configuration, if smtpd runs with it
version_added: 0.1.0
description:
  - Makes the change on a copy, in the text as it is written, so that comments, continued lines and the order of statements stay.
    What is so already is left as it is.
  - A statement counts by what smtpd reads of it. Quotes and blanks that change nothing do not count; macros are written out.
  - Lets C(smtpd -n) judge the copy before anything is changed.
  - Then changes the files in a transaction, as M(mta_transaction) does, and restarts smtpd, which has no reload. What does not
    hold is put back.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  platform: {platforms: posix}
options:
  statements:
    description: Statements of C(smtpd.conf) and of the files that it includes, each with what takes its place. Null comments one
      out.
    type: dict
    default: {}
  additions:
    description: Statements that are to be there, each with the one that it stands before, for the first rule that matches
      decides. Null puts one at the end of the file.
    type: dict
    default: {}
  options:
    description: Options of lines that listen, which are called C(0.0.0.0 port 25) or C(socket), each a dictionary of options with
      what stands behind them; empty for nothing. Null takes one out.
    type: dict
    default: {}
  tables:
    description: Text files of tables, by path, each a dictionary of keys and values; an empty value for a list of keys. Null
      takes an entry out.
    type: dict
    default: {}
  config_file:
    description: The file that smtpd was started with.
    type: path
    default: /etc/smtpd.conf
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
- name: Relay after a login, and log who it was
  mta_opensmtpd_config:
    statements:
      match from any for any action "outside": match auth from any for any action "outside"
    additions:
      match from any for rcpt-to regex "[%!].*@" reject: match auth from any for any action "outside"
    options:
      0.0.0.0 port 587:
        received-auth: ""
        hostname: mail.example.org
    tables:
      /etc/smtpd/own_senders:
        alice: alice@example.org
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
from ansible.module_utils.mtaudit.transaction.configured import change_opensmtpd
from ansible.module_utils.mtaudit.transaction.module import ARGUMENTS
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "statements": {"type": "dict", "default": {}},
            "additions": {"type": "dict", "default": {}},
            "options": {"type": "dict", "default": {}},
            "tables": {"type": "dict", "default": {}},
            "config_file": {"type": "path", "default": "/etc/smtpd.conf"},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    store = Store(params.pop("directory"))
    end(module, lambda: change_opensmtpd(store, LocalRunner(), check=module.check_mode, **params))


if __name__ == "__main__":
    main()
