"""Passwords are guessed at real servers until the source is blocked, before AUTH-06 is mended and afterwards.

Another throw-away copy is the vantage: what guesses are addresses that it was given for that, and its own one is the control.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audited_copy import ROOT, Copy, throw_away_copy
from closed_loop import STATE
from mtalab.inventory import host_variables
from test_outcome_roles import play

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guessing")]  # the addresses that guess are the same ones in all

NUMBERS = (240, 241, 242, 243)  # no copy gets these
BANTIME_S, PER_DAY = 60, 5000  # two guesses a minute are 2,880
NO_JAILS = f"""\
printf '[DEFAULT]\\nmaxretry = 2\\nbantime = {BANTIME_S}\\n' > /etc/fail2ban/jail.d/site.local
rm -f /etc/fail2ban/jail.d/mail.local /etc/fail2ban/filter.d/opensmtpd.conf
systemctl restart fail2ban"""
NOT_INSTALLED = "DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y fail2ban; rm -rf /etc/fail2ban"
PACKAGES = ["fail2ban", "nftables", "python3-systemd"]
DRILL = """\
import json, sys
sys.path.insert(0, "/opt")
from mtaudit.credentials.guessing_drill import DrillError, Request, Way, drill, plain
from mtaudit.credentials.guessing_verdict import judged
given = json.load(sys.stdin)
request = Request(tuple(Way(*way) for way in given.pop("ways")), spread=tuple(given.pop("spread")), helo="t.corp.test", **given)
try:
    found = drill(request)
    print(json.dumps({**plain(found), "findings": [finding.to_dict() for finding in judged(request, found)]}))
except DrillError as exc:
    print(json.dumps({"error": str(exc)}))
