"""The tables of passwords that Dovecot's configuration names: passwd-files, data bases of SQLite, and what stands in itself.

2.3 writes a passdb's place as `args`, 2.4 as settings of its own; in both a path may hold variables, as a file for each domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Callable, NamedTuple, Optional

from ..passwords.accounts import Account
from ..passwords.schemes import of_dovecot
from ..runner import ReadError, Runner
from ..text import printable
from .dovecot_model import Dovecot, Section
from .password_table import DOVECOT, Malformed, Table, lines, made_of

# What checks passwords of the host's own accounts.
_OF_THE_HOST = ("pam", "passwd", "shadow", "bsdauth")
_FILES_LIMIT = 2000
_QUERIES = 1000  # at once
_QUERIES_S = 20.0
_USERS_LIMIT = 1_000_000
# `%d`, `%Lu`, `%2.1n`, `%{user}`, `%{user | domain | lower}`; `%%` is a percent sign.
_VARIABLE = re.compile(r"%(?:\{([^}]*)\}|(-?\d*\.?\d*[A-Z]*)([a-z%]))")
_SHORT = {"u": "user", "n": "username", "d": "domain", "s": "service"}
_FILTERS: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower, "upper": str.upper, "username": lambda user: user.partition("@")[0],
    "domain": lambda user: user.partition("@")[2],
}  # fmt: skip
ADVICE = "put a list of it, `login:hash` or LDIF, below /var/lib/mtaudit/passwords/, readable by root alone"


_SETTINGS = (2, 4)  # where a passdb has settings instead of `args`


class Unfilled(Exception):
    """A variable whose value is not known here."""


class Kept(NamedTuple):
    """What a table says of somebody; `free`: `nopassword`."""

    user: str
    text: str
    free: bool

    def __repr__(self) -> str:
        return f"Kept({self.user!r})"


def of_the_host(dovecot: Dovecot) -> list[str]:
    """Dovecot's name, where it lets accounts of the host in."""
    return ["Dovecot"] if any(driver_of(each) in _OF_THE_HOST and not yes(each, "deny") for each in passdbs(dovecot)) else []


def tables(runner: Runner, dovecot: Dovecot) -> list[Table]:
    """In the order in which Dovecot asks them: whom one with `deny` names gets in by none after it."""
    found: list[Table] = []
    denied: set[str] = set()
    for passdb in passdbs(dovecot):
        made = list(_tables(runner, dovecot, passdb))
        if yes(passdb, "deny") and (passdb not in dovecot.root.sections or _VARIABLE.search(" ".join(passdb.settings.values()))):
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


def passdbs(dovecot: Dovecot) -> list[Section]:
    """Those of a protocol alone among them."""
    return list(_of_kind(dovecot.root, "passdb"))


def _of_kind(section: Section, kind: str) -> Iterator[Section]:
    yield from section.of_kind(kind)
    for inner in section.sections:
        if inner.kind == "protocol":
            yield from _of_kind(inner, kind)


def driver_of(section: Section) -> str:
    return section.settings.get("driver") or section.name


def yes(section: Section, name: str) -> bool:
    return section.settings.get(name, "") in ("yes", "y", "1", "true")


def _tables(runner: Runner, dovecot: Dovecot, passdb: Section) -> Iterator[Table]:
    driver = driver_of(passdb)
    if driver == "passwd-file":
        yield from _passwd_files(runner, dovecot, passdb)
    elif driver == "static":
        yield from _static(passdb)
    elif driver == "sql":
        yield _sql(runner, dovecot, passdb)
    elif driver not in _OF_THE_HOST:
        yield Table(f"passdb {driver}", DOVECOT, problem=f"passwords that Dovecot asks {driver} for are not read: {ADVICE}")


def setting(passdb: Section, name: str) -> str:
    return passdb.settings.get(name) or passdb.settings.get(f"passdb_{name}", "")


