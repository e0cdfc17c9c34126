"""Passwords in data bases of servers: which query is asked for everybody, and that a client's program is told its login unseen.

tests/integration/test_faults.py asks real servers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.readers import dovecot_sql, sasl
from ansible.module_utils.mtaudit.readers.dovecot import parse
from ansible.module_utils.mtaudit.readers.dovecot_passdbs import passdbs
from ansible.module_utils.mtaudit.readers.password_tables import _cyrus_unread
from ansible.module_utils.mtaudit.runner import LocalRunner, ReadError, Recorder, Replay
from ansible.module_utils.mtaudit.sql_client import MYSQL, PGSQL, Login

SECRET = 'Basalt "#\\5'


class Host(LocalRunner):
    """A PATH with one directory, and a file for Dovecot."""

    def __init__(self, root: Path, text: str = "") -> None:
        super().__init__()
        self._path, self._root, self._text = str(root), root, text

    def client(self, name: str, lines: str) -> None:
        path = self._root / name
        path.write_text(f"#!{os.path.realpath('/proc/self/exe')} -Su\nimport os, re, sys, time\n{lines}", encoding="utf-8")
        path.chmod(0o755)

    def read(self, path: str) -> str:
        return self._text or super().read(path)


# Answers each query of psql's with the rows of the file, as psql 15 writes them.
PSQL = """
words = " ".join(sys.argv) + str(os.environ)
told = open(os.environ["PGSERVICEFILE"]).read()
null = re.search("null=(null-[0-9a-f]+)", words)[1]
assert "Basalt" not in words and "password=Basalt" in told
for line in sys.stdin:
    if line.startswith("\\\\\\\\echo"):
        sys.stdout.write("user\\x1fpassword\\x1ecarol\\x1f{PLAIN}x|\\ny\\x1edave\\x1f" + null + "\\n" + line.split()[1] + "\\n")
        sys.stdout.flush()
""".replace("\\\\\\\\", "\\\\")
ROWS = [(0, {"user": "carol", "password": "{PLAIN}x|\ny"}), (0, {"user": "dave", "password": None})]
AT = Login(PGSQL, "mail", {"host": "db", "password": SECRET})


def asked(host: LocalRunner, login: Login = AT, timeout_s: float = 10.0, statements: Sequence[str] = ("SELECT 1",)) -> Any:
    with host.session(login, timeout_s) as rows:
        return list(rows(statements))


def test_the_login_is_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.client("psql", PSQL)
    assert asked(host) == ROWS
    assert SECRET not in repr(AT) and host.spawns == 1


def test_the_file_of_a_login_is_its_owners_alone_and_on_no_disk(tmp_path: Path) -> None:
    host = Host(tmp_path)
    told = tmp_path / "told"
    host.client("mysql", f"""
