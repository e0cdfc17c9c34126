"""Every client of a login against real daemons: one host with the logins it was shipped with, one where they were changed.

All attempts go in one batch from within the lab, and so do the questions to independent programs: curl, snmpget, redis-cli,
mariadb, psql, ssh.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.credentials.client import PROTOCOLS
from lab import Lab

ROOT = Path(__file__).resolve().parents[2]
CHANGED = re.search(r"change-logins (\S+)\n", (ROOT / "molecule/lab/recipes/device/units/change-logins.service").read_text())[1]
WRONG = "not-{}-at-all"

ATTEMPTS = """
import base64, concurrent.futures, json, os, sys, tempfile
told = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as place:
    package = os.path.join(place, "mtaudit.zip")
    open(package, "wb").write(base64.b64decode(told["package"]))
    sys.path.insert(0, package)
    from mtaudit.credentials.client import try_login
    from mtaudit.credentials.values import Credential, Service
    def attempt(one):
        credential = Credential(*one["credential"]) if one["credential"] else None
        came_of = try_login(Service(**one["service"]), credential, 25)
        return [came_of.outcome.value, came_of.said]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        print(json.dumps(list(pool.map(attempt, told["attempts"]))))
"""


@dataclass(frozen=True)
class Row:
    """A daemon, its shipped login, and what asks it independently (an empty password is one, too)."""

    name: str
    protocol: str
    port: int
    username: str
    shipped: str
    oracle: str = ""  # a command for a shell, which fails where the login does
    tls: bool = False
    options: dict[str, str] = field(default_factory=dict)


SSH = (
    "SSHPASS={password} sshpass -e ssh -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    " -o NumberOfPasswordPrompts=1"
)
PSQL = "PGPASSWORD={password} psql -h {address} -U postgres -c 'SELECT 1'"
CURL = "curl -sfk -m 20 -o /dev/null -u admin:{password} "
ROWS = [
    Row("openssh", "ssh", 22, "root", "root", SSH + " -o PubkeyAuthentication=no root@{address} true"),
    Row("dropbear", "ssh", 2222, "admin", "admin", SSH + " admin@{address} true"),
    Row("telnet", "telnet", 23, "admin", "admin"),
    Row("ftp", "ftp", 21, "admin", "admin", CURL + "ftp://{address}/"),
    Row("basic", "http", 80, "admin", "admin", CURL + "http://{address}/basic/", options={"path": "/basic/"}),
    Row("basic-tls", "http", 443, "admin", "admin", CURL + "https://{address}/basic/", tls=True, options={"path": "/basic/"}),
    Row("digest", "http", 80, "admin", "admin", CURL + "--digest http://{address}/digest/", options={"path": "/digest/"}),
    Row("form", "http", 8080, "admin", "admin"),
    Row("imap", "imap", 143, "admin", "admin", CURL + "imap://{address}/"),
    Row("pop3", "pop3", 110, "admin", "admin", CURL + "pop3://{address}/"),
    Row("sieve", "sieve", 4190, "admin", "admin"),
    Row("submission", "smtp", 587, "admin", "admin"),
    Row("snmp", "snmp", 161, "", "public", "snmpget -v2c -r1 -t1 -c {password} {address} 1.3.6.1.2.1.1.1.0"),
    Row("mariadb", "mysql", 3306, "root", "", "MYSQL_PWD={password} mariadb -h {address} -u root -e 'SELECT 1'"),
    Row("postgresql", "postgresql", 5432, "postgres", "postgres", PSQL),
    Row("rspamd", "rspamd", 11334, "", "rspamd", "curl -sf -m 20 -H Password:{password} http://{address}:11334/stat"),
    Row("redis", "redis", 6379, "", "", "redis-cli -h {address} -e AUTH {password}"),
]
BY_NAME = {row.name: row for row in ROWS}
HOSTS = ("device", "device-good")
PASSWORDS = ("shipped", "changed", "wrong")


def password(row: Row, which: str) -> str:
    return {"shipped": row.shipped, "changed": CHANGED, "wrong": WRONG.format(row.name)}[which]


def package() -> str:
    """mtaudit as a vantage gets it: in a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (ROOT / "module_utils/mtaudit").rglob("*.py"):
            archive.write(path, path.relative_to(ROOT / "module_utils"))
    return base64.b64encode(packed.getvalue()).decode()


@pytest.fixture(scope="module")
def lab() -> Lab:
    """Only the two hosts: they need no other."""
    running = Lab()
    running.up(HOSTS)
    return running


@pytest.fixture(scope="module")
def devices(lab: Lab) -> dict[str, str]:
    """Address by host."""
    return {host: lab.config.hosts[host].ipv4 for host in HOSTS}


def service(row: Row, address: str) -> dict[str, object]:
    return {"protocol": row.protocol, "address": address, "port": row.port, "tls": row.tls, "options": row.options}