def _scheme(dovecot: Dovecot, passdb: Section) -> str:
    """Of a password without {SCHEME}, since 2.4."""
    return setting(passdb, "default_password_scheme") or dovecot.value("passdb_default_password_scheme") or "PLAIN"


# Files

def _passwd_files(runner: Runner, dovecot: Dovecot, passdb: Section) -> Iterator[Table]:
    """`args = scheme=NAME username_format=FORMAT PATH` up to 2.3, settings since."""
    words = passdb.settings.get("args", "").split()
    options = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("/"))
    path = passdb.settings.get("passwd_file_path") or next((word for word in words if word.startswith("/")), "")
    scheme = _scheme(dovecot, passdb) if dovecot.release >= _SETTINGS else options.get("scheme", "CRYPT")
    if not path:
        yield Table("passdb passwd-file", DOVECOT, problem="a passdb of Dovecot names no file")
        return
    files = list(_files(runner, path)) if _VARIABLE.search(path) else [(path, "")]
    yield from (_passwd_file(runner, file, domain, scheme, dovecot) for file, domain in files[:_FILES_LIMIT])
    if len(files) > _FILES_LIMIT:
        yield Table(path, DOVECOT, problem=f"{path} stands for more than {_FILES_LIMIT} files: the others were not looked at")


def _files(runner: Runner, path: str) -> Iterator[tuple[str, str]]:
    """Each file that a path with variables stands for, with the domain that its path says."""
    pattern, form, end, named = "", "", 0, False
    for found in _VARIABLE.finditer(path):
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
        yield _account(Kept(user, row[1] if len(row) > 1 else "", free), scheme, path, dovecot)

    return made_of(path, DOVECOT, lines(runner, path), account)


def _account(kept: Kept, scheme: str, table: str, dovecot: Dovecot) -> Account:
    """`nopassword` lets any password in; 2.3 does not heed it where one is set all the same. Without it an empty one lets in only
    as plain text (tried on 2.3.19 and 2.4.1)."""
    stored = of_dovecot(kept.user, kept.text, scheme)
    free = kept.free and (not kept.text or dovecot.release >= _SETTINGS)
    return Account(stored._replace(locked=not free and (stored.locked or not stored.text and not stored.empty)), table, free=free)


def fields_of(passdb: Section) -> dict[str, str]:
    """What is said of everybody: 2.3 has `override_fields`, `default_fields` and, for `static`, `args`; 2.4 has `fields`."""
    names = ("default_fields", "override_fields", *(("args",) if driver_of(passdb) == "static" else ()))
    words = " ".join(passdb.settings.get(name, "") for name in names).split()
    nested = {name: value for each in passdb.of_kind("fields") for name, value in each.settings.items()}
    return {**dict(word.partition("=")[::2] for word in words), **nested}


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


# Data bases

def _sql(runner: Runner, dovecot: Dovecot, passdb: Section) -> Table:
    """The names that `iterate_query` gives, each with what `password_query` gives for it."""
    args = passdb.settings.get("args", "")
    name = args or "passdb sql"
    try:
        told = _told(runner.read(args)) if args else _settings(dovecot, passdb)
        if told.get("driver") != "sqlite":
            kind = told.get("driver") or "a data base"
            return Table(name, DOVECOT, problem=f"passwords that Dovecot asks {kind} for are not read: {ADVICE}")
        path = told.get("connect", "")
        if not told.get("iterate_query"):
            return Table(path, DOVECOT, problem=f"{name} has no iterate_query, which says who is in {path}: set it, or {ADVICE}")
        return _of_rows(runner, dovecot, told)
    except ReadError as exc:
        return Table(name, DOVECOT, problem=printable(str(exc)))
    except Unfilled as exc:
        return Table(name, DOVECOT, problem=printable(f"its password_query goes by {exc}, which is not known here: {ADVICE}"))