found = os.stat(sys.argv[1].partition("=")[2])
open({str(told)!r}, "w").write(repr((found.st_mode, os.readlink(sys.argv[1].partition("=")[2]))))
print("ERROR 1045 (28000): Access denied for user 'mail'@'db' (using password: YES)", file=sys.stderr)
""")
    with pytest.raises(ReadError, match="Access denied for user 'mail'@'db'$"):
        asked(host, Login(MYSQL, "mail", {"password": SECRET}))
    mode, link = eval(told.read_text())
    assert stat.S_IMODE(mode) == 0o600 and "memfd:" in link


@pytest.mark.parametrize(("lines", "told"), [
    ("time.sleep(60)", "did not answer within 0.5 s"),
    ("while True: sys.stdout.write('x' * 65536)", "a row of it has more than"),
    ("while True: sys.stdout.write('x\\x1e')", "did not answer within 0.5 s"),
    ("while True: sys.stderr.write('x' * 65536)", "did not answer within 0.5 s"),
    ("print('ERROR:  42P01', file=sys.stderr)", "no such table"),
    ("print('ERROR:  0A000', file=sys.stderr)", "SQLSTATE 0A000"),
    ("sys.exit(1)", "without a word"),
    ("print('a\\x1fb\\x1ec', end='\\x1e', flush=True); time.sleep(9)", "characters that are in none"),
])  # fmt: skip
def test_a_client_that_hangs_floods_or_ends(tmp_path: Path, lines: str, told: str) -> None:
    host = Host(tmp_path)
    host.client("psql", lines)
    with pytest.raises(ReadError, match=told) as caught:
        asked(host, timeout_s=0.5 if told.startswith("did not answer") else 30)
    assert "Could not ask mail on db (pgsql)" in str(caught.value) and "Basalt" not in str(caught.value)


def test_no_client_is_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"its client program is not installed \(mariadb or mysql\)"):
        asked(Host(tmp_path), Login(MYSQL, "mail"))


def test_what_was_recorded_is_answered_again(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.client("psql", PSQL)
    recorder = Recorder(host)
    assert asked(recorder) == ROWS  # type: ignore[arg-type]
    assert asked(Replay(recorder.recording)) == ROWS  # type: ignore[arg-type]
    assert "Basalt" not in str(recorder.recording)


@pytest.mark.parametrize(("query", "everybody"), [
    ("SELECT kept AS password FROM people WHERE name = '%u'", "SELECT kept AS password, name AS mtaudit_user FROM people"),
    ("select password from mailbox m where m.local = '%n' and `domain` = '%Ld' AND active = '1' ;",
     "SELECT password, m.local AS mtaudit_name, `domain` AS mtaudit_domain FROM mailbox m WHERE active = '1'"),
    ("SELECT p FROM t WHERE u = '%{user | lower}' AND gone IS NULL AND NOT off",
     "SELECT p, u AS mtaudit_user FROM t WHERE gone IS NULL AND NOT off"),
    ("SELECT p FROM t WHERE u = '%u' OR mail = '%u'", ""),
    ("SELECT p FROM t WHERE u = '%u' AND (a = 1 OR b = 2)", ""),
    ("SELECT p FROM t WHERE u = '%u' LIMIT 1", ""),
    ("SELECT p FROM t WHERE u = '%u' ORDER BY p", ""),
    ("SELECT max(p) AS password FROM t WHERE u = '%u'", ""),
    ("SELECT p, '%u' AS user FROM t WHERE u = '%u'", ""),
    ("SELECT p FROM t, s WHERE u = '%u'", ""),
    ("SELECT p FROM t WHERE u = '%u' AND ip = '%r'", ""),
    ("SELECT p FROM t WHERE domain = '%d'", ""),
    ("SELECT p FROM t WHERE u = concat('%u')", ""),
    ("SELECT p FROM (SELECT 1) t WHERE u = '%u'", ""),
])  # fmt: skip
def test_a_query_for_one_becomes_one_for_all_only_where_it_is_understood(query: str, everybody: str) -> None:
    assert dovecot_sql._for_everybody(query) == everybody


@pytest.mark.parametrize(("driver", "connect", "places"), [
    ("mysql", 'host=a host=b user=mail password=x"#y dbname=d', [{"host": "a"}, {"host": "b"}]),
    ("pgsql", r"host=a user = mail password='x\'y z' dbname=d", [{"host": "a", "password": "x'y z"}]),
    ("mysql", "host=/run/s.sock user=mail", [{"host": "/run/s.sock"}]),
])  # fmt: skip
def test_what_connect_says(driver: str, connect: str, places: list[dict[str, str]]) -> None:
    found = list(dovecot_sql._connects(driver, connect))
    assert len(found) == len(places)
    assert all(each.items() <= one.items() and one["user"] == "mail" for each, one in zip(places, found))


def told_of(host: LocalRunner, query: str, more: str = "") -> Any:
    connect = f"host=db dbname=mail user=mail password={SECRET.split()[0]}"
    host._text = f"driver = pgsql\nconnect = {connect}\npassword_query = {query}\n{more}\n"  # type: ignore[attr-defined]
    dovecot = parse("# 2.3.19.1 (9b53102964): /d\npassdb {\n  driver = sql\n  args = /sql.conf\n}\n")
    return dovecot_sql.table(host, dovecot, passdbs(dovecot)[0])


@pytest.mark.parametrize(("query", "more", "told"), [
    ("SELECT password INTO OUTFILE '/x' FROM t WHERE u = '%u'", "", "may do more than ask"),
    ("CALL login('%u')", "", "may do more than ask"),
    ("SELECT password FROM t WHERE u = '%u'; DROP TABLE t", "", "may do more than ask"),
    ("SELECT password FROM t WHERE lower(u) = '%u'", "", "no iterate_query"),
    ("SELECT password FROM t WHERE ip = '%r'", "iterate_query = SELECT user FROM t", "goes by %r"),
])  # fmt: skip
def test_what_is_not_asked_is_a_doubt_with_what_to_do(tmp_path: Path, query: str, more: str, told: str) -> None:
    host = Host(tmp_path)
    host.client("psql", PSQL)
    table = told_of(host, query, more)
    assert told in table.problem and "/var/lib/mtaudit/passwords/" in table.problem and not table.accounts


def test_names_are_quoted_or_not_asked_for(tmp_path: Path) -> None:
    """The client answers each query with the query."""
    host = Host(tmp_path)
    host.client("psql", """
