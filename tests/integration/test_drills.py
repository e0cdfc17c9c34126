"""A real Postfix is changed, and at each step something happens: the module is killed, the disk is full or read-only, the daemon
dies, a person edits. Afterwards everything is as it was: files to the byte, the queue, and mail that flows.

The faults are put into the host's own Python (drill_hook.py); what is left is told by sha256sum, postqueue and swaks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audited_copy import Copy, throw_away_copy
from test_transaction import BANNER, FILES, POSTFIX

pytestmark = pytest.mark.lab

HOOK = Path(__file__).with_name("drill_hook.py")
STEPS = 70  # no fewer than a change takes: the last drill says how many there were
SAMPLE = {"kill": (1, 12, 25, 34, 41, 46), "ENOSPC": (8, 30), "EROFS": (36,), "daemon": (44,), "edit": (28,)}
EVERY = {"kill": range(1, STEPS), "ENOSPC": range(1, STEPS),
         **dict.fromkeys(("EROFS", "daemon", "edit"), range(20, STEPS, 4))}  # fmt: skip
DRILLS = [pytest.param(fault, step, marks=[] if step in SAMPLE[fault] else [pytest.mark.full])
          for fault, steps in EVERY.items() for step in steps]  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """With a message in the queue that nobody takes."""
    with throw_away_copy("mx-d13", "t-drill", tmp_path_factory.mktemp("drill")) as copy:
        copy.lab.up(["stranger", "sink", "dns"])
        copy.shell("mkdir /root/drill; cat > /root/drill/sitecustomize.py", stdin=HOOK.read_text(encoding="utf-8"))
        copy.shell("""
            echo old > /etc/postfix/old; postconf -e 'defer_transports = smtp'; cp -a /etc/postfix/main.cf /root/drill/main.cf
            postfix stop; postfix start; echo kept | sendmail -f alice waits@canary.test
            for i in $(seq 50); do postqueue -j | grep -q deferred && exit 0; sleep 0.2; done; exit 1""")
        yield copy


def module(copy: Copy, arguments: dict[str, Any], step: int = 0, fault: str = "none") -> tuple[bool, str]:
    """Whether it went well, and what it said."""
    python = (f"#!/bin/sh\nDRILL_STEP={step} DRILL_FAULT={fault} DRILL_COUNT=/root/drill/count PYTHONPATH=/root/drill "
              'exec /usr/bin/python3 "$@"\n')  # fmt: skip
    copy.shell("cat > /root/drill/python; chmod 755 /root/drill/python; rm -f /root/drill/count", stdin=python)
    try:
        said = copy.ansible("ansible", copy.name, "-m", "mta_transaction", "-a", json.dumps(arguments),
                            "-e", "ansible_python_interpreter=/root/drill/python")  # fmt: skip
    except AssertionError as failed:
        return False, str(failed)
    return True, said


def change(copy: Copy) -> dict[str, Any]:
    """One file changes, one is new, one goes."""
    text = copy.shell("cat /etc/postfix/main.cf") + "smtpd_recipient_limit = 77\n"
    files = [{"path": "/etc/postfix/main.cf", "content": text}, {"path": "/etc/postfix/new", "content": "new\n"},
             {"path": "/etc/postfix/old", "state": "absent"}]  # fmt: skip
    unit = copy.shell("systemctl is-active --quiet postfix@- && echo postfix@- || echo postfix").strip()
    return {"action": "begin", "files": files, "reason": "drill", "services": [{**POSTFIX, "name": unit}], "guard_after_s": 600,
            "checks": [["postfix", "check"], ["sh", "-c", BANNER]]}  # fmt: skip


def takes_mail(copy: Copy) -> bool:
    about = copy.lab.host(copy.name)
    copy.shell("for i in $(seq 100); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    done = copy.lab.execute(
        "stranger", "swaks", "--server", str(about.ipv4), "--from", "probe@stranger.test", "--to", f"alice@{about.mail_domain}",
        "--helo", "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "20",
    )  # fmt: skip
    return bool(done.returncode == 0)


def queue(copy: Copy) -> str:
    return copy.shell("postqueue -j | sed 's/.*queue_id\": \"\\([^\"]*\\).*/\\1/' | sort")


@pytest.mark.parametrize(("fault", "step"), DRILLS)
def test_nothing_is_lost_and_nothing_half_done(copy: Copy, fault: str, step: int) -> None:
    files, waiting = copy.shell(FILES), queue(copy)
    assert waiting.strip(), "a message waits"
    well, said = module(copy, change(copy), step, fault)
    if fault == "kill":
        assert not well or copy.shell("cat /root/drill/count"), "it ended before that step"
    elif not well:
        assert "Traceback" not in said and "please report" not in said, said
    well, said = module(copy, {"action": "take_back", "reason": "the drill is over"})
    assert well, said
    if fault == "edit":  # it is there, or in the snapshot that was taken of it
        kept = "grep -rlx '# somebody was here' /etc/postfix/main.cf /var/lib/mtaudit/snapshots"
        assert copy.shell(kept).strip()
        copy.shell("cp -a /root/drill/main.cf /etc/postfix/main.cf")
    copy.shell("systemctl is-active --quiet postfix@- || systemctl is-active --quiet postfix")
    assert copy.shell(FILES) == files, "to the byte"
    assert queue(copy) == waiting, "what waited waits"
    assert takes_mail(copy)
    assert "mtaudit-guard" not in copy.shell("systemctl list-timers --all --no-pager; ls /etc/systemd/system")


def test_there_are_no_more_steps_than_were_drilled(copy: Copy) -> None:
    well, said = module(copy, change(copy))
    assert well, said
    steps = int(copy.shell("cat /root/drill/count"))
    module(copy, {"action": "take_back"})
    print(f"{steps} steps")
    assert 30 <= steps < STEPS, steps
