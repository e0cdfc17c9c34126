"""mta_relay_split on real Exim of both releases: mail goes its way before, between and after, and none is lost.

What is taken is told by swaks, what waits by Exim's own list, what arrived by the mailbox and the sink: not by our own code.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from audited_copy import Copy, throw_away_copy
from closed_loop import STATE
from test_relay_split import CANARY, LOGIN, part, refused, send, separated, until

pytestmark = pytest.mark.lab

NOWHERE = "stranger.test"  # a host that takes no mail: what goes there waits
OUT = "-C /etc/exim4/exim-out.conf"
ONE_FILE = "sed -i s/^dc_use_split_config=.*/dc_use_split_config=false/ /etc/exim4/update-exim4.conf.conf; systemctl restart exim4"
FLOOD = """
import smtplib
with smtplib.SMTP("127.0.0.1", 10587) as client:
    for number in range(200):
        client.sendmail("{sender}", ["flood-%d@{nowhere}" % number], "Subject: flood\\r\\n\\r\\nflood\\r\\n")
print("null")
"""


@pytest.fixture(scope="module", params=["exim-d13", pytest.param("exim-d12", marks=pytest.mark.full)])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy(request.param, "t-esplit", tmp_path_factory.mktemp("esplit")) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger"])
        yield copy


def flows(copy: Copy) -> None:
    """A stranger's mail comes in and goes no further, a login's and a program's leave, and all reach a mailbox of the site."""
    domain = copy.lab.host(copy.name).mail_domain
    alice, bob, probe = f"alice@{domain}", f"bob@{domain}", "probe@stranger.test"
    marks = [uuid.uuid4().hex for _ in range(5)]
    headers = [("--h-X-Mtaudit-Token", mark, "--h-Subject", mark) for mark in marks]
    assert "OK id=" in send(copy, probe, alice, *headers[0])
    assert "OK id=" in send(copy, alice, bob, *LOGIN, *headers[1])
    assert "OK id=" in send(copy, alice, CANARY, *LOGIN, *headers[2])
    assert "relay not permitted" in send(copy, probe, CANARY)
    assert "authentication required" in send(copy, probe, alice, "--port", "587")
    for mark, to in zip(marks[3:], (CANARY, bob), strict=True):
        copy.shell(f"printf 'X-Mtaudit-Token: {mark}\\nSubject: {mark}\\n\\nhello\\n' | sendmail -f {alice} {to}")
    for mark, who in ((marks[0], "alice"), (marks[1], "bob"), (marks[4], "bob")):
        assert until(lambda: copy.shell(f"grep -rl {mark} /home/{who}/Maildir || true") != ""), (mark, who)  # noqa: B023
    for mark in (marks[2], marks[3]):
        assert until(lambda: copy.lab.execute("sink", "ls", f"/var/lib/sink/{mark}").returncode == 0), mark  # noqa: B023


def queued(copy: Copy, options: str = "") -> dict[str, str]:
    """The id of each recipient's message, with an asterisk where it is frozen."""
    found: dict[str, str] = {}
    for line in copy.shell(f"exim4 {options} -bp").splitlines():
        message = re.match(r"\s*\S+\s+\S+\s+(\S+-\S+-\S+) <.*?>( \*\*\* frozen)?", line)
        if message:
            identity = message[1] + ("*" if message[2] else "")
        elif line.strip():
            found[line.split()[-1]] = identity
    return found


def wait_for_nowhere(copy: Copy, *marks: str) -> None:
    """Programs of the host send mail that cannot be delivered."""
    for mark in marks:
        copy.shell(f"printf 'Subject: kept\\n\\nkept\\n' | sendmail {mark}@{NOWHERE}")


def test_apart_and_together_again(copy: Copy) -> None:
    wait_for_nowhere(copy, "early", "held")
    early = queued(copy)
    assert {f"early@{NOWHERE}", f"held@{NOWHERE}"} == set(early) and separated(copy) == {"fail"}
    copy.shell(f"exim4 -Mf {early[f'held@{NOWHERE}']}")
    early = queued(copy)
    before = copy.shell(STATE)
    told = part(copy, "--check", action="split")
    assert told["changed"] and told["transaction"] == {} and copy.shell(STATE) == before

    assert part(copy, action="split")["transaction"]["phase"] == "committed"
    assert not part(copy, action="split")["changed"]
    assert separated(copy) == {"pass"}
    flows(copy)
    assert queued(copy) == early, "what waited is still there"

    copy.python(FLOOD.format(sender=f"alice@{copy.lab.host(copy.name).mail_domain}", nowhere=NOWHERE))
    flows(copy)
    flood = queued(copy, OUT)
    assert len(flood) == 200 and queued(copy) == early, "a flood fills the one queue, not the other"
    copy.shell(f"exim4 {OUT} -Mf {flood[f'flood-7@{NOWHERE}']}")
    flood = queued(copy, OUT)

    assert part(copy, action="join")["transaction"]["phase"] == "committed"
    assert not part(copy, action="join")["changed"]
    assert "exim-out" not in copy.shell("ps -eo args; cat /etc/exim4/trusted_configs 2>&1 || true; ls /etc/systemd/system/*/")
    assert copy.shell("find /var/spool/exim-out/input -type f") == ""
    assert queued(copy) == {**early, **flood}, "the mail of both, each message with its id"
    assert flood[f"flood-7@{NOWHERE}"].endswith("*")
    assert separated(copy) == {"fail"}
    flows(copy)
    copy.shell("exim4 -bpr | awk '/</{print $3}' | xargs -n 50 exim4 -Mrm >/dev/null")