"""


@dataclass
class Drill:
    """A server, and who guesses there."""

    server: Copy
    vantage: Copy

    @property
    def address(self) -> Any:
        return self.server.lab.host(self.server.name)

    @property
    def own(self) -> Any:
        return self.server.lab.host(self.vantage.name)

    def sources(self, *numbers: int) -> list[str]:
        return [f"198.51.100.{number}" for number in numbers] + [f"2001:db8:51::{number}" for number in numbers]

    def measured(self, attempts: int, number: int = NUMBERS[0], **more: Any) -> dict[str, Any]:
        v4, v6 = self.sources(number)
        ways = [(str(self.address.ipv4), v4, str(self.own.ipv4)), (str(self.address.ipv6), v6, str(self.own.ipv6))]
        given = {"ways": ways, "username": "bob", "attempts": attempts, "watch_s": 5, "spread": [], **more}
        asked = ("python3", "-B", "/opt/drill.py")
        done = self.vantage.lab.execute(self.vantage.name, *asked, stdin=json.dumps(given), timeout_s=900)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """A copy of the good host that the test names, and one that guesses."""
    directory = tmp_path_factory.mktemp("guess")
    for name in ("server", "vantage"):
        (directory / name).mkdir()
    with throw_away_copy(request.param, "t-guessed", directory / "server") as server, \
            throw_away_copy("mx-d13", "t-guesses", directory / "vantage") as vantage:
        server.lab.up(["router", "dns", "repo"])
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(ROOT / "module_utils/mtaudit", "mtaudit", filter=lambda i: None if "__pycache__" in i.name else i)
        vantage.shell("base64 -d | tar -xz -C /opt", stdin=base64.b64encode(packed.getvalue()).decode())
        vantage.shell("cat > /opt/drill.py", stdin=DRILL)
        drill = Drill(server, vantage)
        for address in drill.sources(*NUMBERS):
            vantage.shell(f"ip addr add {address}/{128 if ':' in address else 32} dev eth0{' nodad' if ':' in address else ''}")
        yield drill


def statuses(found: dict[str, Any]) -> list[str]:
    return [finding["status"] for finding in found["findings"]]


@pytest.mark.parametrize("copied", ["exim-d13"], indirect=True)
def test_a_source_is_blocked_and_another_is_not(copied: Drill) -> None:
    found = copied.measured(20)
    for way in found["ways"]:
        assert way["before_block"] and way["before_block"] < 20 and not way["problem"], found
        assert (way["shut"], way["open"], way["ended"]) == ([25, 465, 587], [], False) and way["held_s"] >= 5
    assert statuses(found) == ["pass", "pass"], found
    copied.server.shell("fail2ban-client get exim banip | grep -q 198.51.100.240")
    again = copied.measured(20)
    assert {finding["reason"] for finding in again["findings"]} == {
        f"{source} is blocked already, or not routed: nothing answers it" for source in copied.sources(NUMBERS[0])
    }
    server, own = str(copied.address.ipv4), str(copied.own.ipv4)
    foreign = copied.measured(1, ways=[(server, "198.51.100.239", own)])["error"]
    assert foreign == "198.51.100.239 is no address of this vantage: Cannot assign requested address"
    assert "needs an address of its own" in copied.measured(1, ways=[(server, own, "")])["error"]


def harden(copied: Drill, directory: Path, **variables: Any) -> str:
    never = [str(copied.own.ipv4), str(copied.own.ipv6)]
    return play(copied.server, directory, "mta_bruteforce", mta_bruteforce_never_banned=never,
                mta_bruteforce_max_guesses_per_day=PER_DAY, **variables)  # fmt: skip


FULL = ("exim-d12", "exim-d13", "full-d12", "full-d13", "sendmail-d12", "sendmail-d13", "opensmtpd-d13")


@pytest.mark.full
@pytest.mark.parametrize("copied", FULL, indirect=True)
def test_nobody_is_blocked_then_the_source_is_and_many_are_not(copied: Drill, tmp_path: Path) -> None:
    server = copied.server
    server.shell(NO_JAILS)
    was = server.shell(STATE)
    before = copied.measured(5)
    assert statuses(before) == ["fail", "fail"] and all(way["before_block"] is None for way in before["ways"]), before

    printed = harden(copied, tmp_path)
    assert "AUTH-06 (os) is mended" in printed, printed
    passwords = server.lab.config.logins
    spread = copied.sources(*NUMBERS[2:])
    # Another source: fail2ban begins with what the log says of the last minutes, and bans the first one at once.
    found = copied.measured(12, NUMBERS[1], watch_s=BANTIME_S + 60, spread=spread, each=1, password=passwords["bob"])
    print(json.dumps(found))
    for way in found["ways"]:
        assert way["before_block"] and not way["open"] and way["ended"], found
        assert BANTIME_S - 20 < way["held_s"] < BANTIME_S + 60, way
    assert statuses(found) == ["pass", "pass", "informational"], found
    assert found["spread"]["right"] == "accepted" and found["spread"]["guesses"] == len(spread)
    assert server.shell(f"fail2ban-client get {jails(server)[0]} ignoreip").count(str(copied.own.ipv4)) == 1

    reported(copied, tmp_path / "reports")
    assert " changed=0 " in harden(copied, tmp_path).rpartition("PLAY RECAP")[2]
    back = ("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/rollback.yml")
    server.ansible(*back, "-e", json.dumps({"mta_target": server.name}))
    assert server.shell(STATE) == was and jails(server) == [], "to the byte"


def jails(copy: Copy) -> list[str]:
    listed = copy.shell("for i in $(seq 50); do fail2ban-client status && exit; sleep 0.2; done; exit 1")
    return [name for name in listed.rpartition(":")[2].replace(",", " ").split() if name]


def reported(copied: Drill, reports: Path) -> None:
    """The playbook, as people run it: what it measured is joined with what the configuration says."""
    server, vantage = copied.server, copied.vantage
    about = {**host_variables(server.lab.config, copied.own), "mta_vantage": "neighbour"}
    inventory = reports.parent / "vantage.json"
    inventory.write_text(json.dumps({"mta_vantages": {"hosts": {vantage.name: about}}}), encoding="utf-8")
    given = {
        "mta_target": server.name, "mta_audit_vantages": [], "mta_audit_profile": "strict", "mta_report_directory": str(reports),
        "mta_audit_canary": "", "mta_bruteforce_max_guesses_per_day": PER_DAY,
        "mta_drill_measures": ["guessing"], "mta_drill_vantage": vantage.name,
        "mta_drill_guessed_account": {"username": "bob"}, "mta_drill_watch_s": 5,
        "mta_drill_source_addresses": copied.sources(NUMBERS[0]), "mta_drill_attempts": 12,
        "mta_drill_control_addresses": [str(copied.own.ipv4), str(copied.own.ipv6)],
    }  # fmt: skip
    printed = "".join(
        server.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", "-i", inventory, ROOT / f"playbooks/{name}.yml",
                       "-e", json.dumps(given), timeout_s=900) for name in ("audit", "drill", "report"))  # fmt: skip
    assert "a source is blocked after" in printed, printed
    (report,) = reports.glob("runs/*/findings.json")
    found = [f for f in json.loads(report.read_text(encoding="utf-8"))["findings"] if f["control"] == "AUTH-06"]
    assert {"config": "pass", "probe": "pass"} in [f["methods"] for f in found], found


@pytest.mark.full
@pytest.mark.parametrize("copied", ["exim-d12"], indirect=True)
def test_a_missing_fail2ban_is_named_installed_and_blocks(copied: Drill, tmp_path: Path) -> None:
    server = copied.server
    server.shell(NOT_INSTALLED)
    said = " ".join(harden(copied, tmp_path).split())
    assert "it needs fail2ban: name fail2ban, nftables and python3-systemd in mta_harden_install" in said
    assert "AUTH-06 (os) is mended" in harden(copied, tmp_path, mta_harden_install=PACKAGES)
    found = copied.measured(20)
    assert statuses(found) == ["pass", "pass"], found
    assert " changed=0 " in harden(copied, tmp_path, mta_harden_install=PACKAGES).rpartition("PLAY RECAP")[2]
    back = ("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / "playbooks/rollback.yml")
    server.ansible(*back, "-e", json.dumps({"mta_target": server.name}))
    assert server.shell("ls /etc/fail2ban/jail.d") == "defaults-debian.conf\n"
    assert server.shell("dpkg --verify fail2ban") == "" and jails(server) == ["sshd"]
