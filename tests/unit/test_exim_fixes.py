"""Fixes of Exim, asked about recordings of real hosts that fail: what each wants of the configuration."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.components import one, read_all, servers
from ansible.module_utils.mtaudit.config.exim import AclChange, Wanted
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.fixes.exim_inbound import _right
from ansible.module_utils.mtaudit.fixes.over_limit import _PROGRAM, _main_log
from ansible.module_utils.mtaudit.readers.exim import parse
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import restore, site_from

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
OWN = sorted(control for control, component in FIXES if component == "exim")
RECORDED = sorted(path.parent for control in OWN for path in FIXTURES.glob(f"{control}/fail-exim-*/recording.json"))
# Somebody else's to say: whose address is whose, which mailboxes exist, who gave the certificate, what another daemon is told.
LEFT = {"exim-router-takes-everybody", "exim-aliases-for-everybody", "exim-certificate-of-its-own", "exim-second-daemon-open",
        "exim-login-held-to-the-domain-only", "exim-frozen-mail-thaws"}  # fmt: skip


def proposed(directory: Path) -> Wanted | None:
    """What the fix of the fixture's control wants."""
    control = directory.parent.name
    recording = restore(json.loads((directory / "recording.json").read_text()))
    expected = json.loads((directory / "expect.json").read_text())
    readings = read_all(Replay(recording), expected["programs"], recording.get("ids", ()))
    site = replace(site_from(expected["site"]), servers=servers(readings), rspamd=one(readings, "rspamd"),
                   clamav=one(readings, "clamav"))  # fmt: skip
    site = replace(site, tunables=site.tunables or {"max_recipients": 100, "max_message_mb": 50, "max_connections": 20})
    for reading in (r for r in readings if r.component.name == "exim"):
        for exim in reading.instances:
            failing = [f for f in REGISTRY[(control, "exim")].evaluate(exim, site) if f.status.value == "fail"]
            if failing:
                found: Wanted | None = FIXES[(control, "exim")].propose(exim, site, failing)
                return found
    raise AssertionError("nothing fails")


@pytest.mark.parametrize("directory", RECORDED, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_every_recorded_failure_has_a_fix_or_a_reason(directory: Path) -> None:
    name = directory.name.removeprefix("fail-").removesuffix("-d13")
    assert (proposed(directory) is None) is (name in LEFT)


NETS = "hostlist relay_from_hosts"
RCPT = "acl_check_rcpt"
REMOVED = {
    "exim-accept-any-host": "accept\nhosts = *",
    "exim-accept-helo-pattern": "accept\ncondition = ${if match{$sender_helo_name}{partner}}",
    "exim-accept-encrypted": "accept\nencrypted = *",
    "exim-hosts-negated-last": "accept\nhosts = !10.0.0.1",
}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("RELAY-01/fail-exim-relay-nets-star", Wanted(lists={NETS: "<; 127.0.0.1 ; ::1"})),
     ("RELAY-01/fail-exim-relay-nets-excluded-first", Wanted(lists={NETS: "<; 127.0.0.1 ; ::1"})),
     ("RELAY-01/fail-exim-relay-nets-iplsearch", Wanted(lists={NETS: "127.0.0.1"})),
     ("RELAY-04/fail-exim-relay-domains-star", Wanted(lists={"domainlist relay_to_domains": ""})),
     ("INFO-01/fail-exim-vrfy-accepted", Wanted(options={"acl_smtp_vrfy": None})),
     ("INFO-02/fail-exim-banner-with-version", Wanted(options={"smtp_banner": "$smtp_active_hostname ESMTP"})),
     ("AUTH-01/fail-exim-login-in-clear", Wanted(options={"auth_advertise_hosts": r"${if def:tls_in_cipher{"
      r"${if match{$received_port}{\N^(465|587)$\N}{*}{}}}{}}"})),
     ("AUTH-05/fail-exim-cram-md5", Wanted(drivers={"authenticators/cram_server": None})),
     ("LOG-06/fail-exim-password-as-protocol-error",
      Wanted(options={"log_selector": "+smtp_syntax_error +tls_certificate_verified +tls_peerdn"})),
     ("RATE-02/fail-exim-limits-no-recipients", Wanted(options={"recipients_max": "100"}))],
)  # fmt: skip
def test_the_least_is_changed(name: str, wanted: Wanted) -> None:
    assert proposed(FIXTURES / name) == wanted


@pytest.mark.parametrize("directory", [d for d in RECORDED if d.name.removeprefix("fail-") in REMOVED], ids=lambda d: d.name)
def test_a_statement_that_accepts_strangers_goes(directory: Path) -> None:
    old = REMOVED[directory.name.removeprefix("fail-")]
    assert proposed(directory) == Wanted(statements=(AclChange(RCPT, old=old),))