def _told(text: str) -> dict[str, str]:
    """Settings of 2.3's file for a data base; a backslash at the end joins lines."""
    joined = re.sub(r"\\[ \t]*\r?\n[ \t]*", " ", text)
    told = dict(re.findall(r"(?m)^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", joined))
    # MD5 is what 2.3 takes where nothing is said (db-sql.c).
    return {"default_pass_scheme": "MD5", "password_query": _USUAL_QUERY, **told}


_USUAL_QUERY = "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'"


def _settings(dovecot: Dovecot, passdb: Section) -> dict[str, str]:
    """The same of 2.4's settings, which may stand in the passdb, or outside it for all."""
    def first(*names: str, places: Iterable[Section] = (passdb, dovecot.root)) -> str:
        return next((value for place in places for name in names if (value := place.settings.get(name, ""))), "")

    nested = [each for place in (passdb, dovecot.root) for each in place.of_kind("sqlite")]
    userdbs = [each for each in _of_kind(dovecot.root, "userdb") if driver_of(each) == "sql"]
    path = first("sqlite_path") or next((each.settings.get("path", "") for each in nested), "")
    return {
        "driver": first("sql_driver"), "connect": path, "password_query": first("query", "passdb_sql_query", places=(passdb,)),
        "iterate_query": first("iterate_query", "userdb_sql_iterate_query", places=(*userdbs, dovecot.root)),
        "default_pass_scheme": _scheme(dovecot, passdb),
    }  # fmt: skip


def _of_rows(runner: Runner, dovecot: Dovecot, told: Mapping[str, str]) -> Table:
    path = told["connect"]
    answers = runner.query(path, [told["iterate_query"]], _QUERIES_S)
    users = list(dict.fromkeys(filter(None, map(_user, answers[0] if answers else ()))))[:_USERS_LIMIT]
    found: list[Account] = []
    until, asked = runner.now() + _QUERIES_S, 0
    while asked < len(users) and runner.now() < until:
        some = users[asked : asked + _QUERIES]
        answered = runner.query(path, [filled(told["password_query"], user, _quoted) for user in some], _QUERIES_S)
        for user, rows in zip(some, answered):
            found += [_account(_kept(user, row), told["default_pass_scheme"], path, dovecot) for row in rows[:1]]
        asked += len(answered)
        if len(answered) < len(some):
            break
    late = f"of {path} {asked} of {len(users)} accounts were read in time"
    return Table(path, DOVECOT, tuple(found), problem=late if not answers or asked < len(users) else "")


def _user(row: Mapping[str, Any]) -> str:
    """`user`, or `username` with or without `domain`."""
    name, domain = row.get("user") or row.get("username") or "", row.get("domain") or ""
    return f"{name}@{domain}" if name and domain else str(name)


def _kept(user: str, row: Mapping[str, Any]) -> Kept:
    """NULL is no password. `nopassword` counts by being there, unless it is NULL."""
    return Kept(user, str(row.get("password") or ""), row.get("nopassword") is not None)


def filled(text: str, user: str, escape: Optional[Callable[[str], str]] = None) -> str:
    """A text with variables of Dovecot, of somebody who logs in by IMAP. Raises Unfilled for others than the name's."""

    def value(found: re.Match[str]) -> str:
        if found[3] == "%":
            return "%"
        words = [word.strip() for word in found[1].split("|")] if found[1] is not None else [_SHORT.get(found[3], found[0])]
        told = {"user": user, "username": user.partition("@")[0], "domain": user.partition("@")[2], "service": "imap",
                "protocol": "imap"}  # fmt: skip
        changes = ["lower" if each == "L" else "upper" if each == "U" else found[0] for each in found[2] or ""]
        if words[0] not in told or any(word not in _FILTERS for word in (*words[1:], *changes)):
            raise Unfilled(found[0])
        text = told[words[0]]
        for word in (*words[1:], *changes):
            text = _FILTERS[word](text)
        return escape(text) if escape else text

    return _VARIABLE.sub(value, text)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
