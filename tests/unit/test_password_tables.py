"""Tables of passwords: files of every kind, whole, malformed, hostile and large; and nothing of a password in what is printed."""

from __future__ import annotations

import base64
import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.passwords.accounts import Account
from ansible.module_utils.mtaudit.readers import dovecot_passdbs, last_logins, password_table, password_tables
from ansible.module_utils.mtaudit.readers import dovecot_tables as of_dovecot
from ansible.module_utils.mtaudit.readers.berkeley_hash import NotHash, pairs
from ansible.module_utils.mtaudit.readers.dovecot import parse
from ansible.module_utils.mtaudit.readers.exim_model import Config, Exim
from ansible.module_utils.mtaudit.readers.password_table import Table
from ansible.module_utils.mtaudit.readers.password_tables import Passwords
from ansible.module_utils.mtaudit.runner import LocalRunner, ReadError

SECRET = "Basalt-Orchid-Ferry-31"
# Made by saslpasswd2 of Debian 12 (and, to the byte but for its random numbers, 13), of 60 accounts; db5.3_dump is the oracle.
SASLDB = Path(__file__).parent / "sasldb2"
OLD, NEW = "# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\n", "# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\n"


class Host(LocalRunner):
    """Paths below a directory."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def put(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def _at(self, path: str) -> str:
        return f"{self.root}{path}"

    def read(self, path: str) -> str:
        return super().read(self._at(path))

    def piece(self, path: str, offset: int, size_bytes: int) -> bytes:
        return super().piece(path if path.startswith(str(self.root)) else self._at(path), offset, size_bytes)

    def stat(self, path: str) -> Any:
        return super().stat(self._at(path))

    def glob(self, pattern: str) -> list[str]:
        return [path[len(str(self.root)) :] for path in super().glob(self._at(pattern))]

    def query(self, path: str, statements: Any, timeout_s: float = 20.0) -> Any:
        return super().query(self._at(path), statements, timeout_s)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def dovecot_tables(host: Host, text: str) -> list[Table]:
    return of_dovecot.tables(host, parse(text))


def shown(table: Table) -> list[tuple[str, str, bool, bool, bool]]:
    return [(a.stored.user, a.stored.scheme, a.stored.locked, a.stored.empty, a.free) for a in table.accounts]


# The host's own accounts

def test_shadow_says_who_may_log_in(host: Host) -> None:
    host.put("/etc/passwd", "root:x:0:0::/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\nbob:x:1001:1001:::/bin/sh\n"
             "carol::1002:1002:::/bin/sh\nbroken\n")  # fmt: skip
    host.put("/etc/shadow", "root:*:20000:0:99999:7:::\nalice:$y$j9T$a$b:20000:0:99999:7:::\nbob:$6$a$b:20000:0:99999:7::1:\n"
             "ghost:$6$a$b:20000::::::\nhalf:line\n::::::::\n")  # fmt: skip
    table = password_tables.shadow(host)
    assert shown(table) == [
        ("root", "", True, False, False), ("alice", "YESCRYPT", False, False, False),
        ("bob", "SHA512-CRYPT", True, False, False), ("carol", "", False, True, False),
    ]  # fmt: skip
    assert (table.malformed, table.skipped) == (("/etc/shadow:5", "/etc/shadow:6"), 2)
    assert table.accounts[1][2:5] == (1000, "/bin/bash", 20000)


def test_no_shadow_is_a_problem_that_is_told(host: Host) -> None:
    host.put("/etc/passwd", "root:x:0:0::/root:/bin/bash\n")
    assert "No such file" in password_tables.shadow(host).problem


# Dovecot

@pytest.mark.parametrize(("text", "scheme", "readable_when_empty"), [
    (f"{OLD}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n", "", False),
    (f"{OLD}passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%n /u\n}}\n", "PLAIN", True),
    (f"{NEW}passdb passwd-file {{\n  passwd_file_path = /u\n}}\n", "PLAIN", True),
    (f"{NEW}passdb a {{\n  driver = passwd-file\n  passwd_file_path = /u\n  default_password_scheme = SHA512-CRYPT\n}}\n",
     "SHA512-CRYPT", False),
])  # fmt: skip
def test_a_field_without_a_scheme_is_what_the_release_takes_it_for(
    host: Host, text: str, scheme: str, readable_when_empty: bool
) -> None:
    host.put("/u", f"# comment\nalice:{SECRET}::::::\n\nbob::::::\ncarol:{{SSHA512}}abcd\n")
    alice, bob, carol = dovecot_tables(host, text)[0].accounts
    assert (alice.stored.scheme, bob.stored.empty, bob.stored.locked) == (scheme, readable_when_empty, not readable_when_empty)
    assert carol.stored.scheme == "SSHA512" and carol.usable


@pytest.mark.parametrize(("heading", "beside"), [(OLD, False), (NEW, True)])
def test_nopassword_lets_in_as_the_release_does(host: Host, heading: str, beside: bool) -> None:
    place = "args = /u" if heading == OLD else "passwd_file_path = /u"
    host.put("/u", "a:::::::nopassword\nb:{PLAIN}x::::::nopassword\nc:{PLAIN}x::::::allow_nets=10.0.0.0/8\n")
    table = dovecot_tables(host, f"{heading}passdb passwd-file {{\n  driver = passwd-file\n  {place}\n}}\n")[0]
    assert [account.free for account in table.accounts] == [True, beside, False]
    assert table.accounts[2].usable


@pytest.mark.parametrize("text", [
    f"{OLD}passdb {{\n  driver = passwd-file\n  args = username_format=%n /etc/mail/%d/passwd\n}}\n",
    f"{OLD}passdb {{\n  driver = passwd-file\n  args = /etc/mail/%Ld/passwd\n}}\n",
    f"{NEW}passdb passwd-file {{\n  passwd_file_path = /etc/mail/%{{user | domain | lower}}/passwd\n}}\n",
])
def test_a_file_for_each_domain_says_whose_domain_it_is(host: Host, text: str) -> None:
    host.put("/etc/mail/a.test/passwd", "alice:{SHA}x\n")
    host.put("/etc/mail/b.test/passwd", "bob@b.test:{SHA}x\n")
    found = dovecot_tables(host, text)
    assert [account.stored.user for table in found for account in table.accounts] == ["alice@a.test", "bob@b.test"]


def test_who_is_denied_gets_in_by_no_table_behind(host: Host) -> None:
    host.put("/deny", "alice\n")
    host.put("/u", "alice:{PLAIN}x\nbob:{PLAIN}x\n")
    found = dovecot_tables(host, f"{OLD}passdb {{\n  driver = passwd-file\n  deny = yes\n  args = /deny\n}}\n"
                           "passdb {\n  driver = passwd-file\n  args = /u\n}\n")  # fmt: skip
    assert [(a.stored.user, a.stored.locked) for table in found for a in table.accounts] == [("alice", True), ("bob", False)]


@pytest.mark.parametrize(("text", "everybody"), [
    (f"{OLD}passdb {{\n  driver = static\n  args = nopassword=y\n}}\n", [True]),
    (f"{OLD}passdb {{\n  driver = static\n  args = nopassword=y proxy=y host=10.0.0.1\n}}\n", []),
    (f"{NEW}passdb static {{\n  fields {{\n    nopassword = yes\n  }}\n}}\n", [True]),
    (f"{OLD}passdb {{\n  driver = static\n  args = password={SECRET}\n}}\n", [False]),
])
def test_one_answer_for_everybody(host: Host, text: str, everybody: list[bool]) -> None:
    assert [table.everybody for table in dovecot_tables(host, text)] == everybody


def sqlite_of(host: Host, users: int = 3, journal: str = "delete") -> None:
    base = sqlite3.connect(host.root / "users.db")
    base.execute(f"PRAGMA journal_mode={journal}")
    base.execute("CREATE TABLE users (username TEXT, domain TEXT, password TEXT, PRIMARY KEY (username, domain))")
    base.executemany("INSERT INTO users VALUES (?, 'a.test', ?)", [(f"o'user{n}", f"{{SSHA}}{n}") for n in range(users)])
    base.commit()
    base.close()


SQL = """driver = sqlite
connect = /users.db
iterate_query = SELECT username, domain FROM users
password_query = SELECT username, domain, password \\
  FROM users WHERE username = '%n' AND domain = '%Ld'
