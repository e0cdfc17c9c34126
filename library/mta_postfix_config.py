#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_postfix_config
short_description: Change a Postfix configuration, if Postfix runs with it
version_added: 0.1.0
description:
  - Makes the change on a copy, with Postfix's own C(postconf), which keeps comments and the order of lines. What is so already is
    left as it is written.
  - Refuses parameters that this version of Postfix does not have, and services that are not there.
  - Lets C(postconf) read the copy, and starts every C(smtpd) of it once, before anything is changed.
  - Then changes the files in a transaction, as M(mta_transaction) does. What does not hold is put back.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  platform: {platforms: posix}
options:
  parameters:
    description: Parameters of C(main.cf). Null takes one out, so that its default counts.
    type: dict
    default: {}
  services:
    description: Services of C(master.cf), as C(name/type), each with its whole entry without options. Null comments one out.
    type: dict
    default: {}
  options:
    description: Options (C(-o)) of services, as C(name/type), each a dictionary of parameters. Null takes one out.
    type: dict
    default: {}
  tables:
    description:
      - Entries of lookup tables, as C(type:path), each a dictionary of keys. Null takes an entry out.
      - The text is changed, and C(postmap) or C(postalias) makes the table of it. Types C(hash), C(btree), C(cdb), C(lmdb) and
        C(texthash), of tables that a parameter names.
    type: dict
    default: {}
  config_directory:
    description: Configuration directory of the instance.
    type: path
    default: /etc/postfix
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
- name: Take passwords over TLS alone
  mta_postfix_config:
    parameters:
      smtpd_tls_auth_only: "yes"
      smtpd_tls_security_level: may
    services:
      submission/inet: submission inet n - y - - smtpd
    options:
      submission/inet:
        smtpd_tls_security_level: encrypt
        smtpd_sasl_auth_enable: "yes"

- name: Have complaints read
  mta_postfix_config:
    tables:
      hash:/etc/aliases:
        abuse: postmaster
        postmaster: alice@example.org
"""

RETURN = r"""
transaction:
  description: The change, as M(mta_transaction) returns it. Empty when nothing was to be changed, and in check mode.
  returned: always
  type: dict
activate:
  description: What the daemon has to do for it, C(none), C(reload) or C(restart).
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.configured import change_postfix
from ansible.module_utils.mtaudit.transaction.module import ARGUMENTS
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "parameters": {"type": "dict", "default": {}},
            "services": {"type": "dict", "default": {}},
            "options": {"type": "dict", "default": {}},
            "tables": {"type": "dict", "default": {}},
            "config_directory": {"type": "path", "default": "/etc/postfix"},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    store = Store(params.pop("directory"))
    end(module, lambda: change_postfix(store, LocalRunner(), check=module.check_mode, **params))


if __name__ == "__main__":
    main()
