"""mta_dovecot_config on real Dovecots of both releases: what it writes, what it refuses, and what the server then does.

Told by doveconf, imaplib, swaks and the files themselves: not by our own code.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from audited_copy import Copy, throw_away_copy

pytestmark = pytest.mark.lab

DIRECTORY = "/etc/dovecot"
SITE = f"{DIRECTORY}/conf.d/99-mail.conf"
PASSWORD = "Wren-Copper-Lantern-58"
# Continued lines, comments, quotes, an included file in a block, what is said twice, and what in Dovecot's other spelling.
OURS = """
# ours: what readers are told
login_greeting = "Ready # 1"   # kept short
auth_mechanisms = plain \\
  login  # both
protocol "imap" { # readers
\t!include_try ../readers.ext
}
service/pop3-login/inet_listener/pop3/port = 1110
mail_max_userip_connections = 7
mail_max_userip_connections = 8 # the later counts
"""
READERS = "mail_max_userip_connections = 9  # until spring\n"
SESSION = """
import imaplib, json, ssl, sys
address, user, password, tls = json.load(sys.stdin)
session = imaplib.IMAP4(address, timeout=20)
if tls:
    session.starttls(ssl._create_unverified_context())
try:
    session.login(user, password)
    session.select("INBOX")
    print(json.dumps(len(session.search(None, "ALL")[1][0].split())))