def test_a_limit_comes_first_where_messages_are_taken() -> None:
    found: Any = proposed(FIXTURES / "RATE-01/fail-exim-rates-none")
    wanted, host = found["exim"], found["os"]
    assert wanted.options == {"acl_smtp_predata": "acl_mtaudit_limit"}
    text = wanted.acls["acl_mtaudit_limit"]
    assert "user-${lc:$authenticated_id}" in text and text.endswith("accept")
    assert "log_message = over the limit: " in text and host.told == {"mtaudit-send-limits.timer": "start"}
    service = host.texts["/etc/systemd/system/mtaudit-send-limits.service"].content.decode()
    assert 'ExecStart=/usr/bin/env python3 -I /etc/mtaudit/send-limits.py "/var/log/exim4/mainlog*"\n' in service


@pytest.mark.parametrize(
    ("log_file_path", "log"),
    [("/var/log/exim4/%slog", "/var/log/exim4/mainlog*"), ("", "/var/spool/exim4/log/mainlog*"), ("syslog", "journal:exim"),
     ("syslog : /var/log/exim/%slog", "/var/log/exim/mainlog*"), ("/var/log/exim/%slog-%D", "/var/log/exim/mainlog*"),
     ("/var/log/exim/%D/%slog", "/var/log/exim/*/mainlog*")],
)  # fmt: skip
def test_where_the_postmaster_s_news_stand(log_file_path: str, log: str) -> None:
    exim = parse("# Exim Configuration (4.98)", f"log_file_path = {log_file_path}\nspool_directory = /var/spool/exim4")
    assert _main_log(exim) == log
    named = parse("# Exim Configuration (4.98)", "log_file_path = syslog\nsyslog_processname = mail-out")
    assert _main_log(named) == "journal:mail-out"


OVER = "temporarily rejected DATA: over the limit: 7.0 in 1h, allowed 6, login"


@pytest.mark.parametrize(
    ("line", "login"),
    [(f"2026-11-23 10:02:11 H=(pc) [198.18.0.5] X=TLS1.3 A=plain_server:alice F=<alice@corp.test> {OVER} 'alice'", "alice"),
     (f"2026-11-23 10:02:11.123 [77] H=(pc) [198.18.0.5] A=plain:a:b F=<> {OVER} 'a'b'", "a'b"),
     (f"2026-11-23 10:02:11 H=(x) [198.19.0.66] F=<\"{OVER} 'bob'\"@evil.test> rejected RCPT <a@corp.test>: no", None),
     (f"2026-11-23 10:02:11 H=(x) [198.19.0.66] F=<\" A=plain:x {OVER} 'bob'\"@evil.test> rejected RCPT <a@b>: 'x'", None)],
)  # fmt: skip
def test_strangers_do_not_write_what_the_postmaster_is_told(line: str, login: str | None) -> None:
    program = ast.parse(_PROGRAM)
    made = next(node.value for node in program.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LINE")
    found = eval(ast.unparse(made), {"re": re}).match(line)
    assert (found and found[6]) == login


def test_strangers_are_looked_up_before_their_mail_is_taken() -> None:
    wanted = proposed(FIXTURES / "INB-02/fail-exim-names-only-warned-about")
    assert wanted
    _, new = wanted.statements
    asked = "dbl.spamhaus.org=127.0.1.2,127.0.1.4,127.0.1.5,127.0.1.6"
    keys = ("sender_address_domain", "sender_helo_name", "sender_host_name")
    assert new.before == "accept" and f"dnslists = {' : '.join(f'{asked}/${key}' for key in keys)}\n" in new.new
    assert new.new.startswith("deny\n  !authenticated = *\n  !hosts = +relay_from_hosts\n")


ZEN = "zen.spamhaus.org=127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.9,127.0.0.10,127.0.0.11"


@pytest.mark.parametrize(
    ("old", "new"),
    [("deny\ndnslists = dnsbl.sorbs.net", ""), ("deny\ndnslists = dnsbl.sorbs.net : zen.spamhaus.org", f"deny\ndnslists = {ZEN}"),
     ("accept\ndomains = +local_domains\n!dnslists = dnsbl.sorbs.net", "accept\ndomains = +local_domains"),
     ("deny\n!dnslists = dnsbl.sorbs.net\ndnslists = njabl.org", "")],
)  # fmt: skip
def test_a_list_that_is_no_more_decides_nothing(old: str, new: str) -> None:
    found = _right(parse(f"# Exim Configuration (4.98)\nbegin acl\n{RCPT}:\n{old}\naccept", ""))
    assert found == Wanted(statements=(AclChange(RCPT, old=old, new=new),))
