"""Find and read every table of passwords on a host: of its accounts, of the mail programs, and lists that were exported."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..passwords.accounts import Account
from ..passwords.schemes import Stored, of_dovecot, of_shadow
from ..runner import ReadError, Runner
from ..text import decode, printable
from . import berkeley_hash, dovecot_tables
from .dovecot_passdbs import ADVICE, of_the_host
from .opensmtpd_tables import file_entries
from .password_table import CYRUS, EXIM, EXPORTED, OPENSMTPD, SHADOW, Malformed, Table, lines, made_of, whole
from .sasl import Sasl, saslauthd

# Where a site puts what a data base that is not read here holds: a file of `login:hash`, or LDIF.
EXPORTS = "/var/lib/mtaudit/passwords/*"
_EXIM_OPTIONS = ("server_condition", "server_secret", "server_password")
_SASLAUTHD, _OF_THE_HOST = "saslauthd", ("pam", "shadow", "getpwent")
_SASLDB_BYTES = 256 * 1024 * 1024
_DAY_S = 86_400
_EXIM_LOOKUP = re.compile(r"\$\{lookup\s*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}\s*)?([a-z]+)")
_NAME = re.compile(r"[^\s${}]+")
# A key ends at a colon or at white space, unless it is quoted (specification, "Single-key lookup types", lsearch).
_EXIM_LINE = re.compile(r'(?:"([^"\s$]+)"|([^\s:"$]+))(?:\s*:\s*|\s+)(.*)')
# What an authenticator of Exim compares a password with is looked up in a file, by the name of the account.
_EXIM_FILE = re.compile(r"\blsearch\*?(?:@\w*)?\s*\{\s*(/[^\s}]+)\s*\}")


@dataclass(frozen=True)
class Passwords:
    """Every table, and whether an account of the host with an empty password gets in: the line of PAM's `nullok`, and a service.
    `system`: what checks passwords of the host's accounts for mail."""

    tables: tuple[Table, ...] = ()
    nullok: str = ""
    pam_problem: str = ""
    system: tuple[str, ...] = ()

    @property
    def accounts(self) -> Iterator[Account]:
        return (account for table in self.tables for account in table.accounts)


def read(runner: Runner, programs: Sequence[tuple[str, Any, Sequence[Any]]]) -> Passwords:
    """No spawn. Raises nothing: a table that cannot be read is kept with its problem."""
    instances = [(title, instance) for title, _, found in programs for instance in found]
    tables = [shadow(runner)]
    system: list[str] = []
    for title, instance in instances:
        if title == "Dovecot":
            tables += dovecot_tables.tables(runner, instance)
            system += of_the_host(instance)
        elif title == "OpenSMTPD":
            tables += _opensmtpd(runner, instance)
            system += ["OpenSMTPD"] * any(listen.auth and listen.logins is None for listen in instance.config.listens)
        elif title == "Exim":
            tables += [_exim(runner, path, compared) for path, compared in _exim_files(instance)]
            tables += _exim_unread(instance)
            conditions = [options.get("server_condition", "") for options in instance.config.authenticators.values()]
            system += ["Exim"] * any("pam{" in condition for condition in conditions)
        for sasl in _sasl(instance):
            tables += _cyrus_unread(runner, sasl)
            system += [title] * (_SASLAUTHD in sasl.methods and saslauthd(runner) in (None, *_OF_THE_HOST))
    tables += [_sasldb(runner, path) for path in _sasldb_files(runner, instances)]
    tables += [exported(runner, path) for path in runner.glob(EXPORTS)]
    return Passwords(tuple(_once(tables)), system=tuple(dict.fromkeys(system)))


def _once(tables: Iterable[Table]) -> Iterable[Table]:
    """What two places say of one table counts together; of an account, what the first says."""
    found: dict[tuple[str, str], Table] = {}
    for table in tables:
        first = found.setdefault((table.name, table.kind), table)
        if first is not table:
            users = {account.stored.user for account in first.accounts}
            more = tuple(account for account in table.accounts if account.stored.user not in users)
            found[table.name, table.kind] = replace(
                first, accounts=(*first.accounts, *more), problem=first.problem or table.problem,
                everybody=first.everybody or table.everybody,
            )  # fmt: skip
    return found.values()


# The host's own accounts

