"""Passwords in the data bases that Dovecot's passdbs ask: SQLite's files, and servers of MySQL, MariaDB and PostgreSQL.

A query that compares columns with the name alone is asked for everybody at once. Another one is asked for each name that
iterate_query gives, as Dovecot would ask it. What is neither is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..passwords.accounts import Account
from ..runner import ReadError, Runner
from ..sql_client import MYSQL, PGSQL, Login, Rows
from ..text import printable
from .dovecot import parse
from .dovecot_model import Dovecot, Section
from .dovecot_passdbs import ADVICE, Kept, account_of, driver_of, of_kind, passdbs, scheme_of
from .dovecot_variables import VARIABLE, Unfilled, filled
from .password_table import DOVECOT, Table

_QUERIES = 1000  # at once
_FILE_S, _SERVER_S = 20.0, 60.0
_USERS_LIMIT = 1_000_000
_USUAL_QUERY = "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'"

# What libpq and the clients of MySQL are told under names of their own; other settings of Dovecot are its own affair.
_LIBPQ = ("host", "hostaddr", "port", "user", "password", "options", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl",
          "gssencmode", "krbsrvname", "channel_binding", "target_session_attrs")  # fmt: skip
_OF_MYSQL = {"host": "host", "port": "port", "user": "user", "password": "password", "ssl_ca": "ssl-ca",
             "ssl_ca_path": "ssl-capath", "ssl_cert": "ssl-cert", "ssl_key": "ssl-key", "ssl_cipher": "ssl-cipher",
             "ssl_client_ca_file": "ssl-ca", "ssl_client_cert_file": "ssl-cert", "ssl_client_key_file": "ssl-key"}  # fmt: skip

# libpq, "Keyword/Value Connection Strings"; Dovecot cuts those of MySQL at white space (driver-mysql.c).
_CONNINFO = r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|[^\s\\])*)"
# A query for one account that can be asked for all: SELECT ... FROM one table WHERE a = '%u' AND b = 1 AND ...
_COLUMN = r"[\w.`\"]+"
_TABLE = rf"{_COLUMN}(?:\s+(?:AS\s+)?\w+)?"
_WHOLE = re.compile(rf"\s*SELECT\s(?P<what>.+?)\sFROM\s+(?P<table>{_TABLE})\s+WHERE\s+(?P<conditions>.+?)[\s;]*",
                    re.IGNORECASE | re.DOTALL)  # fmt: skip
_NAMED = re.compile(rf"(?P<column>{_COLUMN})\s*=\s*(?P<quote>['\"])(?P<name>[^'\"]+)(?P=quote)")
_COMPARED = rf"{_COLUMN}\s*(?:=|<>|!=|>=?|<=?)\s*(?:'[^'%\\]*'|-?\w+)"
_PLAIN = re.compile(rf"{_COMPARED}|{_COLUMN}\s+IS\s+(?:NOT\s+)?(?:NULL|TRUE|FALSE)|(?:NOT\s+)?{_COLUMN}", re.IGNORECASE)
_NAMES = {"%u": "user", "%Lu": "user", "%n": "name", "%Ln": "name", "%d": "domain", "%Ld": "domain", "%{user}": "user",
          "%{user|lower}": "user", "%{user|username}": "name", "%{user|username|lower}": "name", "%{user|domain}": "domain",
          "%{user|domain|lower}": "domain", "%{username}": "name", "%{domain}": "domain"}  # fmt: skip
# Words after which a row is no longer an account of its own, or a query does more than ask.
_MORE = re.compile(r"(?i)\b(?:DISTINCT|COUNT|MAX|MIN|SUM|AVG|GROUP_CONCAT|STRING_AGG|FROM|UNION|LIMIT|OVER)\b")
_WRITES = re.compile(r"(?i)\bINTO\b|\\|;(?=\s*\S)|--|#|/\*")
_READS = re.compile(r"(?i)\s*\(?\s*(?:SELECT|WITH)\b")
_NOBODYS = "{CRYPT}*"
_UNSAFE = re.compile(r"[\\\"`\x00-\x1f\x7f]")


class _NotAsked(Exception):
    """Why a query is not asked, or says nothing; no part of it."""


class _Told(NamedTuple):
    """What a passdb says of its data base: `places` are a file of SQLite, or where a server may be, the first choice first."""

    driver: str
    places: tuple[Mapping[str, str], ...]
    password_query: str
    iterate_query: str
    scheme: str

    def __repr__(self) -> str:
        return f"_Told({self.driver!r})"


def table(runner: Runner, dovecot: Dovecot, passdb: Section) -> Table:
    """Raises nothing."""
    args = passdb.settings.get("args", "")
    name = args or "passdb sql"
    try:
        told = _of_file(runner.read(args)) if args else _of_settings(runner, dovecot, passdb)
        if told.driver == "sqlite":
            path = told.places[0].get("path", "") if told.places else ""

            def rows(statements: Any) -> Iterator[tuple[int, dict[str, Any]]]:
                answers = runner.query(path, list(statements), _FILE_S)
                if len(answers) < len(statements):
                    raise ReadError(f"Could not ask {printable(path)}: it did not answer within {_FILE_S:g} s")
                return ((number, row) for number, found in enumerate(answers) for row in found)

            return _answered(rows, told, path, dovecot)
        if told.driver not in (MYSQL, PGSQL):
            kind = told.driver or "a data base"
            return Table(name, DOVECOT, problem=f"passwords that Dovecot asks {kind} for are not read: {ADVICE}")
        return _of_servers(runner, told, name, dovecot)
    except ReadError as exc:
        return Table(name, DOVECOT, problem=printable(str(exc)))


def _of_servers(runner: Runner, told: _Told, name: str, dovecot: Dovecot) -> Table:
    """What the first server says that can be reached."""
    found = Table(name, DOVECOT, problem=f"{name} names no server: {ADVICE}")
    for place in told.places:
        login = _login(told.driver, place)
        if "option_file" in place:
            problem = f"the login to {login.title} stands in a file of MySQL's, which is not read: {ADVICE}"
            return Table(login.title, DOVECOT, problem=printable(problem))
        try:
            with runner.session(login, _SERVER_S) as rows:
                found = _answered(rows, told, login.title, dovecot)
        except ReadError as exc:
            found = Table(login.title, DOVECOT, problem=printable(f"{exc}; else {ADVICE}"))
        if found.accounts or not found.problem:
            break
    return found


# What Dovecot is told

def _of_file(text: str) -> _Told:
    """2.3's file for a data base; a backslash at the end joins lines."""
    joined = re.sub(r"\\[ \t]*\r?\n[ \t]*", " ", text)
    told = dict(re.findall(r"(?m)^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", joined))
    driver, connect = told.get("driver", ""), told.get("connect", "")
    # MD5 is what 2.3 takes where nothing is said (db-sql.c).
    places, query = tuple(_connects(driver, connect)), told.get("password_query", _USUAL_QUERY)
    return _Told(driver, places, query, told.get("iterate_query", ""), told.get("default_pass_scheme", "MD5"))


