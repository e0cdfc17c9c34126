"""Limits of accounts on real servers: the fault is found, mended, measured by mail from outside, and put back to the byte.

What is measured goes into docs/send-limits.md. The clock is moved by moving what the program counted into the past.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audited_copy import ROOT, Copy, throw_away_copy
from mtalab.inventory import host_variables

pytestmark = pytest.mark.lab

HOUR, DAY, RECIPIENTS = 6, 8, 9
POLICYD = """\
apt-get update; DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends policyd-rate-limit
systemctl disable --now policyd-rate-limit
postconf -e 'smtpd_milters ='; postfix reload"""
NO_RATES = "rm /etc/rspamd/local.d/ratelimit.conf; systemctl restart rspamd"
BUCKETS = "redis-cli --scan --pattern 'RL*' | grep -v RL_cache | while read key; do "
LATER = BUCKETS + 'redis-cli hset "$key" l $(($(redis-cli hget "$key" l | cut -d. -f1) - {}000)); done'


@dataclass(frozen=True)
class Way:
    """A program that counts. `fault` takes its limit away; `forget` empties its counters, `later` puts them so many seconds into
    the past; `stop` lets it fail, `start` ends that; `waits`: mail does meanwhile."""

    base: str
    program: str
    fault: str
    files: str
    forget: str
    stop: str
    start: str
    waits: bool
    later: str = ""


EXIM_DB = "/var/spool/exim4/db"
WAYS = {
    f"exim-{release}": Way(
        f"exim-{release}", "exim",
        "sed -i '/^acl_smtp_predata/d' /etc/exim4/conf.d/main/000_localmacros; /usr/local/lib/lab/activate",
        "/etc/exim4 /etc/systemd/system /etc/mtaudit", f"rm -f {EXIM_DB}/ratelimit*",
        f"mv {EXIM_DB} {EXIM_DB}.off; touch {EXIM_DB}",
        f"rm {EXIM_DB}; mv {EXIM_DB}.off {EXIM_DB}; systemctl restart exim4", waits=True)
    for release in ("d12", "d13")
} | {
    f"policyd-{release}": Way(
        f"full-{release}", "postfix", POLICYD, "/etc/postfix /etc/policyd-rate-limit.yaml",
        "python3 -c \"import sqlite3; c = sqlite3.connect('/var/lib/policyd-rate-limit/db.sqlite3'); "
        "c.execute('DELETE FROM mail_count'); c.commit()\"",
        "systemctl stop policyd-rate-limit", "systemctl start policyd-rate-limit", waits=True,
        later="python3 -c \"import sqlite3; c = sqlite3.connect('/var/lib/policyd-rate-limit/db.sqlite3'); "
              "c.execute('UPDATE mail_count SET date = date - {}'); c.commit()\"")
    for release in ("d12", "d13")
} | {
    f"rspamd-{release}": Way(
        f"full-{release}", "postfix", NO_RATES, "/etc/postfix /etc/rspamd", "redis-cli flushall",
        "systemctl stop redis-server", "systemctl start redis-server", waits=False, later=LATER)
    for release in ("d12", "d13")
} | {
    "rspamd-sendmail": Way("sendmail-d13", "sendmail", NO_RATES, "/etc/mail /etc/rspamd", "redis-cli flushall",
                           "systemctl stop redis-server", "systemctl start redis-server", waits=False, later=LATER),
    "rspamd-opensmtpd": Way("opensmtpd-d13", "opensmtpd", NO_RATES, "/etc/smtpd.conf /etc/rspamd", "redis-cli flushall",
                            "systemctl stop redis-server", "systemctl start redis-server", waits=False, later=LATER),
}  # fmt: skip
SAMPLE = "policyd-d13"

HARDEN = """\
import json, sys
sys.path.insert(0, "/opt")
from mtaudit.audit import evaluated, look
from mtaudit.audit_arguments import request_from
from mtaudit.hardening.change import harden
from mtaudit.hardening.wishes import wishes
from mtaudit.runner import LocalRunner
from mtaudit.transaction.journal_actions import end
from mtaudit.transaction.store import Store
given = json.load(sys.stdin)
request, store, runner = request_from(given["audit"]), Store("/var/lib/mtaudit"), LocalRunner()
answer = {}
if given["action"] == "harden":
    fix = {"id": "RATE-01", "severity": "high", "class": "confirm", "disruption": "medium"}
    wanted = wishes([fix], [], "high", True)
    answer = harden(store, runner, request, wanted, {"RATE-01": "high"}, ["RATE-01"], guard_after_s=3600)
elif given["action"] == "take_back":
    answer = end(store, runner, "take_back", "", "a test")
