"""Read how web applications of this host send mail: PHP, msmtp, which account may hand in mail with sendmail(1), and what the
packet filter stops (one spawn)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..runner import ReadError, Runner
from ..text import printable
from . import accounts, packet_filter, php
from .accounts import Accounts
from .packet_filter import PacketFilter
from .php import Place
from .uses import Around

_SENDMAIL = "/usr/sbin/sendmail"
_SECRET = re.compile(r"(?im)^(\s*password\s+).*$")


@dataclass(frozen=True)
class Handed:
    """Whether mail of an account is taken, None when that is not known (and why: `reason`); where that is written, and the text
    there."""

    account: str
    allowed: Optional[bool]
    where: str
    text: str = ""
    reason: str = ""
    uid: int = -1


@dataclass
class Web:
    """Where PHP runs; what becomes of mail that each of its accounts hands in; msmtp's files without passwords, None where one
    cannot be read; what is stopped on its way out, where a control asks; `wrapper`: where msmtp is. `problem` says why nothing is
    known."""

    places: list[Place] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    msmtp: dict[str, Optional[str]] = field(default_factory=dict)
    filter: PacketFilter = field(default_factory=PacketFilter)
    wrapper: str = ""
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
    postfix, exim = programs.get("Postfix"), programs.get("Exim")
    for program in (postfix, exim):
        if program and program.problem:
            return Handed(account, None, _SENDMAIL, reason=program.problem)
    if postfix:  # whoever may not run sendmail runs postdrop
        return _postfix(postfix, account)
    stat = around.runner.stat(around.runner.resolve(_SENDMAIL))
    if stat is None or not stat.mode & (0o010 if uid in known.members.get(stat.gid, ()) else 0o001):
        return Handed(account, False, _SENDMAIL, f"mode {stat.mode:04o}" if stat else "is not there")
    if exim and exim.options.get("acl_not_smtp"):
        # It is asked for what the host itself hands in; for `sendmail -bs` the ACLs for SMTP are.
        acl = exim.options["acl_not_smtp"]
        reason = f"what {acl} says of {account} was not walked, nor what the ACLs for SMTP say to sendmail -bs"
        return Handed(account, None, exim.origin("acl_not_smtp"), acl, reason)
    return Handed(account, True, _SENDMAIL, f"mode {stat.mode:04o}, and mail of everybody who runs it is taken")


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
