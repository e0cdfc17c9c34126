"""Controls on what a new password has to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..passwords.accounts import Account
from ..passwords.schemes import SLOW, Stored
from ..readers.password_policy import HISTORY, Asked, Policy, heeded
from ..readers.password_table import SHADOW
from ..readers.system import Host
from ..text import printable
from .passwords import names, sets_a_password

_SHADOW_FILE = "/etc/shadow"


@control("PASS-01", "os")
def new_passwords_are_held_against_a_policy(host: Host, site: Site) -> Iterator[Finding]:
    policy = host.policy
    asked = list(heeded(policy.asked))
    wrong = missing(policy, site)
    shown = [Evidence(Method.CONFIG, printable(each.where), printable(_said(each))) for each in policy.asked]
    elsewhere = {str(name) for name in site.tunables.get("checked_elsewhere", ())}
    past = [t.name for t in host.passwords.tables if t.kind != SHADOW and t.accounts and t.name not in elsewhere]
    doubts = [*policy.problems, *(each.problem for each in policy.asked if each.problem)]
    people = any(map(sets_a_password, host.passwords.accounts))
    day = str(site.tunables.get("renewed_since", ""))
    old = old_passwords(host, site)
    if old:
        wrong.append(f"{len(old)} {'password is' if len(old) == 1 else 'passwords are'} older than {day}: {names(old)}")
    unread = [table.problem for table in host.passwords.tables if table.problem and table.name not in elsewhere]
    if not past and not people and unread:
        yield unknown(HOST, "whose passwords are set here is not known", unread[0])
    elif not past and not people:
        yield notapplicable(HOST, "nobody sets a password here", "no account has a password and a shell to change it from")
    elif people and wrong and not policy.problems:
        yield fail(HOST, f"a new password may be weak: {wrong[0]}{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}",
                   *shown, *(Evidence(Method.CONFIG, "passwd", text) for text in wrong))  # fmt: skip
    elif people and doubts:
        yield unknown(HOST, "what a new password has to be is not known", printable(doubts[0]))
    elif past:
        text = f"passwords in {past[0]} are not set through PAM: see what its program asks, and name it in checked_elsewhere"
        yield unknown(HOST, "what is asked of some new passwords is not known", printable(text))
    else:
        longest = max(each.length for each in asked)
        yield passed(HOST, f"a new password has {longest} characters or more, and is not the account's name")


def missing(policy: Policy, site: Site) -> list[str]:
    """What is wanted of a new password and not so."""
    return [*_missing(list(heeded(policy.asked)), site), *_weakly_kept(policy)]


def old_passwords(host: Host, site: Site) -> list[Account]:
    """Those that were set before the day from which on all are to be. Raises ValueError when that is no day."""
    day, of = str(site.tunables.get("renewed_since", "")), set(map(str, site.tunables.get("renewed_by", ())))
    if not day:
        return []
    try:
        first = (date.fromisoformat(day) - date(1970, 1, 1)).days
    except ValueError:
        raise ValueError(f"renewed_since is no day, as 2026-11-24 is one: {printable(day, 40)}") from None
    return [account for account in host.passwords.accounts if sets_a_password(account) and account.table == _SHADOW_FILE
            and 0 < account.since < first and (not of or account.stored.user in of)]  # fmt: skip


def _missing(asked: Sequence[Asked], site: Site) -> Iterator[str]:
    """What is wanted and no module that is heeded asks."""
    length, classes = int(site.tunables.get("min_length", 12)), int(site.tunables.get("min_classes", 1))
    longest = max((each.length for each in asked), default=0)
    if longest < length:
        yield f"{longest} characters are enough, {length} are wanted" if longest else "no length is asked"
    most = max((each.classes for each in asked), default=1)
    if most < classes:
        yield f"{most} {'class' if most == 1 else 'classes'} of characters will do, {classes} are wanted"
    if not any(each.not_the_name for each in asked):
        yield "it may be the account's name"
    if not any(each.no_word for each in asked):
        yield "it may be a word of a dictionary"
    remembered, wanted = max((each.remembered for each in asked), default=0), int(site.tunables.get("remember", 0))
    if remembered < wanted:
        yield f"{remembered or 'none'} of the last {wanted} passwords of an account {'is' if remembered < 2 else 'are'} refused"


def _weakly_kept(policy: Policy) -> Iterator[str]:
    if policy.hashed and Stored("", policy.hashed, "").worth != SLOW:
        yield f"it is stored by {policy.hashed}, which is fast to guess ({printable(policy.hashed_by)})"


def _said(asked: Asked) -> str:
    if asked.unheeded:
        return f"{asked.module} refuses in vain: {asked.unheeded}"
    if asked.module == HISTORY:
        return f"{asked.module}: none of the last {asked.remembered}"
    parts = [f"{asked.length} characters" if asked.length else "any length"]
    parts += [f"{asked.classes} classes"] * (asked.classes > 1)
    parts += ["not the name"] * asked.not_the_name + ["no word"] * asked.no_word
    return f"{asked.module}: {', '.join(parts)}{'' if asked.for_root else '; root may set what it likes'}"
