"""Close ports to accounts of the host: a table of nftables and a unit that loads it, beside whatever else filters."""

from __future__ import annotations

from collections.abc import Collection

from ..config.files import ConfigError, NewFile
from ..config.host import Wanted
from ..controls.web import Way
from ..text import printable

_UNIT = "mtaudit-web-mail.service"
_RULES = "/etc/mtaudit/web-mail.nft"
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

# Ordered as nftables.service: cloud-init wants the network before sysinit.target, which others wait for by default.
_SERVICE = f"""\
# Written by mtaudit.
[Unit]
Description=Keep web applications from ports that take mail without a login
DefaultDependencies=no
After=local-fs.target nftables.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

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


def closing(ways: Collection[Way], nft: str) -> Wanted:
    """The ports of all of them; `nft`: where the program is. Raises ConfigError."""
    if not nft:
        raise ConfigError("Could not close ports to accounts: nft is missing; install nftables (mta_harden_install)")
    unknown = [way.account for way in ways if way.uid < 0]
    if unknown:
        raise ConfigError(f"Could not close ports to the account {printable(unknown[0])}: it is not in /etc/passwd")
    # By number: with a name that is gone, nft loads none of them.
    rules = [f"    meta skuid {uid} tcp dport {port} counter reject with tcp reset # {account}\n"
             for account, uid, port in sorted({(way.account, way.uid, way.port) for way in ways})]  # fmt: skip
    texts = {_RULES: _FILE.format(rules="".join(rules)), **{path: text.format(nft=nft) for path, text in _UNITS.items()}}
    files = {path: NewFile(path, text.encode(), 0o644) for path, text in texts.items()}
    closed = frozenset((way.account, way.port) for way in ways)
    return Wanted(texts=files, told={_UNIT: "start"}, checks=((nft, "--check", "--file", _RULES),), closed=closed)