except imaplib.IMAP4.error as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module", params=[pytest.param("full-d12", marks=pytest.mark.full), "full-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A hand-made configuration."""
    with throw_away_copy(request.param, "t-config", tmp_path_factory.mktemp("config")) as copy:
        copy.lab.up(["router", "stranger", "dns"])
        copy.shell(f"cat > {DIRECTORY}/readers.ext; chmod 640 {DIRECTORY}/readers.ext", stdin=READERS)
        copy.shell(f"cat >> {SITE}", stdin=OURS)
        copy.shell("until doveadm reload; do sleep 0.3; done")
        yield copy


def configure(copy: Copy, *words: str, **wanted: Any) -> dict[str, Any]:
    printed = copy.ansible("ansible", copy.name, "-m", "mta_dovecot_config", "-a", json.dumps(wanted), *words)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return answer


def files(copy: Copy) -> str:
    return copy.shell(f"cd {DIRECTORY}; find . -type f | sort | xargs sha256sum; find . -printf '%p %m %U %G %y %l\\n' | sort")


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def text(copy: Copy, path: str = SITE) -> str:
    return copy.shell(f"cat {path}")


def says(copy: Copy, name: str, *options: str) -> str:
    return copy.shell(f"doveconf {' '.join(options)} -h '{name}'").strip()


def messages(copy: Copy, user: str = "alice", tls: bool = True) -> Any:
    """How many messages a reader finds; or what the server said instead."""
    given = json.dumps([str(copy.lab.host(copy.name).ipv4), user, PASSWORD, tls])
    done = copy.lab.execute("stranger", "python3", "-c", SESSION, stdin=given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_settings_change_where_they_stand_and_come_back(copy: Copy) -> None:
    before, old = files(copy), text(copy)
    wanted = {
        "settings": {"auth_mechanisms": "plain", "mail_max_userip_connections": 20, "auth_failure_delay": "3 secs"},
        "sections": {"protocol imap": {"mail_max_userip_connections": 5}, "remote 10.0.0.0/8": {"login_greeting": "In # here"},
                     "service imap-login / inet_listener imap": {"port": 143}},
    }  # fmt: skip
    told = configure(copy, "--check", **wanted)
    assert told["changed"] and told["transaction"] == {} and files(copy) == before
    shown = copy.ansible("ansible", copy.name, "-m", "mta_dovecot_config", "-a", json.dumps(wanted), "--check", "--diff")
    assert "+auth_mechanisms = plain  # both" in shown and "until spring" not in shown, "what is not for everybody is not shown"
    done = configure(copy, **wanted)
    assert done["transaction"]["phase"] == "committed" and done["activate"] == "reload"
    assert changed_lines(old, text(copy)) == [
        "-auth_mechanisms = plain \\", "-  login  # both", "+auth_mechanisms = plain  # both",
        "-mail_max_userip_connections = 8 # the later counts", "+mail_max_userip_connections = 20 # the later counts"]
    assert text(copy, f"{DIRECTORY}/readers.ext") == "mail_max_userip_connections = 5  # until spring\n"
    assert text(copy, f"{DIRECTORY}/local.conf") == (
        'auth_failure_delay = 3 secs\nremote 10.0.0.0/8 {\n  login_greeting = "In # here"\n}\n')
    assert says(copy, "mail_max_userip_connections", "-f", "protocol=imap") == "5"
    assert says(copy, "login_greeting", "-f", "remote=10.1.2.3").strip('"') == "In # here"
    assert not configure(copy, **wanted)["changed"]

    copy.ansible("ansible", copy.name, "-m", "mta_snapshot", "-a", f"action=restore name={done['transaction']['name']}")
    assert files(copy) == before, "as it was, to the byte"


def test_what_is_wanted_is_what_the_server_then_does(copy: Copy) -> None:
    """Logins in clear and inside TLS, and mail that is delivered and read."""
    about, switch = copy.lab.host(copy.name), "disable_plaintext_auth"
    opened = {switch: False}
    if "2.4" in copy.shell("dovecot --version"):
        switch, opened = "auth_allow_cleartext", {"auth_allow_cleartext": True}
    assert "PRIVACYREQUIRED" in messages(copy, tls=False)
    assert configure(copy, settings={"ssl": True, **opened})["changed"]
    assert isinstance(messages(copy, tls=False), int)
    assert configure(copy, settings={"ssl": "required", switch: not opened[switch]})["changed"]
    assert "PRIVACYREQUIRED" in messages(copy, tls=False)
    number = messages(copy)
    sent = copy.lab.execute("stranger", "swaks", "--server", str(about.ipv4), "--from", "probe@stranger.test", "--helo",
                            "mail.stranger.test", "--to", f"alice@{about.mail_domain}", "--timeout", "20")  # fmt: skip
    assert sent.returncode == 0, sent.stdout
    copy.shell("for i in $(seq 100); do postqueue -p | grep -q empty && exit 0; sleep 0.2; done; exit 1")
    assert messages(copy) == number + 1
    assert copy.shell(f"doveadm auth test alice {PASSWORD}").startswith("passdb: alice auth succeeded")


@pytest.mark.full
def test_settings_and_blocks_are_taken_out(copy: Copy) -> None:
    before = text(copy)
    done = configure(copy, settings={"mail_max_userip_connections": None}, sections={"protocol imap": None})
    assert changed_lines(before, text(copy)) == [
        '-protocol "imap" { # readers', "-\t!include_try ../readers.ext", "-}",
        '+# protocol "imap" { # readers', "+\t# !include_try ../readers.ext", "+# }",
        "-mail_max_userip_connections = 7", "-mail_max_userip_connections = 8 # the later counts",
        "+# mail_max_userip_connections = 7", "+# mail_max_userip_connections = 8 # the later counts"]
    assert says(copy, "mail_max_userip_connections", "-f", "protocol=imap") == "10", "the default"
    assert not configure(copy, settings={"mail_max_userip_connections": None}, sections={"protocol imap": None})["changed"]
    copy.ansible("ansible", copy.name, "-m", "mta_snapshot", "-a", f"action=restore name={done['transaction']['name']}")
    assert text(copy) == before


@pytest.mark.full
def test_a_link_stays_one(copy: Copy) -> None:
    before = text(copy)
    copy.shell(f"mkdir /srv/mail && mv {SITE} /srv/mail/ && ln -s /srv/mail/99-mail.conf {SITE}")
    assert configure(copy, settings={"login_greeting": "Ready 2"})["changed"]
    assert copy.shell(f"readlink {SITE}") == "/srv/mail/99-mail.conf\n"
    old, new = changed_lines(before, text(copy))
    assert (old, new) == ('-login_greeting = "Ready # 1"   # kept short', "+login_greeting = Ready 2   # kept short")
    copy.shell(f"rm {SITE} && mv /srv/mail/99-mail.conf {SITE}")
    configure(copy, settings={"login_greeting": "Ready # 1"})


@pytest.mark.full
@pytest.mark.parametrize(
    ("wanted", "says"),
    [({"settings": {"no_such_setting": 1}}, "Dovecot would not run with the new configuration: "),
     ({"settings": {"auth_failure_delay": "soon"}}, "Invalid time interval: soon"),
     ({"sections": {"passdb": {"driver": "pam"}}}, "it has no name to find it by"),
     ({"sections": {"protocol imap": {"ssl": "no\n}"}}}, "its value is not one line"),
     ({"settings": {"!include /etc/passwd": "x"}}, "is no name of a setting"),
     ({"sections": {"{": {"ssl": "no"}}}, "is no name of a block"),
     ({"settings": {"ssl_cert": "</nowhere"}}, "/nowhere"),
     ({"settings": {"ssl_server_cert_file": "/nowhere"}}, "/nowhere"),
     ({"settings": {"ssl": ["yes"]}}, "must be text, a number, a truth value or null"),
     ({"sections": {"service pop3-login / inet_listener pop3": {"port": 110}}}, "pop3 / port would not be as wanted")],
    ids=["no-setting", "no-time", "no-name", "two-lines", "include", "no-block", "no-certificate-2.3", "no-certificate-2.4",
         "list", "other-spelling"],
)  # fmt: skip
def test_what_dovecot_would_not_run_with_is_refused(copy: Copy, wanted: dict[str, Any], says: str) -> None:
    own = {"ssl_cert": "2.3", "ssl_server_cert_file": "2.4"}
    release = next((own[name] for name in wanted.get("settings", {}) if name in own), "")
    if release not in copy.shell("dovecot --version"):
        pytest.skip(f"a setting of {release}")
    before = files(copy)
    with pytest.raises(AssertionError) as failed:
        configure(copy, **wanted)
    assert says in str(failed.value)
    assert files(copy) == before and isinstance(messages(copy), int), "nothing is changed"