def _connects(driver: str, connect: str) -> Iterator[dict[str, str]]:
    """`host=a host=b user=mail`: each host is one of several that say the same (driver-mysql.c, driver-sqlpool.c)."""
    if driver == "sqlite":
        yield {"path": connect}
        return
    told, hosts = {}, []
    for name, value in re.findall(_CONNINFO if driver == PGSQL else r"(\w+)=(\S*)", connect):
        if driver == PGSQL:
            value = re.sub(r"\\(.)", r"\1", value[1:-1] if value.startswith("'") else value)
        hosts += [value] if name == "host" else []
        told[name] = value
    yield from ({**told, "host": host} for host in hosts or [""])


def _of_settings(runner: Runner, dovecot: Dovecot, passdb: Section) -> _Told:
    """2.4's settings, which may stand in the passdb, or outside it for all. Raises ReadError."""
    if any(_hidden(each) for each in (passdb, dovecot.root)):
        done = runner.run(["doveconf", "-a", "-P"])
        if done.returncode:
            raise ReadError("'doveconf -P' does not tell how Dovecot logs in to its data base")
        number, dovecot = passdbs(dovecot).index(passdb), parse(done.stdout)
        passdb = passdbs(dovecot)[number]

    def first(*names: str, places: Iterable[Section] = (passdb, dovecot.root)) -> str:
        return next((value for place in places for name in names if (value := place.settings.get(name, ""))), "")

    driver = first("sql_driver")
    userdbs = [each for each in of_kind(dovecot.root, "userdb") if driver_of(each) == "sql"]
    nested = [each for place in (passdb, dovecot.root) for each in place.of_kind(driver)]
    places = [_place(driver, each) for each in nested]
    if driver == "sqlite" and first("sqlite_path"):
        places = [{"path": first("sqlite_path")}]
    iterate = first("iterate_query", "sql_iterate_query", "userdb_sql_iterate_query", places=(*userdbs, dovecot.root))
    query = first("query", "sql_query", "passdb_sql_query", places=(passdb,))
    return _Told(driver, tuple(places), query, iterate, scheme_of(dovecot, passdb))


def _hidden(section: Section) -> bool:
    return any(each.settings.get("password", "").startswith("# hidden") for each in section.of_kind(MYSQL))


def _place(driver: str, section: Section) -> dict[str, str]:
    """`mysql HOST { user = ... ssl_client { ca_file = ... } }`, `pgsql HOST { parameters { user = ... } }`."""
    told = {"host": section.name, **{name.partition(f"{driver}_")[2] or name: value for name, value in section.settings.items()}}
    for inner in section.sections:
        prefix = "" if inner.kind in ("parameters", "pgsql_parameters") else f"{inner.kind}_"
        told.update((f"{prefix}{name}", value) for name, value in inner.settings.items())
    return told