names = ["o'neil", "bob", 'x"; DROP', "a\\\\b", "c\\x01"]
asked = ""
for line in sys.stdin:
    if line.startswith("\\\\echo"):
        found = names if "user" in asked else ["{PLAIN}" + asked.split("= ")[-1]]
        sys.stdout.write("\\x1e".join(["user" if "user" in asked else "password", *found]) + "\\n" + line.split()[1] + "\\n")
        sys.stdout.flush()
    elif line != ";\\n":
        asked = line.strip()
""")
    table = told_of(host, "SELECT password FROM t WHERE lower(u) = '%u'", "iterate_query = SELECT user FROM t")
    assert [(a.stored.user, a.stored.text) for a in table.accounts] == [("o'neil", "'o''neil'"), ("bob", "'bob'")]
    assert "3 names have quotes or control characters" in table.problem


# Cyrus SASL

@pytest.mark.parametrize(("settings", "cmdline", "told"), [
    ({"pwcheck_method": "saslauthd"}, "saslauthd\0-a\0ldap\0", "saslauthd asks ldap"),
    ({"pwcheck_method": "saslauthd"}, "/usr/sbin/saslauthd\0-arimap\0", "saslauthd asks rimap"),
    ({"pwcheck_method": "saslauthd"}, "saslauthd\0-a\0pam\0", ""),
    ({"pwcheck_method": "auxprop", "auxprop_plugin": "sql"}, "", "auxprop_plugin sql"),
    ({"ldapdb_uri": "ldap://db"}, "", "auxprop_plugin ldapdb"),
    ({"pwcheck_method": "auxprop", "auxprop_plugin": "sasldb", "sql_select": "SELECT 1"}, "", ""),
    ({"pwcheck_method": "saslauthd", "sql_select": "SELECT 1"}, "saslauthd\0-a\0pam\0", ""),
])  # fmt: skip
def test_what_cyrus_asks_elsewhere_is_a_doubt(tmp_path: Path, settings: dict[str, str], cmdline: str, told: str) -> None:
    recording = {"glob": {"/proc/[0-9]*/cmdline": ["/proc/1/cmdline"]}, "read": {"/proc/1/cmdline": {"text": cmdline}}}
    tables = list(_cyrus_unread(Replay(recording), sasl.Sasl("/etc/postfix/sasl/smtpd.conf", settings)))  # type: ignore[arg-type]
    assert [told in table.problem and "not read" in table.problem for table in tables] == [True] * bool(told)
