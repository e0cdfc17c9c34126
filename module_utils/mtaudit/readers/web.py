"""Read how web applications of this host send mail: PHP, msmtp, which account may hand in mail with sendmail(1), and what the
packet filter stops (one spawn)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..runner import FileStat, ReadError, Runner
from ..text import printable
from . import accounts, packet_filter, php
from .accounts import Accounts
from .packet_filter import PacketFilter
from .php import Place
from .uses import Around

_SENDMAIL, _SOCKET = "/usr/sbin/sendmail", "/run/smtpd.sock"
_SECRET = re.compile(r"(?im)^(\s*password\s+).*$")


@dataclass(frozen=True)
class Handed:
    """Whether mail of an account is taken, None when that is not known (and why: `reason`); where that is written, and the text
    there. Where `trusted` says whether Exim trusts the account, its ACLs are still to be asked."""

    account: str
    allowed: Optional[bool]
    where: str
    text: str = ""
    reason: str = ""
    uid: int = -1
    trusted: Optional[bool] = None


@dataclass
class Web:
    """Where PHP runs; what becomes of mail that each of its accounts hands in; msmtp's files without passwords, None where one
    cannot be read; what is stopped on its way out, where a control asks; `wrapper`: where msmtp is; every Exim, that of
    sendmail(1) first. `problem` says why nothing is known."""

    places: list[Place] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    msmtp: dict[str, Optional[str]] = field(default_factory=dict)
    filter: PacketFilter = field(default_factory=PacketFilter)
    wrapper: str = ""
    exims: Sequence[Any] = ()
    problem: str = ""

    @property
    def sites(self) -> list[Place]:
        """Those that serve web pages."""
        return [place for place in self.places if place.interface != "cli"]


def read(around: Around, programs: Sequence[tuple[str, Any, Sequence[Any]]], filtered: bool = False) -> Web:
    """`filtered`: with what the packet filter stops."""
    found = Web()
    try:
        found.places = php.read(around.runner)
        found.wrapper = around.runner.which("msmtp") or "" if found.sites else ""
        found.msmtp = msmtp_files(around.runner, found.sites)
        first = {title: instances[0] for title, _, instances in programs if instances}
        found.exims = next((instances for title, _, instances in programs if title == "Exim"), ())
        known = accounts.read(around.runner) if found.sites else Accounts()
        if found.sites and filtered:
            found.filter = packet_filter.read(around.runner)
        found.handed = [_handed(around, first, known, account) for account in sorted({p.user for p in found.sites if p.user})]
    except ReadError as exc:
        found.problem = printable(str(exc))
    return found


def msmtp_files(runner: Runner, sites: Sequence[Place]) -> dict[str, Optional[str]]:
    """What the files that sendmail_path names say of msmtp's accounts, without passwords; None for one that cannot be read."""
    found: dict[str, Optional[str]] = {}
    for path in {msmtp_file(place.value("sendmail_path").text.split()) for place in sites if place.interface != "cli"} - {""}:
        try:
            found[path] = _SECRET.sub(r"\1***", runner.read(path)) or None
        except ReadError:
            found[path] = None
    return found


def msmtp_file(command: Sequence[str]) -> str:
    """The file that names its accounts; empty when the command is another (msmtp(1))."""
    if not command or command[0].rpartition("/")[2] != "msmtp":
        return ""
    given = [command[n + 1] for n, word in enumerate(command[:-1]) if word in ("-C", "--file")]
    given += [word[7:] for word in command if word.startswith("--file=")]
    return given[0] if given else "/etc/msmtprc"


def _handed(around: Around, programs: Mapping[str, Any], known: Accounts, account: str) -> Handed:
    uid = next((number for number, name in known.users.items() if name == account), -1)
    return replace(_taken(around, programs, known, account, uid), uid=uid)


def _taken(around: Around, programs: Mapping[str, Any], known: Accounts, account: str, uid: int) -> Handed:
    postfix, exim, opensmtpd = (programs.get(title) for title in ("Postfix", "Exim", "OpenSMTPD"))
    for program in (postfix, exim):
        if program and program.problem:
            return Handed(account, None, _SENDMAIL, reason=program.problem)
    if postfix:  # whoever may not run sendmail runs postdrop
        return _postfix(postfix, account)
    socket = around.runner.stat(_SOCKET) if opensmtpd else None
    if socket and socket.mode & 0o002:  # that sendmail(1) has its group it asks itself: a copy that does not ask gets by (tried)
        return Handed(account, True, _SOCKET, f"mode {socket.mode:04o}, and OpenSMTPD takes mail of everybody there")
    stat = around.runner.stat(around.runner.resolve(_SENDMAIL))
    if stat is None or not _may_run(stat, uid, known):
        return Handed(account, False, _SENDMAIL, f"mode {stat.mode:04o}" if stat else "is not there")
    if exim:
        return Handed(account, None, _SENDMAIL, trusted=_trusted(exim, known, account, uid))
    return Handed(account, True, _SENDMAIL, f"mode {stat.mode:04o}, and mail of everybody who runs it is taken")


def _may_run(stat: FileStat, uid: int, known: Accounts) -> bool:
    """The entry for the account decides, else those of its groups, else that for everybody (acl(5))."""
    named = [rights for kind, number, rights in stat.acl if (kind, number) == ("user", uid)]
    groups = [rights for kind, gid, rights in stat.acl if kind == "group" and uid in known.members.get(gid, ())]
    groups += [stat.mode >> 3] if uid in known.members.get(stat.gid, ()) else []
    return any(rights & 1 for rights in named or groups or [stat.mode])


def _trusted(exim: Any, known: Accounts, account: str, uid: int) -> bool:
    """trusted_users and trusted_groups name them, or give their numbers."""
    groups = {group for gid, uids in known.members.items() if uid in uids for group in (str(gid), known.groups.get(gid, ""))}
    listed = (set(re.findall(r"[^\s:]+", exim.options.get(name, ""))) for name in ("trusted_users", "trusted_groups"))
    return any(own & named for own, named in zip(({account, str(uid)}, groups), listed))


def _postfix(postfix: Any, account: str) -> Handed:
    """authorized_submit_users is a list of names and tables: the first that has the name decides (postconf(5))."""
    name = "authorized_submit_users"
    seen = Handed(account, False, postfix.main.origin(name), postfix.main.value(name))
    for word in re.split(r"[\s,]+", seen.text):
        negated, pattern = word.startswith("!"), word.lstrip("!")
        if pattern.startswith("static:") or pattern == account:
            return replace(seen, allowed=not negated)
        if ":" in pattern or pattern.startswith("/"):
            return replace(seen, allowed=None, reason=f"{pattern} was not looked into")
    return seen


def logins(text: str) -> Mapping[str, str]:
    """The accounts of msmtp's file that log in, with the name of their login; `default` is the one that is taken unnamed."""
    sections: dict[str, dict[str, str]] = {"": {}}
    current = sections[""]
    for words_ in (line.split("#")[0].split() for line in text.splitlines()):
        if words_[:1] == ["account"] and len(words_) > 1:
            name, _, above = " ".join(words_[1:]).partition(":")
            inherited = [sections.get(part.strip(), {}) for part in above.split(",")]
            current = sections[name.strip()] = {k: v for each in (sections[""], *inherited) for k, v in each.items()}
        elif words_[:1] == ["defaults"]:
            current = sections[""]
        elif words_:
            current[words_[0]] = words_[1] if len(words_) > 1 else "on"
    return {name: s["user"] for name, s in sections.items() if name and "user" in s and s.get("auth", "off") != "off"}
