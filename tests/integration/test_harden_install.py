"""`mta_harden_install` on a real server: the plan names a package, a run installs it and mends, and the way back leaves it there.

What is installed is told by dpkg, what counts by the package's own database, and mail is sent with swaks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from audited_copy import ROOT, Copy, throw_away_copy
from test_harden import changed, harden

pytestmark = pytest.mark.lab

PACKAGE = "policyd-rate-limit"
ASKED = {"mta_harden_only": ["RATE-01"], "mta_harden_confirmed": True, "mta_audit_probe_timeout_s": 60}
FILES = "find /etc/postfix -type f -printf '%p %m %U:%G ' -exec sha256sum {} \\; | sort"
COUNTED = """python3 -c "import sqlite3; c = sqlite3.connect('/var/lib/policyd-rate-limit/db.sqlite3')
print(c.execute('SELECT count(*) FROM mail_count').fetchone()[0])" """


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """Of its accounts nobody counts the mail, and nobody is there who could."""
    with throw_away_copy("full-d13", "t-install", tmp_path_factory.mktemp("install")) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger", "repo"])
        copy.shell(f"! dpkg -s {PACKAGE} 2> /dev/null; postconf -e 'smtpd_milters ='; postfix reload")
        yield copy


def submits(copy: Copy) -> bool:
    """Whether an account's message is taken, from outside."""
    about = copy.lab.host(copy.name)
    done = copy.lab.execute(
        "stranger", "swaks", "--server", str(about.ipv4), "--port", "587", "--tls", "--auth-user", "alice", "--auth-password",
        copy.lab.config.logins["alice"], "--from", f"alice@{about.mail_domain}", "--to", "canary@canary.test",
        "--helo", "mail.stranger.test", "--timeout", "20",
    )  # fmt: skip
    return bool(done.returncode == 0)


@pytest.mark.full
def test_from_the_missing_package_to_the_way_back(copy: Copy) -> None:
    before = copy.shell(FILES)
    planned = " ".join(harden(copy, "--check", **ASKED).split())
    assert f"{PACKAGE} does and is not installed: name it in mta_harden_install" in planned
    assert copy.shell(FILES) == before

    asked = {**ASKED, "mta_harden_install": [PACKAGE]}
    harden(copy, **asked)
    assert copy.shell(f"dpkg-query -W -f '${{db:Status-Status}}' {PACKAGE}; systemctl is-active {PACKAGE}") == "installedactive\n"
    assert "ratelimit/policy" in copy.shell("postconf -n; postconf -P")
    counted = int(copy.shell(COUNTED))
    assert submits(copy) and int(copy.shell(COUNTED)) == counted + 1

    assert changed(harden(copy, **asked), copy.name) == 0
    back = ("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/rollback.yml")
    copy.ansible(*back, "-e", json.dumps({"mta_target": copy.name}))
    assert copy.shell(FILES) == before and copy.shell(f"dpkg --verify {PACKAGE}") == "", "its own files are as it brought them"
    assert copy.shell(f"dpkg-query -W -f '${{db:Status-Status}}' {PACKAGE}; systemctl is-active {PACKAGE}") == "installedactive\n"
    assert submits(copy) and "ratelimit/policy" not in copy.shell("postconf -n; postconf -P")
