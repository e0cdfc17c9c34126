"""What is said of virus scanners, where no recording of a host shows it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.antivirus import looked_into
from ansible.module_utils.mtaudit.controls.filtering import LOGINS, STRANGERS, Way
from ansible.module_utils.mtaudit.controls.scanners import Called, Kind
from ansible.module_utils.mtaudit.finding import HOST, Evidence, Finding, Method
from ansible.module_utils.mtaudit.readers import clamav
from ansible.module_utils.mtaudit.readers.clamav import ClamAv
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd, Socket
from ansible.module_utils.mtaudit.runner import Replay

SHOWN = Evidence(Method.CONFIG, "main.cf", "smtpd_milters = inet:127.0.0.1:11332")
SOCKET = "/run/clamav/clamd.ctl"
NOW = 1_795_000_000.0
RULE: dict[str, Any] = {"type": "clamav", "servers": SOCKET, "symbol": "CLAM_VIRUS"}
GOOD: dict[str, Any] = {"clamd": {"LocalSocket": ["/var/run/clamav/clamd.ctl"]}, "built_at": NOW - 3600, "running": True,
                        "now": NOW, "sockets": frozenset({SOCKET})}  # fmt: skip
MILTER = {"MilterSocket": ["/var/run/clamav/clamav-milter.ctl"], "ClamdSocket": ["unix:/var/run/clamav/clamd.ctl"]}
MILTER_SOCKETS = frozenset({SOCKET, "/run/clamav/clamav-milter.ctl"})


def told(
    rule: dict[str, Any], what: str = STRANGERS, milter: bool = True, read: dict[str, Any] | None = None, version: str = "",
    **sections: Any,
) -> Finding:  # fmt: skip
    rspamd = Rspamd({"actions": {"reject": 15}, "antivirus": {"clamav": rule}, **sections}, version=version)
    called = Called("inet:127.0.0.1:11332", SHOWN, Kind.RSPAMD, milter=milter)
    site = Site(rspamd=rspamd, clamav=ClamAv(**{**GOOD, **(read or {})}), tunables={"max_age_hours": 48})
    (found,) = looked_into(Way(HOST, what, [called], [SHOWN]), site)
    return found


@pytest.mark.parametrize(
    ("rule", "sections", "expected"),
    [
        ({"action": "reject"}, {}, "pass"),
        ({"action": "Reject"}, {}, "pass"),
        ({"action": "soft reject"}, {}, "pass"),
        ({"action": "discard"}, {"actions": {"reject": 15, "discard": 100}}, "pass"),
        ({"action": "discard"}, {}, "fail"),  # an action that rspamd does not know
        ({"action": "quarantine"}, {}, "fail"),
        ({"action": "add header"}, {}, "fail"),
        ({}, {}, "fail"),
        ({"score": 15}, {}, "pass"),
        ({"score": 14}, {}, "fail"),
        ({}, {"group": {"antivirus": {"symbols": {"CLAM_VIRUS": {"weight": 20}}}}}, "pass"),
        ({}, {"group": [{"antivirus": {"symbols": {"CLAM_VIRUS": {"weight": 20}}}}, {"rbl": {}}]}, "pass"),
        ({}, {"group": {"antivirus": [{}, {"symbols": [{"R_BAD": {}}, {"CLAM_VIRUS": {"weight": 20}}]}]}}, "pass"),
        ({}, {"group": {"antivirus": {"symbol": {"CLAM_VIRUS": {"weight": 20}}}}}, "fail"),  # says nothing to rspamd
        ({}, {"force_actions": {"rules": {"V": {"action": "reject", "expression": "CLAM_VIRUS"}}}}, "pass"),
        ({}, {"force_actions": {"rules": {"V": {"action": "reject", "expression": "CLAM_VIRUS_FAIL"}}}}, "fail"),
        ({}, {"force_actions": {"rules": {"V": {"action": "reject", "expression": "CLAM_VIRUS | R_BAD"}}}}, "pass"),
        ({}, {"force_actions": {"rules": {"V": {"action": "reject", "expression": "CLAM_VIRUS & R_BAD"}}}}, "unknown"),
        ({}, {"force_actions": {"rules": {"V": {"action": "reject", "expression": "!CLAM_VIRUS"}}}}, "fail"),
        ({"action": "reject"}, {"antivirus": {}}, "fail"),
        ({"action": "reject"}, {"antivirus": {"enabled": False, "clamav": {**RULE, "action": "reject"}}}, "fail"),
        ({"action": "reject"}, {"options": {"disabled_modules": ["antivirus"]}}, "fail"),
        ({"action": "reject", "servers": None}, {}, "fail"),
        ({"action": "reject", "type": "sophos"}, {}, "unknown"),
        ({"action": "reject", "servers": "192.0.2.7:3310"}, {}, "unknown"),
    ],
)
def test_what_comes_of_a_virus_by_rspamd(rule: dict[str, Any], sections: dict[str, Any], expected: str) -> None:
    assert told({**RULE, **rule}, **sections).status.value == expected


@pytest.mark.parametrize(
    ("action", "options", "version", "expected"),
    [
        ("reject", {"quarantine_on_reject": True}, "3.12.1", "fail"),
        ("reject", {"quarantine_on_reject": True}, "3.9.0", "fail"),
        ("reject", {"quarantine_on_reject": True}, "3.8.4", "pass"),
        ("reject", {"quarantine_on_reject": True}, "4.1.1", "pass"),
        ("reject", {"quarantine_on_reject": True}, "", "unknown"),
        ("reject", {"quarantine_on_reject": True, "discard_on_reject": True}, "3.12.1", "pass"),
        ("soft reject", {"quarantine_on_reject": True}, "3.12.1", "pass"),
        ("quarantine", {}, "3.12.1", "fail"),
        ("quarantine", {}, "3.4", "pass"),
    ],
)
def test_a_virus_that_is_let_go(action: str, options: dict[str, Any], version: str, expected: str) -> None:
    worker = {"rspamd_proxy": {"milter": True, "bind_socket": "localhost:11332", **options}}
    actions = {"reject": 15, "quarantine": 100}
    assert told({**RULE, "action": action}, version=version, worker=worker, actions=actions).status.value == expected


@pytest.mark.parametrize(
    ("read", "status", "text"),
    [
        ({}, "pass", "with signatures of 2026-11-18; while it does not answer, rspamd lets mail through"),
        ({"sockets": frozenset()}, "fail", "nothing listens at /run/clamav/clamd.ctl"),
        ({"built_at": NOW - 49 * 3600}, "fail", "2 days old"),
        ({"built_at": 0.0}, "fail", "signatures of this site's own"),
        ({"running": False}, "unknown", "systemd would start it"),
        ({"clamd": None}, "unknown", "not the clamd of clamd.conf"),
        ({"problem": "no"}, "unknown", "no"),
    ],
)
def test_what_is_said_of_clamd(read: dict[str, Any], status: str, text: str) -> None:
    found = told({**RULE, "action": "reject"}, read=read)
    assert (found.status.value, text in found.message + found.reason) == (status, True), found


def test_a_scanner_that_is_waited_for() -> None:
    rules = {"rules": {"down": {"action": "soft reject", "expression": "CLAM_VIRUS_FAIL"}}}
    assert told({**RULE, "action": "reject"}, force_actions=rules).message.endswith("signatures of 2026-11-18")


def test_what_is_no_milter_may_not_know_every_action() -> None:
    actions = {"reject": 15, "discard": 100}
    assert told({**RULE, "action": "discard"}, milter=False, actions=actions).status.value == "unknown"


@pytest.mark.parametrize(("score", "expected"), [(20, "pass"), (3, "fail")])
def test_what_goes_by_the_score_does_not_see_the_action(score: float, expected: str) -> None:
    rspamd = Rspamd({"actions": {"reject": 15}, "antivirus": {"clamav": {**RULE, "action": "reject", "score": score}}})
    way = Way(HOST, STRANGERS, [Called("127.0.0.1 11333", SHOWN, Kind.RSPAMD)], [SHOWN], by_score=True)
    (found,) = looked_into(way, Site(rspamd=rspamd, clamav=ClamAv(**GOOD)))
    assert found.status.value == expected


def test_accounts_that_rspamd_lets_pass() -> None:
    settings = {"ours": {"authenticated": True, "whitelist": True}}
    assert told({**RULE, "action": "reject"}, LOGINS, settings=settings).status.value == "fail"
    assert told({**RULE, "action": "reject"}, STRANGERS, settings=settings).status.value == "pass"


@pytest.mark.parametrize(
    ("address", "settings", "what", "expected"),
    [
        ("unix:/clamav/clamav-milter.ctl", {}, STRANGERS, "pass"),  # in Postfix's own root; quarantined by default
        ("unix:/var/run/clamav/clamav-milter.ctl", {"OnInfected": ["Reject"]}, STRANGERS, "pass"),
        ("unix:/run/clamav/clamav-milter.ctl", {"OnInfected": ["Accept"]}, STRANGERS, "fail"),
        ("unix:/run/clamav/clamav-milter.ctl", {"SkipAuthenticated": ["."]}, LOGINS, "unknown"),
        ("unix:/run/clamav/clamav-milter.ctl", {"SkipAuthenticated": ["."]}, STRANGERS, "pass"),
        ("unix:/run/clamav/clamav-milter.ctl", {"ClamdSocket": ["tcp:192.0.2.7:3310"]}, STRANGERS, "unknown"),
        ("unix:/run/clam-of-ours.ctl", {}, STRANGERS, "unknown"),
        ("inet:127.0.0.1:7357", {"MilterSocket": ["inet:7357@127.0.0.1"]}, STRANGERS, "fail"),  # nothing listens there
    ],
)
def test_clamav_milter(address: str, settings: dict[str, Any], what: str, expected: str) -> None:
    read = ClamAv(**{**GOOD, "milter": {**MILTER, **settings}, "sockets": MILTER_SOCKETS})
    called = Called(address, SHOWN, Kind.OTHER if "clam" in address else Kind.SILENT, "nothing listens")
    (found,) = looked_into(Way(HOST, what, [called], [SHOWN]), Site(clamav=read))
    assert found.status.value == expected, found


def test_other_filters_look_for_no_viruses() -> None:
    called = Called("inet:127.0.0.1:8891", SHOWN, Kind.OTHER)
    (found,) = looked_into(Way(HOST, STRANGERS, [called], [SHOWN]), Site(clamav=ClamAv(**GOOD)))
    assert found.status.value == "fail"


@pytest.mark.parametrize(
    ("header", "built_at"),
    [
        ("ClamAV-VDB:16 Sep 2021 08-32 -0400:62:6647427:90:x:y:sigmgr:1631795562", 1631795562.0),
        ("ClamAV-VDB:16 Sep 2021 08-32 -0400:62:6647427:90:x:y:sigmgr", 1631795520.0),
    ],
)
def test_when_signatures_were_built(header: str, built_at: float) -> None:
    assert read(header).built_at == built_at


@pytest.mark.parametrize("header", ["", "PK\x03\x04", "ClamAV-VDB:yesterday:62"])
def test_a_database_that_is_none(header: str) -> None:
    assert "/var/lib/clamav/daily.cld" in read(header).problem


def read(header: str) -> ClamAv:
    text = base64.b64encode(header.ljust(512).encode()).decode()
    absent = dict.fromkeys((clamav.CLAMD, clamav.MILTER, "/var/lib/clamav/daily.cvd"))
    there = {"uid": 0, "gid": 0, "mode": 0o644, "size_bytes": 512, "mtime_ns": 0, "kind": "file"}
    return clamav.read(Replay({
        "run": [], "now": NOW, "stat": {**absent, "/var/lib/clamav/daily.cld": there}, "glob": {"/proc/[0-9]*/stat": []},
        "piece": {"/var/lib/clamav/daily.cld": {"0+512": text}},
        "read": {path: {"text": "1.0 1.0\n"} for path in ("/proc/uptime", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/unix")},
    }))  # fmt: skip


def test_places_of_clamd() -> None:
    assert clamav.places("tcp:127.0.0.1:3310") == clamav.places("127.0.0.1") == [Socket("127.0.0.1", 3310)]
    assert clamav.places("unix:/a/b") == [Socket(path="/a/b")]
    assert clamav.places("a.test:1,b.test:2") == [Socket("a.test", 1), Socket("b.test", 2)]
    tcp = ClamAv({"TCPSocket": ["3310"], "TCPAddr": ["127.0.0.1"]})
    assert tcp.is_clamd(Socket("127.0.0.1", 3310)) and tcp.is_clamd(Socket("localhost", 3310))
    assert not tcp.is_clamd(Socket("127.0.0.1", 3311))