def shadow(runner: Runner) -> Table:
    """/etc/shadow with what /etc/passwd says of each account, and passwords that still stand in that. An account that has expired
    is locked."""
    people: dict[str, tuple[int, str, str]] = {}
    try:
        for _, line in lines(runner, "/etc/passwd"):
            row = line.split(":")
            if len(row) == 7 and row[2].isdigit():
                people.setdefault(row[0], (int(row[2]), row[6], row[1]))
    except ReadError as exc:
        return Table("/etc/shadow", SHADOW, problem=printable(str(exc)))
    today = int(runner.now()) // _DAY_S

    def account(line: str) -> Iterator[Account]:
        row = line.split(":")
        if not line.strip():
            return
        if len(row) != 9 or not row[0]:
            raise Malformed
        uid, shell, elsewhere = people.get(row[0], (-1, "", ""))
        if uid >= 0 and elsewhere == "x":
            stored = of_shadow(row[0], row[1])
            expired = row[7].isdigit() and int(row[7]) <= today
            since = int(row[2]) if row[2].isdigit() else 0
            yield Account(stored._replace(locked=stored.locked or expired), "/etc/shadow", uid, shell, since)

    found = made_of("/etc/shadow", SHADOW, lines(runner, "/etc/shadow"), account)
    visible = [Account(of_shadow(name, kept), "/etc/passwd", uid, shell)
               for name, (uid, shell, kept) in people.items() if kept != "x"]  # fmt: skip
    return Table(found.name, found.kind, (*found.accounts, *visible), found.malformed, found.skipped, found.problem)


# Cyrus SASL

def _sasldb_files(runner: Runner, instances: Iterable[tuple[str, Any]]) -> list[str]:
    told = [sasl.settings.get("sasldb_path", "") for _, instance in instances for sasl in _sasl(instance)]
    return list(dict.fromkeys([*runner.glob("/etc/sasldb2"), *filter(None, told)]))


def _sasl(instance: Any) -> list[Any]:
    """Of Postfix one for each smtpd, of Sendmail one."""
    found = getattr(instance, "sasl", None)
    return list(found.values()) if isinstance(found, dict) else [found] if found else []


def _cyrus_unread(runner: Runner, sasl: Sasl) -> Iterator[Table]:
    """Without auxprop_plugin every plug-in is asked, of which those below need settings (options.html of Cyrus SASL)."""
    asked = saslauthd(runner) if _SASLAUTHD in sasl.methods else None
    if asked is not None and asked not in (*_OF_THE_HOST, "sasldb"):
        yield _not_read(sasl, f"saslauthd asks {asked or 'somebody'} for")
    named = sasl.settings.get("auxprop_plugin", "").lower().split()
    for plugin, setting in (("sql", "sql_select"), ("ldapdb", "ldapdb_uri")):
        if "auxprop" in sasl.methods and (plugin in named or not named and setting in sasl.settings):
            yield _not_read(sasl, f"auxprop_plugin {plugin} looks up")


def _not_read(sasl: Sasl, what: str) -> Table:
    problem = printable(f"{sasl.file}: passwords that {what} are not read: {ADVICE}")
    return Table(f"{sasl.file} pwcheck_method", CYRUS, problem=problem)


def _sasldb(runner: Runner, path: str) -> Table:
    """Pairs of name NUL realm NUL property, and the password as it is (sasldb.c)."""
    found: list[Account] = []
    try:
        for key, value in berkeley_hash.pairs(whole(runner, path, _SASLDB_BYTES)):
            name, realm, kept = (*decode(key).split("\0"), "", "")[:3]
            if kept == "userPassword":
                found.append(Account(Stored(f"{name}@{realm}" if realm else name, "PLAIN", decode(value)), path))
    except ReadError as exc:
        return Table(path, CYRUS, problem=printable(str(exc)))
    except berkeley_hash.NotHash as exc:
        return Table(path, CYRUS, tuple(found), problem=f"{path} is not read: {exc}")
    return Table(path, CYRUS, tuple(found))


# OpenSMTPD and Exim

def _opensmtpd(runner: Runner, instance: Any) -> Iterator[Table]:
    """Tables of `auth <logins>`: names with what crypt(3) makes (table(5), Credentials)."""
    for listen in instance.config.listens:
        logins = listen.logins if listen.auth else None
        if logins is None:
            continue
        if logins.read_at_start:
            path = logins.path
            yield made_of(path, OPENSMTPD, lines(runner, path), lambda line, path=path: _credentials(line, path))  # type: ignore[misc]
        else:
            accounts = tuple(Account(of_shadow(user, kept), f"table {logins}") for user, kept in logins.entries)
            doubt = f"{logins}: its passwords are not read ({logins.backend})" if logins.problem or not accounts else ""
            yield Table(f"table {logins}", OPENSMTPD, accounts, problem=printable(doubt))


def _credentials(line: str, path: str) -> Iterator[Account]:
    for user, kept in file_entries(line):
        if not user or not kept:
            raise Malformed
        yield Account(of_shadow(user, kept), path)


