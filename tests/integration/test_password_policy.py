"""The role mta_password_policy on a real server: what passwd(1) takes of somebody before, afterwards, and after the way back.

The oracles are passwd, su and pamtester of that person, pwscore, and swaks with a login.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from audited_copy import ROOT, Copy, throw_away_copy
from test_harden import changed
from test_harden_install import submits
from test_outcome_roles import play

pytestmark = [pytest.mark.lab, pytest.mark.full]

PACKAGES = ["libpam-pwquality", "cracklib-runtime"]
FIRST, SHORT, GOOD, THIRD = "Basalt-Orchid-Ferry-31", "vIq4-zpw", "Marble-Kettle-Sparrow-74", "Copper-Lantern-Wren-58"
FILES = "find /etc/pam.d /etc/security /etc/shadow -type f -printf '%p %m %U:%G ' -exec sha256sum {} \\; | sort"
STACKS = "find /etc/pam.d /etc/login.defs -type f -printf '%p %m %U:%G %T@ ' -exec sha256sum {} \\; | sort"


@pytest.fixture(scope="module", params=["full-d12", "full-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy(request.param, f"t-policy-{request.param[-3:]}", tmp_path_factory.mktemp("policy")) as copy:
        copy.lab.up(["router", "dns", "sink", "stranger", "repo"])
        copy.shell(f"useradd -m -s /bin/bash dora; echo dora:{FIRST} | chpasswd")
        copy.shell("apt-get -qq update; apt-get -qq install -y pamtester")
        yield copy


def sets(copy: Copy, old: str, new: str) -> bool:
    """Whether passwd takes it of somebody who is not root."""
    typed = shlex.join(["printf", "%s\\n", old, new, new])
    return "updated successfully" in copy.shell(f"{typed} | runuser -u dora -- passwd 2>&1 || true")


def logs_in(copy: Copy, password: str, who: str = "dora") -> bool:
    by_su = copy.shell(f"echo {password} | runuser -u alice -- su {who} -c id 2>&1 || true")
    by_pam = copy.shell(f"echo {password} | pamtester login {who} authenticate 2>&1 || true")
    assert (f"({who})" in by_su) is ("successfully authenticated" in by_pam), (by_su, by_pam)
    return f"({who})" in by_su


def back(copy: Copy) -> str:
    """What it printed, and what it warned of."""
    words = ("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/rollback.yml")
    with copy.begun(*words, "-e", json.dumps({"mta_target": copy.name})) as run:
        printed, warned = run.communicate(timeout=300)
    assert run.returncode == 0, printed + warned
    return printed + warned


def test_a_weak_password_is_refused_afterwards(copy: Copy, tmp_path: Path) -> None:
    assert sets(copy, FIRST, SHORT) and logs_in(copy, SHORT)
    assert "name libpam-pwquality in mta_harden_install" in " ".join(play(copy, tmp_path, "mta_password_policy").split())
    copy.shell(f"apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install -y {' '.join(PACKAGES)}")
    before = copy.shell(FILES)

    play(copy, tmp_path, "mta_password_policy", mta_harden_install=PACKAGES)
    assert not sets(copy, SHORT, "Vw3-" + SHORT[:7]) and not sets(copy, SHORT, "dora-dora-dora-dora")
    assert logs_in(copy, SHORT) and submits(copy), "who has a password keeps it"
    printed = play(copy, tmp_path, "mta_password_policy", mta_harden_install=PACKAGES)
    assert changed(printed, copy.name) == 0
    back(copy)
    assert copy.shell(FILES) == before
    play(copy, tmp_path, "mta_password_policy")
    assert sets(copy, SHORT, GOOD) and logs_in(copy, GOOD) and submits(copy)


def test_earlier_passwords_are_refused_and_what_is_stored_is_slow_to_guess(copy: Copy, tmp_path: Path) -> None:
    """What is stored is fast to guess by an argument of pam_unix; then because login.defs says so."""
    copy.shell("cp -a /etc/pam.d/common-password /etc/login.defs /root; sed -i 's/ yescrypt/ md5/' /etc/pam.d/common-password")
    defs = "sed -i 's/^ENCRYPT_METHOD.*/ENCRYPT_METHOD MD5/' /etc/login.defs"
    for weakened in (":", f"sed -i 's/ md5//' /etc/pam.d/common-password; {defs}"):
        copy.shell(f"{weakened}; : > /etc/security/opasswd")
        before = copy.shell(STACKS)
        play(copy, tmp_path, "mta_password_policy", mta_password_policy_remember=3)
        assert changed(play(copy, tmp_path, "mta_password_policy", mta_password_policy_remember=3), copy.name) == 0
        assert sets(copy, GOOD, FIRST) and sets(copy, FIRST, THIRD)
        assert not sets(copy, THIRD, GOOD) and not sets(copy, THIRD, FIRST), "they are remembered"
        assert copy.shell("grep ^dora: /etc/shadow").startswith("dora:$y$") and logs_in(copy, THIRD) and submits(copy)
        back(copy)
        assert copy.shell(STACKS) == before and logs_in(copy, THIRD), "what was set meanwhile stays"
        assert sets(copy, THIRD, GOOD) and copy.shell("grep ^dora: /etc/shadow").startswith("dora:$1$")
    copy.shell(f"mv /root/common-password /etc/pam.d/; mv /root/login.defs /etc/; echo dora:{GOOD} | chpasswd")


def test_who_has_an_old_password_has_to_set_another(copy: Copy, tmp_path: Path) -> None:
    """At the next login; who only reads mail is shut out by Dovecot until then. Going back leaves what was set since."""
    copy.shell(f"useradd -m -s /bin/bash fred; printf '%s\\n' fred:{FIRST} dora:{GOOD} | chpasswd; chage -d 2020-02-02 fred")
    copy.shell("chage -d 2020-02-02 dora")
    old = {"mta_password_policy_renewed_since": "2026-01-01"}
    printed = play(copy, tmp_path, "mta_password_policy", **old)
    assert "2 passwords are older than 2026-01-01: dora, fred" in " ".join(printed.split())
    assert changed(play(copy, tmp_path, "mta_password_policy", **old), copy.name) == 0
    for who, password in (("dora", GOOD), ("fred", FIRST)):
        said = copy.shell(f"echo {password} | runuser -u alice -- su {who} -c id 2>&1 || true")
        assert "required to change your password immediately" in said and "uid=" not in said
        by_dovecot = copy.shell(f"doveadm auth test {who} {password} 2>&1 || true")
        assert "auth failed" in by_dovecot, by_dovecot
    typed = shlex.join(["printf", "%s\\n", GOOD, GOOD, THIRD, THIRD])
    copy.shell(f"{typed} | runuser -u alice -- su dora -c id 2>&1 || true")
    assert logs_in(copy, THIRD)
    back(copy)
    assert logs_in(copy, THIRD) and logs_in(copy, FIRST, "fred")
    assert "Feb 02, 2020" in copy.shell("chage -l fred") and "Feb 02, 2020" not in copy.shell("chage -l dora")
    copy.shell(f"userdel -r fred; echo dora:{GOOD} | chpasswd")


def test_a_stack_with_which_nobody_could_set_a_password_stays(copy: Copy, tmp_path: Path) -> None:
    """What another package left behind."""
    copy.shell("cp -a /etc/pam.d/common-password /root")
    copy.shell("sed -i 's/pam_pwquality.so.*/pam_ecryptfs.so/' /etc/pam.d/common-password")
    before = copy.shell(FILES)
    printed = " ".join(play(copy, tmp_path, "mta_password_policy").split())
    assert copy.shell(FILES) == before and "with it no password could be set: Module is unknown" in printed, printed[-3000:]
    copy.shell("mv /root/common-password /etc/pam.d/")


def test_accounts_that_are_open_are_locked_when_that_is_acknowledged(copy: Copy, tmp_path: Path) -> None:
    copy.shell("useradd -m -s /bin/bash scan; echo scan:Basalt-Orchid-Ferry-31 | chpasswd")
    before = copy.shell(FILES)
    printed = " ".join(play(copy, tmp_path, "mta_password_policy").split())
    assert "it locks accounts: see whose they are" in printed and copy.shell(FILES) == before
    printed = play(copy, tmp_path, "mta_password_policy", mta_harden_acknowledged=["PASS-04"], mta_harden_only=["PASS-04"])
    assert " L " in copy.shell("passwd -S scan") and "$y$" not in printed and submits(copy)
    back(copy)
    assert copy.shell(FILES) == before and " P " in copy.shell("passwd -S scan")


def test_going_back_leaves_what_others_set_since(copy: Copy, tmp_path: Path) -> None:
    """passwd of somebody who was asked before the change and answers after it, useradd, chpasswd, userdel; then the way back."""
    copy.shell("id scan || useradd -m -s /bin/bash scan; useradd -m -s /bin/bash temp; useradd -m leaver")
    copy.shell(f"printf '%s\\n' scan:{FIRST} temp:{FIRST} dora:{FIRST} | chpasswd; mkfifo -m 666 /tmp/typed")
    copy.shell("(exec 3<> /tmp/typed; runuser -u dora -- passwd <&3 > /tmp/said 2>&1) > /dev/null 2>&1 &")
    lock = {"mta_harden_acknowledged": ["PASS-04"], "mta_harden_only": ["PASS-04"]}
    play(copy, tmp_path, "mta_password_policy", **lock)
    assert " L " in copy.shell("passwd -S scan") and " L " in copy.shell("passwd -S temp")
    assert "New password" not in copy.shell("cat /tmp/said"), "it has waited at its first question"
    copy.shell(f"printf '%s\\n' {FIRST} {GOOD} {GOOD} > /tmp/typed; until grep updated /tmp/said; do sleep 0.2; done")
    copy.shell(f"useradd -m -s /bin/bash eve; printf '%s\\n' eve:{GOOD} temp:{GOOD} | chpasswd; userdel leaver")
    theirs = copy.shell("grep -v ^scan: /etc/shadow")

    printed = " ".join(back(copy).split())
    assert logs_in(copy, GOOD) and logs_in(copy, GOOD, "eve") and logs_in(copy, GOOD, "temp")
    assert logs_in(copy, FIRST, "scan") and copy.shell("grep -v ^scan: /etc/shadow") == theirs
    assert "of ours goes back: scan" in printed and "not put back, for others have changed it since: temp" in printed
    assert "$y$" not in printed
    copy.shell("pwck -r 2>&1 | grep -i -e shadow -e duplicate && exit 1 || true")
    assert changed(back(copy), copy.name) == 0


def test_while_another_program_writes_the_accounts_nothing_is_changed(copy: Copy, tmp_path: Path) -> None:
    before = copy.shell(FILES)
    copy.shell("EDITOR='sleep 300 #' setsid vipw -s > /dev/null 2>&1 & until pgrep -x sleep; do sleep 0.2; done")
    lock = {"mta_harden_acknowledged": ["PASS-04"], "mta_harden_only": ["PASS-04"]}
    with pytest.raises(AssertionError, match=r"has held /etc/\.pwd\.lock.* Everything was put back as it was"):
        play(copy, tmp_path, "mta_password_policy", **lock)
    assert copy.shell(FILES) == before
    copy.shell("pkill -x sleep; while pgrep -x vipw; do sleep 0.2; done")
    play(copy, tmp_path, "mta_password_policy", **lock)
    assert " L " in copy.shell("passwd -S scan")
    copy.shell("EDITOR='sleep 8 #' setsid vipw -s > /dev/null 2>&1 & until pgrep -x sleep; do sleep 0.2; done")
    back(copy)
    assert " P " in copy.shell("passwd -S scan") and copy.shell(FILES) == before