@pytest.fixture(scope="module")
def outcomes(lab: Lab, devices: dict[str, str]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Outcome and text by row, host and password; of two rows also what comes in without a credential (`none`)."""
    asked: dict[tuple[str, str, str], dict[str, object]] = {
        (row.name, host, which): {"service": service(row, devices[host]), "credential": [row.username, password(row, which)]}
        for row in ROWS for host in HOSTS for which in PASSWORDS if row.name != "redis" or which != "shipped"
    }
    shell = Row("shell", "telnet", 2323, "admin", "admin")
    for row in (BY_NAME["redis"], BY_NAME["rspamd"], BY_NAME["telnet"], BY_NAME["basic"], BY_NAME["form"], shell):
        for host in HOSTS:
            asked[row.name, host, "none"] = {"service": service(row, devices[host]), "credential": None}
    thanks = {**service(BY_NAME["form"], devices["device"]), "options": {"path": "/thanks"}}
    asked["thanks", "device", "wrong"] = {"service": thanks, "credential": ["admin", "nonsense"]}
    told = json.dumps({"package": package(), "attempts": list(asked.values())})
    done = lab.execute("device", "python3", "-c", ATTEMPTS, stdin=told)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return dict(zip(asked, map(tuple, json.loads(done.stdout)), strict=True))


@pytest.fixture(scope="module")
def oracles(lab: Lab, devices: dict[str, str]) -> dict[tuple[str, str, str], bool]:
    """Whether an independent program comes in, by row, host and password."""
    asked = [(row, host, which) for row in ROWS if row.oracle for host in HOSTS for which in PASSWORDS]
    lines = []
    for number, (row, host, which) in enumerate(asked):
        words = {"address": devices[host], "port": row.port, "password": shlex.quote(password(row, which))}
        lines.append(f"( {row.oracle.format(**words)} > /dev/null 2>&1; echo {number} $? ) &")
        if number % 20 == 19:
            lines.append("wait")
    done = lab.execute("device", "sh", "-c", "\n".join([*lines, "wait"]))
    codes = dict(line.split() for line in done.stdout.splitlines())
    return {(row.name, host, which): codes[str(number)] == "0" for number, (row, host, which) in enumerate(asked)}


def test_every_protocol_has_a_daemon() -> None:
    assert {row.protocol for row in ROWS} == set(PROTOCOLS)


@pytest.mark.parametrize("row", [row.name for row in ROWS if row.name != "redis"])
@pytest.mark.parametrize(("host", "right"), [("device", "shipped"), ("device-good", "changed")])
def test_the_right_password_is_accepted_and_others_are_refused(
    outcomes: dict[tuple[str, str, str], tuple[str, str]], row: str, host: str, right: str
) -> None:
    found = {which: outcomes[row, host, which] for which in PASSWORDS}
    assert {which: outcome for which, (outcome, _said) in found.items()} == {
        which: "accepted" if which == right else "refused" for which in PASSWORDS
    }, found


@pytest.mark.parametrize("row", [row.name for row in ROWS if row.oracle])
@pytest.mark.parametrize("host", HOSTS)
def test_an_independent_program_says_the_same(
    outcomes: dict[tuple[str, str, str], tuple[str, str]], oracles: dict[tuple[str, str, str], bool], row: str, host: str
) -> None:
    for which in PASSWORDS:
        if (row, host, which) in outcomes:
            assert (outcomes[row, host, which][0] == "accepted") == oracles[row, host, which], (which, outcomes[row, host, which])


def test_redis_without_a_password_stands_open_and_says_so(outcomes: dict[tuple[str, str, str], tuple[str, str]]) -> None:
    found = {key[1:]: outcome for key, (outcome, _said) in outcomes.items() if key[0] == "redis"}
    assert found == {
        ("device", "none"): "accepted", ("device", "wrong"): "unasked", ("device", "changed"): "unasked",
        ("device-good", "none"): "refused", ("device-good", "wrong"): "refused", ("device-good", "changed"): "accepted",
    }


@pytest.mark.parametrize(("row", "wanted"), [
    ("shell", "accepted"), ("telnet", "refused"), ("rspamd", "refused"), ("basic", "refused"), ("form", "refused"),
])
def test_what_stands_open_is_told_from_what_asks(
    outcomes: dict[tuple[str, str, str], tuple[str, str]], row: str, wanted: str
) -> None:
    assert [outcomes[row, host, "none"][0] for host in HOSTS] == [wanted, wanted]


def test_a_page_that_thanks_everybody_is_no_login(outcomes: dict[tuple[str, str, str], tuple[str, str]]) -> None:
    outcome, said = outcomes["thanks", "device", "wrong"]
    assert outcome == "unasked", said
    assert "a random password gets the same answer" in said


def test_nothing_that_is_told_holds_a_password(outcomes: dict[tuple[str, str, str], tuple[str, str]]) -> None:
    for (row, _host, which), (_outcome, said) in outcomes.items():
        if which in ("changed", "wrong") and row in BY_NAME:
            assert password(BY_NAME[row], which) not in said
