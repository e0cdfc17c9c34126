"""Controls on stored passwords: how they are kept, whom they let in without any, and who does not use his account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..passwords.accounts import Account, alike
from ..passwords.schemes import FAST, READABLE
from ..readers.password_table import DOVECOT, EXIM, SHADOW, Table
from ..readers.password_tables import Passwords
from ..readers.system import Host
from ..text import printable

_SHOWN = 5
_DAY_S = 86_400.0
_FIRST_PERSON, _NOBODY = 1000, 65534  # UID_MIN of Debian's login.defs
_WORTH = {READABLE: "readable", FAST: "fast to guess", "": "of a scheme that is not known"}
_NO_SHELLS = ("nologin", "false", "sync")


def names(accounts: Iterable[Account]) -> str:
    """The first few."""
    users = list(dict.fromkeys(account.stored.user for account in accounts))
    return printable(", ".join(users[:_SHOWN]) + (f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""))


def _counted(accounts: list[Account], what: str) -> str:
    return f"{len(accounts)} {what}{'' if len(accounts) == 1 else 's'}"


def _seen(where: str, text: str) -> Evidence:
    return Evidence(Method.CONFIG, printable(where), text)


def _doubts(passwords: Passwords) -> list[str]:
    """Why some passwords are not known; lines that are none of their table let nobody in, and may be a slip all the same."""
    lines = [f"{table.skipped} lines are none of their table, such as {table.malformed[0]}"
             for table in passwords.tables if table.malformed]  # fmt: skip
    return [printable(text) for text in (*(table.problem for table in passwords.tables if table.problem), *lines)]


def _first(wrong: list[Evidence]) -> str:
    return f"{wrong[0].where}: {wrong[0].text}{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}"


@control("PASS-03", "os")
def passwords_are_kept_strong_and_salted(host: Host, site: Site) -> Iterator[Finding]:
    passwords = host.passwords
    weak = [(worth, evidence) for table in passwords.tables for worth, evidence in _weak(table)]
    wrong = [evidence for worth, evidence in weak if worth]
    doubts = [f"{evidence.where}: {evidence.text}" for worth, evidence in weak if not worth] + _doubts(passwords)
    same = [_seen(group[0].table, f"{len(group)} accounts have the same password: {names(group)}")
            for group in alike(passwords.accounts)]  # fmt: skip
    held = [account for account in passwords.accounts if account.usable]
    if wrong:
        yield fail(HOST, f"stored passwords give themselves away: {_first(wrong)}", *wrong, *same[:_SHOWN])
    elif doubts:
        yield unknown(HOST, "how some passwords are kept is not known", doubts[0])
    elif not held:
        yield notapplicable(HOST, "no password is kept here", "no table of this host holds one that somebody may log in with")
    else:
        yield passed(HOST, f"{_counted(held, 'stored password')}, salted and slow to guess")


def _weak(table: Table) -> Iterator[tuple[str, Evidence]]:
    """By table and scheme: what it is worth, and whose passwords are kept so."""
    groups: dict[str, list[Account]] = {}
    for account in table.accounts:
        if account.usable and account.stored.worth in _WORTH:
            groups.setdefault(account.stored.scheme, []).append(account)
    for scheme, accounts in groups.items():
        worth = accounts[0].stored.worth
        text = f"{_counted(accounts, 'password')} {_WORTH[worth]} ({scheme or 'none'}): {names(accounts)}"
        yield worth, _seen(table.name, text)


@control("PASS-04", "os")
def no_empty_or_default_account_gets_in(host: Host, site: Site) -> Iterator[Finding]:
    passwords = host.passwords
    found = [_seen(table.name, "any name gets in, with any password") for table in passwords.tables if table.everybody]
    found += [evidence for table in passwords.tables for evidence in _open_accounts(table, passwords, site)]
    doubts = _doubts(passwords)
    if passwords.pam_problem and any(account.stored.empty for account in passwords.accounts):
        doubts.append(passwords.pam_problem)
    if found:
        yield fail(HOST, f"accounts are open to whoever tries: {_first(found)}", *found)
    elif doubts:
        yield unknown(HOST, "whether each account has a password and an owner is not known", doubts[0])
    else:
        yield passed(HOST, "no account lets anybody in without a password, and none has a default name")


def _open_accounts(table: Table, passwords: Passwords, site: Site) -> Iterator[Evidence]:
    for what, accounts in open_accounts(table, passwords, site):
        hint = f" ({passwords.nullok})" if "empty" in what and table.kind == SHADOW else ""
        yield _seen(table.name, f"{_counted(accounts, 'account')} {what}{hint}: {names(accounts)}")


def open_accounts(table: Table, passwords: Passwords, site: Site) -> Iterator[tuple[str, list[Account]]]:
    """How somebody gets in whom nobody knows, and by which accounts."""
    defaults = {str(name).lower() for name in site.tunables.get("default_names", ())}
    empty_counts = table.kind in (DOVECOT, EXIM) or table.kind == SHADOW and passwords.nullok
    of_the_host = table.kind == SHADOW
    kinds = (
        ("with any password at all", [a for a in table.accounts if a.free]),
        ("with an empty password", [a for a in table.accounts if a.stored.empty and empty_counts and not a.free]),
        ("with a default name and a password", [a for a in table.accounts if a.usable and _local_part(a) in defaults]),
        ("with the rights of root (uid 0)", [a for a in table.accounts if a.uid == 0 and a.stored.user != "root"]),
        ("of a service with a password", [a for a in table.accounts if of_the_host and a.usable and _is_service(a)]),
    )
    return (found for found in kinds if found[1])


def _local_part(account: Account) -> str:
    return account.stored.user.partition("@")[0].lower()


def sets_a_password(account: Account) -> bool:
    """Whether passwd(1) is at the account's hand. root is asked for nothing."""
    return account.usable and account.uid > 0 and not _is_service(account) and account.shell.rpartition("/")[2] not in _NO_SHELLS


