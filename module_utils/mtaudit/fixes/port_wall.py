"""Close ports to accounts of the host: a table of nftables and a unit that loads it, beside whatever else filters."""

from __future__ import annotations

import re

from ..config.files import ConfigError, NewFile
from ..config.host import Wanted

_UNIT = "mtaudit-web-mail.service"
_RULES = "/etc/mtaudit/web-mail.nft"
_ACCOUNT = re.compile(r"[\w.-]+\$?", re.ASCII)
_TABLE = "inet mtaudit_web_mail"

_FILE = f"""\
# Written by mtaudit.
table {_TABLE}
delete table {_TABLE}
table {_TABLE} {{{{
  chain output {{{{
    type filter hook output priority filter; policy accept;
{{rules}}  }}}}
}}}}
"""

_SERVICE = f"""\
# Written by mtaudit.
[Unit]
Description=Keep web applications from ports that take mail without a login
After=nftables.service firewalld.service
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={{nft}} -f {_RULES}
ExecStop={{nft}} delete table {_TABLE}

[Install]
WantedBy=multi-user.target
"""
# Debian's flushes every rule, ours as well, whenever it starts, reloads or stops.
_FOLLOWS = f"""\
# Written by mtaudit.
[Service]
ExecStartPost=-{{nft}} -f {_RULES}
ExecReload=-{{nft}} -f {_RULES}
ExecStopPost=-{{nft}} -f {_RULES}
"""
_UNITS = {f"/etc/systemd/system/{_UNIT}": _SERVICE, "/etc/systemd/system/nftables.service.d/mtaudit-web-mail.conf": _FOLLOWS}


def closing(closed: frozenset[tuple[str, int]], nft: str) -> Wanted:
    """`closed`: every account and port; `nft`: where the program is. Raises ConfigError."""
    if not nft:
        raise ConfigError("Could not close ports to accounts: nft is missing; install nftables (mta_harden_install)")
    strange = [account for account, _ in closed if not _ACCOUNT.fullmatch(account)]
    if strange:
        raise ConfigError(f"Could not close ports to the account {strange[0]!r}: nft takes no such name")
    rules = [f"    meta skuid {account} tcp dport {port} counter reject with tcp reset\n" for account, port in sorted(closed)]
    texts = {_RULES: _FILE.format(rules="".join(rules)), **{path: text.format(nft=nft) for path, text in _UNITS.items()}}
    files = {path: NewFile(path, text.encode(), 0o644) for path, text in texts.items()}
    return Wanted(texts=files, told={_UNIT: "start"}, checks=((nft, "--check", "--file", _RULES),), closed=closed)