def _exim_files(exim: Any) -> list[tuple[str, bool]]:
    """Files in which an authenticator looks passwords up, and whether it compares them as crypt(3) does."""
    found = {(path, "crypteq" in options[name]) for options in exim.config.authenticators.values() for name in _EXIM_OPTIONS
             for path in _EXIM_FILE.findall(options.get(name, ""))}  # fmt: skip
    compared = {path for path, crypt in found if crypt}  # what is a hash for one of them is no password for the other
    return sorted({(path, path in compared) for path, _ in found})


def _exim_unread(exim: Any) -> Iterator[Table]:
    for name, options in exim.config.authenticators.items():
        found = (kind for option in _EXIM_OPTIONS for kind in _EXIM_LOOKUP.findall(options.get(option, "")))
        kinds = [kind for kind in found if kind != "lsearch"]
        if kinds:
            problem = f"passwords that Exim looks up by {kinds[0]} are not read: {ADVICE}"
            yield Table(f"Exim authenticator {name}", EXIM, problem=problem)


def _exim(runner: Runner, path: str, compared: bool) -> Table:
    """`name: password`, and in Debian's file a third field, for CRAM-MD5: the password as it is (/etc/exim4/passwd)."""

    def account(line: str) -> Iterator[Account]:
        if not line.strip() or line.startswith("#"):
            return
        found = _EXIM_LINE.fullmatch(line.strip())
        if not found:
            raise Malformed
        user = found[1] if found[1] is not None else found[2]
        kept, _, readable = found[3].partition(":")
        yield Account(_crypteq(user, kept) if compared else Stored(user, "PLAIN", kept), path)
        if readable:
            yield Account(Stored(user, "PLAIN", readable), path)

    return made_of(path, EXIM, lines(runner, path), account)


def _crypteq(user: str, text: str) -> Stored:
    """`{md5}`, `{sha1}` or `{crypt}` in front, else crypt(3) (specification, "crypteq"). "*" is in no hash: nobody logs in."""
    stored = of_dovecot(user, text, "CRYPT")
    return stored._replace(locked=stored.locked or not stored.text)


# Lists that were exported

def exported(runner: Runner, path: str) -> Table:
    """A file of `login:hash`, or LDIF (RFC 2849); hashes as Dovecot and OpenLDAP write them, with {SCHEME} in front, or as
    crypt(3) does."""
    if path.endswith(".ldif"):
        return _ldif(runner, path)

    def account(line: str) -> Iterator[Account]:
        if not line.strip() or line.startswith("#"):
            return
        name, colon, kept = line.strip().partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise Malformed
        yield Account(_exported(name, kept), path)

    return made_of(path, EXPORTED, lines(runner, path), account)


def _exported(name: str, kept: str) -> Stored:
    stored = of_dovecot(name, kept, "CRYPT")
    return stored._replace(locked=stored.locked or not stored.text)


def _ldif(runner: Runner, path: str) -> Table:
    """An entry ends with an empty line; its name may stand behind its passwords."""
    entry: dict[str, str] = {}
    kept: list[str] = []

    def account(line: str) -> Iterator[Account]:
        key, colon, value = line.partition(":")
        key = key.lower().partition(";")[0]
        if not line:
            user = entry.get("uid") or entry.get("mail") or entry.get("dn", "")
            yield from [Account(_of_directory(user, text), path) for text in kept]
            entry.clear()
            kept.clear()
        elif line.startswith("#"):
            return
        elif not colon:
            raise Malformed
        elif key == "userpassword":
            kept.append(_ldif_value(value))
        elif key in ("dn", "uid", "mail"):
            entry.setdefault(key, _ldif_value(value))

    return made_of(path, EXPORTED, _unfolded(lines(runner, path)), account)


def _of_directory(name: str, text: str) -> Stored:
    """Without {SCHEME} it is the password itself (RFC 4519, 2.41); nobody logs in with an empty one."""
    stored = of_dovecot(name, text, "PLAIN")
    return stored._replace(locked=stored.locked or not stored.text)


def _ldif_value(value: str) -> str:
    if not value.startswith(":"):
        return value.strip()
    try:
        return decode(b64decode(value[1:].strip(), validate=True))
    except ValueError as exc:
        raise Malformed from exc


def _unfolded(rows: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """A line that begins with a space goes on with the one before; an empty one at the end."""
    before: Optional[tuple[int, str]] = None
    for number, line in rows:
        line = line.rstrip("\r")
        if before is not None and line.startswith(" "):
            before = (before[0], (before[1] + line[1:])[:65536])
            continue
        if before is not None:
            yield before
        before = (number, line)
    if before is not None:
        yield from (before, (before[0], ""))
