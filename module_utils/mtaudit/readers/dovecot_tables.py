"""The tables of passwords that Dovecot's configuration names: passwd-files, data bases, and what stands in itself.

2.3 writes a passdb's place as `args`, 2.4 as settings of its own; in both a path may hold variables, as a file for each domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ..passwords.accounts import Account
from ..passwords.schemes import of_dovecot
from ..runner import Runner
from . import dovecot_sql
from .dovecot_model import Dovecot, Section
from .dovecot_passdbs import (
    ADVICE,
    OF_THE_HOST,
    SETTINGS,
    Kept,
    account_of,
    driver_of,
    fields_of,
    passdbs,
    scheme_of,
    setting,
    yes,
)
from .dovecot_variables import VARIABLE
from .password_table import DOVECOT, Malformed, Table, lines, made_of

_FILES_LIMIT = 2000


def tables(runner: Runner, dovecot: Dovecot) -> list[Table]:
    """In the order in which Dovecot asks them: whom one with `deny` names gets in by none after it."""
    found: list[Table] = []
    denied: set[str] = set()
    for passdb in passdbs(dovecot):
        made = list(_tables(runner, dovecot, passdb))
        if yes(passdb, "deny") and (passdb not in dovecot.root.sections or VARIABLE.search(" ".join(passdb.settings.values()))):
            continue  # somebody it names still gets in by another protocol
        if yes(passdb, "deny"):
            denied.update(account.stored.user for table in made for account in table.accounts)
        else:
            found += [_without(table, denied) for table in made]
    return found


def _without(table: Table, denied: set[str]) -> Table:
    if not denied:
        return table
    return replace(table, accounts=tuple(_locked(each) if each.stored.user in denied else each for each in table.accounts))


def _locked(account: Account) -> Account:
    return account._replace(stored=account.stored._replace(locked=True), free=False)


def _tables(runner: Runner, dovecot: Dovecot, passdb: Section) -> Iterator[Table]:
    driver = driver_of(passdb)
    if driver == "passwd-file":
        yield from _passwd_files(runner, dovecot, passdb)
    elif driver == "static":
        yield from _static(passdb)
    elif driver == "sql":
        yield dovecot_sql.table(runner, dovecot, passdb)
    elif driver not in OF_THE_HOST:
        yield Table(f"passdb {driver}", DOVECOT, problem=f"passwords that Dovecot asks {driver} for are not read: {ADVICE}")


# Files

def _passwd_files(runner: Runner, dovecot: Dovecot, passdb: Section) -> Iterator[Table]:
    """`args = scheme=NAME username_format=FORMAT PATH` up to 2.3, settings since."""
    words = passdb.settings.get("args", "").split()
    options = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("/"))
    path = passdb.settings.get("passwd_file_path") or next((word for word in words if word.startswith("/")), "")
    scheme = scheme_of(dovecot, passdb) if dovecot.release >= SETTINGS else options.get("scheme", "CRYPT")
    if not path:
        yield Table("passdb passwd-file", DOVECOT, problem="a passdb of Dovecot names no file")
        return
    files = list(_files(runner, path)) if VARIABLE.search(path) else [(path, "")]
    yield from (_passwd_file(runner, file, domain, scheme, dovecot) for file, domain in files[:_FILES_LIMIT])
    if len(files) > _FILES_LIMIT:
        yield Table(path, DOVECOT, problem=f"{path} stands for more than {_FILES_LIMIT} files: the others were not looked at")


def _files(runner: Runner, path: str) -> Iterator[tuple[str, str]]:
    """Each file that a path with variables stands for, with the domain that its path says."""
    pattern, form, end, named = "", "", 0, False
    for found in VARIABLE.finditer(path):
        plain = path[end : found.start()]
        of_domain = not named and (found[3] == "d" or "domain" in (found[1] or ""))
        named = named or of_domain
        pattern += _escaped(plain) + ("%" if found[3] == "%" else "*")
        form += re.escape(plain) + ("%" if found[3] == "%" else "(?P<domain>[^/]*)" if of_domain else "[^/]*")
        end = found.end()
    pattern, form = pattern + _escaped(path[end:]), form + re.escape(path[end:])
    for file in runner.glob(pattern):
        matched = re.fullmatch(form, file)
        yield file, (matched["domain"] or "") if matched and named else ""


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _passwd_file(runner: Runner, path: str, domain: str, scheme: str, dovecot: Dovecot) -> Table:
    """`user:password:uid:gid:gecos:home:shell:extra fields`, of which what is at the end may be missing."""

    def account(line: str) -> Iterator[Account]:
        if not line.strip() or line.startswith("#"):
            return
        row = line.rstrip("\r").split(":", 7)
        if not row[0].strip():
            raise Malformed
        user = row[0] if "@" in row[0] or not domain else f"{row[0]}@{domain}"
        free = any(word.partition("=")[0] == "nopassword" for word in (row[7].split() if len(row) > 7 else ()))
        yield account_of(Kept(user, row[1] if len(row) > 1 else "", free), scheme, path, dovecot)

    return made_of(path, DOVECOT, lines(runner, path), account)


def _static(passdb: Section) -> Iterator[Table]:
    """One answer for every name. With `proxy` the host behind it checks the password."""
    fields = fields_of(passdb)
    kept = fields.get("password") or setting(passdb, "static_password")
    if "proxy" in fields or "proxy_maybe" in fields:
        return
    if "nopassword" in fields:
        yield Table("passdb static", DOVECOT, everybody=True)
    elif kept.startswith("#"):
        yield Table("passdb static", DOVECOT, problem="doveconf hides the password that Dovecot takes from everybody")
    elif kept:
        yield Table("passdb static", DOVECOT, (Account(of_dovecot("everybody", kept, "PLAIN"), "passdb static"),))
