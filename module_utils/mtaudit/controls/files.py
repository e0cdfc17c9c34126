"""Controls on who may read and write the files that mail programs use."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, passed, unknown
from ..readers.accounts import Accounts
from ..readers.system import Host, Seen
from ..readers.uses import CONFIG, SECRET
from ..runner import FileStat
from ..text import printable

_READ, _WRITE, _ENTER = 4, 2, 1
_STICKY = 0o1000


@control("FILE-01", "os")
def only_those_who_must_read_secrets_and_write_settings(host: Host, site: Site) -> Iterator[Finding]:
    administrators = frozenset(str(name) for name in site.tunables.get("administrators", ()))
    wrong = [evidence for seen in host.files for evidence in wrongly_open(seen, host.accounts, administrators)]
    unseen = [*host.problems, *(f"{uses.title}: {uses.problem}" for uses in host.programs if uses.problem)]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].where.partition(' (')[0]}: {wrong[0].text}{more}", *wrong)
    elif unseen:
        yield unknown(HOST, "not every file could be looked at", unseen[0])
    else:
        secrets = sum(1 for seen in host.files if seen.file.role == SECRET)
        yield passed(HOST, f"{len(host.files)} files, {secrets} of them secret, and the directories above them: modes are tight")


def wrongly_open(seen: Seen, accounts: Accounts, administrators: Collection[str]) -> Iterator[Evidence]:
    said = dict.fromkeys(_said(seen, accounts, administrators))
    if said:
        stat = seen.stat
        mode = f"{stat.mode:04o} {accounts.user(stat.uid)}:{accounts.group(stat.gid)}"
        where = printable(f"{seen.file.path} ({seen.file.where}; {mode})")
        yield Evidence(Method.CONFIG, where, printable("; ".join(said)))


def _said(seen: Seen, accounts: Accounts, administrators: Collection[str]) -> Iterator[str]:
    reachable = all(stat.mode & _ENTER for _, stat in seen.above)
    who = _who(seen.stat, _READ, accounts, administrators, reachable)
    if seen.file.role == SECRET and who:
        yield f"{who} may read it"
    who = _who(seen.stat, _WRITE, accounts, administrators, reachable) or _owner(seen, seen.stat, accounts)
    if who:
        yield f"{who} may write it"
    for directory, stat in seen.above:
        # In a directory like /tmp only the owner of a file may remove or rename it.
        everybody = reachable and not stat.mode & _STICKY
        who = _who(stat, _WRITE, accounts, administrators, everybody, not stat.mode & _STICKY)
        if who or _owner(seen, stat, accounts):
            yield f"{who or _owner(seen, stat, accounts)} may put another in its place: {directory} is theirs to write"


def _owner(seen: Seen, stat: FileStat, accounts: Accounts) -> str:
    """What a daemon reads as root is root's: whoever writes it becomes root."""
    return accounts.user(stat.uid) if seen.file.role == CONFIG and stat.uid != 0 else ""


def _who(
    stat: FileStat, right: int, accounts: Accounts, administrators: Collection[str], everybody: bool, group: bool = True
) -> str:
    """The ordinary accounts that have a right, in words; empty when none has."""
    if everybody and stat.mode & right:
        return "everybody"
    names: list[str] = []
    if accounts.is_ordinary(stat.uid) and stat.mode & right << 6:
        names.append(accounts.user(stat.uid))
    if group and not stat.acl and stat.mode & right << 3:  # with a list, these bits are its mask (acl(5))
        names += accounts.ordinary_members(stat.gid)
    for kind, number, rights in stat.acl if group else ():
        if rights & right:
            ordinary = [accounts.user(number)] if accounts.is_ordinary(number) else []
            names += accounts.ordinary_members(number) if kind == "group" else ordinary
    return ", ".join(name for name in dict.fromkeys(names) if name not in administrators)