"""
SQL_PASSDB = f"{OLD}passdb {{\n  driver = sql\n  args = /sql.conf\n}}\n"


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite_is_asked_as_dovecot_does_and_left_as_it_was(host: Host, journal: str) -> None:
    sqlite_of(host, journal=journal)
    host.put("/sql.conf", SQL)
    before = {path.name: path.stat().st_mtime_ns for path in host.root.iterdir()}
    table = dovecot_tables(host, SQL_PASSDB)[0]
    assert [(a.stored.user, a.stored.scheme) for a in table.accounts] == [(f"o'user{n}@a.test", "SSHA") for n in range(3)]
    assert {path.name: path.stat().st_mtime_ns for path in host.root.iterdir()} == before


@pytest.mark.parametrize(("old", "new", "told"), [
    ("FROM users WHERE", f"FROM missing WHERE '{SECRET}' =", "no such table"),
    ("'%n'", "'%r'", "goes by %r"),
    ("driver = sqlite", "driver = mysql", "/var/lib/mtaudit/passwords/"),
    ("SELECT username, domain, password", f"SELECT '{SECRET}' password;;", "may do more than ask"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told_without_its_words(host: Host, old: str, new: str, told: str) -> None:
    sqlite_of(host)
    host.put("/sql.conf", SQL.replace(old, new))
    table = dovecot_tables(host, SQL_PASSDB)[0]
    assert told in table.problem and SECRET not in table.problem and not table.accounts


def test_the_settings_of_2_4_name_a_data_base_too(host: Host) -> None:
    sqlite_of(host)
    text = (f"{NEW}sql_driver = sqlite\nsqlite_path = /users.db\npassdb sql {{\n"
            "  query = SELECT password FROM users WHERE username = '%{user | username}' AND domain = '%{user | domain}'\n}\n"
            "userdb sql {\n  iterate_query = SELECT username, domain FROM users\n}\n")  # fmt: skip
    assert len(dovecot_tables(host, text)[0].accounts) == 3


# Cyrus SASL

def test_sasldb_is_read_whole() -> None:
    found = {key.split(b"\0")[0]: value for key, value in pairs(SASLDB.read_bytes())}
    assert found == {f"user{n}".encode(): f"pw-{n}".encode() for n in range(1, 61)}


@pytest.mark.parametrize("data", [b"", b"x" * 600, b"\0" * 4096])
def test_what_is_no_hash_file_is_told(data: bytes) -> None:
    with pytest.raises(NotHash):
        list(pairs(data))


def test_a_damaged_hash_file_ends_in_what_can_be_told() -> None:
    data = SASLDB.read_bytes()
    for place in range(4096, len(data), 61):
        damaged = data[:place] + b"\xff\xff" + data[place + 2 :]
        try:
            list(pairs(damaged))
        except NotHash:
            pass


# Exim and lists

def test_the_third_field_of_exims_file_is_a_password_too(host: Host) -> None:
    host.put("/p", f"alice:$6$a$b:{SECRET}\nbob {{md5}}0123456789abcdef0123456789abcdef\ncarol:*:\n$6$a$b\n")
    table = password_tables._exim(host, "/p", compared=True)
    assert [(a.stored.user, a.stored.scheme, a.stored.locked) for a in table.accounts] == [
        ("alice", "SHA512-CRYPT", False), ("alice", "PLAIN", False), ("bob", "PLAIN-MD5", False), ("carol", "", True),
    ]  # fmt: skip
    assert table.malformed == ("/p:4",)


def test_a_key_of_exims_file_ends_at_white_space_and_no_hash_is_a_name(host: Host) -> None:
    host.put("/p", f"bob $6$salt$hash:{SECRET}\n")
    (bob, again) = password_tables._exim(host, "/p", compared=True).accounts
    assert (bob.stored.user, bob.stored.scheme, again.stored.user) == ("bob", "SHA512-CRYPT", "bob")
    host.put("/var/lib/mtaudit/passwords/x", "bob $6$salt$hash:x\n")
    assert password_tables.exported(host, "/var/lib/mtaudit/passwords/x").accounts == ()


def test_what_exim_looks_up_elsewhere_is_not_read(host: Host) -> None:
    def asking(condition: str) -> Exim:
        return Exim("/etc/exim.conf", Config(authenticators={"plain": {"driver": "plaintext", "server_condition": condition}}))

    sql = asking("${lookup mysql{SELECT 1 FROM users WHERE name='${quote_mysql:$auth2}'}{yes}{no}}")
    (table,) = password_tables._exim_unread(sql)
    assert table.problem.startswith("passwords that Exim looks up by mysql are not read")
    file = asking("${if crypteq{$auth3}{${lookup{${lc:$auth2}}lsearch{/etc/exim4/passwd}{$value}fail}}}")
    assert list(password_tables._exim_unread(file)) == []
    both = asking("${lookup{$auth2}lsearch{/p}{$value}}")
    both.config.authenticators["cram"] = {"server_secret": "${if crypteq{x}{${lookup{$auth1}lsearch{/p}{$value}}}}"}
    assert password_tables._exim_files(both) == [("/p", True)], "a hash for one is no password for the other"


def test_two_passdbs_of_one_name_count_both(host: Host) -> None:
    static = "passdb {{\n  driver = static\n  args = {}\n}}\n"
    found = dovecot_tables(host, OLD + static.format("password=x") + static.format("nopassword=y"))
    (table,) = password_tables._once(found)
    assert table.everybody and len(table.accounts) == 1


def test_who_is_denied_by_one_protocol_alone_gets_in(host: Host) -> None:
    host.put("/etc/dovecot/deny.pop3", "bob\n")
    host.put("/u", "bob:{PLAIN}bob\n")
    text = f"{OLD}passdb {{\n  driver = passwd-file\n  args = /etc/dovecot/deny.%s\n  deny = yes\n}}\n"
    *_, users = dovecot_tables(host, f"{text}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n")
    assert [account.stored.locked for account in users.accounts] == [False]


@pytest.mark.parametrize("value", ["²", "9" * 5000, "", "-1"])
def test_what_somebody_wrote_into_his_own_last_login_is_nobody_elses_trouble(host: Host, value: str) -> None:
    host.put("/home/bob/last-login", f"shared/last-login/bob\n{value}\n")
    assert last_logins._times(host, "/home/bob/last-login", own=True) == {}
    host.put("/home/bob/last-login", "shared/last-login/bob\n1700000000\n" + "x" * 70_000)
    assert last_logins._times(host, "/home/bob/last-login", own=True) == {}
    host.put("/times", "shared/last-login/bob\n1700000000\nshared/last-login/eve\n1700000001\n")
    assert last_logins._times(host, "/times", own=False) == {"bob": 1700000000, "eve": 1700000001}


def test_an_ldif_export(host: Host) -> None:
    kept = base64.b64encode(b"{SSHA}abc").decode()
    host.put("/x.ldif", f"version: 1\n\ndn: uid=alice,dc=a\nuserPassword:: {kept[:4]}\n {kept[4:]}\nuid: alice\n\n"
             f"dn: uid=bob,dc=a\nuid: bob\nuserPassword: {SECRET}\nuserPassword: {{CRYPT}}$6$a$b\n\n"
             "dn: cn=x\nuserPassword:: %\n")  # fmt: skip
    table = password_tables.exported(host, "/x.ldif")
    assert [(a.stored.user, a.stored.scheme) for a in table.accounts] == [
        ("alice", "SSHA"), ("bob", "PLAIN"), ("bob", "SHA512-CRYPT")]  # fmt: skip
    assert table.skipped == 1


# All of them

def test_nothing_that_is_printed_holds_a_password(host: Host) -> None:
    host.put("/u", f"alice:{{PLAIN}}{SECRET}\n:{SECRET}\n")
    table = dovecot_tables(host, f"{OLD}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n")[0]
    assert table.accounts and table.skipped == 1
    assert SECRET not in repr((table, table.accounts, Passwords((table,))))
    assert SECRET not in repr(dovecot_passdbs.Kept("alice", SECRET, False))


def test_a_million_accounts_in_a_few_seconds_and_bounded_memory(host: Host) -> None:
    text = "\n".join(f"user{n}:{{SHA512-CRYPT}}$6$salt{n}${'x' * 86}::::::" for n in range(1_000_001))
    host.put("/u", text + "\n")
    del text
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    table = dovecot_tables(host, f"{OLD}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n")[0]
    spent = time.process_time() - began
    assert len(table.accounts) == password_table._LIMIT and "more than 1000000" in table.problem
    assert spent < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700 * 1024


def test_a_line_without_an_end_is_cut(host: Host) -> None:
    host.put("/u", "a" * 9_000_000 + "\nbob:{PLAIN}x\n")
    rows = list(password_table.lines(host, "/u"))
    assert [number for number, _ in rows] == [1, 2] and len(rows[0][1]) <= 65536 and rows[1][1] == "bob:{PLAIN}x"


# Last logins

def passwords_of(*accounts: Account) -> Passwords:
    return Passwords((Table("/etc/shadow", "shadow", accounts),))


def an_account(user: str, uid: int = -1) -> Account:
    from ansible.module_utils.mtaudit.passwords.schemes import of_shadow

    return Account(of_shadow(user, "$y$j9T$a$b"), "/etc/shadow" if uid >= 0 else "/u", uid, "/bin/sh")


def test_lastlog_of_debian_12(host: Host) -> None:
    (host.root / "var/log").mkdir(parents=True)
    (host.root / "var/log/lastlog").write_bytes(bytes(292 * 1000) + (1_700_000_000).to_bytes(4, "little") + bytes(288))
    found = last_logins.read(host, [], passwords_of(an_account("alice", 1000), an_account("bob", 1001)))
    assert found.shell == {"alice": 1_700_000_000.0, "bob": 0.0}


def test_lastlog2_of_debian_13(host: Host) -> None:
    """The table as lastlog2.c makes it."""
    (host.root / "var/lib/lastlog").mkdir(parents=True)
    base = sqlite3.connect(host.root / "var/lib/lastlog/lastlog2.db")
    base.execute("CREATE TABLE Lastlog2(Name TEXT PRIMARY KEY, Time INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT)")
    base.execute("INSERT INTO Lastlog2 VALUES ('alice', 1700000000, 'pts/0', '', 'login')")
    base.commit()
    base.close()
    found = last_logins.read(host, [], passwords_of(an_account("alice", 1000), an_account("bob", 1001)))
    assert found.shell == {"alice": 1_700_000_000.0, "bob": 0.0}


def test_a_last_login_under_another_key_is_not_found(host: Host) -> None:
    host.put("/var/last/alice@a.test", "shared/last-login/alice@a.test\n1700000000\n")
    host.put("/var/last/bob@a.test", "shared/mine/bob@a.test\n1700000000\n")
    dovecot = parse(f"{OLD}plugin {{\n  last_login_dict = file:/var/last/%u\n}}\n")
    accounts = passwords_of(an_account("alice@a.test"), an_account("bob@a.test"))
    assert last_logins.read(host, [("Dovecot", None, [dovecot])], accounts).mail == {"alice@a.test": 1_700_000_000.0}


def test_a_query_ends_in_time(host: Host) -> None:
    sqlite_of(host)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    assert host.query("/users.db", ["SELECT 1 AS one", endless], 0.3) == [[{"one": 1}]]
    with pytest.raises(ReadError, match="no such table"):
        host.query("/users.db", ["SELECT 1 FROM nowhere"])