def _is_service(account: Account) -> bool:
    return 0 < account.uid < _FIRST_PERSON or account.uid == _NOBODY


@control("PASS-05", "os")
def nobody_leaves_an_account_behind(host: Host, site: Site) -> Iterator[Finding]:
    days = int(site.tunables.get("dormant_days", 180))
    since = host.now - days * _DAY_S
    people = [account for account in host.passwords.accounts if account.usable and not _is_service(account)]
    dormant: list[Account] = []
    doubts: dict[str, None] = {}
    for account in people:
        times, doubt = _last_times(account, host)
        if account.since * _DAY_S >= since or any(time >= since for time in times):
            continue
        if doubt:
            doubts.setdefault(doubt)
        else:
            dormant.append(account)
    doubts.update(dict.fromkeys(_doubts(host.passwords)))
    if dormant:
        tables: dict[str, list[Account]] = {}
        for account in dormant:
            tables.setdefault(account.table, []).append(account)
        seen = [_seen(table, f"nobody logged in for {days} days: {names(mine)}") for table, mine in tables.items()]
        yield fail(HOST, f"{_counted(dormant, 'account')} not in use: {_first(seen)}", *seen)
    elif doubts:
        yield unknown(HOST, "which accounts lie idle is not known", next(iter(doubts)))
    elif not people:
        yield notapplicable(HOST, "nobody has a password here", "no table of this host holds one that somebody may log in with")
    else:
        yield passed(HOST, f"{_counted(people, 'account')}, used or given a password in the last {days} days")


def _last_times(account: Account, host: Host) -> tuple[list[float], str]:
    """When somebody logged in, by every way that the account has; why one of these ways is not known."""
    logins, user = host.last_logins, account.stored.user
    times: list[float] = []
    doubt = ""
    if account.uid >= 0 and account.shell.rpartition("/")[2] not in _NO_SHELLS:
        times += [logins.shell[user]] if user in logins.shell else []
        doubt = logins.shell_problem
    if account.uid < 0 or host.passwords.system:
        times += [logins.mail[user]] if user in logins.mail else []
        kept = f"no time of a login for mail is kept of {'some accounts' if logins.mail else 'any account'}"
        doubt = doubt or logins.mail_problem or ("" if user in logins.mail else kept)
    return times, doubt
