"""Who may read and write the files that mail programs use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..config.host import Wanted
from ..control import Site
from ..controls.files import wrongly_open
from ..finding import Finding
from ..fix import fix
from ..readers.system import Host, Seen
from ..readers.uses import CONFIG, SECRET

_WRITE_BY_OTHERS = 0o022
_BY_EVERYBODY = 0o007


@fix("FILE-01", "os")
def close_files(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """A secret is nobody's but its owner's and its group's; who writes is the owner alone, and that is root where root reads it.
    Directories above and access control lists are left: other things stand in them, and somebody wrote them on purpose."""
    administrators = frozenset(str(name) for name in site.tunables.get("administrators", ()))
    wrong = [seen for seen in host.files if list(wrongly_open(seen, host.accounts, administrators))]
    wanted = {seen.path: _tight(seen, host) for seen in wrong}
    changed = {path: new for path, new in wanted.items() if new is not None}
    return Wanted(changed) if changed else None


def _tight(seen: Seen, host: Host) -> Optional[tuple[int, Optional[int]]]:
    stat = seen.stat
    if stat.kind != "file" or stat.acl:
        return None
    mode = stat.mode & ~_WRITE_BY_OTHERS
    if seen.file.role == SECRET:
        mode &= ~_BY_EVERYBODY
        mode &= ~0o040 if host.accounts.ordinary_members(stat.gid) else 0o7777
    owner = 0 if seen.file.role == CONFIG and stat.uid else None
    return None if (mode, owner) == (stat.mode, None) else (mode, owner)
