#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_dovecot_config
short_description: Change a Dovecot configuration, if Dovecot runs with it
version_added: 0.1.0
description:
  - Makes the change on a copy, in the line that counts, in whatever file holds it; comments and order stay. A setting that is
    nowhere comes into its block, or into the file that the package keeps for the site, C(local.conf). What is so already is left
    as it is.
  - Lets C(doveconf) read the copy before anything is changed. Exactly what is wanted must be otherwise then, else the change is
    refused.
  - Then changes the files in a transaction, as M(mta_transaction) does, and reloads Dovecot. What does not hold is put back.
  - Dovecot 2.3 and 2.4 name settings differently, and refuse each other's names.
author: mtaudit contributors (@mtaudit)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  platform: {platforms: posix}
options:
  settings:
    description: Settings that stand in no block, with their values. Null takes one out, so that the default counts.
    type: dict
    default: {}
  sections:
    description: Settings in blocks, by the block as C(protocol imap) or C(service imap-login / inet_listener imaps), each a
      dictionary. Null takes a whole block out. Blocks without a name (C(passdb), C(userdb) of 2.3) are left to people.
    type: dict
    default: {}
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
- name: Take passwords only inside TLS, limit connections, and close the port that begins without it
  mta_dovecot_config:
    settings:
      ssl: required
      ssl_min_protocol: TLSv1.2
    sections:
      protocol imap:
        mail_max_userip_connections: 20
      service imap-login / inet_listener imap:
        port: 0
"""

RETURN = r"""
transaction:
  description: The change, as M(mta_transaction) returns it. Empty when nothing was to be changed, and in check mode.
  returned: always
  type: dict
activate:
  description: What the daemon has to do for it, C(none) or C(reload).
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mtaudit.runner import LocalRunner
from ansible.module_utils.mtaudit.transaction.configured import change_dovecot
from ansible.module_utils.mtaudit.transaction.module import ARGUMENTS
from ansible.module_utils.mtaudit.transaction.module import end
from ansible.module_utils.mtaudit.transaction.store import Store


def main() -> None:
    module = AnsibleModule(
        argument_spec={"settings": {"type": "dict", "default": {}}, "sections": {"type": "dict", "default": {}}, **ARGUMENTS},
        supports_check_mode=True,
    )
    params = dict(module.params)
    store = Store(params.pop("directory"))
    end(module, lambda: change_dovecot(store, LocalRunner(), check=module.check_mode, **params))


if __name__ == "__main__":
    main()
