"""Who may read and write the files that mail programs use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
_READ_AS_ROOT = ("/etc/postfix/", "/etc/ssl/private/")


@fix("FILE-01", "os")
def close_files(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """A secret is nobody's but its owner's and its group's; who writes is the owner alone, and that is root where root reads it.

    Nothing is proposed while something else is wrong, too: directories above and access control lists, in which other things
    stand, and secrets of root's group, which a daemon that gave up root's rights may read by nothing but those of everybody.
    """
    administrators = frozenset(str(name) for name in site.tunables.get("administrators", ()))
    wanted: dict[str, tuple[int, Optional[int]]] = {}
    for seen in host.files:
        if not list(wrongly_open(seen, host.accounts, administrators)):
            continue
        mode, owner = _tight(seen, host)
        after = replace(seen, stat=replace(seen.stat, mode=mode, uid=seen.stat.uid if owner is None else owner))
        if list(wrongly_open(after, host.accounts, administrators)) or seen.stat.kind != "file" or _read_by_everybodys(seen):
            return None
        wanted[seen.path] = (mode, owner)
    return Wanted(wanted) if wanted else None


def _read_by_everybodys(seen: Seen) -> bool:
    """Whether somebody may need what everybody has. Postfix and whoever has a key read them as root."""
    return seen.file.role == SECRET and seen.stat.gid == 0 and not seen.path.startswith(_READ_AS_ROOT)


def _tight(seen: Seen, host: Host) -> tuple[int, Optional[int]]:
    mode = seen.stat.mode & ~_WRITE_BY_OTHERS
    if seen.file.role == SECRET:
        mode &= ~_BY_EVERYBODY
        mode &= ~0o040 if host.accounts.ordinary_members(seen.stat.gid) else 0o7777
    return mode, 0 if seen.file.role == CONFIG and seen.stat.uid else None
