"""What the catalogue tells people to type works on real servers: look-ups know each parameter, fixes leave good servers good."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.catalogue import ComponentEntry, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402

pytestmark = pytest.mark.lab

POSTFIX = {"postconf", "postmap", "postmulti", "postfix"}
PLACEHOLDER = re.compile(r"\b(HOST|TYPE:TABLE|SERVICE|NAME|CERT)\b")
# What RELAY-06 removes, and the tables that fixes refer to and leave to the administrator to fill.
PREPARE = """
set -e
postconf -M '2525/inet=2525 inet n - y - - smtpd'
postconf -P '2525/inet/mynetworks=0.0.0.0/0'
cd /etc/postfix
touch relay_recipients relay_clientcerts
echo 'alice@example.org alice' > sender_login
cp -a /etc/postfix /root/postfix.good
"""
RESTORE = "rm -rf /etc/postfix && cp -a /root/postfix.good /etc/postfix"


def commands(text: str, indented: bool) -> list[str]:
    """The Postfix commands of a text that can be run as they stand; what a pipe does with their output is left out."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ") or not indented]
    return [line.split(" | ")[0] for line in lines if line.split(" ")[0] in POSTFIX and not PLACEHOLDER.search(line)]


def said_of(program: str) -> dict[str, ComponentEntry]:
    """What the catalogue says for a program, by control."""
    entries = load_catalogue(str(ROOT / "checks")).controls
    return {i: entry.components[program] for i, entry in entries.items() if program in entry.components}


@pytest.fixture(scope="module")
def postfix() -> dict[str, ComponentEntry]:
    return said_of("postfix")


@pytest.fixture(scope="module", params=["full-d12", pytest.param("full-d13", marks=pytest.mark.full)])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, str]]:
    """A throw-away copy of a good server."""
    lab, name = Lab(), f"t-advice-{uuid.uuid4().hex[:6]}"
    lab.up()
    lab.clone(request.param, name)
    try:
        done = lab.execute(name, "sh", "-c", PREPARE)
        assert done.returncode == 0, done.stderr
        yield lab, name
    finally:
        lab.remove(name)


def test_every_look_up_knows_what_it_asks_for(server: tuple[Lab, str], postfix: dict[str, ComponentEntry]) -> None:
    lab, name = server
    asked = 0
    for control, about in postfix.items():
        for command in commands(about.manual_check, indented=False):
            done = lab.execute(name, "sh", "-c", command)
            # Without tables of that kind postmap answers 1.
            assert done.returncode == 0 or command.startswith("postmap"), f"{control}: {command}: {done.stderr}"
            assert not done.stderr, f"{control}: {command}: {done.stderr}"
            asked += 1
    assert asked > len(postfix)


def test_every_fix_leaves_a_good_server_good(server: tuple[Lab, str], postfix: dict[str, ComponentEntry]) -> None:
    lab, name = server
    typed = 0
    for control, about in postfix.items():
        lines = commands(about.advice, indented=True)
        typed += len(lines)
        done = lab.execute(name, "sh", "-exc", "\n".join([*lines, "postfix check", "postconf -n >/dev/null"]))
        assert done.returncode == 0 and not re.search("warning|fatal", done.stderr), f"{control}: {done.stderr}"
        said = lab.execute("stranger", "swaks", "--server", lab.host(name).ipv4, "--from", "a@stranger.test",
                           "--to", "b@canary.test", "--quit-after", "RCPT", "--timeout", "20").stdout
        assert "Relay access denied" in said, f"{control}: {said}"
        restored = lab.execute(name, "sh", "-c", RESTORE + " && postfix reload")
        assert restored.returncode == 0, restored.stderr
    assert typed > 2 * len(postfix)


@pytest.mark.parametrize("name", ["exim-d12", pytest.param("exim-d13", marks=pytest.mark.full)])
def test_every_look_up_of_exim_knows_what_it_asks_for(name: str) -> None:
    lab = Lab()
    lab.up()
    asked = [line.split(" | ")[0] for about in said_of("exim").values() for line in about.manual_check.splitlines()
             if line.startswith("exim -bP")]
    assert len(asked) > len(said_of("exim"))
    for command in sorted(set(asked)):
        done = lab.execute(name, "sh", "-c", command)
        # Exim's exit status is that of the last name only.
        assert done.returncode == 0 and "is not a known option" not in done.stdout, f"{command}: {done.stdout}"
        assert not done.stderr, f"{command}: {done.stderr}"


@pytest.mark.parametrize("name", ["opensmtpd-d12", pytest.param("opensmtpd-d13", marks=pytest.mark.full)])
def test_every_look_up_of_opensmtpd_can_be_typed(name: str) -> None:
    lab = Lab()
    lab.up()
    # The good mail exchanger has no logins, so no table of their senders; HOST is asked from elsewhere.
    said = said_of("opensmtpd")
    lines = [line for about in said.values() for line in about.manual_check.splitlines()]
    asked = [line for line in lines if "own_senders" not in line and "HOST" not in line]
    assert len(asked) > len(said)
    for command in sorted(set(asked)):
        done = lab.execute(name, "sh", "-c", command)
        # grep answers 1 when a line of that kind is not there.
        found_nothing = (command.startswith("grep ") or "| grep " in command) and done.returncode == 1
        assert done.returncode == 0 or found_nothing, f"{command}: {done.stderr}"
        assert not done.stderr or done.stderr == "configuration OK\n", f"{command}: {done.stderr}"