def _login(driver: str, told: Mapping[str, str]) -> Login:
    if driver == PGSQL:
        return Login(PGSQL, told.get("dbname", ""), {name: told[name] for name in _LIBPQ if told.get(name)})
    settings = {_OF_MYSQL[name]: value for name, value in told.items() if name in _OF_MYSQL and value}
    if settings.get("host", "").startswith("/"):
        settings["socket"] = settings.pop("host")
    if told.get("ssl_verify_server_cert") == "yes":
        settings["loose-ssl-verify-server-cert"] = "1"
    return Login(MYSQL, told.get("dbname", ""), settings)


# What the data base says

def _answered(rows: Rows, told: _Told, name: str, dovecot: Dovecot) -> Table:
    """What was read before something went wrong counts. Raises nothing."""
    found: list[Account] = []
    problem = ""
    try:
        for kept in _kept(rows, told):
            found.append(account_of(kept, told.scheme, name, dovecot))
            if len(found) >= _USERS_LIMIT:
                problem = f"{name} has {_USERS_LIMIT} accounts or more: those after them were not looked at"
                break
    except ReadError as exc:
        problem = f"{exc}; else {ADVICE}" if not found else f"{exc}, after {len(found)} accounts"
    except Unfilled as exc:
        problem = f"its password_query goes by {exc}, which is not known here: {ADVICE}"
    except _NotAsked as exc:
        problem = f"{exc}: {ADVICE}"
    return Table(name, DOVECOT, tuple(found), problem=printable(problem))


def _kept(rows: Rows, told: _Told) -> Iterator[Kept]:
    """Raises ReadError, Unfilled and _NotAsked."""
    if not told.password_query:
        raise _NotAsked("no password_query is known")
    for query in filter(None, (told.password_query, told.iterate_query)):
        if _WRITES.search(query) or not _READS.match(query):
            raise _NotAsked("a query of its may do more than ask, and is not asked")
    of_all = _for_everybody(told.password_query)
    if of_all:
        for _, row in rows([f"{of_all} LIMIT {_USERS_LIMIT}"]):
            name, domain = row.get("mtaudit_user"), row.get("mtaudit_domain")
            name = name or _user({"user": row.get("mtaudit_name"), "domain": domain})
            if name and ("mtaudit_domain" not in row or domain is not None):
                yield _of_row(str(name), row)
        return
    if not told.iterate_query:
        raise _NotAsked("its password_query is for one account, and no iterate_query says who there is")
    users = list(dict.fromkeys(user for _, row in rows([told.iterate_query]) if (user := _user(row))))
    strange = {user for user in users if _UNSAFE.search(user) or "'" in user and '"' in told.password_query}
    asked = [user for user in users if user not in strange]
    for start in range(0, len(asked), _QUERIES):
        some = asked[start : start + _QUERIES]
        statements = [filled(told.password_query, user, _quoted) for user in some]
        before = -1
        for number, row in rows(statements):
            if number > before:
                before = number
                yield _of_row(some[number], row)
    if strange:
        raise _NotAsked(f"{len(strange)} names have quotes or control characters in them, and were not asked for")


def _for_everybody(query: str) -> str:
    """The query without its comparisons of columns with the name, and with these columns in what it gives; empty where it is not
    understood."""
    found = _WHOLE.fullmatch(query)
    if not found or _MORE.search(found["what"]) or VARIABLE.search(found["what"]):
        return ""
    columns: dict[str, str] = {}
    others: list[str] = []
    for condition in re.split(r"(?i)\s+AND\s+", found["conditions"]):
        named = _NAMED.fullmatch(condition)
        meant = _NAMES.get(re.sub(r"\s", "", named["name"])) if named else None
        if named and meant:
            columns.setdefault(meant, named["column"])
        elif _PLAIN.fullmatch(condition) and not VARIABLE.search(condition):
            others.append(condition)
        else:
            return ""
    if not columns.keys() & {"user", "name"}:
        return ""
    listed = "".join(f", {column} AS mtaudit_{meant}" for meant, column in columns.items())
    where = " AND ".join(others)
    return f"SELECT {found['what']}{listed} FROM {found['table']}" + (f" WHERE {where}" if where else "")


def _user(row: Mapping[str, Any]) -> str:
    """`user`, or `username` with or without `domain`."""
    name, domain = row.get("user") or row.get("username") or "", row.get("domain") or ""
    return f"{name}@{domain}" if name and domain else str(name)


def _of_row(user: str, row: Mapping[str, Any]) -> Kept:
    """`nopassword` counts by being there, unless it is NULL; else NULL lets nobody in, not even without a password (tried on
    2.3.19 and 2.4.1)."""
    if "password" not in row and "nopassword" not in row:
        raise _NotAsked("its password_query gives no column that is called password")
    free, text = row.get("nopassword") is not None, row.get("password")
    return Kept(user, "" if text is None and free else _NOBODYS if text is None else str(text), free)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