found = [f.to_dict() for f in evaluated(request, look(runner, request))]
print(json.dumps({**answer, "found": found}))
"""
DRILL = """\
import json, sys
sys.path.insert(0, "/tmp/{place}")
from mtaudit.smtp.limit_drill import Request, drill
from mtaudit.smtp.login import Login
given = json.load(sys.stdin)
login, other = (Login(*each) if each else None for each in given.pop("logins"))
print(json.dumps(drill(Request(login=login, other=other, helo="mail.stranger.test", **given))))
"""


class Server:
    """A copy with a way of limiting, and what was measured there."""

    def __init__(self, copy: Copy, way: Way) -> None:
        self.copy, self.way, self.host = copy, way, copy.lab.host(copy.name)
        self.place = copy.name
        self.measured: dict[str, Any] = {}

    def do(self, action: str, **tunables: Any) -> dict[str, Any]:
        usual = host_variables(self.copy.lab.config, self.host)
        types = {"max_per_hour": "int", "max_per_day": "int", "accounts": "accounts", "when_down": "str"}
        values = {"max_per_hour": HOUR, "max_per_day": 0, "accounts": [], "when_down": "", **tunables}
        audit = {
            "name": self.copy.name, "kind": "submission", "local_domains": usual.get("mta_audit_local_domains", []),
            "selection": [{"id": "RATE-01", "components": [self.way.program], "kinds": [],
                           "tunables": {name: {"type": kind, "value": values[name]} for name, kind in types.items()}}],
            "tunables": {}, "trusted_networks": [], "proxies": [], "simulate": False, "contact_policy_services": False,
            "canary": "", "probe_sender": "", "known_recipient": "",
        }  # fmt: skip
        given = json.dumps({"action": action, "audit": audit})
        answer: dict[str, Any] = json.loads(self.copy.shell("python3 -B /opt/harden.py", stdin=given))
        return answer

    def says(self, answer: dict[str, Any]) -> set[str]:
        return {f["status"] for f in answer["found"] if f["subject"]["name"] == "*:587"}

    def drill(self, messages: int, recipients: int = 1, login: str = "alice", **more: Any) -> dict[str, Any]:
        domain, passwords = self.host.mail_domain, self.copy.lab.config.logins
        alice, bob = ([name, passwords[name], f"{name}@{domain}"] for name in (login, "bob"))
        given = {"address": str(self.host.ipv4), "port": 587, "canary": "canary@canary.test", "messages": messages,
                 "recipients": recipients, "logins": [alice, bob if more.pop("other", False) else None], **more}  # fmt: skip
        done = self.copy.lab.execute("stranger", "python3", "-B", f"/tmp/{self.place}/drill.py", stdin=json.dumps(given))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def state(self) -> str:
        """Contents, owners, modes and times, and the units."""
        units = "rspamd redis-server policyd-rate-limit exim4 postfix sendmail opensmtpd mtaudit-send-limits.timer"
        return self.copy.shell(
            f"find {self.way.files} -xdev \\( -name databases -o -name Makefile -o -name sendmail.conf \\) -prune -o "
            "-type f -printf '%p %m %U %G %T@\\n' -exec sha256sum {} + | sort; "
            f"systemctl is-active {units}; systemctl is-enabled {units}; true")  # fmt: skip

    def listens(self) -> None:
        self.copy.shell("for i in $(seq 150); do ss -Hltn 'sport = :587' | grep -q . && exit 0; sleep 0.2; done; exit 1")
        time.sleep(2)  # a filter that was told a moment ago


@pytest.fixture(params=[name if name == SAMPLE else pytest.param(name, marks=pytest.mark.full) for name in WAYS])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    way = WAYS[request.param]
    with throw_away_copy(way.base, "t-lim", tmp_path_factory.mktemp("lim")) as copy:
        copy.lab.up(["router", "stranger", "dns", "sink", "repo"])
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(ROOT / "module_utils/mtaudit", "mtaudit", filter=lambda i: None if "__pycache__" in i.name else i)
        text = base64.b64encode(packed.getvalue()).decode()
        copy.shell("base64 -d | tar -xz -C /opt", stdin=text)
        copy.shell("cat > /opt/harden.py", stdin=HARDEN)
        found = Server(copy, way)
        for script, given in (("mkdir {0}; base64 -d | tar -xz -C {0}", text), ("cat > {0}/drill.py", DRILL)):
            place = f"/tmp/{found.place}"
            done = copy.lab.execute("stranger", "sh", "-c", script.format(place), stdin=given.replace("{place}", found.place))
            assert done.returncode == 0, done.stderr
        try:
            yield found
        finally:
            print(json.dumps({request.param: found.measured}))
            copy.lab.execute("stranger", "rm", "-rf", f"/tmp/{found.place}")


def test_a_limit_is_set_measured_and_taken_back(server: Server, tmp_path: Path) -> None:
    way, copy, seen = server.way, server.copy, server.measured
    copy.shell(f"set -e\n{way.fault}\n", stdin="")
    server.listens()
    was = server.state()
    assert server.says(server.do("audit")) == {"fail"}
    assert server.drill(HOUR + 2)["refusal"] == "", "nothing limits it"

    done = server.do("harden")
    assert done.get("changed") and done["transaction"]["phase"] == "changed", (done.get("msg"), done["summary"])
    assert server.says(done) == {"pass"}, done["found"]
    server.listens()

    copy.shell(way.forget)
    hour = server.drill(HOUR + 8, most=HOUR, other=True, role="postmaster@canary.test")
    seen["hour"] = {name: hour[name] for name in ("passed", "refusal", "role", "other_case", "other_account")}
    assert hour["findings"][0]["status"] == "pass" and 0 < hour["passed"] <= HOUR, hour
    assert hour["role"]["taken"] == 0 and hour["other_account"]["taken"] == 1
    assert hour["other_case"] is None or hour["other_case"]["taken"] == 0

    if way.program == "exim":
        the_postmaster_is_told(copy)
    copy.shell(way.stop)
    down = server.drill(1)
    seen["down"] = down["refusal"] or "passes"
    assert bool(down["refusal"]) is way.waits, down
    copy.shell(way.start)
    server.listens()
    seen["counter after a restart"] = "kept" if server.drill(1)["refusal"] else "lost"

    copy.shell(way.forget)
    many = server.drill(1, recipients=RECIPIENTS)
    seen["many"] = {name: many[name] for name in ("passed", "refusal")}
    after = server.drill(1)
    seen["after many"] = after["refusal"] or "passes"
    assert many["passed"] <= HOUR or after["refusal"], "what is too much is at least counted"

    copy.shell(way.forget)
    reports = tmp_path / "reports"
    given = {"mta_target": copy.name, "mta_drill_messages": HOUR + 4, "mta_report_directory": str(reports),
             "mta_audit_vantages": [], "mta_audit_profile": "strict", "mta_send_limits_max_per_hour": HOUR}  # fmt: skip
    printed = "".join(copy.ansible("ansible-playbook", "-i", ROOT / "inventories/lab", ROOT / f"playbooks/{name}.yml", "-e",
                                   json.dumps(given)) for name in ("audit", "drill", "report"))  # fmt: skip
    said = f"an account is limited: measured {hour['passed']} recipients in {hour['messages']} messages, allowed {HOUR} an hour"
    assert said in printed, printed
    (report,) = reports.glob("runs/*/findings.json")
    found = [f for f in json.loads(report.read_text(encoding="utf-8"))["findings"] if f["control"] == "RATE-01"]
    assert {"config": "pass", "probe": "pass"} in [f["methods"] for f in found], found

    back = server.do("take_back")
    assert server.says(back) == {"fail"} and server.state() == was, "to the byte"


def the_postmaster_is_told(copy: Copy) -> None:
    """Of yesterday, which the log is made to be of."""
    tell, news = "systemctl start mtaudit-send-limits.service", "grep -l '^Subject: Over the limit' /home/alice/Maildir/new/*"
    seen = copy.shell(f"systemctl is-active mtaudit-send-limits.timer; {tell}; sleep 3; {news} | wc -l")
    assert seen.split() == ["active", "0"]
    yesterday = 's/^"$(date +%F)"/"$(date -d yesterday +%F)"/'
    copy.shell(f"sed -i {yesterday} /var/log/exim4/mainlog; {tell}; for i in $(seq 50); do {news} && exit; sleep .2; done; false")
    (file,) = copy.shell(news).split()
    said = re.findall(r"(?m)^(\w+): put off (\d+) times, from [\d:]+ to [\d:]+; (\d+) recipients in 1h, allowed (\d+)",
                      copy.shell(f"cat {file}"))  # fmt: skip
    ((login, times, most, allowed),) = said
    refused = int(copy.shell("grep -c 'temporarily rejected DATA: over the limit' /var/log/exim4/mainlog"))
    assert (login, int(allowed), int(times)) == ("alice", HOUR, refused) and int(most) > HOUR, said


def test_a_day_is_limited_as_well(server: Server) -> None:
    way, copy, seen = server.way, server.copy, server.measured
    copy.shell(f"set -e\n{way.fault}\n", stdin="")
    server.listens()
    most = {"max_per_hour": HOUR if way.later else 100, "max_per_day": DAY}
    own = [{"logins": ["bob"], "max_per_hour": 12, "owner": "test", "expires": "2999-01-31"}]
    done = server.do("harden", accounts=own, **most)
    assert done.get("changed") and server.says(done) == {"pass"}, (done.get("msg"), done["summary"], done["found"])
    server.listens()
    copy.shell(way.forget)
    first = server.drill(DAY + 8)
    total = first["passed"]
    for _three_hours in range(7 if way.later else 0):
        copy.shell(way.later.format(10900))
        total += server.drill(DAY + 8)["passed"]
    seen["day"] = {"first hour": first["passed"], "in 21 hours": total}
    assert 0 < total <= DAY
    if way.later:
        assert first["passed"] < total, "the hour is over, the day is not"
        copy.shell(way.later.format(90000))
        assert server.drill(1)["passed"] == 1, "and then it is"
    seen["bob's 12"] = server.drill(16, login="bob")["passed"]
    assert first["passed"] < seen["bob's 12"] <= 12
    expired = [{**own[0], "expires": "2020-01-31"}]
    assert server.says(server.do("audit", accounts=expired, **most)) == {"fail"}
